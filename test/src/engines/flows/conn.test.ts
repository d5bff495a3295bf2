import { describe, expect, it } from 'vitest'
import { communityId } from '../../../../src/engines/flows/community-id.ts'
import { formatConn } from '../../../../src/engines/flows/conn.ts'
import { createLocalNets } from '../../../../src/engines/flows/local-nets.ts'
import type { Flow } from '../../../../src/engines/flows/types.ts'

const flow: Flow = {
  index: 0,
  uid: 'CAAAAAAAAAAAAAAAAA',
  transport: 'tcp',
  ipProto: 6,
  orig: { address: '128.232.110.120', port: 34_855, bytes: 496, packets: 6, ipBytes: 816, l2: '02:00:00:00:00:01' },
  resp: { address: '66.35.250.204', port: 80, bytes: 1731, packets: 6, ipBytes: 2051 },
  firstIsOrig: true,
  startTime: 1_071_580_904.89,
  duration: 0.3111039400100708,
  partial: false,
  connState: 'SF',
  history: 'ShADadFf',
  missedBytes: 2227,
  localOrig: false,
  localResp: true,
  tunnelParents: [],
  vlan: 7,
}

describe('a conn line', () => {
  it('has the columns, order and number format of Zeek', () => {
    expect(formatConn(flow, ['http', 'ssl'])).toBe(
      '{"ts":1071580904.89,"uid":"CAAAAAAAAAAAAAAAAA","id.orig_h":"128.232.110.120","id.orig_p":34855,' +
        '"id.resp_h":"66.35.250.204","id.resp_p":80,"proto":"tcp","service":"http,ssl","duration":0.3111039400100708,' +
        '"orig_bytes":496,"resp_bytes":1731,"conn_state":"SF","local_orig":false,"local_resp":true,"missed_bytes":2227,' +
        '"history":"ShADadFf","orig_pkts":6,"orig_ip_bytes":816,"resp_pkts":6,"resp_ip_bytes":2051,"ip_proto":6}',
    )
  })

  it('leaves out what a flow of one moment does not have', () => {
    const line = JSON.parse(formatConn({ ...flow, duration: 0, history: '', startTime: 5 }, []))
    expect(line).not.toHaveProperty('duration')
    expect(line).not.toHaveProperty('orig_bytes')
    expect(line).not.toHaveProperty('history')
    expect(line).not.toHaveProperty('service')
    expect(formatConn({ ...flow, startTime: 5 }, [])).toContain('"ts":5.0,')
  })

  it('names tunnels, and the tunnel that the flow itself is', () => {
    const line = JSON.parse(formatConn({ ...flow, tunnelParents: ['Cx'], tunnelService: 'vxlan' }, ['dns']))
    expect(line).toMatchObject({ tunnel_parents: ['Cx'], service: 'vxlan,dns' })
  })

  it('has the columns of policy scripts only when asked', () => {
    const line = JSON.parse(formatConn(flow, [], { communityId: '1:x', l2: true, vlan: true }))
    expect(line).toMatchObject({ orig_l2_addr: '02:00:00:00:00:01', vlan: 7, community_id: '1:x' })
    expect(line).not.toHaveProperty('resp_l2_addr')
  })
})

describe('community ids', () => {
  const of = (transport: Flow['transport'], ipProto: number, a: [string, number], b: [string, number]) =>
    communityId({
      ...flow,
      transport,
      ipProto,
      orig: { ...flow.orig, address: a[0], port: a[1] },
      resp: { ...flow.resp, address: b[0], port: b[1] },
    })

  it('are those that other tools compute', () => {
    expect(of('tcp', 6, ['128.232.110.120', 34_855], ['66.35.250.204', 80])).toBe('1:LQU9qZlK+B5F3KDmev6m5PMibrg=')
    expect(of('udp', 17, ['192.168.1.52', 54_585], ['8.8.8.8', 53])).toBe('1:d/FP5EW3wiY1vCndhwleRRKHowQ=')
    const six = of('tcp', 6, ['2001:470:e5bf:dead:4957:2174:e82c:4887', 63_943], ['2607:f8b0:400c:c03::1a', 25])
    expect(six).toBe('1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=')
  })

  it('are the same for both directions, except for one-way ICMP', () => {
    const a: [string, number] = ['10.0.0.1', 8]
    const b: [string, number] = ['10.0.0.2', 0]
    expect(of('icmp', 1, a, b)).toBe(of('icmp', 1, b, a))
    expect(of('icmp', 1, ['10.0.0.1', 3], ['10.0.0.2', 3])).not.toBe(of('icmp', 1, ['10.0.0.2', 3], ['10.0.0.1', 3]))
  })
})

describe('local networks', () => {
  const word = (address: string) => address.split('.').reduce((sum, n) => (sum << 8) | Number(n), 0)

  it('are the private address space by default', () => {
    const nets = createLocalNets()
    for (const address of ['10.1.2.3', '192.168.0.1', '172.31.0.1', '100.64.0.1', '127.0.0.1', '239.1.1.1']) {
      expect(nets.has4(word(address)), address).toBe(true)
    }
    for (const address of ['8.8.8.8', '172.32.0.1', '224.6.7.8']) expect(nets.has4(word(address)), address).toBe(false)
    expect(nets.has6(0xfd00_0000, 0, 0, 1)).toBe(true)
    expect(nets.has6(0x2607_f8b0, 0, 0, 1)).toBe(false)
  })

  it('can be others', () => {
    const nets = createLocalNets(['8.8.0.0/16', '2607:f8b0::/32'])
    expect([nets.has4(word('8.8.8.8')), nets.has4(word('10.0.0.1')), nets.has6(0x2607_f8b0, 0, 0, 1)]).toEqual([
      true,
      false,
      true,
    ])
  })

  it('refuse what is no prefix', () => {
    for (const prefix of ['10.0.0/8', '10.0.0.0/33', 'fc00:::/7', 'home', '1.2.3.4/x']) {
      expect(() => createLocalNets([prefix]), prefix).toThrow(/network prefix/)
    }
  })
})

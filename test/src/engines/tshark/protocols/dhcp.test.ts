import { describe, expect, it } from 'vitest'
import { dhcp } from '../../../../../src/engines/tshark/protocols/dhcp.ts'
import { damaged, recordFlow } from './recorded-flow.ts'

const [DISCOVER, OFFER, REQUEST, ACK] = [1, 2, 3, 5]

interface Parts {
  fromServer?: boolean
  id?: number
  type?: number
  assigned?: number[]
  options?: [number, Buffer | string][]
}

/** RFC 2131, 2: the fixed part, the cookie, options. */
function message({ fromServer = false, id = 0x1234, type, assigned = [0, 0, 0, 0], options = [] }: Parts): Buffer {
  const fixed = Buffer.alloc(240)
  fixed[0] = fromServer ? 2 : 1
  fixed.set([1, 6], 1)
  fixed.writeUInt32BE(id, 4)
  fixed.set(assigned, 16)
  fixed.set([2, 0, 0, 0, 0, 9], 28)
  fixed.writeUInt32BE(0x63825363, 236)
  const all: [number, Buffer | string][] = type === undefined ? options : [[53, Buffer.from([type])], ...options]
  const encoded = all.map(([code, value]) => Buffer.concat([Buffer.from([code, value.length]), Buffer.from(value)]))
  return Buffer.concat([fixed, ...encoded, Buffer.from([255])])
}

const client = { origAddr: '0.0.0.0', origPort: 68, respAddr: '255.255.255.255', respPort: 67, uid: 'CClient' }
const server = { origAddr: '10.0.0.9', origPort: 68, respAddr: '10.0.0.1', respPort: 67, uid: 'CServer' }
const address = (last: number) => Buffer.from([10, 0, 0, last])

describe('DHCP', () => {
  it('joins the messages of a transaction, over whatever flows they came, into one record', () => {
    const [shared, records] = [new Map(), []]
    const up = recordFlow(dhcp, { flow: client, shared, records })
    const down = recordFlow(dhcp, { flow: server, shared, records })
    up.dissector.data(
      true,
      message({
        type: DISCOVER,
        options: [
          [12, 'host'],
          [50, address(7)],
        ],
      }),
      100,
    )
    down.dissector.data(false, message({ type: OFFER, fromServer: true, assigned: [10, 0, 0, 9] }), 100.5)
    up.dissector.data(
      true,
      message({
        type: REQUEST,
        options: [
          [50, address(9)],
          [81, '\0\0\0host.test'],
        ],
      }),
      101,
    )
    const lease: [number, Buffer | string][] = [
      [51, Buffer.from([0, 0, 14, 16])],
      [15, 'test\0'],
      [0, ''],
    ]
    down.dissector.data(
      false,
      message({ type: ACK, fromServer: true, assigned: [10, 0, 0, 9], options: lease.slice(0, 2) }),
      102,
    )
    expect(records).toEqual([])
    for (const each of shared.values()) each.end()
    expect(records).toEqual([
      {
        log: 'dhcp',
        ts: 100,
        fields: {
          uids: ['CClient', 'CServer'],
          client_addr: '10.0.0.9',
          server_addr: '10.0.0.1',
          mac: '02:00:00:00:00:09',
          host_name: 'host',
          client_fqdn: 'host.test',
          domain: 'test',
          requested_addr: '10.0.0.9',
          assigned_addr: '10.0.0.9',
          lease_time: 3600,
          msg_types: ['DISCOVER', 'OFFER', 'REQUEST', 'ACK'],
          duration: 2,
        },
      },
    ])
  })

  it('writes a transaction 30 seconds after its first message; what comes later begins another', () => {
    const [shared, records] = [new Map(), [] as { ts: number }[]]
    const { dissector } = recordFlow(dhcp, { flow: client, shared, records: records as never })
    dissector.data(true, message({ type: DISCOVER }), 100)
    dissector.data(true, message({ type: DISCOVER }), 129)
    dissector.data(true, message({ type: DISCOVER }), 130)
    expect(records).toMatchObject([{ ts: 100, fields: { msg_types: ['DISCOVER', 'DISCOVER'], duration: 29 } }])
    for (const each of shared.values()) each.end()
    expect(records[1]).toMatchObject({ ts: 130, fields: { msg_types: ['DISCOVER'], duration: 0 } })
  })

  it('keeps transactions apart by their ids, and those of a flow of its own where nothing is shared', () => {
    const { dissector, records, services } = recordFlow(dhcp, { flow: client })
    dissector.data(true, message({ type: DISCOVER, id: 1 }), 1)
    dissector.data(true, message({ type: DISCOVER, id: 2 }), 1)
    dissector.end?.(1)
    expect(records).toHaveLength(2)
    expect(services).toEqual(['dhcp'])
  })

  it('does not take a broadcast address for a server', () => {
    const flow = { origAddr: '10.0.0.1', origPort: 67, respAddr: '255.255.255.255', respPort: 68 }
    const { dissector, records } = recordFlow(dhcp, { flow })
    dissector.data(true, message({ type: ACK, fromServer: true, assigned: [10, 0, 0, 9] }), 1)
    dissector.end?.(1)
    expect(records[0]?.fields).not.toHaveProperty('server_addr')
    expect(records[0]?.fields).toMatchObject({ assigned_addr: '10.0.0.9', client_addr: '10.0.0.9' })
  })

  it('tells a refusal and its reason, and names unknown message types by number', () => {
    const { dissector, records } = recordFlow(dhcp, { flow: server })
    dissector.data(false, message({ type: 6, fromServer: true, options: [[56, 'not yours']] }), 1)
    dissector.data(true, message({ type: 99 }), 2)
    dissector.end?.(2)
    expect(records[0]?.fields).toMatchObject({
      msg_types: ['NAK', 'unknown-message-type-99'],
      server_message: 'not yours',
    })
  })

  it('calls a message without a type weird and logs no transaction of it', () => {
    const { dissector, records, weirds } = recordFlow(dhcp, { flow: client })
    dissector.data(true, message({}), 1)
    dissector.end?.(1)
    expect(records).toEqual([])
    expect(weirds).toEqual(['DHCP_no_type_option'])
  })

  it('reads an option that claims more than there is not at all', () => {
    const { dissector, records } = recordFlow(dhcp, { flow: client })
    const whole = message({ type: DISCOVER, options: [[12, 'name']] })
    dissector.data(true, whole.subarray(0, whole.length - 3), 1)
    dissector.end?.(1)
    expect(records[0]?.fields).not.toHaveProperty('host_name')
  })

  it('recognizes its cookie on other ports, and nothing else', () => {
    const whole = message({ type: DISCOVER })
    expect(dhcp.recognize?.(whole, Buffer.alloc(0), 'udp')).toBe(true)
    expect(dhcp.recognize?.(Buffer.alloc(300), Buffer.alloc(0), 'udp')).toBe(false)
    expect(dhcp.recognize?.(whole, Buffer.alloc(0), 'tcp')).toBe(false)
  })

  it('survives messages that are cut or spoilt', () => {
    const { dissector } = recordFlow(dhcp, { flow: client })
    const whole = message({
      type: ACK,
      fromServer: true,
      options: [
        [12, 'host'],
        [51, Buffer.alloc(4)],
        [81, '\0\0\0a'],
      ],
    })
    for (const each of damaged(whole)) expect(() => dissector.data(true, each, 1)).not.toThrow()
  })
})

import { describe, expect, it } from 'vitest'
import { emptyPacket } from '../../../../src/capture/packet.ts'
import { createFlowTable } from '../../../../src/engines/flows/table.ts'
import { NO_FLOW } from '../../../../src/engines/flows/types.ts'
import { conversation, ethernet, ip4, ip6, OPEN, run, T, tcp, udp } from './packets.ts'

const A = '10.0.0.1'
const B = '10.0.0.2'
const datagram = (payload = 'data', ports: [number, number] = [5000, 6000]) =>
  ip4({ src: A, dst: B, protocol: 17, payload: udp(...ports, payload) })
const reply = () => ip4({ src: B, dst: A, protocol: 17, payload: udp(6000, 5000, 'answer') })

describe('UDP', () => {
  it('pairs both directions of an address and port pair', () => {
    const { flows } = run([
      { at: 0, data: datagram() },
      { at: 1.5, data: reply() },
    ])
    expect(flows).toHaveLength(1)
    expect(flows[0]).toMatchObject({
      connState: 'SF',
      history: 'Dd',
      duration: 1.5,
      orig: { bytes: 4, ipBytes: 32 },
      resp: { bytes: 6 },
    })
  })

  it('ends a flow after a minute of silence', () => {
    const { flows } = run([
      { at: 0, data: datagram() },
      { at: 59, data: datagram() },
      { at: 119.5, data: datagram() },
    ])
    expect(flows.map(({ orig }) => orig.packets)).toEqual([2, 1])
  })

  it('ends a DNS flow after ten seconds', () => {
    const dns = datagram('dns?', [5000, 53])
    const { flows } = run([0, 1, 15, 16].map((at) => ({ at, data: dns })))
    expect(flows.map(({ orig }) => orig.packets)).toEqual([2, 2])
  })

  it('takes the sender from a server port for the responder, unless it speaks to a group', () => {
    const one = (dst: string) =>
      run([{ at: 0, data: ip4({ src: A, dst, protocol: 17, payload: udp(67, 68) }) }]).flows[0]
    expect(one(B)).toMatchObject({ history: '^d', orig: { port: 68 }, connState: 'SHR' })
    expect(one('255.255.255.255')).toMatchObject({ history: 'D', orig: { port: 67 } })
  })

  it('takes who sends a DNS answer first for the responder, whatever the answer holds, unless it goes to a group', () => {
    const answer = (dst: string, bits: string) =>
      run([{ at: 0, data: ip4({ src: A, dst, protocol: 17, payload: udp(137, 137, `ab${bits}${'\xff'.repeat(9)}`) }) }])
    expect(answer(B, '\x85').flows[0]).toMatchObject({ orig: { address: B }, resp: { address: A } })
    expect(answer(B, '\x05').flows[0]).toMatchObject({ orig: { address: A }, history: 'D' })
    expect(answer('224.0.0.251', '\x85').flows[0]).toMatchObject({ orig: { address: A }, history: 'D' })
  })

  it('tells a length that does not fit', () => {
    const false8 = udp(1, 2, 'xyz')
    false8.writeUInt16BE(200, 4)
    const { weirds } = run([{ at: 0, data: ip4({ src: A, dst: B, protocol: 17, payload: false8 }) }])
    expect(weirds[0]).toMatchObject({ name: 'UDP_datagram_length_mismatch', addl: '200 != 11', source: 'UDP' })
  })
})

describe('ICMP', () => {
  const icmp = (src: string, dst: string, type: number, code = 0) =>
    ip4({
      src,
      dst,
      protocol: 1,
      payload: Buffer.concat([Buffer.from([type, code, 0, 0, 0, 0, 0, 0]), Buffer.alloc(56)]),
    })

  it('pairs a request with its answer, with the types as ports', () => {
    const { flows } = run([
      { at: 0, data: icmp(A, B, 8) },
      { at: 0.5, data: icmp(B, A, 0) },
    ])
    expect(flows).toHaveLength(1)
    expect(flows[0]).toMatchObject({
      transport: 'icmp',
      orig: { port: 8, bytes: 56 },
      resp: { port: 0, bytes: 56 },
      connState: 'OTH',
      history: '',
    })
  })

  it('keeps one-way messages in opposite directions apart', () => {
    const { flows } = run([
      { at: 0, data: icmp(A, B, 3, 3) },
      { at: 0.5, data: icmp(B, A, 3, 3) },
    ])
    expect(flows.map(({ orig, resp }) => [orig.address, orig.port, resp.port])).toEqual([
      [A, 3, 3],
      [B, 3, 3],
    ])
  })
})

it('gives flows of other protocols no ports and no bytes', () => {
  const { flows } = run([{ at: 0, data: ip4({ src: A, dst: B, protocol: 132, payload: Buffer.alloc(40) }) }])
  expect(flows[0]).toMatchObject({
    transport: 'unknown_transport',
    ipProto: 132,
    orig: { port: 0, bytes: 0, packets: 1, ipBytes: 60 },
  })
})

describe('link layers', () => {
  const ip = datagram()
  const tagged = Buffer.concat([Buffer.from([0, 7, 0x81, 0, 0, 9, 8, 0]), ip])
  const snap = Buffer.concat([Buffer.from('aaaa030000000800', 'hex'), ip])
  const wifi = Buffer.concat([Buffer.from('88020000', 'hex'), Buffer.alloc(18, 2), Buffer.alloc(4), snap])
  const frames: [string, number, Buffer][] = [
    ['Ethernet', 1, ethernet(0x800, ip)],
    ['two VLAN tags', 1, ethernet(0x88a8, tagged)],
    ['MPLS', 1, ethernet(0x8847, Buffer.concat([Buffer.from('0001004000020140', 'hex'), ip]))],
    ['PPPoE', 1, ethernet(0x8864, Buffer.concat([Buffer.from([0x11, 0, 0, 1, 0, ip.length + 2, 0, 0x21]), ip]))],
    ['802.3 with LLC and SNAP', 1, ethernet(snap.length, snap)],
    ['cooked', 113, Buffer.concat([Buffer.from('000000010006020000000001000008 00'.replace(' ', ''), 'hex'), ip])],
    ['cooked v2', 276, Buffer.concat([Buffer.from('0800', 'hex'), Buffer.alloc(18), ip])],
    ['raw', 101, ip],
    ['raw IPv4', 228, ip],
    ['loopback', 0, Buffer.concat([Buffer.from([2, 0, 0, 0]), ip])],
    ['loopback of the other byte order', 108, Buffer.concat([Buffer.from([0, 0, 0, 2]), ip])],
    ['PPP with framing', 9, Buffer.concat([Buffer.from([0xff, 3, 0, 0x21]), ip])],
    ['PPP with a short protocol', 50, Buffer.concat([Buffer.from([0x21]), ip])],
    ['FDDI', 10, Buffer.concat([Buffer.from([0x57]), Buffer.alloc(12, 2), snap])],
    ['802.11', 105, wifi],
    ['radiotap', 127, Buffer.concat([Buffer.from([0, 0, 8, 0, 0, 0, 0, 0]), wifi])],
    ['PPI', 192, Buffer.concat([Buffer.from([0, 0, 8, 0, 105, 0, 0, 0]), wifi])],
    ['NFLOG', 239, Buffer.concat([Buffer.from([2, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0, ip.length + 4, 0, 9, 0]), ip])],
  ]
  for (const [name, linkType, data] of frames) {
    it(`finds the packet in ${name}`, () => {
      const { flows, counts } = run([{ at: 0, data, linkType }])
      expect(counts.undecoded).toEqual({})
      expect(flows[0]).toMatchObject({ orig: { address: A, port: 5000, bytes: 4 }, resp: { address: B } })
    })
  }

  it('keeps MAC addresses and VLANs', () => {
    const { flows } = run([{ at: 0, data: ethernet(0x8100, tagged), linkType: 1 }])
    expect(flows[0]).toMatchObject({
      vlan: 7,
      innerVlan: 9,
      orig: { l2: '02:00:00:00:00:bb' },
      resp: { l2: '02:00:00:00:00:aa' },
    })
  })

  it('counts what is no IP packet by nature, and what cannot be read, apart', () => {
    const { counts, entries } = run([
      { at: 0, data: ethernet(0x806, Buffer.alloc(28)), linkType: 1 },
      { at: 0, data: Buffer.alloc(5), linkType: 1 },
      { at: 0, data: ip, linkType: 147 },
      { at: 0, data: ip.subarray(0, 12) },
    ])
    expect(entries).toEqual([NO_FLOW, NO_FLOW, NO_FLOW, NO_FLOW])
    expect(counts).toMatchObject({
      packets: 4,
      inFlows: 0,
      nonFlow: { arp: 1 },
      undecoded: { 'truncated Ethernet header': 1, 'link type 147': 1, 'IP: truncated_IP': 1 },
    })
  })

  it('does not take link layer padding for payload', () => {
    const padded = Buffer.concat([ethernet(0x800, datagram('x')), Buffer.alloc(17)])
    expect(run([{ at: 0, data: padded, linkType: 1 }]).flows[0]?.orig).toMatchObject({ bytes: 1, ipBytes: 29 })
  })
})

describe('fragments', () => {
  const whole = udp(5000, 6000, 'x'.repeat(2000))
  const part = (from: number, to: number, more: boolean) =>
    ip4({
      src: A,
      dst: B,
      protocol: 17,
      id: 77,
      fragment: (from / 8) | (more ? 0x2000 : 0),
      payload: whole.subarray(from, to),
    })

  it('are put together, in any order, and count as one packet', () => {
    const order = [part(1600, 2008, false), part(800, 1600, true), part(0, 800, true)]
    const { flows, entries } = run(order.map((data, at) => ({ at, data })))
    expect(entries).toEqual([NO_FLOW, NO_FLOW, 1])
    expect(flows[0]?.orig).toMatchObject({ bytes: 2000, packets: 1, ipBytes: 2028 })
  })

  it('keep the bytes that came first where they overlap, and say so', () => {
    const other = ip4({ src: A, dst: B, protocol: 17, id: 77, fragment: 100, payload: Buffer.alloc(1208, 'y') })
    const { weirds, flows } = run([part(0, 1600, true), other].map((data, at) => ({ at, data })))
    expect(weirds.map(({ name }) => name)).toEqual(['fragment_inconsistency'])
    expect(flows[0]?.orig.bytes).toBe(2000)
  })
})

describe('tunnels', () => {
  const inner = datagram('inside', [1111, 2222])
  const gre = (payload: Buffer, type = 0x800) =>
    ip4({
      src: '1.1.1.1',
      dst: '2.2.2.2',
      protocol: 47,
      payload: Buffer.concat([Buffer.from([0, 0, type >> 8, type & 255]), payload]),
    })
  const over = (port: number, payload: Buffer) =>
    ip4({ src: '1.1.1.1', dst: '2.2.2.2', protocol: 17, payload: udp(7777, port, payload) })

  const overIp: [string, string, Buffer][] = [
    ['GRE', 'Tunnel::GRE', gre(inner)],
    ['GRE with Ethernet', 'Tunnel::GRE', gre(ethernet(0x800, inner), 0x6558)],
    ['IP in IP', 'Tunnel::IP', ip4({ src: '1.1.1.1', dst: '2.2.2.2', protocol: 4, payload: inner })],
  ]
  for (const [name, type, data] of overIp) {
    it(`${name}: the inner flow names its tunnel, which has no flow of its own`, () => {
      const { flows, tunnels } = run([{ at: 0, data }])
      expect(flows).toHaveLength(1)
      expect(tunnels).toEqual([
        expect.objectContaining({
          type,
          action: 'Tunnel::DISCOVER',
          origAddress: '1.1.1.1',
          origPort: 0,
          respAddress: '2.2.2.2',
          uid: flows[0]?.tunnelParents[0],
        }),
      ])
    })
  }

  const gtp = Buffer.concat([Buffer.from([0x30, 255, 0, inner.length, 0, 0, 0, 1]), inner])
  const inner6 = ip6(`2001${'0'.repeat(28)}`, `2002${'0'.repeat(28)}`, 17, udp(1111, 2222, 'inside'))
  const overUdp: [string, string, Buffer][] = [
    [
      'Tunnel::VXLAN',
      'vxlan',
      over(4789, Buffer.concat([Buffer.from('0800000000000100', 'hex'), ethernet(0x800, inner)])),
    ],
    [
      'Tunnel::GENEVE',
      'geneve',
      over(6081, Buffer.concat([Buffer.from('0000655800000100', 'hex'), ethernet(0x800, inner)])),
    ],
    ['Tunnel::GTPv1', 'gtpv1', over(2152, gtp)],
    [
      'Tunnel::AYIYA',
      'ayiya',
      over(5072, Buffer.concat([Buffer.from([0x40, 0x50, 0x01, 41]), Buffer.alloc(4 + 16 + 20), inner6])),
    ],
  ]
  for (const [type, service, data] of overUdp) {
    it(`${type}: the outer flow is the tunnel of the inner one, and closes it`, () => {
      const { flows, tunnels, entries } = run([{ at: 0, data }])
      const [outside, inside] = flows
      expect(outside).toMatchObject({ tunnelService: service, tunnelParents: [], orig: { port: 7777 } })
      expect(inside).toMatchObject({ tunnelParents: [outside?.uid], orig: { port: 1111, bytes: 6 } })
      expect(entries).toEqual([3])
      expect(tunnels.map((event) => [event.type, event.action, event.uid])).toEqual([
        [type, 'Tunnel::DISCOVER', outside?.uid],
        [type, 'Tunnel::CLOSE', outside?.uid],
      ])
    })
  }

  it('are believed in as Teredo once both sides speak it', () => {
    const back = ip4({ src: '2.2.2.2', dst: '1.1.1.1', protocol: 17, payload: udp(3544, 7777, inner6) })
    expect(run([{ at: 0, data: over(3544, inner6) }]).flows[0]?.tunnelService).toBeUndefined()
    expect(run([over(3544, inner6), back].map((data, at) => ({ at, data }))).flows[0]?.tunnelService).toBe('teredo')
  })

  it('end somewhere, however deep they are nested', () => {
    let data = inner
    for (let n = 0; n < 40; n++) data = gre(data)
    const { counts, entries } = run([{ at: 0, data }])
    expect(entries).toEqual([NO_FLOW])
    expect(counts.undecoded).toEqual({ 'too many tunnels': 1 })
  })

  it('that a flow changes too often stop being followed', () => {
    const sent = Array.from({ length: 10 }, (_, at) => ({ at, data: at % 2 === 0 ? inner : gre(inner) }))
    const { flows, weirds } = run(sent)
    expect(flows[0]).toMatchObject({ history: 'DX', orig: { packets: 10 } })
    expect(weirds).toEqual([expect.objectContaining({ name: 'tunnel_max_changes_per_connection_exceeded', addl: '5' })])
  })
})

describe('uids', () => {
  const two = [
    { at: 0, data: datagram() },
    { at: 0, data: ip4({ src: B, dst: A, protocol: 17, payload: udp(1, 2) }) },
  ]

  it('have the form of Zeek’s', () => {
    expect(run(two).flows.every(({ uid }) => /^C[0-9A-Za-z]{17}$/.test(uid))).toBe(true)
  })

  it('do not depend on the order in which flows are met', () => {
    const forward = run(two).flows.map(({ uid }) => uid)
    const backward = run([...two].reverse()).flows.map(({ uid }) => uid)
    expect(backward).toEqual([...forward].reverse())
  })

  it('of another capture are others', () => {
    const other = run(two, { captureId: 'other' }).flows.map(({ uid }) => uid)
    expect(run(two).flows.some(({ uid }) => other.includes(uid))).toBe(false)
  })

  it('differ even when packets of long ended flows come late', () => {
    const late = [
      { at: 0, data: datagram() },
      { at: 500, data: reply() },
      { at: 0, data: datagram() },
      { at: 0, data: datagram() },
    ]
    const uids = run(late).flows.map(({ uid }) => uid)
    expect(uids.length).toBeGreaterThan(2)
    expect(new Set(uids).size).toBe(uids.length)
  })
})

it('hands flows out as they end, so that few are kept', () => {
  const one = (n: number) => ip4({ src: A, dst: `10.1.${n >> 8}.${n & 255}`, protocol: 17, payload: udp(1, 2) })
  const { counts } = run(Array.from({ length: 5000 }, (_, n) => ({ at: n, data: one(n) })))
  expect(counts).toMatchObject({ flows: 5000, live: 0 })
  expect(counts.peakLive).toBeLessThan(70)
})

it('shows the innermost payload, the TCP header and the flow of the packet last fed', () => {
  const table = createFlowTable({ captureId: 'x', onFlow() {} })
  const sent = conversation([...OPEN, { by: 's', flags: 16, payload: 'SSH-2.0-x\r\n' }], [40_000, 2222])
  for (const { data } of sent)
    table.packet({ ...emptyPacket(101), buffer: data, capLen: data.length, origLen: data.length, seconds: T })
  const { buffer, offset, length } = table.payload
  expect(buffer.toString('latin1', offset, offset + length)).toBe('SSH-2.0-x\r\n')
  expect(table.segment).toMatchObject({ flags: 16, length: 11, whole: true })
  expect(table.identity()).toMatchObject({ index: 0, origPort: 40_000, respPort: 2222, transport: 'tcp' })
  expect(table.fromOriginator).toBe(false)
  expect(table.finish(0)).toBe(1)
  expect(table.finish()).toBe(0)
  expect(table.counts.oddPorts).toEqual([{ transport: 'tcp', port: 2222, protocol: 'ssh', flows: 1 }])
})

it('shows no payload for a segment without any, though the tunnel around it carries one', () => {
  const table = createFlowTable({ captureId: 'x', onFlow() {} })
  const ack = tcp({ srcPort: 40_000, dstPort: 8080, flags: 16, seq: 1 })
  const inner = ethernet(0x0800, ip4({ src: A, dst: B, protocol: 6, payload: ack }))
  const vxlan = Buffer.concat([Buffer.from([8, 0, 0, 0, 0, 0, 1, 0]), inner])
  const data = ip4({ src: A, dst: B, protocol: 17, payload: udp(50_000, 4789, vxlan) })
  table.packet({ ...emptyPacket(101), buffer: data, capLen: data.length, origLen: data.length, seconds: T })
  expect(table.identity()).toMatchObject({ transport: 'tcp', respPort: 8080, partial: true })
  expect(table.payload).toMatchObject({ transport: 6, length: 0 })
})

it('keeps what the caller puts to a flow, and gives it back with the flow when that ends', () => {
  const ended: unknown[] = []
  const table = createFlowTable<string>({ captureId: 'x', onFlow: (_flow, state) => ended.push(state) })
  for (const { data } of conversation(OPEN)) {
    table.packet({ ...emptyPacket(101), buffer: data, capLen: data.length, origLen: data.length, seconds: T })
    table.state = `${table.state ?? ''}.`
  }
  table.finish()
  expect(ended).toEqual(['...'])
  expect(table.state).toBeUndefined()
})

it('tells a weird without a flow once for a pair of addresses', () => {
  const zero = ip4({
    src: A,
    dst: B,
    protocol: 6,
    payload: tcp({ srcPort: 1, dstPort: 2, flags: 2, seq: 1 }).subarray(0, 10),
  })
  const { weirds } = run([0, 1, 2].map((at) => ({ at, data: zero })))
  expect(weirds).toEqual([
    expect.objectContaining({ name: 'truncated_header', source: 'TCP', flow: -1, origAddress: A }),
  ])
})

describe('mobile IPv6', () => {
  const HOME = '20010078000100320000000000000001'
  const [FROM, TO] = ['20010db8000000000000000000000001', '20010db8000000000000000000000002']
  const home = (length: number) =>
    Buffer.concat([Buffer.from([201, length]), Buffer.from(HOME, 'hex').subarray(0, length)])
  /** A destination options header in front of a datagram. */
  function withOptions(...options: Buffer[]) {
    const body = Buffer.concat([Buffer.from([17, 0]), ...options])
    const header = Buffer.alloc(8 * Math.ceil(body.length / 8))
    body.copy(header)
    header[1] = header.length / 8 - 1
    return run([{ at: 0, data: ip6(FROM, TO, 60, Buffer.concat([header, udp(1, 2)])) }])
  }

  it('names the true source of a packet', () => {
    const { flows, weirds } = withOptions(home(16))
    expect([flows[0]?.orig.address, weirds]).toEqual(['2001:78:1:32::1', []])
  })

  it('tells an address that is no address, and a second one', () => {
    expect(withOptions(home(2)).weirds).toMatchObject([{ name: 'bad_home_addr_len', origAddress: '2001:db8::1' }])
    expect(withOptions(home(16), home(16)).weirds).toMatchObject([
      { name: 'multiple_home_addr_opts', origAddress: '2001:78:1:32::1' },
    ])
  })
})

describe('GTP', () => {
  const gtp = (inner: Buffer) => {
    const header = Buffer.from([0x30, 0xff, 0, 0, 0, 0, 0, 1])
    header.writeUInt16BE(inner.length, 2)
    return Buffer.concat([header, inner])
  }
  const carried = (inner: Buffer, src = A) => ip4({ src, dst: B, protocol: 17, payload: udp(2152, 2152, gtp(inner)) })
  function violationsOf(data: Buffer) {
    const told: string[] = []
    const { flows } = run([{ at: 0, data }], {
      onViolation: ({ analyzer, reason, origPort }) => told.push(`${analyzer} ${reason} ${origPort}`),
    })
    return { told, flows: flows.length }
  }

  it('carries flows of its own', () => {
    expect(violationsOf(carried(datagram()))).toEqual({ told: [], flows: 2 })
  })

  it('is not followed inside GTP, nor where what it carries is cut, and that is told', () => {
    expect(violationsOf(carried(carried(datagram()), '10.0.0.3'))).toEqual({
      told: ['GTPV1 GTP-in-GTP 2152'],
      flows: 2,
    })
    expect(violationsOf(carried(datagram('long'.repeat(9)).subarray(0, 40)))).toEqual({
      told: ['GTPV1 Truncated GTPv1 2152'],
      flows: 1,
    })
  })
})

it('calls an outer flow GENEVE though only an ARP packet is inside', () => {
  const geneve = Buffer.concat([Buffer.from('0000080600000100', 'hex'), Buffer.alloc(28)])
  const { flows } = run([{ at: 0, data: ip4({ src: A, dst: B, protocol: 17, payload: udp(5000, 6081, geneve) }) }])
  expect(flows).toMatchObject([{ tunnelService: 'geneve' }])
})

it('tells fragments beyond 64,000 bytes, and a datagram that they make too long', () => {
  const piece = (from: number, length: number, more: boolean) =>
    ip4({ src: A, dst: B, protocol: 17, payload: Buffer.alloc(length), fragment: (more ? 0x2000 : 0) | (from / 8) })
  const { weirds, flows } = run([
    { at: 0, data: piece(0, 32_000, true) },
    { at: 1, data: piece(32_000, 32_000, true) },
    { at: 2, data: piece(64_000, 1_520, true) },
    { at: 3, data: piece(65_520, 100, false) },
  ])
  expect(weirds.map(({ name, time }) => `${time - T} ${name}`)).toEqual([
    '2 excessively_large_fragment',
    '3 invalid_IP_header_size',
  ])
  expect(flows).toEqual([])
})

it('takes an unknown link layer for something odd', () => {
  const { weirds, counts } = run([{ at: 0, data: Buffer.from('6188', 'hex').reverse(), linkType: 230 }])
  expect(weirds).toMatchObject([{ name: 'unknown_ip_version', source: 'IP' }])
  expect(counts.undecoded).toEqual({ 'link type 230': 1 })
})

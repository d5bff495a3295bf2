import { describe, expect, it } from 'vitest'
import { rdp, rdpeudp } from '../../../../../src/engines/tshark/protocols/rdp.ts'
import { ssl } from '../../../../../src/engines/tshark/protocols/tls.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'
import { le, utf16 } from './windows-messages.ts'

const scene = (options = {}) => {
  const theStage = stage([rdp, rdpeudp, ssl])
  return { ...theStage, flow: theStage.flow({ respPort: 3389, ...options }) }
}

function tpkt(...parts: (Buffer | string)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)))
  const header = Buffer.from([3, 0, 0, 0])
  header.writeUInt16BE(4 + body.length, 2)
  return Buffer.concat([header, body])
}
const x224 = (type: number, variable: Buffer) => tpkt(Buffer.from([6 + variable.length, type, 0, 0, 0, 0, 0]), variable)
const negotiation = (type: number, value: number) => le([1, type], [1, 0], [2, 8], [4, value])
const request = (cookie = '', protocols = 3) =>
  x224(0xe0, Buffer.concat([Buffer.from(cookie), negotiation(1, protocols)]))
const confirm = (protocol: number) => x224(0xd0, negotiation(2, protocol))
const failure = (code: number) => x224(0xd0, negotiation(3, code))

const block = (type: number, body: Buffer) => Buffer.concat([le([2, type], [2, body.length + 4]), body])
const padded = (text: string, length: number) => Buffer.concat([utf16(text), Buffer.alloc(length)]).subarray(0, length)
const core = block(
  0xc001,
  Buffer.concat([
    le([4, 0x80004], [2, 1280], [2, 720], [2, 0xca01], [2, 0xaa03], [4, 1031], [4, 7601]),
    padded('ANNS-PC', 32),
    Buffer.alloc(12 + 64),
    le([2, 0xca01], [2, 1], [4, 0], [2, 24], [2, 15], [2, 3]),
    padded('12345-OEM', 64),
    Buffer.alloc(8),
  ]),
)
const channels = block(
  0xc003,
  Buffer.concat([le([4, 2]), Buffer.from('rdpdr\0\0\0'), le([4, 0]), Buffer.from('cliprdr\0'), le([4, 0])]),
)
const gcc = (key: string, blocks: Buffer) =>
  Buffer.concat([Buffer.from(key), Buffer.from([0x80 | (blocks.length >> 8), blocks.length & 0xff]), blocks])
const initial = tpkt(
  Buffer.from([2, 0xf0, 0x80, 0x7f, 0x65, 0x82, 1, 0]),
  Buffer.alloc(30),
  gcc('Duca', Buffer.concat([core, channels])),
)
const security = block(
  0x0c02,
  Buffer.concat([le([4, 2], [4, 3], [4, 32], [4, 12]), Buffer.alloc(32), le([4, 1], [4, 1], [4, 1])]),
)
const response = tpkt(
  Buffer.from([2, 0xf0, 0x80, 0x7f, 0x66, 0x82, 0, 90, 0x0a, 1, 0]),
  Buffer.alloc(20),
  gcc('McDn', security),
)

describe('RDP', () => {
  it('logs what client and server tell one another where RDP itself encrypts', () => {
    const { flow, rows } = scene()
    flow
      .client(request('Cookie: mstshash=EX\\ann\r\n', 0), 10)
      .server(confirm(0))
      .client(initial)
      .server(response)
      .end()
    expect(rows('rdp')).toEqual([
      {
        ts: 10,
        cookie: 'EX\\ann',
        result: 'Success',
        security_protocol: 'RDP',
        client_channels: ['rdpdr', 'cliprdr'],
        keyboard_layout: 'German - Germany',
        client_build: 'RDP 7.1',
        client_name: 'ANNS-PC',
        client_dig_product_id: '12345-OEM',
        desktop_width: 1280,
        desktop_height: 720,
        requested_color_depth: '32bit',
        cert_type: 'RSA',
        cert_count: 1,
        cert_permanent: true,
        encryption_level: 'High',
        encryption_method: '128bit',
      },
    ])
    expect(flow.services()).toEqual(['rdp'])
  })

  it('hands the flow to TLS where both agree on it', () => {
    const { flow, rows } = scene()
    flow.client(request(), 10).server(confirm(8))
    flow.client(Buffer.from(`160301002d010000290303${'00'.repeat(32)}000002002f0100`, 'hex'))
    flow.server(Buffer.from(`160303002a020000260303${'11'.repeat(32)}00002f00`, 'hex')).end()
    expect(rows('rdp')).toEqual([
      { ts: 10, cookie: '', result: 'encrypted', security_protocol: 'HYBRID_EX', cert_count: 0 },
    ])
    expect(rows('ssl')).toHaveLength(1)
    expect(flow.services()).toEqual(['ssl'])
  })

  it('logs why the server refused', () => {
    const { flow, rows } = scene()
    flow.client(request('Cookie: mstshash=ann\r\n'), 1).server(failure(5)).end()
    expect(rows('rdp')).toEqual([{ ts: 1, cookie: 'ann', result: 'HYBRID_REQUIRED_BY_SERVER', cert_count: 0 }])
    expect(flow.services()).toEqual([])
  })

  it('logs nothing where the negotiation is nonsense from the start', () => {
    const { flow, rows } = scene()
    flow.client('GET / HTTP/1.1\r\n\r\n').server(confirm(1)).end()
    expect(rows('rdp')).toEqual([])
  })

  it('reads packets whatever the segments they come in', () => {
    const { flow, rows } = scene()
    for (const byte of request('Cookie: mstshash=x\r\n', 0)) flow.client(Buffer.from([byte]))
    flow.server(confirm(0))
    for (const byte of initial) flow.client(Buffer.from([byte]))
    flow.end()
    expect(rows('rdp')).toMatchObject([{ cookie: 'x', client_name: 'ANNS-PC' }])
  })

  it('is recognized on other ports', () => {
    const { flow, rows } = scene({ respPort: 13389 })
    flow.client(request()).server(confirm(2)).end()
    expect(rows('rdp')).toMatchObject([{ security_protocol: 'HYBRID' }])
  })

  it('recognizes its transport over UDP by an answered SYN', () => {
    const syn = Buffer.from('ffffffff004000010b127f15', 'hex')
    const answered = scene({ transport: 'udp' })
    answered.flow.client(syn).server(Buffer.from('0b127f15004000050f94ea0b', 'hex')).end()
    expect(answered.flow.services()).toEqual(['rdpeudp'])
    const unanswered = scene({ transport: 'udp' })
    unanswered.flow.client(syn).end()
    expect(unanswered.flow.services()).toEqual([])
  })

  it('survives every packet cut short and every byte spoilt', () => {
    const theStage = stage([rdp, rdpeudp])
    for (const packet of [request('Cookie: mstshash=x\r\n'), confirm(1), initial, response]) {
      for (const bytes of damaged(packet)) theStage.flow({ respPort: 3389 }).client(bytes).server(bytes).end()
    }
    expect(theStage.faults).toEqual([])
  })
})

import { describe, expect, it } from 'vitest'
import { dnp3Tcp, dnp3Udp } from '../../../../../src/engines/tshark/protocols/dnp3.ts'
import { damaged, recordFlow } from './recorded-flow.ts'

const [FIRST, FINAL] = [0x40, 0x80]

/** IEEE 1815, 9: a link frame, its checksums left zero. */
function frame(user: Buffer): Buffer {
  const blocks: Buffer[] = []
  for (let at = 0; at < user.length; at += 16) blocks.push(user.subarray(at, at + 16), Buffer.alloc(2))
  return Buffer.concat([Buffer.from([0x05, 0x64, 5 + user.length, 0xc4, 1, 0, 2, 0, 0, 0]), ...blocks])
}

const segment = (control: number, hex: string) =>
  frame(Buffer.concat([Buffer.from([control]), Buffer.from(hex, 'hex')]))
const message = (hex: string) => segment(FIRST | FINAL, hex)
const [READ, RESPONSE, UNSOLICITED] = [message('c0013c0206'), message('c0819000'), message('f0820001')]

const flow = () => recordFlow(dnp3Tcp, { transport: 'tcp' })

describe('DNP3', () => {
  it('logs a reply with its request and the indications of the device', () => {
    const { dissector, records, services } = flow()
    dissector.data(true, READ, 1)
    dissector.data(false, RESPONSE, 2)
    expect(services).toEqual(['dnp3_tcp'])
    expect(records).toEqual([{ log: 'dnp3', ts: 2, fields: { fc_request: 'READ', fc_reply: 'RESPONSE', iin: 0x9000 } }])
  })

  it('logs replies that nobody asked for, and requests that nobody answered when the flow ends', () => {
    const { dissector, records } = flow()
    dissector.data(false, UNSOLICITED, 1)
    dissector.data(true, READ, 2)
    dissector.data(true, message('c10d'), 3)
    dissector.end?.(9)
    expect(records).toEqual([
      { log: 'dnp3', ts: 1, fields: { fc_reply: 'UNSOLICITED_RESPONSE', iin: 1 } },
      { log: 'dnp3', ts: 3, fields: { fc_request: 'COLD_RESTART' } },
    ])
  })

  it('puts a message of several transport segments together and dates it by the last', () => {
    const { dissector, records } = flow()
    const long = '00'.repeat(200)
    dissector.data(false, segment(FIRST, `c0810000${long}`), 1)
    dissector.data(false, segment(1, long), 2)
    expect(records).toEqual([])
    dissector.data(false, segment(FINAL | 2, long), 3)
    expect(records).toEqual([{ log: 'dnp3', ts: 3, fields: { fc_reply: 'RESPONSE', iin: 0 } }])
  })

  it('reads frames that come byte by byte, or several in a segment', () => {
    const [pieces, whole] = [flow(), flow()]
    const stream = Buffer.concat([RESPONSE, frame(Buffer.alloc(0)), UNSOLICITED])
    for (const byte of stream) pieces.dissector.data(false, Buffer.from([byte]), 1)
    whole.dissector.data(false, stream, 1)
    expect(pieces.records).toEqual(whole.records)
    expect(whole.records).toHaveLength(2)
  })

  it('calls bytes that begin no frame weird, and reads on with the next segment', () => {
    const { dissector, records, weirds } = flow()
    dissector.data(false, Buffer.from('nothing of this kind'), 1)
    dissector.data(false, RESPONSE, 2)
    expect(weirds).toEqual(['dnp3_header_lacks_magic'])
    expect(records).toHaveLength(1)
  })

  it('reads datagrams too, each from its start', () => {
    const { dissector, records, services } = recordFlow(dnp3Udp)
    dissector.data(true, READ, 1)
    dissector.data(false, RESPONSE.subarray(0, 12), 2)
    dissector.data(false, RESPONSE, 3)
    expect(services).toEqual(['dnp3_udp'])
    expect(records).toEqual([{ log: 'dnp3', ts: 3, fields: { fc_request: 'READ', fc_reply: 'RESPONSE', iin: 0x9000 } }])
  })

  it('is recognized on other ports once both sides have sent a frame', () => {
    const none = Buffer.alloc(0)
    expect(dnp3Tcp.recognize?.(READ, none, 'tcp')).toBeUndefined()
    expect(dnp3Tcp.recognize?.(READ, RESPONSE, 'tcp')).toBe(true)
    expect(dnp3Tcp.recognize?.(READ, Buffer.from('HTTP'), 'tcp')).toBe(false)
    expect(dnp3Udp.recognize?.(READ, none, 'udp')).toBe(true)
  })

  it('survives frames that are cut or spoilt', () => {
    for (const each of damaged(Buffer.concat([READ, RESPONSE]))) {
      for (const protocol of [dnp3Tcp, dnp3Udp]) {
        const { dissector } = recordFlow(protocol)
        expect(() => dissector.data(false, each, 1)).not.toThrow()
      }
    }
  })
})

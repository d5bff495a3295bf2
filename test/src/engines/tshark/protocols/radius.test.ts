import { describe, expect, it } from 'vitest'
import { radius } from '../../../../../src/engines/tshark/protocols/radius.ts'
import { damaged, recordFlow } from './recorded-flow.ts'

const [REQUEST, ACCEPT, REJECT, CHALLENGE] = [1, 2, 3, 11]

/** RFC 2865, 3: code, identifier, length, authenticator, attributes. */
function message(code: number, ...attributes: [number, string | Buffer][]): Buffer {
  const encoded = attributes.map(([type, value]) =>
    Buffer.concat([Buffer.from([type, value.length + 2]), Buffer.from(value)]),
  )
  const body = Buffer.concat([Buffer.alloc(16), ...encoded])
  return Buffer.concat([Buffer.from([code, 7, 0, body.length + 4]), body])
}

describe('RADIUS', () => {
  it('writes one record when an authentication is accepted, with its challenge', () => {
    const { dissector, records, services } = recordFlow(radius)
    const request = message(
      REQUEST,
      [1, 'alice'],
      [31, '00-1A-2B-3C-4D-5E'],
      [66, '\x01gw.test'],
      [77, 'CONNECT 11Mbps'],
    )
    dissector.data(true, request, 10)
    dissector.data(false, message(CHALLENGE, [18, 'Your code?'], [8, Buffer.from([10, 0, 0, 5])]), 11)
    dissector.data(true, message(REQUEST, [1, 'bob']), 12)
    dissector.data(false, message(ACCEPT), 13)
    dissector.end?.(20)
    expect(services).toEqual(['radius'])
    expect(records).toEqual([
      {
        log: 'radius',
        ts: 10,
        fields: {
          username: 'alice',
          mac: '00:1a:2b:3c:4d:5e',
          framed_addr: '10.0.0.5',
          tunnel_client: 'gw.test',
          connect_info: 'CONNECT 11Mbps',
          reply_msg: 'Your code?',
          result: 'success',
          ttl: 3,
        },
      },
    ])
  })

  it('begins a new record after each answer', () => {
    const { dissector, records } = recordFlow(radius)
    dissector.data(true, message(REQUEST, [1, 'alice']), 1)
    dissector.data(false, message(REJECT), 2)
    dissector.data(true, message(REQUEST, [1, 'bob']), 3)
    dissector.data(false, message(ACCEPT), 4)
    expect(records.map(({ fields }) => [fields.username, fields.result])).toEqual([
      ['alice', 'failed'],
      ['bob', 'success'],
    ])
  })

  it('writes a request without an answer when the flow ends: the result is unknown and took no time', () => {
    const { dissector, records } = recordFlow(radius)
    dissector.data(true, message(REQUEST, [1, 'alice']), 1)
    dissector.data(true, message(REQUEST, [1, 'alice']), 6)
    dissector.end?.(9)
    expect(records).toEqual([{ log: 'radius', ts: 1, fields: { username: 'alice', result: 'unknown' } }])
  })

  it('knows no duration of an answer whose request was not seen', () => {
    const { dissector, records } = recordFlow(radius)
    dissector.data(false, message(REJECT), 4)
    expect(records).toEqual([{ log: 'radius', ts: 4, fields: { result: 'failed' } }])
  })

  it('leaves out a calling station that is no hardware address', () => {
    const { dissector, records } = recordFlow(radius)
    dissector.data(true, message(REQUEST, [31, '+49 30 1234567']), 1)
    dissector.end?.(1)
    expect(records[0]?.fields).not.toHaveProperty('mac')
  })

  it('survives messages that are cut or spoilt', () => {
    const { dissector } = recordFlow(radius)
    const whole = message(REQUEST, [1, 'alice'], [8, Buffer.alloc(4)], [66, '\x01x'], [31, '001a2b3c4d5e'])
    for (const each of damaged(whole)) expect(() => dissector.data(true, each, 1)).not.toThrow()
  })
})

import { describe, expect, it } from 'vitest'
import { http } from '../../../../../src/engines/tshark/protocols/http.ts'
import { irc } from '../../../../../src/engines/tshark/protocols/irc.ts'
import { websocket } from '../../../../../src/engines/tshark/protocols/websocket.ts'
import { createFrameReader } from '../../../../../src/engines/tshark/protocols/websocket-frames.ts'
import { stage } from './play-flow.ts'

/** The handshake of RFC 6455, 1.2 and 1.3. */
const REQUEST = [
  'GET /chat HTTP/1.1',
  'Host: server.example.com',
  'Upgrade: websocket',
  'Connection: Upgrade',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Protocol: chat, superchat',
  'Sec-WebSocket-Extensions: permessage-deflate',
  'User-Agent: test',
  '\r\n',
].join('\r\n')
const reply = (accept = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=') =>
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n`

const MASK = Buffer.from('37fa213d', 'hex')
/** RFC 6455, 5.2. */
function frame(payload: string, { opcode = 1, masked = false, fin = true, compressed = false } = {}): Buffer {
  const body = Buffer.from(payload, 'latin1')
  const length = body.length < 126 ? [body.length] : [126, body.length >> 8, body.length & 0xff]
  length[0] = (length[0] as number) | (masked ? 0x80 : 0)
  const head = Buffer.from([(fin ? 0x80 : 0) | (compressed ? 0x40 : 0) | opcode, ...length])
  if (!masked) return Buffer.concat([head, body])
  return Buffer.concat([head, MASK, body.map((byte, i) => byte ^ (MASK[i % 4] as number))])
}

const RECORD = {
  ts: 2,
  host: 'server.example.com',
  uri: '/chat',
  user_agent: 'test',
  subprotocol: 'chat',
  client_protocols: ['chat', 'superchat'],
  client_extensions: ['permessage-deflate'],
}

describe('WebSocket', () => {
  it('writes one record of the handshake when the server has switched', () => {
    const { flow, rows } = stage([http, websocket])
    const session = flow({ respPort: 8080 })
      .client(REQUEST, 1)
      .server(reply(), 2)
      .client(frame('hi', { masked: true }), 3)
      .end()
    expect(session.services()).toEqual(['http', 'websocket'])
    expect(rows('websocket')).toEqual([RECORD])
    expect(rows('weird')).toEqual([])
  })

  it('needs no HTTP port, and no whole head in one segment', () => {
    const { flow, rows } = stage([http, websocket])
    const session = flow({ respPort: 12345 }).client(REQUEST.slice(0, 30), 0).client(REQUEST.slice(30), 1)
    session.server(reply().slice(0, 50), 1.5).server(reply().slice(50), 2).end()
    expect(rows('websocket')).toEqual([RECORD])
  })

  it('tells when the accept header does not fit the key', () => {
    const { flow, rows } = stage([websocket])
    flow({ respPort: 80 }).client(REQUEST, 1).server(reply('wrong'), 2).end()
    const addl = 'expected=s3pPLMBiTxaQ9kYGzzhZRbK+xOo=, found=wrong'
    expect(rows('weird')).toMatchObject([{ name: 'websocket_wrong_accept_header', addl, source: 'WebSocket' }])
    expect(rows('websocket')).toEqual([RECORD])
  })

  it('finds out what its messages carry', () => {
    const { flow, rows } = stage([http, websocket, irc])
    const session = flow({ respPort: 80 }).client(REQUEST).server(reply())
    session
      .client(frame('NICK a\r\nUSER a b c :d\r\n', { masked: true }))
      .server(frame(':s 001 a :hi\r\n'))
      .end()
    expect(session.services()).toEqual(['http', 'websocket', 'irc'])
    expect(rows('irc')).toHaveLength(2)
  })

  it('is nothing where the server did not switch', () => {
    const { flow, rows } = stage([http, websocket])
    const session = flow({ respPort: 80 })
      .client(REQUEST)
      .server('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')
      .end()
    expect(session.services()).toEqual(['http'])
    expect(rows('websocket')).toEqual([])
  })
})

describe('WebSocket frames', () => {
  function read(...pieces: Buffer[]) {
    const payloads: string[] = []
    const reader = createFrameReader({ payload: (bytes) => payloads.push(bytes.toString('latin1')) })
    for (const piece of pieces) reader.data(piece, 0)
    return payloads
  }

  it('give a payload in one piece however the bytes were cut', () => {
    const bytes = Buffer.concat([frame('Hello', { masked: true }), frame('x'.repeat(300)), frame('end', { opcode: 2 })])
    expect(read(...[...bytes].map((byte) => Buffer.from([byte])))).toEqual(['Hello', 'x'.repeat(300), 'end'])
  })

  it('give nothing of control frames and of compressed messages, in any of their frames', () => {
    const parts = [
      frame('ping', { opcode: 9 }),
      frame('de', { compressed: true, fin: false }),
      frame('flated', { opcode: 0 }),
      frame('plain', { fin: false }),
      frame(' text', { opcode: 0 }),
    ]
    expect(read(Buffer.concat(parts))).toEqual(['plain', ' text'])
  })

  it('hold little of a frame that claims to be endless', () => {
    const endless = Buffer.from('827f7fffffffffffffff', 'hex')
    const pieces = Array.from({ length: 200 }, () => Buffer.alloc(1000, 'y'))
    const given = read(endless, ...pieces)
    expect(given.length).toBeGreaterThan(1)
    expect(Math.max(...given.map((each) => each.length))).toBeLessThan(70_000)
  })
})

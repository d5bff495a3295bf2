/**
 * WebSocket (RFC 6455): one websocket record a connection that was upgraded, from both heads of the handshake;
 * what the messages carry goes to whichever protocol recognizes it.
 *
 * Two instances may serve one flow: one that recognized the handshake and sees it from its start, and one
 * that HTTP hands the flow to after the upgrade, which sees frames alone. The first one there reads the frames.
 */

import { createHash } from 'node:crypto'
import type { Dissector, Protocol, Session } from './protocol.ts'
import { textOfLatin1 } from './text.ts'
import { createFrameReader } from './websocket-frames.ts'

const UPGRADE_REQUEST = /^GET [^\r\n]+ HTTP\/1\.1\r\n/
const UPGRADE_HEADER = /\r\nupgrade:[ \t]*websocket[ \t]*\r\n/i
const ACCEPTED = /^HTTP\/1\.1 101\b/
const HEAD_END = '\r\n\r\n'
const MAX_HEAD_BYTES = 65536
/** RFC 6455, 1.3. */
const ACCEPT_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

export const websocket: Protocol = {
  name: 'websocket',
  logs: ['websocket'],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const [request, reply] = [originator.toString('latin1'), responder.toString('latin1')]
    if (request.length >= 4 && !request.startsWith('GET ')) return false
    if (reply.length >= 12 && !ACCEPTED.test(reply)) return false
    return UPGRADE_REQUEST.test(request) && UPGRADE_HEADER.test(request) && ACCEPTED.test(reply) ? true : undefined
  },
  dissect: createWebSocket,
}

/** Flows whose frames somebody reads. */
const framed = new WeakSet<Session>()

function createWebSocket(session: Session): Dissector {
  const heads: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)]
  /** Where each side stands: in its head, or behind it. */
  const inHead: [boolean, boolean] = [true, true]
  let started = false
  let gaveUp = false
  let request: Head | undefined
  let inner: Dissector | undefined
  const frames = [true, false].map((fromOriginator) =>
    createFrameReader({ payload: (bytes, ts) => inner?.data(fromOriginator, bytes, ts) }),
  )

  /** Without a head in front this is what comes after an upgrade that another has seen. */
  function begin(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    started = true
    const start = bytes.subarray(0, 5).toString('latin1')
    if (fromOriginator ? start.startsWith('GET ') : start === 'HTTP/') return
    inHead[0] = inHead[1] = false
    session.confirm('websocket')
    readFrames(ts)
  }

  function readFrames(ts: number): void {
    if (framed.has(session)) return
    framed.add(session)
    inner = session.handOver('any', ts)
  }

  function takeHead(side: 0 | 1, bytes: Buffer, ts: number): void {
    const whole = Buffer.concat([heads[side], bytes])
    const end = whole.indexOf(HEAD_END)
    if (end < 0 && whole.length <= MAX_HEAD_BYTES) {
      heads[side] = whole
      return
    }
    heads[side] = Buffer.alloc(0)
    inHead[side] = false
    if (end < 0) {
      gaveUp = true
      return
    }
    const head = parseHead(whole.subarray(0, end).toString('latin1'))
    if (side === 0) request = head
    else if (request === undefined) gaveUp = true
    else upgraded(request, head, ts)
    const rest = whole.subarray(end + HEAD_END.length)
    if (rest.length > 0) frame(side, rest, ts)
  }

  function upgraded(asked: Head, answer: Head, ts: number): void {
    session.confirm('websocket')
    const key = asked.values('sec-websocket-key')[0] ?? ''
    const expected = createHash('sha1')
      .update(key + ACCEPT_SUFFIX, 'latin1')
      .digest('base64')
    const found = answer.values('sec-websocket-accept')[0] ?? ''
    if (found !== expected)
      session.weird(
        ts,
        'websocket_wrong_accept_header',
        'WebSocket',
        `expected=${expected}, found=${textOfLatin1(found)}`,
      )
    session.emit('websocket', ts, {
      host: text(asked.values('host')[0]),
      uri: text(asked.target),
      user_agent: text(asked.values('user-agent')[0]),
      subprotocol: text(answer.values('sec-websocket-protocol')[0]),
      client_protocols: list(asked.values('sec-websocket-protocol')),
      server_extensions: list(answer.values('sec-websocket-extensions')),
      client_extensions: list(asked.values('sec-websocket-extensions')),
    })
    readFrames(ts)
  }

  function frame(side: 0 | 1, bytes: Buffer, ts: number): void {
    if (inner !== undefined) frames[side]?.data(bytes, ts)
  }

  return {
    data(fromOriginator, bytes, ts) {
      if (gaveUp) return
      if (!started) begin(fromOriginator, bytes, ts)
      const side = fromOriginator ? 0 : 1
      if (inHead[side]) takeHead(side, bytes, ts)
      else frame(side, bytes, ts)
    },
    gap(fromOriginator) {
      const side = fromOriginator ? 0 : 1
      if (inHead[side]) gaveUp = true
      else frames[side]?.lost()
    },
    finished: (fromOriginator, ts) => inner?.finished?.(fromOriginator, ts),
    end: (ts) => inner?.end?.(ts),
  }
}

interface Head {
  target: string
  /** All values of a header, in order. */
  values(name: string): string[]
}

function parseHead(text: string): Head {
  const [first = '', ...lines] = text.split('\r\n', 1000)
  const headers = lines.map((line) => {
    const colon = line.indexOf(':')
    return { name: line.slice(0, Math.max(0, colon)).trim().toLowerCase(), value: line.slice(colon + 1).trim() }
  })
  return {
    target: first.split(' ')[1] ?? '',
    values: (name) => headers.filter((header) => header.name === name).map(({ value }) => value),
  }
}

const text = (value: string | undefined) => (value === undefined ? undefined : textOfLatin1(value))

function list(values: string[]): string[] | undefined {
  if (values.length === 0) return undefined
  return values.flatMap((value) => value.split(',')).map((part) => textOfLatin1(part.trim()))
}

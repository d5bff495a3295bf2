/**
 * SOCKS (RFC 1928, 1929; SOCKS4): one socks record for a connection whose request was answered, one tunnel
 * record for its request; what follows a granted request goes to the protocol that it is.
 *
 * SOCKS4 stops at its request: its answers carry no version, and Zeek takes them for none.
 */

import type { Dissector, Fields, Protocol, Session } from './protocol.ts'
import { ipv4Text, ipv6Text, textOf } from './text.ts'

const STATUS = [
  'succeeded',
  'general SOCKS server failure',
  'connection not allowed by ruleset',
  'Network unreachable',
  'Host unreachable',
  'Connection refused',
  'TTL expired',
  'Command not supported',
  'Address type not supported',
]
const NO_AUTHENTICATION = 0
const USERNAME_PASSWORD = 2
const CONNECT = 1
const IPV4 = 1
const NAME = 3
const IPV6 = 4
/** No message of the protocol is longer. */
const MAX_MESSAGE_BYTES = 1024

export const socks: Protocol = {
  name: 'socks',
  logs: ['socks', 'tunnel'],
  tcpPorts: [1080],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const version = originator[0]
    if (version === undefined) return undefined
    if (version === 5) return greeted(originator, responder)
    if (version !== 4 || (originator[1] ?? 1) > 2 || (originator[1] ?? 1) === 0) return false
    if (originator.length < 9 || responder.length < 2) return undefined
    return (
      originator.includes(0, 8) &&
      responder[0] === 0 &&
      (responder[1] as number) >= 90 &&
      (responder[1] as number) <= 93
    )
  },
  dissect: createSocks,
}

/** The client offers methods, the server picks one of them. */
function greeted(originator: Buffer, responder: Buffer): boolean | undefined {
  const count = originator[1]
  if (count === undefined || originator.length < 2 + count) return count === 0 ? false : undefined
  if (responder[0] !== undefined && responder[0] !== 5) return false
  const picked = responder[1]
  if (picked === undefined) return undefined
  return picked === 0xff || originator.subarray(2, 2 + count).includes(picked)
}

type Step = 'methods' | 'login' | 'request' | 'passing' | 'over'

interface Endpoint {
  host?: string
  name?: string
  port: number
  size: number
}

function createSocks(session: Session): Dissector {
  const rest: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)]
  /** Each side's next message. */
  const steps: [Step, Step] = ['methods', 'methods']
  let started: number | undefined
  let user: string | undefined
  let request: Fields = {}
  let isConnect = false
  let tunnel: Dissector | undefined

  function client(bytes: Buffer, ts: number): number {
    const [first, second] = [bytes[0] as number, bytes[1] as number]
    if (steps[0] === 'methods') {
      if (first === 4) return socks4(bytes, ts)
      if (first !== 5) return give()
      if (bytes.length < 2 + second) return 0
      // What the server picks tells what comes next.
      steps[0] = 'login'
      return 2 + second
    }
    if (steps[0] === 'login' && first === 1) {
      const passwordAt = 2 + second
      const size = passwordAt + 1 + (bytes[passwordAt] ?? 0)
      if (bytes.length <= passwordAt || bytes.length < size) return 0
      started ??= ts
      user = textOf(bytes.subarray(2, passwordAt))
      steps[0] = 'request'
      return size
    }
    if (first !== 5) return give()
    const endpoint = readEndpoint(bytes)
    if (endpoint === undefined)
      return bytes.length >= 4 && ![IPV4, NAME, IPV6].includes(bytes[3] as number) ? give() : 0
    started ??= ts
    request = { 'request.host': endpoint.host, 'request.name': endpoint.name, request_p: endpoint.port }
    isConnect = second === CONNECT
    steps[0] = 'passing'
    discovered(ts)
    return endpoint.size
  }

  function server(bytes: Buffer, ts: number): number {
    const [first, second] = [bytes[0] as number, bytes[1] as number]
    if (steps[1] === 'login') {
      steps[1] = 'request'
      return 2
    }
    if (first !== 5) return give()
    if (steps[1] === 'methods') {
      if (second !== NO_AUTHENTICATION && second !== USERNAME_PASSWORD) return give()
      steps[1] = second === USERNAME_PASSWORD ? 'login' : 'request'
      return 2
    }
    const endpoint = readEndpoint(bytes)
    if (endpoint === undefined)
      return bytes.length >= 4 && ![IPV4, NAME, IPV6].includes(bytes[3] as number) ? give() : 0
    session.confirm('socks')
    session.emit('socks', started ?? ts, {
      version: 5,
      user,
      status: STATUS[second] ?? `unknown-${second}`,
      ...request,
      'bound.host': endpoint.host,
      'bound.name': endpoint.name,
      bound_p: endpoint.port,
    })
    steps[1] = 'passing'
    if (second === 0 && isConnect) tunnel = session.handOver('any', ts)
    else give()
    return endpoint.size
  }

  function socks4(bytes: Buffer, ts: number): number {
    if (bytes.length < 9) return 0
    discovered(ts)
    return give()
  }

  function discovered(ts: number): void {
    const { origAddr, respAddr, respPort } = session.flow
    session.emitBare('tunnel', ts, {
      'id.orig_h': origAddr,
      'id.orig_p': 0,
      'id.resp_h': respAddr,
      'id.resp_p': respPort,
      tunnel_type: 'Tunnel::SOCKS',
      action: 'Tunnel::DISCOVER',
    })
  }

  function give(): number {
    steps[0] = steps[1] = 'over'
    return 0
  }

  function read(side: 0 | 1, bytes: Buffer, ts: number): void {
    let buffer: Buffer = rest[side].length > 0 ? Buffer.concat([rest[side], bytes]) : bytes
    while (buffer.length >= 2 && steps[side] !== 'over' && steps[side] !== 'passing') {
      const used = side === 0 ? client(buffer, ts) : server(buffer, ts)
      if (used === 0) break
      buffer = buffer.subarray(used)
    }
    if (tunnel !== undefined && steps[side] === 'passing') {
      flush(0, ts)
      rest[side] = Buffer.alloc(0)
      if (buffer.length > 0) tunnel.data(side === 0, buffer, ts)
      return
    }
    rest[side] = Buffer.from(buffer)
    if (rest[side].length > (steps[side] === 'passing' ? 65536 : MAX_MESSAGE_BYTES)) give()
    if (steps[side] === 'over') rest[0] = rest[1] = Buffer.alloc(0)
  }

  /** What the client sent before the server had granted its request. */
  function flush(side: 0 | 1, ts: number): void {
    const early = rest[side]
    rest[side] = Buffer.alloc(0)
    if (early.length > 0) tunnel?.data(side === 0, early, ts)
  }

  return {
    data(fromOriginator, bytes, ts) {
      const side = fromOriginator ? 0 : 1
      if (steps[side] !== 'over') read(side, bytes, ts)
    },
    gap(fromOriginator, length, ts) {
      if (tunnel !== undefined) tunnel.gap?.(fromOriginator, length, ts)
      else give()
    },
    finished: (fromOriginator, ts) => tunnel?.finished?.(fromOriginator, ts),
    end: (ts) => tunnel?.end?.(ts),
  }
}

/** Version, command or reply, reserved, address type, address, port (RFC 1928, 4 and 6). */
function readEndpoint(bytes: Buffer): Endpoint | undefined {
  if (bytes.length < 5) return undefined
  const type = bytes[3]
  const addressSize = type === IPV4 ? 4 : type === IPV6 ? 16 : type === NAME ? 1 + (bytes[4] as number) : undefined
  if (addressSize === undefined || bytes.length < 4 + addressSize + 2) return undefined
  const port = bytes.readUInt16BE(4 + addressSize)
  const size = 4 + addressSize + 2
  if (type === NAME) return { name: textOf(bytes.subarray(5, 4 + addressSize)), port, size }
  return { host: type === IPV4 ? ipv4Text(bytes, 4) : ipv6Text(bytes, 4), port, size }
}

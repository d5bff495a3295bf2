/**
 * RADIUS (RFC 2865): one radius record an authentication, written when it is accepted or rejected, or when the
 * flow ends. The challenges and retries in between belong to it, whatever their identifiers.
 */

import type { Dissector, Protocol, Session } from './protocol.ts'
import { ipv4Text, textOf } from './text.ts'

const HEADER_BYTES = 20
const REQUEST = 1
const CHALLENGE = 11
/** Packet types (IANA, RADIUS types): what else is on the port is no RADIUS. */
const CODES = new Set([1, 2, 3, 4, 5, 11, 12, 13, 40, 41, 42, 43, 44, 45])
const RESULTS: Record<number, string> = { 2: 'success', 3: 'failed' }

const USER_NAME = 1
const FRAMED_IP_ADDRESS = 8
const REPLY_MESSAGE = 18
const CALLING_STATION_ID = 31
const TUNNEL_CLIENT_ENDPOINT = 66
const CONNECT_INFO = 77
/** The first byte of a tunnel attribute is a tag when it is no printable character (RFC 2868, 3.3). */
const MAX_TAG = 0x1f

interface Authentication {
  ts: number
  requested: boolean
  username?: string
  mac?: string
  framedAddr?: string
  tunnelClient?: string
  connectInfo?: string
  replyMessage?: string
}

export const radius: Protocol = { name: 'radius', logs: ['radius'], udpPorts: [1812], dissect: createRadius }

function createRadius(session: Session): Dissector {
  let current: Authentication | undefined

  function write(result: string, ttl?: number): void {
    if (current === undefined) return
    session.emit('radius', current.ts, {
      username: current.username,
      mac: current.mac,
      framed_addr: current.framedAddr,
      tunnel_client: current.tunnelClient,
      connect_info: current.connectInfo,
      reply_msg: current.replyMessage,
      result,
      ttl,
    })
    current = undefined
  }

  return {
    data(_fromOriginator, bytes, ts) {
      const message = readMessage(bytes)
      if (message === undefined) return
      session.confirm('radius')
      const result = RESULTS[message.code]
      if (result === undefined && message.code !== REQUEST && message.code !== CHALLENGE) return
      current ??= { ts, requested: false }
      if (message.code === REQUEST) takeRequest(current, message.attributes)
      else if (message.code === CHALLENGE) takeChallenge(current, message.attributes)
      if (result !== undefined) write(result, current.requested ? ts - current.ts : undefined)
    },
    end: () => write('unknown'),
  }
}

function takeRequest(to: Authentication, attributes: Map<number, Buffer>): void {
  to.requested = true
  to.username ??= textAt(attributes, USER_NAME)
  to.mac ??= normalMac(textAt(attributes, CALLING_STATION_ID))
  to.tunnelClient ??= untagged(attributes.get(TUNNEL_CLIENT_ENDPOINT))
  to.connectInfo ??= textAt(attributes, CONNECT_INFO)
}

function takeChallenge(to: Authentication, attributes: Map<number, Buffer>): void {
  const framed = attributes.get(FRAMED_IP_ADDRESS)
  if (framed?.length === 4) to.framedAddr ??= ipv4Text(framed, 0)
  to.replyMessage ??= textAt(attributes, REPLY_MESSAGE)
}

/** The first of each attribute; undefined: this is no RADIUS. */
function readMessage(bytes: Buffer): { code: number; attributes: Map<number, Buffer> } | undefined {
  const code = bytes[0] ?? 0
  const length = bytes.length < HEADER_BYTES ? 0 : bytes.readUInt16BE(2)
  if (!CODES.has(code) || length < HEADER_BYTES || length > bytes.length) return undefined
  const attributes = new Map<number, Buffer>()
  for (let at = HEADER_BYTES; at + 2 <= length; ) {
    const [type, size] = [bytes[at] as number, bytes[at + 1] as number]
    if (size < 2 || at + size > length) return undefined
    if (!attributes.has(type)) attributes.set(type, bytes.subarray(at + 2, at + size))
    at += size
  }
  return { code, attributes }
}

function textAt(attributes: Map<number, Buffer>, type: number): string | undefined {
  const value = attributes.get(type)
  return value === undefined ? undefined : textOf(value)
}

function untagged(value: Buffer | undefined): string | undefined {
  if (value === undefined) return undefined
  return textOf((value[0] ?? 0) <= MAX_TAG ? value.subarray(1) : value)
}

/** However its parts are set off (RFC 3580, 3.21 wants hyphens), as `00:11:22:33:44:55`. */
function normalMac(text: string | undefined): string | undefined {
  const digits = text?.replace(/[-:. ]/g, '').toLowerCase()
  return digits !== undefined && /^(?:[0-9a-f]{12}|[0-9a-f]{16})$/.test(digits)
    ? digits.replace(/..(?=.)/g, '$&:')
    : undefined
}

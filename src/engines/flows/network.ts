/**
 * IPv4 (RFC 791) and IPv6 (RFC 8200) headers, extension headers included: from a network packet to its
 * transport payload.
 */

import { be16 } from './address.ts'

/** A decoded IP header; reused by the decoder. Offsets refer to `buffer`. */
export interface Ip {
  buffer: Buffer
  version: number
  /** Start of the header, and where the captured bytes of this packet end (link layer padding cut off). */
  at: number
  end: number
  src: number
  dst: number
  /** Transport protocol, behind extension headers. */
  protocol: number
  payload: number
  /** Payload bytes on the wire; may reach past `end` when the packet was not captured whole. */
  payloadLength: number
  /** Total bytes on the wire, header included. */
  totalLength: number
  /** As the header tells it: zero under segmentation offloading. */
  countedLength: number
  /** A fragment: payload is that part of the datagram's. */
  fragment: boolean
  fragmentOffset: number
  moreFragments: boolean
  dontFragment: boolean
  fragmentId: number
  /** A fault that the packet survives; empty when there is none. */
  oddity: string
  /** Offset in the header (from `at`) of the byte that names the protocol behind the fragment header. */
  nextHeaderAt: number
}

export function emptyIp(): Ip {
  return {
    buffer: Buffer.alloc(0),
    version: 0,
    at: 0,
    end: 0,
    src: 0,
    dst: 0,
    protocol: 0,
    payload: 0,
    payloadLength: 0,
    totalLength: 0,
    countedLength: 0,
    fragment: false,
    fragmentOffset: 0,
    moreFragments: false,
    dontFragment: false,
    fragmentId: 0,
    nextHeaderAt: 0,
    oddity: '',
  }
}

/** Zeek's names of what leaves no packet to go on with. */
const TRUNCATED = 'truncated_IP'
const VERSION = 'unknown_ip_version'
const HEADER_SIZE = 'invalid_IP_header_size'
const HEADER_CUT = 'internally_truncated_header'
const LENGTH = 'truncated_IP_len'

/**
 * Fills `ip`; gives '' or the name of the fault that leaves no packet (`ip` is then of no use).
 * `wireEnd - at` is the length of the packet on the wire by the link layer, at least `end - at`.
 */
export function decodeIp(ip: Ip, buffer: Buffer, at: number, end: number, wireEnd: number): string {
  ip.buffer = buffer
  ip.at = at
  ip.fragment = false
  ip.oddity = ''
  if (at >= end) return TRUNCATED
  const version = (buffer[at] as number) >> 4
  if (version === 4) return decodeIp4(ip, buffer, at, end, wireEnd)
  if (version === 6) return decodeIp6(ip, buffer, at, end, wireEnd)
  return VERSION
}

/** Survivable, and the only one that is told without addresses. */
export const ODD_LENGTH = 'ip_hdr_len_zero'

function decodeIp4(ip: Ip, buffer: Buffer, at: number, end: number, wireEnd: number): string {
  if (end - at < 20) return TRUNCATED
  const headerLength = ((buffer[at] as number) & 15) * 4
  ip.countedLength = be16(buffer, at + 2)
  if (headerLength < 20) return HEADER_SIZE
  let total = be16(buffer, at + 2)
  if (total === 0) {
    // Segmentation offloading: the length was to be filled in by the network card.
    total = wireEnd - at
    ip.oddity = ODD_LENGTH
  }
  if (total < headerLength) return HEADER_SIZE
  if (total > wireEnd - at) return LENGTH
  if (headerLength > end - at) return HEADER_CUT
  ip.version = 4
  ip.end = Math.min(end, at + total)
  ip.src = at + 12
  ip.dst = at + 16
  ip.protocol = buffer[at + 9] as number
  ip.payload = at + headerLength
  ip.payloadLength = total - headerLength
  ip.totalLength = total
  const flags = be16(buffer, at + 6)
  if ((flags & 0x3fff) !== 0) {
    ip.fragment = true
    ip.fragmentOffset = (flags & 0x1fff) * 8
    ip.moreFragments = (flags & 0x2000) !== 0
    ip.dontFragment = (flags & 0x4000) !== 0
    ip.fragmentId = be16(buffer, at + 4)
    ip.nextHeaderAt = 9
  }
  return ''
}

const HOP_BY_HOP = 0
const ROUTING = 43
const FRAGMENT = 44
const AUTHENTICATION = 51
const DESTINATION = 60
const MAX_EXTENSIONS = 32

function decodeIp6(ip: Ip, buffer: Buffer, at: number, end: number, wireEnd: number): string {
  if (end - at < 40) return TRUNCATED
  const payload = be16(buffer, at + 4)
  // Zero is a jumbogram, or offloading as above.
  const total = payload === 0 ? wireEnd - at : 40 + payload
  if (total > wireEnd - at) return LENGTH
  ip.version = 6
  ip.end = Math.min(end, at + total)
  ip.src = at + 8
  ip.dst = at + 24
  ip.totalLength = total
  ip.countedLength = 40 + payload
  return extensions(ip, buffer, at, total)
}

function extensions(ip: Ip, buffer: Buffer, at: number, total: number): string {
  let nextAt = at + 6
  let next = buffer[nextAt] as number
  let cursor = at + 40
  for (let n = 0; n < MAX_EXTENSIONS; n++) {
    if (!isExtension(next)) {
      ip.protocol = next
      ip.payload = cursor
      ip.payloadLength = at + total - cursor
      return ''
    }
    if (cursor + 8 > ip.end) return HEADER_CUT
    const length = extensionLength(next, buffer[cursor + 1] as number)
    if (next === DESTINATION) homeAddress(ip, buffer, cursor + 2, Math.min(cursor + length, ip.end))
    if (cursor + length > at + total) return HEADER_SIZE
    if (cursor + length > ip.end) return HEADER_CUT
    if (next === ROUTING) routing(ip, buffer, cursor, length)
    if (next === FRAGMENT && fragment6(ip, buffer, cursor, nextAt - at)) {
      ip.protocol = buffer[cursor] as number
      ip.payload = cursor + 8
      ip.payloadLength = at + total - ip.payload
      return ''
    }
    nextAt = cursor
    next = buffer[cursor] as number
    cursor += length
  }
  return 'too_many_extension_headers'
}

/** Type 0 (RFC 5095 forbids it) and type 2 (mobile IPv6) name the final destination. */
function routing(ip: Ip, buffer: Buffer, at: number, length: number): void {
  const type = buffer[at + 2]
  if (buffer[at + 3] === 0) return
  if (type === 0) ip.oddity = 'routing0_hdr'
  if (length < 24) return
  if (type === 2) ip.dst = at + 8
  if (type === 0) ip.dst = at + length - 16
}

const PAD1 = 0
const HOME_ADDRESS = 201

/** The home address option (RFC 6275) names the true source. */
function homeAddress(ip: Ip, buffer: Buffer, from: number, to: number): void {
  let homes = 0
  for (let at = from; at < to; ) {
    const type = buffer[at] as number
    if (type === PAD1) {
      at++
      continue
    }
    const length = at + 1 < to ? (buffer[at + 1] as number) : 256
    const isHome = type === HOME_ADDRESS
    if (isHome && ++homes > 1) ip.oddity = 'multiple_home_addr_opts'
    else if (isHome && length !== 16) ip.oddity = 'bad_home_addr_len'
    else if (at + 2 + length > to) ip.oddity = 'bad_ipv6_dest_opt_len'
    else if (isHome) ip.src = at + 2
    if (ip.oddity !== '') return
    at += 2 + length
  }
}

function isExtension(protocol: number): boolean {
  return (
    protocol === HOP_BY_HOP ||
    protocol === ROUTING ||
    protocol === FRAGMENT ||
    protocol === DESTINATION ||
    protocol === AUTHENTICATION
  )
}

function extensionLength(protocol: number, field: number): number {
  if (protocol === FRAGMENT) return 8
  return protocol === AUTHENTICATION ? (field + 2) * 4 : (field + 1) * 8
}

/** False for an atomic fragment (RFC 6946): a whole datagram with a fragment header. */
function fragment6(ip: Ip, buffer: Buffer, at: number, nextHeaderAt: number): boolean {
  const word = be16(buffer, at + 2)
  if ((word & 0xfff9) === 0) return false
  ip.fragment = true
  ip.fragmentOffset = word & 0xfff8
  ip.moreFragments = (word & 1) !== 0
  ip.dontFragment = false
  ip.fragmentId = (be16(buffer, at + 4) << 16) | be16(buffer, at + 6)
  ip.nextHeaderAt = nextHeaderAt
  return true
}

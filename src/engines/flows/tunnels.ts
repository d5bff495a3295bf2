/**
 * Tunnel headers: from the payload of GRE or of a UDP datagram to the packet inside.
 *
 * GRE: RFC 2784, 2890, 2637 (PPTP), ERSPAN draft-foschiano-erspan; VXLAN: RFC 7348; Geneve: RFC 8926; Teredo:
 * RFC 4380; GTPv1-U: 3GPP TS 29.281; AYIYA: draft-massar-v6ops-ayiya.
 */

import { be16 } from './address.ts'

/** What is inside; reused by the decoder. */
export interface Inner {
  kind: InnerKind
  at: number
  end: number
  /** A weird of the tunnel's analyzer. */
  weird: string
}

type InnerKind = 'none' | 'ip' | 'ethernet' | 'wifi' | 'ppp'

export function emptyInner(): Inner {
  return { kind: 'none', at: 0, end: 0, weird: '' }
}

function found(inner: Inner, kind: InnerKind, at: number, end: number): boolean {
  inner.kind = kind
  inner.at = at
  inner.end = end
  return at < end
}

/** True when `inner` was filled. */
type TunnelDecoder = (inner: Inner, bytes: Uint8Array, at: number, end: number) => boolean

/** An IP packet whose header or length goes beyond what carries it. */
export function isCutIp(bytes: Uint8Array, at: number, end: number): boolean {
  const version = (bytes[at] as number) >> 4
  if (end - at < (version === 4 ? 20 : 40)) return true
  return (version === 4 ? be16(bytes, at + 2) : 40 + be16(bytes, at + 4)) > end - at
}

export interface UdpTunnel {
  /** As the tunnel log has it. */
  type: string
  /** As conn.service has it. */
  service: string
  /** As the analyzer log names it; what breaks others is not told. */
  analyzer?: string
  decode: TunnelDecoder
}

const GTP: UdpTunnel = { type: 'Tunnel::GTPv1', service: 'gtpv1', analyzer: 'GTPV1', decode: gtp }

/** By port, as Zeek registers them. */
const UDP_TUNNELS = new Map<number, UdpTunnel>([
  [2123, GTP],
  [2152, GTP],
  [3544, { type: 'Tunnel::TEREDO', service: 'teredo', decode: teredo }],
  [4789, { type: 'Tunnel::VXLAN', service: 'vxlan', decode: vxlan }],
  [5072, { type: 'Tunnel::AYIYA', service: 'ayiya', decode: ayiya }],
  [6081, { type: 'Tunnel::GENEVE', service: 'geneve', decode: geneve }],
])

/** Zeek asks the responder's port first. */
export function udpTunnel(respPort: number, origPort: number): UdpTunnel | undefined {
  return UDP_TUNNELS.get(respPort) ?? UDP_TUNNELS.get(origPort)
}

function isIp(bytes: Uint8Array, at: number, end: number): boolean {
  const version = at < end ? (bytes[at] as number) >> 4 : 0
  return version === 4 || version === 6
}

const GRE_CHECKSUM = 0x8000
const GRE_ROUTING = 0x4000
const GRE_KEY = 0x2000
const GRE_SEQUENCE = 0x1000
const GRE_ACK = 0x0080

export function gre(inner: Inner, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 4) return false
  const flags = be16(bytes, at)
  const protocol = be16(bytes, at + 2)
  const version = flags & 7
  if (version > 1 || (flags & GRE_ROUTING) !== 0) return false
  let body = at + 4
  if (version === 0 && (flags & GRE_CHECKSUM) !== 0) body += 4
  if ((flags & GRE_KEY) !== 0) body += 4
  if ((flags & GRE_SEQUENCE) !== 0) body += 4
  if (version === 1 && (flags & GRE_ACK) !== 0) body += 4
  if (body > end) return false
  switch (protocol) {
    case 0x0800:
    case 0x86dd:
      return found(inner, 'ip', body, end)
    case 0x6558:
      return found(inner, 'ethernet', body, end)
    // ERSPAN type I has no header, type II has one of 8 bytes and always a sequence number.
    case 0x88be:
      return found(inner, 'ethernet', (flags & GRE_SEQUENCE) !== 0 ? body + 8 : body, end)
    case 0x22eb:
      return erspan3(inner, bytes, body, end)
    case 0x880b:
      return found(inner, 'ppp', body, end)
    default:
      return isAruba(protocol) && found(inner, 'wifi', body, end)
  }
}

/** Aruba access points carry 802.11 frames under these types. */
function isAruba(protocol: number): boolean {
  return (protocol >= 0x8200 && protocol <= 0x8210) || protocol === 0x9000
}

function erspan3(inner: Inner, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 12) return false
  const optional = ((bytes[at + 11] as number) & 1) === 1 ? 8 : 0
  return found(inner, 'ethernet', at + 12 + optional, end)
}

function vxlan(inner: Inner, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 8 || ((bytes[at] as number) & 0x08) === 0) return false
  return found(inner, 'ethernet', at + 8, end)
}

const ARP = 0x0806

function geneve(inner: Inner, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 8 || (bytes[at] as number) >> 6 !== 0) return false
  const body = at + 8 + ((bytes[at] as number) & 0x3f) * 4
  const protocol = be16(bytes, at + 2)
  if (protocol === 0x6558) return found(inner, 'ethernet', body, end)
  if (protocol === ARP) return found(inner, 'none', body, end)
  return (protocol === 0x0800 || protocol === 0x86dd) && found(inner, 'ip', body, end)
}

const NO_NEXT_HEADER = 59

function teredo(inner: Inner, bytes: Uint8Array, at: number, end: number): boolean {
  let body = at
  // Authentication: client id and value of variable length, a nonce, a confirmation byte.
  if (end - body >= 4 && be16(bytes, body) === 1)
    body += 4 + (bytes[body + 2] as number) + (bytes[body + 3] as number) + 9
  // Origin indication.
  if (end - body >= 8 && be16(bytes, body) === 0) body += 8
  if (end - body < 40 || (bytes[body] as number) >> 4 !== 6) return false
  const payload = be16(bytes, body + 4)
  if (body + 40 + payload > end) return false
  if (bytes[body + 6] === NO_NEXT_HEADER && body + 40 < end) inner.weird = 'Teredo_bubble_with_payload'
  return found(inner, 'ip', body, end)
}

const GTP_G_PDU = 255

function gtp(inner: Inner, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 8) return false
  const flags = bytes[at] as number
  if (flags >> 5 !== 1 || (flags & 0x10) === 0 || bytes[at + 1] !== GTP_G_PDU) return false
  let body = at + 8
  if ((flags & 7) !== 0) {
    body += 4
    let next = body <= end && (flags & 4) !== 0 ? (bytes[body - 1] as number) : 0
    while (next !== 0) {
      const length = body < end ? (bytes[body] as number) * 4 : 0
      if (length === 0 || body + length > end) return false
      body += length
      next = bytes[body - 1] as number
    }
  }
  return body < end && isIp(bytes, body, end) && found(inner, 'ip', body, end)
}

const AYIYA_FORWARD = 1
const IPV6 = 41
const IPV4 = 4

function ayiya(inner: Inner, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 8) return false
  const identity = 1 << ((bytes[at] as number) >> 4)
  const signature = ((bytes[at + 1] as number) >> 4) * 4
  const operation = (bytes[at + 2] as number) & 15
  const next = bytes[at + 3]
  if (operation !== AYIYA_FORWARD || (next !== IPV6 && next !== IPV4)) return false
  return found(inner, 'ip', at + 8 + identity + signature, end)
}

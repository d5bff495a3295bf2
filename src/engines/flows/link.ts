/**
 * Link layers: from the first byte of a frame to its network layer packet.
 *
 * Formats: https://www.tcpdump.org/linktypes.html and the standards named there. What is no network packet
 * gives a reason: by nature (`nonFlow`: spanning tree, Wi-Fi management, …) or because it cannot be read.
 */

export const NET_NONE = 0
export const NET_IP4 = 4
export const NET_IP6 = 6

/** Where the decoder stands; one reused object, filled by the layers as they are peeled off. */
export interface Link {
  net: number
  /** The network packet: bytes [at, end) of the buffer. */
  at: number
  end: number
  /** Offsets of the MAC addresses, -1 where there are none. */
  srcMac: number
  dstMac: number
  /** VLAN ids, -1 where there are none. */
  vlan: number
  innerVlan: number
  /** For NET_NONE: why, and whether it is a fault of the frame. */
  reason: string
  faulty: boolean
  /** A weird that came up on the way, `name`, `source`, `addl`. */
  weird: string
  weirdSource: string
  weirdAddl: string
}

export function emptyLink(): Link {
  return {
    net: NET_NONE,
    at: 0,
    end: 0,
    srcMac: -1,
    dstMac: -1,
    vlan: -1,
    innerVlan: -1,
    reason: '',
    faulty: false,
    weird: '',
    weirdSource: '',
    weirdAddl: '',
  }
}

type Layer = (link: Link, bytes: Uint8Array, at: number, end: number) => boolean

/** Decodes the frame [at, end) of `bytes` into `link`. */
export function decodeLink(link: Link, linkType: number, bytes: Uint8Array, at: number, end: number): boolean {
  reset(link)
  if (linkType === 1) return ethernet(link, bytes, at, end)
  const layer = LAYERS.get(linkType)
  return layer ? layer(link, bytes, at, end) : unknown(link, linkType, bytes, at, end)
}

/** Zeek takes what is in an unknown link layer for IP; what that would make of it is not followed here. */
function unknown(link: Link, linkType: number, bytes: Uint8Array, at: number, end: number): boolean {
  const version = at < end ? (bytes[at] as number) >> 4 : 0
  if (at < end && version !== 4 && version !== 6) {
    link.weird = 'unknown_ip_version'
    link.weirdSource = 'IP'
  }
  return fault(link, `link type ${linkType}`)
}

/** An Ethernet frame inside a tunnel. */
export function decodeEthernet(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  reset(link)
  return ethernet(link, bytes, at, end)
}

export function reset(link: Link): void {
  link.net = NET_NONE
  link.srcMac = -1
  link.dstMac = -1
  link.vlan = -1
  link.innerVlan = -1
  link.reason = ''
  link.faulty = false
  link.weird = ''
}

function fault(link: Link, reason: string): boolean {
  link.reason = reason
  link.faulty = true
  return false
}

function none(link: Link, reason: string): boolean {
  link.reason = reason
  return false
}

function network(link: Link, net: number, at: number, end: number): boolean {
  link.net = net
  link.at = at
  link.end = end
  return true
}

const be16 = (bytes: Uint8Array, at: number): number => ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
const le16 = (bytes: Uint8Array, at: number): number => (bytes[at] as number) | ((bytes[at + 1] as number) << 8)

// ---- Ethernet and what follows an EtherType -------------------------------------------------------------

function ethernet(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 14) return fault(link, 'truncated Ethernet header')
  link.dstMac = at
  link.srcMac = at + 6
  const type = be16(bytes, at + 12)
  if (type === 0x0800) return network(link, NET_IP4, at + 14, end)
  if (type < 0x0600) return llc(link, bytes, at + 14, Math.min(end, at + 14 + type))
  return etherType(link, type, bytes, at + 14, end, 0)
}

/** Tags and shims may nest; more than this many are no frame that anybody sent. */
const MAX_SHIMS = 16

const TAGS = new Set([0x8100, 0x88a8, 0x9100, 0x9200])

const NON_FLOW_TYPES = new Map([
  [0x0806, 'arp'],
  [0x8035, 'rarp'],
  [0x88cc, 'lldp'],
  [0x888e, 'eapol'],
  [0x8809, 'slow protocols'],
  [0x8863, 'pppoe discovery'],
  [0x9000, 'loopback test'],
  [0x88f7, 'ptp'],
  [0x8892, 'profinet'],
  [0x88e5, 'macsec'],
  [0x8902, 'cfm'],
])

function etherType(link: Link, type: number, bytes: Uint8Array, at: number, end: number, shims: number): boolean {
  if (type === 0x0800) return network(link, NET_IP4, at, end)
  if (type === 0x86dd) return network(link, NET_IP6, at, end)
  if (shims >= MAX_SHIMS) {
    link.weird = 'max_packet_analyzer_depth_exceeded'
    link.weirdSource = 'ETHERNET'
    return fault(link, 'too many link layer tags')
  }
  if (TAGS.has(type)) return vlanTag(link, bytes, at, end, shims)
  const shim = SHIMS.get(type)
  if (shim) return shim(link, bytes, at, end, shims + 1)
  if (type < 0x0600) return llc(link, bytes, at, Math.min(end, at + type))
  return none(link, NON_FLOW_TYPES.get(type) ?? `ethertype 0x${type.toString(16).padStart(4, '0')}`)
}

function vlanTag(link: Link, bytes: Uint8Array, at: number, end: number, shims: number): boolean {
  if (end - at < 4) return fault(link, 'truncated VLAN header')
  const id = be16(bytes, at) & 0xfff
  if (link.vlan < 0) link.vlan = id
  else {
    if (link.innerVlan >= 0) {
      link.weird = 'triple_tagged_vlan_unsupported'
      link.weirdSource = 'VLAN'
      link.weirdAddl = 'inner VLAN tag overwritten'
    }
    link.innerVlan = id
  }
  return etherType(link, be16(bytes, at + 2), bytes, at + 4, end, shims + 1)
}

type Shim = (link: Link, bytes: Uint8Array, at: number, end: number, shims: number) => boolean

const SHIMS = new Map<number, Shim>([
  [0x8847, mpls],
  [0x8848, mpls],
  [0x8864, pppoe],
  [0x8926, vnTag],
  [0x88e7, backboneBridge],
  [0x8903, fabricPath],
])

/** MPLS labels (RFC 3032); what follows the last one is told by its first nibble. */
function mpls(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  for (let label = at; label + 4 <= end; label += 4) {
    if (((bytes[label + 2] as number) & 1) === 1) return byVersion(link, bytes, label + 4, end, 'mpls payload')
  }
  return fault(link, 'truncated MPLS header')
}

function byVersion(link: Link, bytes: Uint8Array, at: number, end: number, what: string): boolean {
  const version = at < end ? (bytes[at] as number) >> 4 : 0
  if (version === 4 || version === 6) return network(link, version, at, end)
  return none(link, what)
}

/** PPPoE session (RFC 2516). */
function pppoe(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 8) return fault(link, 'truncated PPPoE header')
  const length = be16(bytes, at + 4)
  const payloadEnd = at + 6 + length
  if (payloadEnd < end) {
    link.weird = 'pppoe_extra_data_after_payload'
    link.weirdSource = 'PPPOE'
  }
  return pppProtocol(link, bytes, at + 6, Math.min(end, payloadEnd))
}

/** Cisco's VN-Tag: four bytes, then an EtherType. */
function vnTag(link: Link, bytes: Uint8Array, at: number, end: number, shims: number): boolean {
  if (end - at < 6) return fault(link, 'truncated VN-Tag')
  return etherType(link, be16(bytes, at + 4), bytes, at + 6, end, shims)
}

/** IEEE 802.1ah: an I-tag of four bytes, then a whole Ethernet frame. */
function backboneBridge(link: Link, bytes: Uint8Array, at: number, end: number, shims: number): boolean {
  if (end - at < 18) return fault(link, 'truncated backbone bridge header')
  link.dstMac = at + 4
  link.srcMac = at + 10
  return etherType(link, be16(bytes, at + 16), bytes, at + 18, end, shims)
}

/** Cisco FabricPath: two more bytes, then a whole Ethernet frame. */
function fabricPath(link: Link, bytes: Uint8Array, at: number, end: number, shims: number): boolean {
  if (end - at < 16) return fault(link, 'truncated FabricPath header')
  link.dstMac = at + 2
  link.srcMac = at + 8
  return etherType(link, be16(bytes, at + 14), bytes, at + 16, end, shims)
}

/** IEEE 802.2 LLC, with SNAP where it is. */
function llc(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 3) return fault(link, 'truncated LLC header')
  if (bytes[at] === 0xaa && bytes[at + 1] === 0xaa) {
    if (end - at < 8) return fault(link, 'truncated SNAP header')
    // With another organization code the type is that organization's own (Cisco's discovery protocol and so on).
    const oui = (be16(bytes, at + 3) << 8) | (bytes[at + 5] as number)
    if (oui !== 0 && oui !== 0x0000f8) return none(link, 'snap')
    return etherType(link, be16(bytes, at + 6), bytes, at + 8, end, MAX_SHIMS - 4)
  }
  if (bytes[at] === 0x06 && bytes[at + 1] === 0x06) return byVersion(link, bytes, at + 3, end, 'llc')
  return none(link, bytes[at] === 0x42 ? 'spanning tree' : 'llc')
}

// ---- point to point -------------------------------------------------------------------------------------

/** PPP with or without address and control (RFC 1662), the protocol in one or two bytes. */
export function ppp(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  const framed = end - at >= 2 && bytes[at] === 0xff && bytes[at + 1] === 0x03
  return pppProtocol(link, bytes, framed ? at + 2 : at, end)
}

function pppProtocol(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 2) return fault(link, 'truncated PPP header')
  const short = ((bytes[at] as number) & 1) === 1
  const protocol = short ? (bytes[at] as number) : be16(bytes, at)
  const body = short ? at + 1 : at + 2
  if (protocol === 0x21) return network(link, NET_IP4, body, end)
  if (protocol === 0x57) return network(link, NET_IP6, body, end)
  if (protocol === 0x281 || protocol === 0x283) return mpls(link, bytes, body, end)
  return none(link, 'ppp control')
}

function cHdlc(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 4) return fault(link, 'truncated HDLC header')
  if (bytes[at] === 0xff && bytes[at + 1] === 0x03) return ppp(link, bytes, at, end)
  return etherType(link, be16(bytes, at + 2), bytes, at + 4, end, 0)
}

// ---- cooked, loopback, raw ------------------------------------------------------------------------------

function cooked1(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 16) return fault(link, 'truncated cooked header')
  if (be16(bytes, at + 4) === 6) link.srcMac = at + 6
  return cookedProtocol(link, be16(bytes, at + 14), bytes, at + 16, end)
}

function cooked2(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 20) return fault(link, 'truncated cooked header')
  if (bytes[at + 11] === 6) link.srcMac = at + 12
  return cookedProtocol(link, be16(bytes, at), bytes, at + 20, end)
}

/** Values below 0x0600 are Linux's own: 1 and 4 are 802.3 and 802.2 frames. */
function cookedProtocol(link: Link, type: number, bytes: Uint8Array, at: number, end: number): boolean {
  if (type === 4) return llc(link, bytes, at, end)
  if (type < 0x0600) return none(link, 'cooked control')
  return etherType(link, type, bytes, at, end, 0)
}

/** Address families of the BSDs and of Linux; the byte order is that of the machine that captured. */
const FAMILIES = new Map([
  [2, NET_IP4],
  [10, NET_IP6],
  [24, NET_IP6],
  [28, NET_IP6],
  [30, NET_IP6],
])

function loopback(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 4) return fault(link, 'truncated loopback header')
  const family = bytes[at] === 0 && bytes[at + 1] === 0 ? be16(bytes, at + 2) : le16(bytes, at)
  const net = FAMILIES.get(family)
  if (net === undefined) return none(link, `address family ${family}`)
  return network(link, net, at + 4, end)
}

const raw: Layer = (link, bytes, at, end) => {
  const version = at < end ? (bytes[at] as number) >> 4 : 0
  if (version === 4 || version === 6) return network(link, version, at, end)
  link.weird = 'unknown_ip_version'
  link.weirdSource = 'IP'
  return fault(link, 'unknown IP version')
}

// ---- LANs other than Ethernet ---------------------------------------------------------------------------

function fddi(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 13) return fault(link, 'truncated FDDI header')
  link.dstMac = at + 1
  link.srcMac = at + 7
  if (((bytes[at] as number) & 0xf0) !== 0x50) return none(link, 'fddi control')
  return llc(link, bytes, at + 13, end)
}

function tokenRing(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 14) return fault(link, 'truncated Token Ring header')
  const routed = ((bytes[at + 8] as number) & 0x80) !== 0
  const routing = routed && end - at > 14 ? (bytes[at + 14] as number) & 0x1f : 0
  return llc(link, bytes, at + 14 + routing, end)
}

/** IEEE 802.11 data frames; the body is LLC, or several LLC frames of which the first is read (A-MSDU). */
export function wifi(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 2) return fault(link, 'truncated 802.11 header')
  const control = bytes[at] as number
  const flags = bytes[at + 1] as number
  const type = (control >> 2) & 3
  if (type !== 2) return none(link, type === 0 ? '802.11 management' : '802.11 control')
  const subtype = control >> 4
  if ((subtype & 4) !== 0) return none(link, '802.11 null data')
  const toAndFrom = flags & 3
  const qos = (subtype & 8) !== 0
  const body = at + (toAndFrom === 3 ? 30 : 24) + (qos ? 2 : 0) + (qos && (flags & 0x80) !== 0 ? 4 : 0)
  if (end < body) return fault(link, 'truncated 802.11 header')
  if ((flags & 0x40) !== 0) return none(link, '802.11 encrypted')
  link.dstMac = (toAndFrom & 1) === 1 ? at + 16 : at + 4
  link.srcMac = toAndFrom === 3 ? at + 24 : toAndFrom === 2 ? at + 16 : at + 10
  const aggregated = qos && ((bytes[body - 2] as number) & 0x80) !== 0
  return llc(link, bytes, aggregated ? body + 14 : body, end)
}

/** https://www.radiotap.org: a length, then the 802.11 frame. */
function radiotap(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 8) return fault(link, 'truncated radiotap header')
  const length = le16(bytes, at + 2)
  if (length < 8 || at + length > end) return fault(link, 'truncated radiotap header')
  return wifi(link, bytes, at + length, end)
}

function prism(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 8) return fault(link, 'truncated Prism header')
  // AVS headers occur under this link type too; they begin with a big-endian magic.
  if (be16(bytes, at) === 0x8021) return avs(link, bytes, at, end)
  const length = le16(bytes, at + 4)
  if (at + length > end) return fault(link, 'truncated Prism header')
  return wifi(link, bytes, at + length, end)
}

function avs(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 8) return fault(link, 'truncated AVS header')
  const length = be16(bytes, at + 6)
  if (at + length > end) return fault(link, 'truncated AVS header')
  return wifi(link, bytes, at + length, end)
}

// ---- envelopes ------------------------------------------------------------------------------------------

/** Per-packet information: a length and the link type of what follows. */
function perPacket(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 8) return fault(link, 'truncated PPI header')
  const body = at + le16(bytes, at + 2)
  const inner = le16(bytes, at + 4)
  if (body < at + 8 || body > end || inner === 192) return fault(link, 'truncated PPI header')
  return decodeLink(link, inner, bytes, body, end)
}

const NFULA_PAYLOAD = 9

/** Linux NFLOG: attributes of which one is the IP packet. */
function nflog(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 4) return fault(link, 'truncated NFLOG header')
  const net = FAMILIES.get(bytes[at] as number)
  for (let tlv = at + 4; tlv + 4 <= end; ) {
    const length = le16(bytes, tlv)
    const type = le16(bytes, tlv + 2)
    if (length < 4) break
    if ((type & 0x7fff) === NFULA_PAYLOAD) {
      if (net === undefined) return none(link, 'nflog')
      return network(link, net, tlv + 4, Math.min(end, tlv + length))
    }
    tlv += (length + 3) & ~3
  }
  link.weird = 'nflog_bad_tlv_len'
  link.weirdSource = 'NFLOG'
  return fault(link, 'NFLOG without a packet')
}

/** OpenBSD's pf log: a header that tells its own length, then IP. */
function pflog(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 4) return fault(link, 'truncated pflog header')
  const body = at + (((bytes[at] as number) + 3) & ~3)
  const net = FAMILIES.get(bytes[at + 1] as number)
  if (net === undefined || body > end) return fault(link, 'truncated pflog header')
  return network(link, net, body, end)
}

function enc(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 12) return fault(link, 'truncated enc header')
  return byVersion(link, bytes, at + 12, end, 'enc')
}

/** Ethernet with its preamble (mPackets). */
function preamble(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 8) return fault(link, 'truncated preamble')
  return ethernet(link, bytes, at + 8, end)
}

function ip1394(link: Link, bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 18) return fault(link, 'truncated IEEE 1394 header')
  return etherType(link, be16(bytes, at + 16), bytes, at + 18, end, 0)
}

const LAYERS = new Map<number, Layer>([
  [0, loopback],
  [1, ethernet],
  [6, tokenRing],
  [9, ppp],
  [10, fddi],
  [12, raw],
  [14, raw],
  [50, ppp],
  [51, (link, bytes, at, end) => pppoe(link, bytes, at, end)],
  [100, llc],
  [101, raw],
  [104, cHdlc],
  [105, wifi],
  [108, loopback],
  [109, enc],
  [113, cooked1],
  [117, pflog],
  [119, prism],
  [127, radiotap],
  [138, ip1394],
  [163, avs],
  [192, perPacket],
  [228, (link, _bytes, at, end) => network(link, NET_IP4, at, end)],
  [229, (link, _bytes, at, end) => network(link, NET_IP6, at, end)],
  [239, nflog],
  [274, preamble],
  [276, cooked2],
])

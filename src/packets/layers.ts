/**
 * The network packets inside a captured one: the outermost first, then what its tunnels carry.
 *
 * In: a packet of a capture. Out: through a callback, each IP packet with its ends, ports and flags. Bounded by
 * depth; hostile bytes end the walk early, no more.
 */

import type { Packet } from '../capture/packet.ts'
import { be16 } from '../engines/flows/address.ts'
import { MAX_DEPTH } from '../engines/flows/encapsulation.ts'
import { decodeEthernet, decodeLink, emptyLink, type Link, NET_NONE, ppp, reset, wifi } from '../engines/flows/link.ts'
import { decodeIp, emptyIp, type Ip } from '../engines/flows/network.ts'
import { emptyInner, gre, type Inner, udpTunnel } from '../engines/flows/tunnels.ts'

export const TCP = 6
export const UDP = 17
export const ICMP = 1
export const ICMP6 = 58
export const SCTP = 132
const GRE = 47
const IP_IN_IP = 4
const IP6_IN_IP = 41

/** Reused from call to call; offsets refer to `ip.buffer`. */
export interface Layer {
  ip: Ip
  /** -1 where there are none, or a fragment does not hold them. */
  srcPort: number
  dstPort: number
  /** Of TCP. */
  flags: number
  /** Bytes of the transport's payload, on the wire. */
  payload: number
  /** Tunnels around it. */
  depth: number
}

export interface LayerWalk {
  /** True as soon as `visit` says so: the rest is not looked at. */
  walk(packet: Packet, visit: (layer: Layer) => boolean): boolean
  /** The outermost link layer of the packet that was walked last. */
  readonly link: Link
}

export function createLayerWalk(): LayerWalk {
  const outer = emptyLink()
  const innerLink = emptyLink()
  const ips = Array.from({ length: MAX_DEPTH }, emptyIp)
  const inner = emptyInner()
  const layer: Layer = { ip: ips[0] as Ip, srcPort: -1, dstPort: -1, flags: 0, payload: 0, depth: 0 }

  function walk({ buffer, offset, capLen, origLen, linkType }: Packet, visit: (layer: Layer) => boolean): boolean {
    decodeLink(outer, linkType, buffer, offset, offset + capLen)
    if (outer.net === NET_NONE) return false
    return walkIp(buffer, outer.at, outer.end, Math.max(0, origLen - capLen), 0, visit)
  }

  function walkIp(
    buffer: Buffer,
    at: number,
    end: number,
    missing: number,
    depth: number,
    visit: (layer: Layer) => boolean,
  ): boolean {
    const ip = ips[depth] as Ip
    if (decodeIp(ip, buffer, at, end, end + missing) !== '') return false
    fill(layer, ip, depth)
    if (visit(layer)) return true
    if (depth + 1 >= MAX_DEPTH || (ip.fragment && ip.fragmentOffset > 0)) return false
    if (!findInner(inner, ip)) return false
    const { kind, at: start, end: stop } = inner
    if (kind === 'ip') return walkIp(buffer, start, stop, missing, depth + 1, visit)
    reset(innerLink)
    if (kind === 'ethernet') decodeEthernet(innerLink, buffer, start, stop)
    else if (kind === 'wifi') wifi(innerLink, buffer, start, stop)
    else if (kind === 'ppp') ppp(innerLink, buffer, start, stop)
    if (innerLink.net === NET_NONE) return false
    return walkIp(buffer, innerLink.at, innerLink.end, missing, depth + 1, visit)
  }

  return { walk, link: outer }
}

function fill(layer: Layer, ip: Ip, depth: number): void {
  layer.ip = ip
  layer.depth = depth
  layer.srcPort = -1
  layer.dstPort = -1
  layer.flags = 0
  layer.payload = ip.payloadLength
  const { buffer, payload, end, protocol } = ip
  if (ip.fragment && ip.fragmentOffset > 0) return
  if (protocol !== TCP && protocol !== UDP && protocol !== SCTP) return
  if (payload + 4 > end) return
  layer.srcPort = be16(buffer, payload)
  layer.dstPort = be16(buffer, payload + 2)
  if (protocol === UDP) layer.payload = Math.max(0, ip.payloadLength - 8)
  if (protocol === SCTP) layer.payload = Math.max(0, ip.payloadLength - 12)
  if (protocol !== TCP || payload + 14 > end) return
  layer.flags = buffer[payload + 13] as number
  layer.payload = Math.max(0, ip.payloadLength - ((buffer[payload + 12] as number) >> 4) * 4)
}

function findInner(inner: Inner, { buffer, payload, end, protocol }: Ip): boolean {
  inner.kind = 'none'
  inner.weird = ''
  if (protocol === GRE) return gre(inner, buffer, payload, end)
  if (protocol === IP_IN_IP || protocol === IP6_IN_IP) {
    inner.kind = 'ip'
    inner.at = payload
    inner.end = end
    return payload < end
  }
  if (protocol !== UDP || payload + 8 > end) return false
  const tunnel = udpTunnel(be16(buffer, payload + 2), be16(buffer, payload))
  return tunnel?.decode(inner, buffer, payload + 8, end) ?? false
}

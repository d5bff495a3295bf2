/** ARP (RFC 826) over Ethernet and VLANs: a frame in, a record of our own `arp` log out. */

import type { Packet } from '../../capture/packet.ts'
import { ipv4Text } from './protocols/text.ts'

const ETHERNET = 1
const ARP = 0x0806
const IPV4 = 0x0800
const VLAN_TAGS = new Set([0x8100, 0x88a8, 0x9100])
const OPERATIONS: Record<number, string> = {
  1: 'request',
  2: 'reply',
  3: 'rarp-request',
  4: 'rarp-reply',
  8: 'inarp-request',
  9: 'inarp-reply',
}

/** undefined for what is no ARP for IPv4 over Ethernet addresses. */
export function arpRecord({ buffer, offset, capLen, seconds, nanos, linkType, number }: Packet): object | undefined {
  if (linkType !== ETHERNET || capLen < 42) return undefined
  const end = offset + capLen
  let at = offset + 12
  let vlan: number | undefined
  while (at + 4 <= end && VLAN_TAGS.has(buffer.readUInt16BE(at))) {
    vlan ??= buffer.readUInt16BE(at + 2) & 0xfff
    at += 4
  }
  if (at + 30 > end || buffer.readUInt16BE(at) !== ARP) return undefined
  const arp = at + 2
  if (buffer.readUInt16BE(arp + 2) !== IPV4 || buffer[arp + 4] !== 6 || buffer[arp + 5] !== 4) return undefined
  const operation = buffer.readUInt16BE(arp + 6)
  const [senderIp, targetIp] = [ipv4Text(buffer, arp + 14), ipv4Text(buffer, arp + 24)]
  return {
    ts: seconds + Math.floor(nanos / 1000) / 1e6,
    frame_number: number,
    operation: OPERATIONS[operation] ?? `operation-${operation}`,
    eth_src: macText(buffer, offset + 6),
    eth_dst: macText(buffer, offset),
    vlan,
    hardware_type: buffer.readUInt16BE(arp),
    protocol_type: IPV4,
    sender_mac: macText(buffer, arp + 8),
    sender_ip: senderIp,
    target_mac: macText(buffer, arp + 18),
    target_ip: targetIp,
    gratuitous: senderIp === targetIp,
  }
}

function macText(buffer: Buffer, at: number): string {
  return buffer.toString('hex', at, at + 6).replace(/(..)(?=.)/g, '$1:')
}

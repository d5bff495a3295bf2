/**
 * Community ID version 1, seed 0 (https://github.com/corelight/community-id-spec): one name for a flow, equal in
 * every tool and for both directions. `1:` and the base64 of the SHA-1 over seed, addresses, protocol, a zero
 * byte, ports; the endpoint with the smaller address (then port) comes first.
 */

import { hash } from 'node:crypto'
import type { Address } from './address.ts'

export const ICMP = 1
export const ICMPV6 = 58

/** IP protocol numbers of the names that Zeek and tshark give (IANA protocol numbers). `icmp` over IPv6 is 58. */
export const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = {
  tcp: 6,
  udp: 17,
  icmp: ICMP,
  icmp6: ICMPV6,
  icmpv6: ICMPV6,
  sctp: 132,
}

/** Protocols whose ports go into the id; of the others only the addresses do. */
export const WITH_PORTS: readonly number[] = [6, 17, ICMP, ICMPV6, 132]

/**
 * ICMP types that have a counterpart; a flow of these has both as its ports, as Zeek logs it. All other types
 * are one-way: type and code stand for the ports, and the endpoints are not put in order.
 */
export const ICMP_PAIRS: readonly (readonly [number, number])[] = [
  [0, 8],
  [9, 10],
  [13, 14],
  [15, 16],
  [17, 18],
]
export const ICMPV6_PAIRS: readonly (readonly [number, number])[] = [
  ...([
    [128, 129],
    [130, 131],
    [133, 134],
    [135, 136],
    [139, 140],
    [144, 145],
  ] as const),
]

const TWO_WAY = {
  [ICMP]: new Set(ICMP_PAIRS.flat()),
  [ICMPV6]: new Set(ICMPV6_PAIRS.flat()),
}

export interface FlowTuple {
  src: Address
  dst: Address
  /** IP protocol number, 0-255. */
  protocol: number
  srcPort?: number
  dstPort?: number
}

/**
 * The protocol number of a record: of the name where it is one that has ports (`icmp` by the addresses'
 * version), else the record's own number.
 */
export function protocolNumber(
  name: string | undefined,
  number: number | undefined,
  version: 4 | 6,
): number | undefined {
  const known = name !== undefined && Object.hasOwn(PROTOCOL_NUMBERS, name) ? PROTOCOL_NUMBERS[name] : undefined
  if (known === ICMP && version === 6) return ICMPV6
  if (known !== undefined) return known
  return number !== undefined && number >= 0 && number <= 255 ? number : undefined
}

/** Undefined where the tuple is no flow of the specification: addresses of two versions, or ports missing. */
export function communityId({ src, dst, protocol, srcPort, dstPort }: FlowTuple): string | undefined {
  if (src.version !== dst.version) return undefined
  if (src.version === 4) return communityIdOfIpv4(Number(src.bits), Number(dst.bits), protocol, srcPort, dstPort)
  const withPorts = WITH_PORTS.includes(protocol)
  if (withPorts && !havePorts(protocol, srcPort, dstPort)) return undefined
  const [p, q] = withPorts ? [srcPort as number, dstPort as number] : [0, 0]
  const inOrder = src.bits < dst.bits || (src.bits === dst.bits && p <= q) || isOneWay(protocol, p)
  const [first, second] = inOrder ? [src, dst] : [dst, src]
  const [firstPort, secondPort] = inOrder ? [p, q] : [q, p]
  const hex = (value: number | bigint, width: number) => value.toString(16).padStart(width, '0')
  const ports = withPorts ? hex(firstPort, 4) + hex(secondPort, 4) : ''
  return idOf(Buffer.from(`0000${hex(first.bits, 32)}${hex(second.bits, 32)}${hex(protocol, 2)}00${ports}`, 'hex'))
}

/** One for all messages: seed, two addresses, protocol, 0, two ports; without ports it ends before these. */
const IPV4_MESSAGE = Buffer.alloc(16)
const IPV4_MESSAGE_WITHOUT_PORTS = IPV4_MESSAGE.subarray(0, 12)

/** As `communityId`, of addresses as 32 bits: what most flows are. */
export function communityIdOfIpv4(
  src: number,
  dst: number,
  protocol: number,
  srcPort: number | undefined,
  dstPort: number | undefined,
): string | undefined {
  const withPorts = WITH_PORTS.includes(protocol)
  if (withPorts && !havePorts(protocol, srcPort, dstPort)) return undefined
  const [p, q] = withPorts ? [srcPort as number, dstPort as number] : [0, 0]
  const inOrder = src < dst || (src === dst && p <= q) || isOneWay(protocol, p)
  IPV4_MESSAGE.writeUInt32BE(inOrder ? src : dst, 2)
  IPV4_MESSAGE.writeUInt32BE(inOrder ? dst : src, 6)
  IPV4_MESSAGE[10] = protocol
  IPV4_MESSAGE.writeUInt16BE(inOrder ? p : q, 12)
  IPV4_MESSAGE.writeUInt16BE(inOrder ? q : p, 14)
  return idOf(withPorts ? IPV4_MESSAGE : IPV4_MESSAGE_WITHOUT_PORTS)
}

function idOf(message: Buffer): string {
  return `1:${hash('sha1', message, 'base64')}`
}

/** Zeek has no SCTP analyzer and logs port 0 for both ends: that is no port. */
function havePorts(protocol: number, srcPort: number | undefined, dstPort: number | undefined): boolean {
  return isPort(srcPort) && isPort(dstPort) && !(protocol === 132 && srcPort === 0 && dstPort === 0)
}

function isOneWay(protocol: number, type: number): boolean {
  return (protocol === ICMP || protocol === ICMPV6) && !TWO_WAY[protocol].has(type)
}

function isPort(port: number | undefined): boolean {
  return port !== undefined && port >= 0 && port <= 65535
}

/**
 * IP addresses as text: what is one, which networks it is in.
 *
 * An address is IPv4 in dotted decimal without leading zeros, or IPv6 as RFC 4291 section 2.2 writes it: any
 * case, `::`, an embedded IPv4 tail; no zone. An IPv4-mapped IPv6 address is in the networks of its IPv4.
 */

import { PipelineError } from '../../../state/errors.ts'

/** 32 bits for version 4, 128 for version 6, the most significant first. */
export interface Address {
  version: 4 | 6
  bits: bigint
}

/** Both ends belong to it. */
export interface Network {
  version: 4 | 6
  first: bigint
  last: bigint
}

const MAPPED = 0xffffn

export function parseAddress(text: string): Address | undefined {
  const version = text.includes(':') ? 6 : 4
  const bits = version === 6 ? parseIpv6(text) : parseIpv4(text)
  return bits === undefined ? undefined : { version, bits }
}

/** The address whose networks count: an IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) as its IPv4. */
export function networkAddress(address: Address): Address {
  const isMapped = address.version === 6 && address.bits >> 32n === MAPPED
  return isMapped ? { version: 4, bits: address.bits & 0xffffffffn } : address
}

export function parseNetwork(cidr: string): Network {
  const [text = '', length, ...rest] = cidr.trim().split('/')
  const address = parseAddress(text)
  const width = address?.version === 6 ? 128 : 32
  const prefix = length === undefined ? width : /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN
  if (!address || rest.length > 0 || !(prefix >= 0 && prefix <= width))
    throw new PipelineError(
      'config_invalid',
      `"${cidr}" is no network; write an address and its prefix length, as in 10.0.0.0/8 or fd00::/8`,
    )
  const hosts = (1n << BigInt(width - prefix)) - 1n
  const last = address.bits | hosts
  return { version: address.version, first: last - hosts, last }
}

export function isIn(address: Address, networks: readonly Network[]): boolean {
  return networks.some(
    ({ version, first, last }) => version === address.version && first <= address.bits && address.bits <= last,
  )
}

/**
 * Addresses that are not routed on the Internet: RFC 1918, unique-local (RFC 4193), link-local (RFC 3927,
 * RFC 4291) and loopback.
 */
export const PRIVATE_NETWORKS: readonly Network[] = [
  ...['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16', '127.0.0.0/8'],
  ...['fc00::/7', 'fe80::/10', '::1/128'],
].map(parseNetwork)

function parseIpv4(text: string): bigint | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let bits = 0
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined
    bits = bits * 256 + Number(part)
  }
  return BigInt(bits)
}

function parseIpv6(text: string): bigint | undefined {
  if (text.length > 45) return undefined
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = groupsOf(halves[0] as string, halves.length === 1)
  const tail = halves.length === 2 ? groupsOf(halves[1] as string, true) : []
  if (!head || !tail) return undefined
  const missing = 8 - head.length - tail.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  return [...head, ...Array<number>(missing).fill(0), ...tail].reduce(
    (bits, group) => (bits << 16n) | BigInt(group),
    0n,
  )
}

/** The 16-bit groups of one side of `::`; the last of the whole address may be an IPv4 address. */
function groupsOf(side: string, isLast: boolean): number[] | undefined {
  if (side === '') return []
  const groups: number[] = []
  const parts = side.split(':')
  for (const [i, part] of parts.entries()) {
    if (isLast && i === parts.length - 1 && part.includes('.')) {
      const v4 = parseIpv4(part)
      if (v4 === undefined) return undefined
      groups.push(Number(v4 >> 16n), Number(v4 & 0xffffn))
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16))
    else return undefined
  }
  return groups
}

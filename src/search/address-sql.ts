/**
 * Networks as SQL conditions on addresses that are texts.
 *
 * Of version 4 the whole octets of the prefix are compared as text, which is fast, and one octet as a number. Of
 * version 6 an address is written out as 32 hexadecimal digits and compared with the network's first and last.
 */

import { type Network, parseNetwork } from '../../stages/upload/rules/address.ts'
import { PipelineError } from '../../state/errors.ts'
import { literal } from '../query/sql.ts'

/** Throws `usage` for what is neither a network nor an address. */
export function networkOf(text: string): Network {
  try {
    return parseNetwork(text)
  } catch (cause) {
    throw new PipelineError('usage', `${JSON.stringify(text)} is no network such as 10.0.0.0/8, and no address`, {
      cause,
    })
  }
}

export function inNetwork(column: string, network: Network): string {
  return network.version === 4 ? inNetwork4(column, network) : inNetwork6(column, network)
}

function inNetwork4(column: string, { first, last }: Network): string {
  const [from, to] = [octetsOf(first), octetsOf(last)]
  const same = from.findIndex((octet, i) => octet !== to[i])
  if (same === -1) return `${column} = ${literal(from.join('.'))}`
  const prefix = from.slice(0, same)
  const starts =
    prefix.length === 0 ? `${column} NOT LIKE '%:%'` : `starts_with(${column}, ${literal(`${prefix.join('.')}.`)})`
  if (from[same] === 0 && to[same] === 255) return starts
  return `(${starts} AND TRY_CAST(split_part(${column}, '.', ${same + 1}) AS INTEGER) BETWEEN ${from[same]} AND ${to[same]})`
}

function octetsOf(address: bigint): number[] {
  return [24n, 16n, 8n, 0n].map((shift) => Number((address >> shift) & 255n))
}

function inNetwork6(column: string, { first, last }: Network): string {
  const digits = (address: bigint) => literal(address.toString(16).padStart(32, '0'))
  return `(contains(${column}, ':') AND ${hexOf(column)} BETWEEN ${digits(first)} AND ${digits(last)})`
}

/** `::` is written out as the groups that lack; a side of it may be empty. */
function hexOf(column: string): string {
  const ip = `lower(${column})`
  const colons = `(length(${ip}) - length(replace(${ip}, ':', '')))`
  const full = `CASE
    WHEN NOT contains(${ip}, '::') THEN ${ip}
    WHEN ${ip} = '::' THEN '0:0:0:0:0:0:0:0'
    WHEN starts_with(${ip}, '::') THEN repeat('0:', 9 - ${colons}) || substr(${ip}, 3)
    WHEN ends_with(${ip}, '::') THEN left(${ip}, -2) || repeat(':0', 9 - ${colons})
    ELSE replace(${ip}, '::', ':' || repeat('0:', 8 - ${colons})) END`
  return `array_to_string(list_transform(string_split(${full}, ':'), lambda g: lpad(g, 4, '0')), '')`
}

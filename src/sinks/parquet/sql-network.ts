/**
 * The network columns as SQL expressions: private, direction, Community ID. They agree with the JavaScript of
 * stages/upload/rules (address.ts, community-id.ts) for every address; the scan has proved that address columns
 * hold addresses only.
 *
 * An IPv4 address is read once, into 32 bits; everything else is arithmetic on these. The text operations that
 * IPv6 needs run for rows with IPv6 only (a CASE evaluates a branch for its own rows). The expressions are many small
 * columns, one step on top of the other: DuckDB computes an expression as often as it is written, and plans a nested
 * one in time that grows with its square.
 */

import { type Network, PRIVATE_NETWORKS } from '../../../stages/upload/rules/address.ts'
import {
  ICMP,
  ICMP_PAIRS,
  ICMPV6,
  ICMPV6_PAIRS,
  PROTOCOL_NUMBERS,
  WITH_PORTS,
} from '../../../stages/upload/rules/community-id.ts'
import type { FiveTuple, Table } from '../../../stages/upload/rules/table.ts'
import { identifier, literal } from './sql-text.ts'

const SCTP = 132
const MAPPED_PREFIX = '00000000000000000000ffff'
const ENDS = ['src', 'dst'] as const

type End = (typeof ENDS)[number]

/**
 * The steps on the way to the network columns, each on top of the one before. Without any IPv6 address its steps, half
 * of all, fall away.
 */
export function networkSteps({ tuple, rules }: Table, localNetworks: readonly Network[], hasIpv6: boolean): string[][] {
  const raw: Record<End, string | undefined> = { src: tuple.srcIp?.raw, dst: tuple.dstIp?.raw }
  const each = (column: (end: End) => string) => ENDS.map(column)
  const eachOfIpv6 = (column: (end: End) => string) => (hasIpv6 ? ENDS.map(column) : [])
  return [
    [
      ...ENDS.flatMap((end) => partColumns(end, raw[end], hasIpv6)),
      `${protocolName(tuple, rules.transport)} AS "$proto"`,
    ],
    [
      ...each((end) => `${bits(`"$${end}_octets"`)} AS "$${end}4"`),
      ...eachOfIpv6((end) => `${tailOctets(end)} AS "$${end}_tail"`),
      `${protocolNumber(tuple)} AS "$number"`,
      `${port(tuple.srcPort?.raw)} AS "$sport"`,
      `${port(tuple.dstPort?.raw)} AS "$dport"`,
    ],
    [
      ...eachOfIpv6((end) => `${withoutTail(end)} AS "$${end}_plain"`),
      `${isOneOf('"$number"', WITH_PORTS)} AS "$with_ports"`,
      `CASE "$number" WHEN ${ICMP} THEN NOT ${isOneOf('"$sport"', ICMP_PAIRS.flat())}
         WHEN ${ICMPV6} THEN NOT ${isOneOf('"$sport"', ICMPV6_PAIRS.flat())} ELSE false END AS "$one_way"`,
    ],
    eachOfIpv6((end) => `string_split(${full(`"$${end}_plain"`)}, ':') AS "$${end}_groups"`),
    each((end) => `${hasIpv6 ? hexDigits(`"$${end}_groups"`) : 'NULL::VARCHAR'} AS "$${end}6"`),
    [...each((end) => `${networkBits(end)} AS "$${end}_net4"`), ...messageParts(tuple)],
    [
      ...each((end) => `${isIn(end, PRIVATE_NETWORKS)} AS "$${end}_private"`),
      ...each((end) => `${isIn(end, localNetworks)} AS "$${end}_local"`),
      `CASE WHEN "$can_pack" THEN ${packedMessage()} WHEN "$can_spell" THEN ${spelledMessage()} END AS "$message"`,
    ],
  ]
}

/** The final columns, on top of the steps. */
export function networkColumns({ tuple }: Table): string[] {
  const computed = `'1:' || to_base64(unhex(sha1("$message")))`
  return [
    ...ENDS.map((end) => `"$${end}_private" AS ${end}_ip_is_private`),
    `CASE WHEN "$src_local" THEN CASE WHEN "$dst_local" THEN ${direction('internal')} WHEN NOT "$dst_local" THEN ${direction('outbound')} END
       WHEN NOT "$src_local" THEN CASE WHEN "$dst_local" THEN ${direction('inbound')} WHEN NOT "$dst_local" THEN ${direction('external')} END
     END AS direction`,
    `${tuple.communityId ? `coalesce(${identifier(tuple.communityId.raw)}, ${computed})` : computed} AS community_id`,
  ]
}

/** An address as its octets or, of version 6, as its text. */
function partColumns(end: End, raw: string | undefined, hasIpv6: boolean): string[] {
  const none = `NULL::VARCHAR AS "$${end}_v6"`
  if (raw === undefined) return [`NULL::UTINYINT[] AS "$${end}_octets"`, none]
  const ip = identifier(raw)
  if (!hasIpv6) return [`${octets(ip)} AS "$${end}_octets"`, none]
  return [
    `CASE WHEN NOT contains(${ip}, ':') THEN ${octets(ip)} END AS "$${end}_octets"`,
    `CASE WHEN contains(${ip}, ':') THEN lower(${ip}) END AS "$${end}_v6"`,
  ]
}

function tailOctets(end: End): string {
  return `CASE WHEN contains("$${end}_v6", '.') THEN ${octets(`regexp_extract("$${end}_v6", '[^:]*$')`)} END`
}

function octets(ip: string): string {
  return `string_split(${ip}, '.')::UTINYINT[]`
}

function bits(list: string): string {
  return `${list}[1]::UBIGINT * 16777216 + ${list}[2]::UBIGINT * 65536 + ${list}[3]::UBIGINT * 256 + ${list}[4]::UBIGINT`
}

/** The embedded IPv4 tail of an IPv6 address as two groups. */
function withoutTail(end: End): string {
  const [text, tail] = [`"$${end}_v6"`, `"$${end}_tail"`]
  const pair = (high: number) => `${tail}[${high}]::INTEGER * 256 + ${tail}[${high + 1}]::INTEGER`
  return `CASE WHEN ${tail} IS NOT NULL
    THEN regexp_extract(${text}, '^(.*:)[^:]*$', 1) || format('{:x}:{:x}', ${pair(1)}, ${pair(3)}) ELSE ${text} END`
}

/** `::` written out: the groups that lack, between the two sides; a side may be empty. */
function full(ip: string): string {
  const colons = `(length(${ip}) - length(replace(${ip}, ':', '')))`
  return `CASE
    WHEN NOT contains(${ip}, '::') THEN ${ip}
    WHEN ${ip} = '::' THEN '0:0:0:0:0:0:0:0'
    WHEN starts_with(${ip}, '::') THEN repeat('0:', 9 - ${colons}) || substr(${ip}, 3)
    WHEN ends_with(${ip}, '::') THEN left(${ip}, -2) || repeat(':0', 9 - ${colons})
    ELSE replace(${ip}, '::', ':' || repeat('0:', 8 - ${colons})) END`
}

/** Eight groups as 32 lower-case digits. */
function hexDigits(groups: string): string {
  const digits = [1, 2, 3, 4, 5, 6, 7, 8].map((i) => `lpad(${groups}[${i}], 4, '0')`)
  return `CASE WHEN ${groups} IS NOT NULL THEN ${digits.join(' || ')} END`
}

/** The IPv4 address whose networks count: that of an IPv4-mapped IPv6 address too. */
function networkBits(end: End): string {
  return `CASE WHEN "$${end}6" IS NULL THEN "$${end}4"
    WHEN starts_with("$${end}6", '${MAPPED_PREFIX}') THEN ('0x' || right("$${end}6", 8))::UBIGINT END`
}

/** NULL where there is no address. */
function isIn(end: End, networks: readonly Network[]): string {
  const ranges = (version: 4 | 6, column: string, show: (address: bigint) => string) =>
    networks
      .filter((network) => network.version === version)
      .map(({ first, last }) => `${column} BETWEEN ${show(first)} AND ${show(last)}`)
      .join(' OR ') || 'false'
  const v4 = ranges(4, `"$${end}_net4"`, String)
  const v6 = ranges(6, `"$${end}6"`, (address) => `'${address.toString(16).padStart(32, '0')}'`)
  return `CASE WHEN "$${end}_net4" IS NOT NULL THEN (${v4}) WHEN "$${end}6" IS NOT NULL THEN (${v6}) END`
}

/** A byte instead of a string on its way into the file, where it is a string. */
function direction(name: string): string {
  return `'${name}'::ENUM('internal', 'outbound', 'inbound', 'external')`
}

/** Instead of IN, which DuckDB turns into a hash join for each place where it stands. */
function isOneOf(column: string, numbers: readonly number[]): string {
  return `CASE ${column} ${numbers.map((number) => `WHEN ${number} THEN true`).join(' ')} ELSE false END`
}

function protocolName(tuple: FiveTuple, transport: Table['rules']['transport']): string {
  if (tuple.proto) return identifier(tuple.proto.raw)
  if (typeof transport !== 'object') return transport === undefined ? 'NULL::VARCHAR' : literal(transport)
  const cases = Object.entries(transport.values).map(([value, name]) => `WHEN ${literal(value)} THEN ${literal(name)}`)
  return cases.length === 0 ? 'NULL::VARCHAR' : `CASE ${identifier(transport.field)} ${cases.join(' ')} END`
}

function protocolNumber({ ipProto }: FiveTuple): string {
  const known = Object.entries(PROTOCOL_NUMBERS).map(([name, number]) => {
    const isIcmp = number === ICMP
    return `WHEN '${name}' THEN ${isIcmp ? `CASE WHEN "$src_v6" IS NULL THEN ${ICMP} ELSE ${ICMPV6} END` : number}`
  })
  const own = ipProto ? identifier(ipProto.raw) : undefined
  const other = own === undefined ? 'NULL' : `CASE WHEN ${own} BETWEEN 0 AND 255 THEN ${own} END`
  return `CASE "$proto" ${known.join(' ')} ELSE ${other} END::BIGINT`
}

function port(raw: string | undefined): string {
  return raw === undefined ? 'NULL::BIGINT' : `${identifier(raw)}::BIGINT`
}

/** Whether there is a Community ID, by which of two ways, and the addresses in digits for the slower one. */
function messageParts({ srcPort, dstPort }: FiveTuple): string[] {
  const isPort = (column: string) => `${column} BETWEEN 0 AND 65535`
  const hasPorts =
    srcPort && dstPort
      ? `coalesce(${isPort('"$sport"')} AND ${isPort('"$dport"')} AND NOT ("$number" = ${SCTP} AND "$sport" = 0 AND "$dport" = 0), false)`
      : 'false'
  const both = (version: 4 | 6) => `("$src${version}" IS NOT NULL AND "$dst${version}" IS NOT NULL)`
  const isFlow = `"$number" IS NOT NULL AND (NOT "$with_ports" OR ${hasPorts})`
  return [
    `${isFlow} AND "$with_ports" AND ${both(4)} AS "$can_pack"`,
    `${isFlow} AND ((${both(4)} AND NOT "$with_ports") OR ${both(6)}) AS "$can_spell"`,
    ...ENDS.map(
      (end) =>
        `CASE WHEN "$${end}6" IS NOT NULL THEN "$${end}6" WHEN NOT "$with_ports" THEN format('{:08x}', "$${end}4") END AS "$${end}_digits"`,
    ),
  ]
}

/** The 16 bytes of an IPv4 message as one 128-bit number: seed, address, address, protocol, 0, port, port. */
function packedMessage(): string {
  const message = (a: End, b: End) => `("$${a}4" * 65536 + "$${b}4" // 65536)::UHUGEINT * 18446744073709551616
    + (("$${b}4" % 65536) * 281474976710656 + "$number"::UBIGINT * 1099511627776 + "$${a[0]}port"::UBIGINT * 65536 + "$${b[0]}port"::UBIGINT)`
  const inOrder = `"$src4" < "$dst4" OR ("$src4" = "$dst4" AND "$sport" <= "$dport") OR "$one_way"`
  return `(CASE WHEN ${inOrder} THEN ${message('src', 'dst')} ELSE ${message('dst', 'src')} END)::BIT::BLOB`
}

/** The message by its digits: IPv6, and protocols without ports. */
function spelledMessage(): string {
  const message = (a: End, b: End) =>
    `'0000' || "$${a}_digits" || "$${b}_digits" || format('{:02x}00', "$number")
      || CASE WHEN "$with_ports" THEN format('{:04x}{:04x}', "$${a[0]}port", "$${b[0]}port") ELSE '' END`
  const inOrder = `"$src_digits" < "$dst_digits"
    OR ("$src_digits" = "$dst_digits" AND (NOT "$with_ports" OR "$sport" <= "$dport")) OR "$one_way"`
  return `unhex(CASE WHEN ${inOrder} THEN ${message('src', 'dst')} ELSE ${message('dst', 'src')} END)`
}

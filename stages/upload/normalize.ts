/**
 * One raw Zeek record in, the normalized message out, in JavaScript and by the same rules as the tables. It serves
 * the sinks that take records one by one, and is the reference that the SQL is held against.
 *
 * `{source, log_type, raw, normalized, enriched}`; times are milliseconds since the epoch. A field that is absent,
 * null or does not fit its type is absent from `normalized`; `raw` is the record as it came.
 */

import {
  type Address,
  isIn,
  type Network,
  networkAddress,
  PRIVATE_NETWORKS,
  parseAddress,
  parseNetwork,
} from './rules/address.ts'
import { communityId, protocolNumber } from './rules/community-id.ts'
import { type FiveTuple, type Table, type TableField, tableOf } from './rules/table.ts'
import { fits, toMicros } from './rules/values.ts'
import type { Rules } from './rules.ts'

export type RawRecord = Readonly<Record<string, unknown>>
export type Scalar = string | number | boolean

export interface NormalizedRecord {
  source: string
  log_type: string
  raw: RawRecord
  normalized: Record<string, unknown>
  enriched: Record<string, Scalar>
}

export type Direction = 'outbound' | 'inbound' | 'internal' | 'external'

export type Normalizer = (logType: string, raw: RawRecord, ingestTimeMs?: number) => NormalizedRecord

/** `localNetworks` in CIDR notation; throws `config_invalid` on one that is none. */
export function createNormalizer(rules: Rules, { localNetworks }: { localNetworks: readonly string[] }): Normalizer {
  const local = localNetworks.map(parseNetwork)
  const tables = new Map<string, Table>()

  return (logType, raw, ingestTimeMs) => {
    const table = tables.get(logType) ?? tableOf(rules, logType)
    // Only names that the rules know are kept: log types may come from outside, in any number.
    if (Object.hasOwn(rules.logs, logType)) tables.set(logType, table)
    const value = (field: TableField | undefined) => fieldValue(raw, field)
    const normalized: Record<string, unknown> = {}
    for (const field of table.fields) {
      if (!field.promoted) continue
      const found = value(field)
      if (found !== undefined) normalized[field.column] = field.type === 'time' ? millis(found) : found
    }
    const listed = table.flowId && normalized.flow_id === undefined ? value(table.flowIdList) : undefined
    if (Array.isArray(listed) && typeof listed[0] === 'string') normalized.flow_id = listed[0]
    Object.assign(normalized, table.rules.static)
    if (ingestTimeMs !== undefined) normalized.ingest_time = ingestTimeMs
    return {
      source: table.rules.source,
      log_type: logType,
      raw,
      normalized,
      enriched: {
        ...(table.rules.enrich.time ? timeParts(value(table.time)) : {}),
        ...(table.rules.enrich.network ? networkParts(table, value, local) : {}),
      },
    }
  }
}

/** A field's value where it is there and fits its type; records may be nested (`{"id": {"orig_h": …}}`). */
export function fieldValue(raw: RawRecord, field: TableField | undefined): unknown {
  if (!field) return undefined
  const flat = Object.hasOwn(raw, field.raw) ? raw[field.raw] : undefined
  const value = flat ?? nested(raw, field.raw)
  if (value === undefined || value === null) return undefined
  return fits(field.type, value) ? value : undefined
}

function nested(raw: RawRecord, name: string): unknown {
  for (let dot = name.indexOf('.'); dot > 0; dot = name.indexOf('.', dot + 1)) {
    const head = name.slice(0, dot)
    const inner = Object.hasOwn(raw, head) ? raw[head] : undefined
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) continue
    const rest = name.slice(dot + 1)
    const record = inner as RawRecord
    const value = Object.hasOwn(record, rest) ? record[rest] : nested(record, rest)
    if (value !== undefined) return value
  }
  return undefined
}

function millis(time: unknown): number {
  return Math.floor((toMicros(time) as number) / 1000)
}

/** In UTC; `event_weekday` is 0 for Sunday to 6 for Saturday. */
function timeParts(time: unknown): Record<string, number> {
  if (time === undefined) return {}
  const date = new Date(millis(time))
  return {
    event_year: date.getUTCFullYear(),
    event_month: date.getUTCMonth() + 1,
    event_day: date.getUTCDate(),
    event_hour: date.getUTCHours(),
    event_minute: date.getUTCMinutes(),
    event_weekday: date.getUTCDay(),
  }
}

type Lookup = (field: TableField | undefined) => unknown

function networkParts({ tuple, rules }: Table, value: Lookup, local: readonly Network[]): Record<string, Scalar> {
  const address = (field: TableField | undefined) => {
    const text = value(field)
    return text === undefined ? undefined : parseAddress(text as string)
  }
  const [src, dst] = [address(tuple.srcIp), address(tuple.dstIp)]
  const parts: Record<string, Scalar> = {}
  if (src) parts.src_ip_is_private = isIn(networkAddress(src), PRIVATE_NETWORKS)
  if (dst) parts.dst_ip_is_private = isIn(networkAddress(dst), PRIVATE_NETWORKS)
  if (src && dst) parts.direction = directionOf(isIn(networkAddress(src), local), isIn(networkAddress(dst), local))
  const id = value(tuple.communityId) ?? (src && dst ? computedId(tuple, rules.transport, value, src, dst) : undefined)
  if (typeof id === 'string') parts.community_id = id
  return parts
}

function directionOf(srcIsLocal: boolean, dstIsLocal: boolean): Direction {
  if (srcIsLocal) return dstIsLocal ? 'internal' : 'outbound'
  return dstIsLocal ? 'inbound' : 'external'
}

function computedId(
  tuple: FiveTuple,
  transport: Table['rules']['transport'],
  value: Lookup,
  src: Address,
  dst: Address,
): string | undefined {
  const name = value(tuple.proto) ?? transportOf(transport, value)
  const protocol = protocolNumber(name as string | undefined, value(tuple.ipProto) as number | undefined, src.version)
  if (protocol === undefined) return undefined
  const port = (field: TableField | undefined) => value(field) as number | undefined
  return communityId({ src, dst, protocol, srcPort: port(tuple.srcPort), dstPort: port(tuple.dstPort) })
}

function transportOf(transport: Table['rules']['transport'], value: Lookup): string | undefined {
  if (typeof transport !== 'object') return transport
  const key = value({ raw: transport.field, type: 'string', column: '', promoted: false })
  return typeof key === 'string' && Object.hasOwn(transport.values, key) ? transport.values[key] : undefined
}

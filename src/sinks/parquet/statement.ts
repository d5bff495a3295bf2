/**
 * The rules of one log type as one SQL query: chunk files in, rows out.
 *
 * The lines are numbered by `row_number() OVER ()` directly above `read_json`: DuckDB runs such a pipeline in one
 * thread and in the order of the files and of their lines, whatever `threads` says. Parallelism comes from
 * statements side by side.
 */

import { idPrefixOf } from '../../../stages/event-id.ts'
import type { Network } from '../../../stages/upload/rules/address.ts'
import { sqlType, type Table, type TableField, WATCH_COLUMNS } from '../../../stages/upload/rules/table.ts'
import { ORDINAL_FIELD } from './numbering.ts'
import { EXTRA_FIELD, QUARANTINED_FIELD } from './rewrite.ts'
import { LAST_PLACED_SECOND } from './scan.ts'
import { networkColumns, networkSteps } from './sql-network.ts'
import { exactPath, identifier, list, literal } from './sql-text.ts'
import type { EventChunk } from './types.ts'

export interface StatementChunk
  extends Pick<EventChunk, 'path' | 'captureId' | 'idPrefix' | 'source' | 'firstOrdinal'> {
  logType: string
  /** Physical lines. */
  lines: number
  /** The hours that its rows go to. */
  hours: ReadonlySet<number>
}

export interface StatementInput {
  table: Table
  chunks: readonly StatementChunk[]
  /** Of all chunks. */
  numbering?: EventChunk['numbering']
  localNetworks: readonly Network[]
  ingestTimeMs: number
  /** The fields that occur; the others are not looked for, which costs half as much as finding them. */
  seen: ReadonlySet<TableField>
  /** Unknown fields that clean lines have; no two of them, or of the table's, differ in case only. */
  extraNames: readonly string[]
  hasIsoTimes: boolean
  /** Some address is of version 6: without one, half of the network columns' work falls away. */
  hasIpv6: boolean
  /** Some chunk is a rewritten copy: it may hold placeholders and `extra`. */
  hasCopies: boolean
  longestLine: number
  /** All hours since the epoch that rows go to, each of them once; among them 0 for rows without an hour of their own. */
  hours: readonly number[]
  /** Rows of hours that are not among these go to 0. */
  hoursAreCapped: boolean
}

/** The column that says which partition a row is in: hours since the epoch. */
export const HOUR_KEY = 'epoch_hour'

/** The rows, with the hour of their partition behind the columns. */
export function selectRows(input: StatementInput): string {
  const { table, localNetworks, hasIpv6 } = input
  const line = input.numbering ? '' : ', row_number() OVER () - 1 AS "$line"'
  const numbered = `SELECT *, file_index AS "$file"${line} FROM ${source(input)}`
  const kept = input.hasCopies ? `SELECT * FROM (${numbered}) WHERE ${identifier(QUARANTINED_FIELD)} IS NULL` : numbered
  const steps = [
    [...absentColumns(input), ...timeColumns(table, input.hasIsoTimes)],
    ...(table.rules.enrich.network ? networkSteps(table, localNetworks, hasIpv6) : []),
  ]
  const stepped = steps
    .filter((columns) => columns.length > 0)
    .reduce((below, columns) => `SELECT *, ${columns.join(', ')} FROM (${below})`, kept)
  return `SELECT ${finalColumns(input).join(',\n')} FROM (${stepped})`
}

function source(input: StatementInput): string {
  const { chunks, seen, extraNames, hasIsoTimes, hasCopies, longestLine } = input
  const types = new Map([...seen].map((field) => [field.raw, readType(field, hasIsoTimes)]))
  for (const name of extraNames) types.set(name, 'JSON')
  if (input.numbering) types.set(ORDINAL_FIELD, 'BIGINT')
  // At least one column must be read, even of records without any field.
  if (hasCopies || types.size === 0) types.set(EXTRA_FIELD, 'VARCHAR').set(QUARANTINED_FIELD, 'BOOLEAN')
  const columns = [...types].map(([name, type]) => `${literal(name)}: '${type}'`).join(', ')
  const files = list(chunks.map(({ path }) => exactPath(path)))
  // DuckDB reads in buffers of twice this size.
  const limit = Math.max(2 ** 20, longestLine + 4096)
  return `read_json(${files}, format = 'newline_delimited', columns = {${columns}}, maximum_object_size = ${limit})`
}

function absentColumns({ table, seen, hasIsoTimes }: StatementInput): string[] {
  return table.fields
    .filter((field) => !seen.has(field))
    .map((field) => `NULL::${readType(field, hasIsoTimes)} AS ${identifier(field.raw)}`)
}

function readType(field: TableField, hasIsoTimes: boolean): string {
  if (field.type !== 'time') return sqlType(field.type)
  return hasIsoTimes ? 'VARCHAR' : 'DOUBLE'
}

/** Each time of the record as a timestamp, under its own name with `$time ` before it. */
function timeColumns(table: Table, hasIsoTimes: boolean): string[] {
  return table.fields
    .filter(({ type }) => type === 'time')
    .map(({ raw }) => `${asTimestamp(identifier(raw), hasIsoTimes)} AS ${identifier(timeName(raw))}`)
}

function timeName(raw: string): string {
  return `$time ${raw}`
}

/** Rounded half up to a microsecond, as `toMicros` does. */
function asTimestamp(value: string, hasIsoTimes: boolean): string {
  const seconds = (number: string) => `make_timestamp(floor(${number} * 1e6 + 0.5)::BIGINT)`
  if (!hasIsoTimes) return seconds(value)
  return `CASE WHEN contains(${value}, ':') THEN ${value}::TIMESTAMP ELSE ${seconds(`${value}::DOUBLE`)} END`
}

/** The hour whose partition a row is in; 0, which is 1970-01-01 hour 00, for rows that have none of their own. */
function hourKey({ table, hours, hoursAreCapped }: StatementInput): string {
  if (!table.time) return `0::BIGINT AS ${HOUR_KEY}`
  const micros = `epoch_us(${identifier(timeName(table.time.raw))})`
  const hour = `${micros} // 3600000000`
  const inRange = `${micros} >= 0 AND ${micros} < ${LAST_PLACED_SECOND * 1e6}`
  const chosen = hoursAreCapped ? `${inRange} AND ${hour} IN (${hours.join(', ')})` : inRange
  return `CASE WHEN ${chosen} THEN ${hour} ELSE 0 END AS ${HOUR_KEY}`
}

function finalColumns(input: StatementInput): string[] {
  const { table, ingestTimeMs } = input
  const { rules } = table
  const time = table.time ? identifier(timeName(table.time.raw)) : 'NULL::TIMESTAMP'
  return [
    ...identityColumns(input),
    ...table.fields.filter(({ promoted }) => promoted).map((field) => fieldColumn(table, field)),
    ...Object.entries(rules.static).map(([name, value]) => `${constants([value])} AS ${identifier(name)}`),
    `make_timestamp(${Math.trunc(ingestTimeMs)}::BIGINT * 1000) AS ingest_time`,
    ...(rules.enrich.time ? timeParts(time) : []),
    ...(rules.enrich.network ? networkColumns(table) : []),
    ...table.fields
      .filter((field) => !field.promoted && !isEnriched(table, field))
      .map((field) => fieldColumn(table, field)),
    // Filled afterwards, where a list says so (src/watch/flag.ts).
    ...WATCH_COLUMNS.map((name) => `NULL::VARCHAR[] AS ${name}`),
    `${extraValue(input)} AS extra`,
    hourKey(input),
  ]
}

/** Unknown fields of clean lines as one JSON object; rewritten lines bring theirs along. */
function extraValue({ extraNames, hasCopies }: StatementInput): string {
  const members = extraNames.map((name) => `${literal(`"${name}":`)} || ${identifier(name)}`)
  const joined =
    members.length === 0 ? 'NULL::VARCHAR' : `'{' || nullif(concat_ws(',', ${members.join(', ')}), '') || '}'`
  return hasCopies ? `coalesce(${identifier(EXTRA_FIELD)}, ${joined})` : joined
}

/** A raw `community_id` is part of the column that the enrichment makes. */
function isEnriched(table: Table, field: TableField): boolean {
  return table.rules.enrich.network && field === table.tuple.communityId
}

function fieldColumn(table: Table, field: TableField): string {
  const value = identifier(field.type === 'time' ? timeName(field.raw) : field.raw)
  const isFlowId = field === table.flowId && table.flowIdList !== undefined
  const whole = isFlowId ? `coalesce(${value}, ${identifier(table.flowIdList?.raw as string)}[1])` : value
  return `${whole} AS ${identifier(field.column)}`
}

/** In UTC; `event_weekday` is 0 for Sunday to 6 for Saturday. */
function timeParts(time: string): string[] {
  const parts = { year: 'year', month: 'month', day: 'day', hour: 'hour', minute: 'minute', weekday: 'dayofweek' }
  return Object.entries(parts).map(([name, part]) => `${part}(${time})::INTEGER AS event_${name}`)
}

function identityColumns({ chunks, numbering }: StatementInput): string[] {
  const prefixes = perChunk(chunks.map((chunk) => literal(idPrefixOf(chunk))))
  const ordinal = numbering ? identifier(ORDINAL_FIELD) : `("$line" + ${offsetOf(chunks)})`
  return [
    `${prefixes} || ${ordinal}::VARCHAR AS event_id`,
    `${constants(chunks.map(({ captureId }) => captureId))} AS capture_id`,
    `${constants(chunks.map((chunk) => chunk.source))} AS source`,
  ]
}

/**
 * The ordinal of a line is its number in the statement plus what its file is off by; chunks that follow one another
 * in one log are all off by the same.
 */
function offsetOf(chunks: readonly StatementChunk[]): string {
  let before = 0
  const offsets = chunks.map(({ firstOrdinal, lines }) => {
    const offset = firstOrdinal - before
    before += lines
    return offset
  })
  return perChunk(offsets.map(String))
}

/**
 * A text, or none, for each chunk: as an ENUM it is a byte instead of a string on its way into the file, where it is a
 * string.
 */
function constants(texts: readonly (string | undefined)[]): string {
  const distinct = [...new Set(texts)]
  const present = distinct.filter((text) => text !== undefined).map(literal)
  if (present.length === 0) return 'NULL::VARCHAR'
  const type = `ENUM(${present.join(', ')})`
  if (distinct.length === 1) return `${present[0]}::${type}`
  const values = texts.map((text) => (text === undefined ? 'NULL' : literal(text)))
  return `(${list(values)}::${type}[])[("$file" + 1)::BIGINT]`
}

function perChunk(values: readonly string[]): string {
  const first = values[0] as string
  return values.every((value) => value === first) ? first : `${list(values)}[("$file" + 1)::BIGINT]`
}

/**
 * Loads what is in the tables into a cluster: rows in, the same documents out that the records would have made.
 *
 * A row is turned back into its record by the rules that made the row of it. Safe to repeat and to break off: an event
 * that is there already is left as it is.
 */

import { DuckDBInstance } from '@duckdb/node-api'
import type { Flags } from '../../../stages/event-flags.ts'
import { type Table, tableOf, WATCH_COLUMNS } from '../../../stages/upload/rules/table.ts'
import { LOG_TYPE, type Rules } from '../../../stages/upload/rules.ts'
import { PipelineError } from '../../../state/errors.ts'
import { exactPath, identifier, list, literal } from '../parquet/sql-text.ts'
import type { Raw } from './mapping/rules.ts'
import type { ElasticsearchSink } from './sink.ts'

export interface BackfillOptions {
  sink: ElasticsearchSink
  rules: Rules
  /** The dataset's files of a log type. */
  filesOf(logType: string): Promise<string[]>
  logTypes: readonly string[]
  /** ISO 8601; `from` belongs to the range, `to` does not. */
  from?: string
  to?: string
  signal: AbortSignal
  onProgress?(logType: string, rows: number): void
  onRejected?(eventId: string, why: { type: string; reason: string }): void
}

export interface BackfillResult {
  rows: number
  created: number
  duplicates: number
  rejected: number
}

/** Each is named in the statement. */
const FILES_AT_ONCE = 500

/** Columns that the sink makes anew from the others. */
const MADE = new Set([
  ...[
    'event_id',
    'capture_id',
    'source',
    'ingest_time',
    'extra',
    'src_ip_is_private',
    'dst_ip_is_private',
    'direction',
  ],
  ...WATCH_COLUMNS,
  ...['event_year', 'event_month', 'event_day', 'event_hour', 'event_minute', 'event_weekday'],
])

export async function backfill(options: BackfillOptions): Promise<BackfillResult> {
  const { sink, logTypes, signal, onRejected } = options
  await sink.setUp()
  const result: BackfillResult = { rows: 0, created: 0, duplicates: 0, rejected: 0 }
  const writer = sink.openWriter({
    signal,
    onDone: (outcome) => void (outcome === 'created' ? result.created++ : result.duplicates++),
    onRejected(eventId, why) {
      result.rejected++
      onRejected?.(eventId, why)
    },
  })
  for (const logType of logTypes) {
    if (!LOG_TYPE.test(logType)) throw new PipelineError('usage', `"${logType}" is no log type`)
    const files = await options.filesOf(logType)
    for (let at = 0; at < files.length; at += FILES_AT_ONCE)
      result.rows += await sendRows(logType, files.slice(at, at + FILES_AT_ONCE), writer, options)
  }
  await writer.finish()
  return result
}

/** The documents of all rows of some files of one log type; gives the number of rows. */
export async function sendRows(
  logType: string,
  files: readonly string[],
  writer: ReturnType<ElasticsearchSink['openWriter']>,
  { rules, from, to, signal, onProgress }: Pick<BackfillOptions, 'rules' | 'from' | 'to' | 'signal' | 'onProgress'>,
): Promise<number> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '1', memory_limit: '1GB' })
  const connection = await instance.connect()
  try {
    const source = `read_parquet(${list(files.map(exactPath))}, union_by_name = true, hive_partitioning = false)`
    const described = await connection.runAndReadAll(`DESCRIBE SELECT * FROM ${source}`)
    const columns = described.getRows().map(([name, type]) => ({ name: String(name), type: String(type) }))
    const reader = await connection.stream(selectRecords(tableOf(rules, logType), columns, source, { from, to }))
    let rows = 0
    for (;;) {
      const chunk = await reader.fetchChunk()
      if (chunk === null || chunk.rowCount === 0) return rows
      for (const [eventId, captureId, place, json, extra, watch] of chunk.getRows() as (string | null)[][]) {
        signal.throwIfAborted()
        const record = { ...JSON.parse(json ?? '{}'), ...(extra ? JSON.parse(extra) : {}) } as Raw
        const origin = {
          ...{ eventId: eventId ?? '', source: place ?? '' },
          ...(captureId && { captureId }),
          ...(watch && { flags: JSON.parse(watch) as Flags }),
        }
        const wait = writer.add(logType, record, origin)
        if (wait !== undefined) await wait
        rows++
      }
      onProgress?.(logType, rows)
    }
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

interface Column {
  name: string
  type: string
}

/** A record's members under Zeek's names again; those that are NULL are left out when the JSON is read. */
function selectRecords(
  table: Table,
  columns: readonly Column[],
  source: string,
  { from, to }: { from?: string; to?: string },
): string {
  const rawOf = new Map(table.fields.map(({ column, raw }) => [column, raw]))
  const constant = new Set(Object.keys(table.rules.static))
  const members = columns.flatMap(({ name, type }) => {
    const raw = rawOf.get(name)
    if (raw === undefined && (MADE.has(name) || constant.has(name))) return []
    const value = type === 'TIMESTAMP' ? `epoch_us(${identifier(name)}) / 1e6` : identifier(name)
    return [`${literal(raw ?? name)}: ${value}`]
  })
  const has = (name: string) => columns.some((column) => column.name === name)
  const column = (name: string) => (has(name) ? `${identifier(name)}::VARCHAR` : 'NULL::VARCHAR')
  const bounds = [
    ...(from === undefined ? [] : [`event_time >= ${literal(from)}::TIMESTAMP`]),
    ...(to === undefined ? [] : [`event_time < ${literal(to)}::TIMESTAMP`]),
  ]
  const where = bounds.length === 0 ? '' : has('event_time') ? ` WHERE ${bounds.join(' AND ')}` : ' WHERE false'
  const record = members.length === 0 ? `'{}'` : `to_json({${members.join(', ')}})::VARCHAR`
  const flags = WATCH_COLUMNS.every(has)
    ? `CASE WHEN watch_list IS NOT NULL THEN to_json({${WATCH_COLUMNS.map((name) => `${name}: ${name}`).join(', ')}})::VARCHAR END`
    : 'NULL::VARCHAR'
  return `SELECT ${['event_id', 'capture_id', 'source'].map(column).join(', ')}, ${record}, ${column('extra')}, ${flags} FROM ${source}${where}`
}

/**
 * What can still be read of a ledger, whole or damaged: a backup, or the file that is to be replaced.
 *
 * In: its path. Out: what neither the dataset nor the captures tell, row by row; a damaged table is read from both its
 * ends. The file is only read. What it says of work in hand and of the dataset's files is not used: that is found out.
 */

import { existsSync } from 'node:fs'
import BetterSqlite3 from 'better-sqlite3'
import type { CaptureRow, CaptureState } from '../../state/captures.ts'
import type { Database } from '../../state/database.ts'
import { messageOf } from '../../state/errors.ts'

/** Of a capture, as it was when this ledger was last written. */
export type FormerCapture = Pick<
  CaptureRow,
  | 'id'
  | 'name'
  | 'source'
  | 'format'
  | 'bytes'
  | 'state'
  | 'engine'
  | 'engineVersion'
  | 'packets'
  | 'warnings'
  | 'acceptedAt'
  | 'clockOffsetUs'
  | 'keyLog'
  | 'keysConverted'
  | 'tls'
> & {
  records: Record<string, number>
  /** Rows that are not in the dataset any more because they are past their time, by log type. */
  removed: Record<string, number>
}

export interface Salvage extends Disposable {
  captures: Map<string, FormerCapture>
  /** What could not be read, a sentence each. */
  problems: string[]
  /** Copies everything else that is worth keeping; answers the rows by table. */
  copyTo(target: Database): Record<string, number>
}

/** What neither the dataset nor the captures tell. All else is made anew of these, or worth nothing after that. */
const KEPT =
  /^(identity|arrivals|sink_counts|sink_indices|sink_receipts|watch_.+|accounts|audit|saved_queries|query_history|removed_rows)$/

/** Undefined, with why, where nothing can be read of it. */
export function openSalvage(path: string): Salvage | { problem: string } {
  if (!existsSync(path)) return { problem: 'there is none' }
  let db: Database
  let tables: string[]
  try {
    db = new BetterSqlite3(path, { readonly: true, fileMustExist: true })
    tables = tablesOf(db)
  } catch (error) {
    return { problem: messageOf(error) }
  }
  const problems: string[] = []
  const rowsOf = (table: string) => {
    const { rows, problem } = readTable(db, table)
    if (problem !== undefined) problems.push(`${table}: ${rows.length} rows could be read (${problem})`)
    return rows
  }
  const ifThere = (table: string) => (tables.includes(table) ? rowsOf(table) : [])
  return {
    captures: capturesFrom(ifThere('captures'), ifThere('records'), ifThere('removed_rows')),
    problems,
    copyTo: (target) => copyTables(tables, rowsOf, target, problems),
    [Symbol.dispose]: () => void db.close(),
  }
}

type Row = Record<string, unknown>

function tablesOf(db: Database): string[] {
  const names = db.prepare(`SELECT name FROM sqlite_master WHERE type = 'table'`).pluck().all() as string[]
  return names.filter((name) => /^[a-z_]+$/.test(name) && !name.startsWith('sqlite_'))
}

/** Forwards until it fails, then backwards until it fails. */
function readTable(db: Database, table: string): { rows: Row[]; problem?: string } {
  const rows: Row[] = []
  try {
    const keys = keysOf(db, table)
    const order = (way: string) => keys.map((key) => `${key} ${way}`).join(', ')
    const problem = take(db, `SELECT * FROM "${table}" ORDER BY ${order('ASC')}`, rows)
    if (problem === undefined) return { rows }
    take(db, `SELECT * FROM "${table}" ORDER BY ${order('DESC')}`, rows)
    return { rows, problem }
  } catch (error) {
    return { rows, problem: messageOf(error) }
  }
}

function take(db: Database, sql: string, rows: Row[]): string | undefined {
  try {
    for (const row of db.prepare(sql).iterate()) rows.push(row as Row)
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

/** What a table is stored by, so that reading in this order needs no other part of the file. */
function keysOf(db: Database, table: string): string[] {
  const columns = db.pragma(`table_info("${table}")`) as { name: string; pk: number }[]
  const [{ wr } = { wr: 0 }] = db.pragma(`table_list("${table}")`) as { wr: number }[]
  if (wr === 0) return ['rowid']
  return columns
    .filter(({ pk }) => pk > 0)
    .sort((a, b) => a.pk - b.pk)
    .map(({ name }) => `"${name}"`)
}

function capturesFrom(
  captures: readonly Row[],
  records: readonly Row[],
  removed: readonly Row[],
): Map<string, FormerCapture> {
  const found = new Map<string, FormerCapture>()
  for (const row of captures) {
    const capture = captureFrom(row)
    if (capture !== undefined) found.set(capture.id, capture)
  }
  const note = (id: unknown, logType: unknown, n: unknown, what: 'records' | 'removed') => {
    const capture = found.get(String(id))
    if (capture !== undefined && Number.isSafeInteger(n)) capture[what][String(logType)] = Number(n)
  }
  for (const { capture_id: id, log_type: logType, records: n } of records) note(id, logType, n, 'records')
  for (const { capture_id: id, log_type: logType, rows: n } of removed) note(id, logType, n, 'removed')
  return found
}

/** Undefined for a row that damage has made nonsense of. */
function captureFrom(row: Row): FormerCapture | undefined {
  try {
    const { id, name, source, format, bytes, state, engine, engine_version: engineVersion } = row
    if (!/^[0-9a-f]{64}$/.test(String(id)) || (format !== 'pcap' && format !== 'pcapng')) return undefined
    return {
      ...{ id: String(id), name: String(name), source: String(source), format, bytes: Number(bytes) },
      ...{ state: state as CaptureState, records: {}, removed: {}, acceptedAt: Number(row.accepted_at) },
      ...{ engine: engine as string | null, engineVersion: engineVersion as string | null },
      packets: row.packets === null ? null : JSON.parse(String(row.packets)),
      warnings: JSON.parse(String(row.warnings)),
      // Columns that a ledger of an earlier version lacks.
      clockOffsetUs: Number(row.clock_offset_us ?? 0),
      keyLog: JSON.parse(String(row.key_log ?? null)),
      keysConverted: (row.keys_converted ?? null) as string | null,
      tls: JSON.parse(String(row.tls ?? null)),
    }
  } catch {
    return undefined
  }
}

function copyTables(
  tables: readonly string[],
  rowsOf: (table: string) => Row[],
  target: Database,
  problems: string[],
): Record<string, number> {
  const copied: Record<string, number> = {}
  const known = new Set(tablesOf(target))
  for (const table of tables) {
    if (!known.has(table) || !KEPT.test(table)) continue
    const rows = rowsOf(table)
    // One that the migrations have filled already: which ledger it is, how far the lists have changed.
    if (rows.length > 0) target.exec(`DELETE FROM "${table}"`)
    copied[table] = copyRows(target, table, rows, problems)
  }
  if (tables.includes('jobs')) copied.arrivals_waiting = copyArrivalJobs(target, rowsOf('jobs'), problems)
  return copied
}

function copyRows(target: Database, table: string, rows: readonly Row[], problems: string[]): number {
  const columns = (target.pragma(`table_info("${table}")`) as { name: string }[]).map(({ name }) => name)
  let copied = 0
  let refused = 0
  for (const row of rows) {
    const shared = columns.filter((name) => name in row)
    const names = shared.map((name) => `"${name}"`).join(', ')
    const values = shared.map((name) => `@${name}`).join(', ')
    try {
      copied += target.prepare(`INSERT OR IGNORE INTO "${table}" (${names}) VALUES (${values})`).run(row).changes
    } catch {
      refused++
    }
  }
  if (refused > 0) problems.push(`${table}: ${refused} rows were damaged`)
  return copied
}

/** Files that wait to be taken in, or were refused: theirs is the one work that stands on nothing but the file. */
function copyArrivalJobs(target: Database, rows: readonly Row[], problems: string[]): number {
  const arrivals = rows
    .filter(({ stage, status }) => stage === 'monitor' && status !== 'done')
    .map((row) => ({
      ...row,
      status: row.status === 'failed' ? 'failed' : 'ready',
      ...{ lease: null, lease_owner: null, lease_until: null, origin: null, progress: null },
    }))
  return copyRows(target, 'jobs', arrivals, problems)
}

/**
 * Flags rows of watched people and indicators in Parquet files.
 *
 * In: files of one load, or of the whole dataset, and the watch lists. Out: the same rows in the same order; those that
 * meet a rule say whom, by which list and why. Only the columns that may hold what is looked for are read, and only
 * files with rows to flag (or flags to take back) are written anew. Records that carry no MAC address are found by the
 * flow that they belong to; addresses that DHCP gave to a watched card, by the lease.
 */

import { rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { flush } from '../../stages/durable.ts'
import type { EventFlags, Flags } from '../../stages/event-flags.ts'
import { tableOf, WATCH_COLUMNS } from '../../stages/upload/rules/table.ts'
import type { Rules } from '../../stages/upload/rules.ts'
import { PipelineError } from '../../state/errors.ts'
import type { LeaseRow, NewHit } from '../../state/watch-lists.ts'
import { identifier, list, literal, rowsOf } from '../query/sql.ts'
import { PARQUET_FORMAT } from '../sinks/parquet/plan.ts'
import { kindOf, type Matcher, type ValueKind, type WatchRule } from './matcher.ts'

export interface FlagFile {
  /** Absolute. */
  path: string
  logType: string
}

export interface Flagged {
  /** Files that were written anew. */
  files: { path: string; rows: number; bytes: number }[]
  hits: NewHit[]
}

export interface FlagOptions {
  rules: Rules
  /** An existing directory, for what does not fit into memory. */
  tempDir: string
  memoryLimit: string
  signal?: AbortSignal | undefined
}

export interface FlagHow {
  /** Files lose flags that do not hold any more. */
  takeBack: boolean
  /** Gets the flags of each row, for who tells of the same events in another form. */
  flags?: EventFlags | undefined
  /** A file is about to be replaced. */
  onReplace?(path: string): void
}

export interface Flagger extends AsyncDisposable {
  /**
   * Learns from the records that name MAC addresses: leases, and flows of watched cards. Answers the leases, so that
   * the matcher can be made with them.
   */
  leases(files: readonly FlagFile[], macs: readonly string[]): Promise<LeaseRow[]>
  learnFlows(files: readonly FlagFile[], matcher: Matcher): Promise<void>
  /** Files of one log type. */
  flag(logType: string, files: readonly FlagFile[], matcher: Matcher, how: FlagHow): Promise<Flagged>
}

const DAY_S = 86_400
/** No log has a field of this name. */
const FILE = '$file'
/** Of a row: its file, and its number there. */
const PLACE = `"${FILE}" AS file, file_row_number AS row`
const VALUES_AT_ONCE = 5000
/** Flows are one record of several; these name the others' flow. */
const FLOW_COLUMNS = ['flow_id', 'uid']

interface Candidate {
  column: string
  kind: ValueKind
  isList: boolean
}

export async function openFlagger({ rules, tempDir, memoryLimit, signal }: FlagOptions): Promise<Flagger> {
  const instance = await DuckDBInstance.create(':memory:', {
    threads: '1',
    memory_limit: memoryLimit,
    temp_directory: join(tempDir, 'flag-spill'),
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  })
  const connection = await instance.connect()
  const interrupt = () => connection.interrupt()
  signal?.addEventListener('abort', interrupt)
  let ruleCount = 0
  const wanted = new Map<ValueKind, Matcher>()
  await connection.run(
    'CREATE TEMP TABLE watch_rules (id INTEGER, employee VARCHAR, list VARCHAR, starts TIMESTAMP, ends TIMESTAMP)',
  )
  await connection.run('CREATE TEMP TABLE watch_flows (flow VARCHAR, capture VARCHAR, rule INTEGER, reason VARCHAR)')
  await connection.run('CREATE TEMP TABLE watch_values (col VARCHAR, value VARCHAR, rule INTEGER, reason VARCHAR)')

  async function leases(files: readonly FlagFile[], macs: readonly string[]): Promise<LeaseRow[]> {
    const own = files.filter(({ logType }) => logType === 'dhcp')
    if (own.length === 0 || macs.length === 0) return []
    const columns = await columnsOf(own)
    if (!['mac', 'assigned_addr', 'event_time'].every((name) => columns.has(name))) return []
    const seconds = columns.has('lease_time') ? `coalesce(lease_time, ${DAY_S})` : String(DAY_S)
    const rows = await rowsOf(
      connection,
      `SELECT assigned_addr, lower(mac), epoch_ms(event_time)::DOUBLE, (epoch_ms(event_time) + least(${seconds}, ${366 * DAY_S}) * 1000)::DOUBLE, capture_id
       FROM ${parquet(own)} WHERE assigned_addr IS NOT NULL AND event_time IS NOT NULL AND lower(mac) IN (${macs.map(literal).join(', ')})`,
    )
    return rows.map(([ip, mac, from, to, captureId]) => ({
      ...{ ip: String(ip), mac: String(mac), validFrom: Math.floor(Number(from)), validTo: Math.floor(Number(to)) },
      captureId: captureId === null ? null : String(captureId),
    }))
  }

  async function learnFlows(files: readonly FlagFile[], matcher: Matcher): Promise<void> {
    if (!matcher.has('mac')) return
    for (const [logType, own] of Map.groupBy(files, (file) => file.logType)) {
      const columns = await columnsOf(own)
      if (!columns.has('flow_id') || !columns.has('event_time')) continue
      const candidates = (await candidatesOf(logType, own)).filter(({ kind }) => kind === 'mac')
      if (candidates.length === 0 || (await findValues(own, candidates, matcher)) === 0) continue
      for (const { column } of candidates) {
        await connection.run(
          `INSERT INTO watch_flows SELECT DISTINCT t.flow_id, t.capture_id, v.rule, v.reason FROM ${parquet(own)} AS t
           JOIN watch_values v ON v.col = ${literal(column)} AND v.value = t.${identifier(column)}
           JOIN watch_rules r ON r.id = v.rule WHERE t.flow_id IS NOT NULL AND ${isValid('t')}`,
        )
      }
    }
  }

  async function flag(logType: string, files: readonly FlagFile[], matcher: Matcher, how: FlagHow): Promise<Flagged> {
    const columns = await columnsOf(files)
    if (!columns.has('event_id')) return { files: [], hits: [] }
    const candidates = await candidatesOf(logType, files)
    const found = await findValues(files, candidates, matcher)
    const flows = await countOf('watch_flows')
    await connection.run(
      'CREATE OR REPLACE TEMP TABLE watch_rows (file VARCHAR, row BIGINT, event_time TIMESTAMP, capture VARCHAR, rule INTEGER, reason VARCHAR)',
    )
    if (found > 0) for (const candidate of candidates) await addRows(files, candidate)
    if (flows > 0)
      for (const column of FLOW_COLUMNS.filter((name) => columns.has(name))) await addRowsOfFlows(files, column)
    const touched = new Set(
      (await rowsOf(connection, 'SELECT DISTINCT file FROM watch_rows')).map(([file]) => String(file)),
    )
    if (how.takeBack && WATCH_COLUMNS.every((name) => columns.has(name))) {
      const flagged = await rowsOf(
        connection,
        `SELECT DISTINCT ${identifier(FILE)} FROM ${parquet(files, true)} WHERE watch_list IS NOT NULL OR watch_employee IS NOT NULL`,
      )
      for (const [file] of flagged) touched.add(String(file))
    }
    const hits = touched.size === 0 ? [] : await hitsOf(logType)
    const written: Flagged['files'] = []
    for (const { path } of files.filter((file) => touched.has(file.path))) {
      signal?.throwIfAborted()
      const file = await rewrite(path, await columnsOf([{ path, logType }]), how)
      if (file !== undefined) written.push(file)
    }
    return { files: written, hits }
  }

  async function columnsOf(files: readonly FlagFile[]): Promise<Map<string, string>> {
    const rows = await rowsOf(connection, `SELECT column_name, column_type FROM (DESCRIBE FROM ${parquet(files)})`)
    return new Map(rows.map(([name, type]) => [String(name), String(type)]))
  }

  async function candidatesOf(logType: string, files: readonly FlagFile[]): Promise<Candidate[]> {
    const addresses = new Set(
      tableOf(rules, logType)
        .fields.filter(({ type }) => /\baddr\b/.test(type))
        .map(({ column }) => column),
    )
    return [...(await columnsOf(files))].flatMap(([column, type]) => {
      const kind = type === 'VARCHAR' || type === 'VARCHAR[]' ? kindOf(column, addresses.has(column)) : undefined
      return kind === undefined ? [] : [{ column, kind, isList: type.endsWith('[]') }]
    })
  }

  /** Fills `watch_values`. Values are asked for as the files have them, so that joining them needs no function. */
  async function findValues(
    files: readonly FlagFile[],
    candidates: readonly Candidate[],
    matcher: Matcher,
  ): Promise<number> {
    await connection.run('DELETE FROM watch_values')
    let found = 0
    for (const { column, kind, isList } of candidates) {
      if (!matcher.has(kind)) continue
      const value = isList ? `unnest(${identifier(column)})` : identifier(column)
      const isMeant = (await wantedOf(kind, matcher))
        ? `lower(v) IN (SELECT value FROM watch_wanted_${kind})`
        : 'v IS NOT NULL'
      const result = await connection.stream(
        `SELECT DISTINCT v FROM (SELECT ${value} AS v FROM ${parquet(files)}) WHERE ${isMeant}`,
      )
      let batch: [string, WatchRule][] = []
      for (let chunk = await result.fetchChunk(); chunk && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
        for (const each of chunk.getColumns()[0] ?? []) {
          for (const rule of matcher.match(kind, String(each))) batch.push([String(each), rule])
        }
      }
      found += batch.length
      for (; batch.length > 0; batch = batch.slice(VALUES_AT_ONCE))
        await addValues(column, batch.slice(0, VALUES_AT_ONCE))
    }
    return found
  }

  /** The values of a kind as a table, which is joined faster than a list of literals is read; false where others count too. */
  async function wantedOf(kind: ValueKind, matcher: Matcher): Promise<boolean> {
    const exact = matcher.exact(kind)
    if (exact === undefined) return false
    if (wanted.get(kind) === matcher) return true
    await connection.run(`CREATE OR REPLACE TEMP TABLE watch_wanted_${kind} (value VARCHAR)`)
    for (let from = 0; from < exact.length; from += VALUES_AT_ONCE) {
      const rows = exact.slice(from, from + VALUES_AT_ONCE).map((value) => `(${literal(value)})`)
      await connection.run(`INSERT INTO watch_wanted_${kind} VALUES ${rows.join(', ')}`)
    }
    wanted.set(kind, matcher)
    return true
  }

  async function addValues(column: string, batch: readonly [string, WatchRule][]): Promise<void> {
    const rows = batch.map(([value, rule], i) => {
      const id = ruleCount + i
      const why =
        rule.label.endsWith(` ${value}`) || rule.label.includes(` ${value} `)
          ? column
          : `${column} ${value.slice(0, 200)}`
      return { id, rule, value, reason: `${rule.label} (${why})` }
    })
    ruleCount += batch.length
    const text = (value: string | null) => (value === null ? 'NULL' : literal(value))
    const time = (ms: number | null) => (ms === null ? 'NULL' : `make_timestamp(${Math.trunc(ms)}::BIGINT * 1000)`)
    const ruleRows = rows.map(
      ({ id, rule }) => `(${id}, ${text(rule.employee)}, ${text(rule.list)}, ${time(rule.from)}, ${time(rule.to)})`,
    )
    await connection.run(`INSERT INTO watch_rules VALUES ${ruleRows.join(', ')}`)
    const valueRows = rows.map(
      ({ id, value, reason }) => `(${literal(column)}, ${literal(value)}, ${id}, ${literal(reason)})`,
    )
    await connection.run(`INSERT INTO watch_values VALUES ${valueRows.join(', ')}`)
  }

  async function addRows(files: readonly FlagFile[], { column, isList }: Candidate): Promise<void> {
    const value = isList ? `unnest(${identifier(column)})` : identifier(column)
    await connection.run(
      `INSERT INTO watch_rows SELECT DISTINCT t.file, t.row, t.event_time, t.capture_id, v.rule, v.reason
       FROM (SELECT ${PLACE}, event_time, capture_id, ${value} AS v FROM ${parquet(files, true)}) AS t
       JOIN watch_values v ON v.col = ${literal(column)} AND v.value = t.v JOIN watch_rules r ON r.id = v.rule WHERE ${isValid('t')}`,
    )
  }

  async function addRowsOfFlows(files: readonly FlagFile[], column: string): Promise<void> {
    await connection.run(
      `INSERT INTO watch_rows SELECT DISTINCT t.file, t.row, t.event_time, t.capture_id, f.rule, f.reason
       FROM (SELECT ${PLACE}, event_time, capture_id, ${identifier(column)} AS flow FROM ${parquet(files, true)}) AS t
       JOIN watch_flows f ON f.flow = t.flow AND f.capture IS NOT DISTINCT FROM t.capture_id
       JOIN watch_rules r ON r.id = f.rule WHERE ${isValid('t')}`,
    )
  }

  async function countOf(table: string): Promise<number> {
    const [row] = await rowsOf(connection, `SELECT count(*) FROM ${table}`)
    return Number(row?.[0])
  }

  async function hitsOf(logType: string): Promise<NewHit[]> {
    const rows = await rowsOf(
      connection,
      `SELECT r.employee, r.list, w.reason, w.capture, count(DISTINCT (w.file, w.row)), epoch_ms(min(w.event_time))::DOUBLE, epoch_ms(max(w.event_time))::DOUBLE
       FROM watch_rows w JOIN watch_rules r ON r.id = w.rule GROUP BY ALL ORDER BY 5 DESC LIMIT ${MOST_HITS}`,
    )
    const text = (value: unknown) => (value === null || value === undefined ? null : String(value))
    const number = (value: unknown) => (value === null || value === undefined ? null : Math.trunc(Number(value)))
    return rows.map(([employee, listName, reason, captureId, n, first, last]) => ({
      ...{ employee: text(employee), list: String(listName), reason: String(reason), logType },
      ...{ captureId: text(captureId), rows: Number(n), firstTime: number(first), lastTime: number(last) },
    }))
  }

  /** Beside the old file and renamed over it: readers see one or the other. Undefined where its flags are right already. */
  async function rewrite(
    path: string,
    found: ReadonlyMap<string, string>,
    { flags, onReplace }: FlagHow,
  ): Promise<{ path: string; rows: number; bytes: number } | undefined> {
    const kept = columnsIn(found)
    // A leading dot: readers of the dataset leave it alone.
    const next = join(dirname(path), `.${basename(path)}.flagged`)
    await rm(next, { force: true })
    const file = literal(path)
    const source = `read_parquet(${file}, hive_partitioning = false)`
    const distinct = (column: string) => `list_sort(list(DISTINCT ${column}) FILTER (${column} IS NOT NULL))`
    const at = kept.indexOf('extra')
    const [before, after] = at === -1 ? [kept, []] : [kept.slice(0, at), kept.slice(at)]
    const columns = [
      ...before.map((name) => `t.${identifier(name)}`),
      ...WATCH_COLUMNS.map((name) => `w.${name}`),
      ...after.map((name) => `t.${identifier(name)}`),
    ]
    // A join gives rows in an order of its own, except one by position. The flags of all rows are a narrow table.
    const total = await countOf(source)
    await connection.run(
      `CREATE OR REPLACE TEMP TABLE watch_flags AS SELECT g.watch_employee, g.watch_list, g.watch_reason
       FROM range(${total}) n(row) LEFT JOIN (
         SELECT w.row, ${distinct('r.employee')} AS watch_employee, ${distinct('r.list')} AS watch_list, ${distinct('w.reason')} AS watch_reason
         FROM watch_rows w JOIN watch_rules r ON r.id = w.rule WHERE w.file = ${file} GROUP BY w.row
       ) g ON g.row = n.row ORDER BY n.row`,
    )
    if (WATCH_COLUMNS.every((name) => found.has(name)) && (await isFlagged(source))) return undefined
    await connection.run(
      `COPY (SELECT ${columns.join(', ')} FROM ${source} AS t POSITIONAL JOIN watch_flags w) TO ${literal(next)} (${PARQUET_FORMAT})`,
    )
    const rows = await checkSame(source, `read_parquet(${literal(next)}, hive_partitioning = false)`, path, next)
    if (flags !== undefined) await collect(source, flags)
    await flush(next)
    onReplace?.(path)
    await rename(next, path)
    await flush(dirname(path))
    return { path, rows, bytes: (await stat(path)).size }
  }

  /** The rows have the flags of `watch_flags`, which lies beside them. */
  async function isFlagged(source: string): Promise<boolean> {
    const differs = WATCH_COLUMNS.map((name) => `t.${name} IS DISTINCT FROM w.${name}`).join(' OR ')
    const [row] = await rowsOf(
      connection,
      `SELECT count(*) FROM (SELECT ${WATCH_COLUMNS.join(', ')} FROM ${source}) AS t POSITIONAL JOIN watch_flags w WHERE ${differs}`,
    )
    return Number(row?.[0]) === 0
  }

  /** Out of `watch_flags`, which lies beside the rows. The same flags of many rows are one object. */
  async function collect(source: string, flags: EventFlags): Promise<void> {
    const known = new Map<string, Flags>()
    const result = await connection.stream(
      `SELECT t.event_id, to_json(w)::VARCHAR FROM (SELECT event_id FROM ${source}) AS t POSITIONAL JOIN watch_flags w WHERE w.watch_list IS NOT NULL`,
    )
    for (let chunk = await result.fetchChunk(); chunk && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
      for (const [eventId, text] of chunk.getRows() as [string, string][]) {
        const own = known.get(text) ?? (JSON.parse(text) as Flags)
        known.set(text, own)
        flags.add(eventId, own)
      }
    }
  }

  /** What was written must be what was read: as many rows, with their ids, in their order. */
  async function checkSame(before: string, after: string, path: string, next: string): Promise<number> {
    const sum = (source: string) =>
      rowsOf(
        connection,
        `SELECT count(*), sum(hash(event_id, n) % 1000003)::VARCHAR FROM (SELECT event_id, row_number() OVER () AS n FROM ${source})`,
      )
    const [[a], [b]] = await Promise.all([sum(before), sum(after)])
    if (String(a) === String(b)) return Number(a?.[0])
    await rm(next, { force: true })
    throw new PipelineError(
      'events_unbalanced',
      `${path} has ${a?.[0]} rows, and ${b?.[0]} with flags: it is left as it is`,
    )
  }

  return {
    leases,
    learnFlows,
    flag,
    async [Symbol.asyncDispose]() {
      signal?.removeEventListener('abort', interrupt)
      connection.closeSync()
      instance.closeSync()
      await rm(join(tempDir, 'flag-spill'), { recursive: true, force: true })
    },
  }
}

/** Of one load; a report is made of the rows themselves. */
const MOST_HITS = 10_000

function columnsIn(columns: ReadonlyMap<string, string>): string[] {
  return [...columns.keys()].filter((name) => !WATCH_COLUMNS.includes(name))
}

/** A rule without times always holds; one with them, for events that have a time. */
function isValid(rows: string): string {
  return `(r.starts IS NULL OR ${rows}.event_time >= r.starts) AND (r.ends IS NULL OR ${rows}.event_time < r.ends)`
}

function parquet(files: readonly FlagFile[], withName = false): string {
  const options = `hive_partitioning = false, union_by_name = true${withName ? `, filename = '${FILE}', file_row_number = true` : ''}`
  return `read_parquet(${list(files.map(({ path }) => path))}, ${options})`
}

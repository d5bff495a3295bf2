/**
 * What the dataset says of itself: which of its files can be read, and which events of which capture are in them.
 *
 * In: its root. Out: per file and capture the rows, per capture and log type the events. Every column of every file is
 * read, so that a file that passes can be read to its end. Nothing is changed.
 */

import { join } from 'node:path'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { idPrefixOf } from '../../stages/event-id.ts'
import { NO_CAPTURE } from '../../state/capture.ts'
import { messageOf } from '../../state/errors.ts'
import { listFiles, listTypes } from '../query/files.ts'
import { list, literal, rowsOf } from '../query/sql.ts'
import { exactPath } from '../sinks/parquet/sql-text.ts'

/** Rows of one capture in a file; events that came without one are under `NO_CAPTURE`. */
export interface CaptureRows {
  captureId: string
  rows: number
  source: string
}

export interface FileEvidence {
  /** Absolute. */
  path: string
  logType: string
  bytes: number
  rows: number
  captures: CaptureRows[]
}

/** The events of one log of one capture, over all files. */
export interface LogEvidence {
  captureId: string
  logType: string
  rows: number
  /** Different event ids: fewer than rows where an event is there twice. */
  ids: number
  /** Rows whose id is not that of an event of this capture and log. */
  strange: number
  /** The largest number of an event; -1 where none has one. */
  lastOrdinal: number
}

export interface DatasetEvidence {
  files: FileEvidence[]
  logs: LogEvidence[]
  /** They cannot be read to their end. */
  damaged: { path: string; reason: string }[]
  /** Parquet, but not ours: without the columns that all tables have. */
  foreign: string[]
  /** Every one of their rows is in another file as well, as after a joining of files that was cut short. */
  redundant: string[]
}

export interface EvidenceOptions {
  root: string
  /** An existing folder for what does not fit into memory. */
  tempDir: string
  memoryMb: number
  threads: number
  onFile?: (path: string) => void
}

/** Throws `io` when a folder cannot be read. */
export async function readDataset(options: EvidenceOptions): Promise<DatasetEvidence> {
  const instance = await DuckDBInstance.create(':memory:', {
    memory_limit: `${options.memoryMb}MiB`,
    threads: String(options.threads),
    temp_directory: join(options.tempDir, 'spill'),
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  })
  const connection = await instance.connect()
  try {
    const evidence: DatasetEvidence = { files: [], logs: [], damaged: [], foreign: [], redundant: [] }
    for (const logType of await listTypes(options.root)) {
      const files = await readFiles(connection, logType, options, evidence)
      const { logs, redundant } = await readLogs(connection, logType, files)
      evidence.files.push(...files.filter(({ path }) => !redundant.includes(path)))
      evidence.logs.push(...logs)
      evidence.redundant.push(...redundant)
    }
    return evidence
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

async function readFiles(
  connection: DuckDBConnection,
  logType: string,
  { root, onFile }: EvidenceOptions,
  { damaged, foreign }: DatasetEvidence,
): Promise<FileEvidence[]> {
  const files: FileEvidence[] = []
  for (const { path, bytes } of await listFiles(root, logType)) {
    onFile?.(path)
    try {
      const captures = await capturesIn(connection, path)
      files.push({ path, logType, bytes, rows: captures.reduce((sum, { rows }) => sum + rows, 0), captures })
    } catch (error) {
      const reason = messageOf(error)
      if (reason.startsWith('Binder Error')) foreign.push(path)
      else damaged.push({ path, reason })
    }
  }
  return files
}

async function capturesIn(connection: DuckDBConnection, path: string): Promise<CaptureRows[]> {
  const source = `read_parquet(${exactPath(path)}, hive_partitioning = false)`
  const rows = await rowsOf(
    connection,
    `SELECT coalesce(capture_id, ''), count(*)::DOUBLE, coalesce(min(source), ''), max(event_id), max(hash(t))
     FROM ${source} AS t GROUP BY 1 ORDER BY 1`,
  )
  return rows.map(([captureId, n, from]) => ({ captureId: String(captureId), rows: Number(n), source: String(from) }))
}

async function readLogs(
  connection: DuckDBConnection,
  logType: string,
  files: readonly FileEvidence[],
): Promise<{ logs: LogEvidence[]; redundant: string[] }> {
  if (files.length === 0) return { logs: [], redundant: [] }
  const logs = await logsOf(connection, logType, files)
  const doubled = logs.filter(({ rows, ids }) => ids < rows).map(({ captureId }) => captureId)
  if (doubled.length === 0) return { logs, redundant: [] }
  const redundant = await redundantOf(connection, files, doubled)
  if (redundant.length === 0) return { logs, redundant }
  const left = files.filter(({ path }) => !redundant.includes(path))
  return { logs: await logsOf(connection, logType, left), redundant }
}

async function logsOf(
  connection: DuckDBConnection,
  logType: string,
  files: readonly FileEvidence[],
): Promise<LogEvidence[]> {
  const prefix = `(left(capture_id, 24) || ${literal(idPrefixOf({ logType, captureId: '' }))})`
  const rows = await rowsOf(
    connection,
    `SELECT capture, count(*)::DOUBLE, count(DISTINCT event_id)::DOUBLE,
       (count(*) FILTER (number IS NULL OR number::VARCHAR <> digits))::DOUBLE, coalesce(max(number), -1)::DOUBLE
     FROM (
       SELECT *, try_cast(digits AS BIGINT) AS number FROM (
         SELECT coalesce(capture_id, '') AS capture, event_id,
           CASE WHEN starts_with(event_id, ${prefix}) THEN substr(event_id, length(${prefix}) + 1) END AS digits
         FROM ${sourceOf(files)}))
     GROUP BY capture ORDER BY capture`,
  )
  return rows.map(([captureId, n, ids, strange, last]) => ({
    ...{ captureId: String(captureId), logType, rows: Number(n), ids: Number(ids) },
    ...{ strange: captureId === NO_CAPTURE ? 0 : Number(strange), lastOrdinal: Number(last) },
  }))
}

/** Small files first: what was joined goes, what it was joined into stays. */
async function redundantOf(
  connection: DuckDBConnection,
  files: readonly FileEvidence[],
  captureIds: readonly string[],
): Promise<string[]> {
  await connection.run(`CREATE OR REPLACE TEMP TABLE copies AS
    WITH rows AS (SELECT event_id, filename FROM ${sourceOf(files, ', filename = true')}
                  WHERE coalesce(capture_id, '') IN (SELECT unnest(${list(captureIds)})))
    SELECT * FROM rows WHERE event_id IN (SELECT event_id FROM rows GROUP BY event_id HAVING count(*) > 1)`)
  const redundant: string[] = []
  for (const { path, rows } of files.toSorted((a, b) => a.rows - b.rows)) {
    const own = `SELECT event_id FROM copies WHERE filename = ${literal(path)}`
    const others = `SELECT event_id FROM copies WHERE filename <> ${literal(path)}`
    const [[found] = []] = await rowsOf(
      connection,
      `SELECT count(*)::DOUBLE FROM (${own}) WHERE event_id IN (${others})`,
    )
    if (Number(found) < rows) continue
    redundant.push(path)
    await connection.run(`DELETE FROM copies WHERE filename = ${literal(path)}`)
  }
  await connection.run('DROP TABLE copies')
  return redundant
}

function sourceOf(files: readonly FileEvidence[], options = ''): string {
  const paths = `[${files.map(({ path }) => exactPath(path)).join(', ')}]`
  return `read_parquet(${paths}, union_by_name = true, hive_partitioning = false${options})`
}

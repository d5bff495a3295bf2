/**
 * What the dataset holds.
 *
 * In: an opened dataset. Out: one entry a log type. Row counts come from the files' footers (each is read
 * once in its life); the first and last event from the files of the first and last hour alone.
 */

import type { DuckDBConnection } from '@duckdb/node-api'
import { PipelineError } from '../../state/errors.ts'
import type { Column, Dataset } from './dataset.ts'
import { asQueryError } from './failure.ts'
import { type DataFile, EVENTS } from './files.ts'
import { type DamagedFile, PARTITION_COLUMNS, readRowCounts, readSchema, type TypeSchema } from './schema.ts'
import { list, rowsOf } from './sql.ts'
import { COMMON_COLUMNS, columnsOf } from './views.ts'

export interface TableInfo {
  name: string
  rows: number
  files: number
  bytes: number
  columns: Column[]
  /** ISO 8601 in UTC; absent without rows. */
  firstTime?: string
  lastTime?: string
  /** Files that cannot be read and are part of no answer; not among `files`. */
  damaged: DamagedFile[]
}

/** One entry a log type, by name; a declared type without files has zeros. The view `events` is not listed. */
export async function listTables(dataset: Dataset): Promise<TableInfo[]> {
  return await connected(dataset, async (connection) => {
    const tables: TableInfo[] = []
    for (const name of await dataset.tableNames()) tables.push(await tableInfo(dataset, connection, name))
    return tables
  })
}

/**
 * The columns of one table or of `events`, those of the partitions last.
 *
 * @throws query_failed for a table that does not exist.
 */
export async function describeTable(dataset: Dataset, name: string): Promise<Column[]> {
  if (name === EVENTS) return [...COMMON_COLUMNS, ...PARTITION_COLUMNS]
  const names = await dataset.tableNames()
  if (!names.includes(name))
    throw new PipelineError('query_failed', `there is no such table; the tables are: ${[...names, EVENTS].join(', ')}`)
  return await connected(dataset, async (connection) => {
    return columnsOf(await readSchema(dataset, connection, name), dataset.declared.get(name))
  })
}

async function tableInfo(dataset: Dataset, connection: DuckDBConnection, name: string): Promise<TableInfo> {
  const schema = await readSchema(dataset, connection, name)
  const files = schema.groups.flatMap((group) => group.files)
  const damaged = [...schema.damaged, ...(await readRowCounts(dataset, connection, files))]
  const rows = files.reduce((sum, file) => sum + (dataset.facts.get(file)?.rows ?? 0), 0)
  return {
    name,
    rows,
    files: files.length,
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    columns: columnsOf(schema, dataset.declared.get(name)),
    ...(await timesOf(connection, schema, files)),
    damaged,
  }
}

/** Rows whose time was unusable, or too many hours for one write, lie in the epoch's first hour, of any time. */
const UNSORTED_HOUR = 1970010100

async function timesOf(
  connection: DuckDBConnection,
  { columns }: TypeSchema,
  files: readonly DataFile[],
): Promise<{ firstTime?: string; lastTime?: string }> {
  const time = columns.find((column) => column.name.toLowerCase() === 'event_time')
  if (!time?.type.startsWith('TIMESTAMP') || files.length === 0) return {}
  const hours = files.map(hourOf).filter((hour) => hour !== UNSORTED_HOUR)
  const wanted = new Set([
    hours.reduce((a, b) => Math.min(a, b), Infinity),
    hours.reduce((a, b) => Math.max(a, b), 0),
    UNSORTED_HOUR,
  ])
  const paths = files.filter((file) => wanted.has(hourOf(file))).map((file) => file.path)
  const format = (value: string) => `strftime(${value}::TIMESTAMP, '%Y-%m-%dT%H:%M:%S.%gZ')`
  const [row] = await rowsOf(
    connection,
    `SELECT ${format('min(event_time)')}, ${format('max(event_time)')}
     FROM read_parquet(${list(paths)}, union_by_name = true, hive_partitioning = false) WHERE isfinite(event_time::TIMESTAMP)`,
  )
  const [first, last] = row ?? []
  return typeof first === 'string' && typeof last === 'string' ? { firstTime: first, lastTime: last } : {}
}

/** YYYYMMDDHH of the file's partition, as a number. */
function hourOf(file: DataFile): number {
  const [year = 0, month = 0, day = 0, hour = 0] = file.path
    .split('/')
    .slice(-5, -1)
    .map((part) => Number(part.split('=')[1]))
  return ((year * 100 + month) * 100 + day) * 100 + hour
}

async function connected<T>(dataset: Dataset, use: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
  using _shared = dataset.share()
  const connection = await dataset.connect()
  try {
    return await use(connection)
  } catch (error) {
    throw asQueryError(error, dataset)
  } finally {
    connection.closeSync()
  }
}

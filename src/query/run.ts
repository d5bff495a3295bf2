/**
 * Answers one query.
 *
 * In: SQL from outside, and where and how to write the answer. Out: the answer, as it comes: memory does not
 * grow with it, and a slow reader slows the query down. What may run is decided by guard.ts.
 */

import type { Writable } from 'node:stream'
import { type DuckDBConnection, type DuckDBDataChunk, type DuckDBResult, StatementType } from '@duckdb/node-api'
import { messageOf, PipelineError } from '../../state/errors.ts'
import { findDamaged } from './damage.ts'
import type { Dataset } from './dataset.ts'
import { type Deadline, startDeadline } from './deadline.ts'
import { asQueryError } from './failure.ts'
import { type AnswerColumn, csvFormat, type Format, jsonFormat, ndjsonFormat, rowsFormat } from './formats.ts'
import { ALLOWED, type CheckedQuery, checkQuery } from './guard.ts'
import { type Output, openOutput } from './output.ts'
import { writeParquet } from './parquet-answer.ts'
import { PEOPLE_TABLES } from './people.ts'
import { isGone } from './schema.ts'
import { tableFormat } from './table-format.ts'
import { codecOf } from './values.ts'
import { createViews } from './views.ts'
import { visible } from './visible-text.ts'

export type QueryFormat = 'table' | 'json' | 'csv' | 'ndjson' | 'parquet' | 'rows'

export const QUERY_FORMATS: readonly QueryFormat[] = ['table', 'json', 'csv', 'ndjson', 'parquet']

export interface QueryOptions {
  format: QueryFormat
  /** Written with back-pressure; never ended here, so that `process.stdout` can be given. */
  out: Writable
  /** Rows after which the answer stops (`truncated` in the summary says so); no limit without it. */
  maxRows?: number
  /** How long DuckDB may work; time in which the reader takes nothing is not counted. */
  timeoutMs: number
  signal?: AbortSignal
  /** Terminal columns for `table`; without it nothing is cut. Give `process.stdout.columns`. */
  width?: number
  /** For `csv`: keep texts from running as formulas in a spreadsheet, at the price of changing them. */
  spreadsheetSafe?: boolean
  /** Called 20 times a second; an error that it returns ends the query. */
  look?: () => PipelineError | undefined
  /** Called when a limit or the signal ends the query, which DuckDB may not obey at once (see isolated.ts). */
  onStop?: (failure: PipelineError) => void
}

export interface QuerySummary {
  /** Rows in the answer; a reader that went away may not have seen the last of them. */
  rows: number
  /** `maxRows` ended the answer and there was more; for `parquet`: the answer has `maxRows` rows. */
  truncated: boolean
  /** The reader went away (`| head`): what was written ends early. */
  closed: boolean
  elapsedMs: number
  /** What the reader of the answer should know, a sentence each: files that were left out, and why. */
  warnings: string[]
}

/**
 * Runs one query and writes its whole answer.
 *
 * @throws query_refused (what, where, what is allowed), query_failed (DuckDB's message; a limit was reached),
 * stopped (the signal), io and disk_full (the answer or a temporary file could not be written).
 */
export async function runQuery(dataset: Dataset, sql: string, options: QueryOptions): Promise<QuerySummary> {
  const { format, out, timeoutMs, signal } = options
  const started = performance.now()
  using _shared = dataset.share()
  const connection = await dataset.connect()
  using deadline = startDeadline(connection, { timeoutMs, signal, onStop: options.onStop })
  if (options.look) deadline.watch(options.look)
  using output = openOutput(out, deadline, signal)
  let query: CheckedQuery | undefined
  try {
    query = await checkQuery(connection, sql, [...(await dataset.tableNames()), ...PEOPLE_TABLES])
    const job: QueryJob = { dataset, connection, query, deadline, output, options }
    const answer = format === 'parquet' ? await answerParquet(job) : await answerRows(job)
    return { ...answer, elapsedMs: performance.now() - started }
  } catch (error) {
    if (deadline.failure) throw deadline.failure
    const tables = query?.tables ?? []
    throw (await findDamaged(dataset, connection, tables, error, signal)) ?? asQueryError(error, dataset)
  } finally {
    connection.interrupt()
    connection.closeSync()
  }
}

/** Large enough that waiting for the reader costs nothing, small enough to hold. */
const PIECE_CHARACTERS = 64 * 1024

interface QueryJob {
  dataset: Dataset
  connection: DuckDBConnection
  query: CheckedQuery
  deadline: Deadline
  output: Output
  options: QueryOptions
}

type Answer = Omit<QuerySummary, 'elapsedMs'>

async function answerParquet({ dataset, connection, query, deadline, output, options }: QueryJob): Promise<Answer> {
  if (query.kind === 'explain') throw new PipelineError('usage', 'an EXPLAIN cannot be written as Parquet: use table')
  const warnings = await prepareTables(dataset, connection, query)
  await prepareChecked(connection, query.sql)
  const { rows, closed } = await writeParquet(dataset, connection, query, {
    deadline,
    output,
    maxRows: options.maxRows,
  })
  return { rows, closed, warnings, truncated: rows === options.maxRows }
}

async function answerRows(job: QueryJob): Promise<Answer> {
  const { deadline, output, options } = job
  const { result, first, warnings } = await start(job)
  const columns = result.deduplicatedColumnNames().map((name, index) => {
    const type = result.columnType(index)
    return { name, type: String(type), codec: codecOf(type) }
  })
  const format = formatOf(job, columns)
  const maxRows = options.maxRows ?? Number.POSITIVE_INFINITY
  let rows = 0
  let truncated = false
  let piece = format.head()
  let open = true
  for (let chunk = first; open && !truncated && hasRows(chunk); chunk = await result.fetchChunk()) {
    deadline.check()
    const columnValues = chunk.getColumns()
    const take = Math.min(chunk.rowCount, maxRows - rows)
    for (let row = 0; row < take && open; row++) {
      piece += format.row(columnValues.map((values) => values[row] ?? null))
      rows++
      if (piece.length < PIECE_CHARACTERS) continue
      open = await output.write(piece)
      piece = ''
    }
    truncated = take < chunk.rowCount
  }
  deadline.check()
  open = open && (await output.write(piece + format.tail({ rows, truncated }))) && (await output.flush())
  return { rows, truncated, closed: !open, warnings }
}

function hasRows(chunk: DuckDBDataChunk | null): chunk is DuckDBDataChunk {
  return chunk !== null && chunk.rowCount > 0
}

interface Started {
  result: DuckDBResult
  first: DuckDBDataChunk | null
  warnings: string[]
}

/** Retention may take a file between its listing and its reading; before the first row there is time to begin anew. */
async function start(job: QueryJob): Promise<Started> {
  try {
    return await startOnce(job)
  } catch (error) {
    if (!isGone(messageOf(error))) throw error
    return await startOnce(job)
  }
}

async function startOnce({ dataset, connection, query, deadline }: QueryJob): Promise<Started> {
  const warnings = await prepareTables(dataset, connection, query)
  deadline.check()
  const statement = await prepareChecked(connection, query.sql)
  deadline.check()
  const result = await statement.stream()
  return { result, first: await result.fetchChunk(), warnings }
}

async function prepareTables(dataset: Dataset, connection: DuckDBConnection, query: CheckedQuery): Promise<string[]> {
  return await createViews(dataset, connection, query.tables)
}

/** DuckDB's own word on what the text is, should its tree have told otherwise. */
async function prepareChecked(connection: DuckDBConnection, sql: string) {
  const statements = await connection.extractStatements(sql)
  if (statements.count !== 1) throw new PipelineError('query_refused', `refused: several statements. ${ALLOWED}.`)
  const statement = await statements.prepare(0)
  const type = statement.statementType
  if (type !== StatementType.SELECT && type !== StatementType.EXPLAIN)
    throw new PipelineError('query_refused', `refused: a ${StatementType[type]} statement. ${ALLOWED}.`)
  return statement
}

function formatOf({ query, options }: QueryJob, columns: readonly AnswerColumn[]): Format {
  switch (options.format) {
    case 'json':
      return jsonFormat(columns)
    case 'ndjson':
      return ndjsonFormat(columns)
    case 'rows':
      return rowsFormat(columns)
    case 'csv':
      return csvFormat(columns, options.spreadsheetSafe)
    default:
      return query.kind === 'explain' ? planFormat() : tableFormat(columns, options.width)
  }
}

/** DuckDB draws plans with lines of their own. */
function planFormat(): Format {
  return {
    head: () => '',
    row: (values) =>
      `${String(values.at(-1) ?? '')
        .split('\n')
        .map(visible)
        .join('\n')}\n`,
    tail: () => '',
  }
}

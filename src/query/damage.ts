/**
 * Finds the file that a query failed of.
 *
 * In: a failure of DuckDB that speaks of broken Parquet pages but not of the file, as several of its decoders'
 * do. Out: the file, found by reading the tables' files until one fails in the same way.
 */

import type { DuckDBConnection } from '@duckdb/node-api'
import { messageOf, PipelineError } from '../../state/errors.ts'
import type { Dataset } from './dataset.ts'
import { startDeadline } from './deadline.ts'
import { cleanMessage } from './failure.ts'
import { EVENTS, listFiles } from './files.ts'
import { isGone } from './schema.ts'
import { list } from './sql.ts'

/** What DuckDB's Parquet decoders throw without a name of a file. */
const NAMELESS = /^Invalid Error: |TProtocolException|TTransportException|don't know what type/
const SEARCH_MS = 10_000
const AT_ONCE = 64

/** The error that names the file; undefined when the failure is another, or no file is found in time. */
export async function findDamaged(
  dataset: Dataset,
  connection: DuckDBConnection,
  tables: readonly string[],
  failure: unknown,
  signal?: AbortSignal,
): Promise<PipelineError | undefined> {
  if (failure instanceof PipelineError || !NAMELESS.test(messageOf(failure))) return undefined
  using deadline = startDeadline(connection, { timeoutMs: SEARCH_MS, signal })
  const types = tables.includes(EVENTS) ? await dataset.tableNames() : tables
  for (const type of types) {
    const readable = (await listFiles(dataset.root, type)).filter((file) => dataset.facts.get(file))
    const paths = readable.map((file) => file.path)
    for (let from = 0; from < paths.length && !deadline.failure; from += AT_ONCE) {
      const part = paths.slice(from, from + AT_ONCE)
      if ((await readFailure(connection, part)) === undefined) continue
      for (const path of part) {
        const reason = await readFailure(connection, [path])
        if (reason !== undefined && !deadline.failure) return damaged(dataset, path, reason, failure)
      }
    }
  }
  return undefined
}

/** A file that retention removed is no damage. */
async function readFailure(connection: DuckDBConnection, paths: readonly string[]): Promise<string | undefined> {
  const source = `read_parquet(${list(paths)}, union_by_name = true, hive_partitioning = false)`
  try {
    await connection.run(`SELECT max(hash(t)) FROM ${source} AS t`)
    return undefined
  } catch (error) {
    const reason = messageOf(error)
    return isGone(reason) ? undefined : reason
  }
}

function damaged(dataset: Dataset, path: string, reason: string, cause: unknown): PipelineError {
  const file = path.slice(dataset.root.length + 1)
  const advice = 'move it out of the dataset and run the query again'
  return new PipelineError(
    'query_failed',
    `the file ${file} is damaged (${cleanMessage(reason, dataset)}): ${advice}`,
    {
      cause,
      details: { file },
    },
  )
}

/**
 * An answer as a Parquet file.
 *
 * In: a checked query whose tables exist. Out: the bytes of one Parquet file (zstd). Parquet's footer comes last
 * and its row groups are built whole, so that the file is made in the dataset's private folder first, and removed
 * at the end whatever happens. The user's statement only ever stands as the source of our COPY.
 */

import { randomUUID } from 'node:crypto'
import { createReadStream, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import { PipelineError } from '../../state/errors.ts'
import type { Dataset } from './dataset.ts'
import type { Deadline } from './deadline.ts'
import { asSubquery, type CheckedQuery } from './guard.ts'
import type { Output } from './output.ts'
import { literal } from './sql.ts'

interface ParquetAnswerOptions {
  deadline: Deadline
  output: Output
  maxRows: number | undefined
}

export async function writeParquet(
  dataset: Dataset,
  connection: DuckDBConnection,
  query: CheckedQuery,
  { deadline, output, maxRows }: ParquetAnswerOptions,
): Promise<{ rows: number; closed: boolean }> {
  const path = join(dataset.workDir, `answer-${randomUUID()}.parquet`)
  deadline.watch(() => (bytesOf(path) > dataset.tempMaxMb * 2 ** 20 ? tooLarge(dataset.tempMaxMb) : undefined))
  try {
    const inner = await asSubquery(connection, query.sql)
    const limit = maxRows === undefined ? '' : ` LIMIT ${Math.trunc(maxRows)}`
    const source = limit === '' && query.kind === 'select' ? inner : `(SELECT * FROM ${inner}${limit})`
    const result = await connection.run(`COPY ${source} TO ${literal(path)} (FORMAT parquet, COMPRESSION zstd)`)
    deadline.check()
    let open = true
    for await (const bytes of createReadStream(path)) {
      open = await output.write(bytes)
      if (!open) break
    }
    open = open && (await output.flush())
    return { rows: result.rowsChanged, closed: !open }
  } finally {
    await rm(path, { force: true })
  }
}

function bytesOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

function tooLarge(tempMaxMb: number): PipelineError {
  return new PipelineError('query_failed', `the answer is larger than ${tempMaxMb} MiB: ask for fewer rows or columns`)
}

/** One file of the dataset, or of quarantined lines, without what belongs to one capture. */

import { createReadStream } from 'node:fs'
import { open, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { DuckDBInstance } from '@duckdb/node-api'
import { flush } from '../../stages/durable.ts'
import { PipelineError } from '../../state/errors.ts'

/**
 * Rewrites the file in place by a rename, or removes it when nothing is left. Answers what is left: rows (0 for
 * a file of lines that stays, which holds none) and bytes.
 */
export async function withoutCapture(
  path: string,
  captureId: string,
  kind: 'rows' | 'lines',
): Promise<{ rows: number; bytes: number }> {
  if (!/^[0-9a-f]{64}$/.test(captureId)) throw new PipelineError('usage', `not a capture id: ${captureId}`)
  // A leading dot: readers of the dataset leave it alone.
  const next = join(dirname(path), `.${basename(path)}.next`)
  await rm(next, { force: true })
  const left = kind === 'rows' ? await copyRows(path, next, captureId) : await copyLines(path, next, captureId)
  if (left === 0) {
    await rm(next, { force: true })
    await rm(path, { force: true })
    return { rows: 0, bytes: 0 }
  }
  await flush(next)
  await rename(next, path)
  return { rows: left, bytes: (await stat(path)).size }
}

async function copyRows(from: string, to: string, captureId: string): Promise<number> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' })
  const connection = await instance.connect()
  try {
    const source = `read_parquet('${quote(from)}', hive_partitioning = false)`
    await connection.run(
      `COPY (SELECT * FROM ${source} WHERE capture_id <> '${captureId}') TO '${quote(to)}' (FORMAT parquet, COMPRESSION zstd)`,
    )
    const counted = await connection.runAndReadAll(`SELECT count(*) FROM read_parquet('${quote(to)}')`)
    return Number(counted.value(0, 0))
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

async function copyLines(from: string, to: string, captureId: string): Promise<number> {
  await using output = await open(to, 'wx')
  let left = 0
  for await (const line of createInterface({ input: createReadStream(from), crlfDelay: Number.POSITIVE_INFINITY })) {
    if (JSON.parse(line).capture_id === captureId) continue
    await output.write(`${line}\n`)
    left++
  }
  await output.sync()
  return left
}

function quote(path: string): string {
  return path.replaceAll("'", "''")
}

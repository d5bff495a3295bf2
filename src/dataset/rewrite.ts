/** One file of the dataset, or of quarantined lines, without what belongs to one capture. */

import { createReadStream } from 'node:fs'
import { open, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
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
  const instance = await DuckDBInstance.create(':memory:', {
    threads: '1',
    memory_limit: '512MB',
    temp_directory: `${to}.tmp`,
  })
  const connection = await instance.connect()
  try {
    const source = `read_parquet('${quote(from)}', hive_partitioning = false)`
    await connection.run(
      `COPY (SELECT * FROM ${source} WHERE capture_id IS DISTINCT FROM '${captureId}') TO '${quote(to)}' (FORMAT parquet, COMPRESSION zstd)`,
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
  for await (const line of linesOf(from)) {
    if (JSON.parse(line.toString()).capture_id === captureId) continue
    await output.write(line)
    left++
  }
  await output.sync()
  return left
}

/** Cut behind line feeds alone: node:readline also cuts at U+2028, which JSON may hold as it is. */
export async function* linesOf(path: string): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const block of createReadStream(path)) {
    rest = Buffer.concat([rest, block as Buffer])
    for (let end = rest.indexOf(0x0a); end !== -1; end = rest.indexOf(0x0a)) {
      yield rest.subarray(0, end + 1)
      rest = rest.subarray(end + 1)
    }
  }
  if (rest.length > 0) yield Buffer.concat([rest, Buffer.from('\n')])
}

function quote(path: string): string {
  return path.replaceAll("'", "''")
}

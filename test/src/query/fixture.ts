/** A dataset in a temporary folder, made with DuckDB in the layout that the pipeline writes. */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Writable } from 'node:stream'
import { DuckDBInstance } from '@duckdb/node-api'
import { type Dataset, type DatasetOptions, openDataset } from '../../../src/query/dataset.ts'
import { type QueryOptions, type QuerySummary, runQuery } from '../../../src/query/run.ts'

export interface Fixture extends AsyncDisposable {
  dir: string
  parquetDir: string
  /** Writes the rows of a SELECT as one file of the dataset; returns its path. */
  write(type: string, hour: string, id: string, select: string): Promise<string>
  open(options?: Partial<DatasetOptions>): Promise<Dataset>
}

export async function makeFixture(): Promise<Fixture> {
  const dir = mkdtempSync(join(tmpdir(), 'query-test-'))
  const parquetDir = join(dir, 'parquet')
  const writer = await (await DuckDBInstance.create(':memory:')).connect()
  return {
    dir,
    parquetDir,
    async write(type, hour, id, select) {
      const path = join(parquetDir, type, partitionOf(hour), `events_${type}_${id}.parquet`)
      mkdirSync(dirname(path), { recursive: true })
      await writer.run(`COPY (${select}) TO '${path}' (FORMAT parquet, COMPRESSION zstd)`)
      return path
    },
    open: (options = {}) =>
      openDataset({
        parquetDir,
        tempDir: join(dir, 'temp'),
        memoryMb: 256,
        threads: 2,
        tables: [{ name: 'dns', columns: DNS_COLUMNS }],
        ...options,
      }),
    async [Symbol.asyncDispose]() {
      writer.closeSync()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

const DNS_COLUMNS = [
  { name: 'event_time', type: 'TIMESTAMP' },
  { name: 'event_id', type: 'VARCHAR' },
  { name: 'query', type: 'VARCHAR' },
  { name: 'answers', type: 'VARCHAR[]' },
]

/** `2026-03-05 08` → `year=2026/month=03/day=05/hour=08`. */
export function partitionOf(hour: string): string {
  const [year, month, day, clock] = hour.split(/[- ]/)
  return `year=${year}/month=${month}/day=${day}/hour=${clock}`
}

/** `count` events a minute apart from the hour's start. */
export function connRows(hour: string, count = 2): string {
  return `SELECT TIMESTAMP '${hour}:00:00' + INTERVAL (i) MINUTE AS event_time, 'e-${hour}-' || i AS event_id,
    'conn' AS log_type, '10.0.0.1' AS src_ip, 443::INTEGER AS dst_port, i::BIGINT AS orig_bytes FROM range(${count}) t(i)`
}

/** Collects what is written, optionally slowly. */
export class Sink extends Writable {
  readonly chunks: Buffer[] = []
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.chunks.push(chunk)
    setImmediate(done)
  }
  get bytes(): Buffer {
    return Buffer.concat(this.chunks)
  }
  get text(): string {
    return this.bytes.toString()
  }
}

export interface Answer extends QuerySummary {
  text: string
  bytes: Buffer
}

export async function ask(dataset: Dataset, sql: string, options: Partial<QueryOptions> = {}): Promise<Answer> {
  const out = new Sink()
  const summary = await runQuery(dataset, sql, { format: 'json', timeoutMs: 20_000, ...options, out })
  return { ...summary, text: out.text, bytes: out.bytes }
}

export async function rowsOf(dataset: Dataset, sql: string): Promise<unknown> {
  return JSON.parse((await ask(dataset, sql)).text)
}

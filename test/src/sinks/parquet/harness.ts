/** Chunk files in, rows out: the sink as its caller sees it, and its files as a reader sees them. */

import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance, DuckDBListValue, DuckDBTimestampValue, type DuckDBValue } from '@duckdb/node-api'
import { openParquetSink } from '../../../../src/sinks/parquet/sink.ts'
import type { EventChunk, ParquetResult, ParquetSinkOptions } from '../../../../src/sinks/parquet/types.ts'

export const LOCAL_NETWORKS = ['10.0.0.0/8', '192.168.0.0/16', 'fd00::/8', '2001:db8:1::/48']
export const CAPTURE = 'c0ffee'.padEnd(64, '0')
export const INGEST_MS = Date.UTC(2026, 0, 2, 3, 4, 5)

export type Row = Record<string, unknown>

export async function scratchDir(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'parquet-sink-'))
}

/** Writes a chunk file; `lines` are written as they are, each with a newline. */
export async function chunkOf(
  dir: string,
  logType: string,
  lines: readonly (string | Buffer)[],
  over: Partial<EventChunk> & { lastNewline?: boolean } = {},
): Promise<EventChunk> {
  const { lastNewline = true, ...rest } = over
  const newline = Buffer.from('\n')
  const parts = lines.flatMap((line, i) =>
    i < lines.length - 1 || lastNewline ? [Buffer.from(line), newline] : [Buffer.from(line)],
  )
  const content = Buffer.concat(parts)
  const path = join(dir, `${logType}-${Math.random().toString(36).slice(2)}.ndjson`)
  await writeFile(path, content)
  return {
    path,
    logType,
    captureId: CAPTURE,
    source: 'lab',
    firstOrdinal: 0,
    lines: lines.length,
    bytes: content.length,
    ...rest,
  }
}

export async function writeChunks(
  chunks: readonly EventChunk[],
  options: Partial<ParquetSinkOptions> = {},
): Promise<{ result: ParquetResult; stagingDir: string }> {
  const stagingDir = join(await scratchDir(), 'staging')
  await mkdir(stagingDir)
  const sink = await openParquetSink({ localNetworks: LOCAL_NETWORKS, threads: 2, memoryLimit: '500MB', ...options })
  const result = await sink.write({ chunks, stagingDir, commitId: 'commit1', ingestTimeMs: INGEST_MS })
  return { result, stagingDir }
}

/**
 * All rows of a log type by capture and ordinal. Times are microseconds since the epoch, integers numbers where these
 * are exact, and NULL is left out.
 */
export async function readRows(stagingDir: string, result: ParquetResult, logType: string): Promise<Row[]> {
  const files = result.files.filter((file) => file.logType === logType)
  if (files.length === 0) return []
  const list = files.map(({ path }) => `'${join(stagingDir, path)}'`).join(', ')
  return query(`SELECT * FROM read_parquet([${list}], hive_partitioning = false)
    ORDER BY capture_id, split_part(event_id, '-', 3)::BIGINT`)
}

export async function query(sql: string): Promise<Row[]> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    const rows = (await connection.runAndReadAll(sql)).getRowObjects()
    return rows.map((row) =>
      Object.fromEntries(
        Object.entries(row).flatMap(([name, value]) => (value === null ? [] : [[name, plain(value)]])),
      ),
    )
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

function plain(value: DuckDBValue): unknown {
  if (value instanceof DuckDBTimestampValue) return Number(value.micros)
  if (value instanceof DuckDBListValue) return value.items.map(plain)
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value
  return value
}

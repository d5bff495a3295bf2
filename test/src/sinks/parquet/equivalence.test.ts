/** The SQL of the tables and the JavaScript of the messages are two readings of one set of rules: they agree. */

import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { EventChunk } from '../../../../src/sinks/parquet/types.ts'
import { expectedRow, lostMembers } from './agreement.ts'
import { CAPTURE, type Row, readRows, writeChunks } from './harness.ts'

const CORPUS = join(import.meta.dirname, '../../../../../shared/corpus')
const LOGS = join(CORPUS, 'zeek-logs-full/zeek-logs')
const SAMPLES = join(CORPUS, 'zeek-json-samples')
const absent = existsSync(LOGS) && existsSync(SAMPLES) ? '' : ` (skipped: ${CORPUS} is absent)`

interface Source {
  chunk: EventChunk
  records: Record<string, unknown>[]
}

async function chunksOfCorpus(): Promise<Source[]> {
  const sources: Source[] = []
  for (const [i, trace] of (await readdir(LOGS)).sort().entries()) {
    for (const file of (await readdir(join(LOGS, trace))).filter((name) => name.endsWith('.ndjson'))) {
      const path = join(LOGS, trace, file)
      const text = await readFile(path, 'utf8')
      const lines = text.split('\n').filter((line) => line !== '')
      if (lines.length === 0) continue
      const chunk = {
        ...{
          path,
          logType: file.replace(/\.ndjson$/, ''),
          captureId: i.toString(16).padStart(6, '0').padEnd(64, 'f'),
          source: `trace ${i % 3}`,
        },
        ...{ firstOrdinal: i, lines: lines.length, bytes: Buffer.byteLength(text) },
      }
      sources.push({ chunk, records: lines.map((line) => JSON.parse(line)) })
    }
  }
  return sources
}

it.skipIf(absent)(
  `every row of Zeek's own logs is what the normalizer makes of its record${absent}`,
  { timeout: 300_000 },
  async () => {
    const sources = await chunksOfCorpus()
    const { result, stagingDir } = await writeChunks(sources.map(({ chunk }) => chunk))
    const types = new Set(sources.map(({ chunk }) => chunk.logType))
    let compared = 0
    for (const logType of types) {
      const rows = new Map(
        (await readRows(stagingDir, result, logType)).map(({ extra: _, ...row }) => [row.event_id, row]),
      )
      for (const { chunk, records } of sources.filter((source) => source.chunk.logType === logType)) {
        for (const [i, record] of records.entries()) {
          const expected = expectedRow(logType, record, chunk.firstOrdinal + i, {
            captureId: chunk.captureId,
            source: chunk.source,
          })
          expect(rows.get(expected.event_id), `${chunk.path}:${i + 1}`).toEqual(expected)
          compared++
        }
      }
    }
    expect(compared).toBeGreaterThan(10_000)
    expect(result.chunks.reduce((sum, { rows }) => sum + rows, 0)).toBe(compared)
  },
)

it.skipIf(absent)(
  `streamed logs with ISO times and fields of their own lose nothing and agree too${absent}`,
  { timeout: 60_000 },
  async () => {
    const files = await readdir(SAMPLES)
    const texts = await Promise.all(files.map((file) => readFile(join(SAMPLES, file), 'utf8')))
    const records = texts.map((text) =>
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    )
    const chunks = files.map((file, i) => ({
      ...{
        path: join(SAMPLES, file),
        logType: file.replace(/\.ndjson$/, ''),
        captureId: CAPTURE,
        source: 'lab',
        firstOrdinal: 0,
      },
      ...{ lines: records[i]?.length ?? 0, bytes: Buffer.byteLength(texts[i] ?? '') },
    }))
    const { result, stagingDir } = await writeChunks(chunks)
    for (const [i, { logType }] of chunks.entries()) {
      const rows = await readRows(stagingDir, result, logType)
      expect(rows.length).toBeGreaterThan(0)
      for (const [n, record] of (records[i] ?? []).entries()) {
        const { extra, ...row } = rows[n] as Row
        expect(row, `${logType} ${n}`).toEqual(expectedRow(logType, record, n))
        expect(lostMembers(logType, record, rows[n] as Row)).toEqual([])
        expect(JSON.parse(extra as string)).toMatchObject({ _path: record._path, _write_ts: record._write_ts })
      }
    }
  },
)

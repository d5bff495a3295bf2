/** The SQL of the tables and the JavaScript of the messages are two readings of one set of rules: they agree. */

import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { EventChunk } from '../../../../src/sinks/parquet/types.ts'
import { expectedRow } from './agreement.ts'
import { readRows, writeChunks } from './harness.ts'

const LOGS = join(import.meta.dirname, '../../../../../shared/corpus/zeek-logs-full/zeek-logs')
const absent = existsSync(LOGS) ? '' : ` (skipped: ${LOGS} is absent)`

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

/**
 * Split: NDJSON files in, chunks of at most so many lines out, each knowing the number of its first event.
 *
 * No line is parsed: bytes are cut behind newlines, so that the chunks of a log, one after another, are the
 * log. Safe to repeat: the same input gives the same chunks, in a work space of the attempt's own.
 */

import { join, relative } from 'node:path'
import { PipelineError } from '../../state/errors.ts'
import type { Layout } from '../../state/layout.ts'
import { flushAll } from '../durable.ts'
import type { Chunk, DistributeInput, LogFile, SplitInput } from '../hand-offs.ts'
import { oneJob, type Stage } from '../stage.ts'
import { splitFile } from './split-file.ts'

export interface SplitOptions {
  layout: Layout
  linesPerChunk: number
}

export function createSplit({ layout, linesPerChunk }: SplitOptions): Stage {
  return {
    name: 'split',

    handle: oneJob<SplitInput>(async (job, { workDir, signal, progress }) => {
      const { artifact, dir, logs } = job.input
      const chunks: Chunk[] = []
      let bytesDone = 0
      for (const log of logs) {
        const parts = await splitFile({
          path: join(layout.dataDir, dir, `${log.logType}.ndjson`),
          nameOf: (index) => join(workDir, `${log.logType}-${String(index).padStart(6, '0')}.ndjson`),
          linesPerChunk,
          signal,
          onBytes: (bytes) => {
            bytesDone += bytes
            progress({ bytes: bytesDone })
          },
        })
        check(log, parts)
        let firstOrdinal = 0
        for (const { path, lines, bytes } of parts) {
          chunks.push({ file: relative(workDir, path), logType: log.logType, firstOrdinal, lines, bytes })
          firstOrdinal += lines
        }
      }
      await flushAll(workDir)
      const events = sum(chunks, 'lines')
      const bytes = sum(chunks, 'bytes')
      const own = relative(layout.dataDir, workDir)
      const input: DistributeInput = { artifact: own, chunks }
      return {
        keep: [workDir],
        consumed: [artifact],
        handOffs: [{ stage: 'distribute', key: job.key, captureId: job.captureId, input, bytes, events }],
        outputs: { chunks: chunks.length, events },
      }
    }),
  }
}

/** What the engine said it wrote must be what lies there: less would be rows lost without a word. */
function check({ logType, records, bytes }: LogFile, parts: { lines: number; bytes: number }[]): void {
  const lines = sum(parts, 'lines')
  const found = sum(parts, 'bytes')
  if (lines === records && found === bytes) return
  throw new PipelineError(
    'artifact_damaged',
    `${logType}.ndjson has ${lines} lines (${found} bytes), but the engine wrote ${records} (${bytes} bytes); \`reprocess\` the capture`,
  )
}

function sum<K extends string>(items: Record<K, number>[], column: K): number {
  return items.reduce((total, item) => total + item[column], 0)
}

/**
 * Index: batches in, documents of Elasticsearch out.
 *
 * In: a batch whose rows are committed; it is this stage's until each of its lines is a document or a dead letter.
 * Safe to repeat: documents have ids of their own, and the dead-letter file of a batch is written anew each time.
 * A server that is down costs no attempt: the batch stays on the disk and waits.
 */

import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { NO_CAPTURE } from '../../state/capture.ts'
import { PipelineError } from '../../state/errors.ts'
import type { Layout } from '../../state/layout.ts'
import type { SinkCount } from '../../state/sinks.ts'
import { flush, shortHash } from '../durable.ts'
import { readEventFlags } from '../event-flags.ts'
import type { Batch } from '../hand-offs.ts'
import type { EventChunk, EventIndex, IndexResult } from '../ports.ts'
import { oneJob, type Stage } from '../stage.ts'

export interface IndexEventsOptions {
  layout: Layout
  eventIndex: EventIndex
}

export const SINK = 'elasticsearch'

export function createIndexEvents({ layout, eventIndex }: IndexEventsOptions): Stage {
  return {
    name: 'index',

    handle: oneJob<Batch>(async (job, { log, signal, workDir, progress }) => {
      const { input, key, captureId } = job
      const { dir, source } = input
      const chunks: EventChunk[] = input.chunks.map(({ file, ...chunk }) => ({
        captureId,
        source,
        ...chunk,
        path: join(layout.dataDir, dir, file),
      }))
      const flags = input.flags === undefined ? undefined : await readEventFlags(join(layout.dataDir, dir, input.flags))
      const started = performance.now()
      const deadLetterFile = join(workDir, 'dead-letters.ndjson')
      const onProgress = (events: number) => progress({ events })
      const result = await eventIndex.index({ chunks, flags, deadLetterFile, signal, onProgress })
      const counts = countsOf(chunks, result)
      const target = join(layout.quarantine, deadLetterName(key, captureId))
      if (result.hasDeadLetters) await rename(deadLetterFile, target)
      else await rm(target, { force: true })
      await flush(layout.quarantine)
      const sum = (column: 'documents' | 'duplicates' | 'rejected') =>
        counts.reduce((total, count) => total + count[column], 0)
      return {
        facts: [{ kind: 'indexed', sink: SINK, batch: key, counts }],
        consumed: [dir],
        outputs: { documents: sum('documents'), rejected: sum('rejected') },
        async afterwards() {
          log.info('indexed', {
            batch: key,
            documents: sum('documents'),
            there_already: sum('duplicates') || undefined,
            rejected: sum('rejected') || undefined,
            sent_again: result.retried || undefined,
            mb: Math.round(result.bytes / 2 ** 20),
            ms: Math.round(performance.now() - started),
          })
        },
      }
    }),
  }
}

/** Begins as all do that belongs to a capture, by which `forget` finds it. */
export function deadLetterName(key: string, captureId = 'live'): string {
  return `${captureId.slice(0, 12)}-${SINK}-${shortHash(key)}.ndjson`
}

function countsOf(chunks: readonly EventChunk[], result: IndexResult): SinkCount[] {
  const counts = new Map<string, SinkCount>()
  for (const [i, { captureId = NO_CAPTURE, logType, lines }] of chunks.entries()) {
    const { documents = 0, duplicates = 0, rejected = {} } = result.chunks[i] ?? {}
    const id = `${captureId}/${logType}`
    const count = counts.get(id) ?? { captureId, logType, documents: 0, duplicates: 0, rejected: 0, reasons: {} }
    const refused = Object.values(rejected).reduce((sum, n) => sum + n, 0)
    if (documents + refused !== lines) {
      const text = `${logType}: a chunk of ${lines} lines became ${documents} documents and ${refused} dead letters`
      throw new PipelineError('events_unbalanced', text)
    }
    count.documents += documents
    count.duplicates += duplicates
    count.rejected += refused
    for (const [reason, n] of Object.entries(rejected)) count.reasons[reason] = (count.reasons[reason] ?? 0) + n
    counts.set(id, count)
  }
  return [...counts.values()]
}

/**
 * Distribute: chunks in, batches of even size on N lanes out, each a directory and a job for upload.
 *
 * Consecutive chunks stay together, so that a batch holds few log types and its Parquet files are few and
 * large. Safe to repeat: the batches' keys follow from the capture, and the chunks get second names (hard
 * links) in a work space of the attempt's own; the first names go when the batches are recorded.
 */

import { mkdir } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { PipelineError } from '../../state/errors.ts'
import type { NewJob } from '../../state/job.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { flush, linkOrCopy } from '../durable.ts'
import type { Batch, DistributeInput } from '../hand-offs.ts'
import { oneJob, type Stage } from '../stage.ts'
import { packEvenly } from './pack.ts'

export interface DistributeOptions {
  ledger: Ledger
  layout: Layout
  lanes: number
  /** A batch is given to a further one beyond this many events. */
  eventsPerBatch: number
}

export function createDistribute({ ledger, layout, lanes, eventsPerBatch }: DistributeOptions): Stage {
  return {
    name: 'distribute',

    handle: oneJob<DistributeInput>(async (job, { workDir, signal }) => {
      const { artifact, chunks } = job.input
      const capture = ledger.captures.get(job.captureId ?? '')
      if (capture === undefined) throw new PipelineError('capture_unknown', 'the capture is not in the ledger any more')
      const events = chunks.reduce((sum, { lines }) => sum + lines, 0)
      const wanted = Math.ceil(events / eventsPerBatch)
      // Beyond one batch, a multiple of the lanes: then no lane gets more than another.
      const count = wanted <= 1 ? 1 : Math.ceil(wanted / lanes) * lanes
      const handOffs: NewJob<Batch>[] = []
      const batches = packEvenly(chunks, count)
      for (const [index, batch] of batches.entries()) {
        signal.throwIfAborted()
        const name = `lane-${index % lanes}/${String(index).padStart(4, '0')}`
        const dir = join(workDir, name)
        await mkdir(dir, { recursive: true })
        for (const { file } of batch) await linkOrCopy(join(layout.dataDir, artifact, file), join(dir, file))
        await flush(dir)
        handOffs.push({
          stage: 'upload',
          key: `${capture.id}/${String(index).padStart(4, '0')}`,
          captureId: capture.id,
          input: { dir: relative(layout.dataDir, dir), source: capture.source, chunks: batch },
          bytes: batch.reduce((sum, { bytes }) => sum + bytes, 0),
          events: batch.reduce((sum, { lines }) => sum + lines, 0),
        })
      }
      await flush(workDir)
      return {
        keep: handOffs.map(({ input }) => join(layout.dataDir, input.dir)),
        consumed: [artifact],
        handOffs,
        outputs: { batches: batches.length },
      }
    }),
  }
}

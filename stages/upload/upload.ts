/**
 * Upload: batches in, committed rows out.
 *
 * The commit protocol: the sink writes Parquet where no reader looks; then one ledger transaction acknowledges
 * the batches and records the files and the counts; then the files are renamed into the dataset. A process
 * that dies before the transaction has done nothing, one that dies after it left a commit that `recover` rolls
 * forward: a rename that is not done yet is done, one that is done is left. Safe to repeat therefore.
 */

import { copyFile, mkdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { NO_CAPTURE } from '../../state/capture.ts'
import type { CommitCount, CommitFile } from '../../state/commits.ts'
import { errnoOf, messageOf, PipelineError } from '../../state/errors.ts'
import type { Job, NewJob } from '../../state/job.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { flush } from '../durable.ts'
import { writeEventFlags } from '../event-flags.ts'
import type { Batch } from '../hand-offs.ts'
import type { EventChunk, EventSink, SinkResult } from '../ports.ts'
import type { Stage } from '../stage.ts'

export interface UploadOptions {
  ledger: Ledger
  layout: Layout
  sink: EventSink
  /** Batches go on to the index stage, which takes their directories over. */
  isIndexed?: boolean
  /** A flush is due when any holds; 0 turns one off. When the input runs dry it is due in any case. */
  flush: { bufferBytes: number; intervalMs: number; events: number }
}

/** So that one transaction stays short, whatever the flush rules say. */
const MAX_JOBS_PER_COMMIT = 500
/** Without an interval a group waits for earlier stages, but not for ever: they may run nowhere. */
const LONGEST_LINGER_MS = 60_000

export function createUpload({ ledger, layout, sink, isIndexed = false, flush: rules }: UploadOptions): Stage {
  /** Commits that this process is putting in place at this moment. */
  const publishing = new Set<string>()

  return {
    name: 'upload',

    gather: {
      isFull: ({ jobs, bytes, events, ageMs }) =>
        jobs >= MAX_JOBS_PER_COMMIT ||
        (rules.bufferBytes > 0 && bytes >= rules.bufferBytes) ||
        (rules.events > 0 && events >= rules.events) ||
        (rules.intervalMs > 0 && ageMs >= rules.intervalMs),
      lingerMs: rules.intervalMs > 0 ? rules.intervalMs : LONGEST_LINGER_MS,
    },

    async handle(jobs, { workDir, signal, log }) {
      const chunks = jobs.flatMap(chunksOf)
      const started = Date.now()
      const id = (jobs[0] as Job).lease
      const result = await sink.write({ chunks, stagingDir: workDir, commitId: id, ingestTimeMs: started, signal })
      const files = filesOf(result, workDir, id)
      const counts = countsOf(chunks, result)
      const rows = counts.reduce((sum, each) => sum + each.rows, 0)
      const quarantined = counts.reduce((sum, each) => sum + each.quarantined, 0)
      const handOffs: NewJob<Batch>[] = []
      if (isIndexed) for (const job of jobs) handOffs.push(await indexJob(job, id, result))
      return {
        // The staged files are kept until they are in place; `publish` removes the directory.
        keep: [workDir],
        uploaded: { dirs: jobs.map(dirOf), chunks, result, ingestTimeMs: started, stagingDir: workDir },
        facts: [{ kind: 'commit', commit: { id, files, counts } }],
        async afterwards() {
          publishing.add(id)
          try {
            await publish(id)
          } finally {
            publishing.delete(id)
          }
          const ms = Date.now() - started
          log.info('flushed', {
            commit: id,
            batches: jobs.length,
            rows,
            files: files.length,
            ms,
            quarantined: quarantined || undefined,
          })
        },
        handOffs,
        consumed: isIndexed ? [] : jobs.map(({ input }) => (input as Batch).dir),
        outputs: { commit: id, rows },
      }
    },

    async recover(log) {
      for (const id of ledger.commits.abandoned()) {
        if (publishing.has(id)) continue
        try {
          await publish(id)
          log.info('put the files of a recorded commit in place', { commit: id })
        } catch (error) {
          log.error('the files of a recorded commit cannot be put in place', { commit: id, error: messageOf(error) })
        }
      }
    },
  }

  /** A batch of its own each, so that one that the server refuses holds nobody up. */
  async function indexJob(job: Job, id: string, { flags }: SinkResult): Promise<NewJob<Batch>> {
    const { key, captureId, bytes, events } = job
    const { flags: _, ...input } = job.input as Batch
    // Named by the load: what an attempt that was not recorded has left says nothing.
    const file = `flags-${id}.ndjson`
    const path = join(layout.dataDir, input.dir, file)
    const isFlagged = flags !== undefined && (await writeEventFlags(path, flags, chunksOf(job)))
    return { stage: 'index', key, captureId, input: { ...input, ...(isFlagged && { flags: file }) }, bytes, events }
  }

  function dirOf({ input }: Job): string {
    return join(layout.dataDir, (input as Batch).dir)
  }

  function chunksOf(job: Job): EventChunk[] {
    const { captureId } = job
    const { source, chunks } = job.input as Batch
    return chunks.map(({ file, ...chunk }) => ({ captureId, source, ...chunk, path: join(dirOf(job), file) }))
  }

  function filesOf({ files, quarantineFile }: SinkResult, workDir: string, id: string): CommitFile[] {
    const below = (path: string) => relative(layout.dataDir, path)
    const rows = files.map(({ path, ...file }) => ({
      ...file,
      staged: below(join(workDir, path)),
      path: below(join(layout.parquet, path)),
    }))
    if (quarantineFile === undefined) return rows
    const path = below(join(layout.quarantine, 'lines', `${id}.ndjson`))
    return [...rows, { staged: below(join(workDir, quarantineFile)), path, rows: 0, bytes: 0 }]
  }

  async function publish(id: string): Promise<void> {
    const dirs = new Set<string>()
    for (const { path, staged } of ledger.commits.files(id)) {
      const target = join(layout.dataDir, path)
      const made = await mkdir(dirname(target), { recursive: true })
      await place(join(layout.dataDir, staged), target)
      // A new folder is durable once the one that holds it is flushed.
      for (let dir = dirname(target); dir.length >= dirname(made ?? target).length; dir = dirname(dir)) dirs.add(dir)
    }
    for (const dir of dirs) await flush(dir)
    ledger.transaction(() => {
      for (const captureId of ledger.commits.markPublished(id)) ledger.settle(captureId)
      ledger.artifacts.releaseLease(id)
    })
  }
}

/** Renames unless an earlier try has done so; a dataset on another file system gets a copy under a hidden name first. */
async function place(staged: string, target: string): Promise<void> {
  try {
    await rename(staged, target)
  } catch (error) {
    if (errnoOf(error) === 'EXDEV') {
      const copy = join(dirname(target), `.${basename(target)}.part`)
      await copyFile(staged, copy)
      await flush(copy)
      await rename(copy, target)
      return await rm(staged)
    }
    if (errnoOf(error) !== 'ENOENT') throw error
    const placed = await stat(target).catch(() => undefined)
    if (placed === undefined) {
      throw new PipelineError(
        'artifact_missing',
        `${target} is recorded in the ledger, but neither it nor ${staged} is there; \`reprocess\` its captures`,
      )
    }
  }
}

/** What became of each log of each capture; a chunk that was not accounted for to the last line is an error. */
function countsOf(chunks: readonly EventChunk[], result: SinkResult): CommitCount[] {
  const counts = new Map<string, CommitCount>()
  for (const [index, { captureId = NO_CAPTURE, logType, lines }] of chunks.entries()) {
    const { rows = 0, quarantined = {} } = result.chunks[index] ?? {}
    const key = `${captureId}/${logType}`
    const count = counts.get(key) ?? { captureId, logType, rows: 0, quarantined: 0, reasons: {} }
    const rejected = Object.entries(quarantined) as [string, number][]
    const lost = rejected.reduce((sum, [, n]) => sum + n, 0)
    if (rows + lost !== lines) {
      throw new PipelineError(
        'events_unbalanced',
        `${logType}: a chunk of ${lines} lines became ${rows} rows and ${lost} quarantined lines`,
      )
    }
    count.rows += rows
    count.quarantined += lost
    for (const [reason, n] of rejected) count.reasons[reason] = (count.reasons[reason] ?? 0) + n
    counts.set(key, count)
  }
  return [...counts.values()]
}

/**
 * What a running pipeline does for itself now and then: retention, compaction, pruning of the ledger.
 *
 * One process of a ledger does it at a time. Retention for the budget is looked at often, since intake may wait for it;
 * the rest every minute. Compaction runs in a process of its own, with the lowest priority.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Log } from '../../stages/ports.ts'
import { messageOf, PipelineError } from '../../state/errors.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { DiskLimits, DiskMeter } from '../disk/use.ts'
import { bytesToFree, mayRowsGo } from './budget.ts'
import { groupsToJoin } from './compact.ts'
import { renewedLock } from './lock.ts'
import { applyRetention, finishLeaving } from './retention.ts'
import { planRetention, type RetentionLimits } from './retention-plan.ts'

export interface UpkeepParts {
  ledger: Ledger
  layout: Layout
  log: Log
  meter: DiskMeter
  disk: DiskLimits
  retention: RetentionLimits
  /** 0: no files are joined. */
  compactAfterMs: number
  /** Finished jobs stay in the ledger this long. */
  jobHistoryMs: number
}

export interface Upkeep {
  /** @param onSpace Called when there is more space than before. */
  start(onSpace: () => void): void
  stop(): Promise<void>
}

/** What the process that joins files is told; all of it is JSON. */
export interface CompactionOrder {
  layout: Layout
  disk: DiskLimits
  afterMs: number
}

const BUDGET_EVERY_MS = 1_000
const REST_EVERY_MS = 60_000
const LOCK_MS = 5 * 60_000
const LOCK = 'upkeep'
const STOP_MS = 3_000
const PATIENCE_MS = 60_000

export function createUpkeep(parts: UpkeepParts): Upkeep {
  const { ledger, layout, log, meter, disk, retention, compactAfterMs, jobHistoryMs } = parts
  const stopping = new AbortController()
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined
  let restAt = performance.now() + REST_EVERY_MS / 4
  let child: ChildProcess | undefined
  let onSpace = () => {}

  function tick(): void {
    running = look()
      .catch((error) =>
        log.error('upkeep of the data directory failed; it is tried again', { error: messageOf(error) }),
      )
      .finally(() => {
        running = undefined
        if (!stopping.signal.aborted) timer = setTimeout(tick, BUDGET_EVERY_MS)
      })
  }

  async function look(): Promise<void> {
    const isRestDue = performance.now() >= restAt
    const wanted = bytesToFree({ ledger, meter, disk })
    if (!isRestDue && wanted === 0) return
    if (isRestDue) restAt = performance.now() + REST_EVERY_MS
    using lock = renewedLock(ledger, LOCK, LOCK_MS)
    if (lock === undefined) return
    await finishLeaving(parts)
    await retain(wanted)
    if (isRestDue) await rest()
  }

  async function retain(budgetBytes: number): Promise<void> {
    const keepsRows = !mayRowsGo({ ledger })
    const plan = await planRetention({ ledger, layout, limits: retention }, { budgetBytes, keepsRows })
    if (plan.captures.length + plan.quarantine.length + plan.files.length === 0) return
    const { bytes, ...removed } = await applyRetention(parts, plan, stopping.signal)
    if (bytes === 0) return
    log.info('retention removed files', {
      capture_files: removed.captures,
      quarantine_files: removed.quarantine,
      dataset_files: removed.files,
      rows: removed.rows,
      mb: Math.round(bytes / 2 ** 20),
      for_budget: budgetBytes > 0,
    })
    onSpace()
  }

  async function rest(): Promise<void> {
    ledger.space.pruneWaits()
    while (!stopping.signal.aborted && ledger.pruning.prune(Date.now() - jobHistoryMs))
      await new Promise((resolve) => setTimeout(resolve, 50))
    if (compactAfterMs === 0 || child !== undefined || stopping.signal.aborted) return
    if (groupsToJoin({ ledger, afterMs: compactAfterMs }).length > 0) startCompaction()
  }

  function startCompaction(): void {
    const started = fork(childPath(), [], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      // Else freed memory is kept for each of the threads that statements run on, and in as many arenas.
      env: { UV_THREADPOOL_SIZE: '2', MALLOC_ARENA_MAX: '2' },
      execArgv: [],
    })
    child = started
    let isAnswered = false
    started.on('message', (message: { done?: Record<string, number>; failure?: string }) => {
      isAnswered = true
      if (message.failure !== undefined)
        log.warn('files of the dataset could not be joined; it is tried again', { error: message.failure })
      else log.info('joined files of the dataset', message.done)
    })
    started.on('error', (error) => log.warn('files of the dataset are not joined', { error: messageOf(error) }))
    started.once('exit', (code, signal) => {
      child = undefined
      if (!isAnswered && !stopping.signal.aborted)
        log.warn('the process that joins files ended without an answer; it is tried again', {
          how: signal ?? `exit code ${code}`,
        })
    })
    started.send({ layout, disk, afterMs: compactAfterMs } satisfies CompactionOrder, () => {})
  }

  return {
    start(whenSpace) {
      onSpace = whenSpace
      tick()
    },
    async stop() {
      stopping.abort()
      clearTimeout(timer)
      const last = child
      if (last !== undefined) {
        const ended = new Promise((resolve) => last.once('exit', resolve))
        if (last.connected) last.disconnect()
        const limit = setTimeout(() => last.kill('SIGKILL'), STOP_MS)
        await ended
        clearTimeout(limit)
      }
      await running
    },
  }
}

/** For a command: a running pipeline has it for moments. Throws `io`, to be tried again. */
export async function upkeepLock(ledger: Ledger): Promise<Disposable> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const lock = renewedLock(ledger, LOCK, LOCK_MS)
    if (lock !== undefined) return lock
    if (Date.now() > deadline)
      throw new PipelineError('io', 'another process is at work on the retention; try again later', { retryable: true })
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}

/** In the sources as built: `.ts` beside `.ts`, `.js` beside `.js`. */
function childPath(): string {
  return fileURLToPath(new URL(`compact-child${import.meta.url.slice(-3)}`, import.meta.url))
}

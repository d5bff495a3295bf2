/**
 * The one runner that drives every stage.
 *
 * In: a stage, the bus, the ledger. It claims jobs under a lease, renews it while the stage works, and then, in one
 * step of the bus, completes the job together with its hand-offs and facts. A retryable failure goes back
 * into the queue with growing delays; any other, or the last of them, is given up, and the stage puts its
 * input into quarantine. Several runners, in one process or many, share one ledger.
 */

import { relative } from 'node:path'
import PQueue from 'p-queue'
import type { Completion } from '../state/completion.ts'
import { messageOf, PipelineError } from '../state/errors.ts'
import { type Job, STAGE_NAMES, type StageName } from '../state/job.ts'
import type { Layout } from '../state/layout.ts'
import type { Ledger } from '../state/ledger.ts'
import type { Bus } from './bus.ts'
import { backoff, foreseen } from './failure.ts'
import type { Log } from './ports.ts'
import type { Postponed, Progress, Stage, StageResult } from './stage.ts'
import { openWorkSpaces } from './work-space.ts'

export interface RunnerOptions {
  ledger: Ledger
  bus: Bus
  layout: Layout
  log: Log
  /** Calls of `handle` under way at once. */
  concurrency: number
  leaseMs: number
  maxAttempts: number
  /** First delay after a failure; doubles each time, up to a minute, with jitter. */
  backoffMs: number
  /** How often the queue is looked at when nothing woke the runner. */
  pollMs?: number
  /** Says no while the host cannot take more work (disk); looked at before every claim. */
  mayClaim?: (stage: StageName) => boolean
  /** Promises the space that jobs need to their lease before they begin; no puts them back for a moment. */
  reserve?: (stage: StageName, jobs: readonly Job[]) => boolean
  observer?: Observer
}

/** What the health line and the page count. */
export interface Observer {
  done?(stage: StageName, jobs: readonly Job[], elapsedMs: number): void
  failed?(stage: StageName, job: Job, error: PipelineError, final: boolean): void
  /** Bytes gathered for the next flush. */
  gathered?(stage: StageName, bytes: number): void
}

/** What tells a runner that works from one that hangs, in milliseconds ago. */
export interface Signs {
  /** The queue was looked at, and could be read. */
  lookedMs: number
  /** The last sign of the call that has been silent for the longest; 0 while none is under way. */
  silentMs: number
}

export interface Runner {
  /** Looks at the queue now. */
  wake(): void
  signs(): Signs
  /**
   * Claims nothing more; lets what is in hand end within the limit, then aborts it and puts it back into the
   * queue. Resolves when no call is under way.
   */
  stop(limitMs: number): Promise<void>
}

const DISK_WAIT_MS = 5_000
/** Before a job that got no space asks again. */
const SPACE_WAIT_MS = 1_000

export function startRunner(stage: Stage, options: RunnerOptions): Runner {
  const { ledger, bus, layout, log, concurrency, leaseMs, maxAttempts, backoffMs, pollMs = 200 } = options
  const { mayClaim = () => true, reserve = () => true, observer = {} } = options
  const queue = new PQueue({ concurrency })
  const spool = openWorkSpaces(stage.name, ledger, layout, log)
  const stopping = new AbortController()
  const aborting = new AbortController()
  let timer: NodeJS.Timeout | undefined
  let lookedAt = performance.now()
  /** When each call under way gave its last sign, by its lease. */
  const heard = new Map<string, number>()

  function wake(): void {
    if (stopping.signal.aborted) return
    clearTimeout(timer)
    timer = setTimeout(wake, pollMs)
    try {
      while (queue.pending + queue.size < concurrency && mayClaim(stage.name)) {
        const jobs = bus.claim({ stage: stage.name, leaseMs })
        if (jobs.length === 0) break
        if (!reserve(stage.name, jobs)) {
          for (const job of jobs) ledger.jobs.release(job, { delayMs: SPACE_WAIT_MS })
          break
        }
        void queue.add(() => work(jobs)).then(wake)
      }
      lookedAt = performance.now()
    } catch (error) {
      log.error('the queue cannot be read; trying again', { error: messageOf(error) })
    }
  }

  async function work(first: Job[]): Promise<void> {
    const lease = (first[0] as Job).lease
    const started = Date.now()
    const cancel = new AbortController()
    const signal = AbortSignal.any([cancel.signal, aborting.signal])
    let progress: Progress | undefined
    const report = (latest: Progress): void => {
      progress = { ...progress, ...latest }
      heard.set(lease, performance.now())
    }
    report({})
    const heartbeat = setInterval(() => renew(lease, progress, cancel), Math.min(leaseMs / 3, 1000))
    const workDir = spool.workDir(first[0] as Job)
    /** Grows while a group is gathered: whatever happens, none of it may stay behind. */
    const jobs = [...first]
    let kept = false
    try {
      await gather(jobs, started)
      const jobLog = log.child({ job: (jobs[0] as Job).key.slice(0, 16), attempt: (jobs[0] as Job).attempts + 1 })
      await spool.make(workDir)
      const context = {
        log: jobLog,
        signal,
        workDir,
        progress: report,
      }
      const result = await stage.handle(jobs, context)
      if ('postponedMs' in result) return postpone(jobs, result)
      await bus.complete(completionOf(stage.name, jobs, result, layout), {
        guard: result.guard,
        uploaded: result.uploaded,
        signal,
      })
      kept = (result.keep ?? []).length > 0
      observer.done?.(stage.name, jobs, Date.now() - started)
      await finishUp(result)
    } catch (error) {
      // It may have been committed, with what lies there: whoever finds out keeps it or sweeps it.
      kept ||= ledger.prepared.get(lease) !== undefined
      // First, so that a full disk has room for what is to be recorded.
      if (!kept) await spool.remove(workDir)
      await settleFailure(jobs, error)
    } finally {
      clearInterval(heartbeat)
      heard.delete(lease)
      if (!kept) await spool.remove(workDir)
      await spool.removeReleased()
    }
  }

  /** A failure here costs nothing but time: the work is recorded, and `recover` finishes what is left. */
  async function finishUp(result: StageResult): Promise<void> {
    try {
      await result.afterwards?.()
    } catch (error) {
      log.warn('finished work could not be tidied up; trying again later', { error: messageOf(error) })
    }
  }

  /** Adds jobs to a group until it is full, or nothing more is to come, or the oldest has waited long enough. */
  async function gather(jobs: Job[], started: number): Promise<void> {
    const rules = stage.gather
    const [head] = jobs
    if (rules === undefined || head === undefined || head.alone) return
    const upstream = STAGE_NAMES.slice(0, STAGE_NAMES.indexOf(stage.name))
    const taken = () => ({
      jobs: jobs.length,
      bytes: total(jobs, 'bytes'),
      events: total(jobs, 'events'),
      ageMs: Date.now() - started,
    })
    while (!rules.isFull(taken()) && !stopping.signal.aborted) {
      const more = bus.claim({ stage: stage.name, leaseMs, lease: head.lease })
      jobs.push(...more)
      observer.gathered?.(stage.name, taken().bytes)
      if (more.length > 0) continue
      // A stage that is paused (disk) gives nothing: waiting for it would keep what could free space.
      if (Date.now() - started >= rules.lingerMs || !bus.expects(upstream.filter(mayClaim))) break
      await new Promise((resolve) => setTimeout(resolve, pollMs / 4))
    }
    observer.gathered?.(stage.name, 0)
  }

  function renew(lease: string, progress: Progress | undefined, cancel: AbortController): void {
    try {
      ledger.jobs.renew(lease, leaseMs, progress)
    } catch (error) {
      if (error instanceof PipelineError && error.code === 'lease_lost') cancel.abort(error)
      else log.warn('a lease could not be renewed; trying again', { error: messageOf(error) })
    }
  }

  function postpone(jobs: readonly Job[], { postponedMs, why }: Postponed): void {
    log.debug('not due yet', { job: (jobs[0] as Job).key.slice(0, 16), why })
    for (const job of jobs) ledger.jobs.release(job, { delayMs: postponedMs })
  }

  async function settleFailure(jobs: readonly Job[], thrown: unknown): Promise<void> {
    try {
      const error = foreseen(thrown, stage.name, log, aborting.signal.aborted)
      if (ledger.prepared.get((jobs[0] as Job).lease) !== undefined) {
        log.warn('it is not known yet whether finished work was recorded', { error: error.message })
        return
      }
      if (error.code === 'lease_lost' || !ledger.jobs.isHeld((jobs[0] as Job).lease)) passOn(jobs, error)
      else if (error.code === 'stopped' || aborting.signal.aborted) for (const job of jobs) ledger.jobs.release(job)
      else if (error.code === 'disk_full') waitForSpace(jobs, error)
      else if (error.code === 'sink_down') waitForServer(jobs, error)
      else if (jobs.length > 1) separate(jobs, error)
      else await failOne(jobs[0] as Job, error)
    } catch (error) {
      // The ledger itself failed: the leases run out, and the jobs come back.
      log.error('a failure could not be recorded', { error: messageOf(error), failure: messageOf(thrown) })
    }
  }

  /** Some of a group may still be ours: they go back at once, the rest is not touched. */
  function passOn(jobs: readonly Job[], error: PipelineError): void {
    log.warn('the work was taken away', { job: (jobs[0] as Job).key.slice(0, 16), why: error.message })
    for (const job of jobs) ledger.jobs.release(job)
  }

  /** Nobody's fault: waits as long as it takes, and no attempt is counted. */
  function waitForSpace(jobs: readonly Job[], error: PipelineError): void {
    log.warn('waiting for disk space', { error: error.message })
    for (const job of jobs) ledger.jobs.release(job, { delayMs: DISK_WAIT_MS })
  }

  /** Likewise; whoever talks to the server says that it is down, once. */
  function waitForServer(jobs: readonly Job[], error: PipelineError): void {
    log.debug('waiting for a server', { error: error.message })
    for (const job of jobs) ledger.jobs.release(job)
  }

  /** One of the group may be to blame: each is tried alone, so that the others go on. */
  function separate(jobs: readonly Job[], error: PipelineError): void {
    log.warn('a group of jobs failed; each is tried alone', {
      jobs: jobs.length,
      code: error.code,
      error: error.message,
    })
    for (const job of jobs) ledger.jobs.release(job, { alone: true, delayMs: error.retryable ? backoffMs : 0 })
  }

  async function failOne(job: Job, error: PipelineError): Promise<void> {
    const failure = { code: error.code, message: error.message }
    const attempt = job.attempts + 1
    const final = !error.retryable || attempt >= maxAttempts
    const values = {
      job: job.key.slice(0, 16),
      capture: job.captureId?.slice(0, 16),
      attempt,
      code: error.code,
      error: error.message,
      ...error.details,
    }
    observer.failed?.(stage.name, job, error, final)
    if (!final) {
      const delayMs = backoff(attempt, backoffMs)
      log.warn('failed; trying again', { ...values, in_ms: delayMs })
      ledger.jobs.retryLater(job, failure, delayMs)
      return
    }
    log.error('given up', values)
    const aside = await putAside(job, failure)
    const message = aside === undefined ? failure.message : `${failure.message}; ${aside}`
    await bus.fail(job, { ...failure, message }, { signal: aborting.signal })
  }

  /** What could not be put aside is given up all the same, with both reasons. */
  async function putAside(job: Job, failure: { code: string; message: string }): Promise<string | undefined> {
    try {
      await stage.giveUp?.(job, failure, log)
      return undefined
    } catch (error) {
      return `its input could not be put into quarantine either: ${messageOf(error)}`
    }
  }

  async function stop(limitMs: number): Promise<void> {
    stopping.abort()
    clearTimeout(timer)
    const limit = setTimeout(() => aborting.abort(new PipelineError('stopped', 'the process stops')), limitMs)
    await queue.onIdle()
    clearTimeout(limit)
  }

  function signs(): Signs {
    const now = performance.now()
    return { lookedMs: now - lookedAt, silentMs: now - Math.min(now, ...heard.values()) }
  }

  wake()
  return { wake, signs, stop }
}

/** What a finished call leaves to be recorded. */
export function completionOf(
  stage: StageName,
  jobs: readonly Job[],
  { handOffs = [], facts = [], keep = [], consumed = [], outputs }: StageResult,
  { dataDir }: Layout,
): Completion {
  return {
    lease: (jobs[0] as Job).lease,
    stage,
    jobs: jobs.map(({ key, captureId }) => ({ key, captureId })),
    ...{ outputs, handOffs, facts, consumed },
    keep: keep.map((dir) => relative(dataDir, dir)),
  }
}

function total(jobs: readonly Job[], column: 'bytes' | 'events'): number {
  return jobs.reduce((sum, job) => sum + job[column], 0)
}

/**
 * The shape of a stage: a function from work to its outputs.
 *
 * Claiming, leases, retries, acknowledging and the one transaction "job done + hand-offs recorded" are the
 * runner's (runner.ts). A stage says what it made, what it took over, and what comes next; it must bear being
 * called again with the same job, since an attempt that was cut short leaves no other trace than its work
 * space, which is removed.
 */

import type { Fact } from '../state/completion.ts'
import type { Job, NewJob, StageName } from '../state/job.ts'
import type { EventChunk, Log, SinkResult } from './ports.ts'

export interface Progress {
  /** Of `Job.bytes`. */
  bytes?: number
  packets?: number
  events?: number
}

export interface StageContext {
  log: Log
  /** Aborted when the process stops, the job's time is up or its lease is lost; rejects with its reason. */
  signal: AbortSignal
  /** A fresh directory of this attempt, below the spool. Removed afterwards unless the result keeps it. */
  workDir: string
  progress(progress: Progress): void
}

/** Events that became rows: what was given to the sink, and its account of it. */
export interface Uploaded {
  /** The directories of the batches. */
  dirs: readonly string[]
  chunks: readonly EventChunk[]
  result: SinkResult
  /** As it was told to the sink. */
  ingestTimeMs: number
  /** Where the files of the result lie. */
  stagingDir: string
}

export interface StageResult {
  handOffs?: NewJob[]
  /** What the hand-offs name: `workDir` or directories below it; whoever takes one over names it in `consumed`. */
  keep?: string[]
  /** What earlier stages kept, relative to the data directory, and is not needed any more. */
  consumed?: string[]
  /** For the ledger, written in the transaction that records the job as done. */
  facts?: Fact[]
  /** Looks once more, in that transaction, whether it may be: what it throws undoes it. */
  guard?(): void
  uploaded?: Uploaded
  /** What follows once that is recorded. It runs again after a crash (see `recover`), so it must bear repeating. */
  afterwards?(): Promise<void>
  /** For the job's row: what an operator may want to know. */
  outputs?: unknown
}

/** The job is not due: it comes back after this time, and that is no failure. */
export interface Postponed {
  postponedMs: number
  why: string
}

export interface Gather {
  /** Jobs that one call takes, under one lease. */
  isFull(taken: { jobs: number; bytes: number; events: number; ageMs: number }): boolean
  /** How long an unfilled group waits for more while earlier stages are at work. */
  lingerMs: number
}

export interface Stage {
  readonly name: StageName
  /** Where absent, every call gets exactly one job. */
  readonly gather?: Gather
  handle(jobs: readonly Job[], context: StageContext): Promise<StageResult | Postponed>
  /** Puts the input of a job that failed for good where people find it, with the reason beside it. */
  giveUp?(job: Job, reason: { code: string; message: string }, log: Log): Promise<void>
  /** Finishes what processes that ended abruptly left half done; runs at start and now and then. */
  recover?(log: Log): Promise<void>
}

/** For stages whose calls take exactly one job. */
export function oneJob<Input>(
  handle: (job: Job<Input>, context: StageContext) => Promise<StageResult | Postponed>,
): Stage['handle'] {
  return ([job], context) => handle(job as Job<Input>, context)
}

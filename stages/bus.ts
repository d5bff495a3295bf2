/**
 * What carries work from stage to stage, as the runner sees it.
 *
 * Guarantees of every adapter: a job is with one worker at a time; completing one is a single step that hands on what
 * follows, records the facts and acknowledges the job, or does none of it; a worker that lost its job can complete
 * nothing; whoever dies at whatever instant, each job is completed exactly once in the end.
 */

import type { Completion, Fact, Failure } from '../state/completion.ts'
import type { Job, StageName } from '../state/job.ts'
import type { Uploaded } from './stage.ts'

export interface ClaimRequest {
  stage: StageName
  leaseMs: number
  /** Joins what is found to a lease that is held already: a group grows. */
  lease?: string
}

export interface CompleteOptions {
  /** Runs in the ledger's transaction, before anything is recorded; what it throws undoes all. */
  guard?: () => void
  /** Gives up waiting for a bus that cannot be reached. */
  signal: AbortSignal
  /** What upload wrote, for a bus that tells others of it. */
  uploaded?: Uploaded
}

export interface JoinOptions {
  /** These run in this process. */
  stages: readonly StageName[]
  /** Work may have come. */
  onWork(): void
  /** No while the host cannot take more of a stage's work. */
  mayClaim(stage: StageName): boolean
}

export interface Bus {
  /** Work that is due, under a lease; none when there is none now. Never waits. */
  claim(request: ClaimRequest): Job[]
  /** Whether one of these stages is at work on what would become more of it. */
  expects(stages: readonly StageName[]): boolean
  /** The commit point. Throws `lease_lost` when the work is not this worker's any more: then nothing was recorded. */
  complete(completion: Completion, options: CompleteOptions): Promise<void>
  /** For good: acknowledged as given up, kept in the ledger until somebody asks for a retry. */
  fail(job: Job, failure: Failure, options: CompleteOptions): Promise<void>
  /** Tells the ledgers of other hosts; resolves when they will come to know of it. */
  announce(facts: readonly Fact[]): Promise<void>
  /** Decides what became of the commits of processes that ended in the middle of one. */
  recover(): Promise<void>
  /** Takes part in the work of stages. Throws what no waiting mends (`bus_refused`, `config_invalid`). */
  join(options: JoinOptions): Promise<void>
  /** For the health line and the metrics: names of counters and gauges, in snake case. */
  counters(): Record<string, number>
  /** Gives back what was not finished. */
  close(): Promise<void>
}

/**
 * The disk space that work in hand needs: what is promised to jobs, and who waits for some.
 *
 * A promise is a number at a job that is under way. It counts while the job is leased, and so is given back by whatever
 * ends the lease: the job's end, its failure, its release, or the reclaiming of what a dead process held.
 */

import type { Database } from './database.ts'
import { type JobStatus, STAGE_NAMES, type StageName } from './job.ts'
import { processIdentity, stateOf } from './process-identity.ts'

/** Of the jobs of a stage that wait (`ready`) or are under way (`running`). */
export interface StageDemand {
  stage: StageName
  status: Extract<JobStatus, 'ready' | 'running'>
  /** Of their inputs. */
  bytes: number
  largestBytes: number
  reservedBytes: number
}

export type WaitReason = 'budget' | 'floor' | 'backlog'

export interface SpaceWait {
  stage: StageName
  /** Bytes that a job needs. */
  wanted: number
  why: WaitReason
  /** Milliseconds since the epoch. */
  since: number
}

/** A wait that was not renewed for this long is over, or its process cannot say so. */
const STALE_MS = 60_000
const RATIO_OF_JOBS = 50
/** A capture of a few packets says little about others. */
const SMALL_BYTES = 262_144

/** The index of jobs begins with the stage. */
const STAGES = STAGE_NAMES.map((name) => `'${name}'`).join(', ')

export type Space = ReturnType<typeof createSpace>

export function createSpace(db: Database) {
  const demands = db.prepare(
    `SELECT stage, status, SUM(bytes) AS bytes, MAX(bytes) AS largestBytes, SUM(reserved) AS reservedBytes FROM jobs
     WHERE stage IN (${STAGES}) AND status IN ('ready', 'running') GROUP BY stage, status`,
  )

  function demand(): StageDemand[] {
    return demands.all() as StageDemand[]
  }

  /** Promises space to the jobs of a lease, in place of what was promised before. Part of the caller's transaction. */
  function reserve(lease: string, bytes: number): void {
    db.prepare(`UPDATE jobs SET reserved = ? WHERE lease = ? AND status = 'running'`).run(bytes, lease)
  }

  /** Log bytes a byte of capture that the last conversions made, with half as much again; undefined before the first. */
  function logsRatio(): number | undefined {
    const ratio = db
      .prepare(
        `SELECT 1.5 * SUM(j.bytes) / SUM(c.bytes + ${SMALL_BYTES}) FROM
           (SELECT capture_id, bytes FROM jobs INDEXED BY jobs_by_update
            WHERE status = 'done' AND stage = 'split' ORDER BY updated_at DESC LIMIT ${RATIO_OF_JOBS}) j
         JOIN captures c ON c.id = j.capture_id`,
      )
      .pluck()
      .get() as number | null
    return ratio ?? undefined
  }

  function wait({ stage, wanted, why, since }: SpaceWait, now = Date.now()): void {
    db.prepare(
      `INSERT INTO space_waits (owner, stage, wanted, why, since, at) VALUES (@owner, @stage, @wanted, @why, @since, @now)
       ON CONFLICT (owner) DO UPDATE SET stage = @stage, wanted = @wanted, why = @why, since = @since, at = @now`,
    ).run({ owner: processIdentity(), stage, wanted, why, since, now })
  }

  function endWait(): void {
    db.prepare(`DELETE FROM space_waits WHERE owner = ?`).run(processIdentity())
  }

  /** Of all processes that live, the longest first. */
  function waits(now = Date.now()): SpaceWait[] {
    const rows = db.prepare(`SELECT owner, stage, wanted, why, since, at FROM space_waits ORDER BY since`).all()
    return (rows as (SpaceWait & { owner: string; at: number })[])
      .filter(({ owner, at }) => now - at < STALE_MS && stateOf(owner) !== 'dead')
      .map(({ stage, wanted, why, since }) => ({ stage, wanted, why, since }))
  }

  /** Rows of processes that are gone. */
  function pruneWaits(now = Date.now()): void {
    db.prepare(`DELETE FROM space_waits WHERE at < ?`).run(now - STALE_MS)
  }

  return { demand, reserve, logsRatio, wait, endWait, waits, pruneWaits }
}

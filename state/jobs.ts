/**
 * The queue: what each stage has to do, who is doing it, and what became of it.
 *
 * In: jobs that a hand-off recorded. Out: leases. A lease is a token with a deadline; everything that its
 * holder changes afterwards is conditional on the token, so that a worker that was declared dead, and is
 * not, changes nothing. Every method is one transaction, or part of the caller's.
 */

import { randomBytes } from 'node:crypto'
import type { Database } from './database.ts'
import { PipelineError } from './errors.ts'
import type { Job, JobRow, JobStatus, NewJob, StageName } from './job.ts'
import { processIdentity, stateOf } from './process-identity.ts'

/** A job that keeps killing its worker is given up after this many deaths: more than any operator restarts. */
const MAX_CRASHES = 100
/** The first deaths cost no waiting: most are restarts. */
const FREE_CRASHES = 3

export interface ClaimOptions {
  stage: StageName
  leaseMs: number
  /** At most this many jobs under one lease. */
  limit?: number
  /** Joins the jobs to a lease that is held already, instead of taking a new one. */
  lease?: string
  now?: number
}

export interface Failure {
  code: string
  message: string
}

export type Jobs = ReturnType<typeof createJobs>

export function createJobs(db: Database) {
  const insert = db.prepare(`
    INSERT INTO jobs (stage, key, capture_id, input, bytes, events, not_before, created_at, updated_at)
    VALUES (@stage, @key, @captureId, @input, @bytes, @events, @notBefore, @now, @now)
    ON CONFLICT DO NOTHING`)

  const claimable = db.prepare(`
    SELECT stage, key, alone FROM jobs
    WHERE stage = @stage AND status = 'ready' AND not_before <= @now
    ORDER BY created_at, rowid LIMIT @limit`)

  const take = db.prepare(`
    UPDATE jobs SET status = 'running', lease = @lease, lease_owner = @owner, lease_until = @until, updated_at = @now
    WHERE stage = @stage AND key = @key RETURNING *`)

  /** Both bounds are given by the caller, since the row of a fenced lease is simply not there. */
  const held = db.prepare(`SELECT COUNT(*) FROM jobs WHERE lease = ? AND status = 'running'`).pluck()

  const finish = db.prepare(`
    UPDATE jobs SET status = 'done', lease = NULL, lease_owner = NULL, lease_until = NULL, progress = NULL, note = NULL,
      error = NULL, error_code = NULL, input = 'null', outputs = @outputs, updated_at = @now
    WHERE stage = @stage AND key = @key AND lease = @lease AND status = 'running'`)

  const putBack = db.prepare(`
    UPDATE jobs SET status = 'ready', lease = NULL, lease_owner = NULL, lease_until = NULL, progress = NULL,
      attempts = attempts + @failed, crashes = crashes + @crashed, alone = MAX(alone, @alone),
      not_before = @notBefore, error_code = @code, error = @message, updated_at = @now
    WHERE stage = @stage AND key = @key AND lease = @lease AND status = 'running'`)

  const giveUp = db.prepare(`
    UPDATE jobs SET status = 'failed', lease = NULL, lease_owner = NULL, lease_until = NULL, progress = NULL,
      attempts = attempts + 1, error_code = @code, error = @message, updated_at = @now
    WHERE stage = @stage AND key = @key AND lease = @lease AND status = 'running'`)

  /** Puts new work into the queue; work that is there already stays as it is. Answers whether it was new. */
  function add(job: NewJob, { notBefore = 0, now = Date.now() } = {}): boolean {
    const { stage, key, captureId = null, bytes = 0, events = 0 } = job
    const input = JSON.stringify(job.input)
    return insert.run({ stage, key, captureId, input, bytes, events, notBefore, now }).changes === 1
  }

  /** Leases ready jobs, oldest first. A job that failed in company comes alone. */
  const claimNow = db.transaction(({ stage, leaseMs, limit = 1, lease, now = Date.now() }: ClaimOptions): Job[] => {
    const token = lease ?? randomBytes(8).toString('hex')
    const found = claimable.all({ stage, now, limit }) as { key: string; alone: number }[]
    const first = found[0]
    if (!first) return []
    if (lease !== undefined && first.alone) return []
    const wanted = first.alone ? [first] : found.slice(0, untilAlone(found))
    return wanted.map(({ key }) =>
      toJob(take.get({ stage, key, lease: token, owner: processIdentity(), until: now + leaseMs, now })),
    )
  })

  /**
   * The write lock is taken at the start, so that two claimers wait for one another instead of failing; a look
   * without it first, so that idle workers leave it alone.
   */
  function claim(options: ClaimOptions): Job[] {
    const { stage, now = Date.now() } = options
    return claimable.all({ stage, now, limit: 1 }).length === 0 ? [] : claimNow.immediate(options)
  }

  /** Extends a lease; throws `lease_lost` when it is not held any more. */
  function renew(lease: string, leaseMs: number, progress?: unknown, now = Date.now()): void {
    const { changes } = db
      .prepare(
        `UPDATE jobs SET lease_until = ?, progress = COALESCE(?, progress), updated_at = ? WHERE lease = ? AND status = 'running'`,
      )
      .run(now + leaseMs, progress === undefined ? null : JSON.stringify(progress), now, lease)
    if (changes === 0) throw leaseLost(lease)
  }

  /** Keeps a fact for a later attempt (which hash a file had before it was moved). */
  function note(job: Job, value: unknown): void {
    const { changes } = db
      .prepare(`UPDATE jobs SET note = ? WHERE stage = ? AND key = ? AND lease = ?`)
      .run(JSON.stringify(value), job.stage, job.key, job.lease)
    if (changes === 0) throw leaseLost(job.lease)
  }

  /** Throws `lease_lost`, and so rolls the caller's transaction back, unless this attempt still owns the job. */
  function complete(job: Job, outputs: unknown, now = Date.now()): void {
    const { stage, key, lease } = job
    const { changes } = finish.run({ stage, key, lease, outputs: JSON.stringify(outputs ?? null), now })
    if (changes === 0) throw leaseLost(lease)
  }

  /** Back into the queue after a failure that may pass; counts as an attempt. */
  function retryLater(job: Job, { code, message }: Failure, delayMs: number, now = Date.now()): boolean {
    const row = { stage: job.stage, key: job.key, lease: job.lease, code, message, notBefore: now + delayMs, now }
    return putBack.run({ ...row, failed: 1, crashed: 0, alone: 0 }).changes === 1
  }

  /** Back into the queue without blame: the process stops, the work is not due yet, or it failed in company. */
  function release(job: Job, { delayMs = 0, alone = false, now = Date.now() } = {}): boolean {
    const row = {
      stage: job.stage,
      key: job.key,
      lease: job.lease,
      code: null,
      message: null,
      notBefore: now + delayMs,
      now,
    }
    return putBack.run({ ...row, failed: 0, crashed: 0, alone: alone ? 1 : 0 }).changes === 1
  }

  /** For good, until somebody asks for a retry. */
  function fail(job: Job, { code, message }: Failure, now = Date.now()): boolean {
    return giveUp.run({ stage: job.stage, key: job.key, lease: job.lease, code, message, now }).changes === 1
  }

  /**
   * Takes back what dead workers hold: leases that ran out, and leases of processes that this one can see
   * to be gone. Answers how many jobs went back into the queue.
   */
  const reclaimNow = db.transaction((now: number): number => {
    const running = db
      .prepare(
        `SELECT stage, key, lease, lease_owner AS owner, lease_until AS until, crashes FROM jobs WHERE status = 'running'`,
      )
      .all() as { stage: StageName; key: string; lease: string; owner: string; until: number; crashes: number }[]
    const states = new Map<string, string>()
    let taken = 0
    for (const { stage, key, lease, owner, until, crashes } of running) {
      if (!states.has(owner)) states.set(owner, stateOf(owner))
      if (until > now && states.get(owner) !== 'dead') continue
      const row = { stage, key, lease, now, code: 'engine_failed', message: 'the process that worked on it ended' }
      if (crashes + 1 >= MAX_CRASHES)
        giveUp.run({ ...row, message: `${MAX_CRASHES} processes ended while they worked on it` })
      else putBack.run({ ...row, failed: 0, crashed: 1, alone: 1, notBefore: now + crashDelayMs(crashes + 1) })
      taken++
    }
    return taken
  })

  function reclaim(now = Date.now()): number {
    return reclaimNow.immediate(now)
  }

  /** Puts failed jobs back into the queue with a clean slate. Answers how many. */
  function retry(where: { captureId?: string; stage?: string; key?: string } = {}, now = Date.now()): number {
    return db
      .prepare(
        `UPDATE jobs SET status = 'ready', attempts = 0, crashes = 0, not_before = 0, alone = 0, updated_at = @now
         WHERE status = 'failed' AND (@captureId IS NULL OR capture_id = @captureId)
           AND (@stage IS NULL OR stage = @stage) AND (@key IS NULL OR key = @key)`,
      )
      .run({ now, captureId: where.captureId ?? null, stage: where.stage ?? null, key: where.key ?? null }).changes
  }

  /** Removes all work of a capture; whoever works on it loses the lease, and with it the right to finish. */
  function removeOf(captureId: string): void {
    db.prepare(`DELETE FROM jobs WHERE capture_id = ?`).run(captureId)
  }

  /** The keys of a stage's jobs that wait or are under way. */
  function openKeys(stage: StageName): Set<string> {
    const keys = db
      .prepare(`SELECT key FROM jobs WHERE stage = ? AND status IN ('ready', 'running')`)
      .pluck()
      .all(stage)
    return new Set(keys as string[])
  }

  function find(stage: StageName, key: string): JobRow | undefined {
    const row = db.prepare(`SELECT * FROM jobs WHERE stage = ? AND key = ?`).get(stage, key)
    return row === undefined ? undefined : toRow(row)
  }

  function list({ status, captureId }: { status?: JobStatus; captureId?: string } = {}): JobRow[] {
    return db
      .prepare(
        `SELECT * FROM jobs WHERE (@status IS NULL OR status = @status) AND (@captureId IS NULL OR capture_id = @captureId) ORDER BY created_at, rowid`,
      )
      .all({ status: status ?? null, captureId: captureId ?? null })
      .map(toRow)
  }

  /** Jobs per stage and status, with the creation time of the oldest one that waits. */
  function depths(): { stage: StageName; status: JobStatus; jobs: number; oldest: number }[] {
    return db
      .prepare(
        `SELECT stage, status, COUNT(*) AS jobs, MIN(created_at) AS oldest FROM jobs WHERE status <> 'done' GROUP BY stage, status`,
      )
      .all() as { stage: StageName; status: JobStatus; jobs: number; oldest: number }[]
  }

  /** Bytes of a stage's work that waits or is under way. */
  function openBytes(stage: StageName): number {
    return db
      .prepare(`SELECT COALESCE(SUM(bytes), 0) FROM jobs WHERE stage = ? AND status IN ('ready', 'running')`)
      .pluck()
      .get(stage) as number
  }

  /** Whether one of these stages has work that is due or under way. */
  function busy(stages: readonly StageName[], now = Date.now()): boolean {
    const query = db.prepare(
      `SELECT 1 FROM jobs WHERE stage = ? AND (status = 'running' OR (status = 'ready' AND not_before <= ?)) LIMIT 1`,
    )
    return stages.some((stage) => query.get(stage, now) !== undefined)
  }

  function isHeld(lease: string): boolean {
    return (held.get(lease) as number) > 0
  }

  return {
    add,
    claim,
    renew,
    note,
    complete,
    retryLater,
    release,
    fail,
    reclaim,
    retry,
    removeOf,
    openKeys,
    find,
    list,
    depths,
    openBytes,
    busy,
    isHeld,
  }
}

function untilAlone(found: { alone: number }[]): number {
  const next = found.findIndex(({ alone }) => alone)
  return next === -1 ? found.length : next
}

function crashDelayMs(crashes: number): number {
  return crashes <= FREE_CRASHES ? 0 : Math.min(60_000, 250 * 2 ** (crashes - FREE_CRASHES))
}

function leaseLost(lease: string): PipelineError {
  return new PipelineError(
    'lease_lost',
    `lease ${lease} is not held any more: the work was given to another worker or forgotten`,
  )
}

function toJob(row: unknown): Job {
  const r = row as Record<string, string> & Record<'attempts' | 'bytes' | 'events' | 'created_at' | 'alone', number>
  return {
    stage: r.stage as StageName,
    key: r.key as string,
    captureId: r.capture_id ?? undefined,
    input: JSON.parse(r.input as string),
    note: r.note ? JSON.parse(r.note) : undefined,
    lease: r.lease as string,
    attempts: r.attempts,
    bytes: r.bytes,
    events: r.events,
    createdAt: r.created_at,
    alone: r.alone === 1,
  }
}

function toRow(row: unknown): JobRow {
  // biome-ignore lint/suspicious/noExplicitAny: a row of the table above
  const r = row as any
  return {
    stage: r.stage,
    key: r.key,
    captureId: r.capture_id,
    status: r.status,
    attempts: r.attempts,
    crashes: r.crashes,
    error: r.error,
    errorCode: r.error_code,
    notBefore: r.not_before,
    leaseUntil: r.lease_until,
    bytes: r.bytes,
    events: r.events,
    progress: r.progress === null ? undefined : JSON.parse(r.progress),
    outputs: r.outputs === null ? undefined : JSON.parse(r.outputs),
    createdAt: r.created_at,
    updatedAt: r.updated_at,
  }
}

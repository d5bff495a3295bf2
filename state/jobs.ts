/**
 * The queue: what each stage has to do, who is doing it, and what became of it.
 *
 * In: jobs that a hand-off recorded. Out: leases. A lease is a token with a deadline; everything that its
 * holder changes afterwards is conditional on the token, so that a worker that was declared dead, and is
 * not, changes nothing. Every method is one transaction, or part of the caller's.
 */

import { randomBytes } from 'node:crypto'
import type { Failure } from './completion.ts'
import type { Database } from './database.ts'
import { PipelineError } from './errors.ts'
import { type Job, type JobRow, type JobStatus, type NewJob, STAGE_NAMES, type StageName } from './job.ts'
import { processIdentity, stateOf } from './process-identity.ts'

/** A job that keeps killing its worker is given up after this many deaths: more than any operator restarts. */
const MAX_CRASHES = 100
/** The first deaths cost no waiting: most are restarts. */
const FREE_CRASHES = 3
/** A batch that waits for its upload in another container is not touched until that begins. */
const UNSEEN_MS = 3600_000

/** A commit that is asked for may have been made; one in steps goes by its attempt's lease and a number. */
const IS_NOT_BEING_COMMITTED = `lease NOT IN (SELECT substr(lease, 1, instr(lease || '-', '-') - 1) FROM prepared WHERE owner <> '')`

/** The index of jobs begins with the stage: a condition on the status alone would read them all, for years of them. */
const STAGES = STAGE_NAMES.map((name) => `'${name}'`).join(', ')

export interface ClaimOptions {
  stage: StageName
  leaseMs: number
  /** At most this many jobs under one lease. */
  limit?: number
  /** Joins the jobs to a lease that is held already, instead of taking a new one. */
  lease?: string
  now?: number
}

export type Jobs = ReturnType<typeof createJobs>

export function createJobs(db: Database) {
  const insert = db.prepare(`
    INSERT INTO jobs (stage, key, capture_id, input, bytes, events, not_before, created_at, updated_at)
    VALUES (@stage, @key, @captureId, @input, @bytes, @events, @notBefore, @now, @now)
    ON CONFLICT DO NOTHING`)

  const claimable = db.prepare(`
    SELECT stage, key, alone FROM jobs
    WHERE stage = @stage AND status = 'ready' AND origin IS NULL AND not_before <= @now
    ORDER BY created_at, rowid LIMIT @limit`)

  const take = db.prepare(`
    UPDATE jobs SET status = 'running', lease = @lease, lease_owner = @owner, lease_until = @until, reserved = 0, updated_at = @now
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
    WHERE stage = @stage AND key = @key AND lease = @lease AND status = 'running' AND ${IS_NOT_BEING_COMMITTED}`)

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
  function complete(
    { stage, key, lease }: Pick<Job, 'stage' | 'key' | 'lease'>,
    outputs: unknown,
    now = Date.now(),
  ): void {
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
        `SELECT stage, key, lease, lease_owner AS owner, lease_until AS until, crashes FROM jobs
         WHERE status = 'running' AND ${IS_NOT_BEING_COMMITTED}`,
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
        `UPDATE jobs SET status = 'ready', origin = NULL, attempts = 0, crashes = 0, not_before = 0, alone = 0, updated_at = @now
         WHERE status = 'failed' AND input <> 'null' AND (@captureId IS NULL OR capture_id = @captureId)
           AND (@stage IS NULL OR stage = @stage) AND (@key IS NULL OR key = @key)`,
      )
      .run({ now, captureId: where.captureId ?? null, stage: where.stage ?? null, key: where.key ?? null }).changes
  }

  /**
   * Takes in a job that a bus gave to this process, as one that waits. Whoever else of this ledger had it has it no
   * more. Answers false when it is finished already: then the message is one too many.
   */
  const receiveNow = db.transaction((job: NewJob, origin: string, now: number): boolean => {
    const { stage, key, captureId, bytes = 0, events = 0 } = job
    const input = JSON.stringify(job.input)
    const known = db
      .prepare(`SELECT status, lease_owner AS owner FROM jobs WHERE stage = ? AND key = ?`)
      .get(stage, key) as { status: JobStatus; owner: string | null } | undefined
    if (known?.status === 'done' || known?.status === 'failed') return false
    const crashed = known?.status === 'running' && known.owner !== null && stateOf(known.owner) !== 'alive' ? 1 : 0
    insert.run({ stage, key, captureId: captureId ?? null, input, bytes, events, notBefore: 0, now })
    db.prepare(
      `UPDATE jobs SET status = 'ready', origin = @origin, input = @input, capture_id = @captureId, bytes = @bytes,
         events = @events, lease = NULL, lease_owner = NULL, lease_until = NULL, progress = NULL,
         crashes = crashes + @crashed, alone = MAX(alone, @crashed), updated_at = @now
       WHERE stage = @stage AND key = @key`,
    ).run({ stage, key, captureId: captureId ?? null, input, bytes, events, origin, crashed, now })
    return true
  })

  function receive(job: NewJob, origin: string, now = Date.now()): boolean {
    return receiveNow.immediate(job, origin, now)
  }

  /** Leases a job that was received, once it is due; a failure may have put it off. */
  function claimReceived(
    stage: StageName,
    key: string,
    origin: string,
    leaseMs: number,
    lease?: string,
  ): Job | undefined {
    const now = Date.now()
    const row = db
      .prepare(
        `UPDATE jobs SET status = 'running', lease = @lease, lease_owner = @owner, lease_until = @until, reserved = 0, updated_at = @now
         WHERE stage = @stage AND key = @key AND origin = @origin AND status = 'ready' AND not_before <= @now RETURNING *`,
      )
      .get({
        ...{ stage, key, origin, now, until: now + leaseMs, owner: processIdentity() },
        lease: lease ?? randomBytes(8).toString('hex'),
      })
    return row === undefined ? undefined : toJob(row)
  }

  /**
   * The bus gives it to somebody else: open as before, so that its capture is not taken for finished meanwhile. A worker
   * that has it finds out when it renews its lease. Nothing is done to what another process has received since.
   */
  function giveBack(stage: StageName, key: string, origin: string, now = Date.now()): void {
    db.prepare(
      `UPDATE jobs SET status = 'sent', origin = 'bus', lease = NULL, lease_owner = NULL, lease_until = NULL,
         progress = NULL, updated_at = @now
       WHERE stage = @stage AND key = @key AND origin = @origin AND status IN ('ready', 'running')`,
    ).run({ stage, key, origin, now })
  }

  /** Whether this process may still claim or complete what it received. */
  function isReceived(stage: StageName, key: string, origin: string): boolean {
    return (
      db
        .prepare(`SELECT 1 FROM jobs WHERE stage = ? AND key = ? AND origin = ? AND status IN ('ready', 'running')`)
        .get(stage, key, origin) !== undefined
    )
  }

  /** It was made here, of what the bus gives to somebody else. */
  function drop(stage: StageName, key: string, origin: string): void {
    db.prepare(
      `DELETE FROM jobs WHERE stage = ? AND key = ? AND origin = ? AND status IN ('ready', 'running', 'sent')`,
    ).run(stage, key, origin)
  }

  /**
   * Removes jobs whose origin is this word and a process that is gone, or that cannot be seen and has not touched them
   * for long, and answers what they were.
   */
  function dropOrphans(word: string, now = Date.now()): { key: string; input: unknown }[] {
    const open = db
      .prepare(
        `SELECT stage, key, input, origin, updated_at AS updatedAt FROM jobs WHERE origin GLOB ? || ' *' AND status IN ('ready', 'running')
           AND (lease IS NULL OR ${IS_NOT_BEING_COMMITTED})`,
      )
      .all(word) as { stage: StageName; key: string; input: string; origin: string; updatedAt: number }[]
    const orphans = open.filter(({ origin, updatedAt }) => {
      const state = stateOf(origin.slice(word.length + 1))
      return state === 'dead' || (state === 'unknown' && now - updatedAt > UNSEEN_MS)
    })
    for (const { stage, key, origin } of orphans) drop(stage, key, origin)
    return orphans.map(({ key, input }) => ({ key, input: JSON.parse(input) }))
  }

  /** It lies on the bus: open, and not to be claimed here. */
  function addSent({ stage, key, captureId, bytes = 0, events = 0 }: Omit<NewJob, 'input'>, now = Date.now()): void {
    db.prepare(
      `INSERT INTO jobs (stage, key, capture_id, input, bytes, events, status, origin, created_at, updated_at)
       VALUES (@stage, @key, @captureId, 'null', @bytes, @events, 'sent', 'bus', @now, @now) ON CONFLICT DO NOTHING`,
    ).run({ stage, key, captureId: captureId ?? null, bytes, events, now })
  }

  /** What the bus has made final, whoever holds it and whether it is known here or not. */
  function finishAs(
    status: 'done' | 'failed',
    { stage, key, captureId }: Pick<NewJob, 'stage' | 'key' | 'captureId'>,
    { outputs, failure }: { outputs?: unknown; failure?: Failure },
    now = Date.now(),
  ): void {
    db.prepare(
      `INSERT INTO jobs (stage, key, capture_id, input, status, outputs, error_code, error, created_at, updated_at)
       VALUES (@stage, @key, @captureId, 'null', @status, @outputs, @code, @message, @now, @now)
       ON CONFLICT (stage, key) DO UPDATE SET status = @status, lease = NULL, lease_owner = NULL, lease_until = NULL,
         progress = NULL, note = NULL, outputs = @outputs, error_code = @code, error = @message, updated_at = @now,
         input = IIF(@status = 'done', 'null', input)`,
    ).run({
      ...{ stage, key, captureId: captureId ?? null, status, now, outputs: JSON.stringify(outputs ?? null) },
      ...{ code: failure?.code ?? null, message: failure?.message ?? null },
    })
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

  /** What is not asked for is not in the statement: a condition that may be absent would keep the index from being used. */
  function list({ status, captureId }: { status?: JobStatus; captureId?: string } = {}): JobRow[] {
    const conditions = [
      ...(status === undefined ? [] : [`stage IN (${STAGES}) AND status = @status`]),
      ...(captureId === undefined ? [] : ['capture_id = @captureId']),
    ]
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`
    return db.prepare(`SELECT * FROM jobs ${where} ORDER BY created_at, rowid`).all({ status, captureId }).map(toRow)
  }

  /** Jobs per stage and status, with the creation time of the oldest one that waits. */
  function depths(): { stage: StageName; status: JobStatus; jobs: number; oldest: number }[] {
    return db
      .prepare(
        `SELECT stage, status, COUNT(*) AS jobs, MIN(created_at) AS oldest FROM jobs
         WHERE stage IN (${STAGES}) AND status IN ('ready', 'running', 'sent', 'failed') GROUP BY stage, status`,
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
    receive,
    claimReceived,
    giveBack,
    isReceived,
    drop,
    dropOrphans,
    addSent,
    finishAs,
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

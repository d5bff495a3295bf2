/** Sums over the queue, for those who look on: progress of captures, activity of stages, the last errors. */

import type { Database } from './database.ts'
import type { JobStatus, StageName } from './job.ts'

export interface StageSum {
  captureId: string
  stage: StageName
  status: JobStatus
  jobs: number
  bytes: number
}

export interface RunningJob {
  captureId: string
  stage: StageName
  bytes: number
  /** What the worker last said. */
  progress: { bytes?: number; packets?: number } | null
}

export interface StageError {
  stage: StageName
  key: string
  at: number
  code: string | null
  message: string
}

/** Over all captures, for whoever watches the whole. */
export interface LedgerSums {
  salvaged: number
  withWarnings: number
  quarantined: number
  arrivals: Record<string, number>
  sinks: Record<string, { documents: number; rejected: number }>
}

export type Overview = ReturnType<typeof createOverview>

export function createOverview(db: Database) {
  function sums(captureIds: readonly string[]): StageSum[] {
    return db
      .prepare(
        `SELECT capture_id AS captureId, stage, status, COUNT(*) AS jobs, SUM(bytes) AS bytes FROM jobs
         WHERE capture_id IN (SELECT value FROM json_each(?)) GROUP BY capture_id, stage, status`,
      )
      .all(JSON.stringify(captureIds)) as StageSum[]
  }

  function running(captureIds: readonly string[]): RunningJob[] {
    const rows = db
      .prepare(
        `SELECT capture_id AS captureId, stage, bytes, progress FROM jobs
         WHERE status = 'running' AND capture_id IN (SELECT value FROM json_each(?))`,
      )
      .all(JSON.stringify(captureIds)) as (Omit<RunningJob, 'progress'> & { progress: string | null })[]
    return rows.map((row) => ({ ...row, progress: row.progress === null ? null : JSON.parse(row.progress) }))
  }

  /** The reason of the capture's last failed job. */
  function failures(captureIds: readonly string[]): Map<string, string> {
    const rows = db
      .prepare(
        `SELECT capture_id AS id, error, MAX(updated_at) FROM jobs
         WHERE status = 'failed' AND capture_id IN (SELECT value FROM json_each(?)) GROUP BY capture_id`,
      )
      .all(JSON.stringify(captureIds)) as { id: string; error: string | null }[]
    return new Map(rows.map(({ id, error }) => [id, error ?? 'it failed']))
  }

  /** How often the content of each capture came again. */
  function duplicates(captureIds: readonly string[]): Map<string, number> {
    const rows = db
      .prepare(
        `SELECT capture_id AS id, COUNT(*) AS n FROM arrivals
         WHERE outcome = 'duplicate' AND capture_id IN (SELECT value FROM json_each(?)) GROUP BY capture_id`,
      )
      .all(JSON.stringify(captureIds)) as { id: string; n: number }[]
    return new Map(rows.map(({ id, n }) => [id, n]))
  }

  /** In the dataset now, and in quarantine. */
  function rows(captureIds: readonly string[]): Map<string, { rows: number; quarantined: number }> {
    const found = db
      .prepare(
        `SELECT capture_id AS id, SUM(quarantined) AS quarantined,
           SUM(rows) - (SELECT COALESCE(SUM(r.rows), 0) FROM removed_rows r WHERE r.capture_id = c.capture_id) AS rows
         FROM commit_counts c WHERE capture_id IN (SELECT value FROM json_each(?)) GROUP BY capture_id`,
      )
      .all(JSON.stringify(captureIds)) as { id: string; rows: number; quarantined: number }[]
    return new Map(found.map(({ id, rows: n, quarantined }) => [id, { rows: n, quarantined }]))
  }

  /** What was finished since then. */
  function activity(since: number): { stage: StageName; jobs: number; events: number }[] {
    return db
      .prepare(
        `SELECT stage, COUNT(*) AS jobs, SUM(events) AS events FROM jobs INDEXED BY jobs_by_update
         WHERE status = 'done' AND updated_at >= ? GROUP BY stage`,
      )
      .all(since) as { stage: StageName; jobs: number; events: number }[]
  }

  /** Of each stage the newest, also of jobs that were tried again. */
  function lastErrors(): StageError[] {
    return db
      .prepare(
        `SELECT stage, key, MAX(updated_at) AS at, error_code AS code, error AS message FROM jobs WHERE error IS NOT NULL GROUP BY stage`,
      )
      .all() as StageError[]
  }

  function errorsSince(since: number): StageError[] {
    return db
      .prepare(
        `SELECT stage, key, updated_at AS at, error_code AS code, error AS message FROM jobs
         WHERE error IS NOT NULL AND updated_at > ? ORDER BY updated_at LIMIT 100`,
      )
      .all(since) as StageError[]
  }

  function ledgerSums(): LedgerSums {
    const one = (sql: string) => Number(db.prepare(sql).pluck().get() ?? 0)
    const arrivals = db.prepare(`SELECT outcome, COUNT(*) AS n FROM arrivals GROUP BY outcome`).all() as {
      outcome: string
      n: number
    }[]
    const sinks = db
      .prepare(`SELECT sink, SUM(documents) AS documents, SUM(rejected) AS rejected FROM sink_counts GROUP BY sink`)
      .all() as { sink: string; documents: number; rejected: number }[]
    return {
      salvaged: one(`SELECT COUNT(*) FROM captures WHERE json_extract(packets, '$.salvaged') IS NOT NULL`),
      withWarnings: one(`SELECT COUNT(*) FROM captures WHERE warnings <> '[]'`),
      quarantined: one(`SELECT SUM(quarantined) FROM commit_counts`),
      arrivals: Object.fromEntries(arrivals.map(({ outcome, n }) => [outcome, n])),
      sinks: Object.fromEntries(sinks.map(({ sink, documents, rejected }) => [sink, { documents, rejected }])),
    }
  }

  return { ledgerSums, sums, running, failures, duplicates, rows, activity, lastErrors, errorsSince }
}

/**
 * Keeps the ledger from growing with what nobody asks for any more.
 *
 * Receipts stay: captures, arrivals, records, counts. Finished jobs go once their capture has ended and they are older
 * than any message that could bring them again. Each call is one short transaction; it answers whether more is left.
 */

import type { Database } from './database.ts'

const AT_ONCE = 2000
const AUDIT_ROWS = 200_000
/** Hits of a load are recorded before its commit. */
const HITS_WITHOUT_COMMIT_MS = 86_400_000

export type Pruning = ReturnType<typeof createPruning>

export function createPruning(db: Database) {
  /** All jobs of a capture or none: what is left must not look like all that there was. */
  const pruneNow = db.transaction((before: number, now: number): boolean => {
    const old = `SELECT rowid, capture_id FROM jobs INDEXED BY jobs_by_update WHERE status = 'done' AND updated_at < @before ORDER BY updated_at`
    const captures = db
      .prepare(
        `DELETE FROM jobs WHERE capture_id IN (
           SELECT j.capture_id FROM (${old}) j LEFT JOIN captures c ON c.id = j.capture_id
           WHERE (c.id IS NULL OR c.state IN ('done', 'empty', 'failed', 'unbalanced')) AND NOT EXISTS (
             SELECT 1 FROM jobs o WHERE o.capture_id = j.capture_id AND (o.status <> 'done' OR o.updated_at >= @before))
           LIMIT ${AT_ONCE})`,
      )
      .run({ before })
    const others = db
      .prepare(`DELETE FROM jobs WHERE rowid IN (SELECT rowid FROM (${old}) WHERE capture_id IS NULL LIMIT ${AT_ONCE})`)
      .run({ before })
    db.prepare(`DELETE FROM audit WHERE id <= (SELECT MAX(id) FROM audit) - ${AUDIT_ROWS}`).run()
    db.prepare(
      `DELETE FROM watch_hits WHERE at < ? AND run NOT GLOB 'rescan-*' AND run NOT IN (SELECT id FROM commits)`,
    ).run(now - HITS_WITHOUT_COMMIT_MS)
    return captures.changes >= AT_ONCE || others.changes === AT_ONCE
  })

  /** @param before Milliseconds since the epoch: jobs that were finished since stay. */
  function prune(before: number, now = Date.now()): boolean {
    return pruneNow.immediate(before, now)
  }

  return { prune }
}

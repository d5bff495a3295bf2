/**
 * The accounts of sinks beside the tables: what became of each batch's records there, and which indices were made.
 *
 * An account is written in the transaction that records its batch as done.
 */

import type { Database } from './database.ts'

export interface SinkCount {
  captureId: string
  logType: string
  /** There now: made by us or there already. */
  documents: number
  duplicates: number
  rejected: number
  /** Rejected records by reason. */
  reasons: Record<string, number>
}

export type Sinks = ReturnType<typeof createSinks>

export function createSinks(db: Database) {
  /** Replaces what an earlier attempt at the same batch said. */
  function record(sink: string, batch: string, counts: readonly SinkCount[]): void {
    db.prepare(`DELETE FROM sink_counts WHERE sink = ? AND batch = ?`).run(sink, batch)
    const add = db.prepare(
      `INSERT INTO sink_counts (sink, batch, capture_id, log_type, documents, duplicates, rejected, reasons)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    for (const c of counts)
      add.run(sink, batch, c.captureId, c.logType, c.documents, c.duplicates, c.rejected, JSON.stringify(c.reasons))
  }

  /** By log type, over all batches. */
  function countsOf(sink: string, captureId: string): SinkCount[] {
    const rows = db
      .prepare(
        `SELECT log_type AS logType, documents, duplicates, rejected, reasons FROM sink_counts
         WHERE sink = ? AND capture_id = ? ORDER BY log_type`,
      )
      .all(sink, captureId) as (Omit<SinkCount, 'captureId' | 'reasons'> & { reasons: string })[]
    const byType = new Map<string, SinkCount>()
    for (const { logType, documents, duplicates, rejected, reasons } of rows) {
      const sum = byType.get(logType) ?? { captureId, logType, documents: 0, duplicates: 0, rejected: 0, reasons: {} }
      sum.documents += documents
      sum.duplicates += duplicates
      sum.rejected += rejected
      for (const [reason, n] of Object.entries(JSON.parse(reasons) as Record<string, number>))
        sum.reasons[reason] = (sum.reasons[reason] ?? 0) + n
      byType.set(logType, sum)
    }
    return [...byType.values()]
  }

  function removeOf(captureId: string): void {
    db.prepare(`DELETE FROM sink_counts WHERE capture_id = ?`).run(captureId)
    db.prepare(`DELETE FROM sink_receipts WHERE capture_id = ?`).run(captureId)
  }

  /**
   * Finished captures whose receipt the sink has not, or has in another form, with the form it is in now. One of which
   * something is still to be indexed is not among them.
   */
  function dueReceipts(sink: string, limit: number): { captureId: string; digest: string }[] {
    return db
      .prepare(
        `SELECT c.id AS captureId, c.state || ' ' || c.finished_at AS digest FROM captures c
         LEFT JOIN sink_receipts r ON r.sink = ? AND r.capture_id = c.id
         WHERE c.finished_at IS NOT NULL AND r.digest IS NOT c.state || ' ' || c.finished_at
           AND NOT EXISTS (
             SELECT 1 FROM jobs j WHERE j.capture_id = c.id AND j.stage = 'index' AND j.status IN ('ready', 'running'))
         LIMIT ?`,
      )
      .all(sink, limit) as { captureId: string; digest: string }[]
  }

  function noteReceipt(sink: string, captureId: string, digest: string): void {
    db.prepare(
      `INSERT INTO sink_receipts (sink, capture_id, digest) VALUES (?, ?, ?) ON CONFLICT (sink, capture_id) DO UPDATE SET digest = excluded.digest`,
    ).run(sink, captureId, digest)
  }

  /** Whether an index may be made: it was admitted before, or there are fewer than `limit`. */
  const admitNow = db.transaction((name: string, limit: number): boolean => {
    if (db.prepare(`SELECT 1 FROM sink_indices WHERE name = ?`).get(name) !== undefined) return true
    if ((db.prepare(`SELECT COUNT(*) FROM sink_indices`).pluck().get() as number) >= limit) return false
    db.prepare(`INSERT INTO sink_indices (name) VALUES (?)`).run(name)
    return true
  })

  function admitIndex(name: string, limit: number): boolean {
    return admitNow.immediate(name, limit)
  }

  /** After it was deleted: others may be made in its place. */
  function dropIndex(name: string): void {
    db.prepare(`DELETE FROM sink_indices WHERE name = ?`).run(name)
  }

  /** Rows of these files have changed: what the sink has of them is old. */
  function noteChanged(sink: string, paths: readonly string[]): void {
    const note = db.prepare(
      `INSERT INTO sink_changes VALUES (?, ?, 1) ON CONFLICT (sink, path) DO UPDATE SET mark = mark + 1`,
    )
    for (const path of paths) note.run(sink, path)
  }

  function changedFiles(sink: string, limit: number): { path: string; mark: number }[] {
    return db.prepare(`SELECT path, mark FROM sink_changes WHERE sink = ? ORDER BY path LIMIT ?`).all(sink, limit) as {
      path: string
      mark: number
    }[]
  }

  /** The sink has the file's rows as they were at `mark`. */
  function noteTold(sink: string, path: string, mark: number): void {
    db.prepare(`DELETE FROM sink_changes WHERE sink = ? AND path = ? AND mark = ?`).run(sink, path, mark)
  }

  return {
    ...{ noteChanged, changedFiles, noteTold },
    ...{ record, countsOf, removeOf, dueReceipts, noteReceipt, admitIndex, dropIndex },
  }
}

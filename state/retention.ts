/**
 * What retention took out of the books, and the files that are still to be deleted for it.
 *
 * A file leaves in two steps: the transaction that takes it out of the books puts it on the list of those that leave;
 * whoever has deleted it takes it off the list. A process that dies in between leaves a row from which anyone goes on.
 */

import type { Database } from './database.ts'

export interface RemovedRows {
  logType: string
  rows: number
  /** Milliseconds since the epoch: when the last of them went. */
  removedAt: number
}

export interface LeavingFile {
  /** Below the data directory. */
  path: string
  /** As its remover saw it: a file that has come to its name since stays. */
  identity: string
}

export type Retention = ReturnType<typeof createRetention>

export function createRetention(db: Database) {
  /** Rows of a capture that are not in the dataset any more; part of the transaction that drops their file. */
  function addRemovedRows(captureId: string, logType: string, rows: number, now = Date.now()): void {
    db.prepare(
      `INSERT INTO removed_rows (capture_id, log_type, rows, removed_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (capture_id, log_type) DO UPDATE SET rows = rows + excluded.rows, removed_at = excluded.removed_at`,
    ).run(captureId, logType, rows, now)
  }

  function removedRows(captureId: string): RemovedRows[] {
    return db
      .prepare(
        `SELECT log_type AS logType, rows, removed_at AS removedAt FROM removed_rows WHERE capture_id = ? ORDER BY log_type`,
      )
      .all(captureId) as RemovedRows[]
  }

  function addLeaving({ path, identity }: LeavingFile): void {
    db.prepare(
      `INSERT INTO leaving_files (path, identity) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET identity = excluded.identity`,
    ).run(path, identity)
  }

  function leaving(): LeavingFile[] {
    return db.prepare(`SELECT path, identity FROM leaving_files`).all() as LeavingFile[]
  }

  function isLeaving(path: string): boolean {
    return db.prepare(`SELECT 1 FROM leaving_files WHERE path = ?`).get(path) !== undefined
  }

  function hasLeft(path: string): void {
    db.prepare(`DELETE FROM leaving_files WHERE path = ?`).run(path)
  }

  return { addRemovedRows, removedRows, addLeaving, leaving, isLeaving, hasLeft }
}

/**
 * Events that were published on a bus and are not all rows yet, by capture.
 *
 * It tells an attempt that repeats a publication what is out already, and the receipt how many rows are still to come.
 */

import type { Database } from './database.ts'

/** Consecutive events of one log: the number of the first, and how many. */
export interface PublishedChunk {
  logType: string
  firstOrdinal: number
  lines: number
}

export type Published = ReturnType<typeof createPublished>

export function createPublished(db: Database) {
  function add(captureId: string, chunks: readonly PublishedChunk[]): void {
    const insert = db.prepare(`INSERT INTO published_chunks VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`)
    for (const { logType, firstOrdinal, lines } of chunks) insert.run(captureId, logType, firstOrdinal, lines)
  }

  function has(captureId: string, { logType, firstOrdinal }: PublishedChunk): boolean {
    return (
      db
        .prepare(`SELECT 1 FROM published_chunks WHERE capture_id = ? AND log_type = ? AND first_ordinal = ?`)
        .get(captureId, logType, firstOrdinal) !== undefined
    )
  }

  /** Events of the capture that are out and neither a row nor in quarantine. */
  function open(captureId: string): number {
    return db
      .prepare(
        `SELECT max(0, coalesce((SELECT sum(lines) FROM published_chunks WHERE capture_id = @id), 0)
           - coalesce((SELECT sum(rows + quarantined) FROM commit_counts WHERE capture_id = @id), 0))`,
      )
      .pluck()
      .get({ id: captureId }) as number
  }

  function removeOf(captureId: string): void {
    db.prepare(`DELETE FROM published_chunks WHERE capture_id = ?`).run(captureId)
  }

  return { add, has, open, removeOf }
}

/**
 * The commit ledger: which files readers may see, and which rows of which capture are in them.
 *
 * A commit is recorded in the same transaction that acknowledges its input, while its files still lie where
 * readers do not look; then they are renamed into place and the commit becomes `published`. A process that
 * dies in between leaves a commit that anyone can roll forward: each rename is either still to do (the
 * staged file is there) or done (the final one is).
 */

import { type Database, onDisk } from './database.ts'
import { processIdentity, stateOf } from './process-identity.ts'

export interface CommitFile {
  /** Below the data directory, as readers see it. */
  path: string
  /** Below the data directory, where it was written. */
  staged: string
  /** Absent for files of quarantined lines, which hold no rows of the dataset. */
  logType?: string
  rows: number
  bytes: number
}

export type PublishedFile = Required<Omit<CommitFile, 'staged'>>

/** What became of the records of one log of one capture in one commit. */
export interface CommitCount {
  captureId: string
  logType: string
  rows: number
  quarantined: number
  /** Quarantined lines by reason. */
  reasons: Record<string, number>
}

export interface Commit {
  id: string
  files: CommitFile[]
  counts: CommitCount[]
}

export type Commits = ReturnType<typeof createCommits>

export function createCommits(db: Database) {
  /** Part of the transaction that acknowledges the input. */
  function add({ id, files, counts }: Commit, now = Date.now()): void {
    db.prepare(`INSERT INTO commits (id, state, owner, committed_at) VALUES (?, 'committed', ?, ?)`).run(
      id,
      processIdentity(),
      now,
    )
    const addFile = db.prepare(
      `INSERT INTO commit_files (path, commit_id, staged, log_type, rows, bytes) VALUES (@path, @id, @staged, @logType, @rows, @bytes)`,
    )
    for (const file of files) addFile.run({ ...file, id, logType: file.logType ?? null })
    const addCount = db.prepare(
      `INSERT INTO commit_counts (commit_id, capture_id, log_type, rows, quarantined, reasons) VALUES (?, ?, ?, ?, ?, ?)`,
    )
    for (const c of counts) addCount.run(id, c.captureId, c.logType, c.rows, c.quarantined, JSON.stringify(c.reasons))
  }

  /** Rows that are in the dataset of another ledger: counted here, their files are not ours. */
  function addElsewhere({ id, counts }: Commit, owner: string, now = Date.now()): void {
    db.prepare(
      `INSERT INTO commits (id, state, owner, committed_at, published_at) VALUES (?, 'published', ?, ?, ?) ON CONFLICT DO NOTHING`,
    ).run(id, owner, now, now)
    const addCount = db.prepare(`INSERT INTO commit_counts VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`)
    for (const c of counts) addCount.run(id, c.captureId, c.logType, c.rows, c.quarantined, JSON.stringify(c.reasons))
  }

  /** Answers the captures that have rows in it. */
  function markPublished(id: string, now = Date.now()): string[] {
    db.prepare(`UPDATE commits SET state = 'published', published_at = ? WHERE id = ?`).run(now, id)
    return db.prepare(`SELECT DISTINCT capture_id FROM commit_counts WHERE commit_id = ?`).pluck().all(id) as string[]
  }

  function files(id: string): CommitFile[] {
    return db
      .prepare(
        `SELECT path, staged, log_type AS logType, rows, bytes FROM commit_files WHERE commit_id = ? ORDER BY path`,
      )
      .all(id) as CommitFile[]
  }

  /** Commits whose owner cannot publish them any more. */
  function abandoned(): string[] {
    const open = db.prepare(`SELECT id, owner FROM commits WHERE state = 'committed'`).all() as {
      id: string
      owner: string
    }[]
    return open.filter(({ owner }) => owner === processIdentity() || stateOf(owner) !== 'alive').map(({ id }) => id)
  }

  function isOpen(id: string): boolean {
    return db.prepare(`SELECT 1 FROM commits WHERE id = ? AND state = 'committed'`).get(id) !== undefined
  }

  /** Whether rows of this capture are recorded but not yet in their place. */
  function pending(captureId: string): boolean {
    return (
      db
        .prepare(
          `SELECT 1 FROM commit_counts c JOIN commits m ON m.id = c.commit_id WHERE c.capture_id = ? AND m.state = 'committed' LIMIT 1`,
        )
        .get(captureId) !== undefined
    )
  }

  /** Rows and quarantined lines of a capture, by log type, over all its commits. */
  function countsOf(captureId: string): CommitCount[] {
    const rows = db
      .prepare(
        `SELECT log_type AS logType, rows, quarantined, reasons FROM commit_counts WHERE capture_id = ? ORDER BY log_type`,
      )
      .all(captureId) as { logType: string; rows: number; quarantined: number; reasons: string }[]
    const byType = new Map<string, CommitCount>()
    for (const { logType, rows: n, quarantined, reasons } of rows) {
      const sum = byType.get(logType) ?? { captureId, logType, rows: 0, quarantined: 0, reasons: {} }
      sum.rows += n
      sum.quarantined += quarantined
      for (const [reason, lines] of Object.entries(JSON.parse(reasons) as Record<string, number>)) {
        sum.reasons[reason] = (sum.reasons[reason] ?? 0) + lines
      }
      byType.set(logType, sum)
    }
    return [...byType.values()]
  }

  /** The files that may hold rows of a capture. */
  function filesOf(captureId: string): CommitFile[] {
    return db
      .prepare(
        `SELECT DISTINCT f.path, f.staged, f.log_type AS logType, f.rows, f.bytes FROM commit_files f
         JOIN commit_counts c ON c.commit_id = f.commit_id AND c.capture_id = @id AND (f.log_type IS NULL OR f.log_type = c.log_type)
         UNION SELECT f.path, f.staged, f.log_type, f.rows, f.bytes FROM commit_files f JOIN joined_captures j ON j.path = f.path AND j.capture_id = @id
         ORDER BY 1`,
      )
      .all({ id: captureId }) as CommitFile[]
  }

  /** Every file of the dataset that readers may see, as far as this ledger knows. */
  function published(): PublishedFile[] {
    return db
      .prepare(
        `SELECT f.path, f.log_type AS logType, f.rows, f.bytes FROM commit_files f JOIN commits m ON m.id = f.commit_id
         WHERE m.state = 'published' AND f.log_type IS NOT NULL`,
      )
      .all() as PublishedFile[]
  }

  /** The same, or those of them that are named, with the time of each one's commit. */
  function publishedWithTime(paths?: readonly string[]): (PublishedFile & { committedAt: number })[] {
    const among = paths === undefined ? '' : 'AND f.path IN (SELECT value FROM json_each(@paths))'
    return db
      .prepare(
        `SELECT f.path, f.log_type AS logType, f.rows, f.bytes, m.committed_at AS committedAt FROM commit_files f
         JOIN commits m ON m.id = f.commit_id WHERE m.state = 'published' AND f.log_type IS NOT NULL ${among}`,
      )
      .all({ paths: JSON.stringify(paths) }) as (PublishedFile & { committedAt: number })[]
  }

  /** After a file was rewritten, or removed when it has no rows left. */
  function replaceFile(path: string, { rows, bytes }: { rows: number; bytes: number }): void {
    if (rows === 0) dropFile(path)
    else db.prepare(`UPDATE commit_files SET rows = ?, bytes = ? WHERE path = ?`).run(rows, bytes, path)
  }

  /** Out of the books; a commit that neither counts rows nor has files any more goes with it. */
  function dropFile(path: string): void {
    const id = db.prepare(`DELETE FROM commit_files WHERE path = ? RETURNING commit_id`).pluck().get(path)
    db.prepare(`DELETE FROM joined_captures WHERE path = ?`).run(path)
    db.prepare(
      `DELETE FROM commits WHERE id = @id AND NOT EXISTS (SELECT 1 FROM commit_files WHERE commit_id = @id)
         AND NOT EXISTS (SELECT 1 FROM commit_counts WHERE commit_id = @id)`,
    ).run({ id: id ?? null })
  }

  /** Files and rows of the dataset, and the bytes that its files take on the disk. */
  function publishedTotals(): { files: number; rows: number; bytes: number } {
    return db
      .prepare(
        `SELECT COUNT(*) AS files, COALESCE(SUM(f.rows), 0) AS rows, COALESCE(SUM(${onDisk('f.bytes')}), 0) AS bytes
         FROM commit_files f JOIN commits m ON m.id = f.commit_id WHERE m.state = 'published' AND f.log_type IS NOT NULL`,
      )
      .get() as { files: number; rows: number; bytes: number }
  }

  /** Takes a capture out of the books; commits that hold nothing any more go with it. */
  function removeOf(captureId: string): void {
    const touched = db
      .prepare(`SELECT DISTINCT commit_id FROM commit_counts WHERE capture_id = ?`)
      .pluck()
      .all(captureId) as string[]
    for (const table of ['commit_counts', 'removed_rows', 'joined_captures'])
      db.prepare(`DELETE FROM ${table} WHERE capture_id = ?`).run(captureId)
    for (const id of touched) {
      const empty = db.prepare(`SELECT 1 FROM commit_counts WHERE commit_id = ?`).get(id) === undefined
      if (!empty) continue
      db.prepare(`DELETE FROM commit_files WHERE commit_id = ?`).run(id)
      db.prepare(`DELETE FROM commits WHERE id = ?`).run(id)
    }
  }

  return {
    add,
    addElsewhere,
    markPublished,
    files,
    abandoned,
    isOpen,
    pending,
    countsOf,
    filesOf,
    published,
    publishedWithTime,
    publishedTotals,
    replaceFile,
    dropFile,
    removeOf,
  }
}

/**
 * Files of the dataset that are being joined into one.
 *
 * `begin` says what is about to happen while nothing has; `join` is the moment at which the books name the new file in
 * place of the old ones; `end` follows when those are deleted, or when nothing came of it. A process that dies in between leaves a row that says how
 * far it came. Each is a transaction, or part of the caller's.
 */

import type { Database } from './database.ts'

export interface NewJoin {
  /** Becomes the commit that the new file belongs to. */
  id: string
  /** Of the new file, below the data directory. */
  path: string
  /** Its hidden name until it takes that place. */
  staged: string
  logType: string
  /** Of the newest of the joined files. */
  committedAt: number
  /** Paths of the files that it replaces. */
  sources: string[]
}

export interface WrittenJoin {
  rows: number
  bytes: number
  /** Captures that have rows in it. */
  captures: string[]
}

/** `begun`: nothing is in its place. `written`: it may be. `joined`: the books name it; the old files are to go. */
export type Join = NewJoin & WrittenJoin & { state: 'begun' | 'written' | 'joined' }

export type Joins = ReturnType<typeof createJoins>

export function createJoins(db: Database) {
  function begin({ sources, ...join }: NewJoin): void {
    db.prepare(
      `INSERT INTO joins (id, state, path, staged, log_type, rows, bytes, committed_at, sources, captures)
       VALUES (@id, 'begun', @path, @staged, @logType, 0, 0, @committedAt, @sources, '[]')`,
    ).run({ ...join, sources: JSON.stringify(sources) })
  }

  /** The new file is on the disk, under its hidden name. */
  function written(id: string, { rows, bytes, captures }: WrittenJoin): void {
    db.prepare(`UPDATE joins SET state = 'written', rows = ?, bytes = ?, captures = ? WHERE id = ?`).run(
      rows,
      bytes,
      JSON.stringify(captures),
      id,
    )
  }

  const joinNow = db.transaction(({ id, path, staged, logType, rows, bytes, committedAt, ...join }: Join) => {
    // Commits count rows of captures; that of a file which was itself joined counts none, and goes with it.
    const dropCommit = db.prepare(
      `DELETE FROM commits WHERE id = (SELECT commit_id FROM commit_files WHERE path = ?)
         AND NOT EXISTS (SELECT 1 FROM commit_counts c WHERE c.commit_id = commits.id)
         AND 1 = (SELECT COUNT(*) FROM commit_files f WHERE f.commit_id = commits.id)`,
    )
    const drop = db.prepare(`DELETE FROM commit_files WHERE path = ?`)
    const dropLinks = db.prepare(`DELETE FROM joined_captures WHERE path = ?`)
    for (const source of join.sources) for (const statement of [dropCommit, drop, dropLinks]) statement.run(source)
    db.prepare(
      `INSERT INTO commits (id, state, owner, committed_at, published_at) VALUES (?, 'published', '', ?, ?)`,
    ).run(id, committedAt, Date.now())
    db.prepare(
      `INSERT INTO commit_files (path, commit_id, staged, log_type, rows, bytes) VALUES (?, ?, ?, ?, ?, ?)`,
    ).run(path, id, staged, logType, rows, bytes)
    const link = db.prepare(`INSERT INTO joined_captures (path, capture_id) VALUES (?, ?)`)
    for (const captureId of join.captures) link.run(path, captureId)
    // What a sink was still to be told of the old files, it is to be told of the new one.
    const list = JSON.stringify(join.sources)
    db.prepare(
      `INSERT INTO sink_changes SELECT DISTINCT sink, ?, 1 FROM sink_changes WHERE path IN (SELECT value FROM json_each(?))`,
    ).run(path, list)
    db.prepare(`DELETE FROM sink_changes WHERE path IN (SELECT value FROM json_each(?))`).run(list)
    db.prepare(`UPDATE joins SET state = 'joined' WHERE id = ?`).run(id)
  })

  /** From here on the books name the new file. */
  function join(written: Join): void {
    joinNow.immediate(written)
  }

  function end(id: string): void {
    db.prepare(`DELETE FROM joins WHERE id = ?`).run(id)
  }

  function open(): Join[] {
    const rows = db
      .prepare(
        `SELECT id, state, path, staged, log_type AS logType, rows, bytes, committed_at AS committedAt, sources, captures FROM joins`,
      )
      .all() as (Omit<Join, 'sources' | 'captures'> & { sources: string; captures: string })[]
    return rows.map((row) => ({ ...row, sources: JSON.parse(row.sources), captures: JSON.parse(row.captures) }))
  }

  return { begin, written, join, end, open }
}

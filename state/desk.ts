/** What an analyst keeps: saved queries, and the history of those that were run. */

import type { Database } from './database.ts'

export interface SavedQueryRow {
  id: number
  name: string
  sql: string
  about: string
  user: string | null
  updatedAt: number
}

export interface HistoryRow {
  id: number
  at: number
  user: string | null
  sql: string
  outcome: string
  rows: number | null
  elapsedMs: number | null
}

export type Desk = ReturnType<typeof createDesk>

const HISTORY_ROWS = 5000
const SAVED = `SELECT id, name, sql, about, user, updated_at AS updatedAt FROM saved_queries`

export function createDesk(db: Database) {
  function saved(): SavedQueryRow[] {
    return db.prepare(`${SAVED} ORDER BY name`).all() as SavedQueryRow[]
  }

  /** One of the same name is replaced. */
  function save({ name, sql, about, user }: Pick<SavedQueryRow, 'name' | 'sql' | 'about' | 'user'>): SavedQueryRow {
    db.prepare(
      `INSERT INTO saved_queries (name, sql, about, user, updated_at) VALUES (@name, @sql, @about, @user, @now)
       ON CONFLICT (name) DO UPDATE SET sql = @sql, about = @about, user = @user, updated_at = @now`,
    ).run({ name, sql, about, user, now: Date.now() })
    return db.prepare(`${SAVED} WHERE name = ?`).get(name) as SavedQueryRow
  }

  function removeSaved(id: number): boolean {
    return db.prepare(`DELETE FROM saved_queries WHERE id = ?`).run(id).changes === 1
  }

  /** The newest rows are kept. */
  function note({ user, sql, outcome, rows, elapsedMs }: Omit<HistoryRow, 'id' | 'at'>, now = Date.now()): void {
    const { lastInsertRowid } = db
      .prepare(`INSERT INTO query_history (at, user, sql, outcome, rows, elapsed_ms) VALUES (?, ?, ?, ?, ?, ?)`)
      .run(now, user, sql, outcome, rows, elapsedMs)
    db.prepare(`DELETE FROM query_history WHERE id <= ?`).run(Number(lastInsertRowid) - HISTORY_ROWS)
  }

  /** Newest first. */
  function history(limit: number): HistoryRow[] {
    return db
      .prepare(
        `SELECT id, at, user, sql, outcome, rows, elapsed_ms AS elapsedMs FROM query_history ORDER BY id DESC LIMIT ?`,
      )
      .all(limit) as HistoryRow[]
  }

  return { saved, save, removeSaved, note, history }
}

/** The page's users, and what was done that someone may ask about later. Passwords come here hashed. */

import type { Database } from './database.ts'

export interface AuditEntry {
  user: string | null
  remote: string
  /** `log-in`, `log-in refused`, `sql`, `forget`, … */
  action: string
  detail: string
}

export type AuditRow = AuditEntry & { id: number; at: number }

export type Accounts = ReturnType<typeof createAccounts>

const AUDIT_ROWS = 100_000

export function createAccounts(db: Database) {
  function set(name: string, password: string, now = Date.now()): void {
    db.prepare(
      `INSERT INTO accounts VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET password = excluded.password`,
    ).run(name, password, now)
  }

  function passwordOf(name: string): string | undefined {
    return db.prepare(`SELECT password FROM accounts WHERE name = ?`).pluck().get(name) as string | undefined
  }

  /** Answers whether it was there. */
  function remove(name: string): boolean {
    return db.prepare(`DELETE FROM accounts WHERE name = ?`).run(name).changes === 1
  }

  function names(): string[] {
    return db.prepare(`SELECT name FROM accounts ORDER BY name`).pluck().all() as string[]
  }

  /** The newest rows are kept, a hundred thousand of them. */
  function audit({ user, remote, action, detail }: AuditEntry, now = Date.now()): void {
    const { lastInsertRowid } = db
      .prepare(`INSERT INTO audit (at, user, remote, action, detail) VALUES (?, ?, ?, ?, ?)`)
      .run(now, user, remote, action, detail.slice(0, 4000))
    db.prepare(`DELETE FROM audit WHERE id <= ?`).run(Number(lastInsertRowid) - AUDIT_ROWS)
  }

  /** Newest first. */
  function audited(limit: number): AuditRow[] {
    return db
      .prepare(`SELECT id, at, user, remote, action, detail FROM audit ORDER BY id DESC LIMIT ?`)
      .all(limit) as AuditRow[]
  }

  return { set, passwordOf, remove, names, audit, audited }
}

/**
 * The SQLite file behind the ledger: opened, made durable, migrated.
 *
 * Several processes open it at once (WAL). `synchronous=FULL` is set by us, since a commit that a power cut
 * takes back would break every promise that stands on it, and the library's build defaults to NORMAL.
 */

import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { messageOf, PipelineError } from './errors.ts'
import { migrations } from './migrations.ts'

export type Database = BetterSqlite3.Database

export function openDatabase(path: string): Database {
  mkdirSync(dirname(path), { recursive: true })
  try {
    const db = new BetterSqlite3(path, { timeout: 30_000 })
    db.pragma('journal_mode = WAL')
    db.pragma('synchronous = FULL')
    db.pragma('foreign_keys = ON')
    migrate(db, path)
    return db
  } catch (error) {
    if (error instanceof PipelineError) throw error
    throw new PipelineError(
      'ledger_damaged',
      `the ledger ${path} cannot be opened (${messageOf(error)}); check its permissions and the disk, or restore a copy of it`,
      { cause: error },
    )
  }
}

/** SQL for what a file of so many bytes takes: whole blocks. */
export function onDisk(bytes: string): string {
  return `((${bytes} + 4095) / 4096 * 4096)`
}

function migrate(db: Database, path: string): void {
  db.transaction(() => {
    const version = db.pragma('user_version', { simple: true }) as number
    if (version > migrations.length) {
      throw new PipelineError(
        'ledger_damaged',
        `the ledger ${path} was written by a newer version (schema ${version}, this version knows ${migrations.length}); start that version instead`,
      )
    }
    for (const step of migrations.slice(version)) db.exec(step)
    if (version < migrations.length) db.pragma(`user_version = ${migrations.length}`)
  }).immediate()
}

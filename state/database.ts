/**
 * The SQLite file behind the ledger: opened, made durable, migrated.
 *
 * Several processes open it at once (WAL). `synchronous=FULL` is set by us, since a commit that a power cut
 * takes back would break every promise that stands on it, and the library's build defaults to NORMAL. Before a
 * migration a copy is kept, with which the version before can go on.
 */

import { closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { copyBefore, newestCopyFor } from './before-migration.ts'
import { messageOf, PipelineError } from './errors.ts'
import { migrations } from './migrations.ts'
import { checkNotBeingReplaced } from './replacement.ts'

export type Database = BetterSqlite3.Database

export function openDatabase(path: string): Database {
  mkdirSync(dirname(path), { recursive: true })
  checkNotBeingReplaced(path)
  try {
    // SQLite makes files that a group can never write; those beside the ledger get the mode of the ledger.
    closeSync(openSync(path, 'a', 0o664))
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
      `the ledger ${path} cannot be opened (${messageOf(error)}); check its permissions and the disk; \`doctor\` says more, \`restore\` puts a backup in its place, \`rebuild\` makes it anew`,
      { cause: error },
    )
  }
}

/** SQL for what a file of so many bytes takes: whole blocks. */
export function onDisk(bytes: string): string {
  return `((${bytes} + 4095) / 4096 * 4096)`
}

function migrate(db: Database, path: string): void {
  const before = versionOf(db)
  if (before > migrations.length) throw tooNew(path, before)
  if (before > 0 && before < migrations.length) copyBefore(db, path, before, migrations.length)
  db.transaction(() => {
    // Another process may have been faster.
    const version = versionOf(db)
    if (version > migrations.length) throw tooNew(path, version)
    for (const step of migrations.slice(version)) db.exec(step)
    if (version < migrations.length) db.pragma(`user_version = ${migrations.length}`)
  }).immediate()
}

export function versionOf(db: Database): number {
  return db.pragma('user_version', { simple: true }) as number
}

function tooNew(path: string, version: number): PipelineError {
  const copy = newestCopyFor(path, migrations.length)
  const back = copy === undefined ? '' : `, or go back with \`restore ${copy}\`, which converts again what came since`
  return new PipelineError(
    'ledger_damaged',
    `the ledger ${path} was written by a newer version (schema ${version}, this version knows ${migrations.length}); start that version instead${back}`,
  )
}

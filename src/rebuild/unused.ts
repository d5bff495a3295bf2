/** Whether a ledger is nobody's but ours: asked of /proc, and of SQLite, which sees into other containers. */

import { realpathSync } from 'node:fs'
import BetterSqlite3 from 'better-sqlite3'
import { holdersOf } from '../../stages/open-files.ts'
import { PipelineError } from '../../state/errors.ts'

/** Throws `io` and names the processes that use it. */
export function checkUnused(ledger: string): void {
  const paths = ['', '-wal', '-shm'].map((end) => `${ledger}${end}`)
  const holders = holdersOf(new Set(paths.map(real)))
  if (holders.length > 0) throw inUse(ledger, `process ${holders.join(', ')}`)
  if (isLocked(ledger)) throw inUse(ledger, 'a process that cannot be seen from here')
}

function inUse(ledger: string, by: string): PipelineError {
  return new PipelineError('io', `the ledger ${ledger} is in use by ${by}; stop the pipeline first`)
}

/** Every connection to a ledger keeps a shared lock on it. */
function isLocked(ledger: string): boolean {
  let db: BetterSqlite3.Database
  try {
    db = new BetterSqlite3(ledger, { fileMustExist: true, timeout: 0 })
  } catch {
    return false
  }
  try {
    db.pragma('locking_mode = EXCLUSIVE')
    db.prepare('SELECT count(*) FROM sqlite_master').get()
    return false
  } catch (error) {
    // Anything else is damage, which is why we are here.
    return error instanceof BetterSqlite3.SqliteError && error.code.startsWith('SQLITE_BUSY')
  } finally {
    db.close()
  }
}

function real(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

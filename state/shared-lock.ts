/**
 * A lock that many may share and one may have alone, over all processes of a host.
 *
 * In: a path of a file that is nothing else. It stands on the file locks of SQLite, which the kernel takes back when a
 * process ends, however it ends: nothing is ever left over. The file stays empty.
 */

import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { messageOf, PipelineError } from './errors.ts'

export interface SharedLock {
  /** Waits while somebody has it alone, which is never long. Throws `io` when it cannot be had. */
  share(): Disposable
  /** Nobody shares it, and nobody begins to, until it is disposed of; undefined when it is shared at this moment. */
  tryAlone(): Disposable | undefined
}

const SHARE_PATIENCE_MS = 30_000
/** Those who want to share it meanwhile wait. */
const ALONE_PATIENCE_MS = 200

export function openSharedLock(path: string): SharedLock {
  function begin(timeout: number, statement: string): Disposable {
    mkdirSync(dirname(path), { recursive: true })
    const db = new BetterSqlite3(path, { timeout })
    try {
      // Without it the files of a journal would lie about; nothing is ever written.
      db.pragma('journal_mode = MEMORY')
      db.exec(statement)
    } catch (error) {
      db.close()
      throw error
    }
    return { [Symbol.dispose]: () => void db.close() }
  }

  return {
    share() {
      try {
        return begin(SHARE_PATIENCE_MS, 'BEGIN; SELECT count(*) FROM sqlite_master')
      } catch (cause) {
        throw new PipelineError('io', `the lock ${path} cannot be had: ${messageOf(cause)}`, { retryable: true, cause })
      }
    },
    tryAlone() {
      try {
        return begin(ALONE_PATIENCE_MS, 'BEGIN EXCLUSIVE')
      } catch (error) {
        if (error instanceof BetterSqlite3.SqliteError && error.code.startsWith('SQLITE_BUSY')) return undefined
        throw error
      }
    },
  }
}

/** Of those who read the dataset, by the cache folder beside which they work. */
export function readersLock(cacheDir: string): SharedLock {
  return openSharedLock(`${cacheDir}/readers.lock`)
}

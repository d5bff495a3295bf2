/**
 * A copy of the ledger as it is at one instant, while others go on writing it (SQLite's online backup).
 *
 * In: the ledger, and a name. Out: one file under that name, checked and flushed to the disk, or nothing. A copy that
 * was there before is replaced in one step.
 */

import { closeSync, mkdirSync, openSync, readSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { messageOf, PipelineError } from './errors.ts'
import { flushSync } from './flush.ts'

export interface Backup {
  path: string
  bytes: number
}

/** Pages in one step: all, so that a busy ledger does not make it begin again and again. */
const ALL = 0x7fffffff
const MAGIC = 'SQLite format 3\0'

/** Throws `usage` for a target that would be spoiled, `ledger_damaged` when the copy is not whole, and `io`. */
export async function backupLedger(ledger: string, target: string, now = new Date()): Promise<Backup> {
  if (statSync(ledger, { throwIfNoEntry: false }) === undefined)
    throw new PipelineError('usage', `there is no ledger ${ledger} to copy`)
  const path = targetFile(resolve(target), now)
  checkTarget(path, ledger)
  const part = `${path}.${process.pid}.part`
  try {
    mkdirSync(dirname(path), { recursive: true })
    // Made first: what is in it is for its owner alone.
    closeSync(openSync(part, 'w', 0o600))
    await copy(ledger, part)
    check(part)
    flushSync(part)
    renameSync(part, path)
    flushSync(dirname(path))
  } catch (cause) {
    if (cause instanceof PipelineError) throw cause
    throw new PipelineError('io', `the ledger cannot be copied to ${path}: ${messageOf(cause)}`, { cause })
  } finally {
    for (const end of ['', '-wal', '-shm', '-journal']) rmSync(`${part}${end}`, { force: true })
  }
  return { path, bytes: statSync(path).size }
}

function targetFile(target: string, now: Date): string {
  const isFolder = statSync(target, { throwIfNoEntry: false })?.isDirectory() ?? false
  const time = now.toISOString().replaceAll(/[-:]|\.\d+/g, '')
  return isFolder ? join(target, `pipeline-${time}.db`) : target
}

function checkTarget(path: string, ledger: string): void {
  const there = statSync(path, { throwIfNoEntry: false })
  if (there === undefined) return
  const { dev, ino } = statSync(ledger)
  if (there.dev === dev && there.ino === ino)
    throw new PipelineError('usage', `${path} is the ledger itself; name another file, or a folder`)
  if (!there.isFile() || !isDatabase(path))
    throw new PipelineError('usage', `${path} is there and is no backup; it is not written over`)
}

function isDatabase(path: string): boolean {
  const head = Buffer.alloc(MAGIC.length)
  const file = openSync(path, 'r')
  try {
    return readSync(file, head) === head.length && head.toString('latin1') === MAGIC
  } finally {
    closeSync(file)
  }
}

async function copy(from: string, to: string): Promise<void> {
  // Not by openDatabase: an older ledger is copied as it is.
  const db = new BetterSqlite3(from, { readonly: true, fileMustExist: true, timeout: 30_000 })
  try {
    await db.backup(to, { progress: () => ALL })
  } finally {
    db.close()
  }
}

/** Also makes one file of it: the copy takes over that the ledger keeps a log beside it. */
function check(path: string): void {
  const db = new BetterSqlite3(path, { fileMustExist: true })
  try {
    db.pragma('journal_mode = DELETE')
    const verdict = db.pragma('integrity_check', { simple: true })
    if (verdict !== 'ok')
      throw new PipelineError(
        'ledger_damaged',
        `the copy is damaged, as the ledger is: ${verdict}; see \`doctor\`, and \`rebuild\``,
      )
  } finally {
    db.close()
  }
}

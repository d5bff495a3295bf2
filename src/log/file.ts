/**
 * Appends lines to a file that never grows beyond its bound: put aside as `.1`, `.2` … when full, the oldest
 * removed. Several processes may write to the same file: each line is one append, and before each a look at the
 * name tells whether another process has put the file aside. Where files cannot be put aside (a folder without
 * the right to write), the file starts again from nothing at twice its size.
 *
 * A file that cannot be written (a full disk, a missing right) is no reason to end: its lines are counted and
 * it is tried again every so often.
 */

import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { errnoOf, messageOf } from '../../state/errors.ts'

export interface LogFileOptions {
  path: string
  /** Size at which the file is put aside. */
  maxBytes: number
  /** Files kept, the current one included. */
  maxFiles: number
  /** Called once when writing fails, and once when it succeeds again, with how many lines were lost. */
  onTrouble: (reason: string) => void
  onRecovery: (linesLost: number) => void
}

export interface LogFile {
  /** Written when it returns, or counted as lost. */
  append(line: string): void
  close(): void
}

const RETRY_AFTER_MS = 10_000
/** Putting files aside takes microseconds: who holds the right for longer has been killed. */
const STALE_LOCK_MS = 5000
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT

export function openLogFile({ path, maxBytes, maxFiles, onTrouble, onRecovery }: LogFileOptions): LogFile {
  let fd: number | undefined
  let lost = 0
  let retryAt = 0
  /** A line that only part of found room; the next one starts on a line of its own. */
  let isTorn = false

  function append(line: string): void {
    if (lost > 0 && performance.now() < retryAt) {
      lost++
      return
    }
    try {
      write(line)
    } catch (error) {
      fail(error)
      return
    }
    if (lost > 0) {
      const linesLost = lost
      lost = 0
      onRecovery(linesLost)
    }
  }

  function write(line: string): void {
    const bytes = Buffer.from(isTorn ? `\n${line}\n` : `${line}\n`)
    prepare(bytes.length)
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(fd as number, bytes, done)
      isTorn = done < bytes.length
    }
  }

  /** Leaves `fd` open on the file that bears the name now, with room for the line. */
  function prepare(bytes: number): void {
    let current = statOf(path)
    if (fd !== undefined && !isSame(fstatSync(fd), current)) close()
    if (current?.isFile() && current.size > 0 && current.size + bytes > maxBytes) {
      close()
      const canPutAside = putAside(path, bytes, { maxBytes, maxFiles })
      current = statOf(path)
      if (!canPutAside && current && current.size > 2 * maxBytes) truncateSync(path)
    }
    if (fd !== undefined) return
    if (current === undefined) mkdirSync(dirname(path), { recursive: true })
    fd = openSync(path, APPEND, 0o660)
  }

  function fail(error: unknown): void {
    close()
    retryAt = performance.now() + RETRY_AFTER_MS
    lost++
    if (lost === 1) onTrouble(messageOf(error))
  }

  function close(): void {
    if (fd === undefined) return
    const old = fd
    fd = undefined
    try {
      closeSync(old)
    } catch {
      // nothing more can be done with it
    }
  }

  return { append, close }
}

/**
 * One process at a time puts files aside; the others go on with the full one until it is done.
 * False where it can never be done, for want of the right to write in the folder.
 */
function putAside(
  path: string,
  bytes: number,
  { maxBytes, maxFiles }: { maxBytes: number; maxFiles: number },
): boolean {
  const lock = `${path}.lock`
  const taken = take(lock)
  if (taken !== 'mine') return taken === 'held'
  try {
    const current = statOf(path)
    if (current === undefined || current.size + bytes <= maxBytes) return true
    const names = [path, ...Array.from({ length: maxFiles - 1 }, (_, i) => `${path}.${i + 1}`)]
    rmSync(names.at(-1) as string, { force: true })
    for (let i = names.length - 2; i >= 0; i--) moveIfThere(names[i] as string, names[i + 1] as string)
    return true
  } finally {
    rmSync(lock, { force: true })
  }
}

function take(lock: string): 'mine' | 'held' | 'impossible' {
  try {
    const held = statOf(lock)
    if (held && Date.now() - held.mtimeMs > STALE_LOCK_MS) rmSync(lock, { force: true })
    closeSync(openSync(lock, 'wx'))
    return 'mine'
  } catch (error) {
    return errnoOf(error) === 'EEXIST' ? 'held' : 'impossible'
  }
}

function moveIfThere(from: string, to: string): void {
  if (statOf(from)) renameSync(from, to)
}

function statOf(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false })
}

function isSame(a: Stats, b: Stats | undefined): boolean {
  return a.ino === b?.ino && a.dev === b.dev
}

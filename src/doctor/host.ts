/** The host as the checks see it: its settings, its folders, its ledger (read, never opened for writing), its clock. */

import { existsSync, readFileSync, statSync } from 'node:fs'
import BetterSqlite3 from 'better-sqlite3'
import type { Database } from '../../state/database.ts'
import type { Layout } from '../../state/layout.ts'
import type { Config } from '../config.ts'

export interface Host {
  config: Config
  layout: Layout
  /** Looks into every file, too. */
  deep: boolean
  now(): number
  /** Undefined where there is none; throws what SQLite says of one that cannot be read. */
  ledger(): Database | undefined
}

export interface HostOptions {
  config: Config
  layout: Layout
  deep: boolean
  now?: () => number
}

/** Up to this size a ledger that nobody uses is read into memory, which leaves no file beside it. */
const IN_MEMORY_BYTES = 512 * 1024 * 1024

export function openHost({ config, layout, deep, now = Date.now }: HostOptions): Host & Disposable {
  let opened: Database | undefined
  return {
    ...{ config, layout, deep, now },
    ledger() {
      if (!existsSync(layout.ledger)) return undefined
      opened ??= openReadOnly(layout.ledger)
      return opened
    },
    [Symbol.dispose]: () => void opened?.close(),
  }
}

/** A reader of a file in WAL mode makes files beside it, unless they are there. */
function openReadOnly(path: string): Database {
  const before = statSync(path)
  if (!existsSync(`${path}-wal`) && before.size > 0 && before.size <= IN_MEMORY_BYTES) {
    const bytes = readFileSync(path)
    const after = statSync(path)
    if (!existsSync(`${path}-wal`) && after.mtimeMs === before.mtimeMs && after.size === before.size)
      return new BetterSqlite3(withoutWal(bytes))
  }
  return new BetterSqlite3(path, { readonly: true, fileMustExist: true, timeout: 10_000 })
}

/** A database in memory has no log beside it. Bytes 18 and 19 of the header: https://www.sqlite.org/fileformat.html */
function withoutWal(bytes: Buffer): Buffer {
  if (bytes[18] === 2 && bytes[19] === 2) bytes.fill(1, 18, 20)
  return bytes
}

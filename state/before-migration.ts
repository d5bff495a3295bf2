/**
 * The copies of the ledger that are made before a migration: `<ledger>.before-v<N>`, as it was before it became schema N.
 * The version before can go on with one. The newest few are kept.
 */

import { readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { messageOf, PipelineError } from './errors.ts'
import { flushSync } from './flush.ts'

const KEPT = 3
const NAME = /\.before-v(\d+)$/

/** Throws `io` when there is no copy afterwards: then nothing is migrated. */
export function copyBefore(db: BetterSqlite3.Database, path: string, from: number, to: number): void {
  const copy = `${path}.before-v${to}`
  const part = `${copy}.${process.pid}.part`
  try {
    rmSync(part, { force: true })
    db.prepare(`VACUUM INTO ?`).run(part)
    // Another process may have migrated in the meantime; then the copy is its.
    if (versionIn(part) === from) {
      flushSync(part)
      renameSync(part, copy)
      flushSync(dirname(path))
    }
  } catch (cause) {
    throw new PipelineError(
      'io',
      `the ledger ${path} is of an older schema, and no copy of it can be made before it is migrated (${messageOf(cause)}); free some space beside it`,
      { cause },
    )
  } finally {
    rmSync(part, { force: true })
  }
  for (const { path: old } of copiesOf(path).slice(KEPT)) rmSync(old, { force: true })
}

/** The newest copy that a version with this schema can read. */
export function newestCopyFor(path: string, schema: number): string | undefined {
  return copiesOf(path).find(({ version }) => version <= schema + 1)?.path
}

/** The newest first. */
function copiesOf(path: string): { path: string; version: number }[] {
  const own = basename(path)
  const names = readdirSync(dirname(path)).filter((name) => name.startsWith(own) && NAME.test(name.slice(own.length)))
  return names
    .map((name) => ({ path: join(dirname(path), name), version: Number(NAME.exec(name)?.[1]) }))
    .sort((a, b) => b.version - a.version)
}

function versionIn(path: string): number {
  const db = new BetterSqlite3(path, { readonly: true, fileMustExist: true })
  try {
    return db.pragma('user_version', { simple: true }) as number
  } finally {
    db.close()
  }
}

/**
 * Removes what a retention plan names.
 *
 * Each removal is recorded before it is done: a file is taken out of the books and put on the list of those that leave in
 * one transaction, together with the number of rows of each capture that go with it, so that receipts still balance.
 * Whoever dies then leaves a list that the next run works off. Queries of ours are waited for, within a limit.
 */

import { lstatSync, rmdirSync, rmSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import type { Log } from '../../stages/ports.ts'
import { NO_CAPTURE } from '../../state/capture.ts'
import { messageOf } from '../../state/errors.ts'
import { keysPathOf, type Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { readersLock } from '../../state/shared-lock.ts'
import { list, rowsOf } from '../query/sql.ts'
import { slices } from '../slices.ts'
import { tryDatasetLock } from './lock.ts'
import type { RetentionPlan } from './retention-plan.ts'

export interface RetentionParts {
  ledger: Ledger
  layout: Layout
  log: Log
}

export interface Removed {
  captures: number
  quarantine: number
  files: number
  rows: number
  bytes: number
}

const AT_ONCE = 50
const READERS_PATIENCE_MS = 20_000
const LOOK_MS = 250

export async function applyRetention(
  parts: RetentionParts,
  plan: RetentionPlan,
  signal?: AbortSignal,
): Promise<Removed> {
  const removed: Removed = { captures: 0, quarantine: 0, files: 0, rows: 0, bytes: 0 }
  await finishLeaving(parts)
  for (const some of slices(plan.captures, AT_ONCE)) {
    if (signal?.aborted) return removed
    await removeCaptureFiles(parts, some, removed)
  }
  for (const { path, bytes } of plan.quarantine) {
    rmSync(join(parts.layout.dataDir, path), { force: true })
    parts.ledger.commits.dropFile(path)
    removed.quarantine++
    removed.bytes += bytes
  }
  for (const some of slices(plan.files, AT_ONCE)) {
    if (signal?.aborted) return removed
    await removeRows(parts, some, removed)
  }
  return removed
}

/**
 * A capture that has come into work again since the plan was made keeps its file. Its keys are of no use without it; its
 * account stays, which proves its rows should the ledger be lost.
 */
async function removeCaptureFiles(
  parts: RetentionParts,
  captures: RetentionPlan['captures'],
  removed: Removed,
): Promise<void> {
  const { ledger, layout } = parts
  ledger.transaction(() => {
    for (const { id, path, bytes } of captures) {
      if (!ledger.captures.markFileRemoved(id)) continue
      for (const leaving of [path, relative(layout.dataDir, keysPathOf(layout, id))]) {
        const identity = identityOf(join(layout.dataDir, leaving))
        if (leaving === path || identity !== GONE) ledger.retention.addLeaving({ path: leaving, identity })
      }
      removed.captures++
      removed.bytes += bytes
    }
  })
  await finishLeaving(parts)
}

async function removeRows(parts: RetentionParts, files: RetentionPlan['files'], removed: Removed): Promise<void> {
  const { ledger, layout, log } = parts
  {
    using lock = tryDatasetLock(parts)
    if (lock === undefined) return
    const known = new Set(ledger.commits.publishedWithTime(files.map(({ path }) => path)).map(({ path }) => path))
    const there = files.filter((file) => known.has(file.path))
    const counts = await rowsByCapture(there.map(({ path }) => join(layout.dataDir, path)))
    for (const { path, logType, bytes } of there) {
      const full = join(layout.dataDir, path)
      const rows = counts.get(full)
      if (!Array.isArray(rows)) {
        log.warn('a file of the dataset is kept, for it is not known whose rows are in it', {
          file: path,
          error: messageOf(rows),
        })
        continue
      }
      ledger.transaction(() => {
        ledger.commits.dropFile(path)
        for (const [captureId, n] of rows) {
          ledger.retention.addRemovedRows(captureId, logType, n)
          removed.rows += n
        }
        ledger.retention.addLeaving({ path, identity: identityOf(full) })
      })
      removed.files++
      removed.bytes += bytes
    }
  }
  await finishLeaving(parts)
}

type RowsByCapture = [captureId: string, rows: number][]

/** By one instance, which costs more than what it reads here; of a file that cannot be read, why. */
async function rowsByCapture(paths: readonly string[]): Promise<Map<string, RowsByCapture | Error>> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '1', memory_limit: '192MB' })
  const connection = await instance.connect()
  const found = new Map<string, RowsByCapture | Error>()
  try {
    for (const path of paths) {
      const sql = `SELECT coalesce(capture_id, '${NO_CAPTURE}'), count(*) FROM read_parquet(${list([path])}, hive_partitioning = false) GROUP BY 1`
      const rows = await rowsOf(connection, sql).catch((error: Error) => error)
      found.set(path, rows instanceof Error ? rows : rows.map(([id, n]) => [String(id), Number(n)]))
    }
    return found
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

/** Deletes what is out of the books, whoever took it out. */
export async function finishLeaving({ ledger, layout }: Pick<RetentionParts, 'ledger' | 'layout'>): Promise<void> {
  const leaving = ledger.retention.leaving()
  if (leaving.length === 0) return
  using _alone = leaving.some(({ path }) => path.endsWith('.parquet')) ? await aloneWithin(layout.cache) : undefined
  for (const { path, identity } of leaving) {
    const full = join(layout.dataDir, path)
    if (identityOf(full) === identity) rmSync(full, { force: true })
    removeEmptyFolders(dirname(full), layout.parquet)
  }
  ledger.transaction(() => {
    for (const { path } of leaving) ledger.retention.hasLeft(path)
  })
}

/** After that long a query fails rather than the disk fills. */
async function aloneWithin(cache: string): Promise<Disposable | undefined> {
  const deadline = Date.now() + READERS_PATIENCE_MS
  const lock = readersLock(cache)
  for (;;) {
    const alone = lock.tryAlone()
    if (alone !== undefined || Date.now() > deadline) return alone
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

function removeEmptyFolders(dir: string, root: string): void {
  const below = relative(root, dir)
  if (below === '' || below.startsWith('..')) return
  try {
    rmdirSync(dir)
  } catch {
    return
  }
  removeEmptyFolders(dirname(dir), root)
}

/** The same name may be given to another file. */
const GONE = 'gone'

function identityOf(path: string): string {
  try {
    const { ino, size, mtimeMs } = lstatSync(path)
    return `${ino} ${size} ${mtimeMs}`
  } catch {
    return GONE
  }
}

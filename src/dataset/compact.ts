/**
 * Joins the small files of closed hours, so that a query opens few.
 *
 * In: this ledger's files. Out: the same rows in the same order within each file that was joined, under the same ids.
 * Files of other ledgers over the same dataset are never touched. Safe to repeat and to be killed: see join-swap.ts.
 */

import { randomBytes } from 'node:crypto'
import { basename, join } from 'node:path'
import type { Log } from '../../stages/ports.ts'
import { messageOf } from '../../state/errors.ts'
import type { Join } from '../../state/joins.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { type DiskLimits, type DiskMeter, leftOf } from '../disk/use.ts'
import { type DatedFile, type JoinGroup, planJoins } from './compaction-plan.ts'
import { type JoinTools, openJoinTools } from './join-files.ts'
import { abandon, swap, writeNote } from './join-swap.ts'
import { tryDatasetLock } from './lock.ts'

export interface CompactParts {
  ledger: Ledger
  layout: Layout
  log: Log
  /** Of an hour's end and of a file's loading. */
  afterMs: number
  /** Whether so many bytes may be taken for a while. */
  hasSpace(bytes: number): boolean
}

export interface Compaction {
  /** Files that were joined, and what they became. */
  joined: number
  into: number
  rows: number
  /** Groups that could not be joined now: no space, something else at work, or queries that left no moment for it. */
  postponed: number
  bytesBefore: number
  bytesAfter: number
}

const MEMORY_LIMIT = '256MB'
const TRIES = 20
/** Longer than those who wait for the dataset's lock look at it. */
const PAUSE_MS = 250

export function groupsToJoin({ ledger, afterMs }: Pick<CompactParts, 'ledger' | 'afterMs'>, now = Date.now()) {
  return planJoins(ledger.commits.publishedWithTime(), { afterMs, now })
}

/** Goes on until nothing is left to join, or the signal. */
export async function compact(parts: CompactParts, signal?: AbortSignal): Promise<Compaction> {
  const total: Compaction = { joined: 0, into: 0, rows: 0, postponed: 0, bytesBefore: 0, bytesAfter: 0 }
  const tools = await openJoinTools({ tempDir: join(parts.layout.cache, 'compact.tmp'), memoryLimit: MEMORY_LIMIT })
  try {
    // What was joined may be as large as its neighbours now; what could not be joined is not tried again.
    const tried = new Set<string>()
    for (;;) {
      const groups = groupsToJoin(parts).filter((group) => !tried.has(keyOf(group)))
      if (groups.length === 0) return total
      for (const group of groups) {
        if (signal?.aborted) return total
        tried.add(keyOf(group))
        if (!(await joinGroup(parts, tools, group, total, signal))) total.postponed++
        await pause(PAUSE_MS)
      }
    }
  } finally {
    tools.close()
  }
}

/** The old files stay until the new one is there. */
export function spaceFor(meter: DiskMeter, limits: DiskLimits): CompactParts['hasSpace'] {
  return (bytes) => {
    const { budget, floor } = leftOf(meter.measure(), limits)
    return Math.min(budget, floor) > bytes
  }
}

function keyOf({ files }: JoinGroup): string {
  return files.map(({ path }) => path).join(' ')
}

async function joinGroup(
  parts: CompactParts,
  tools: JoinTools,
  { logType, dir, files }: JoinGroup,
  total: Compaction,
  signal?: AbortSignal,
): Promise<boolean> {
  using lock = tryDatasetLock(parts)
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  if (lock === undefined || !parts.hasSpace(bytes)) return false
  // Something else may have rewritten or removed some of them since they were listed.
  const now = parts.ledger.commits.publishedWithTime(files.map(({ path }) => path))
  const byNow = new Map(now.map((file) => [file.path, file]))
  const current = files.flatMap(({ path }) => byNow.get(path) ?? [])
  let isDone = true
  try {
    const { dataDir } = parts.layout
    const byPath = new Map(current.map((file) => [join(dataDir, file.path), file]))
    for (const paths of await tools.compatible([...byPath.keys()])) {
      const some = paths.map((path) => byPath.get(path) as DatedFile)
      if (some.length > 1) isDone = (await joinFiles(parts, tools, logType, dir, some, total, signal)) && isDone
    }
  } catch (error) {
    parts.log.warn('files of the dataset could not be joined; they stay as they are', {
      folder: dir,
      error: messageOf(error),
    })
    isDone = false
  }
  return isDone
}

async function joinFiles(
  parts: CompactParts,
  tools: JoinTools,
  logType: string,
  dir: string,
  files: readonly DatedFile[],
  total: Compaction,
  signal?: AbortSignal,
): Promise<boolean> {
  const { ledger, layout, log } = parts
  const started = Date.now()
  const id = `join-${randomBytes(8).toString('hex')}`
  const [prefix] = basename(files.at(-1)?.path ?? '').split(`_${logType}_`)
  const name = `${prefix}_${logType}_${id}.parquet`
  const begun = {
    ...{ id, logType, path: join(dir, name), staged: join(dir, `.${name}.joining`) },
    committedAt: Math.max(...files.map(({ committedAt }) => committedAt)),
    sources: files.map(({ path }) => path),
  }
  ledger.joins.begin(begun)
  try {
    const written = await tools.join(
      begun.sources.map((path) => join(layout.dataDir, path)),
      join(layout.dataDir, begun.staged),
    )
    writeNote(parts, begun)
    ledger.joins.written(id, written)
    if (!(await swapWhenQuiet(parts, { ...begun, ...written, state: 'written' }, signal))) {
      abandon(parts, begun)
      return false
    }
    total.joined += files.length
    total.into++
    total.rows += written.rows
    total.bytesBefore += files.reduce((sum, { bytes }) => sum + bytes, 0)
    total.bytesAfter += written.bytes
    log.debug('joined files of the dataset', {
      folder: dir,
      files: files.length,
      rows: written.rows,
      ms: Date.now() - started,
    })
    return true
  } catch (error) {
    // Not when it came to pass: then whoever takes the lock next goes on from there.
    if (ledger.joins.open().some((open) => open.id === id && open.state === 'begun')) abandon(parts, begun)
    throw error
  }
}

/** Queries come first. */
async function swapWhenQuiet(parts: CompactParts, written: Join, signal?: AbortSignal): Promise<boolean> {
  for (let tries = 0; tries < TRIES && !signal?.aborted; tries++) {
    if (swap(parts, written)) return true
    await pause(PAUSE_MS)
  }
  return false
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

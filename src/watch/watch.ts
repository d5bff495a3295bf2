/**
 * Watch lists at work: while rows are loaded, and over what is loaded already.
 *
 * In: files that hold rows. Out: flags in them, the same flags by event for who else tells of these, hits in the ledger. The lists are read again when they have changed,
 * so that a change counts from the next load on. Loading without any list costs nothing.
 */

import { join, relative, resolve } from 'node:path'
import { createEventFlags } from '../../stages/event-flags.ts'
import type { SinkRequest, SinkResult } from '../../stages/ports.ts'
import type { Rules } from '../../stages/upload/rules.ts'
import { PipelineError } from '../../state/errors.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { NewHit } from '../../state/watch-lists.ts'
import { datasetLock } from '../dataset/lock.ts'
import { fromDuckDb } from '../sinks/parquet/failures.ts'
import { slices } from '../slices.ts'
import { type FlagFile, type Flagger, type FlagHow, openFlagger } from './flag.ts'
import { createMatcher, type Matcher } from './matcher.ts'

export interface WatchParts {
  ledger: Ledger
  rules(): Promise<Rules>
  memoryLimit: string
}

export interface Watch {
  /** Flags the staged files of a load. In the result their sizes follow, and, where that is wanted, the flags by event. */
  flagStaged(request: SinkRequest, result: SinkResult): Promise<void>
}

export interface LoadParts extends WatchParts {
  /** The flags are told by event, too, for others than the tables. */
  tellsEvents: boolean
}

export function createWatch({ ledger, rules, memoryLimit, tellsEvents }: LoadParts): Watch {
  let version = -1
  let matcher = createMatcher({ employees: [], computers: [], indicators: [], leases: [] })

  function current(): Matcher {
    const now = ledger.watch.version()
    if (now !== version) matcher = matcherOf(ledger)
    version = now
    return matcher
  }

  return {
    async flagStaged({ stagingDir, commitId, signal }, result) {
      if (current().isEmpty || result.files.length === 0) return
      const files = result.files.map(({ path, logType }) => ({ path: join(stagingDir, path), logType }))
      const macs = matcher.macs
      await using flagger = await openFlagger({ rules: await rules(), tempDir: stagingDir, memoryLimit, signal })
      const fresh = await flagger.leases(files, macs)
      for (const lease of fresh) ledger.watch.addLease(lease)
      if (fresh.length > 0) matcher = matcherOf(ledger)
      const flags = tellsEvents ? createEventFlags() : undefined
      const { hits, written } = await flagAll(flagger, files, matcher, { takeBack: false, flags }).catch((error) => {
        signal?.throwIfAborted()
        throw error instanceof PipelineError ? error : fromDuckDb(error)
      })
      for (const file of result.files) {
        const { bytes } = written.get(join(stagingDir, file.path)) ?? file
        file.bytes = bytes
      }
      if (flags !== undefined && flags.size > 0) result.flags = flags
      ledger.watch.setHits(commitId, hits)
    },
  }
}

function matcherOf({ watch }: Ledger): Matcher {
  const data = { employees: watch.employees(), computers: watch.computers(), indicators: watch.indicators() }
  const { macs } = createMatcher({ ...data, leases: [] })
  return createMatcher({ ...data, leases: watch.leasesOf(macs) })
}

/** A statement's files: each is named in it. */
const FILES_AT_ONCE = 50

async function flagAll(
  flagger: Flagger,
  files: readonly FlagFile[],
  matcher: Matcher,
  how: FlagHow,
  onFiles: (done: number, written: readonly { path: string; rows: number; bytes: number }[]) => void = () => {},
) {
  const hits: NewHit[] = []
  const written = new Map<string, { rows: number; bytes: number }>()
  for (const part of slices(files, FILES_AT_ONCE)) await flagger.learnFlows(part, matcher)
  for (const [logType, own] of Map.groupBy(files, (file) => file.logType)) {
    for (const part of slices(own, FILES_AT_ONCE)) {
      const flagged = await flagger.flag(logType, part, matcher, how)
      hits.push(...flagged.hits)
      for (const { path, rows, bytes } of flagged.files) written.set(path, { rows, bytes })
      onFiles(part.length, flagged.files)
    }
  }
  return { hits: sumUp(hits), written }
}

/** The same hit in several parts is one. */
function sumUp(hits: readonly NewHit[]): NewHit[] {
  const sums = new Map<string, NewHit>()
  for (const hit of hits) {
    const key = JSON.stringify([hit.employee, hit.list, hit.reason, hit.logType, hit.captureId])
    const sum = sums.get(key)
    if (sum === undefined) sums.set(key, { ...hit })
    else {
      sum.rows += hit.rows
      sum.firstTime = least(sum.firstTime, hit.firstTime, Math.min)
      sum.lastTime = least(sum.lastTime, hit.lastTime, Math.max)
    }
  }
  return [...sums.values()]
}

function least(a: number | null, b: number | null, choose: (a: number, b: number) => number): number | null {
  return a === null || b === null ? (a ?? b) : choose(a, b)
}

export interface RescanParts extends WatchParts {
  layout: Layout
  /** Sinks beside the tables that are to know of each file that was written anew. */
  sinks?: readonly string[]
}

export interface RescanProgress {
  files: number
  of: number
  rewritten: number
}

const PATIENCE_MS = 60_000

/**
 * Applies the lists to all rows that are loaded: flags what they mean now, and takes back what they do not mean any
 * more. Throws `io`, to be tried again, while something else rewrites the dataset.
 */
export async function rescan(
  { ledger, layout, rules, memoryLimit, sinks = [] }: RescanParts,
  onProgress: (progress: RescanProgress) => void,
  signal?: AbortSignal,
): Promise<RescanProgress> {
  using _lock = await datasetLock({ ledger, layout }, PATIENCE_MS)
  // What other hosts have put into a dataset that is shared is theirs to rewrite: their books are not here.
  const published = ledger.commits.published()
  const recorded = new Map(published.map((file) => [resolve(layout.dataDir, file.path), file.path]))
  const files = published.map(({ path, logType }) => ({ path: resolve(layout.dataDir, path), logType }))
  const progress: RescanProgress = { files: 0, of: files.length, rewritten: 0 }
  onProgress(progress)
  await using flagger = await openFlagger({ rules: await rules(), tempDir: layout.spool, memoryLimit, signal })
  const before = matcherOf(ledger)
  for (const part of slices(
    files.filter(({ logType }) => logType === 'dhcp'),
    FILES_AT_ONCE,
  )) {
    for (const lease of await flagger.leases(part, before.macs)) ledger.watch.addLease(lease)
  }
  const nameOf = (path: string) => recorded.get(path) ?? relative(layout.dataDir, path)
  const how: FlagHow = {
    takeBack: true,
    // Before, so that whoever is killed in between has noted too much, not too little.
    onReplace: (path) =>
      ledger.transaction(() => {
        for (const sink of sinks) ledger.sinks.noteChanged(sink, [nameOf(path)])
      }),
  }
  const { hits } = await flagAll(flagger, files, matcherOf(ledger), how, (done, written) => {
    progress.files += done
    progress.rewritten += written.length
    ledger.transaction(() => {
      for (const { path, rows, bytes } of written) {
        ledger.commits.replaceFile(nameOf(path), { rows, bytes })
      }
    })
    onProgress({ ...progress })
  })
  const run = `rescan-${Date.now()}`
  ledger.transaction(() => ledger.watch.setHits(run, hits))
  ledger.watch.removeHitsBut(run)
  return progress
}

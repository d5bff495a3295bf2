/**
 * Which files of the dataset to join.
 *
 * In: this ledger's published files. Out: groups of small files of one log type and one hour that is closed. A file is
 * joined with files of its own size and smaller ones: so each row is written anew a few times in its life, however many
 * small files come one after another.
 */

import { dirname } from 'node:path'
import type { PublishedFile } from '../../state/commits.ts'

export type DatedFile = PublishedFile & { committedAt: number }

export interface JoinGroup {
  logType: string
  /** Of its files, below the data directory. */
  dir: string
  /** In the order in which they were loaded. */
  files: DatedFile[]
}

export interface CompactionRules {
  /** Milliseconds since an hour ended, and since a file was loaded. */
  afterMs: number
  now: number
}

/** What is this large is read fast enough as it is. */
const LARGE_BYTES = 32 * 2 ** 20
const TARGET_BYTES = 64 * 2 ** 20
const FILES_AT_ONCE = 500
/** A file is as large as those before it together, times this, or it waits for more of them. */
const TIER = 2
const HOUR_MS = 3_600_000

export function planJoins(files: readonly DatedFile[], { afterMs, now }: CompactionRules): JoinGroup[] {
  const groups: JoinGroup[] = []
  for (const [dir, all] of Map.groupBy(files, ({ path }) => dirname(path))) {
    const endMs = hourEndOf(dir)
    if (endMs === undefined || endMs + afterMs > now) continue
    const settled = all.filter(({ bytes, committedAt }) => bytes < LARGE_BYTES && committedAt + afterMs <= now)
    for (const some of groupsOf(settled)) {
      const logType = some[0]?.logType ?? ''
      groups.push({ logType, dir, files: some.sort(byLoading) })
    }
  }
  return groups
}

function groupsOf(files: readonly DatedFile[]): DatedFile[][] {
  const groups: DatedFile[][] = []
  let group: DatedFile[] = []
  let bytes = 0
  const close = () => {
    if (group.length > 1) groups.push(group)
    group = []
    bytes = 0
  }
  for (const file of files.toSorted((a, b) => a.bytes - b.bytes)) {
    const isTooLarge = group.length > 0 && file.bytes > TIER * bytes
    if (isTooLarge || bytes + file.bytes > TARGET_BYTES || group.length === FILES_AT_ONCE) close()
    group.push(file)
    bytes += file.bytes
  }
  close()
  return groups
}

function byLoading(a: DatedFile, b: DatedFile): number {
  return a.committedAt - b.committedAt || (a.path < b.path ? -1 : 1)
}

/** By `…/<type>/year=Y/month=MM/day=DD/hour=HH`: milliseconds since the epoch; undefined for any other folder. */
export function hourEndOf(dir: string): number | undefined {
  const found = /(?:^|\/)year=(\d+)\/month=(\d+)\/day=(\d+)\/hour=(\d+)$/.exec(dir)
  if (found === null) return undefined
  const [year, month, day, hour] = found.slice(1).map(Number) as [number, number, number, number]
  return Date.UTC(year, month - 1, day, hour) + HOUR_MS
}

/**
 * What has to go: by age, by size, and for the budget.
 *
 * In: the books, the files in quarantine, the limits. Out: what goes and why; nothing is touched. For the budget the
 * files of finished captures go first, oldest first: they take most, and their rows and receipts remain. Then what is in
 * quarantine, then rows, oldest hours first, where they may. What is in work never goes.
 */

import { lstat, readdir } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { type DatedFile, hourEndOf } from './compaction-plan.ts'

/** 0 turns a rule off. */
export interface RetentionLimits {
  captures: Limit
  parquet: Limit
  quarantine: Limit
}

export interface Limit {
  maxBytes: number
  maxAgeMs: number
}

export type RemovalReason = 'age' | 'size' | 'budget'

export interface Leaving {
  /** Below the data directory. */
  path: string
  bytes: number
  why: RemovalReason
}

export interface RetentionPlan {
  captures: (Leaving & { id: string; name: string })[]
  quarantine: Leaving[]
  files: (Leaving & { logType: string; rows: number })[]
}

export interface PlanParts {
  ledger: Ledger
  layout: Layout
  limits: RetentionLimits
}

/** Rows without a usable time lie in the epoch's first hour. */
const UNSORTED_END = 3_600_000

export async function planRetention(
  { ledger, layout, limits }: PlanParts,
  { budgetBytes, keepsRows = false, now = Date.now() }: { budgetBytes: number; keepsRows?: boolean; now?: number },
): Promise<RetentionPlan> {
  const captures = ledger.captures.removable().map(({ storedAt, ...rest }) => ({ ...rest, at: storedAt }))
  const files = ledger.commits.publishedWithTime().map((file) => ({ ...file, at: ageFrom(file) }))
  const quarantine = await filesIn(layout.quarantine, layout.dataDir)
  // What is in work takes its part of the captures' space too.
  const stored = limits.captures.maxBytes > 0 ? ledger.captures.storedBytes() : 0
  const chosen = {
    captures: choose(captures, limits.captures, now, stored),
    quarantine: choose(quarantine.sort(byTime), limits.quarantine, now),
    files: choose(files.sort(byTime), limits.parquet, now),
  }
  let left = budgetBytes
  for (const each of [chosen.captures, chosen.quarantine, chosen.files]) left -= sumOf(each.filter(({ why }) => why))
  for (const each of [chosen.captures, chosen.quarantine, ...(keepsRows ? [] : [chosen.files])])
    left = chooseForBudget(each, left)
  return {
    captures: chosen.captures.flatMap(({ item: { id, name, path, bytes }, why }) =>
      why ? { id, name, path, bytes, why } : [],
    ),
    quarantine: chosen.quarantine.flatMap(({ item: { path, bytes }, why }) => (why ? { path, bytes, why } : [])),
    files: chosen.files.flatMap(({ item: { path, bytes, logType, rows }, why }) =>
      why ? { path, bytes, logType, rows, why } : [],
    ),
  }
}

interface Item {
  bytes: number
  /** Milliseconds since the epoch. */
  at: number
}

interface Chosen<T> {
  item: T
  why: RemovalReason | undefined
}

/** Oldest first. */
function choose<T extends Item>(
  items: readonly T[],
  { maxBytes, maxAgeMs }: Limit,
  now: number,
  total = items.reduce((sum, { bytes }) => sum + bytes, 0),
): Chosen<T>[] {
  let bytes = total
  return items.map((item) => {
    const isOld = maxAgeMs > 0 && item.at < now - maxAgeMs
    const isOver = maxBytes > 0 && bytes > maxBytes
    if (isOld || isOver) bytes -= item.bytes
    return { item, why: isOld ? 'age' : isOver ? 'size' : undefined }
  })
}

/** Answers what is still to be freed. */
function chooseForBudget(items: Chosen<Item>[], wanted: number): number {
  let left = wanted
  for (const chosen of items) {
    if (left <= 0) break
    if (chosen.why !== undefined) continue
    chosen.why = 'budget'
    left -= chosen.item.bytes
  }
  return left
}

function sumOf(items: readonly Chosen<Item>[]): number {
  return items.reduce((sum, { item }) => sum + item.bytes, 0)
}

/** Rows are as old as their hour, but not older than their loading: an old capture that came today is wanted today. */
function ageFrom({ path, committedAt }: DatedFile): number {
  const end = hourEndOf(dirname(path))
  return end === undefined || end === UNSORTED_END ? committedAt : Math.max(end, committedAt)
}

function byTime(a: Item, b: Item): number {
  return a.at - b.at
}

async function filesIn(dir: string, dataDir: string): Promise<(Item & { path: string })[]> {
  const entries = await readdir(dir, { withFileTypes: true, recursive: true }).catch(() => [])
  const found: (Item & { path: string })[] = []
  for (const entry of entries) {
    const full = join(entry.parentPath, entry.name)
    const stats = entry.isFile() ? await lstat(full).catch(() => undefined) : undefined
    if (stats === undefined) continue
    found.push({ path: relative(dataDir, full), bytes: stats.blocks * 512, at: stats.mtimeMs })
  }
  return found
}

/**
 * How much of the disk the pipeline uses, has promised to work in hand, and may still take.
 *
 * In: the ledger's books (captures, dataset, jobs), a walk over the folders that have no book (spool, quarantine, log,
 * cache), and what the file systems say. The inbox does not count: what waits there is not the pipeline's yet.
 */

import { type Dirent, lstatSync, readdirSync, statfsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { StageName } from '../../state/job.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { StageDemand } from '../../state/space.ts'

export interface DiskLimits {
  /** For all that the pipeline keeps; 0 is none. */
  budgetBytes: number
  /** Of free space on each disk. */
  floorBytes: number
}

export interface DiskUse {
  capturesBytes: number
  datasetBytes: number
  spoolBytes: number
  quarantineBytes: number
  /** Ledger, log and cache. */
  stateBytes: number
  /** All of them. */
  usedBytes: number
  /** What work in hand may still take, beyond what it has. */
  promisedBytes: number
  /** On the fullest of the disks. */
  freeBytes: number
  /** Of captures that are being taken in, or are and not converted yet. */
  backlogBytes: number
  /** The space that the largest of them will need to be converted. */
  largestWaitingNeed: number
  /** Log bytes a byte of capture, as it is reckoned with. */
  logsRatio: number
}

export interface DiskMeter {
  /** Adds the books up at each call; folders are walked at most every so often. */
  measure(): DiskUse
}

export interface DiskMeterOptions {
  ledger: Ledger
  layout: Layout
  /** Absent where none is written. */
  logFile: string | undefined
  limits: DiskLimits
}

/** From this size on a capture is cut into shards on its way. */
const SHARDED_BYTES = 8 * 2 ** 20
const SMALLEST_NEED = 2 ** 20
/** Before the first conversion, and as bounds of what the last ones told. */
const FIRST_RATIO = 0.5
const RATIO_BOUNDS = [0.25, 8] as const
const RATIO_KEPT_MS = 10_000
/** A walk may take this part of the time. */
const WALK_SHARE = 20
const WALK_EVERY_MS = 1000

/**
 * Bytes of work space that a job needs until its events are rows, at the most.
 * Logs and chunks lie side by side for a while; Parquet takes half of them where files are small, else a tenth.
 */
export function needOf(stage: StageName, bytes: number, logsRatio: number): number {
  if (stage === 'monitor') return bytes
  if (stage === 'convert')
    return Math.ceil((bytes >= SHARDED_BYTES ? bytes : 0) + 2.5 * logsRatio * bytes) + SMALLEST_NEED
  return Math.ceil(bytes * FACTORS[stage])
}

/** Of the bytes of the logs, chunks or batches that the job has for its input. */
const FACTORS: Record<Exclude<StageName, 'monitor' | 'convert'>, number> = {
  split: 2.5,
  distribute: 1.5,
  upload: 1.5,
  index: 1,
}

export function createDiskMeter({ ledger, layout, logFile, limits }: DiskMeterOptions): DiskMeter {
  const spool = createWalk(() => bytesBelow(layout.spool))
  const quarantine = createWalk(() => bytesBelow(layout.quarantine))
  const state = createWalk(() => {
    const database = ['', '-wal', '-shm'].map((end) => bytesOf(`${layout.ledger}${end}`))
    const log = logFile === undefined ? 0 : bytesBelow(dirname(logFile))
    return database.reduce((sum, each) => sum + each, log + bytesBelow(layout.cache))
  })
  const dirs = [layout.dataDir, layout.parquet, layout.stateDir]
  let ratio = { at: Number.NEGATIVE_INFINITY, value: FIRST_RATIO }

  function logsRatio(): number {
    if (performance.now() - ratio.at > RATIO_KEPT_MS) {
      const [least, most] = RATIO_BOUNDS
      const value = Math.min(most, Math.max(least, ledger.space.logsRatio() ?? FIRST_RATIO))
      ratio = { at: performance.now(), value }
    }
    return ratio.value
  }

  function measure(): DiskUse {
    const perByte = logsRatio()
    const demand = ledger.space.demand()
    // Without a budget nobody asks for the sums that cost most.
    const capturesBytes = limits.budgetBytes > 0 ? ledger.captures.storedBytes() : 0
    const datasetBytes = limits.budgetBytes > 0 ? ledger.commits.publishedTotals().bytes : 0
    const [spoolBytes, quarantineBytes, stateBytes] = [spool(), quarantine(), state()]
    const converts = demand.filter(({ stage }) => stage === 'convert')
    const arriving = demand
      .filter(({ stage, status }) => stage === 'monitor' && status === 'running')
      .map(({ reservedBytes: bytes }) => ({ bytes }))
    const largest = converts.filter(({ status }) => status === 'ready').map(({ largestBytes }) => largestBytes)
    return {
      ...{ capturesBytes, datasetBytes, spoolBytes, quarantineBytes, stateBytes },
      usedBytes: capturesBytes + datasetBytes + spoolBytes + quarantineBytes + stateBytes,
      promisedBytes: Math.max(0, demand.reduce((sum, each) => sum + promisedTo(each), 0) - spoolBytes),
      freeBytes: Math.min(...dirs.map(freeOf)),
      backlogBytes: [...converts, ...arriving].reduce((sum, { bytes }) => sum + bytes, 0),
      largestWaitingNeed: largest.length === 0 ? 0 : needOf('convert', Math.max(...largest), perByte),
      logsRatio: perByte,
    }
  }

  return { measure }
}

/** Captures that wait hold nothing yet; what is made of a capture takes its space until it is rows. */
function promisedTo({ stage, status, bytes, reservedBytes }: StageDemand): number {
  if (stage === 'monitor' || stage === 'convert') return status === 'running' ? reservedBytes : 0
  return needOf(stage, bytes, 0)
}

/** What may still be taken by the budget, and by the floor. */
export function leftOf(use: DiskUse, { budgetBytes, floorBytes }: DiskLimits): { budget: number; floor: number } {
  const { usedBytes, promisedBytes, freeBytes } = use
  return {
    budget: budgetBytes > 0 ? budgetBytes - usedBytes - promisedBytes : Number.POSITIVE_INFINITY,
    floor: floorBytes > 0 ? freeBytes - promisedBytes - floorBytes : Number.POSITIVE_INFINITY,
  }
}

/** Looks again when the last look is old enough for what it cost. */
function createWalk(look: () => number): () => number {
  let [bytes, dueAt] = [0, Number.NEGATIVE_INFINITY]
  return () => {
    const started = performance.now()
    if (started < dueAt) return bytes
    bytes = look()
    const ended = performance.now()
    dueAt = ended + Math.max(WALK_EVERY_MS, (ended - started) * WALK_SHARE)
    return bytes
  }
}

/** Blocks on the disk, the folders themselves included; what goes away meanwhile counts nothing. */
export function bytesBelow(dir: string): number {
  return entriesOf(dir).reduce((sum, entry) => {
    const path = join(dir, entry.name)
    return sum + (entry.isDirectory() ? bytesBelow(path) : bytesOf(path))
  }, bytesOf(dir))
}

function entriesOf(dir: string): Dirent[] {
  try {
    return readdirSync(dir, { withFileTypes: true })
  } catch {
    return []
  }
}

/** A file with several names counts once for each name, divided by their number. */
function bytesOf(path: string): number {
  try {
    const stats = lstatSync(path)
    return (stats.blocks * 512) / (stats.isFile() ? Math.max(1, stats.nlink) : 1)
  } catch {
    return 0
  }
}

function freeOf(dir: string): number {
  const { bavail, bsize } = statfsSync(dir)
  return bavail * bsize
}

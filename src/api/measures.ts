/**
 * What `/metrics` tells beyond the health that people look at: sums over the ledger, what this process has done, its
 * children's memory, and what its directories take. Kept for a while, since it is asked for every few seconds.
 */

import type { Dirent } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { STAGE_NAMES, type StageName } from '../../state/job.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { LedgerSums } from '../../state/overview.ts'
import { childMemory } from '../children.ts'
import type { Indexing } from '../indexing.ts'
import type { Tally } from '../tally.ts'
import type { Health } from './contract.ts'

export interface Measures {
  health: Health
  sums: LedgerSums
  /** Bytes of work that waits or is under way. */
  backlog: { stage: StageName; bytes: number }[]
  tally: Tally
  children: ReturnType<typeof childMemory>
  directories: { name: string; bytes: number }[]
  /** Too much waits for Elasticsearch. */
  isIndexPaused: boolean
}

export interface MeasureParts {
  ledger: Ledger
  layout: Layout
  tally: Tally
  indexing: Pick<Indexing, 'mayClaim'> | undefined
}

/** Sums read the whole ledger, sizes the whole directories. */
const KEPT_MS = 60_000
/** Files that are weighed in one directory; of more the rest is not counted. */
const MOST_FILES = 50_000

export function createMeasures({
  ledger,
  layout,
  tally,
  indexing,
}: MeasureParts): (health: Health) => Promise<Measures> {
  const sums = kept(KEPT_MS, async () => ledger.overview.ledgerSums())
  const others = kept(KEPT_MS, async () =>
    Promise.all(
      (['inbox', 'spool', 'quarantine', 'cache'] as const).map(async (name) => ({
        name,
        bytes: await bytesBelow(layout[name]),
      })),
    ),
  )
  return async (health) => ({
    health,
    sums: await sums(),
    backlog: STAGE_NAMES.map((stage) => ({ stage, bytes: ledger.jobs.openBytes(stage) })),
    tally,
    children: childMemory(),
    directories: [
      { name: 'captures', bytes: health.disk.capturesBytes },
      { name: 'dataset', bytes: health.disk.datasetBytes },
      { name: 'ledger', bytes: await sizeOf(layout.ledger) },
      ...(await others()),
    ],
    isIndexPaused: indexing !== undefined && !indexing.mayClaim('monitor'),
  })
}

function kept<T>(ms: number, make: () => Promise<T>): () => Promise<T> {
  let last: { at: number; value: T } | undefined
  return async () => {
    if (last === undefined || performance.now() - last.at >= ms) last = { value: await make(), at: performance.now() }
    return last.value
  }
}

/** What goes away meanwhile counts for nothing. */
async function bytesBelow(dir: string): Promise<number> {
  let [bytes, files] = [0, 0]
  const dirs = [dir]
  for (let next = dirs.pop(); next !== undefined; next = dirs.pop()) {
    const entries: Dirent[] = await readdir(next, { withFileTypes: true }).catch(() => [])
    for (const entry of entries) {
      if (entry.isDirectory()) dirs.push(join(next, entry.name))
      else if (entry.isFile() && ++files <= MOST_FILES) bytes += await sizeOf(join(next, entry.name))
    }
  }
  return bytes
}

async function sizeOf(path: string): Promise<number> {
  return await stat(path).then(
    ({ size }) => size,
    () => 0,
  )
}

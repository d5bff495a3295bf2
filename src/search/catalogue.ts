/**
 * Which files of the dataset may hold the events of a search.
 *
 * In: the ledger's list of published files, and now and then a look at the folders, which finds files that another
 * ledger's processes wrote. Out: files by hour, newest first. Reading the list costs a query of the ledger, and only
 * when something has changed; no search lists folders.
 */

import { join, relative, resolve } from 'node:path'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { Dataset } from '../query/dataset.ts'
import { type DataFile, listFiles, listTypes } from '../query/files.ts'

export interface CatalogueFile {
  /** Absolute, below the dataset's root. */
  path: string
  type: string
  /** Since the epoch; `UNSORTED_HOUR` holds rows of any time. */
  hour: number
  /** Unknown of files that this ledger did not write. */
  rows: number | undefined
  bytes: number
}

/** Rows without an hour of their own lie in 1970-01-01 hour 00. */
export const UNSORTED_HOUR = 0

export interface Range {
  /** Milliseconds since the epoch; `from` ≤ time < `to`. */
  from?: number | undefined
  to?: number | undefined
}

export interface Catalogue {
  /** Changes with the files. */
  version(): Promise<number>
  /** Those that may hold events of these types in this range, newest hour first; those of `UNSORTED_HOUR` come last. */
  files(types: readonly string[], range: Range): Promise<CatalogueFile[]>
  /** Log types that have files. */
  types(): Promise<string[]>
  /** Looks at the folders again: a file was not where it should be. */
  distrust(): void
}

const HOUR_MS = 3_600_000
const LOOK_EVERY_MS = 30_000
/** While captures are loaded the ledger changes all the time; a second is soon enough. */
const ASK_EVERY_MS = 250

export function createCatalogue(
  ledger: Ledger,
  layout: Layout,
  { root, share }: Pick<Dataset, 'root' | 'share'>,
): Catalogue {
  let foreign: DataFile[] = []
  let lookedAt = Number.NEGATIVE_INFINITY
  let looking: Promise<void> | undefined
  let askedAt = Number.NEGATIVE_INFINITY
  let changes = ''
  let version = 0
  let fingerprint = ''
  let byType = new Map<string, CatalogueFile[]>()

  const pathOf = (recorded: string) => join(root, relative(layout.parquet, resolve(layout.dataDir, recorded)))

  async function look(): Promise<void> {
    // Between the list of the folders and that of the ledger no files may be joined.
    using _shared = share()
    const found: DataFile[] = []
    for (const type of await listTypes(root)) found.push(...(await listFiles(root, type)))
    const ours = new Set([...ledger.commits.published(), ...ledger.joins.open()].map(({ path }) => pathOf(path)))
    foreign = found.filter(({ path }) => !ours.has(path))
    lookedAt = performance.now()
    changes = ''
  }

  async function refresh(): Promise<void> {
    if (performance.now() - lookedAt > LOOK_EVERY_MS) {
      looking ??= look().finally(() => {
        looking = undefined
      })
      // The first search needs it; the others go on with what is known.
      if (lookedAt === Number.NEGATIVE_INFINITY) await looking
    }
    if (performance.now() - askedAt < ASK_EVERY_MS && changes !== '') return
    askedAt = performance.now()
    const now = ledger.changes()
    if (now === changes) return
    read()
    changes = now
  }

  function read(): void {
    const files = new Map<string, CatalogueFile>()
    for (const { path, bytes } of foreign) {
      const file = placeOf(root, path)
      if (file) files.set(path, { ...file, path, bytes, rows: undefined })
    }
    for (const { path: recorded, logType, rows, bytes } of ledger.commits.published()) {
      const path = pathOf(recorded)
      const file = placeOf(root, path)
      if (file) files.set(path, { path, type: logType, hour: file.hour, rows, bytes })
    }
    const sorted = [...files.values()].sort((a, b) => b.hour - a.hour || (a.path < b.path ? -1 : 1))
    const next = sorted.map(({ path, bytes }) => `${path} ${bytes}`).join('\n')
    if (next === fingerprint) return
    fingerprint = next
    version++
    byType = Map.groupBy(sorted, ({ type }) => type)
  }

  return {
    async version() {
      await refresh()
      return version
    },
    async types() {
      await refresh()
      return [...byType.keys()].sort()
    },
    async files(types, { from, to }) {
      await refresh()
      const first = from === undefined ? Number.NEGATIVE_INFINITY : Math.floor(from / HOUR_MS)
      const last = to === undefined ? Number.POSITIVE_INFINITY : Math.ceil(to / HOUR_MS)
      const chosen = types
        .flatMap((type) => byType.get(type) ?? [])
        .filter(({ hour }) => hour === UNSORTED_HOUR || (hour >= first && hour < last))
      return types.length === 1 ? chosen : chosen.sort((a, b) => b.hour - a.hour)
    },
    distrust() {
      lookedAt = Number.NEGATIVE_INFINITY
    },
  }
}

/** By the path `<type>/year=Y/month=MM/day=DD/hour=HH/<name>`. */
function placeOf(root: string, path: string): { type: string; hour: number } | undefined {
  const [type, ...parts] = path.slice(root.length + 1).split('/')
  if (type === undefined || parts.length !== 5) return undefined
  const [year, month, day, hour] = parts.map((part) => Number(part.slice(part.indexOf('=') + 1)))
  const ms = Date.UTC(year as number, (month as number) - 1, day as number, hour as number)
  return Number.isNaN(ms) ? undefined : { type, hour: ms / HOUR_MS }
}

/** The data directory and what may lie outside of it: the one place that knows what lies where. */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { StageName } from './job.ts'

export interface Layout {
  dataDir: string
  /** Of the ledger and the cache. */
  stateDir: string
  /** Drop captures here; the first folder below names the source. */
  inbox: string
  /** Accepted captures, `<sha256>.pcap` or `.pcapng`, never written again; beside some their TLS keys, `<sha256>.keys`. */
  captures: string
  /** Work in progress of one ledger; everything in it can be made again from `captures/`. */
  spool: string
  /** The dataset: `<type>/year=…/month=…/day=…/hour=…/<prefix>_<type>_<id>.parquet`. */
  parquet: string
  /** Files and lines that failed, each with a reason beside it. */
  quarantine: string
  /** What queries keep for speed and spill; may be deleted when none runs. */
  cache: string
  ledger: string
}

export interface Places {
  inbox?: string
  parquet?: string
  /** Of this host alone, while several may share the data directory. */
  stateDir?: string
}

export function layoutOf(dataDir: string, places: Places = {}): Layout {
  const { inbox = join(dataDir, 'inbox'), parquet = join(dataDir, 'parquet'), stateDir = dataDir } = places
  return {
    dataDir,
    stateDir,
    inbox,
    captures: join(dataDir, 'captures'),
    spool: join(dataDir, 'spool'),
    parquet,
    quarantine: join(dataDir, 'quarantine'),
    cache: join(stateDir, 'cache'),
    ledger: join(stateDir, 'pipeline.db'),
  }
}

/**
 * Of the ledger with this id. Where several share a data directory each has a spool of its own, since each sweeps away
 * what it knows nothing of.
 */
export function withSpoolOf(layout: Layout, ledgerId: string): Layout {
  return layout.stateDir === layout.dataDir ? layout : { ...layout, spool: join(layout.spool, ledgerId) }
}

export function makeLayout(layout: Layout): void {
  const { dataDir, stateDir, inbox, captures, spool, parquet, quarantine } = layout
  for (const dir of [dataDir, stateDir, inbox, captures, spool, parquet, quarantine])
    mkdirSync(dir, { recursive: true })
}

/** Where the TLS keys lie that came with a capture. */
export function keysPathOf({ captures }: Layout, captureId: string): string {
  return join(captures, `${captureId}.keys`)
}

/** What the stages call their part of the spool. */
const SPOOL_NAMES: Record<StageName, string> = {
  monitor: 'arrivals',
  convert: 'convert',
  split: 'chunks',
  distribute: 'batches',
  upload: 'staging',
  index: 'indexing',
}

export function spoolOf(layout: Layout, stage: StageName): string {
  return join(layout.spool, SPOOL_NAMES[stage])
}

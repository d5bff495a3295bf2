/** The data directory: the one place that knows what lies where. */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { StageName } from './job.ts'

export interface Layout {
  dataDir: string
  /** Drop captures here; the first folder below names the source. */
  inbox: string
  /** Accepted captures, `<sha256>.pcap` or `.pcapng`, never written again. */
  captures: string
  /** Work in progress; everything in it can be made again from `captures/`. */
  spool: string
  /** The dataset: `<type>/year=…/month=…/day=…/hour=…/events_<type>_<id>.parquet`. */
  parquet: string
  /** Files and lines that failed, each with a reason beside it. */
  quarantine: string
  /** What queries keep for speed and spill; may be deleted when none runs. */
  cache: string
  ledger: string
}

export function layoutOf(dataDir: string, inbox = join(dataDir, 'inbox')): Layout {
  return {
    dataDir,
    inbox,
    captures: join(dataDir, 'captures'),
    spool: join(dataDir, 'spool'),
    parquet: join(dataDir, 'parquet'),
    quarantine: join(dataDir, 'quarantine'),
    cache: join(dataDir, 'cache'),
    ledger: join(dataDir, 'pipeline.db'),
  }
}

export function makeLayout(layout: Layout): void {
  const { dataDir, inbox, captures, spool, parquet, quarantine } = layout
  for (const dir of [dataDir, inbox, captures, spool, parquet, quarantine]) mkdirSync(dir, { recursive: true })
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

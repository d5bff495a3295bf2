/**
 * Takes up what processes that ended abruptly left behind. Runs at start and every so often.
 *
 * In: the ledger and the spool. Out: leases of the dead are back in the queue, recorded commits are finished,
 * and work spaces that nobody owns are gone. A work space is kept while its lease is held, or while the
 * ledger names it as a hand-off or as part of a commit under way; all of them are read in one transaction.
 */

import { readdir, rm } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { STAGE_NAMES } from '../state/job.ts'
import { type Layout, spoolOf } from '../state/layout.ts'
import type { Ledger } from '../state/ledger.ts'
import type { Bus } from './bus.ts'
import type { Log } from './ports.ts'
import type { Stage } from './stage.ts'

export interface SweepParts {
  stages: readonly Stage[]
  bus: Bus
  ledger: Ledger
  layout: Layout
  log: Log
}

export async function sweep({ stages, bus, ledger, layout, log }: SweepParts): Promise<void> {
  await bus.recover()
  const reclaimed = ledger.jobs.reclaim()
  if (reclaimed > 0) log.warn('took over work of processes that ended', { jobs: reclaimed })
  for (const stage of stages) await stage.recover?.(log)
  const orphans = await removeOrphans(ledger, layout)
  if (orphans > 0) log.info('removed unfinished work that nobody owns', { directories: orphans })
}

async function removeOrphans(ledger: Ledger, layout: Layout): Promise<number> {
  let removed = 0
  for (const stage of STAGE_NAMES) {
    const spool = spoolOf(layout, stage)
    for (const name of await entries(spool)) {
      const path = join(spool, name)
      if (isOwned(ledger, name, relative(layout.dataDir, path))) continue
      await rm(path, { recursive: true, force: true })
      ledger.artifacts.remove(relative(layout.dataDir, path))
      removed++
    }
  }
  return removed
}

/** Work spaces are named `<job>.<lease>`. */
function isOwned(ledger: Ledger, name: string, path: string): boolean {
  const lease = name.slice(name.lastIndexOf('.') + 1)
  return ledger.transaction(
    () =>
      ledger.artifacts.isKept(path) ||
      ledger.jobs.isHeld(lease) ||
      ledger.prepared.get(lease) !== undefined ||
      ledger.commits.isOpen(lease),
  )
}

async function entries(dir: string): Promise<string[]> {
  try {
    return await readdir(dir)
  } catch {
    return []
  }
}

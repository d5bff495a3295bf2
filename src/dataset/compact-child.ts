/** The process that joins files (upkeep.ts): does it once, says what became of it, and ends, or ends with its parent. */

import { setPriority } from 'node:os'
import { messageOf } from '../../state/errors.ts'
import { openLedger } from '../../state/ledger.ts'
import { createDiskMeter } from '../disk/use.ts'
import { compact, spaceFor } from './compact.ts'
import type { CompactionOrder } from './upkeep.ts'

const LOWEST = 19
/** What is left then is joined by the next process: what an allocator does not give back ends with this one. */
const MOST_MS = 5 * 60_000

const stop = new AbortController()
const quiet = () => {}

takeLowestPriority()
setTimeout(() => stop.abort(), MOST_MS).unref()
process.once('disconnect', () => stop.abort())
// The terminal's Ctrl-C reaches this process too; its parent decides when it ends.
process.on('SIGINT', quiet)
process.once('message', (order: CompactionOrder) => void work(order))

async function work({ layout, disk, afterMs }: CompactionOrder): Promise<void> {
  try {
    using ledger = openLedger(layout.ledger)
    const meter = createDiskMeter({ ledger, layout, logFile: undefined, limits: disk })
    const log = { debug: quiet, info: quiet, warn: quiet, error: quiet, child: () => log }
    const done = await compact({ ledger, layout, log, afterMs, hasSpace: spaceFor(meter, disk) }, stop.signal)
    const { joined, into, rows, postponed } = done
    tell({ done: { files: joined, into, rows, postponed } })
  } catch (error) {
    tell({ failure: messageOf(error) })
  }
  if (process.connected) process.disconnect()
}

/** A wish: where the system forbids it (a sandbox's filter of system calls), files are joined all the same. */
function takeLowestPriority(): void {
  try {
    setPriority(LOWEST)
  } catch {}
}

function tell(message: unknown): void {
  if (process.connected) process.send?.(message)
}

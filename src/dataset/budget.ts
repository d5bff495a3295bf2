/** How much retention is to free for the budget. */

import type { Ledger } from '../../state/ledger.ts'
import { type DiskLimits, type DiskMeter, leftOf } from '../disk/use.ts'

/** Below this part of the budget room is made, up to that one: so that intake seldom has to wait for it. */
const LOW = 0.05
const HIGH = 0.08

/** 0 while there is enough. What a job waits for counts as well, and what several wait for is made one after the other. */
export function bytesToFree({
  ledger,
  meter,
  disk,
}: {
  ledger: Pick<Ledger, 'space'>
  meter: DiskMeter
  disk: DiskLimits
}): number {
  const { budgetBytes } = disk
  if (budgetBytes === 0) return 0
  const waits = ledger.space.waits().filter(({ why }) => why === 'budget')
  const wanted = Math.max(0, ...waits.map((wait) => wait.wanted))
  const { budget: left } = leftOf(meter.measure(), disk)
  if (left >= Math.max(wanted, LOW * budgetBytes)) return 0
  return Math.ceil(Math.max(wanted, HIGH * budgetBytes) - left)
}

/** Rows are what people search: they go for the budget only where work has waited this long, and nothing else has helped. */
const ROWS_PATIENCE_MS = 30_000

export function mayRowsGo({ ledger }: { ledger: Pick<Ledger, 'space'> }, now = Date.now()): boolean {
  return ledger.space.waits().some(({ why, since }) => why === 'budget' && since < now - ROWS_PATIENCE_MS)
}

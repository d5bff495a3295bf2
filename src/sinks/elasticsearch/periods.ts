/**
 * Which indices may come into being. An index costs the cluster memory for as long as it exists, and records may claim
 * any month: beyond a bound, events of further months go to their log type's `undated` index.
 *
 * What was admitted is kept in the ledger, so that an event goes to the same index whenever it is sent again.
 */

import type { Log } from '../../../stages/ports.ts'
import type { Ledger } from '../../../state/ledger.ts'
import { UNDATED } from './document.ts'

export interface Periods {
  indexOf(logType: string, period: string): string
}

export interface PeriodOptions {
  prefix: string
  limit: number
  periods: Pick<Ledger['sinks'], 'admitIndex'>
  log: Log
}

export function createPeriods({ prefix, limit, periods, log }: PeriodOptions): Periods {
  const known = new Map<string, string>()
  let isFull = false
  return {
    indexOf(logType, period) {
      const name = `${prefix}-${logType}-${period}`
      const before = known.get(name)
      if (before !== undefined) return before
      const isAdmitted = period === UNDATED || periods.admitIndex(name, limit)
      if (!isAdmitted && !isFull) {
        isFull = true
        log.warn('the most indices that may be made are there; events of further months go to undated ones', { limit })
      }
      const chosen = isAdmitted ? name : `${prefix}-${logType}-${UNDATED}`
      if (known.size > 10_000) known.clear()
      known.set(name, chosen)
      return chosen
    },
  }
}

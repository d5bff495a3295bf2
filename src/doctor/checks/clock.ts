/** Whether the clock can be believed: rows, leases and receipts bear its time. */

import { type Check, error, ok, warning } from '../check.ts'
import type { Host } from '../host.ts'

const EARLIEST = Date.UTC(2026, 0, 1)
const LATEST = Date.UTC(2100, 0, 1)
const SLACK_MS = 5 * 60_000
const SET_IT = 'set the clock and let it be kept: timedatectl set-ntp true'

export const clock: Check<Host> = {
  name: 'clock',
  look({ now, ledger }) {
    const time = now()
    const text = new Date(time).toISOString().replace(/\.\d+Z$/, 'Z')
    if (time < EARLIEST || time > LATEST) return [error(`it is ${text}, which cannot be`, SET_IT)]
    const newest = newestIn(ledger)
    if (newest !== undefined && newest > time + SLACK_MS)
      return [
        error(
          `it is ${text}, but the ledger was last written at ${new Date(newest).toISOString().replace(/\.\d+Z$/, 'Z')}: the clock went back`,
          `${SET_IT}; leases and retries wait for the time that they were given`,
        ),
      ]
    const { timeZone } = Intl.DateTimeFormat().resolvedOptions()
    if (new Date(time).getTimezoneOffset() !== 0)
      return [
        warning(
          `it is ${text}; this host's time zone is ${timeZone}, while the log, rows and pages are in UTC`,
          'nothing, if you bear it in mind; servers are best set to UTC: timedatectl set-timezone UTC',
        ),
      ]
    return [ok(text)]
  },
}

/** What cannot be read of it is another check's. */
function newestIn(ledger: Host['ledger']): number | undefined {
  try {
    const newest = ledger()
      ?.prepare(
        `SELECT max(at) FROM (SELECT max(updated_at) AS at FROM jobs UNION SELECT max(committed_at) FROM commits
         UNION SELECT max(accepted_at) FROM captures UNION SELECT max(arrived_at) FROM arrivals)`,
      )
      .pluck()
      .get() as number | null | undefined
    return newest ?? undefined
  } catch {
    return undefined
  }
}

/** Slows down who guesses passwords: in, failed attempts; out, how long the next one has to wait. Bounded memory. */

export interface Attempts {
  /** Seconds to wait; 0 when it may be tried now. */
  waitSeconds(who: string): number
  failed(who: string): void
  succeeded(who: string): void
}

const FREE = 5
const FIRST_WAIT_MS = 2000
const LONGEST_WAIT_MS = 15 * 60_000
const FORGET_MS = 60 * 60_000
const MOST = 10_000

export function createAttempts(now: () => number = Date.now): Attempts {
  const known = new Map<string, { failures: number; until: number; last: number }>()
  return {
    waitSeconds(who) {
      const entry = known.get(who)
      return entry === undefined ? 0 : Math.max(0, Math.ceil((entry.until - now()) / 1000))
    },
    failed(who) {
      for (const [key, { last }] of known) if (last + FORGET_MS < now() || known.size >= MOST) known.delete(key)
      const failures = (known.get(who)?.failures ?? 0) + 1
      const waitMs = failures < FREE ? 0 : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - FREE))
      known.set(who, { failures, until: now() + waitMs, last: now() })
    },
    succeeded(who) {
      known.delete(who)
    },
  }
}

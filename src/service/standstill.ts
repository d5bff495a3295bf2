/**
 * Whether a pipeline moves. In: the signs of its runners. Out: what stands still, in words, or undefined.
 *
 * A runner looks at its queue several times a second, and each of its calls gives a sign when it starts and whenever it
 * has come further. A call may be silent for long (a conversion by Zeek, a copy from a slow disk), but not without end.
 */

import type { Signs } from '../../stages/runner.ts'
import type { StageName } from '../../state/job.ts'

export interface Limits {
  /** Since a runner has looked at its queue. */
  lookMs: number
  /** Since a call under way gave a sign. */
  workMs: number
}

export function findStandstill(runners: ReadonlyMap<StageName, Signs>, { lookMs, workMs }: Limits): string | undefined {
  const seconds = (ms: number) => `${Math.round(ms / 1000)} s`
  for (const [stage, signs] of runners) {
    if (signs.lookedMs > lookMs) return `${stage} has not seen its queue for ${seconds(signs.lookedMs)}`
    if (signs.silentMs > workMs) return `work of ${stage} has given no sign for ${seconds(signs.silentMs)}`
  }
  return undefined
}

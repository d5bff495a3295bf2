/**
 * What the times of a capture's packets say of the clock that they were taken by.
 *
 * In: the packet account and the capture. Out: warnings for the receipt. Nothing is refused and nothing is moved: the
 * events are in the partitions of the times that they claim. "Now" is when the capture was accepted, so that a
 * conversion says the same whenever it is repeated.
 */

import type { PacketAccount } from '../../state/capture.ts'
import type { CaptureRow } from '../../state/captures.ts'

/** 1990-01-01, in seconds since the epoch: there were no captures of this form before. */
const EARLIEST_SECONDS = 631_152_000
/** What clocks that are kept differ by, at most. */
const AHEAD_SECONDS = 600
/** What a `Date` can hold. */
const MAX_DATE_MS = 8.64e15
const HOW = 'CLOCK_OFFSETS corrects the clock of a source'

export function clockWarnings(
  { firstTime, lastTime }: Pick<PacketAccount, 'firstTime' | 'lastTime'>,
  { acceptedAt, source }: Pick<CaptureRow, 'acceptedAt' | 'source'>,
): string[] {
  if (firstTime === undefined || lastTime === undefined) return []
  const warnings: string[] = []
  if (firstTime < EARLIEST_SECONDS)
    warnings.push(
      `The first packet claims the time ${text(firstTime)}: the clock of ${source} was not set. Its events are under that time; ${HOW}.`,
    )
  if (lastTime > acceptedAt / 1000 + AHEAD_SECONDS)
    warnings.push(
      `The last packet claims the time ${text(lastTime)}, which was still to come when the capture was accepted: the clock of ${source} is ahead. Its events are under that time; ${HOW}.`,
    )
  return warnings
}

function text(seconds: number): string {
  const ms = seconds * 1000
  return Math.abs(ms) <= MAX_DATE_MS ? new Date(ms).toISOString() : `${seconds} s after 1970`
}

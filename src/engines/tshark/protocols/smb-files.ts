/**
 * Content of a file that is read or written piece by piece: pieces with their offsets in, in any order; a
 * FileSink's bytes and gaps out. Memory: what waits behind holes, at most `MAX_HELD_BYTES` for all files that
 * share a budget.
 */

import type { FileSink } from './protocol.ts'

const MAX_HELD_BYTES = 512 * 1024
const MAX_HELD = 256

export interface OffsetFile {
  data(offset: number, bytes: Buffer, ts: number): void
  /** All of its bytes have been seen. */
  complete(): boolean
  end(ts: number, timedOut?: boolean): void
}

/** Bytes that all files of a connection hold. */
export interface Budget {
  held: number
}

export function createOffsetFile(sink: FileSink, budget: Budget): OffsetFile {
  /** In the order of their offsets. */
  const held: { offset: number; bytes: Buffer }[] = []
  let next = 0
  /** When the last piece came: what waited counts as of then. */
  let latest = 0

  function give(offset: number, bytes: Buffer, ts: number): void {
    if (offset > next) sink.gap(offset - next, ts)
    const fresh = bytes.subarray(Math.min(bytes.length, Math.max(0, next - offset)))
    if (fresh.length > 0) sink.data(fresh, ts)
    next = Math.max(next, offset + bytes.length)
  }

  function release(evenBehindHoles: boolean): void {
    for (;;) {
      const first = held[0]
      if (first === undefined || (first.offset > next && !evenBehindHoles)) return
      held.shift()
      budget.held -= first.bytes.length
      give(first.offset, first.bytes, latest)
    }
  }

  return {
    data(offset, bytes, ts) {
      if (bytes.length === 0) return
      latest = ts
      if (offset <= next) {
        give(offset, bytes, ts)
        release(false)
        return
      }
      let at = held.length
      while (at > 0 && (held[at - 1]?.offset ?? 0) > offset) at--
      held.splice(at, 0, { offset, bytes: Buffer.from(bytes) })
      budget.held += bytes.length
      if (budget.held > MAX_HELD_BYTES || held.length > MAX_HELD) release(true)
    },
    complete: () => sink.totalBytes !== undefined && next >= sink.totalBytes,
    end(ts, timedOut) {
      release(true)
      sink.end(ts, timedOut)
    },
  }
}

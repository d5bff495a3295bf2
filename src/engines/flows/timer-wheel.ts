/**
 * When flows are due, in trace time. A flow waits in one bucket, one second wide; when its bucket comes up
 * and it is not due after all, it waits in a later one. Adding and removing are O(1) (the buckets are linked
 * through the flows, so an ended flow is held nowhere), and no flow is looked at more than once in its limit.
 */

import type { LiveFlow } from './live-flow.ts'

/** Seconds round; longer than any time limit. */
const BUCKETS = 512

export interface TimerWheel {
  /** `second`: when the flow has to be looked at, at most 511 s ahead of the last `advance`. */
  add(flow: LiveFlow, second: number): void
  remove(flow: LiveFlow): void
  /**
   * Takes out flows whose second lies before `second` and hands them over, `atMost` of them; false when there
   * may be more: the next call goes on there.
   */
  advance(second: number, atMost: number, due: (flow: LiveFlow) => void): boolean
}

export function createTimerWheel(): TimerWheel {
  const heads: (LiveFlow | undefined)[] = new Array(BUCKETS).fill(undefined)
  let swept = Number.NaN

  function remove(flow: LiveFlow): void {
    if (!flow.waiting) return
    const { previous, next } = flow
    if (previous) previous.next = next
    else heads[flow.bucket & (BUCKETS - 1)] = next
    if (next) next.previous = previous
    flow.previous = undefined
    flow.next = undefined
    flow.waiting = false
  }

  function add(flow: LiveFlow, second: number): void {
    remove(flow)
    const slot = second & (BUCKETS - 1)
    const head = heads[slot]
    flow.bucket = second
    flow.next = head
    if (head) head.previous = flow
    heads[slot] = flow
    flow.waiting = true
  }

  /** Gives what is left of `atMost`. */
  function sweep(slot: number, before: number, atMost: number, due: (flow: LiveFlow) => void): number {
    let left = atMost
    let flow = heads[slot]
    while (flow && left > 0) {
      // `due` may end this flow or put it elsewhere, never another one.
      const { next }: LiveFlow = flow
      if (flow.bucket < before) {
        remove(flow)
        due(flow)
        left--
      }
      flow = next
    }
    return left
  }

  return {
    add,
    remove,
    advance(second, atMost, due) {
      // The first packet; or the clock of the capture was set back.
      if (Number.isNaN(swept) || second < swept - BUCKETS) swept = second
      swept = Math.max(swept, second - BUCKETS)
      let left = atMost
      while (swept < second) {
        left = sweep(swept & (BUCKETS - 1), second, left, due)
        if (left === 0) return false
        swept++
      }
      return true
    },
  }
}

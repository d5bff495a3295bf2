/** Weirds of the lower layers: each name once a flow, and without a flow once in ten minutes for a pair of addresses. */

import type { LiveFlow } from './live-flow.ts'
import type { WeirdEvent } from './types.ts'

/** Without a flow: the same name between the same addresses is told again only after so long, seconds. */
const REPEAT = 600
const MAX_REMEMBERED = 10_000

/** Names fit a bit mask a flow; there are fewer than 32. */
const BITS = new Map<string, number>()

export interface Addresses {
  origAddress: string
  origPort: number
  respAddress: string
  respPort: number
}

export interface Weirds {
  ofFlow(
    flow: LiveFlow,
    name: string,
    source: string,
    addl: string | undefined,
    who: () => Addresses & { uid: string },
  ): void
  ofPacket(name: string, source: string, addl: string | undefined, who?: Addresses): void
}

export function createWeirds(now: { time: number }, tell: ((event: WeirdEvent) => void) | undefined): Weirds {
  const told = new Map<string, number>()

  function common(
    name: string,
    source: string,
    addl: string | undefined,
  ): Pick<WeirdEvent, 'time' | 'name' | 'addl' | 'source'> {
    return { time: now.time, name, ...(addl ? { addl } : {}), ...(source ? { source } : {}) }
  }

  return {
    ofFlow(flow, name, source, addl, who) {
      if (!tell) return
      const bit = bitOf(name)
      if ((flow.weirds & bit) !== 0) return
      flow.weirds |= bit
      tell({ ...common(name, source, addl), flow: flow.index, ...who() })
    },
    ofPacket(name, source, addl, who) {
      if (!tell) return
      const key = who ? `${name} ${who.origAddress} ${who.respAddress}` : name
      const last = told.get(key)
      if (last !== undefined && Math.abs(now.time - last) < REPEAT) return
      if (told.size >= MAX_REMEMBERED) told.clear()
      told.set(key, now.time)
      tell({ ...common(name, source, addl), flow: -1, ...who })
    },
  }
}

function bitOf(name: string): number {
  let bit = BITS.get(name)
  if (bit === undefined) {
    bit = 1 << (BITS.size & 31)
    BITS.set(name, bit)
  }
  return bit
}

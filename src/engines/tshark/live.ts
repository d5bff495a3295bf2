/**
 * Flows while they are alive. In: packets. Out: for each flow that carries payload its identity (uid, Zeek's
 * orientation), its TCP segments and datagrams, and its conn record when it ends.
 */

import type { Packet } from '../../capture/packet.ts'
import { createFlowTable } from '../flows/table.ts'
import type {
  Flow as EndedFlow,
  FlowCounts,
  FlowIdentity,
  FlowTableOptions,
  PayloadView,
  SegmentView,
} from '../flows/types.ts'
import { NO_FLOW } from '../flows/types.ts'
import type { Flow } from './protocols/protocol.ts'

const TCP = 6
const UDP = 17

export interface LiveHandler<State> {
  /** A flow's first TCP segment, or its first datagram with payload; what this returns goes with all its packets. */
  open(isTcp: boolean): State
  /** Both views are valid during the call. */
  segment(state: State, fromOriginator: boolean, header: SegmentView, payload: PayloadView, ts: number): void
  datagram(state: State, fromOriginator: boolean, payload: PayloadView, ts: number): void
  close(state: State | undefined, flow: EndedFlow): void
}

export interface LiveFlows {
  /** @returns whether the packet belongs to a flow. */
  packet(packet: Packet): boolean
  /** The (innermost) flow of the packet last fed. */
  uid(): string | undefined
  /** Who that flow is; to be asked only where there is one. */
  identity(): Flow
  /** @param time when the capture ends, where that is later than the packet last fed. */
  finish(time?: number): void
  readonly counts: FlowCounts
}

export function createLiveFlows<State>(
  options: Omit<FlowTableOptions<State>, 'onFlow'>,
  handler: LiveHandler<State>,
): LiveFlows {
  const table = createFlowTable<State>({ ...options, onFlow: (flow, state) => handler.close(state, flow) })

  function open(isTcp: boolean): State {
    const state = handler.open(isTcp)
    table.state = state
    return state
  }

  return {
    packet(packet) {
      if (table.packet(packet) === NO_FLOW) return false
      const { ipProto, payload } = table
      if (ipProto === TCP)
        handler.segment(table.state ?? open(true), table.fromOriginator, table.segment, payload, table.lastTime)
      else if (ipProto === UDP && payload.length > 0)
        handler.datagram(table.state ?? open(false), table.fromOriginator, payload, table.lastTime)
      return true
    },
    uid: () => table.uid(),
    identity: () => flowOf(table.identity() as FlowIdentity),
    finish: (time) => void table.finish(undefined, time),
    get counts() {
      return table.counts
    },
  }
}

function flowOf(identity: FlowIdentity): Flow {
  const { uid, transport, origAddress, origPort, respAddress, respPort, localOrig, localResp, partial } = identity
  return {
    uid,
    origAddr: origAddress,
    origPort,
    respAddr: respAddress,
    respPort,
    transport,
    origLocal: localOrig,
    respLocal: localResp,
    partial,
  }
}

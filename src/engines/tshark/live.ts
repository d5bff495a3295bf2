/**
 * Flows while they are alive. In: packets. Out: for each flow its identity (uid, Zeek's orientation) from its
 * first packet on, its TCP segments and datagrams, and its conn record when it ends.
 *
 * Reads two parts of the flow table that its contract does not name: the flow behind an entry, and the TCP
 * header last decoded.
 */

import type { Packet } from '../../capture/packet.ts'
import type { FlowBook } from '../flows/flow-book.ts'
import type { LiveFlow } from '../flows/live-flow.ts'
import { createLocalNets } from '../flows/local-nets.ts'
import { createFlowTable } from '../flows/table.ts'
import { ACK, FIN, RST, SYN, type Segment as TcpHeader } from '../flows/tcp.ts'
import type { Flow as EndedFlow, FlowCounts, FlowTableOptions } from '../flows/types.ts'
import { NO_FLOW } from '../flows/types.ts'
import type { Flow } from './protocols/protocol.ts'
import type { Segment } from './reassembly.ts'

const TCP = 6

export interface LiveHandler<State> {
  /** A flow has begun; what this returns goes with all its packets. */
  open(flow: Flow): State
  segment(state: State, fromOriginator: boolean, segment: Segment, ts: number): void
  datagram(state: State, fromOriginator: boolean, payload: Buffer, ts: number): void
  close(state: State | undefined, flow: EndedFlow): void
}

export interface LiveFlows {
  /** @returns the uid of its (innermost) flow, or undefined for a packet of no flow. */
  packet(packet: Packet): string | undefined
  /** @param time when the capture ends, where that is later than the packet last fed. */
  finish(time?: number): void
  readonly counts: FlowCounts
}

interface Inside {
  book: FlowBook
  segment: TcpHeader
}

interface Entry<State> {
  live: LiveFlow
  state?: State
}

export function createLiveFlows<State>(
  options: Omit<FlowTableOptions, 'onFlow'>,
  handler: LiveHandler<State>,
): LiveFlows {
  const entries = new Map<number, Entry<State>>()
  const local = createLocalNets(options.localNets)
  const table = createFlowTable({
    ...options,
    onFlow(flow) {
      const entry = entries.get(flow.index)
      entries.delete(flow.index)
      handler.close(entry?.state, flow)
    },
  })
  const { book, segment: header } = table as unknown as Inside
  const begin = book.begin.bind(book)
  book.begin = (...args) => {
    const live = begin(...args)
    entries.set(live.index, { live })
    return live
  }

  function identity(live: LiveFlow): Flow {
    const [origAddr, respAddr] = [book.addressOf(live, true), book.addressOf(live, false)]
    const transport = live.protocol === TCP ? 'tcp' : live.protocol === 17 ? 'udp' : 'unknown_transport'
    return {
      uid: book.uidOf(live),
      origAddr,
      origPort: book.portOf(live, true),
      respAddr,
      respPort: book.portOf(live, false),
      transport,
      origLocal: isLocal(origAddr),
      respLocal: isLocal(respAddr),
      partial: live.protocol === TCP && (header.flags & SYN) === 0,
    }
  }

  function isLocal(address: string): boolean {
    if (!address.includes(':'))
      return local.has4(address.split('.').reduce((word, part) => (word << 8) | Number(part), 0))
    const [w0 = 0, w1 = 0, w2 = 0, w3 = 0] = words6(address)
    return local.has6(w0, w1, w2, w3)
  }

  return {
    packet(packet) {
      const entryNumber = table.packet(packet)
      if (entryNumber === NO_FLOW) return undefined
      const index = Math.floor(entryNumber / 2)
      const entry = entries.get(index)
      if (entry === undefined) return undefined
      const { live } = entry
      const fromFirst = entryNumber % 2 === 1
      const fromOriginator = (live.firstFromA === live.origIsA) === fromFirst
      const { payload } = table
      const ts = live.last
      if (live.protocol === TCP) {
        entry.state ??= handler.open(identity(live))
        // Where a tunnel carried a segment without payload, the view still shows the tunnel's own.
        const length = payload.transport === TCP ? payload.length : 0
        const bytes = payload.buffer.subarray(payload.offset, payload.offset + length)
        handler.segment(entry.state, fromOriginator, segmentOf(header, bytes), ts)
      } else if (live.protocol === 17 && payload.length > 0) {
        entry.state ??= handler.open(identity(live))
        const bytes = payload.buffer.subarray(payload.offset, payload.offset + payload.length)
        handler.datagram(entry.state, fromOriginator, bytes, ts)
      }
      return book.uidOf(live)
    },
    finish: (time) => table.finish(undefined, time),
    get counts() {
      return table.counts
    },
  }
}

function segmentOf({ seq, ack, flags, length }: TcpHeader, payload: Buffer): Segment {
  return {
    seq,
    ack,
    syn: (flags & SYN) !== 0,
    hasAck: (flags & ACK) !== 0,
    fin: (flags & FIN) !== 0,
    rst: (flags & RST) !== 0,
    payload,
    wireLength: Math.max(length, payload.length),
  }
}

/** Four 32-bit words of an IPv6 address in text. */
function words6(address: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address)
  const plain =
    dotted === null
      ? address
      : `${dotted[1]}${((Number(dotted[2]) << 8) | Number(dotted[3])).toString(16)}:${((Number(dotted[4]) << 8) | Number(dotted[5])).toString(16)}`
  const [head = '', tail] = plain.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [...left, ...Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right]
  return [0, 2, 4, 6].map(
    (i) => (Number.parseInt(groups[i] ?? '0', 16) << 16) | Number.parseInt(groups[i + 1] ?? '0', 16),
  )
}

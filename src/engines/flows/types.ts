/**
 * The contract of the flow layer: packets in, flows (Zeek's conn), tunnels and weirds out.
 *
 * ```ts
 * const table = createFlowTable({ captureId, onFlow: (flow) => store.append(flow) })
 * await readCapture(path, { onPacket: (packet) => { const entry = table.packet(packet) } })
 * table.finish()
 * ```
 * Memory follows the flows that are alive in trace time, never the length of the capture: what must
 * outlive a flow is handed out through `onFlow` as plain data, once, when the flow ends.
 */

import type { Packet } from '../../capture/packet.ts'

export type Transport = 'tcp' | 'udp' | 'icmp' | 'unknown_transport'

/** One side of a flow. */
export interface FlowSide {
  address: string
  /** For ICMP the message type (originator) and its counterpart or code (responder), as in Zeek's conn log. */
  port: number
  /** Payload bytes; for TCP by sequence numbers, so gaps count. */
  bytes: number
  packets: number
  /** IP total lengths. */
  ipBytes: number
  /** MAC address of the first packet seen, as `00:11:22:33:44:55`; absent without a link layer address. */
  l2?: string
}

/** A flow that has ended: plain data, can be stored and read back as JSON. */
export interface Flow {
  /** From 0 in the order in which flows begin, no gaps. What `FlowTable.packet` and the shard sidecars refer to. */
  index: number
  uid: string
  transport: Transport
  ipProto: number
  /** Zeek's originator and responder. */
  orig: FlowSide
  resp: FlowSide
  /** The sender of the flow's first packet is the originator: turns `fromFirst` of an entry into `is_orig`. */
  firstIsOrig: boolean
  /** First packet, seconds since the epoch at Zeek's resolution (microseconds, rest cut off). */
  startTime: number
  /** Last packet minus first packet, seconds. */
  duration: number
  /** TCP whose first packet was no SYN. */
  partial: boolean
  connState: string
  history: string
  missedBytes: number
  localOrig: boolean
  localResp: boolean
  /** uids of the tunnels that the flow's packets came through. */
  tunnelParents: string[]
  vlan?: number
  innerVlan?: number
  /** The tunnel protocol that this (outer) flow carries, as in conn.service: `vxlan`, `gtpv1`, … */
  tunnelService?: string
  /** What the payload looks like (`ssh`, `http`, …: Zeek's service names), from the first bytes of either side. */
  sniffed?: string
  /** What the responder's port is registered for in Zeek, whatever the payload looks like. */
  portGuess?: string
}

/** One line of Zeek's tunnel log. `uid` is absent in no tunnel of this layer. */
export interface TunnelEvent {
  time: number
  uid: string
  origAddress: string
  origPort: number
  respAddress: string
  respPort: number
  /** `Tunnel::GRE`, `Tunnel::IP`, `Tunnel::TEREDO`, `Tunnel::VXLAN`, … */
  type: string
  action: 'Tunnel::DISCOVER' | 'Tunnel::CLOSE'
}

/** A weird of the link, network, transport or tunnel layer. */
export interface WeirdEvent {
  time: number
  name: string
  /** Index of the flow, -1 where there is none (then addresses may still be known). */
  flow: number
  uid?: string
  origAddress?: string
  origPort?: number
  respAddress?: string
  respPort?: number
  addl?: string
  /** The analyzer as Zeek names it: `TCP`, `IP`, `TEREDO`, …; absent for a flow's or a network's weird. */
  source?: string
}

/** A flow whose payload breaks the tunnel protocol of its port. */
export interface ViolationEvent {
  time: number
  uid: string
  origAddress: string
  origPort: number
  respAddress: string
  respPort: number
  transport: Transport
  /** The analyzer as Zeek names it: `GTPV1`. */
  analyzer: string
  reason: string
}

export interface FlowTableOptions<State = unknown> {
  /** SHA-256 of the capture (or any string): uids follow from it, so those of different captures differ. */
  captureId: string
  /** A flow has ended (closed, timed out, or `finish`); with it comes what the caller put into `FlowTable.state`. */
  onFlow: (flow: Flow, state: State | undefined) => void
  onTunnel?: (event: TunnelEvent) => void
  onWeird?: (event: WeirdEvent) => void
  onViolation?: (event: ViolationEvent) => void
  /** CIDR prefixes that count as local (default: Zeek's, the private address space). */
  localNets?: readonly string[]
}

/**
 * What `FlowTable.packet` returns and the sidecars hold: `NO_FLOW`, or `flowIndex * 2 + (1 if the packet was
 * sent by the sender of the flow's FIRST packet)`. Not "by the originator": a flow may be turned round later,
 * the entries of its earlier packets stay right.
 */
export type FlowEntry = number

export const NO_FLOW: FlowEntry = 0xffff_ffff

export interface FlowTable<State = unknown> {
  /** Feeds one packet, in file order; gives the entry of its INNERMOST flow. Never throws on hostile bytes. */
  packet(packet: Packet): FlowEntry
  /**
   * The innermost transport payload of the packet last fed: `length` 0 where there is none. Offsets refer to
   * `buffer` (the packet's own, or that of a reassembled datagram); valid until the next call of `packet`.
   */
  readonly payload: PayloadView
  /** The TCP header of the packet last fed; of use only where its flow is TCP. */
  readonly segment: SegmentView
  /** The flow of the packet last fed while it is alive: undefined for `NO_FLOW`. */
  identity(): FlowIdentity | undefined
  /** Its uid alone. Both are worked out when asked for: not for each packet where they are not needed. */
  uid(): string | undefined
  /** Whatever the caller keeps with that flow; undefined until it is set, and for `NO_FLOW`. */
  state: State | undefined
  /** The IP protocol of that flow, and the time of its last packet that counts for its duration. 0 for `NO_FLOW`. */
  readonly ipProto: number
  readonly lastTime: number
  /** The packet last fed was sent by the originator of its flow, as things stand now. */
  readonly fromOriginator: boolean
  /**
   * Ends flows that are still alive, in the order of their indexes: all, or the first `atMost`. Gives how many
   * are left, so that a caller with very many can let others run in between. `time`: when the capture ends, where
   * that is later than the packet last fed.
   */
  finish(atMost?: number, time?: number): number
  readonly counts: FlowCounts
}

export interface PayloadView {
  buffer: Buffer
  offset: number
  length: number
  transport: number
}

export interface SegmentView {
  seq: number
  ack: number
  /** The flag byte of the header: FIN 1, SYN 2, RST 4, PSH 8, ACK 16. */
  flags: number
  window: number
  /** Payload bytes on the wire. */
  length: number
  /** All of the payload was captured. */
  whole: boolean
}

/** What is known of a flow from its first packet on. Originator and responder may still change places. */
export interface FlowIdentity {
  index: number
  uid: string
  transport: Transport
  ipProto: number
  origAddress: string
  origPort: number
  respAddress: string
  respPort: number
  localOrig: boolean
  localResp: boolean
  /** TCP whose first packet was no SYN. */
  partial: boolean
}

export interface FlowCounts {
  packets: number
  /** Packets that ended in a flow. */
  inFlows: number
  /** Packets that belong to no flow by their nature, by protocol: `arp`, `802.11 control`, `fragment`, … */
  nonFlow: Record<string, number>
  /** Packets that could not be decoded, by reason: `link type 195`, `truncated IPv4 header`, … */
  undecoded: Record<string, number>
  flows: number
  /** Live flows at the moment, and the most there ever were. */
  live: number
  peakLive: number
  /** Flows by guessed protocol: payload signature first, registered port else. */
  protocols: Record<string, number>
  /** Signatures met on ports that are not registered for them: what `-d tcp.port==N,proto` is for. */
  oddPorts: OddPort[]
}

export interface OddPort {
  transport: 'tcp' | 'udp'
  /** The responder's port. */
  port: number
  protocol: string
  flows: number
}

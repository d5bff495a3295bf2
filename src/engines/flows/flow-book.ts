/**
 * The life of flows: found by key, begun, kept while packets come, ended by time limits, handed out as
 * plain data.
 */

import { be32, ip4Text, ip6Text, macText } from './address.ts'
import { connState, payloadBytes } from './conn-state.ts'
import { FlowMap, KEY_WORDS } from './flow-map.ts'
import { CLOSED, INACTIVE, LiveFlow, RESET, type Side, SYN_SENT } from './live-flow.ts'
import { createLocalNets, type LocalNets } from './local-nets.ts'
import type { Ip } from './network.ts'
import { portProtocol } from './ports.ts'
import { createTimerWheel, type TimerWheel } from './timer-wheel.ts'
import type { Flow, FlowIdentity, FlowSide, Transport } from './types.ts'
import { createUidMaker, seedOf, type UidMaker } from './uid.ts'

export const TCP = 6
export const UDP = 17
export const ICMP = 1
export const ICMP6 = 58

const TRANSPORTS: Record<number, Transport> = { [TCP]: 'tcp', [UDP]: 'udp', [ICMP]: 'icmp', [ICMP6]: 'icmp' }

/** Zeek's defaults, seconds. */
const INACTIVITY = { tcp: 300, other: 60 }
/** tcp_attempt_delay: a SYN without an answer. */
const ATTEMPT = 5
/** tcp_close_delay and tcp_connection_linger: both sides are done. */
const CLOSE = 5
/** dns_session_timeout: how often a DNS flow is looked at, and the silence that ends it then, a second less. */
const DNS_SESSION = 10
const DNS_SILENCE = 9
/** Flows ended before one packet is looked at (Zeek has such a limit too); the others wait for the next packet. */
const MAX_EXPIRED = 100
/** tcp_partial_close_delay: one side is done and nothing was seen of the other. */
const PARTIAL_CLOSE = 3

/** The clock of the capture, and the packet's exact time. */
export interface Now {
  time: number
  seconds: number
  nanos: number
  /** Position of the packet in the capture. */
  ordinal: number
}

/** A packet that comes so much behind the clock may belong to a flow that has ended long ago, seconds. */
const LATE = 3
const LATE_OCCURRENCE = 0x8000_0000

const V6_BIT = 0x100
const ONE_WAY_BACK = 0x200

export interface BookOptions {
  captureId: string
  localNets: readonly string[] | undefined
  onEnd: (live: LiveFlow, flow: Flow) => void
}

export class FlowBook {
  readonly now: Now
  begun = 0
  peak = 0
  private readonly map: FlowMap
  private readonly wheel: TimerWheel = createTimerWheel()
  private readonly uid: UidMaker
  private readonly local: LocalNets
  private readonly onEnd: BookOptions['onEnd']
  private readonly due = (flow: LiveFlow): void => this.expire(flow)
  private clock = Number.NEGATIVE_INFINITY
  private upToDate = true
  /** A flow has ended before its time, or began before the one that it follows: the packets' times go to and fro. */
  private disordered = false
  /** The flow with the key set last that `find` ended. */
  private replaced: LiveFlow | undefined = undefined
  private ending: LiveFlow[] | undefined = undefined

  constructor(now: Now, { captureId, localNets, onEnd }: BookOptions) {
    this.now = now
    this.map = new FlowMap(seedOf(captureId))
    this.uid = createUidMaker(captureId)
    this.local = createLocalNets(localNets)
    this.onEnd = onEnd
  }

  get live(): number {
    return this.map.size
  }

  /** Ends what is due before the packet in hand is looked at. */
  tick(): void {
    const { time } = this.now
    // Time does not run backwards: packets out of order are late.
    if (time <= this.clock && this.upToDate) return
    const before = Math.floor(this.clock)
    this.clock = Math.max(time, this.clock)
    const second = Math.floor(this.clock)
    if (second !== before || !this.upToDate) this.upToDate = this.wheel.advance(second, MAX_EXPIRED, this.due)
  }

  /**
   * Makes the key of a packet; true when its sender is the key's first address. `oneWay`: packets in the
   * other direction are another flow.
   */
  setKey(ip: Ip, protocol: number, srcPort: number, dstPort: number, oneWay: boolean): boolean {
    const { key } = this.map
    const { buffer, src, dst } = ip
    this.replaced = undefined
    const fromA = isFirst(ip, srcPort, dstPort)
    const a = fromA ? src : dst
    const b = fromA ? dst : src
    key[0] = be32(buffer, a)
    key[4] = be32(buffer, b)
    key[8] = fromA ? (srcPort << 16) | dstPort : (dstPort << 16) | srcPort
    let word = protocol
    if (ip.version === 6) {
      for (let i = 1; i < 4; i++) {
        key[i] = be32(buffer, a + i * 4)
        key[i + 4] = be32(buffer, b + i * 4)
      }
      word |= V6_BIT
    } else {
      key[1] = key[2] = key[3] = key[5] = key[6] = key[7] = 0
    }
    key[9] = oneWay && !fromA ? word | ONE_WAY_BACK : word
    return fromA
  }

  /** The live flow of the key set last; one that is due is ended instead. */
  find(ip: Ip): LiveFlow | undefined {
    const flow = this.map.find(ip.version === 4)
    if (flow === undefined) return undefined
    if ((this.clock - flow.last >= PARTIAL_CLOSE || flow.resp.packets === 0) && this.isOver(flow)) {
      this.endDue(flow)
      this.replaced = flow
      return undefined
    }
    return flow
  }

  /** A new flow with the key set last. `before`: the flow with that key that it replaces. */
  begin(ip: Ip, protocol: number, fromA: boolean, origIsA: boolean, before?: LiveFlow): LiveFlow {
    const { seconds, nanos } = this.now
    const occurrence = this.occurrence(before ?? this.replaced)
    const flow = new LiveFlow(this.begun++, protocol, ip.version, fromA, origIsA, seconds, nanos, occurrence)
    this.map.insert(flow)
    this.schedule(flow)
    if (this.map.size > this.peak) this.peak = this.map.size
    return flow
  }

  /** What makes the uids of flows with the same key and the same time differ. */
  private occurrence(before: LiveFlow | undefined): number {
    const { time, seconds, nanos, ordinal } = this.now
    if (before && before.start > time) this.disordered = true
    if (this.disordered || this.clock - time >= LATE) return LATE_OCCURRENCE + ordinal
    return before?.startSeconds === seconds && before.startNanos === nanos ? before.occurrence + 1 : 0
  }

  /** The flow's deadline has come nearer. */
  hasten(flow: LiveFlow): void {
    const second = this.dueSecond(flow)
    if (second < flow.bucket) this.wheel.add(flow, second)
  }

  private schedule(flow: LiveFlow): void {
    this.wheel.add(flow, this.dueSecond(flow))
  }

  /** Never in the past: the wheel has gone by there. */
  private dueSecond(flow: LiveFlow): number {
    return Math.max(Math.floor(deadlineOf(flow)), Math.floor(this.clock))
  }

  private expire(flow: LiveFlow): void {
    if (this.isOver(flow)) this.endDue(flow)
    else this.schedule(flow)
  }

  /** No time limit is as short as `LATE`, unless a flow's last packet came before its first. */
  private endDue(flow: LiveFlow): void {
    if (flow.start + LATE > this.clock) this.disordered = true
    this.end(flow)
  }

  /** For a flow of DNS over UDP. */
  watchDns(flow: LiveFlow): void {
    flow.dnsTimer = flow.start + DNS_SESSION
    this.hasten(flow)
  }

  private isOver(flow: LiveFlow): boolean {
    if (flow.dnsTimer > 0 && this.clock >= flow.dnsTimer) {
      if (this.clock - flow.last >= DNS_SILENCE) return true
      flow.dnsTimer = this.clock + DNS_SESSION
    }
    return this.clock >= deadlineOf(flow)
  }

  end(flow: LiveFlow): void {
    flow.alive = false
    const plain = this.plain(flow)
    this.wheel.remove(flow)
    this.map.remove(flow)
    this.onEnd(flow, plain)
  }

  /** Ends up to `atMost` flows, in the order in which they began; gives how many are left. */
  finish(atMost: number): number {
    this.ending ??= this.map.all().sort((a, b) => b.index - a.index)
    for (let left = atMost; left > 0 && this.ending.length > 0; left--) {
      const flow = this.ending.pop() as LiveFlow
      if (flow.alive) this.end(flow)
    }
    const rest = this.ending.length
    if (rest === 0) this.ending = undefined
    return rest
  }

  identity(flow: LiveFlow): FlowIdentity {
    return {
      index: flow.index,
      uid: this.uidOf(flow),
      transport: TRANSPORTS[flow.protocol] ?? 'unknown_transport',
      ipProto: flow.protocol,
      origAddress: this.addressOf(flow, true),
      origPort: this.portOf(flow, true),
      respAddress: this.addressOf(flow, false),
      respPort: this.portOf(flow, false),
      localOrig: this.isLocal(flow, true),
      localResp: this.isLocal(flow, false),
      partial: flow.partial,
    }
  }

  uidOf(flow: LiveFlow): string {
    if (flow.uid === '') {
      const at = flow.slot * KEY_WORDS
      const key = this.map.keys.subarray(at, at + KEY_WORDS)
      flow.uid = this.uid(key, flow.startSeconds, flow.startNanos, flow.occurrence, flow.begunIn)
    }
    return flow.uid
  }

  /** Address and port of the originator or the responder. */
  addressOf(flow: LiveFlow, ofOrig: boolean): string {
    const { keys } = this.map
    const at = flow.slot * KEY_WORDS + (ofOrig === flow.origIsA ? 0 : 4)
    if (flow.version === 4) return ip4Text(keys[at] as number)
    return ip6Text(keys[at] as number, keys[at + 1] as number, keys[at + 2] as number, keys[at + 3] as number)
  }

  portOf(flow: LiveFlow, ofOrig: boolean): number {
    const ports = this.map.keys[flow.slot * KEY_WORDS + 8] as number
    return ofOrig === flow.origIsA ? ports >>> 16 : ports & 0xffff
  }

  private isLocal(flow: LiveFlow, ofOrig: boolean): boolean {
    const { keys } = this.map
    const at = flow.slot * KEY_WORDS + (ofOrig === flow.origIsA ? 0 : 4)
    if (flow.version === 4) return this.local.has4(keys[at] as number)
    return this.local.has6(keys[at] as number, keys[at + 1] as number, keys[at + 2] as number, keys[at + 3] as number)
  }

  private plain(flow: LiveFlow): Flow {
    const transport = TRANSPORTS[flow.protocol] ?? 'unknown_transport'
    const orig = this.side(flow, flow.orig, true)
    const resp = this.side(flow, flow.resp, false)
    const portGuess =
      transport === 'tcp' || transport === 'udp' ? portProtocol(transport === 'tcp', resp.port) : undefined
    return {
      index: flow.index,
      uid: this.uidOf(flow),
      transport,
      ipProto: flow.protocol,
      orig,
      resp,
      firstIsOrig: flow.firstFromA === flow.origIsA,
      startTime: flow.start,
      duration: flow.last - flow.start,
      partial: flow.partial,
      connState: connState(flow),
      history: flow.history,
      missedBytes: flow.orig.missed + flow.resp.missed,
      localOrig: this.isLocal(flow, true),
      localResp: this.isLocal(flow, false),
      tunnelParents: flow.parents ?? [],
      ...(flow.vlan >= 0 ? { vlan: flow.vlan } : {}),
      ...(flow.innerVlan >= 0 ? { innerVlan: flow.innerVlan } : {}),
      ...(flow.service !== '' ? { tunnelService: flow.service } : {}),
      ...(flow.sniffed !== '' ? { sniffed: flow.sniffed } : {}),
      ...(portGuess !== undefined ? { portGuess } : {}),
    }
  }

  private side(flow: LiveFlow, side: Side, isOrig: boolean): FlowSide {
    return {
      address: this.addressOf(flow, isOrig),
      port: this.portOf(flow, isOrig),
      bytes: flow.protocol === TCP ? payloadBytes(side) : side.bytes,
      packets: side.packets,
      ipBytes: side.ipBytes,
      ...(side.macHigh >= 0 ? { l2: macText(side.macHigh, side.macLow) } : {}),
    }
  }
}

/** The sender comes first in the key: by address, then by port. */
function isFirst({ buffer, src, dst, version }: Ip, srcPort: number, dstPort: number): boolean {
  const words = version === 4 ? 1 : 4
  for (let i = 0; i < words; i++) {
    const a = be32(buffer, src + i * 4)
    const b = be32(buffer, dst + i * 4)
    if (a !== b) return a >>> 0 < b >>> 0
  }
  return srcPort <= dstPort
}

function isDone({ state }: Side): boolean {
  return state === CLOSED || state === RESET
}

/** The time at which the flow ends if nothing more comes. */
function deadlineOf(flow: LiveFlow): number {
  if (flow.dnsTimer > 0) return Math.min(flow.dnsTimer, flow.last + INACTIVITY.other)
  if (flow.protocol !== TCP) return flow.last + INACTIVITY.other
  const { orig, resp } = flow
  if (orig.state === SYN_SENT && resp.state === INACTIVE) return flow.start + ATTEMPT
  if (isDone(orig))
    return (
      flow.last +
      (isDone(resp) || orig.state === RESET ? CLOSE : resp.state === INACTIVE ? PARTIAL_CLOSE : INACTIVITY.tcp)
    )
  if (isDone(resp))
    return flow.last + (resp.state === RESET ? CLOSE : orig.state === INACTIVE ? PARTIAL_CLOSE : INACTIVITY.tcp)
  return flow.last + INACTIVITY.tcp
}

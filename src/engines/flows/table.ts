/**
 * The flow table: packets in, flows out, as Zeek sees them. See types.ts for the contract.
 *
 * One pass, layer by layer: link → network (fragments put together) → transport → what a tunnel carries,
 * again from the network layer. Objects are reused throughout; an ordinary packet allocates nothing.
 */

import type { Packet } from '../../capture/packet.ts'
import { be16, be32, ip4Text, ip6Text } from './address.ts'
import { Encapsulation, MAX_DEPTH } from './encapsulation.ts'
import { FlowBook, ICMP, ICMP6, type Now, TCP, UDP } from './flow-book.ts'
import { createReassembler } from './fragments.ts'
import { guessTcp, guessUdp } from './guess.ts'
import { icmpAnswer } from './icmp.ts'
import { decodeEthernet, decodeLink, emptyLink, NET_NONE, ppp, reset as resetLink, wifi } from './link.ts'
import {
  ACTIVE,
  CLOSED,
  ESTABLISHED,
  H_DATA,
  H_STOPPED,
  type LiveFlow,
  note,
  PARTIAL,
  RESET,
  SYN_ACK_SENT,
  timeOf,
} from './live-flow.ts'
import { decodeIp, emptyIp, type Ip, ODD_LENGTH } from './network.ts'
import { isLikelyServer, portProtocol } from './ports.ts'
import { ACK, RST, type Segment, SYN, tcpSegment } from './tcp.ts'
import { emptyInner, gre, isCutIp, type UdpTunnel, udpTunnel } from './tunnels.ts'
import type { FlowCounts, FlowEntry, FlowIdentity, FlowTable, FlowTableOptions, OddPort, PayloadView } from './types.ts'
import { NO_FLOW } from './types.ts'
import { type Addresses, createWeirds, type Weirds } from './weirds.ts'

const GRE = 47
const IP_IN_IP = 4
const IP6_IN_IP = 41
const NO_NEXT_HEADER = 59
const ESP = 50
const MOBILITY = 135

/** Tunnel::max_changes_per_connection. */
const MAX_TUNNEL_CHANGES = 5
/** Payloads of a flow that are looked at for a guess. */
const MAX_SNIFFS = 4
/** Protocols and ports come from hostile bytes: no more than this many different ones are counted. */
const MAX_ODD_PORTS = 4096

export function createFlowTable<State = unknown>(options: FlowTableOptions<State>): FlowTable<State> {
  return new Table<State>(options)
}

class Table<State> implements FlowTable<State> {
  readonly payload: PayloadView = { buffer: Buffer.alloc(0), offset: 0, length: 0, transport: 0 }
  private readonly now: Now = { time: 0, seconds: 0, nanos: 0, ordinal: 0 }
  private readonly book: FlowBook
  private readonly weirds: Weirds
  private readonly tunnels: Encapsulation
  private readonly fragments = createReassembler()
  private readonly links = Array.from({ length: MAX_DEPTH + 1 }, emptyLink)
  private readonly ips: Ip[] = Array.from({ length: MAX_DEPTH + 1 }, emptyIp)
  private readonly inner = emptyInner()
  readonly segment: Segment = { seq: 0, ack: 0, flags: 0, window: 0, length: 0, whole: true, scale: -1 }
  private readonly flowWeird = (flow: LiveFlow, name: string, source: string, addl?: string): void => {
    this.weirds.ofFlow(flow, name, source, addl, () => this.whoIs(flow))
  }
  /** The innermost flow of the packet in hand. */
  private last: LiveFlow | undefined = undefined
  private lastFromA = false
  /** Why the packet in hand is in no flow. */
  private reason = ''
  private faulty = false
  /** The innermost tunnel of the packet in hand is GRE or IP in IP. */
  private inIpTunnel = false
  private packets = 0
  private inFlows = 0
  private readonly nonFlow: Record<string, number> = {}
  private readonly undecoded: Record<string, number> = {}
  private readonly protocols: Record<string, number> = {}
  private readonly oddPorts = new Map<string, OddPort>()
  private readonly onViolation: FlowTableOptions<State>['onViolation']

  constructor({ captureId, localNets, onFlow, onTunnel, onWeird, onViolation }: FlowTableOptions<State>) {
    this.onViolation = onViolation
    this.tunnels = new Encapsulation(captureId, onTunnel)
    this.weirds = createWeirds(this.now, onWeird)
    this.book = new FlowBook(this.now, {
      captureId,
      localNets,
      onEnd: (live, flow) => {
        if (live.tunnelRef) this.tunnels.close(live.tunnelRef, this.now.time)
        this.count(flow.sniffed ?? flow.portGuess, flow.sniffed, flow.portGuess, flow.transport, flow.resp.port)
        onFlow(flow, live.state as State | undefined)
      },
    })
  }

  get counts(): FlowCounts {
    return {
      packets: this.packets,
      inFlows: this.inFlows,
      nonFlow: this.nonFlow,
      undecoded: this.undecoded,
      flows: this.book.begun,
      live: this.book.live,
      peakLive: this.book.peak,
      protocols: this.protocols,
      oddPorts: [...this.oddPorts.values()],
    }
  }

  finish(atMost = Number.POSITIVE_INFINITY, time?: number): number {
    if (time !== undefined) this.now.time = time
    this.last = undefined
    return this.book.finish(atMost)
  }

  identity(): FlowIdentity | undefined {
    return this.last?.alive ? this.book.identity(this.last) : undefined
  }

  uid(): string | undefined {
    return this.last?.alive ? this.book.uidOf(this.last) : undefined
  }

  get state(): State | undefined {
    return this.last?.state as State | undefined
  }

  set state(state: State | undefined) {
    if (this.last?.alive) this.last.state = state
  }

  get ipProto(): number {
    return this.last?.protocol ?? 0
  }

  get lastTime(): number {
    return this.last?.last ?? 0
  }

  get fromOriginator(): boolean {
    return this.last !== undefined && this.lastFromA === this.last.origIsA
  }

  packet(packet: Packet): FlowEntry {
    const { buffer, offset, capLen } = packet
    const { now } = this
    this.packets++
    now.ordinal = packet.number
    now.seconds = packet.seconds
    now.nanos = packet.nanos
    now.time = timeOf(packet.seconds, packet.nanos)
    this.book.tick()
    this.payload.length = 0
    this.last = undefined
    this.tunnels.clear()
    this.reason = ''
    this.faulty = false
    const end = offset + capLen
    const link = this.links[0] as (typeof this.links)[0]
    decodeLink(link, packet.linkType, buffer, offset, end)
    if (link.weird !== '') this.weirds.ofPacket(link.weird, link.weirdSource, link.weirdAddl)
    let entry = NO_FLOW
    if (link.net === NET_NONE) this.give(link.reason, link.faulty)
    else {
      const wireEnd = link.end === end ? offset + Math.max(packet.origLen, capLen) : link.end
      entry = this.network(buffer, link.at, link.end, wireEnd, 0)
    }
    if (entry !== NO_FLOW) this.inFlows++
    else add(this.faulty ? this.undecoded : this.nonFlow, this.reason || 'other')
    return entry
  }

  private give(reason: string, faulty: boolean): FlowEntry {
    this.reason = reason
    this.faulty = faulty
    return NO_FLOW
  }

  // ---- network ------------------------------------------------------------------------------------------

  private network(buffer: Buffer, at: number, end: number, wireEnd: number, depth: number): FlowEntry {
    const ip = this.ips[depth] as Ip
    const fault = decodeIp(ip, buffer, at, end, wireEnd)
    if (ip.oddity !== '') this.oddity(ip)
    if (fault !== '') return this.badIp(fault, depth)
    if (ip.fragment) {
      const whole = this.fragments.add(ip, (name, source = '') =>
        this.weirds.ofPacket(name, source, undefined, addressesOf(ip)),
      )
      if (whole === undefined) return this.give('fragment', false)
      const who = addressesOf(ip)
      const again = decodeIp(ip, whole, 0, whole.length, whole.length)
      if (again !== '') this.weirds.ofPacket(again, 'IP', undefined, who)
      if (again !== '' || ip.fragment) return this.give('reassembled datagram', true)
    }
    // Of the innermost datagram: what a tunnel carries may have none.
    this.payload.length = 0
    this.payload.transport = ip.protocol
    switch (ip.protocol) {
      case TCP:
        return this.tcp(ip)
      case UDP:
        return this.udp(ip, depth)
      case ICMP:
      case ICMP6:
        return this.icmp(ip)
      case GRE:
        return this.gre(ip, depth)
      case IP_IN_IP:
      case IP6_IN_IP:
        return this.ipInIp(ip, depth)
      case NO_NEXT_HEADER:
        return this.give('ip without payload', false)
      case MOBILITY:
        return ip.version === 6 ? this.give('mobile ip', false) : this.other(ip)
      case ESP:
        return ip.version === 6 ? this.give('esp', false) : this.other(ip)
      default:
        return this.other(ip)
    }
  }

  private oddity(ip: Ip): void {
    if (ip.oddity === ODD_LENGTH) this.weirds.ofPacket(ip.oddity, 'IP', undefined)
    else this.weirds.ofPacket(ip.oddity, '', undefined, addressesOf(ip))
  }

  private badIp(fault: string, depth: number): FlowEntry {
    if (depth === 0) this.weirds.ofPacket(fault, 'IP', undefined)
    else if (this.inIpTunnel) {
      const name = fault === 'unknown_ip_version' ? 'invalid_inner_IP_version' : 'truncated_inner_IP'
      this.weirds.ofPacket(name, 'IPTUNNEL', undefined, addressesOf(this.ips[depth - 1] as Ip))
    }
    return this.give(`IP: ${fault}`, true)
  }

  // ---- transport ----------------------------------------------------------------------------------------

  private tcp(ip: Ip): FlowEntry {
    const { buffer, payload: at } = ip
    const captured = ip.end - at
    if (captured < 20 || ip.payloadLength < 20) {
      const name = ip.payloadLength < 20 ? 'truncated_header' : 'internally_truncated_header'
      this.weirds.ofPacket(name, 'TCP', undefined, addressesOf(ip))
      return this.give('truncated TCP header', true)
    }
    const srcPort = be16(buffer, at)
    const dstPort = be16(buffer, at + 2)
    const { segment } = this
    segment.seq = be32(buffer, at + 4) >>> 0
    segment.flags = buffer[at + 13] as number
    const fromA = this.book.setKey(ip, TCP, srcPort, dstPort, false)
    let flow = this.book.find(ip)
    let before: LiveFlow | undefined
    if (flow !== undefined && (segment.flags & (SYN | RST)) === SYN && this.isReuse(flow, fromA)) {
      before = flow
      this.book.end(flow)
      flow = undefined
    }
    const begun = flow === undefined
    if (flow === undefined) {
      flow = this.beginTcp(ip, fromA, srcPort, dstPort, before)
      flow.partial = (segment.flags & SYN) === 0
    }
    const isOrig = fromA === flow.origIsA
    if (flow.tunnel !== this.tunnels.current) this.changeTunnel(flow, isOrig)
    const closed = flow.closed
    if (!closed) flow.last = this.now.time
    const header = ((buffer[at + 12] as number) >> 4) * 4
    if (header < 20 || header > captured) {
      this.flowWeird(flow, header < 20 ? 'bad_TCP_header_len' : 'truncated_header', 'TCP')
      // Nothing of it counts: the view must not show the rest of an earlier segment.
      segment.flags = segment.length = segment.ack = 0
      return this.entryOf(flow, fromA)
    }
    this.countPacket(flow, isOrig, ip)
    segment.ack = be32(buffer, at + 8) >>> 0
    segment.window = be16(buffer, at + 14)
    segment.length = Math.max(0, ip.payloadLength - header)
    segment.whole = captured >= ip.payloadLength
    segment.scale = (segment.flags & SYN) !== 0 && header > 20 ? windowScale(buffer, at + 20, at + header) : -1
    const done = isDone(flow)
    const counts = tcpSegment(flow, isOrig, segment, this.flowWeird)
    if (closed && counts) flow.last = this.now.time
    if (begun || done !== isDone(flow)) this.book.hasten(flow)
    const bytes = captured - header
    if (bytes > 0) {
      this.setPayload(buffer, at + header, bytes, TCP)
      if (flow.sniffs < MAX_SNIFFS && flow.sniffed === '') {
        flow.sniffs++
        flow.sniffed = guessTcp(buffer, at + header, bytes)
      }
    }
    return this.entryOf(flow, fromA)
  }

  /** The receiver of a first packet is the originator when it comes from a server's port, or answers a SYN. */
  private beginTcp(ip: Ip, fromA: boolean, srcPort: number, dstPort: number, before: LiveFlow | undefined): LiveFlow {
    const { flags } = this.segment
    const fromServer = isLikelyServer(true, srcPort)
    const toServer = isLikelyServer(true, dstPort)
    if ((flags & (SYN | ACK)) === SYN) return this.beginFlow(ip, TCP, fromA, false, before)
    if (fromServer !== toServer || (flags & SYN) === 0)
      return this.beginFlow(ip, TCP, fromA, fromServer && !toServer, before)
    const flow = this.beginFlow(ip, TCP, fromA, false, before)
    this.flowWeird(flow, 'connection_originator_SYN_ack', 'TCP')
    flow.origIsA = !fromA
    flow.history = '^'
    flow.resp.state = SYN_ACK_SENT
    return flow
  }

  /** A SYN that opens another connection between the same ports. */
  private isReuse(flow: LiveFlow, fromA: boolean): boolean {
    const me = fromA === flow.origIsA ? flow.orig : flow.resp
    const { state } = me
    const nothingSeen = flow.orig.packets + flow.resp.packets === 0
    if (nothingSeen) {
      this.flowWeird(flow, 'active_connection_reuse', 'TCP')
      return true
    }
    if ((this.segment.flags & ACK) !== 0) return false
    if (state !== PARTIAL && state !== ESTABLISHED && state !== CLOSED && state !== RESET) return false
    if (me.synSeen && me.startRaw === (this.segment.seq | 0)) return false
    this.flowWeird(flow, isDone(flow) ? 'premature_connection_reuse' : 'active_connection_reuse', 'TCP')
    return true
  }

  private udp(ip: Ip, depth: number): FlowEntry {
    const { buffer, payload: at } = ip
    const captured = ip.end - at
    if (captured < 8 || ip.payloadLength < 8) {
      const name = ip.payloadLength < 8 ? 'truncated_header' : 'internally_truncated_header'
      this.weirds.ofPacket(name, 'UDP', undefined, addressesOf(ip))
      return this.give('truncated UDP header', true)
    }
    const srcPort = be16(buffer, at)
    const dstPort = be16(buffer, at + 2)
    const fromA = this.book.setKey(ip, UDP, srcPort, dstPort, false)
    const flow = this.book.find(ip) ?? this.beginUdp(ip, fromA, srcPort, dstPort)
    const isOrig = fromA === flow.origIsA
    if (flow.tunnel !== this.tunnels.current) this.changeTunnel(flow, isOrig)
    flow.last = this.now.time
    this.countPacket(flow, isOrig, ip)
    const side = isOrig ? flow.orig : flow.resp
    const told = be16(buffer, at + 4)
    if (told !== ip.payloadLength) {
      this.flowWeird(flow, 'UDP_datagram_length_mismatch', 'UDP', `${told} != ${ip.payloadLength}`)
    }
    const length = ip.payloadLength - 8
    side.bytes += length
    side.state = ACTIVE
    if (length > 0) note(flow, H_DATA, isOrig)
    const bytes = Math.min(captured - 8, length)
    if (bytes > 0) {
      this.setPayload(buffer, at + 8, bytes, UDP)
      if (flow.sniffs < MAX_SNIFFS && flow.sniffed === '')
        this.sniffUdp(flow, isOrig, ip, at + 8, bytes, srcPort, dstPort)
    }
    const tunnel = udpTunnel(dstPort, srcPort)
    const entry = this.entryOf(flow, fromA)
    return tunnel && bytes > 0
      ? this.udpTunnelPacket(tunnel, flow, isOrig, buffer, at + 8, bytes, length - bytes, depth, entry)
      : entry
  }

  private beginUdp(ip: Ip, fromA: boolean, srcPort: number, dstPort: number): LiveFlow {
    const flip = isLikelyServer(false, srcPort) && !isLikelyServer(false, dstPort)
    const flow = this.beginFlow(ip, UDP, fromA, flip)
    if (portProtocol(false, dstPort) === 'dns' || portProtocol(false, srcPort) === 'dns') this.book.watchDns(flow)
    return flow
  }

  private sniffUdp(
    flow: LiveFlow,
    isOrig: boolean,
    ip: Ip,
    at: number,
    length: number,
    srcPort: number,
    dstPort: number,
  ): void {
    const { buffer } = ip
    flow.sniffs++
    flow.sniffed = guessUdp(buffer, at, length)
    // An answer as the first packet of both servers' ports: Zeek's analyzers turn the flow round, after the
    // packet was counted for the side that then is the other one.
    if (
      flow.sniffs === 1 &&
      isOrig &&
      (isDnsAnswer(ip, at, length, dstPort) || isNtpAnswer(flow.sniffed, buffer, at, srcPort))
    ) {
      flow.origIsA = !flow.origIsA
      flow.history += '^'
    }
  }

  private icmp(ip: Ip): FlowEntry {
    const { buffer, payload: at } = ip
    const captured = ip.end - at
    if (captured < 8 || ip.payloadLength < 8) {
      const name = ip.payloadLength < 8 ? 'truncated_header' : 'internally_truncated_header'
      this.weirds.ofPacket(name, 'ICMP', undefined, addressesOf(ip))
      return this.give('truncated ICMP header', true)
    }
    const type = buffer[at] as number
    const answer = icmpAnswer(ip.protocol === ICMP6, type)
    const fromA = this.book.setKey(ip, ip.protocol, type, answer ?? (buffer[at + 1] as number), answer === undefined)
    const flow = this.book.find(ip) ?? this.beginFlow(ip, ip.protocol, fromA, false)
    const isOrig = fromA === flow.origIsA
    if (flow.tunnel !== this.tunnels.current) this.changeTunnel(flow, isOrig)
    flow.last = this.now.time
    const side = isOrig ? flow.orig : flow.resp
    side.bytes += ip.payloadLength - 8
    side.state = ACTIVE
    if (captured >= ip.payloadLength) this.countPacket(flow, isOrig, ip)
    this.setPayload(buffer, at + 8, captured - 8, ip.protocol)
    return this.entryOf(flow, fromA)
  }

  private other(ip: Ip): FlowEntry {
    const fromA = this.book.setKey(ip, ip.protocol, 0, 0, false)
    const flow = this.book.find(ip) ?? this.beginFlow(ip, ip.protocol, fromA, false)
    const isOrig = fromA === flow.origIsA
    if (flow.tunnel !== this.tunnels.current) this.changeTunnel(flow, isOrig)
    flow.last = this.now.time
    this.countPacket(flow, isOrig, ip)
    return this.entryOf(flow, fromA)
  }

  private countPacket(flow: LiveFlow, isOrig: boolean, ip: Ip): void {
    const side = isOrig ? flow.orig : flow.resp
    side.packets++
    side.ipBytes += ip.countedLength
  }

  private entryOf(flow: LiveFlow, fromA: boolean): FlowEntry {
    this.last = flow
    this.lastFromA = fromA
    return flow.index * 2 + (fromA === flow.firstFromA ? 1 : 0)
  }

  private setPayload(buffer: Buffer, offset: number, length: number, transport: number): void {
    const { payload } = this
    payload.buffer = buffer
    payload.offset = offset
    payload.length = length
    payload.transport = transport
  }

  // ---- flows --------------------------------------------------------------------------------------------

  private beginFlow(ip: Ip, protocol: number, fromA: boolean, mayFlip: boolean, before?: LiveFlow): LiveFlow {
    // Nobody speaks from a broadcast address.
    const flip = mayFlip && !isGroup(ip)
    const flow = this.book.begin(ip, protocol, fromA, flip ? !fromA : fromA, before)
    if (flip) flow.history = '^'
    const link = this.links[this.tunnels.depth] as (typeof this.links)[0]
    flow.vlan = link.vlan
    flow.innerVlan = link.innerVlan
    // A datagram put together, or a packet without a link layer, tells no MAC addresses.
    if (link.srcMac >= 0 && ip.at > link.srcMac && link.net !== NET_NONE)
      setMacs(flow, ip.buffer, link.srcMac, link.dstMac, flip)
    const { current } = this.tunnels
    flow.tunnel = current
    flow.begunIn = current
    if (current !== '') {
      flow.parents = [current]
      this.tunnels.register(this.now.time)
    }
    return flow
  }

  private changeTunnel(flow: LiveFlow, isOrig: boolean): void {
    if (flow.stopped) return
    if (++flow.tunnelChanges > MAX_TUNNEL_CHANGES) {
      this.flowWeird(flow, 'tunnel_max_changes_per_connection_exceeded', '', String(MAX_TUNNEL_CHANGES))
      flow.stopped = true
      note(flow, H_STOPPED, isOrig)
      return
    }
    const { current } = this.tunnels
    flow.tunnel = current
    if (current === '') return
    flow.parents ??= []
    if (!flow.parents.includes(current)) flow.parents.push(current)
    this.tunnels.register(this.now.time)
  }

  private whoIs(flow: LiveFlow): Addresses & { uid: string } {
    const { book } = this
    return {
      uid: book.uidOf(flow),
      origAddress: book.addressOf(flow, true),
      origPort: book.portOf(flow, true),
      respAddress: book.addressOf(flow, false),
      respPort: book.portOf(flow, false),
    }
  }

  private count(
    guess: string | undefined,
    sniffed: string | undefined,
    portGuess: string | undefined,
    transport: string,
    port: number,
  ): void {
    if (guess === undefined) return
    add(this.protocols, guess)
    if (sniffed === undefined || sniffed === portGuess || (transport !== 'tcp' && transport !== 'udp')) return
    const key = `${transport} ${port} ${sniffed}`
    const known = this.oddPorts.get(key)
    if (known) known.flows++
    else if (this.oddPorts.size < MAX_ODD_PORTS)
      this.oddPorts.set(key, { transport, port, protocol: sniffed, flows: 1 })
  }

  // ---- tunnels ------------------------------------------------------------------------------------------

  private gre(ip: Ip, depth: number): FlowEntry {
    if (!gre(this.inner, ip.buffer, ip.payload, ip.end)) return this.give('gre', false)
    return this.ipTunnelPacket('Tunnel::GRE', ip, depth)
  }

  private ipInIp(ip: Ip, depth: number): FlowEntry {
    const { inner } = this
    const captured = ip.end - ip.payload
    const version = captured > 0 ? (ip.buffer[ip.payload] as number) >> 4 : 0
    const expected = ip.protocol === IP_IN_IP ? 4 : 6
    const cut = captured < (expected === 4 ? 20 : 40)
    if (cut || version !== expected) {
      const name = cut ? 'truncated_inner_IP' : 'invalid_inner_IP_version'
      this.weirds.ofPacket(name, 'IPTUNNEL', undefined, addressesOf(ip))
      return this.give(`IP in IP: ${name}`, true)
    }
    inner.kind = 'ip'
    inner.at = ip.payload
    inner.end = ip.end
    return this.ipTunnelPacket('Tunnel::IP', ip, depth)
  }

  private ipTunnelPacket(type: string, ip: Ip, depth: number): FlowEntry {
    if (depth + 1 >= MAX_DEPTH) return this.give('too many tunnels', true)
    const { tunnels, now } = this
    tunnels.push(tunnels.ipTunnel(textOf(ip, ip.src), textOf(ip, ip.dst), type, now.time), now.time)
    this.inIpTunnel = true
    const wireEnd = ip.payload + ip.payloadLength
    return this.innerPacket(ip.buffer, wireEnd - ip.end, depth + 1)
  }

  private udpTunnelPacket(
    tunnel: UdpTunnel,
    flow: LiveFlow,
    isOrig: boolean,
    buffer: Buffer,
    at: number,
    length: number,
    missing: number,
    depth: number,
    entry: FlowEntry,
  ): FlowEntry {
    const { inner, tunnels, now, book } = this
    inner.weird = ''
    if (tunnel.analyzer !== undefined && tunnels.type === tunnel.type) {
      this.violation(flow, tunnel.analyzer, 'GTP-in-GTP')
      return entry
    }
    if (depth + 1 >= MAX_DEPTH || !tunnel.decode(inner, buffer, at, at + length)) return entry
    if (tunnel.analyzer !== undefined && isCutIp(buffer, inner.at, inner.end + missing)) {
      this.violation(flow, tunnel.analyzer, 'Truncated GTPv1')
      return entry
    }
    if (inner.kind === 'none') {
      flow.service = tunnel.service
      return entry
    }
    if (inner.weird !== '') this.flowWeird(flow, inner.weird, tunnel.type.slice('Tunnel::'.length).toUpperCase())
    flow.tunnelSides |= isOrig ? 1 : 2
    flow.tunnelRef ??= {
      uid: book.uidOf(flow),
      type: tunnel.type,
      origAddress: book.addressOf(flow, true),
      origPort: book.portOf(flow, true),
      respAddress: book.addressOf(flow, false),
      respPort: book.portOf(flow, false),
      logged: false,
      lastTime: now.time,
    }
    tunnels.push(flow.tunnelRef, now.time)
    this.inIpTunnel = false
    const result = this.innerPacket(buffer, missing, depth + 1)
    // Zeek believes in Teredo only once both sides speak it.
    if (tunnel.service !== 'teredo' || flow.tunnelSides === 3) flow.service = tunnel.service
    if (result !== NO_FLOW) return result
    this.setPayload(buffer, at, length, UDP)
    this.last = flow
    this.lastFromA = isOrig === flow.origIsA
    return entry
  }

  private violation(flow: LiveFlow, analyzer: string, reason: string): void {
    if (flow.violated) return
    flow.violated = true
    this.onViolation?.({ time: this.now.time, ...this.whoIs(flow), transport: 'udp', analyzer, reason })
  }

  /** What `this.inner` tells. `missing`: bytes at its end that were not captured. */
  private innerPacket(buffer: Buffer, missing: number, depth: number): FlowEntry {
    const { kind, at, end } = this.inner
    const link = this.links[depth] as (typeof this.links)[0]
    if (kind === 'ip') {
      resetLink(link)
      return this.network(buffer, at, end, end + missing, depth)
    }
    if (kind === 'ethernet') decodeEthernet(link, buffer, at, end)
    else {
      resetLink(link)
      if (kind === 'wifi') wifi(link, buffer, at, end)
      else ppp(link, buffer, at, end)
    }
    if (link.weird !== '') this.weirds.ofPacket(link.weird, link.weirdSource, link.weirdAddl)
    if (link.net === NET_NONE) return this.give(link.reason, link.faulty)
    return this.network(buffer, link.at, link.end, link.end === end ? end + missing : link.end, depth)
  }
}

function add(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}

function isDone(flow: LiveFlow): boolean {
  return (
    flow.orig.state === CLOSED || flow.orig.state === RESET || flow.resp.state === CLOSED || flow.resp.state === RESET
  )
}

/** DNS and NTP answers, where the ports do not tell the server. The header's bit is enough: what follows may be anything. */
function isDnsAnswer(ip: Ip, at: number, length: number, dstPort: number): boolean {
  if (portProtocol(false, dstPort) !== 'dns' || length < 12 || isMulticast(ip)) return false
  return ((ip.buffer[at + 2] as number) & 0x80) !== 0
}

function isNtpAnswer(service: string, buffer: Buffer, at: number, srcPort: number): boolean {
  return service === 'ntp' && srcPort === 123 && ((buffer[at] as number) & 7) === 4
}

const OPTION_END = 0
const OPTION_NOP = 1
const OPTION_SCALE = 3

function windowScale(bytes: Buffer, from: number, to: number): number {
  for (let at = from; at < to; ) {
    const kind = bytes[at] as number
    if (kind === OPTION_END) break
    if (kind === OPTION_NOP) at++
    else {
      const length = at + 1 < to ? (bytes[at + 1] as number) : 0
      if (length < 2 || at + length > to) break
      if (kind === OPTION_SCALE && length === 3) return bytes[at + 2] as number
      at += length
    }
  }
  return -1
}

function setMacs(flow: LiveFlow, buffer: Buffer, srcMac: number, dstMac: number, flip: boolean): void {
  const sender = flip ? flow.resp : flow.orig
  const receiver = flip ? flow.orig : flow.resp
  sender.macHigh = be16(buffer, srcMac)
  sender.macLow = be32(buffer, srcMac + 2)
  if (dstMac < 0) return
  receiver.macHigh = be16(buffer, dstMac)
  receiver.macLow = be32(buffer, dstMac + 2)
}

/** The destination is a broadcast or multicast address. */
function isGroup(ip: Ip): boolean {
  return isMulticast(ip) || (ip.version === 4 && be32(ip.buffer, ip.dst) === -1)
}

function isMulticast({ buffer, version, dst }: Ip): boolean {
  return version === 6 ? buffer[dst] === 0xff : ((buffer[dst] as number) & 0xf0) === 0xe0
}

function textOf({ buffer, version }: Ip, at: number): string {
  if (version === 4) return ip4Text(be32(buffer, at))
  return ip6Text(be32(buffer, at), be32(buffer, at + 4), be32(buffer, at + 8), be32(buffer, at + 12))
}

function addressesOf(ip: Ip): Addresses {
  return { origAddress: textOf(ip, ip.src), origPort: 0, respAddress: textOf(ip, ip.dst), respPort: 0 }
}

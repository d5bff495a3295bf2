/**
 * TCP: what a segment does to a flow: endpoint states, history, sizes, gaps, retransmissions.
 *
 * Follows Zeek's documentation of conn.log (conn_state, history, missed_bytes) and what its logs show for
 * the cases that the documentation leaves open.
 */

import {
  CLOSED,
  ESTABLISHED,
  H_ACK,
  H_DATA,
  H_FIN,
  H_GAP,
  H_INCONSISTENT,
  H_MULTI,
  H_RETRANSMIT,
  H_RST,
  H_SYN,
  H_SYN_ACK,
  H_WINDOW,
  INACTIVE,
  type LiveFlow,
  note,
  noteCount,
  PARTIAL,
  RESET,
  type Side,
  SYN_ACK_SENT,
  SYN_SENT,
} from './live-flow.ts'

export const FIN = 1
export const SYN = 2
export const RST = 4
export const ACK = 16

/** One segment; reused by the decoder. */
export interface Segment {
  seq: number
  ack: number
  flags: number
  window: number
  /** Payload bytes on the wire. */
  length: number
  /** All of the payload was captured. */
  whole: boolean
  /** Window scale option of a SYN, -1 for none. */
  scale: number
}

/** More stretches of data ahead of a gap than this are given up: the gap counts as a gap. */
const MAX_AHEAD = 2 * 4096

export type FlowWeird = (flow: LiveFlow, name: string, source: string, addl?: string) => void

/** True when the segment counts even after both sides closed: payload that had not been seen, a RST that answers one. */
export function tcpSegment(flow: LiveFlow, isOrig: boolean, segment: Segment, weird: FlowWeird): boolean {
  const me = isOrig ? flow.orig : flow.resp
  const peer = isOrig ? flow.resp : flow.orig
  const { flags } = segment
  if ((flags & (SYN | FIN | RST)) !== 0) {
    return controlSegment(flow, me, peer, isOrig, segment, weird)
  }
  if (segment.window === 0) zeroWindow(flow, me, isOrig)
  if (segment.length === 0 && (flags & ACK) !== 0) note(flow, H_ACK, isOrig)
  if (!me.started) begin(me, segment.seq - 1)
  else if (relative(me, segment.seq) < 0) weird(flow, 'TCP_seq_underflow_or_misorder', 'TCP')
  dataState(flow, me, peer, isOrig, segment, weird)
  if ((flags & ACK) !== 0) checkWindow(flow, me, peer, segment, weird)
  const fresh = receive(flow, me, peer, isOrig, segment, weird, false)
  if ((flags & ACK) !== 0) acknowledge(flow, peer, !isOrig, segment.ack)
  return fresh
}

/**
 * A receiver takes back room that it had offered, which it must not (RFC 9293, 3.8.6). Of segments that stand at the
 * same place in its own stream, for others may have come out of order; a scaled window is known to a unit.
 */
function checkWindow(flow: LiveFlow, me: Side, peer: Side, segment: Segment, weird: FlowWeird): void {
  if (!peer.started) return
  const ack = relative(peer, segment.ack)
  if (ack < 0) weird(flow, 'TCP_ack_underflow_or_misorder', 'TCP')
  const unit = me.scale >= 0 && peer.scale >= 0 ? 2 ** me.scale : 1
  const edge = ack + segment.window * unit
  if (me.synSeen && segment.seq === me.windowSeq && ack >= me.windowAck && edge <= me.windowEdge - unit)
    weird(flow, 'window_recision', '')
  me.windowSeq = segment.seq
  me.windowAck = ack
  me.windowEdge = edge
}

function zeroWindow(flow: LiveFlow, me: Side, isOrig: boolean): void {
  noteCount(flow, H_WINDOW, isOrig, ++me.zeroWindows)
}

/** `raw` is where a SYN stands or would have stood: payload begins behind it. */
function begin(side: Side, raw: number): void {
  side.started = true
  side.startRaw = raw | 0
  side.high = 1
  side.highRaw = (raw + 1) | 0
  side.next = 1
  side.acked = 0
}

/** Of a raw sequence number of this side, counted from its start without wrapping. */
function relative(side: Side, raw: number): number {
  return side.high + ((raw - side.highRaw) | 0)
}

// ---- SYN, FIN, RST --------------------------------------------------------------------------------------

function controlSegment(
  flow: LiveFlow,
  me: Side,
  peer: Side,
  isOrig: boolean,
  segment: Segment,
  weird: FlowWeird,
): boolean {
  const { flags, seq } = segment
  const syn = (flags & SYN) !== 0
  const fin = (flags & FIN) !== 0
  const rst = (flags & RST) !== 0
  if (syn && (fin || rst)) note(flow, H_MULTI, isOrig)
  if (fin && rst) note(flow, H_INCONSISTENT, isOrig)
  if (syn) note(flow, (flags & ACK) !== 0 ? H_SYN_ACK : H_SYN, isOrig)
  if (!rst && !syn && segment.window === 0) zeroWindow(flow, me, isOrig)
  if (!me.started) {
    // A RST in answer to a SYN has no number of its own.
    if (syn || !rst) begin(me, syn ? seq : seq - 1)
  } else if (syn) repeatedSyn(flow, me, seq, weird)
  const loneFin = fin && !syn && me.state === INACTIVE
  if (syn) synState(flow, me, peer, isOrig, segment, weird)
  else if (!rst) dataState(flow, me, peer, isOrig, segment, weird)
  if (fin) finState(flow, me, peer, isOrig, weird)
  if (rst) {
    rstState(flow, me, peer, isOrig, segment, weird)
    return me.rsts === 1 && peer.rsts > 0
  }
  const fresh = receive(flow, me, peer, isOrig, segment, weird, loneFin)
  if ((flags & ACK) !== 0) acknowledge(flow, peer, !isOrig, segment.ack)
  return fresh
}

/** What follows a repeated SYN is not counted as retransmitted: the count of what was sent begins anew. */
function repeatedSyn(flow: LiveFlow, me: Side, seq: number, weird: FlowWeird): void {
  if (me.startRaw === (seq | 0)) {
    me.high = 1
    me.highRaw = (seq + 1) | 0
  } else if (me.state === SYN_SENT || me.state === INACTIVE) {
    weird(flow, 'SYN_seq_jump', 'TCP')
    begin(me, seq)
  }
}

function synState(flow: LiveFlow, me: Side, peer: Side, isOrig: boolean, segment: Segment, weird: FlowWeird): void {
  const ack = (segment.flags & ACK) !== 0
  me.synSeen = true
  me.scale = Math.min(14, segment.scale)
  if (segment.scale > 14) weird(flow, 'TCP_scale_range', 'TCP', String(segment.scale))
  switch (me.state) {
    case INACTIVE:
      if (isOrig) me.state = ack ? SYN_ACK_SENT : SYN_SENT
      else if (!ack) me.state = SYN_SENT
      else if (peer.state === SYN_SENT) {
        me.state = ESTABLISHED
        peer.state = ESTABLISHED
      } else me.state = ESTABLISHED
      if (isOrig && ack) weird(flow, 'connection_originator_SYN_ack', 'TCP')
      break
    case SYN_SENT:
      // The answer to a simultaneous open.
      if (ack && peer.state === SYN_SENT) {
        me.state = ESTABLISHED
        peer.state = ESTABLISHED
      }
      break
    case RESET:
      weird(flow, 'SYN_after_reset', 'TCP')
      break
    case CLOSED:
      weird(flow, 'SYN_after_close', 'TCP')
      break
    case PARTIAL:
    case ESTABLISHED:
      // One that is sent again while its answer is under way is nothing odd.
      if (me.startRaw !== (segment.seq | 0) || (!ack && hasSpoken(flow, isOrig)))
        weird(flow, 'SYN_inside_connection', '')
      break
  }
}

/** It has sent more than SYNs. */
function hasSpoken(flow: LiveFlow, isOrig: boolean): boolean {
  const letters = H_ACK | H_DATA
  return (flow.seen & (isOrig ? letters : letters << 16)) !== 0
}

function finState(flow: LiveFlow, me: Side, peer: Side, isOrig: boolean, weird: FlowWeird): void {
  note(flow, H_FIN, isOrig)
  if (me.fins++ > 0) return
  const unanswered = peer.state === INACTIVE || (me.state === SYN_SENT && peer.state === PARTIAL)
  if ((me.state === SYN_SENT || me.state === SYN_ACK_SENT) && unanswered) weird(flow, 'inappropriate_FIN', 'TCP')
  me.state = CLOSED
  // A side that had closed and then reset has closed after all.
  if (peer.state === RESET && peer.fins > 0) peer.state = CLOSED
  if (peer.state === CLOSED) flow.closed = true
}

function rstState(flow: LiveFlow, me: Side, peer: Side, isOrig: boolean, segment: Segment, weird: FlowWeird): void {
  // Further ones are told when they differ.
  if (me.rsts === 0 || (me.state !== RESET && (segment.seq | 0) !== me.rstSeq)) {
    if (me.rsts === 0) note(flow, H_RST, isOrig)
    else flow.history += isOrig ? 'R' : 'r'
  }
  me.rsts++
  me.rstSeq = segment.seq | 0
  if (segment.length > 0 && me.rsts === 1) weird(flow, 'RST_with_data', 'TCP')
  if (me.fins > 0 && peer.fins > 0) return
  me.state = RESET
  if (peer.state === CLOSED) flow.closed = true
}

// ---- state by data --------------------------------------------------------------------------------------

function dataState(flow: LiveFlow, me: Side, peer: Side, isOrig: boolean, segment: Segment, weird: FlowWeird): void {
  if (me.state === ESTABLISHED) return
  if (me.state === INACTIVE) {
    me.state = peer.state === ESTABLISHED && isOrig ? ESTABLISHED : PARTIAL
    return
  }
  if (me.state !== SYN_SENT && me.state !== SYN_ACK_SENT) return
  if (me.state === SYN_SENT && peer.state === INACTIVE && (segment.flags & ACK) !== 0)
    weird(flow, 'possible_split_routing', '')
  if (segment.length > 0) weird(flow, 'data_before_established', 'TCP')
}

// ---- sequence space -------------------------------------------------------------------------------------

function receive(
  flow: LiveFlow,
  me: Side,
  peer: Side,
  isOrig: boolean,
  segment: Segment,
  weird: FlowWeird,
  loneFin: boolean,
): boolean {
  const { length, flags } = segment
  const syn = (flags & SYN) !== 0
  const fin = (flags & FIN) !== 0
  if (length === 0 && !fin) {
    if (!syn) {
      const at = relative(me, segment.seq)
      if (at > me.high && at - me.high < 0x4000_0000) raise(me, at, segment.seq)
    }
    return false
  }
  const from = relative(me, segment.seq) + (syn ? 1 : 0)
  const to = from + length + (fin ? 1 : 0)
  let fresh = false
  if (length > 0) {
    fresh = from + length > me.next && !isAhead(me, from, from + length)
    if (fresh && !syn && !loneFin) note(flow, H_DATA, isOrig)
    if (syn) weird(flow, 'SYN_with_data', 'TCP')
    if (syn || from + length <= me.high) noteCount(flow, H_RETRANSMIT, isOrig, ++me.retransmits)
  }
  if (fin && me.finAt < 0) me.finAt = to - 1
  if (to > me.high) raise(me, to, segment.seq + length + (syn ? 1 : 0) + (fin ? 1 : 0))
  if (!segment.whole) {
    if (length > 0) weird(flow, 'truncated_tcp_payload', 'TCP')
    return fresh
  }
  if (from <= me.next) {
    if (to > me.next) advance(me, to)
  } else keepAhead(flow, me, peer, isOrig, from, to)
  return fresh
}

function raise(side: Side, high: number, raw: number): void {
  side.high = high
  side.highRaw = raw | 0
}

/** Everything up to `to` is there; so is what was kept behind it. */
function advance(side: Side, to: number): void {
  side.next = to
  const { ahead } = side
  if (ahead === undefined) return
  let used = 0
  while (used < ahead.length && (ahead[used] as number) <= side.next) {
    side.next = Math.max(side.next, ahead[used + 1] as number)
    used += 2
  }
  if (used === ahead.length) side.ahead = undefined
  else if (used > 0) ahead.splice(0, used)
}

function isAhead(side: Side, from: number, to: number): boolean {
  const { ahead } = side
  if (ahead === undefined) return false
  for (let i = 0; i < ahead.length; i += 2)
    if (from >= (ahead[i] as number) && to <= (ahead[i + 1] as number)) return true
  return false
}

function keepAhead(flow: LiveFlow, side: Side, peer: Side, isOrig: boolean, from: number, to: number): void {
  side.ahead ??= []
  const { ahead } = side
  let i = ahead.length
  while (i > 0 && (ahead[i - 2] as number) > from) i -= 2
  ahead.splice(i, 0, from, to)
  mergeFrom(ahead, Math.max(0, i - 2))
  if (ahead.length > MAX_AHEAD) fill(flow, side, peer, isOrig, ahead[0] as number)
}

function mergeFrom(pairs: number[], first: number): void {
  let i = first
  while (i + 2 < pairs.length) {
    if ((pairs[i + 2] as number) <= (pairs[i + 1] as number)) {
      pairs[i + 1] = Math.max(pairs[i + 1] as number, pairs[i + 3] as number)
      pairs.splice(i + 2, 2)
    } else if (i > first + 2) return
    else i += 2
  }
}

/** The other side has received all of `side`'s data before `ack`: what was not seen of it is a gap. */
function acknowledge(flow: LiveFlow, side: Side, sideIsOrig: boolean, ack: number): void {
  if (!side.started || side.state === INACTIVE) return
  const to = relative(side, ack)
  if (to <= side.acked) return
  side.acked = to
  if (to > side.next) fill(flow, side, sideIsOrig ? flow.resp : flow.orig, sideIsOrig, to)
}

/** Counts the gaps below `to`. */
function fill(flow: LiveFlow, side: Side, peer: Side, sideIsOrig: boolean, to: number): void {
  const complete = side.synSeen || peer.synSeen
  // The number that a FIN takes is no byte that could be missed.
  const dataEnd = side.finAt >= 0 && side.finAt < to ? side.finAt : to
  while (side.next < dataEnd) {
    const gapEnd = Math.min(dataEnd, side.ahead?.[0] ?? dataEnd)
    if (complete) {
      side.missed += gapEnd - side.next
      noteCount(flow, H_GAP, sideIsOrig, ++side.gaps)
    }
    advance(side, gapEnd)
  }
}

/**
 * TCP payload in order (RFC 9293, 3.4). In: segments as they come, of one flow. Out: each byte once, in
 * order, with gaps named: bytes that the other side acknowledged without the capture having them.
 *
 * Memory: what waits behind a hole, at most `MAX_HELD_BYTES` a side; beyond it the hole is called a gap. What still
 * waits when the flow is over was acknowledged by nobody; it is not given out, as Zeek does not.
 */

import { ACK, FIN, RST, SYN } from '../flows/tcp.ts'

export interface StreamHandler {
  data(fromOriginator: boolean, bytes: Buffer, ts: number): void
  gap(fromOriginator: boolean, length: number, ts: number): void
  finished(fromOriginator: boolean, ts: number): void
}

/** What of a TCP header is looked at: the flow table's view of it. */
export interface Segment {
  seq: number
  ack: number
  flags: number
  /** Payload bytes on the wire; more than were captured where the packet was cut. */
  length: number
}

/** The payload as captured, valid during the call. */
export interface Payload {
  buffer: Buffer
  offset: number
  length: number
}

class Side {
  /** Raw sequence number of the next byte, once something was seen. */
  next = 0
  isKnown = false
  isDone = false
  hasFin = false
  fin = 0
  /** What waits behind a hole, in order; made when there is the first hole. */
  held: { seq: number; bytes: Buffer }[] | undefined = undefined
  heldBytes = 0
}

const MAX_HELD_BYTES = 1 << 20
const MAX_HELD = 2048
/** A jump beyond any window: a damaged or forged number, not a gap. */
const MAX_JUMP = 1 << 30

/** Distance from `a` to `b` in sequence space. */
const distance = (a: number, b: number) => (b - a) | 0

export interface Reassembly {
  segment(fromOriginator: boolean, segment: Segment, payload: Payload, ts: number): void
  /** Both sides have sent their last byte: nothing comes any more. */
  readonly isOver: boolean
}

export function createReassembly(handler: StreamHandler): Reassembly {
  return new Streams(handler)
}

/** A class, for there are many of them at a time: two small objects a flow, and no closures. */
class Streams implements Reassembly {
  private readonly originator = new Side()
  private readonly responder = new Side()
  private readonly handler: StreamHandler

  constructor(handler: StreamHandler) {
    this.handler = handler
  }

  get isOver(): boolean {
    return this.originator.isDone && this.responder.isDone
  }

  segment(fromOriginator: boolean, { seq: first, ack, flags, length }: Segment, payload: Payload, ts: number): void {
    const me = fromOriginator ? this.originator : this.responder
    const wireLength = Math.max(length, payload.length)
    let seq = first
    if ((flags & SYN) !== 0) {
      seq = (seq + 1) >>> 0
      know(me, seq)
    }
    if ((flags & RST) === 0) {
      know(me, seq)
      // A packet that was not captured whole is a gap once it is acknowledged, like any other.
      if (wireLength > 0 && wireLength === payload.length) this.take(me, fromOriginator, seq, payload, ts)
    }
    if ((flags & FIN) !== 0) {
      if (!me.hasFin) {
        me.hasFin = true
        me.fin = (seq + wireLength) >>> 0
      }
      this.checkFinished(me, fromOriginator, ts)
    }
    if ((flags & ACK) !== 0)
      this.acknowledged(fromOriginator ? this.responder : this.originator, !fromOriginator, ack, ts)
  }

  private take(
    side: Side,
    fromOriginator: boolean,
    seq: number,
    { buffer, offset, length }: Payload,
    ts: number,
  ): void {
    const ahead = distance(side.next, seq)
    if (Math.abs(ahead) > MAX_JUMP || side.isDone) return
    if (ahead > 0) {
      if (length > 0) this.hold(side, fromOriginator, seq, Buffer.from(buffer.subarray(offset, offset + length)), ts)
      return
    }
    const seen = Math.min(length, -ahead)
    if (length > seen) this.deliver(side, fromOriginator, buffer.subarray(offset + seen, offset + length), ts)
    if (side.held !== undefined) this.release(side, fromOriginator, ts)
  }

  private deliver(side: Side, fromOriginator: boolean, bytes: Buffer, ts: number): void {
    side.next = (side.next + bytes.length) >>> 0
    this.handler.data(fromOriginator, bytes, ts)
    this.checkFinished(side, fromOriginator, ts)
  }

  private hold(side: Side, fromOriginator: boolean, seq: number, bytes: Buffer, ts: number): void {
    side.held ??= []
    const { held } = side
    let at = held.length
    while (at > 0 && distance(held[at - 1]?.seq ?? 0, seq) < 0) at--
    const before = held[at - 1]
    if (before !== undefined && before.seq === seq && before.bytes.length >= bytes.length) return
    held.splice(at, 0, { seq, bytes })
    side.heldBytes += bytes.length
    if (side.heldBytes > MAX_HELD_BYTES || held.length > MAX_HELD)
      this.skipTo(side, fromOriginator, held[0]?.seq ?? seq, ts)
  }

  /** Gives out what waited and has its place now. */
  private release(side: Side, fromOriginator: boolean, ts: number): void {
    for (;;) {
      const first = side.held?.[0]
      if (first === undefined) break
      const ahead = distance(side.next, first.seq)
      if (ahead > 0) return
      side.held?.shift()
      side.heldBytes -= first.bytes.length
      const fresh = first.bytes.subarray(Math.min(first.bytes.length, -ahead))
      if (fresh.length > 0) this.deliver(side, fromOriginator, fresh, ts)
    }
    side.held = undefined
  }

  private skipTo(side: Side, fromOriginator: boolean, seq: number, ts: number): void {
    const length = distance(side.next, seq)
    if (length > 0) {
      side.next = seq
      this.handler.gap(fromOriginator, length, ts)
      this.checkFinished(side, fromOriginator, ts)
    }
    this.release(side, fromOriginator, ts)
  }

  private acknowledged(side: Side, fromOriginator: boolean, ack: number, ts: number): void {
    if (!side.isKnown || side.isDone) return
    for (;;) {
      const missing = distance(side.next, ack)
      if (missing <= 0 || missing > MAX_JUMP) return
      const first = side.held?.[0]
      // A FIN takes a number that is no byte.
      const end = side.hasFin && distance(side.fin, ack) > 0 ? side.fin : ack
      const until = first !== undefined && distance(first.seq, end) >= 0 ? first.seq : end
      if (distance(side.next, until) <= 0) return
      this.skipTo(side, fromOriginator, until, ts)
    }
  }

  private checkFinished(side: Side, fromOriginator: boolean, ts: number): void {
    if (side.isDone || !side.hasFin || distance(side.next, side.fin) > 0) return
    if (!side.isKnown) return
    side.isDone = true
    this.handler.finished(fromOriginator, ts)
  }
}

function know(side: Side, seq: number): void {
  if (side.isKnown) return
  side.isKnown = true
  side.next = seq
}

/**
 * TCP payload in order (RFC 9293, 3.4). In: segments as they come, of one flow. Out: each byte once, in
 * order, with gaps named: bytes that the other side acknowledged without the capture having them.
 *
 * Memory: what waits behind a hole, at most `MAX_HELD_BYTES` a side; beyond it the hole is called a gap.
 */

export interface StreamHandler {
  data(fromOriginator: boolean, bytes: Buffer, ts: number): void
  gap(fromOriginator: boolean, length: number, ts: number): void
  finished(fromOriginator: boolean, ts: number): void
}

export interface Segment {
  seq: number
  ack: number
  syn: boolean
  hasAck: boolean
  fin: boolean
  rst: boolean
  payload: Buffer
  /** Payload bytes on the wire; more than `payload` has where the packet was cut. */
  wireLength: number
}

interface Side {
  /** Raw sequence number of the next byte; undefined until something was seen. */
  next: number | undefined
  held: { seq: number; bytes: Buffer }[]
  heldBytes: number
  fin: number | undefined
  done: boolean
}

const MAX_HELD_BYTES = 1 << 20
const MAX_HELD = 2048
/** A jump beyond any window: a damaged or forged number, not a gap. */
const MAX_JUMP = 1 << 30

const newSide = (): Side => ({ next: undefined, held: [], heldBytes: 0, fin: undefined, done: false })

/** Distance from `a` to `b` in sequence space. */
const distance = (a: number, b: number) => (b - a) | 0

export interface Reassembly {
  segment(fromOriginator: boolean, segment: Segment, ts: number): void
  end(ts: number): void
}

export function createReassembly(handler: StreamHandler): Reassembly {
  const sides: [Side, Side] = [newSide(), newSide()]

  function segment(fromOriginator: boolean, part: Segment, ts: number): void {
    const me = sides[fromOriginator ? 0 : 1]
    const peer = sides[fromOriginator ? 1 : 0]
    let { seq } = part
    if (part.syn) {
      seq = (seq + 1) >>> 0
      me.next ??= seq
    }
    if (!part.rst) {
      if (part.wireLength > 0) take(me, fromOriginator, seq, part.payload, part.wireLength, ts)
      else me.next ??= seq
    }
    if (part.fin) {
      me.fin ??= (seq + part.wireLength) >>> 0
      checkFinished(me, fromOriginator, ts)
    }
    if (part.hasAck) acknowledged(peer, !fromOriginator, part.ack, ts)
  }

  function take(side: Side, fromOriginator: boolean, seq: number, bytes: Buffer, wireLength: number, ts: number): void {
    side.next ??= seq
    const ahead = distance(side.next, seq)
    if (Math.abs(ahead) > MAX_JUMP || side.done) return
    if (ahead > 0) {
      hold(side, fromOriginator, seq, bytes, ts)
      return
    }
    const fresh = bytes.subarray(Math.min(bytes.length, -ahead))
    // A packet that was not captured whole: its rest is a gap once it is acknowledged, like any other.
    if (bytes.length < wireLength && fresh.length === 0) return
    if (fresh.length > 0) deliver(side, fromOriginator, fresh, ts)
    release(side, fromOriginator, ts)
  }

  function deliver(side: Side, fromOriginator: boolean, bytes: Buffer, ts: number): void {
    side.next = ((side.next ?? 0) + bytes.length) >>> 0
    handler.data(fromOriginator, bytes, ts)
    checkFinished(side, fromOriginator, ts)
  }

  function hold(side: Side, fromOriginator: boolean, seq: number, bytes: Buffer, ts: number): void {
    if (bytes.length === 0) return
    let at = side.held.length
    while (at > 0 && distance(side.held[at - 1]?.seq ?? 0, seq) < 0) at--
    const before = side.held[at - 1]
    if (before !== undefined && before.seq === seq && before.bytes.length >= bytes.length) return
    side.held.splice(at, 0, { seq, bytes: Buffer.from(bytes) })
    side.heldBytes += bytes.length
    if (side.heldBytes > MAX_HELD_BYTES || side.held.length > MAX_HELD)
      skipTo(side, fromOriginator, side.held[0]?.seq ?? seq, ts)
  }

  /** Gives out what waited and has its place now. */
  function release(side: Side, fromOriginator: boolean, ts: number): void {
    for (;;) {
      const first = side.held[0]
      if (first === undefined || side.next === undefined) return
      const ahead = distance(side.next, first.seq)
      if (ahead > 0) return
      side.held.shift()
      side.heldBytes -= first.bytes.length
      const fresh = first.bytes.subarray(Math.min(first.bytes.length, -ahead))
      if (fresh.length > 0) deliver(side, fromOriginator, fresh, ts)
    }
  }

  function skipTo(side: Side, fromOriginator: boolean, seq: number, ts: number): void {
    const length = distance(side.next ?? seq, seq)
    if (length > 0) {
      side.next = seq
      handler.gap(fromOriginator, length, ts)
      checkFinished(side, fromOriginator, ts)
    }
    release(side, fromOriginator, ts)
  }

  function acknowledged(side: Side, fromOriginator: boolean, ack: number, ts: number): void {
    if (side.next === undefined || side.done) return
    for (;;) {
      const missing = distance(side.next, ack)
      if (missing <= 0 || missing > MAX_JUMP) return
      const first = side.held[0]
      // A FIN takes a number that is no byte.
      const end = side.fin !== undefined && distance(side.fin, ack) > 0 ? side.fin : ack
      const until = first !== undefined && distance(first.seq, end) >= 0 ? first.seq : end
      if (distance(side.next, until) <= 0) return
      skipTo(side, fromOriginator, until, ts)
    }
  }

  function checkFinished(side: Side, fromOriginator: boolean, ts: number): void {
    if (side.done || side.fin === undefined || side.next === undefined || distance(side.next, side.fin) > 0) return
    side.done = true
    handler.finished(fromOriginator, ts)
  }

  function end(ts: number): void {
    for (const fromOriginator of [true, false]) {
      const side = sides[fromOriginator ? 0 : 1]
      while (side.held.length > 0) skipTo(side, fromOriginator, side.held[0]?.seq ?? 0, ts)
    }
  }

  return { segment, end }
}

/** The state of a flow while it is alive: numbers in two sides, changed by every packet. */

import type { TunnelRef } from './encapsulation.ts'

/** TCP endpoint states, as far as conn_state needs them; the same for UDP with ACTIVE. */
export const INACTIVE = 0
export const SYN_SENT = 1
export const SYN_ACK_SENT = 2
export const PARTIAL = 3
export const ESTABLISHED = 4
export const CLOSED = 5
export const RESET = 6
export const ACTIVE = 7

/** One endpoint. Sequence numbers are counted on from `startRaw` without wrapping ("relative"). */
export class Side {
  packets = 0
  ipBytes = 0
  /** Payload bytes of UDP and ICMP. */
  bytes = 0
  state = INACTIVE
  /** A sequence number of this side is known. */
  started = false
  startRaw = 0
  /** Highest sequence number sent, and the raw value that goes with it. */
  high = 0
  highRaw = 0
  /** Highest sequence number that the other side acknowledged. */
  acked = 0
  fins = 0
  /** Where the FIN stands, -1 before one. */
  finAt = -1
  /** Window scale of its SYN, -1 for none. */
  scale = -1
  /** The window that it last offered: in which segment, from where and up to where in the peer's numbers. */
  windowSeq = -1
  windowAck = 0
  windowEdge = 0
  rsts = 0
  rstSeq = 0
  /** A SYN of this side was seen. */
  synSeen = false
  /** Up to here every byte has been seen or given up. */
  next = 0
  /** [from, to) pairs beyond `next`, in order; undefined when there are none. */
  ahead: number[] | undefined = undefined
  missed = 0
  gaps = 0
  retransmits = 0
  zeroWindows = 0
  /** MAC address, -1 where there is none. */
  macHigh = -1
  macLow = 0
}

export class LiveFlow {
  readonly index: number
  readonly protocol: number
  readonly version: number
  /** Slot of the flow map that holds the key. */
  slot = -1
  alive = true
  /** The originator is the key's first address. */
  origIsA: boolean
  /** The first packet came from the key's first address. */
  readonly firstFromA: boolean
  readonly orig = new Side()
  readonly resp = new Side()
  readonly startSeconds: number
  readonly startNanos: number
  readonly start: number
  last: number
  history = ''
  /** TCP whose first packet was no SYN. */
  partial = false
  /** The caller's. */
  state: unknown = undefined
  /** Both sides closed it; what comes now is no part of its duration unless it brings payload. */
  closed = false
  /** Letters recorded so far. */
  seen = 0
  /** How many flows with this key began at this very time before this one. */
  readonly occurrence: number
  uid = ''
  parents: string[] | undefined = undefined
  /** Innermost tunnel of the last packet, '' for none. */
  tunnel = ''
  /** The tunnel in which it began, '' for none. */
  begunIn = ''
  tunnelChanges = 0
  /** Zeek stopped looking into the payload. */
  stopped = false
  vlan = -1
  innerVlan = -1
  sniffed = ''
  service = ''
  /** Payloads looked at for the guess. */
  sniffs = 0
  /** Weirds told once a flow. */
  weirds = 0
  /** When a DNS flow is looked at next (Zeek's dns_session_timeout), 0 for others. */
  dnsTimer = 0
  /** Place in the timer wheel. */
  bucket = -1
  waiting = false
  previous: LiveFlow | undefined = undefined
  next: LiveFlow | undefined = undefined
  /** It has broken its tunnel's protocol, and that was told. */
  violated = false
  /** As the outer flow of a tunnel. */
  tunnelRef: TunnelRef | undefined = undefined
  /** Sides that sent tunnel packets: 1 the originator, 2 the responder. */
  tunnelSides = 0

  constructor(
    index: number,
    protocol: number,
    version: number,
    fromA: boolean,
    origIsA: boolean,
    seconds: number,
    nanos: number,
    occurrence: number,
  ) {
    this.index = index
    this.protocol = protocol
    this.version = version
    this.firstFromA = fromA
    this.origIsA = origIsA
    this.startSeconds = seconds
    this.startNanos = nanos
    this.start = timeOf(seconds, nanos)
    this.last = this.start
    this.occurrence = occurrence
  }
}

/** Seconds with the microseconds of a Zeek time. */
export function timeOf(seconds: number, nanos: number): number {
  return seconds + Math.floor(nanos / 1000) / 1e6
}

/** Adds a letter, upper case for the originator, unless it is there already. */
export function note(flow: LiveFlow, letter: number, isOrig: boolean): void {
  const bit = isOrig ? letter : letter << 16
  if ((flow.seen & bit) !== 0) return
  flow.seen |= bit
  flow.history += isOrig ? UPPER[letter] : LOWER[letter]
}

/** Adds a letter that is repeated each time the count reaches another power of ten. */
export function noteCount(flow: LiveFlow, letter: number, isOrig: boolean, count: number): void {
  if (isPowerOfTen(count)) flow.history += isOrig ? UPPER[letter] : LOWER[letter]
}

function isPowerOfTen(count: number): boolean {
  let n = count
  while (n >= 10 && n % 10 === 0) n /= 10
  return n === 1
}

export const H_SYN = 1
export const H_SYN_ACK = 2
export const H_ACK = 4
export const H_DATA = 8
export const H_FIN = 16
export const H_RST = 32
export const H_MULTI = 64
export const H_INCONSISTENT = 128
export const H_GAP = 256
export const H_RETRANSMIT = 512
export const H_WINDOW = 1024
export const H_STOPPED = 2048

const LETTERS: [number, string][] = [
  [H_SYN, 's'],
  [H_SYN_ACK, 'h'],
  [H_ACK, 'a'],
  [H_DATA, 'd'],
  [H_FIN, 'f'],
  [H_RST, 'r'],
  [H_MULTI, 'q'],
  [H_INCONSISTENT, 'i'],
  [H_GAP, 'g'],
  [H_RETRANSMIT, 't'],
  [H_WINDOW, 'w'],
  [H_STOPPED, 'x'],
]
const LOWER: Record<number, string> = Object.fromEntries(LETTERS)
const UPPER: Record<number, string> = Object.fromEntries(LETTERS.map(([bit, letter]) => [bit, letter.toUpperCase()]))

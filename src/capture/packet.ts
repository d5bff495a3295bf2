/** One packet of a capture, as the reader hands it out and the writer and the flow table take it. */

/**
 * The reader reuses ONE object and its buffer: whoever keeps a packet past the callback copies what it needs.
 * `capLen` bytes from `offset` of `buffer` are always there.
 */
export interface Packet {
  buffer: Buffer
  offset: number
  /** Bytes captured. */
  capLen: number
  /** Bytes on the wire; hostile, may be less than `capLen`. */
  origLen: number
  /** Seconds since the epoch and nanoseconds of that second (0 … 999,999,999). */
  seconds: number
  nanos: number
  /** LINKTYPE_… number (https://www.tcpdump.org/linktypes.html). */
  linkType: number
  /** Position among the packets handed out, from 1: equals tshark's `frame.number` on an undamaged file. */
  number: number
}

/** A longer record is taken for damage. Linux and Wireshark cap snapshot lengths at the same value. */
export const MAX_PACKET_BYTES = 262_144

export function emptyPacket(linkType = 0): Packet {
  return { buffer: Buffer.alloc(0), offset: 0, capLen: 0, origLen: 0, seconds: 0, nanos: 0, linkType, number: 0 }
}

/** A block of secrets as it stands in a pcapng: its type and what it holds; undefined where it is too large to be read. */
export type OnSecrets = (type: number, data: Buffer | undefined) => void

export type OnPacket = (packet: Packet) => void

/** What a parser found wrong, and how much of the file it cost. */
export interface Damage {
  lostBytes: number
  /** Records that cannot be handed out, by reason. */
  skipped: Record<string, number>
  /** The first thing that was wrong, as a sentence with the offset. */
  salvaged: string | undefined
}

export function noDamage(): Damage {
  return { lostBytes: 0, skipped: {}, salvaged: undefined }
}

export function recordDamage(damage: Damage, reason: string | undefined, lostBytes: number, sentence: string): void {
  damage.lostBytes += lostBytes
  if (reason !== undefined) damage.skipped[reason] = (damage.skipped[reason] ?? 0) + 1
  damage.salvaged ??= sentence
}

/** A window of the file: bytes [from, to) of `buffer`; `fileOffset` is where `buffer[0]` lies in the file. */
export interface Window {
  buffer: Buffer
  view: DataView
  from: number
  to: number
  fileOffset: number
  /** Nothing follows `to`. */
  atEnd: boolean
}

/** Turns windows of a file into packets. */
export interface CaptureParser {
  /**
   * Hands out at most `max` packets and moves `window.from` on, past `window.to` where bytes are to be skipped.
   * False when it can do no more without more bytes.
   */
  parse(window: Window, max: number): boolean
  readonly packets: number
  readonly damage: Damage
  readonly linkTypes: ReadonlySet<number>
}

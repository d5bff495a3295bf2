/** QUIC's packet headers (RFC 9000, 17; RFC 9369, 3.2) and the frames of Initial packets: bounds are checked, nothing throws. */

import { VERSION_1, VERSION_2 } from './quic-crypto.ts'

export type PacketKind = 'initial' | 'zeroRtt' | 'handshake' | 'retry'

export interface LongPacket {
  version: number
  destination: Buffer
  source: Buffer
  /** Undefined: the version is not known, so nothing behind the connection ids is. */
  kind?: PacketKind
  /** Where the packet number begins. */
  numberAt: number
  /** Behind the packet's last byte. */
  end: number
}

const MAX_CONNECTION_ID_BYTES = 20
const KINDS: PacketKind[] = ['initial', 'zeroRtt', 'handshake', 'retry']
const KINDS_2: PacketKind[] = ['retry', 'initial', 'zeroRtt', 'handshake']

export const isLong = (first: number) => (first & 0x80) !== 0
export const hasFixedBit = (first: number) => (first & 0x40) !== 0

/** Version 1, 2 and the drafts from 22 on. */
export const isKnownVersion = (version: number) =>
  version === VERSION_1 || version === VERSION_2 || (version >= 0xff000016 && version <= 0xff000022)

/** The packet with a long header at the start of `bytes`; undefined: cut, or none. */
export function longPacket(bytes: Buffer): LongPacket | undefined {
  if (bytes.length < 7) return undefined
  const version = bytes.readUInt32BE(1)
  const destination = counted(bytes, 5)
  const source = destination && counted(bytes, 6 + destination.length)
  if (destination === undefined || source === undefined) return undefined
  const at = 7 + destination.length + source.length
  if (!isKnownVersion(version)) return { version, destination, source, numberAt: at, end: bytes.length }
  if (destination.length > MAX_CONNECTION_ID_BYTES || source.length > MAX_CONNECTION_ID_BYTES) return undefined
  const kind = (version === VERSION_2 ? KINDS_2 : KINDS)[((bytes[0] as number) >> 4) & 3] as PacketKind
  if (kind === 'retry') return { version, destination, source, kind, numberAt: at, end: bytes.length }
  const token = kind === 'initial' ? varint(bytes, at) : { value: 0, next: at }
  const length = token && varint(bytes, token.next + token.value)
  if (length === undefined || length.next + length.value > bytes.length) return undefined
  return { version, destination, source, kind, numberAt: length.next, end: length.next + length.value }
}

function counted(bytes: Buffer, at: number): Buffer | undefined {
  const length = bytes[at]
  return length === undefined || at + 1 + length > bytes.length ? undefined : bytes.subarray(at + 1, at + 1 + length)
}

interface Varint {
  value: number
  next: number
}

/** RFC 9000, 16; undefined when it is cut, or beyond 2^48. */
function varint(bytes: Buffer, at: number): Varint | undefined {
  const first = bytes[at]
  if (first === undefined) return undefined
  const size = 1 << (first >> 6)
  if (at + size > bytes.length) return undefined
  if (size === 1) return { value: first & 0x3f, next: at + 1 }
  if (size === 2) return { value: bytes.readUInt16BE(at) & 0x3fff, next: at + 2 }
  if (size === 4) return { value: bytes.readUInt32BE(at) & 0x3fffffff, next: at + 4 }
  const high = bytes.readUInt32BE(at) & 0x3fffffff
  return high > 0xffff ? undefined : { value: high * 0x1_0000_0000 + bytes.readUInt32BE(at + 4), next: at + 8 }
}

type Frame = { type: 'crypto'; offset: number; data: Buffer } | { type: 'close' }

const PADDING = 0
const PING = 1
const ACK = 2
const ACK_ECN = 3
const CRYPTO = 6
const CLOSE = 0x1c
const CLOSE_APPLICATION = 0x1d

/** The frames of an Initial packet that matter; ends at the first that may not be in one. */
export function* initialFrames(bytes: Buffer): Generator<Frame> {
  let at = 0
  while (at < bytes.length) {
    const type = bytes[at++] as number
    if (type === PADDING || type === PING) continue
    if (type === ACK || type === ACK_ECN) {
      const next = skipAck(bytes, at, type === ACK_ECN)
      if (next === undefined) return
      at = next
    } else if (type === CRYPTO) {
      const offset = varint(bytes, at)
      const length = offset && varint(bytes, offset.next)
      if (offset === undefined || length === undefined || length.next + length.value > bytes.length) return
      at = length.next + length.value
      yield { type: 'crypto', offset: offset.value, data: bytes.subarray(length.next, at) }
    } else {
      if (type === CLOSE || type === CLOSE_APPLICATION) yield { type: 'close' }
      return
    }
  }
}

function skipAck(bytes: Buffer, start: number, ecn: boolean): number | undefined {
  const largest = varint(bytes, start)
  const delay = largest && varint(bytes, largest.next)
  const ranges = delay && varint(bytes, delay.next)
  if (ranges === undefined) return undefined
  let at = ranges.next
  // First range, then gap and range each; two bytes a range at least, so the count is bounded by the packet.
  const numbers = 1 + 2 * ranges.value + (ecn ? 3 : 0)
  for (let i = 0; i < numbers; i++) {
    const number = varint(bytes, at)
    if (number === undefined) return undefined
    at = number.next
  }
  return at
}

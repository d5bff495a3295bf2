/**
 * MySQL's packets, one direction: a length of three bytes, a sequence number, the payload; and the encodings
 * inside (MySQL Internals, "Client/Server Protocol": https://dev.mysql.com/doc/dev/mysql-server/latest/).
 */

import { createFramedReader, type FramedReader } from './framed.ts'

const HEADER_BYTES = 4

export interface MysqlPacket {
  sequence: number
  /** Of the payload on the wire. */
  length: number
  /** Its first mebibyte. */
  payload: Buffer
}

/** `onPacket` returns false where no more packets are wanted: what follows is something else. */
export function createPacketReader(onPacket: (packet: MysqlPacket, ts: number) => boolean | undefined): FramedReader {
  return createFramedReader({
    headerBytes: () => HEADER_BYTES,
    bodyLength: (header) => header.readUIntLE(0, 3),
    onFrame: ({ header, length, body }, ts) => onPacket({ sequence: header[3] as number, length, payload: body }, ts),
  })
}

/** A length-encoded integer at `at`; undefined where it is cut or is none (NULL, error). */
export function lengthEncoded(bytes: Buffer, at: number): { value: number; next: number } | undefined {
  const first = bytes[at]
  if (first === undefined) return undefined
  if (first < 0xfb) return { value: first, next: at + 1 }
  const size = { 252: 2, 253: 3, 254: 8 }[first]
  if (size === undefined || bytes.length < at + 1 + size) return undefined
  const value = size === 8 ? Number(bytes.readBigUInt64LE(at + 1)) : bytes.readUIntLE(at + 1, size)
  return { value, next: at + 1 + size }
}

/** Bytes up to a NUL, or to the end. */
export function untilNul(bytes: Buffer, at: number): Buffer {
  const end = bytes.indexOf(0, at)
  return bytes.subarray(at, end < 0 ? bytes.length : end)
}

/** Sizes of binary values by type; -1: a byte of length, then that many; others are length-encoded strings. */
const VALUE_SIZES: Record<number, number> = {
  1: 1,
  2: 2,
  3: 4,
  4: 4,
  5: 8,
  6: 0,
  7: -1,
  8: 8,
  9: 4,
  10: -1,
  11: -1,
  12: -1,
  13: 2,
}

/** Where the statement begins behind COM_QUERY's attributes (CLIENT_QUERY_ATTRIBUTES); undefined: nonsense. */
export function statementAt(bytes: Buffer, start: number): number | undefined {
  const count = lengthEncoded(bytes, start)
  const sets = count === undefined ? undefined : lengthEncoded(bytes, count.next)
  if (count === undefined || sets === undefined) return undefined
  if (count.value === 0) return sets.next
  if (count.value > 65535) return undefined
  const nulls = sets.next
  let at = nulls + ((count.value + 7) >> 3)
  if (bytes[at++] !== 1) return undefined
  const types: number[] = []
  for (let i = 0; i < count.value; i++) {
    if (at + 2 > bytes.length) return undefined
    types.push(bytes[at] as number)
    const name = lengthEncoded(bytes, at + 2)
    if (name === undefined) return undefined
    at = name.next + name.value
  }
  for (const [i, type] of types.entries()) {
    if ((((bytes[nulls + (i >> 3)] ?? 0) >> (i & 7)) & 1) === 1) continue
    const next = valueEnd(bytes, at, type)
    if (next === undefined) return undefined
    at = next
  }
  return at <= bytes.length ? at : undefined
}

function valueEnd(bytes: Buffer, at: number, type: number): number | undefined {
  const size = VALUE_SIZES[type]
  if (size === -1) return at + 1 + (bytes[at] ?? 0)
  if (size !== undefined) return at + size
  const length = lengthEncoded(bytes, at)
  return length === undefined ? undefined : length.next + length.value
}

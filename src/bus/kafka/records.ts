/**
 * Record batches as they lie in a fetch's answer, read where they lie: no object is made of a record.
 *
 * Format: Kafka's record batch, magic 2 (https://kafka.apache.org/documentation/#recordbatch). A batch that is cut at
 * the end of the answer is left for the next fetch. Aborted transactions are left out as the answer's list tells: from
 * the first offset of each until the producer's abort marker, wherever that lies.
 */

import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { compressionsAlgorithmsByBitmask } from '@platformatic/kafka'
import { messageOf, PipelineError } from '../../../state/errors.ts'

/** One record; the slices lie in the answer and are valid as long as that is kept. */
export interface RawRecord {
  offset: number
  key: Buffer | null
  value: Buffer | null
  headers?: Header[]
}

export type Header = [name: Buffer | null, value: Buffer | null]

export interface AbortedTransaction {
  producerId: bigint
  firstOffset: bigint
}

export interface ReadOptions {
  /** Records below it are passed over: a batch is answered whole, from its first record on. */
  from: number
  aborted: readonly AbortedTransaction[]
  /**
   * A batch that cannot be read is told here, from its first record on, and passed over; without this it is thrown.
   * Records in front of the unreadable place have been handed out.
   */
  onUnreadable?(batch: { offset: number; body: Buffer; reason: string }): void
}

const HEAD = 61
const LENGTH_AT = 8
const MAGIC_AT = 16
const ATTRIBUTES_AT = 21
const LAST_DELTA_AT = 23
const PRODUCER_AT = 43
const COUNT_AT = 57
const COMPRESSION = 0b111
const IS_TRANSACTIONAL = 1 << 4
const IS_CONTROL = 1 << 5
const ABORT = 0
/** Of one batch. Brokers take some MiB of compressed records, which may stand for a thousand times as much. */
const MAX_BATCH_BYTES = 256 * 1024 * 1024

/** Hands out each record; answers the offset to go on from. @throws PipelineError bus_refused on bytes that are no batch. */
export function readRecords(
  bytes: Buffer,
  { from, aborted, onUnreadable }: ReadOptions,
  onRecord: (record: RawRecord) => void,
): number {
  const waiting = [...aborted].sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1))
  const aborting = new Set<bigint>()
  let next = from
  for (let at = 0; at + HEAD <= bytes.length; ) {
    const end = at + 12 + bytes.readInt32BE(at + LENGTH_AT)
    if (end > bytes.length) break
    if (bytes[at + MAGIC_AT] !== 2 || end < at + HEAD) throw unreadable('a record batch of an unknown format')
    const base = Number(bytes.readBigInt64BE(at))
    const last = base + bytes.readInt32BE(at + LAST_DELTA_AT)
    const attributes = bytes.readInt16BE(at + ATTRIBUTES_AT)
    const producer = bytes.readBigInt64BE(at + PRODUCER_AT)
    while (waiting[0] !== undefined && Number(waiting[0].firstOffset) <= last)
      aborting.add((waiting.shift() as AbortedTransaction).producerId)
    const count = bytes.readInt32BE(at + COUNT_AT)
    if ((attributes & IS_CONTROL) !== 0) {
      // The marker's key: version and type, 16 bits each.
      if (controlType(bytes.subarray(at + HEAD, end)) === ABORT) aborting.delete(producer)
    } else if ((attributes & IS_TRANSACTIONAL) === 0 || !aborting.has(producer)) {
      const body = bytes.subarray(at + HEAD, end)
      try {
        eachRecord(decompressed(body, attributes & COMPRESSION), count, base, next, onRecord)
      } catch (error) {
        if (onUnreadable === undefined || !(error instanceof Unreadable)) throw error
        onUnreadable({ offset: base, body, reason: error.message })
      }
    }
    next = Math.max(next, last + 1)
    at = end
  }
  return next
}

function controlType(body: Buffer): number {
  const cursor = { bytes: body, at: 0 }
  varint(cursor)
  cursor.at++
  skipVarint(cursor)
  varint(cursor)
  return varint(cursor) < 4 ? -1 : body.readInt16BE(cursor.at + 2)
}

function decompressed(body: Buffer, compression: number): Buffer {
  if (compression === 0) return body
  const limit = { maxOutputLength: MAX_BATCH_BYTES }
  try {
    if (compression === GZIP) return gunzipSync(body, limit)
    if (compression === ZSTD) return zstdDecompressSync(body, limit)
    const algorithm = compressionsAlgorithmsByBitmask[compression as keyof typeof compressionsAlgorithmsByBitmask]
    if (compression === LZ4) checkSize(lz4Size(body))
    if (compression === SNAPPY) checkSize(snappySize(body))
    if (algorithm !== undefined) return algorithm.decompressSync(body) as Buffer
  } catch (error) {
    if (error instanceof Unreadable) throw error
    throw unreadable(`a record batch that cannot be decompressed (${messageOf(error)})`)
  }
  throw unreadable(`a record batch in an unknown compression (${compression})`)
}

const GZIP = 1
const SNAPPY = 2
const LZ4 = 3
const ZSTD = 4

function checkSize(bytes: number): void {
  if (bytes > MAX_BATCH_BYTES) throw unreadable(`a record batch of ${bytes} bytes`)
}

/** At most: every block full (https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md). */
function lz4Size(body: Buffer): number {
  const flags = body[4] ?? 0
  const blockBytes = 1 << (8 + 2 * (((body[5] ?? 0) >> 4) & 7))
  // Magic, flags, block size, header checksum; a content size and a dictionary where the flags say so.
  let at = 7 + ((flags & 8) !== 0 ? 8 : 0) + ((flags & 1) !== 0 ? 4 : 0)
  let blocks = 0
  while (at + 4 <= body.length) {
    const size = body.readUInt32LE(at) & 0x7fffffff
    if (size === 0) break
    at += 4 + size + ((flags & 16) !== 0 ? 4 : 0)
    blocks++
  }
  return blocks * blockBytes
}

const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])

/** As each block says in front (https://github.com/google/snappy/blob/main/format_description.txt). */
function snappySize(body: Buffer): number {
  if (!body.subarray(0, XERIAL.length).equals(XERIAL)) return unsignedVarint(body, 0)
  let bytes = 0
  for (let at = 16; at + 4 <= body.length; at += 4 + body.readUInt32BE(at)) bytes += unsignedVarint(body, at + 4)
  return bytes
}

function unsignedVarint(bytes: Buffer, start: number): number {
  let value = 0
  for (let at = start, shift = 0; shift < 35; at++, shift += 7) {
    const byte = bytes[at] ?? 0
    value += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) break
  }
  return value
}

interface Cursor {
  bytes: Buffer
  at: number
}

function eachRecord(
  bytes: Buffer,
  count: number,
  base: number,
  from: number,
  onRecord: (record: RawRecord) => void,
): void {
  const cursor: Cursor = { bytes, at: 0 }
  for (let i = 0; i < count; i++) {
    const length = varint(cursor)
    const end = cursor.at + length
    if (length < 0 || end > bytes.length) throw unreadable('a record that reaches beyond its batch')
    cursor.at++
    skipVarint(cursor)
    const offset = base + varint(cursor)
    const key = slice(cursor)
    const value = slice(cursor)
    if (offset >= from) onRecord({ offset, key, value, headers: headersIn(cursor) })
    cursor.at = end
  }
}

function slice(cursor: Cursor): Buffer | null {
  const length = varint(cursor)
  if (length < 0) return null
  const start = cursor.at
  cursor.at += length
  if (cursor.at > cursor.bytes.length) throw unreadable('a record that reaches beyond its batch')
  return cursor.bytes.subarray(start, cursor.at)
}

function headersIn(cursor: Cursor): Header[] | undefined {
  const count = varint(cursor)
  if (count <= 0) return undefined
  const headers: Header[] = []
  for (let left = count; left > 0; left--) headers.push([slice(cursor), slice(cursor)])
  return headers
}

/** Zigzag, 32 bits. */
function varint(cursor: Cursor): number {
  const { bytes } = cursor
  let value = 0
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = bytes[cursor.at++]
    if (byte === undefined) throw unreadable('a record that ends too early')
    value |= (byte & 0x7f) << shift
    if (byte < 0x80) return (value >>> 1) ^ -(value & 1)
  }
  throw unreadable('a number that does not end')
}

function skipVarint(cursor: Cursor): void {
  while ((cursor.bytes[cursor.at++] ?? 0) >= 0x80);
}

class Unreadable extends PipelineError {}

function unreadable(what: string): Unreadable {
  return new Unreadable('bus_refused', `the broker answered with ${what}`)
}

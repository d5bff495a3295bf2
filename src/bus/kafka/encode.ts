/**
 * Messages in, one record batch out, as it goes over the wire: written once, without an object of a record.
 *
 * Format: Kafka's record batch, magic 2 (https://kafka.apache.org/documentation/#recordbatch).
 */

import { compressionsAlgorithms, crc32c } from '@platformatic/kafka'

export interface BatchMessage {
  key?: Buffer | null
  value: Buffer | null
  headers?: Readonly<Record<string, string>>
}

export interface BatchOptions {
  compression: 'none' | 'gzip' | 'lz4' | 'zstd'
  /** Of all of its records, in milliseconds. */
  timestamp: number
  /** Of a transaction. */
  producer?: { id: bigint; epoch: number; sequence: number }
}

const HEAD = 61
const CRC_AT = 17
const CRC_FROM = 21
const MAGIC = 2
const IS_TRANSACTIONAL = 1 << 4
/** Length, attributes, time, offset, lengths of key and value, number of headers; and the two lengths of a header. */
const MOST_OF_RECORD = 5 + 1 + 1 + 5 + 5 + 5 + 5
const MOST_OF_HEADER = 10
/** Kept from batch to batch up to this size. */
const KEPT_BYTES = 4 * 1024 * 1024

let scratch = Buffer.alloc(0)

export function encodeBatch(
  messages: readonly BatchMessage[],
  { compression, timestamp, producer }: BatchOptions,
): Buffer {
  const records = encodeRecords(messages)
  const body = compression === 'none' ? records : compressionsAlgorithms[compression].compressSync(records)
  const batch = Buffer.allocUnsafe(HEAD + body.length)
  const attributes = compression === 'none' ? 0 : compressionsAlgorithms[compression].bitmask
  batch.writeBigInt64BE(0n, 0)
  batch.writeInt32BE(batch.length - 12, 8)
  batch.writeInt32BE(-1, 12)
  batch[16] = MAGIC
  batch.writeInt16BE(attributes | (producer === undefined ? 0 : IS_TRANSACTIONAL), CRC_FROM)
  batch.writeInt32BE(messages.length - 1, 23)
  batch.writeBigInt64BE(BigInt(timestamp), 27)
  batch.writeBigInt64BE(BigInt(timestamp), 35)
  batch.writeBigInt64BE(producer?.id ?? -1n, 43)
  batch.writeInt16BE(producer?.epoch ?? -1, 51)
  batch.writeInt32BE(producer?.sequence ?? -1, 53)
  batch.writeInt32BE(messages.length, 57)
  batch.set(body, HEAD)
  batch.writeUInt32BE(crc32c(batch.subarray(CRC_FROM)) >>> 0, CRC_AT)
  return batch
}

/** Valid until the next call. */
function encodeRecords(messages: readonly BatchMessage[]): Buffer {
  const most = messages.reduce((sum, message) => sum + mostBytesOf(message), 0)
  const bytes = most <= scratch.length ? scratch : Buffer.allocUnsafeSlow(most)
  if (bytes !== scratch && most <= KEPT_BYTES) scratch = bytes
  let at = 0
  for (let index = 0; index < messages.length; index++) {
    const message = messages[index] as BatchMessage
    const { key = null, value, headers } = message
    const names = headers === undefined ? [] : Object.keys(headers)
    at = putVarint(bytes, at, lengthOf(message, names, index))
    bytes[at++] = 0
    bytes[at++] = 0
    at = putVarint(bytes, at, index)
    at = putBytes(bytes, at, key)
    at = putBytes(bytes, at, value)
    at = putVarint(bytes, at, names.length)
    for (const name of names) {
      at = putText(bytes, at, name)
      at = putText(bytes, at, headers?.[name] as string)
    }
  }
  return bytes.subarray(0, at)
}

function mostBytesOf({ key, value, headers }: BatchMessage): number {
  let sum = MOST_OF_RECORD + (key?.length ?? 0) + (value?.length ?? 0)
  for (const name in headers) sum += MOST_OF_HEADER + 3 * (name.length + (headers[name] as string).length)
  return sum
}

function lengthOf({ key = null, value, headers }: BatchMessage, names: readonly string[], index: number): number {
  let sum = 2 + varintLength(index) + lengthWithBytes(key) + lengthWithBytes(value) + varintLength(names.length)
  for (const name of names) {
    const [a, b] = [Buffer.byteLength(name), Buffer.byteLength(headers?.[name] as string)]
    sum += varintLength(a) + a + varintLength(b) + b
  }
  return sum
}

function lengthWithBytes(bytes: Buffer | null): number {
  return bytes === null ? 1 : varintLength(bytes.length) + bytes.length
}

function putBytes(target: Buffer, at: number, bytes: Buffer | null): number {
  if (bytes === null) return putVarint(target, at, -1)
  const start = putVarint(target, at, bytes.length)
  target.set(bytes, start)
  return start + bytes.length
}

function putText(target: Buffer, at: number, text: string): number {
  const start = putVarint(target, at, Buffer.byteLength(text))
  return start + target.write(text, start)
}

/** Zigzag, 32 bits. */
function putVarint(target: Buffer, start: number, value: number): number {
  let at = start
  let rest = ((value << 1) ^ (value >> 31)) >>> 0
  for (; rest >= 0x80; rest >>>= 7) target[at++] = (rest & 0x7f) | 0x80
  target[at++] = rest
  return at
}

function varintLength(value: number): number {
  let length = 1
  for (let rest = ((value << 1) ^ (value >> 31)) >>> 0; rest >= 0x80; rest >>>= 7) length++
  return length
}

const SEED = 0x9747b28c
const MIX = 0x5bd1e995

/** The partition that Kafka's own producers choose for a key: murmur2, 32 bits, without its sign. */
export function partitionOf(key: Buffer, partitions: number): number {
  const whole = key.length & ~3
  let hash = SEED ^ key.length
  for (let at = 0; at < whole; at += 4) {
    let k = Math.imul(key.readInt32LE(at), MIX)
    k = Math.imul(k ^ (k >>> 24), MIX)
    hash = Math.imul(hash, MIX) ^ k
  }
  if (whole < key.length) {
    for (let at = key.length - 1; at >= whole; at--) hash ^= (key[at] as number) << ((at - whole) * 8)
    hash = Math.imul(hash, MIX)
  }
  hash = Math.imul(hash ^ (hash >>> 13), MIX)
  hash ^= hash >>> 15
  return (hash & 0x7fffffff) % partitions
}

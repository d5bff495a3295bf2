/**
 * Packets on their way from the capture to the passes: a file a part, appended to. Nothing in it has to be found out
 * again: whole records, times and link types as the reader gave them, the packet's number in the capture.
 *
 * Memory is `BUFFERED_BYTES`, however many files there are, and no file stays open.
 */

import { appendFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { emptyPacket, type Packet } from '../../capture/packet.ts'

const HEADER_BYTES = 28
const BUFFERED_BYTES = 8 << 20
const READ_BYTES = 1 << 20

export interface Spools {
  packet(packet: Packet, part: number, bucket: number): void
  /** Writes what is left; gives the parts that have packets. */
  close(): SpooledPart[]
}

export interface SpooledPart {
  part: number
  path: string
  packets: number
  bytes: number
}

/** Throws what writing throws. Synchronous: it runs in a worker. */
export function createSpools(parts: number, pathOf: (part: number) => string): Spools {
  const capacity = Math.max(4096, Math.floor(BUFFERED_BYTES / parts))
  const buffers: (Buffer | undefined)[] = new Array(parts).fill(undefined)
  const used = new Uint32Array(parts)
  const packets = new Float64Array(parts)
  const bytes = new Float64Array(parts)

  function flush(part: number): void {
    const length = used[part] as number
    if (length > 0) appendFileSync(pathOf(part), (buffers[part] as Buffer).subarray(0, length))
    used[part] = 0
  }

  return {
    packet(packet, part, bucket) {
      const { capLen, buffer, offset } = packet
      const size = HEADER_BYTES + capLen
      packets[part] = (packets[part] as number) + 1
      bytes[part] = (bytes[part] as number) + size
      if ((used[part] as number) + size > capacity) flush(part)
      if (size > capacity) {
        const alone = Buffer.allocUnsafe(size)
        writeHeader(alone, 0, packet, bucket)
        buffer.copy(alone, HEADER_BYTES, offset, offset + capLen)
        appendFileSync(pathOf(part), alone)
        return
      }
      buffers[part] ??= Buffer.allocUnsafeSlow(capacity)
      const target = buffers[part] as Buffer
      const at = used[part] as number
      writeHeader(target, at, packet, bucket)
      buffer.copy(target, at + HEADER_BYTES, offset, offset + capLen)
      used[part] = at + size
    },
    close() {
      const list: SpooledPart[] = []
      for (let part = 0; part < parts; part++) {
        flush(part)
        if ((packets[part] as number) > 0)
          list.push({ part, path: pathOf(part), packets: packets[part] as number, bytes: bytes[part] as number })
      }
      return list
    },
  }
}

function writeHeader(to: Buffer, at: number, packet: Packet, bucket: number): void {
  to.writeDoubleLE(packet.seconds, at)
  to.writeUInt32LE(packet.nanos, at + 8)
  to.writeUInt32LE(packet.number >>> 0, at + 12)
  to.writeUInt32LE(packet.capLen, at + 16)
  to.writeUInt32LE(packet.origLen, at + 20)
  to.writeUInt16LE(packet.linkType, at + 24)
  to.writeUInt16LE(bucket, at + 26)
}

export interface SpoolOptions {
  /** The packet is valid during the call. */
  onPacket: (packet: Packet, bucket: number) => void
  /** Awaited after each block that was read. */
  onWindow?: (progress: { bytes: number; packets: number }) => void | Promise<void>
}

/** All packets of one file, in order. */
export async function readSpool(path: string, { onPacket, onWindow }: SpoolOptions): Promise<void> {
  const file = await open(path, 'r')
  try {
    const packet = emptyPacket()
    // A record is never larger than the buffer: the reader's packets are not.
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
    let [kept, packets, position] = [0, 0, 0]
    for (;;) {
      const { bytesRead } = await file.read(buffer, kept, buffer.length - kept, position)
      if (bytesRead === 0) return
      position += bytesRead
      const end = kept + bytesRead
      let at = 0
      packet.buffer = buffer
      while (at + HEADER_BYTES <= end) {
        const capLen = buffer.readUInt32LE(at + 16)
        if (at + HEADER_BYTES + capLen > end) break
        packet.seconds = buffer.readDoubleLE(at)
        packet.nanos = buffer.readUInt32LE(at + 8)
        packet.number = buffer.readUInt32LE(at + 12)
        packet.capLen = capLen
        packet.origLen = buffer.readUInt32LE(at + 20)
        packet.linkType = buffer.readUInt16LE(at + 24)
        packet.offset = at + HEADER_BYTES
        packets++
        onPacket(packet, buffer.readUInt16LE(at + 26))
        at += HEADER_BYTES + capLen
      }
      await onWindow?.({ bytes: position, packets })
      kept = end - at
      buffer.copy(buffer, 0, at, end)
    }
  } finally {
    await file.close()
  }
}

/** What a part is divided by: its buckets where it has several, else its packets. */
export interface Survey {
  packets: number
  /** Bucket → bytes. */
  buckets: Map<number, number>
  /** The number of the packet in the middle. */
  middle: number
}

export async function surveySpool(path: string, isWanted: Wanted): Promise<Survey> {
  const buckets = new Map<number, number>()
  const numbers: number[] = []
  await readSpool(path, {
    onPacket({ number, capLen }, bucket) {
      if (!isWanted(number, bucket)) return
      numbers.push(number)
      buckets.set(bucket, (buckets.get(bucket) ?? 0) + capLen + HEADER_BYTES)
    },
  })
  return { packets: numbers.length, buckets, middle: numbers[numbers.length >> 1] ?? 0 }
}

/** Which of a part's packets are meant. All of it is JSON. */
export interface Selection {
  buckets?: readonly number[]
  /** Numbers in the capture: from `from` on, before `before`. */
  from?: number
  before?: number
  /** Numbers of packets that are left out. */
  without?: readonly number[]
}

export type Wanted = (number: number, bucket: number) => boolean

export function wantedBy({ buckets, from = 0, before = Number.POSITIVE_INFINITY, without }: Selection): Wanted {
  const mine = buckets && new Set(buckets)
  const left = new Set(without)
  return (number, bucket) =>
    number >= from && number < before && mine?.has(bucket) !== false && !(left.size > 0 && left.has(number))
}

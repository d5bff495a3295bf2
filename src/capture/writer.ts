/**
 * Packets back into a capture file, with nanoseconds, original lengths and link types kept.
 *
 * `pcap` holds one link type and is what tshark reads fastest; `pcapng` takes any, one interface each.
 * Writes are gathered in big pieces: `packet` only fills memory, `flush` writes it out.
 */

import { type FileHandle, open } from 'node:fs/promises'
import { messageOf, PipelineError } from '../../state/errors.ts'
import { MAX_PACKET_BYTES, type Packet } from './packet.ts'

export interface CaptureWriter {
  readonly path: string
  readonly packets: number
  readonly bytes: number
  /** Copies the packet; throws when a `pcap` would get a second link type. */
  packet(packet: Packet): void
  /** Bytes gathered and not yet written. */
  readonly pending: number
  flush(): Promise<void>
  /** Flushes and closes. */
  close(): Promise<void>
}

export interface WriterOptions {
  format: 'pcap' | 'pcapng'
  /** Needed for a `pcap` that may stay without packets; else the first packet tells. */
  linkType?: number
}

const CHUNK_BYTES = 1024 * 1024

/** Creates or replaces the file. Throws `io` or `disk_full`. */
export async function openCaptureWriter(path: string, { format, linkType }: WriterOptions): Promise<CaptureWriter> {
  const file = await open(path, 'w').catch((cause: unknown) => {
    throw ioError(path, cause)
  })
  const out = createOutput(path, file)
  const encode = format === 'pcap' ? encodePcap(out, path, linkType) : encodePcapng(out)
  let packets = 0
  return {
    path,
    get packets() {
      return packets
    },
    get bytes() {
      return out.bytes
    },
    get pending() {
      return out.pending
    },
    packet(packet) {
      encode(packet)
      packets++
    },
    flush: () => out.flush(),
    async close() {
      try {
        if (format === 'pcap' && out.bytes === 0) writePcapHeader(out, linkType ?? 1)
        await out.flush()
      } finally {
        await file.close()
      }
    },
  }
}

function ioError(path: string, cause: unknown): PipelineError {
  const full = cause instanceof Error && 'code' in cause && cause.code === 'ENOSPC'
  return new PipelineError(full ? 'disk_full' : 'io', `cannot write ${path}: ${messageOf(cause)}`, {
    retryable: true,
    cause,
  })
}

interface Output {
  bytes: number
  pending: number
  /** Room for `length` bytes; `chunk` and `at` say where. */
  reserve(length: number): void
  chunk: Buffer
  view: DataView
  at: number
  flush(): Promise<void>
}

function createOutput(path: string, file: FileHandle): Output {
  const full: Buffer[] = []
  const free: Buffer[] = []
  const out: Output = {
    bytes: 0,
    pending: 0,
    chunk: Buffer.alloc(0),
    view: new DataView(new ArrayBuffer(0)),
    at: 0,
    reserve(length) {
      if (out.at + length > out.chunk.length) nextChunk(length)
      out.bytes += length
      out.pending += length
    },
    async flush() {
      if (out.at > 0) nextChunk(0)
      out.pending = 0
      for (let piece = full.shift(); piece; piece = full.shift()) {
        await file.writev([piece]).catch((cause: unknown) => {
          throw ioError(path, cause)
        })
        if (free.length < 2 && piece.buffer.byteLength === CHUNK_BYTES) free.push(Buffer.from(piece.buffer))
      }
    },
  }
  function nextChunk(length: number): void {
    if (out.at > 0) full.push(out.chunk.subarray(0, out.at))
    out.chunk =
      length > CHUNK_BYTES ? Buffer.allocUnsafeSlow(length) : (free.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES))
    out.view = new DataView(out.chunk.buffer, out.chunk.byteOffset, out.chunk.length)
    out.at = 0
  }
  return out
}

function writePcapHeader(out: Output, linkType: number): void {
  out.reserve(24)
  out.view.setUint32(out.at, 0xa1b23c4d, true)
  out.view.setUint16(out.at + 4, 2, true)
  out.view.setUint16(out.at + 6, 4, true)
  out.view.setUint32(out.at + 8, 0, true)
  out.view.setUint32(out.at + 12, 0, true)
  out.view.setUint32(out.at + 16, MAX_PACKET_BYTES, true)
  out.view.setUint32(out.at + 20, linkType, true)
  out.at += 24
}

function encodePcap(out: Output, path: string, declared: number | undefined): (packet: Packet) => void {
  let linkType = declared
  return (packet) => {
    linkType ??= packet.linkType
    if (packet.linkType !== linkType) {
      throw new PipelineError(
        'usage',
        `${path}: a pcap file holds one link type, not ${linkType} and ${packet.linkType}`,
      )
    }
    if (out.bytes === 0) writePcapHeader(out, linkType)
    const { capLen } = packet
    out.reserve(16 + capLen)
    const { view, at } = out
    view.setUint32(at, packet.seconds, true)
    view.setUint32(at + 4, packet.nanos, true)
    view.setUint32(at + 8, capLen, true)
    view.setUint32(at + 12, packet.origLen, true)
    packet.buffer.copy(out.chunk, at + 16, packet.offset, packet.offset + capLen)
    out.at = at + 16 + capLen
  }
}

const SECTION_BYTES = 28
const INTERFACE_BYTES = 32

function encodePcapng(out: Output): (packet: Packet) => void {
  const interfaces = new Map<number, number>()
  writeSection(out)
  return (packet) => {
    let id = interfaces.get(packet.linkType)
    if (id === undefined) {
      id = interfaces.size
      interfaces.set(packet.linkType, id)
      writeInterface(out, packet.linkType)
    }
    const { capLen } = packet
    const padded = (capLen + 3) & ~3
    const length = 32 + padded
    out.reserve(length)
    const { view, at } = out
    view.setUint32(at, 6, true)
    view.setUint32(at + 4, length, true)
    view.setUint32(at + 8, id, true)
    writeNanoseconds(view, at + 12, packet)
    view.setUint32(at + 20, capLen, true)
    view.setUint32(at + 24, packet.origLen, true)
    packet.buffer.copy(out.chunk, at + 28, packet.offset, packet.offset + capLen)
    out.chunk.fill(0, at + 28 + capLen, at + 28 + padded)
    view.setUint32(at + length - 4, length, true)
    out.at = at + length
  }
}

/** Nanoseconds since the epoch, high half first, exact without a BigInt a packet: 10^9 = 15258 * 2^16 + 51712. */
function writeNanoseconds(view: DataView, at: number, { seconds, nanos }: Packet): void {
  const upper = seconds * 15_258
  const lower = (upper % 65_536) * 65_536 + seconds * 51_712 + nanos
  view.setUint32(at, Math.floor(upper / 65_536) + Math.floor(lower / 2 ** 32), true)
  view.setUint32(at + 4, lower % 2 ** 32, true)
}

function writeSection(out: Output): void {
  out.reserve(SECTION_BYTES)
  const { view, at } = out
  view.setUint32(at, 0x0a0d0d0a, true)
  view.setUint32(at + 4, SECTION_BYTES, true)
  view.setUint32(at + 8, 0x1a2b3c4d, true)
  view.setUint16(at + 12, 1, true)
  view.setUint16(at + 14, 0, true)
  view.setUint32(at + 16, 0xffff_ffff, true)
  view.setUint32(at + 20, 0xffff_ffff, true)
  view.setUint32(at + 24, SECTION_BYTES, true)
  out.at = at + SECTION_BYTES
}

/** With if_tsresol = 9: nanoseconds. */
function writeInterface(out: Output, linkType: number): void {
  out.reserve(INTERFACE_BYTES)
  const { view, at } = out
  view.setUint32(at, 1, true)
  view.setUint32(at + 4, INTERFACE_BYTES, true)
  view.setUint16(at + 8, linkType, true)
  view.setUint16(at + 10, 0, true)
  view.setUint32(at + 12, 0, true)
  view.setUint16(at + 16, 9, true)
  view.setUint16(at + 18, 1, true)
  view.setUint32(at + 20, 9, true)
  view.setUint32(at + 24, 0, true)
  view.setUint32(at + 28, INTERFACE_BYTES, true)
  out.at = at + INTERFACE_BYTES
}

/**
 * A capture file in, its packets out, in file order, through a callback.
 *
 * Reads an uncompressed pcap or pcapng in big blocks; memory is the window, whatever the file claims. A
 * damaged or cut file gives what is whole in it and an account of the rest. The event loop gets its turn
 * every few milliseconds.
 */

import { type FileHandle, open } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { CaptureFormat, PacketAccount } from '../../state/capture.ts'
import { messageOf, PipelineError } from '../../state/errors.ts'
import type { CaptureParser, OnPacket, OnSecrets, Packet, Window } from './packet.ts'
import { createPcapParser, PCAP_HEADER_BYTES } from './pcap.ts'
import { createPcapngParser } from './pcapng.ts'
import { sniffContainer } from './sniff.ts'

const WINDOW_BYTES = 4 * 1024 * 1024
const SLICE_PACKETS = 64
const SLICE_MS = 12

export interface ReadOptions {
  /** Called for each packet; synchronous, must not keep the packet. What it throws ends the reading. */
  onPacket: OnPacket
  /** Awaited after each window (at most 4 MiB of the file): the place to write out what has been gathered. */
  onWindow?: (progress: { bytes: number; packets: number }) => void | Promise<void>
  /** Microseconds that are added to the time of each packet, and so to those of the account. */
  clockOffsetUs?: number
  /** Called for each block of secrets (pcapng), before the packets behind it; its data are valid during the call. */
  onSecrets?: OnSecrets
  signal?: AbortSignal
}

export interface ReadResult {
  format: CaptureFormat
  /** Packets handed out. */
  packets: number
  /** `inFile` = packets handed out + skipped. Times are the earliest and the latest of the packets handed out. */
  account: Omit<PacketAccount, 'decoded'>
  /** LINKTYPE numbers in the order in which they were met. */
  linkTypes: number[]
}

/**
 * Throws `capture_not_recognized` when the file is no uncompressed capture, `capture_unreadable` when it
 * cannot be read. A capture without packets is a result as any other.
 */
export async function readCapture(path: string, options: ReadOptions): Promise<ReadResult> {
  const { onPacket, onWindow, onSecrets, clockOffsetUs = 0, signal } = options
  const file = await openFile(path)
  try {
    const times = { first: Number.POSITIVE_INFINITY, last: Number.NEGATIVE_INFINITY }
    const head = Buffer.alloc(PCAP_HEADER_BYTES)
    const headBytes = await readAt(file, path, head, 0, head.length, 0)
    const timed = (packet: Packet) => {
      const time = packet.seconds + packet.nanos / 1e9
      if (time < times.first) times.first = time
      if (time > times.last) times.last = time
      onPacket(packet)
    }
    const shift = clockOffsetUs === 0 ? timed : shifted(clockOffsetUs, timed)
    const { format, parser, start } = openParser(path, head.subarray(0, headBytes), shift, onSecrets)
    await feed(file, path, parser, start, onWindow, signal)
    return { format, packets: parser.packets, account: accountOf(parser, times), linkTypes: [...parser.linkTypes] }
  } finally {
    await file.close()
  }
}

/** The packet's own time is put back afterwards: a packet that has none takes that of the one before it. */
function shifted(clockOffsetUs: number, onPacket: OnPacket): OnPacket {
  const wholeSeconds = Math.floor(clockOffsetUs / 1e6)
  const moreNanos = (clockOffsetUs - wholeSeconds * 1e6) * 1000
  return (packet) => {
    const { seconds, nanos } = packet
    const sum = nanos + moreNanos
    packet.seconds = seconds + wholeSeconds + (sum >= 1e9 ? 1 : 0)
    packet.nanos = sum >= 1e9 ? sum - 1e9 : sum
    onPacket(packet)
    packet.seconds = seconds
    packet.nanos = nanos
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (cause) {
    throw unreadable(path, cause)
  }
}

function unreadable(path: string, cause: unknown): PipelineError {
  return new PipelineError('capture_unreadable', `cannot read ${path}: ${messageOf(cause)}`, { cause })
}

/** Fills `buffer` as far as the file goes. */
async function readAt(
  file: FileHandle,
  path: string,
  buffer: Buffer,
  at: number,
  length: number,
  position: number,
): Promise<number> {
  let done = 0
  while (done < length) {
    const { bytesRead } = await file.read(buffer, at + done, length - done, position + done).catch((cause: unknown) => {
      throw unreadable(path, cause)
    })
    if (bytesRead === 0) break
    done += bytesRead
  }
  return done
}

function openParser(
  path: string,
  head: Buffer,
  onPacket: OnPacket,
  onSecrets: OnSecrets | undefined,
): { format: CaptureFormat; parser: CaptureParser; start: number } {
  const container = sniffContainer(head)
  if (container === 'pcapng') return { format: 'pcapng', parser: createPcapngParser(onPacket, onSecrets), start: 0 }
  if (container === 'pcap') {
    // A file that ends within its header is a capture without packets.
    const whole = head.length === PCAP_HEADER_BYTES
    const header = whole ? head : Buffer.concat([head, Buffer.alloc(PCAP_HEADER_BYTES)], PCAP_HEADER_BYTES)
    const parser = createPcapParser(header, onPacket)
    if (parser) return { format: 'pcap', parser, start: whole ? PCAP_HEADER_BYTES : 0 }
  }
  const what =
    head.length === 0
      ? 'it is empty'
      : container
        ? `it is a ${container} file`
        : 'its first bytes are those of no capture'
  throw new PipelineError('capture_not_recognized', `${path} is not an uncompressed pcap or pcapng file: ${what}`)
}

async function feed(
  file: FileHandle,
  path: string,
  parser: CaptureParser,
  start: number,
  onWindow: ReadOptions['onWindow'],
  signal: AbortSignal | undefined,
): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(WINDOW_BYTES)
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length)
  const window: Window = { buffer, view, from: 0, to: 0, fileOffset: start, atEnd: false }
  while (!window.atEnd) {
    signal?.throwIfAborted()
    await refill(file, path, window)
    await parseWindow(parser, window, signal)
    await onWindow?.({ bytes: window.fileOffset + Math.min(window.from, window.to), packets: parser.packets })
  }
}

/** Moves what is left to the front and reads on behind it; bytes that were skipped ahead are not read. */
async function refill(file: FileHandle, path: string, window: Window): Promise<void> {
  const { buffer, from, to } = window
  const kept = Math.max(0, to - from)
  if (kept > 0) buffer.copyWithin(0, from, to)
  window.fileOffset += from
  const got = await readAt(file, path, buffer, kept, buffer.length - kept, window.fileOffset + kept)
  window.from = 0
  window.to = kept + got
  window.atEnd = window.to < buffer.length
}

async function parseWindow(parser: CaptureParser, window: Window, signal: AbortSignal | undefined): Promise<void> {
  let sliceEnd = performance.now() + SLICE_MS
  while (parser.parse(window, SLICE_PACKETS)) {
    if (performance.now() < sliceEnd) continue
    await nextTurn()
    signal?.throwIfAborted()
    sliceEnd = performance.now() + SLICE_MS
  }
}

function accountOf(parser: CaptureParser, times: { first: number; last: number }): Omit<PacketAccount, 'decoded'> {
  const { skipped, lostBytes, salvaged } = parser.damage
  const inFile = parser.packets + Object.values(skipped).reduce((sum, n) => sum + n, 0)
  return {
    inFile,
    skipped,
    lostBytes,
    ...(salvaged === undefined ? {} : { salvaged }),
    ...(parser.packets > 0 ? { firstTime: times.first, lastTime: times.last } : {}),
  }
}

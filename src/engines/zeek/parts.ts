/**
 * The parts of a capture that Zeek is run on, as capture files of their own.
 *
 * How many there are follows from the capture's size alone, so that the same capture gives the same logs on every
 * host: each part has seeds, and so uids, of its own.
 */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { readCapture } from '../../capture/reader.ts'
import { type CaptureWriter, openCaptureWriter } from '../../capture/writer.ts'
import { shardCapture } from '../flows/shard.ts'

export interface Part {
  /** Unique within the capture; empty for the whole. */
  label: string
  path: string
  packets: number
}

/** A part is large enough that Zeek's start-up does not count, and small enough to bound its memory. */
const PART_BYTES = 128 * 1024 * 1024
const MAX_PARTS = 64

export function partsOf(captureBytes: number, partBytes = PART_BYTES): number {
  return Math.min(MAX_PARTS, Math.max(1, Math.ceil(captureBytes / partBytes)))
}

/** All packets between two hosts are in one part. Fewer parts come out when there are fewer pairs of hosts. */
export async function cut(
  { label, path }: Part,
  count: number,
  workDir: string,
  signal: AbortSignal,
  clockOffsetUs = 0,
): Promise<Part[]> {
  const dir = await folderOf(workDir, label)
  const { shards } = await shardCapture({ capturePath: path, clockOffsetUs, dir, parts: count, signal })
  return shards.map(({ path: file, packets }, n) => ({
    label: count === 1 ? label : `${label}/${n}`,
    path: file,
    packets,
  }))
}

/** By hosts where there are several pairs of them, else by packets: then flows are cut as well. */
export async function halve(part: Part, workDir: string, signal: AbortSignal): Promise<[Part, Part]> {
  const [first, second] = await cut(part, 2, workDir, signal)
  return first !== undefined && second !== undefined ? [first, second] : await halvePackets(part, workDir, signal)
}

async function halvePackets(
  { label, path, packets }: Part,
  workDir: string,
  signal: AbortSignal,
): Promise<[Part, Part]> {
  const dir = await folderOf(workDir, label)
  const writers: [CaptureWriter, CaptureWriter] = [
    await openCaptureWriter(join(dir, 'first.pcapng'), { format: 'pcapng' }),
    await openCaptureWriter(join(dir, 'second.pcapng'), { format: 'pcapng' }),
  ]
  let seen = 0
  try {
    await readCapture(path, {
      signal,
      onPacket: (packet) => writers[seen++ < packets >> 1 ? 0 : 1].packet(packet),
      onWindow: async () => {
        for (const writer of writers) await writer.flush()
      },
    })
  } finally {
    for (const writer of writers) await writer.close()
  }
  const half = (writer: CaptureWriter, name: string): Part => ({
    label: `${label}/${name}`,
    path: writer.path,
    packets: writer.packets,
  })
  return [half(writers[0], 'a'), half(writers[1], 'b')]
}

async function folderOf(workDir: string, label: string): Promise<string> {
  const dir = join(workDir, `parts${label.replaceAll('/', '-')}`)
  await mkdir(dir, { recursive: true })
  return dir
}

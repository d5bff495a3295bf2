/**
 * A capture in parts that engines can work on side by side. All packets between two hosts are in one part
 * (both directions, fragments, whatever VLAN or tunnel they come through: the OUTERMOST addresses decide),
 * so flows stay whole.
 *
 * Two passes. The first weighs: it counts packets and bytes in many hash buckets, which are then packed into
 * parts, heaviest first. The second writes. Assigning a bucket when its first packet comes needs one pass
 * only, but then the heavy hitters meet where chance has it: on captures of a few busy hosts the heaviest part
 * was up to a third heavier, and an engine takes twenty times as long over it as the first pass takes.
 */

import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import type { Packet } from '../../capture/packet.ts'
import { type ReadResult, readCapture } from '../../capture/reader.ts'
import { type CaptureWriter, openCaptureWriter } from '../../capture/writer.ts'
import { BUCKETS, bucketOf } from './buckets.ts'
import { type FlowEntry, NO_FLOW } from './types.ts'

interface Shard {
  path: string
  /** See sidecar.ts. */
  sidecarPath: string
  packets: number
  bytes: number
}

export interface ShardOptions {
  capturePath: string
  clockOffsetUs?: number
  /** An existing directory. */
  dir: string
  /** How many parts; fewer come out when there are fewer pairs of hosts. */
  parts: number
  /** Takes every packet in the order of the file (a flow table); what it returns goes into the sidecar. */
  onPacket?: (packet: Packet) => FlowEntry
  signal?: AbortSignal
}

export interface ShardResult {
  shards: Shard[]
  read: ReadResult
}

/** Throws what reading and writing throw; the caller removes `dir`. */
export async function shardCapture({
  capturePath,
  clockOffsetUs,
  dir,
  parts,
  onPacket,
  signal,
}: ShardOptions): Promise<ShardResult> {
  const { partOf, linkTypes } = await planParts(capturePath, parts, signal)
  const format = linkTypes.length > 1 ? 'pcapng' : 'pcap'
  const count = 1 + partOf.reduce((most, part) => Math.max(most, part), 0)
  const open = Array.from({ length: count }, (_, part) => openPart(dir, part, format))
  const outputs = await settleAll(open)
  try {
    const read = await readCapture(capturePath, {
      clockOffsetUs,
      ...(signal ? { signal } : {}),
      onPacket: (packet) => {
        const part = partOf[bucketOf(packet)] as number
        ;(outputs[part] as PartOutput).packet(packet, onPacket ? onPacket(packet) : NO_FLOW)
      },
      onWindow: async () => {
        for (const output of outputs) await output.flush()
      },
    })
    return { shards: outputs.map((output) => output.shard()), read }
  } finally {
    for (const output of outputs) await output.close()
  }
}

/** All or none: what was opened is closed when one fails. */
async function settleAll(opening: Promise<PartOutput>[]): Promise<PartOutput[]> {
  const results = await Promise.allSettled(opening)
  const opened = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = results.find((result) => result.status === 'rejected')
  if (failed === undefined) return opened
  for (const output of opened) await output.close()
  throw failed.reason
}

/** What a packet costs an engine, in bytes of payload. */
const PACKET_WEIGHT = 1500

interface Plan {
  /** Bucket → part. */
  partOf: Uint16Array
  linkTypes: number[]
}

async function planParts(capturePath: string, parts: number, signal: AbortSignal | undefined): Promise<Plan> {
  const weights = new Float64Array(BUCKETS)
  const { linkTypes } = await readCapture(capturePath, {
    ...(signal ? { signal } : {}),
    onPacket: (packet) => {
      const bucket = bucketOf(packet)
      weights[bucket] = (weights[bucket] as number) + packet.capLen + PACKET_WEIGHT
    },
  })
  await nextTurn()
  return { partOf: pack(weights, parts), linkTypes }
}

/** Heaviest bucket first, each into the part that is lightest so far (Graham's LPT: at most 4/3 of the best). */
export function pack(weights: Float64Array, parts: number): Uint16Array {
  const filled = weights.reduce((n, weight) => n + (weight > 0 ? 1 : 0), 0)
  const loads = new Float64Array(Math.max(1, Math.min(parts, filled, 1024)))
  const partOf = new Uint16Array(weights.length)
  const order = Uint16Array.from(weights.keys()).sort(
    (a, b) => (weights[b] as number) - (weights[a] as number) || a - b,
  )
  for (const bucket of order) {
    const weight = weights[bucket] as number
    if (weight === 0) break
    let lightest = 0
    for (let part = 1; part < loads.length; part++)
      if ((loads[part] as number) < (loads[lightest] as number)) lightest = part
    partOf[bucket] = lightest
    loads[lightest] = (loads[lightest] as number) + weight
  }
  return partOf
}

interface PartOutput {
  packet(packet: Packet, entry: FlowEntry): void
  flush(): Promise<void>
  shard(): Shard
  close(): Promise<void>
}

async function openPart(dir: string, part: number, format: 'pcap' | 'pcapng'): Promise<PartOutput> {
  const name = `shard-${String(part).padStart(3, '0')}`
  const path = join(dir, `${name}.${format}`)
  const sidecarPath = join(dir, `${name}.flows`)
  const capture = await openCaptureWriter(path, { format })
  try {
    const sidecar = await open(sidecarPath, 'w')
    return partOutput(capture, sidecar, sidecarPath)
  } catch (cause) {
    await capture.close()
    throw ioError(sidecarPath, cause)
  }
}

function ioError(path: string, cause: unknown): PipelineError {
  return new PipelineError('io', `cannot write ${path}: ${messageOf(cause)}`, { retryable: true, cause })
}

function partOutput(capture: CaptureWriter, sidecar: FileHandle, sidecarPath: string): PartOutput {
  let entries = Buffer.allocUnsafe(64 * 1024)
  let used = 0

  async function flush(): Promise<void> {
    await capture.flush()
    if (used === 0) return
    const bytes = entries.subarray(0, used)
    used = 0
    await sidecar.appendFile(bytes).catch((cause: unknown) => {
      throw ioError(sidecarPath, cause)
    })
  }

  return {
    packet(packet, entry) {
      capture.packet(packet)
      if (used + 4 > entries.length) entries = Buffer.concat([entries], entries.length * 2)
      used = entries.writeUInt32LE(entry, used)
    },
    flush,
    shard: () => ({ path: capture.path, sidecarPath, packets: capture.packets, bytes: capture.bytes }),
    async close() {
      try {
        await flush()
        await capture.close()
      } finally {
        await sidecar.close()
      }
    },
  }
}

/**
 * One pass over a capture that dissects some of its parts.
 *
 * In: the capture and the numbers of the parts. Out: the lines of each log of each part, in memory while they are
 * few, else in files of `spillDir`; what the reader says of the file; what could not be decoded.
 */

import { appendFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PacketAccount } from '../../../state/capture.ts'
import { readCapture } from '../../capture/reader.ts'
import { timeOf } from '../flows/live-flow.ts'
import { arpRecord } from './arp.ts'
import { createDissect, type Dissect } from './dissect.ts'
import { createUidList } from './packet-log.ts'
import { PARTS, partOf } from './parts.ts'
import { PROTOCOLS } from './protocols/index.ts'

export interface PassRequest {
  capturePath: string
  captureId: string
  /** How many parts the capture has: 1, or `PARTS`. */
  partCount: number
  /** The numbers of those that this pass dissects. */
  parts: number[]
  /** Exists; the files of this pass have names of their own in it. */
  spillDir: string
  localNets?: readonly string[]
  /** Logs that Zeek has only with a policy script, and that are asked for. */
  policyLogs?: readonly string[]
  /** Where the uid of each packet is written, for the packet log; needs all parts. */
  uidFile?: string
}

/** The lines of one log of one part. */
export interface Piece {
  part: number
  log: string
  records: number
  /** The lines that came first, where they were too many for memory. */
  spilled?: string
  /** The lines that came last. */
  tail: string
}

export interface PassResult {
  account: Omit<PacketAccount, 'decoded'>
  /** Packets of these parts. */
  packets: number
  /** Of those, packets that could not be decoded, by reason. */
  undecoded: Record<string, number>
  pieces: Piece[]
  /** Dissectors that failed: a bug of ours. */
  faults: { protocol: string; flows: number; error: string }[]
}

export interface PassOptions {
  onProgress?: (progress: { bytes: number; packets: number }) => void
  signal?: AbortSignal
}

/** Lines of all logs that wait in memory, at most. */
const SPILL_BYTES = 8 << 20

interface Lines {
  waiting: string[]
  records: number
  spilled?: string
}

/**
 * What a round over the capture dissects at most, in bytes. The flows of all parts of a round are in memory at the
 * same time, and reading is cheap beside dissecting: so parts of a large capture are dissected one group after
 * another, and memory does not follow the capture's size.
 */
const ROUND_BYTES = 64 << 20
const MAX_ROUNDS = 8

export async function runPass(request: PassRequest, { onProgress, signal }: PassOptions = {}): Promise<PassResult> {
  const isWhole = request.partCount === 1
  const { size } = await stat(request.capturePath)
  const rounds = roundsOf(request, size)
  const outputs = createOutputs(request.spillDir, request.parts[0] ?? 0)
  const faults = new Map<string, { protocol: string; flows: number; error: string }>()
  const uids = request.uidFile === undefined ? undefined : createUidList(request.uidFile)
  const undecoded: Record<string, number> = {}
  let account: PassResult['account'] | undefined
  let packets = 0

  for (const [number, parts] of rounds.entries()) {
    account = await round(parts, (read) => {
      const share = (done: number, all: number) => Math.floor((number * all + done) / rounds.length)
      onProgress?.({ bytes: share(read.bytes, size), packets: share(read.packets, account?.inFile ?? read.packets) })
    })
  }
  await uids?.flush()
  await uids?.close()
  return {
    account: account as PassResult['account'],
    packets,
    undecoded,
    pieces: outputs.pieces(),
    faults: [...faults.values()],
  }

  async function round(
    parts: readonly number[],
    progress: (read: { bytes: number; packets: number }) => void,
  ): Promise<PassResult['account']> {
    const mine = new Uint8Array(PARTS)
    for (const part of parts) mine[part] = 1
    const dissects: (Dissect | undefined)[] = new Array(PARTS)
    let [seconds, nanos] = [0, 0]
    let isEmpty = true
    const read = await readCapture(request.capturePath, {
      signal,
      onPacket(packet) {
        isEmpty = false
        seconds = packet.seconds
        nanos = packet.nanos
        const part = isWhole ? 0 : partOf(packet)
        if (mine[part] === 0) return
        packets++
        dissects[part] ??= open(part)
        const dissect = dissects[part] as Dissect
        const isOfFlow = dissect.packet(packet)
        uids?.add(dissect.uid())
        if (isOfFlow) return
        const arp = arpRecord(packet)
        if (arp !== undefined) outputs.line(part, 'arp', JSON.stringify(arp))
      },
      async onWindow(window) {
        progress(window)
        await uids?.flush()
        await outputs.spill(SPILL_BYTES)
      },
    })
    for (const [part, dissect] of dissects.entries()) {
      dissect?.finish(isEmpty ? undefined : timeOf(seconds, nanos))
      await outputs.spill(SPILL_BYTES)
      for (const [reason, count] of Object.entries(dissect?.counts.undecoded ?? {}))
        undecoded[reason] = (undecoded[reason] ?? 0) + count
      dissects[part] = undefined
    }
    return read.account
  }

  function open(part: number): Dissect {
    return createDissect({
      captureId: request.captureId,
      localNets: request.localNets,
      policyLogs: request.policyLogs,
      protocols: PROTOCOLS,
      write: (log, record) => outputs.line(part, log, JSON.stringify(record)),
      writeLine: (log, line) => outputs.line(part, log, line),
      onFault(protocol, error) {
        const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
        const fault = faults.get(protocol) ?? { protocol, flows: 0, error: text }
        fault.flows++
        faults.set(protocol, fault)
      },
    })
  }
}

/** The parts of each round: as many in one as in another. The uids of packets are wanted in the capture's order: one round. */
function roundsOf({ partCount, parts, uidFile }: PassRequest, captureBytes: number): (readonly number[])[] {
  const bytes = (captureBytes * parts.length) / partCount
  const wanted = uidFile === undefined ? Math.min(Math.ceil(bytes / ROUND_BYTES), MAX_ROUNDS, parts.length) : 1
  const perRound = Math.ceil(parts.length / Math.max(1, wanted))
  return Array.from({ length: Math.max(1, Math.ceil(parts.length / perRound)) }, (_, i) =>
    parts.slice(i * perRound, (i + 1) * perRound),
  )
}

/** `name` tells the files of this pass from those of others in the same directory: no two share a part. */
function createOutputs(spillDir: string, name: number) {
  const logs = new Map<string, Lines[]>()
  let waiting = 0

  function line(part: number, log: string, text: string): void {
    let parts = logs.get(log)
    if (parts === undefined) {
      parts = new Array(PARTS)
      logs.set(log, parts)
    }
    const lines = parts[part] ?? { waiting: [], records: 0 }
    parts[part] = lines
    lines.waiting.push(`${text}\n`)
    lines.records++
    waiting += text.length + 1
  }

  async function spill(limit: number): Promise<void> {
    if (waiting <= limit) return
    waiting = 0
    for (const [log, parts] of logs) {
      for (const [part, lines] of parts.entries()) {
        if (lines === undefined || lines.waiting.length === 0) continue
        const text = lines.waiting.join('')
        lines.waiting = []
        // The first lines replace what a pass that failed may have left under this name.
        const write = lines.spilled === undefined ? writeFile : appendFile
        lines.spilled ??= join(spillDir, `${name}-${log}-${part}.ndjson`)
        await write(lines.spilled, text)
      }
    }
  }

  function pieces(): Piece[] {
    const list: Piece[] = []
    for (const [log, parts] of logs) {
      for (const [part, lines] of parts.entries()) {
        if (lines === undefined) continue
        const { records, spilled } = lines
        list.push({ part, log, records, ...(spilled === undefined ? {} : { spilled }), tail: lines.waiting.join('') })
      }
    }
    return list
  }

  return { line, spill, pieces }
}

/**
 * One pass over a capture that dissects some of its parts.
 *
 * In: the capture and the numbers of the parts. Out: the lines of each log of each part, in memory while they are
 * few, else in files of `spillDir`; what the reader says of the file; what could not be decoded.
 */

import { appendFile, writeFile } from 'node:fs/promises'
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

export async function runPass(request: PassRequest, { onProgress, signal }: PassOptions = {}): Promise<PassResult> {
  const isWhole = request.partCount === 1
  const mine = new Uint8Array(PARTS)
  for (const part of request.parts) mine[part] = 1
  const dissects: (Dissect | undefined)[] = new Array(PARTS)
  const outputs = createOutputs(request.spillDir, request.parts[0] ?? 0)
  const faults = new Map<string, { protocol: string; flows: number; error: string }>()
  const uids = request.uidFile === undefined ? undefined : createUidList(request.uidFile)
  let packets = 0
  let end: number | undefined

  const { account } = await readCapture(request.capturePath, {
    signal,
    onPacket(packet) {
      end = timeOf(packet.seconds, packet.nanos)
      const part = isWhole ? 0 : partOf(packet)
      if (mine[part] === 0) return
      packets++
      dissects[part] ??= open(part)
      const uid = (dissects[part] as Dissect).packet(packet)
      uids?.add(uid)
      if (uid !== undefined) return
      const arp = arpRecord(packet)
      if (arp !== undefined) outputs.line(part, 'arp', JSON.stringify(arp))
    },
    async onWindow(progress) {
      onProgress?.(progress)
      await uids?.flush()
      await outputs.spill(SPILL_BYTES)
    },
  })
  for (const dissect of dissects) {
    dissect?.finish(end)
    await outputs.spill(SPILL_BYTES)
  }
  await uids?.flush()
  await uids?.close()
  const undecoded: Record<string, number> = {}
  for (const dissect of dissects) {
    for (const [reason, count] of Object.entries(dissect?.counts.undecoded ?? {})) {
      undecoded[reason] = (undecoded[reason] ?? 0) + count
    }
  }
  return { account, packets, undecoded, pieces: outputs.pieces(), faults: [...faults.values()] }

  function open(part: number): Dissect {
    return createDissect({
      captureId: request.captureId,
      localNets: request.localNets,
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

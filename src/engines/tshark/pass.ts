/**
 * One pass over a capture, or over a part of it: its packets through the dissectors.
 *
 * In: where the packets are, and which of them are meant. Out: the lines of each log, in memory while they are few,
 * else in one file; what the reader says of a capture; what could not be decoded.
 */

import { appendFileSync, closeSync, openSync, rmSync, writeSync } from 'node:fs'
import type { PacketAccount } from '../../../state/capture.ts'
import { createEmbeddedKeys } from '../../capture/embedded-keys.ts'
import type { Packet } from '../../capture/packet.ts'
import { readCapture } from '../../capture/reader.ts'
import { timeOf } from '../flows/live-flow.ts'
import { arpRecord } from './arp.ts'
import { createDissect } from './dissect.ts'
import { PROTOCOLS } from './protocols/index.ts'
import { openTlsKeys, type TlsCounts } from './protocols/tls-keys.ts'
import { readSpool, type Selection, wantedBy } from './spool.ts'
import { createUidWriter } from './uid-list.ts'

/** The time of the capture's last packet. */
export interface CaptureEnd {
  seconds: number
  nanos: number
}

/** A whole capture, or a part as split.ts has written it, or some of its packets. */
export type PassSource = { capturePath: string } | ({ spoolPath: string; end: CaptureEnd } & Selection)

export interface PassRequest {
  captureId: string
  source: PassSource
  /** Of a whole capture: a part has the corrected times already. */
  clockOffsetUs?: number
  /** Where the lines go when they are many; what is there already is replaced. */
  outPath: string
  localNets?: readonly string[]
  /** Logs that Zeek has only with a policy script, and that are asked for. */
  policyLogs?: readonly string[]
  /** Absent where TLS is not to be decrypted. */
  tls?: TlsRequest
  /** Where the uid of each packet is written, for the packet log. */
  uidPath?: string
  /** Where the number of the packet in hand is written before it is looked at: it tells what a pass fails on. */
  markPath?: string
}

export interface TlsRequest {
  /** Key logs; one that is not there has no keys. */
  keyFiles: string[]
  /** Where those of a whole capture go that are in it. */
  embeddedPath: string
}

/** The lines of one log: the ranges of the file first, then those in memory. */
export interface Piece {
  log: string
  records: number
  path?: string
  /** [offset, bytes) pairs. */
  ranges: [number, number][]
  tail: string
}

export interface PassResult {
  /** Of a whole capture. */
  account?: Omit<PacketAccount, 'decoded'>
  packets: number
  /** Of those, packets that could not be decoded, by reason. */
  undecoded: Record<string, number>
  pieces: Piece[]
  /** Of a whole capture: key logs in it. */
  embeddedKeys?: number
  /** Where TLS was to be decrypted. */
  tls?: TlsCounts
  /** Dissectors that failed: a bug of ours. */
  faults: { protocol: string; flows: number; error: string }[]
}

export type OnProgress = (progress: { bytes: number; packets: number }) => void

export interface PassOptions {
  onProgress?: OnProgress
  /** Default: the dissectors of this folder. */
  open?: typeof createDissect
}

/** Lines of all logs that wait in memory, at most. */
const SPILL_BYTES = 2 << 20
/** So much of a whole capture is handed over without a file; of a part, which is one of many, less. */
const TAIL_BYTES = { whole: 256 << 10, part: 4 << 10 }

export async function runPass(
  { captureId, source, clockOffsetUs, outPath, localNets, policyLogs, tls, uidPath, markPath }: PassRequest,
  { onProgress, open = createDissect }: PassOptions = {},
): Promise<PassResult> {
  const output = createOutput(outPath)
  const faults = new Map<string, { protocol: string; flows: number; error: string }>()
  const uids = uidPath === undefined ? undefined : createUidWriter(uidPath)
  const mark = markPath === undefined ? undefined : createMark(markPath)
  const tlsKeys = tls && (await openTlsKeys(tls.keyFiles))
  const embedded = createEmbeddedKeys(tls?.embeddedPath, tlsKeys?.add)
  let packets = 0
  let end: CaptureEnd | undefined
  const dissect = open({
    captureId,
    localNets,
    policyLogs,
    tlsKeys,
    protocols: PROTOCOLS,
    write: (log, record) => output.line(log, JSON.stringify(record)),
    writeLine: output.line,
    onFault(protocol, error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      const fault = faults.get(protocol) ?? { protocol, flows: 0, error: text }
      fault.flows++
      faults.set(protocol, fault)
    },
  })

  function take(packet: Packet): void {
    packets++
    mark?.set(packet.number)
    const isOfFlow = dissect.packet(packet)
    uids?.add(packet.number, dissect.uid())
    if (isOfFlow) return
    const arp = arpRecord(packet)
    if (arp !== undefined) output.line('arp', JSON.stringify(arp))
  }

  function onWindow(progress: { bytes: number; packets: number }): void {
    onProgress?.(progress)
    uids?.flush()
    output.spill(SPILL_BYTES)
  }

  async function read(): Promise<PassResult['account'] | undefined> {
    if ('capturePath' in source) {
      const last = { seconds: 0, nanos: 0 }
      const { packets: count, account } = await readCapture(source.capturePath, {
        clockOffsetUs,
        onSecrets: embedded.onSecrets,
        onPacket(packet) {
          last.seconds = packet.seconds
          last.nanos = packet.nanos
          take(packet)
        },
        onWindow,
      })
      if (count > 0) end = last
      return account
    }
    end = source.end
    const isWanted = wantedBy(source)
    await readSpool(source.spoolPath, {
      onPacket(packet, bucket) {
        if (isWanted(packet.number, bucket)) take(packet)
      },
      onWindow,
    })
    return undefined
  }

  try {
    const account = await read()
    mark?.set(0)
    dissect.finish(end && timeOf(end.seconds, end.nanos))
    const pieces = output.finish(account === undefined ? TAIL_BYTES.part : TAIL_BYTES.whole)
    const { undecoded } = dissect.counts
    return {
      ...(account ? { account, embeddedKeys: embedded.blocks } : {}),
      ...(tlsKeys ? { tls: { ...tlsKeys.counts } } : {}),
      ...{ packets, undecoded, pieces, faults: [...faults.values()] },
    }
  } finally {
    uids?.close()
    mark?.close()
  }
}

/** A number that outlives the process: it is in the file before the packet is looked at. */
function createMark(path: string) {
  const file = openSync(path, 'w')
  const bytes = Buffer.alloc(8)
  return {
    set(number: number): void {
      bytes.writeDoubleLE(number)
      writeSync(file, bytes, 0, bytes.length, 0)
    },
    close: () => closeSync(file),
  }
}

interface Lines {
  waiting: string[]
  records: number
  ranges: [number, number][]
}

function createOutput(path: string) {
  const logs = new Map<string, Lines>()
  let [waiting, written] = [0, 0]

  function line(log: string, text: string): void {
    let lines = logs.get(log)
    if (lines === undefined) {
      lines = { waiting: [], records: 0, ranges: [] }
      logs.set(log, lines)
    }
    lines.waiting.push(text)
    lines.records++
    waiting += text.length + 1
  }

  function textOf(lines: Lines): string {
    const text = lines.waiting.length === 0 ? '' : `${lines.waiting.join('\n')}\n`
    lines.waiting = []
    return text
  }

  function spill(limit: number): void {
    if (waiting <= limit) return
    waiting = 0
    for (const lines of logs.values()) {
      if (lines.waiting.length === 0) continue
      const bytes = Buffer.from(textOf(lines))
      // What a pass that failed has left under this name is not ours.
      if (written === 0) rmSync(path, { force: true })
      appendFileSync(path, bytes)
      lines.ranges.push([written, bytes.length])
      written += bytes.length
    }
  }

  function finish(limit: number): Piece[] {
    spill(limit)
    return [...logs].map(([log, lines]) => {
      const { records, ranges } = lines
      return { log, records, ...(ranges.length > 0 ? { path } : {}), ranges, tail: textOf(lines) }
    })
  }

  return { line, spill, finish }
}

/**
 * The engine without Zeek: a capture in, Zeek's logs out.
 *
 * Flows, streams and protocols are dissected by our own code (./protocols), in worker threads, a part of the
 * capture each (parts.ts). tshark is asked for what is its own: the `packet` log, one row a frame, where that is
 * wanted. A part that outgrows its worker's memory, or on which a worker stands still, is halved until the pair of
 * hosts that does it stands alone; its packets are handed out and counted, and the rest goes on.
 */

import { rm, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import packageJson from '../../../package.json' with { type: 'json' }
import type { ConvertRequest, ConvertResult, Engine } from '../../../stages/ports.ts'
import type { PacketAccount } from '../../../state/capture.ts'
import { PipelineError } from '../../../state/errors.ts'
import { readCapture } from '../../capture/reader.ts'
import { openCaptureWriter } from '../../capture/writer.ts'
import { cleanEnv, findExecutable, runChild } from '../child.ts'
import { mergeLogs } from './merge.ts'
import { createLogOutput } from './output.ts'
import { createUidList, writePacketLog } from './packet-log.ts'
import { allParts, createScales, PARTS, partOf, partsOf } from './parts.ts'
import type { PassResult } from './pass.ts'
import { createPool, type Pool } from './pool.ts'

export interface TsharkEngineOptions {
  /** Default: `tshark` on the search path. */
  tsharkPath?: string
  searchPath?: string
  /** Worker threads, and tsharks, that run at the same time (default: the cores). */
  parallel?: number
  /** For one tshark. */
  timeoutMs?: number
  /** For one worker thread, and for one tshark. */
  memoryBytes?: number
  /** Writes the `packet` log, one row a frame: large. */
  packetLog?: boolean
  /** Writes the `smb_cmd` log, one record an SMB command. */
  smbCommandLog?: boolean
  /** CIDR prefixes that count as local; default: Zeek's. */
  localNets?: readonly string[]
  /** A worker that reports nothing for so long hangs (default a minute). */
  silenceMs?: number
  /** A capture of this size or more falls into parts (default `PARTS_FROM_BYTES`). */
  partsFromBytes?: number
  /** Another worker module in place of worker.ts; it answers as that one does. */
  worker?: URL
  /** A capture of packets on which dissection fails, and how. Copy what is to be kept: it is removed afterwards. */
  onPoison?: (file: string, reason: string) => void | Promise<void>
}

interface Tshark {
  path: string
  version: string
}

interface Opened extends TsharkEngineOptions {
  pool: Pool
  parallel: number
  memoryBytes: number
  /** Absent when no packet log is wanted. */
  tshark?: Tshark
}

const HOUR_MS = 3_600_000
const MB = 1024 * 1024
const DEFAULT_MEMORY = 2048 * MB
/** Lines of the packet log that wait in memory before they are written. */
const FLUSH_BYTES = 4 * MB
const UID_FILE = 'uids.txt'

/** @throws PipelineError engine_missing when the packet log is wanted and there is no tshark, engine_failed when it does not say its version. */
export async function openTsharkEngine(options: TsharkEngineOptions = {}): Promise<Engine> {
  const { parallel = availableParallelism(), memoryBytes = DEFAULT_MEMORY, silenceMs = 60_000, worker } = options
  const tshark = options.packetLog === true ? await findTshark(options) : undefined
  const pool = createPool({ workers: parallel, heapMb: Math.round(memoryBytes / MB), silenceMs, worker })
  const opened = { ...options, pool, parallel, memoryBytes, ...(tshark ? { tshark } : {}) }
  const engineVersion =
    tshark === undefined ? packageJson.version : `${packageJson.version}, packets by tshark ${tshark.version}`
  return { name: 'tshark', convert: (request) => convert(request, opened, engineVersion) }
}

async function findTshark({ tsharkPath = 'tshark', searchPath }: TsharkEngineOptions): Promise<Tshark> {
  const path = findExecutable(tsharkPath, searchPath)
  if (path === undefined) {
    const how = 'install it with: sudo apt-get install tshark (or set PACKET_LOG=false)'
    throw new PipelineError('engine_missing', `the packet log needs tshark, and ${tsharkPath} is not there; ${how}`)
  }
  return { path, version: await versionOf(path) }
}

async function versionOf(tshark: string): Promise<string> {
  let text = ''
  const { code, stderr } = await runChild({
    command: tshark,
    args: ['--version'],
    env: cleanEnv(),
    timeoutMs: 30_000,
    signal: new AbortController().signal,
    onStdout: (chunk) => {
      if (text.length < 4096) text += chunk.toString('latin1')
    },
  })
  const version = /(\d+\.\d+\.\d+)/.exec(text)?.[1]
  if (code !== 0 || version === undefined)
    throw new PipelineError(
      'engine_failed',
      `${tshark} --version failed: ${stderr.slice(0, 200) || `exit code ${code}`}`,
    )
  return version
}

async function convert(request: ConvertRequest, options: Opened, engineVersion: string): Promise<ConvertResult> {
  const { results, poison } = await dissect(request, options)
  const account = accountOf(results, poison)
  const warnings = [...undecodedWarnings(results), ...faultWarnings(request, results), ...poisonWarnings(poison)]
  const logs = await mergeLogs(
    results.flatMap(({ pieces }) => pieces),
    request.outDir,
  )
  if (options.tshark !== undefined && account.inFile > 0) {
    const packet = await addPacketLog(request, options, options.tshark, account, warnings)
    if (packet !== undefined) logs.packet = packet
  }
  return { engine: 'tshark', engineVersion, logs, packets: account, warnings }
}

interface Poison {
  packets: number
  reason: string
}

/** The packet log needs the uid of every packet in the file's order, and so one worker for all parts. */
async function dissect(request: ConvertRequest, options: Opened): Promise<{ results: PassResult[]; poison: Poison[] }> {
  const { capturePath, signal } = request
  const { parallel, tshark } = options
  const { size } = await stat(capturePath)
  const partCount = partsOf(size, options.partsFromBytes)
  const alone = tshark !== undefined || parallel === 1 || partCount === 1
  const shares = alone ? [allParts(partCount)] : await shareOut(capturePath, parallel, signal)
  const progress = createProgress(request, shares.length)
  const cancel = new AbortController()
  const poison: Poison[] = []
  const passes = shares.map((parts, index) =>
    dissectParts(
      { partCount, parts },
      { ...request, signal: AbortSignal.any([signal, cancel.signal]) },
      options,
      poison,
      progress(index),
    ),
  )
  try {
    return { results: (await Promise.all(passes)).flat(), poison }
  } catch (error) {
    cancel.abort(error)
    await Promise.allSettled(passes)
    throw error
  }
}

async function shareOut(capturePath: string, workers: number, signal: AbortSignal): Promise<number[][]> {
  const scales = createScales()
  await readCapture(capturePath, { signal, onPacket: scales.weigh })
  const shares = scales.share(workers)
  return shares.length > 0 ? shares : [allParts(PARTS)]
}

type OnProgress = (progress: { bytes: number; packets: number }) => void

/** Every worker reads the whole capture: the slowest tells how far the conversion is. */
function createProgress({ onProgress }: ConvertRequest, workers: number): (worker: number) => OnProgress {
  const reached = Array.from({ length: workers }, () => ({ bytes: 0, packets: 0 }))
  return (worker) => (progress) => {
    reached[worker] = progress
    onProgress?.(reached.reduce((least, each) => (each.bytes < least.bytes ? each : least)))
  }
}

interface Share {
  partCount: number
  parts: number[]
}

/** Halves what fails until the part that does it stands alone. */
async function dissectParts(
  { partCount, parts }: Share,
  request: ConvertRequest,
  options: Opened,
  poison: Poison[],
  onProgress: OnProgress,
): Promise<PassResult[]> {
  const { capturePath, captureId, workDir, signal, log } = request
  const isWhole = parts.length === partCount
  const uidFile = options.tshark === undefined || !isWhole ? {} : { uidFile: join(workDir, UID_FILE) }
  try {
    const policyLogs = options.smbCommandLog === true ? ['smb_cmd'] : []
    const part = { capturePath, captureId, partCount, parts, spillDir: workDir, policyLogs }
    const pass = { ...part, ...localNetsOf(options), ...uidFile }
    return [await options.pool.run(pass, { signal, onProgress })]
  } catch (error) {
    if (!isPoisoned(error)) throw error
    log.warn('a part of the capture cannot be dissected', { parts: parts.length, error: error.message })
    await rm(join(workDir, UID_FILE), { force: true })
    const again = (some: number[], count: number) =>
      dissectParts({ partCount: count, parts: some }, request, options, poison, onProgress)
    // A small capture was one part; now it has to fall into many.
    if (partCount === 1) return await again(allParts(PARTS), PARTS)
    if (parts.length === 1) return [await setAside(parts[0] as number, error.message, request, options, poison)]
    const middle = parts.length >> 1
    const first = await again(parts.slice(0, middle), partCount)
    return [...first, ...(await again(parts.slice(middle), partCount))]
  }
}

function isPoisoned(error: unknown): error is PipelineError {
  return error instanceof PipelineError && (error.code === 'engine_memory' || error.code === 'engine_timeout')
}

function localNetsOf({ localNets }: Opened): { localNets?: readonly string[] } {
  return localNets === undefined ? {} : { localNets }
}

/** The packets of a part that cannot be dissected, as a capture of their own. */
async function setAside(
  part: number,
  reason: string,
  { capturePath, workDir, signal }: ConvertRequest,
  { onPoison }: Opened,
  poison: Poison[],
): Promise<PassResult> {
  const writer = await openCaptureWriter(join(workDir, `poison-${part}.pcapng`), { format: 'pcapng' })
  try {
    const { account } = await readCapture(capturePath, {
      signal,
      onPacket: (packet) => {
        if (partOf(packet) === part) writer.packet(packet)
      },
      onWindow: () => writer.flush(),
    })
    await writer.close()
    poison.push({ packets: writer.packets, reason })
    await onPoison?.(writer.path, reason)
    return { account, packets: 0, undecoded: {}, pieces: [], faults: [] }
  } finally {
    await writer.close()
  }
}

/** Every pass has read the same file; each has dissected its own packets of it. */
function accountOf(results: readonly PassResult[], poison: readonly Poison[]): PacketAccount {
  const account = (results[0] as PassResult).account
  const skipped = { ...account.skipped }
  const count = (reason: string, packets: number): void => {
    if (packets > 0) skipped[reason] = (skipped[reason] ?? 0) + packets
  }
  for (const { undecoded } of results) for (const [reason, packets] of Object.entries(undecoded)) count(reason, packets)
  for (const { packets } of poison) count('poison', packets)
  const dissected = results.reduce((sum, { packets, undecoded }) => sum + packets - total(undecoded), 0)
  return { ...account, skipped, decoded: dissected }
}

function total(counts: Record<string, number>): number {
  return Object.values(counts).reduce((sum, n) => sum + n, 0)
}

function undecodedWarnings(results: readonly PassResult[]): string[] {
  const reasons = new Map<string, number>()
  for (const { undecoded } of results) {
    for (const [reason, packets] of Object.entries(undecoded)) reasons.set(reason, (reasons.get(reason) ?? 0) + packets)
  }
  return [...reasons].map(([reason, packets]) => `${countOf(packets, 'packet')} could not be decoded: ${reason}.`)
}

/** A dissector that throws is a bug of ours, not the capture's fault: the flow loses that protocol, no more. */
function faultWarnings({ log }: ConvertRequest, results: readonly PassResult[]): string[] {
  const faults = results.flatMap((result) => result.faults)
  for (const { protocol, error } of faults)
    log.error('a dissector failed (a bug; please report it)', { protocol, error })
  return faults.map(({ protocol, flows }) => `${countOf(flows, 'flow')} could not be wholly dissected as ${protocol}.`)
}

function poisonWarnings(poison: readonly Poison[]): string[] {
  return poison.map(({ packets, reason }) => `${countOf(packets, 'packet')} set aside: ${reason}.`)
}

function countOf(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? '' : 's'}`
}

async function addPacketLog(
  request: ConvertRequest,
  options: Opened,
  tshark: Tshark,
  account: PacketAccount,
  warnings: string[],
): Promise<{ records: number; bytes: number } | undefined> {
  const output = createLogOutput(request.outDir)
  try {
    const poison = await writePacketLog({
      tshark: tshark.path,
      capturePath: request.capturePath,
      workDir: request.workDir,
      parallel: options.parallel,
      timeoutMs: options.timeoutMs ?? HOUR_MS,
      maxRssBytes: options.memoryBytes,
      signal: request.signal,
      uids: createUidList(join(request.workDir, UID_FILE)),
      writeLine: (line) => output.writeLine('packet', line),
      flush: () => (output.waiting > FLUSH_BYTES ? output.flush() : Promise.resolve()),
      onPoison: options.onPoison,
      onPartial: (said) => warnings.push(`tshark did not read a part of the capture to its end (${said}).`),
    })
    if (poison > 0) {
      account.decoded -= poison
      account.skipped = { ...account.skipped, poison: (account.skipped.poison ?? 0) + poison }
      warnings.push(
        `${countOf(poison, 'packet')} made tshark fail and ${poison === 1 ? 'is' : 'are'} not in the packet log.`,
      )
    }
    return (await output.finish()).packet
  } finally {
    await output.close()
  }
}

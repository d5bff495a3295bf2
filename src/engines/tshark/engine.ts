/**
 * The engine without Zeek: a capture in, Zeek's logs out.
 *
 * One pass over the capture gives flows, reassembled streams and all protocol records (our own dissectors, in
 * ./protocols). tshark tells what they do not: the `packet` log, one row a frame, where that is wanted.
 */

import { join } from 'node:path'
import type { ConvertRequest, ConvertResult, Engine, Log } from '../../../stages/ports.ts'
import type { PacketAccount } from '../../../state/capture.ts'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import { readCapture } from '../../capture/reader.ts'
import { cleanEnv, findExecutable, runChild } from '../child.ts'
import type { FlowCounts } from '../flows/types.ts'
import { arpRecord } from './arp.ts'
import { createDissect } from './dissect.ts'
import { createLogOutput, type LogOutput } from './output.ts'
import { createUidList, writePacketLog } from './packet-log.ts'
import { PROTOCOLS } from './protocols/index.ts'

export interface TsharkEngineOptions {
  /** Default: `tshark` on the search path. */
  tsharkPath?: string
  searchPath?: string
  /** tsharks that run at the same time (default 1). */
  parallel?: number
  /** For one tshark. */
  timeoutMs?: number
  memoryBytes?: number
  /** Writes the `packet` log, one row a frame: large. */
  packetLog?: boolean
  /** CIDR prefixes that count as local; default: Zeek's. */
  localNets?: readonly string[]
  /** A capture of packets on which tshark fails, and how. Copy what is to be kept: it is removed afterwards. */
  onPoison?: (file: string, reason: string) => void | Promise<void>
}

const HOUR_MS = 3_600_000
const DEFAULT_MEMORY = 2 * 1024 ** 3
/** Lines that wait in memory before they are written. */
const FLUSH_BYTES = 4 << 20

/** @throws PipelineError engine_missing when there is no tshark, engine_failed when it does not say its version. */
export async function openTsharkEngine(options: TsharkEngineOptions = {}): Promise<Engine> {
  const { tsharkPath = 'tshark', searchPath } = options
  const tshark = findExecutable(tsharkPath, searchPath)
  if (tshark === undefined)
    throw new PipelineError(
      'engine_missing',
      `${tsharkPath} is not there; install it with: sudo apt-get install tshark`,
    )
  const engineVersion = await versionOf(tshark)
  return { name: 'tshark', convert: (request) => convert(request, { ...options, tsharkPath: tshark }, engineVersion) }
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

async function convert(
  request: ConvertRequest,
  options: TsharkEngineOptions,
  engineVersion: string,
): Promise<ConvertResult> {
  const output = createLogOutput(request.outDir)
  try {
    const pass = await dissectCapture(request, options, output)
    if (options.packetLog === true && pass.uids !== undefined && pass.packets > 0)
      await addPacketLog(request, options, output, pass)
    const logs = await output.finish()
    return { engine: 'tshark', engineVersion, logs, packets: pass.account, warnings: pass.warnings }
  } finally {
    await output.close()
  }
}

interface Pass {
  packets: number
  account: PacketAccount
  warnings: string[]
  uids?: ReturnType<typeof createUidList>
}

async function dissectCapture(request: ConvertRequest, options: TsharkEngineOptions, output: LogOutput): Promise<Pass> {
  const { capturePath, captureId, workDir, signal, log, onProgress } = request
  const faults = new Map<string, number>()
  const dissect = createDissect({
    captureId,
    localNets: options.localNets,
    protocols: PROTOCOLS,
    write: output.write,
    writeLine: output.writeLine,
    onFault: (protocol, error) => reportFault(log, faults, protocol, error),
  })
  const uids = options.packetLog === true ? createUidList(join(workDir, 'uids.txt')) : undefined
  const { account, packets } = await readCapture(capturePath, {
    signal,
    onPacket(packet) {
      const uid = dissect.packet(packet)
      uids?.add(uid)
      if (uid !== undefined) return
      const arp = arpRecord(packet)
      if (arp !== undefined) output.write('arp', arp)
    },
    async onWindow(progress) {
      onProgress?.(progress)
      await uids?.flush()
      if (output.waiting > FLUSH_BYTES) await output.flush()
    },
  })
  dissect.finish()
  await uids?.flush()
  const warnings = [...warningsOf(dissect.counts), ...[...faults].map(faultText)]
  return { packets, account: { ...account, decoded: packets }, warnings, uids }
}

/** A dissector that throws is a bug of ours, not the capture's fault: the flow loses that protocol, no more. */
function reportFault(log: Log, faults: Map<string, number>, protocol: string, error: unknown): void {
  const count = (faults.get(protocol) ?? 0) + 1
  faults.set(protocol, count)
  if (count === 1)
    log.error('a dissector failed', { protocol, error: error instanceof Error ? error.stack : messageOf(error) })
}

const faultText = ([protocol, count]: [string, number]) =>
  `${count} ${count === 1 ? 'flow was' : 'flows were'} not fully dissected as ${protocol}, because the dissector failed.`

function warningsOf({ undecoded }: FlowCounts): string[] {
  return Object.entries(undecoded).map(
    ([reason, count]) => `${count} ${count === 1 ? 'packet' : 'packets'} could not be decoded: ${reason}.`,
  )
}

async function addPacketLog(
  request: ConvertRequest,
  options: TsharkEngineOptions,
  output: LogOutput,
  pass: Pass,
): Promise<void> {
  const poison = await writePacketLog({
    tshark: options.tsharkPath ?? 'tshark',
    capturePath: request.capturePath,
    workDir: request.workDir,
    parallel: Math.max(1, options.parallel ?? 1),
    timeoutMs: options.timeoutMs ?? HOUR_MS,
    maxRssBytes: options.memoryBytes ?? DEFAULT_MEMORY,
    signal: request.signal,
    uids: pass.uids as NonNullable<Pass['uids']>,
    write: (record) => output.write('packet', record),
    flush: () => (output.waiting > FLUSH_BYTES ? output.flush() : Promise.resolve()),
    onPoison: options.onPoison,
    onPartial: (said) => pass.warnings.push(`tshark did not read a part of the capture to its end (${said}).`),
  })
  if (poison === 0) return
  pass.account.decoded -= poison
  pass.account.skipped = { ...pass.account.skipped, poison }
  pass.warnings.push(`${poison} ${poison === 1 ? 'packet' : 'packets'} made tshark fail and are not in the packet log.`)
}

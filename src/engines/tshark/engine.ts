/**
 * The engine without Zeek: a capture in, Zeek's logs out.
 *
 * Flows, streams and protocols are dissected by our own code (./protocols), in worker processes, a part of the
 * capture each (parts.ts). tshark is asked for what is its own: the `packet` log, one row a frame, where that is
 * wanted. What no worker can take is found out, handed out and counted, and the rest goes on (isolate.ts).
 */

import { existsSync } from 'node:fs'
import { appendFile, readFile, rm, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import packageJson from '../../../package.json' with { type: 'json' }
import type { ConvertRequest, ConvertResult, Engine } from '../../../stages/ports.ts'
import type { PacketAccount, TlsAccount } from '../../../state/capture.ts'
import { PipelineError } from '../../../state/errors.ts'
import { cleanEnv, findExecutable, runChild } from '../child.ts'
import { createIsolation, type IsolateOptions, type Isolation, isPoisoned, type Poison } from './isolate.ts'
import { mergeLogs } from './merge.ts'
import { createLogOutput } from './output.ts'
import { writePacketLog } from './packet-log.ts'
import { partsOf } from './parts.ts'
import type { PassResult } from './pass.ts'
import { createPool, type Pool, type RunOptions } from './pool.ts'
import type { SplitRequest, SplitResult } from './split.ts'

export interface TsharkEngineOptions {
  /** Default: `tshark` on the search path. */
  tsharkPath?: string
  searchPath?: string
  /** Worker processes, and tsharks, that run at the same time (default: the cores). */
  parallel?: number
  /** For one tshark. */
  timeoutMs?: number
  /** Resident, for one worker process, and for one tshark. */
  memoryBytes?: number
  /** Writes the `packet` log, one row a frame: large. */
  packetLog?: boolean
  /** CIDR prefixes that count as local; default: Zeek's. */
  localNets?: readonly string[]
  /** Also writes smb_cmd, a record an SMB command. */
  smbCommandLog?: boolean
  /** A worker that reports nothing for so long hangs (default a minute). */
  silenceMs?: number
  /** A capture of this size or more falls into parts (default `PARTS_FROM_BYTES`). */
  partsFromBytes?: number
  /** Decrypts TLS with the keys that come with a capture. */
  tlsKeys?: boolean
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
const EMBEDDED_KEYS_FILE = 'embedded.keys'
/** Small captures do not wait for all parts of a large one. */
const FIRST = 1

/** @throws PipelineError engine_missing when the packet log is wanted and there is no tshark, engine_failed when it does not say its version. */
export async function openTsharkEngine(options: TsharkEngineOptions = {}): Promise<Engine> {
  const { parallel = availableParallelism(), memoryBytes = DEFAULT_MEMORY, silenceMs = 60_000, worker } = options
  const tshark = options.packetLog === true ? await findTshark(options) : undefined
  const pool = createPool({ workers: parallel, memoryBytes, silenceMs, worker })
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
  const dissected = await dissect(request, options)
  const { results, poison } = dissected
  const account = accountOf(dissected)
  const tls = tlsAccount(request, dissected, options)
  const warnings = [
    ...undecodedWarnings(results),
    ...faultWarnings(request, results),
    ...poisonWarnings(poison),
    ...tls.warnings,
  ]
  const logs = await mergeLogs(
    results.flatMap(({ pieces }) => pieces),
    request.outDir,
  )
  if (options.tshark !== undefined && account.inFile > 0) {
    const packet = await addPacketLog(request, options, options.tshark, account, warnings)
    if (packet !== undefined) logs.packet = packet
  }
  return { engine: 'tshark', engineVersion, logs, packets: account, ...(tls.account && { tls: tls.account }), warnings }
}

interface Dissected {
  account: Omit<PacketAccount, 'decoded'>
  /** In the order of the parts. */
  results: PassResult[]
  poison: Poison[]
  /** Key logs in it. */
  embeddedKeys: number
}

async function dissect(request: ConvertRequest, options: Opened): Promise<Dissected> {
  const { size } = await stat(request.capturePath)
  const parts = partsOf(size, options.partsFromBytes)
  return parts === 1 ? await dissectWhole(request, options) : await dissectParts(request, options, parts, size)
}

/** A small capture in one pass; it becomes a part when the pass fails. */
async function dissectWhole(request: ConvertRequest, options: Opened): Promise<Dissected> {
  const { capturePath, clockOffsetUs, workDir, signal, onProgress } = request
  const base = baseOf(request, options)
  try {
    const pass = { ...base, source: { capturePath }, clockOffsetUs, outPath: join(workDir, 'lines') }
    const result = await options.pool.pass(pass, { signal, onProgress, priority: FIRST })
    const { account, embeddedKeys = 0 } = result
    return { account: account as Dissected['account'], results: [result], poison: [], embeddedKeys }
  } catch (error) {
    if (!isPoisoned(error)) throw error
    const embeddedPath = await freshEmbeddedPath(request)
    const { account, parts, end, embeddedKeys } = await splitCapture(
      options.pool,
      { capturePath, clockOffsetUs, dir: workDir, parts: 1, embeddedPath },
      { signal },
    )
    const poison: Poison[] = []
    const isolation = isolationOf(request, options, base, poison)
    const [only] = parts
    // Without a packet it is not a packet that does it.
    if (only === undefined || end === undefined) throw error
    const results = await isolation.dissect({ spoolPath: only.path, end }, undefined, error)
    return { account, results, poison, embeddedKeys }
  }
}

async function dissectParts(
  request: ConvertRequest,
  options: Opened,
  parts: number,
  captureBytes: number,
): Promise<Dissected> {
  const { capturePath, clockOffsetUs, workDir } = request
  const cancel = new AbortController()
  const signal = AbortSignal.any([request.signal, cancel.signal])
  const progress = createProgress(request, captureBytes)
  const onProgress = progress.split
  const split = await splitCapture(
    options.pool,
    { capturePath, clockOffsetUs, dir: workDir, parts, embeddedPath: await freshEmbeddedPath(request) },
    { signal, onProgress },
  )
  const { account, end, embeddedKeys } = split
  const poison: Poison[] = []
  if (end === undefined) return { account, results: [], poison, embeddedKeys }
  const isolation = isolationOf({ ...request, signal }, options, baseOf(request, options), poison)
  // The heaviest first: at the end no worker is left alone with a long one.
  const order = [...split.parts].sort((a, b) => b.bytes - a.bytes)
  const results = new Map<number, PassResult[]>()
  const passes = order.map(async ({ part, path, packets }) => {
    results.set(part, await isolation.dissect({ spoolPath: path, end }))
    progress.dissected(packets, account.inFile)
    await rm(path, { force: true })
  })
  try {
    await Promise.all(passes)
  } catch (error) {
    cancel.abort(error)
    await Promise.allSettled(passes)
    throw error
  }
  return { account, results: split.parts.flatMap(({ part }) => results.get(part) ?? []), poison, embeddedKeys }
}

/** Nothing is dissected yet: a worker that fails here has been ended from outside, and may not be the next time. */
async function splitCapture(pool: Pool, request: SplitRequest, options: RunOptions): Promise<SplitResult> {
  try {
    return await pool.split(request, options)
  } catch (error) {
    if (!isPoisoned(error)) throw error
    throw new PipelineError(error.code, `the capture could not be divided: ${error.message}`, { retryable: true })
  }
}

const embeddedPathOf = ({ workDir }: Pick<ConvertRequest, 'workDir'>) => join(workDir, EMBEDDED_KEYS_FILE)

/** What a pass that failed has left there would be there twice. */
async function freshEmbeddedPath(request: ConvertRequest): Promise<string> {
  const path = embeddedPathOf(request)
  await rm(path, { force: true })
  return path
}

function baseOf(
  { captureId, workDir, keysPath }: ConvertRequest,
  { localNets, smbCommandLog, tlsKeys, tshark }: Opened,
): IsolateOptions['base'] {
  const embeddedPath = embeddedPathOf({ workDir })
  const keyFiles = [...(keysPath === undefined ? [] : [keysPath]), embeddedPath]
  return {
    captureId,
    ...(localNets === undefined ? {} : { localNets }),
    ...(smbCommandLog === true ? { policyLogs: ['smb_cmd'] } : {}),
    ...(tlsKeys === true ? { tls: { keyFiles, embeddedPath } } : {}),
    ...(tshark === undefined ? {} : { uidPath: join(workDir, UID_FILE) }),
  }
}

function isolationOf(
  request: ConvertRequest,
  { pool, onPoison }: Opened,
  base: IsolateOptions['base'],
  poison: Poison[],
): Isolation {
  return createIsolation({ request, pool, base, poison, ...(onPoison === undefined ? {} : { onPoison }) })
}

/** Taking a capture apart is a tenth of the way. */
function createProgress({ onProgress }: ConvertRequest, captureBytes: number) {
  let done = 0
  return {
    split: ({ bytes }: { bytes: number }) => onProgress?.({ bytes: Math.floor(bytes / 10), packets: 0 }),
    dissected(packets: number, all: number) {
      done += packets
      onProgress?.({ bytes: Math.floor(captureBytes * (0.1 + (0.9 * done) / all)), packets: done })
    },
  }
}

function accountOf({ account, results, poison }: Dissected): PacketAccount {
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

const sumOf = (results: readonly PassResult[], name: 'sessions' | 'withKeys' | 'decrypted') =>
  results.reduce((sum, { tls }) => sum + (tls?.[name] ?? 0), 0)

/** The account of the keys, where there were any, and what is odd about them. */
function tlsAccount(
  { keysPath }: ConvertRequest,
  { results, embeddedKeys }: Dissected,
  { tlsKeys }: Opened,
): { account?: TlsAccount; warnings: string[] } {
  if (keysPath === undefined && embeddedKeys === 0) return { warnings: [] }
  if (tlsKeys !== true) return { warnings: ['TLS keys came with the capture and were not used (TLS_KEYS is false).'] }
  // Every pass has read the same keys.
  const most = (name: 'keys' | 'badLines') => results.reduce((n, { tls }) => Math.max(n, tls?.[name] ?? 0), 0)
  const account = {
    keys: most('keys'),
    sessions: sumOf(results, 'sessions'),
    withKeys: sumOf(results, 'withKeys'),
    decrypted: sumOf(results, 'decrypted'),
  }
  const failures = new Map<string, number>()
  for (const { tls } of results)
    for (const [reason, n] of Object.entries(tls?.failures ?? {})) failures.set(reason, (failures.get(reason) ?? 0) + n)
  const bad = most('badLines')
  const warnings = [
    ...(bad > 0 ? [`${countOf(bad, 'line')} of the TLS keys ${bad === 1 ? 'is no key' : 'are no keys'}.`] : []),
    ...(account.keys === 0 ? ['There is no key in the TLS keys that came with the capture.'] : []),
    ...(account.keys > 0 && account.sessions > 0 && account.withKeys === 0
      ? [`The TLS keys are of none of the ${countOf(account.sessions, 'session')} in the capture.`]
      : []),
    ...[...failures].map(([reason, n]) => `${countOf(n, 'TLS session')} could not be decrypted to the end: ${reason}.`),
  ]
  return { account, warnings }
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

/** What tshark is to decrypt with: one file, of all that there is. */
async function keyLogFor(request: ConvertRequest, { tlsKeys }: Opened): Promise<string | undefined> {
  if (tlsKeys !== true) return undefined
  const path = join(request.workDir, 'tshark.keys')
  let isEmpty = true
  for (const file of [request.keysPath, embeddedPathOf(request)]) {
    if (file === undefined || !existsSync(file)) continue
    await appendFile(path, await readFile(file), { mode: 0o600 })
    isEmpty = false
  }
  return isEmpty ? undefined : path
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
      clockOffsetUs: request.clockOffsetUs,
      workDir: request.workDir,
      parallel: options.parallel,
      timeoutMs: options.timeoutMs ?? HOUR_MS,
      maxRssBytes: options.memoryBytes,
      signal: request.signal,
      uidPath: join(request.workDir, UID_FILE),
      keyLog: await keyLogFor(request, options),
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

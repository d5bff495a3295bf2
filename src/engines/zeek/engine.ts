/**
 * Zeek as the engine: a capture in, the logs that Zeek writes of it out, as they are.
 *
 * Zeek runs in a folder of its own, with its seeds fixed by the capture; a large capture is cut into parts by pairs of
 * hosts (parts.ts), several of which are worked on at once. The packets are counted by our own reader; a damaged
 * capture is handed to Zeek as a copy of what is whole in it, because Zeek gives up at the first damage.
 */

import { createReadStream, createWriteStream } from 'node:fs'
import { copyFile, mkdir, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import PQueue from 'p-queue'
import type { ConvertRequest, ConvertResult, Engine } from '../../../stages/ports.ts'
import { errnoOf, messageOf, PipelineError } from '../../../state/errors.ts'
import { createEmbeddedKeys } from '../../capture/embedded-keys.ts'
import { readCapture } from '../../capture/reader.ts'
import { cleanEnv, findExecutable, runChild } from '../child.ts'
import { cut, halve, type Part, partsOf } from './parts.ts'
import { seedText } from './seed.ts'

export interface ZeekEngineOptions {
  /** Default: `zeek` on the search path. */
  zeekPath?: string
  searchPath?: string
  /** Loaded after Zeek's own scripts: `local`, another name that Zeek knows, or the path of a script. */
  zeekScript?: string
  /** Loads the script that writes the `smb_cmd` log, one record an SMB command. */
  smbCommandLog?: boolean
  timeoutMs?: number
  memoryBytes?: number
  /** Zeeks that run at the same time (default: the cores). */
  parallel?: number
  /** A capture larger than this falls into parts (default 128 MB). */
  partBytes?: number
  /** A capture of packets on which Zeek fails, and how. Copy what is to be kept: it is removed afterwards. */
  onPoison?: (file: string, reason: string) => void | Promise<void>
}

type Opened = ZeekEngineOptions & { zeekPath: string }

const DAY_MS = 86_400_000
const LOG_FILE = /^([a-z0-9_]+)\.log$/
const MAX_WARNINGS = 5
const NO_KEYS =
  'TLS keys came with the capture and were not used: our own engine decrypts (TLS_KEYS, CONVERT_ENGINE=tshark), Zeek does not.'
/** Runs that may fail before what is left of a part counts as poison as a whole. */
const MAX_FAILURES = 32

/** @throws PipelineError engine_missing when there is no Zeek, engine_failed when it does not say its version. */
export async function openZeekEngine(options: ZeekEngineOptions = {}): Promise<Engine> {
  const { zeekPath = 'zeek', searchPath } = options
  const zeek = findExecutable(zeekPath, searchPath)
  if (zeek === undefined)
    throw new PipelineError(
      'engine_missing',
      `${zeekPath} is not there; see https://docs.zeek.org/en/master/install.html`,
    )
  const engineVersion = await versionOf(zeek, searchPath)
  return { name: 'zeek', convert: (request) => convert(request, { ...options, zeekPath: zeek }, engineVersion) }
}

async function versionOf(zeek: string, searchPath: string | undefined): Promise<string> {
  let text = ''
  const { code, stderr } = await runChild({
    command: zeek,
    args: ['--version'],
    env: environment(searchPath),
    timeoutMs: 60_000,
    signal: new AbortController().signal,
    onStdout: (chunk) => {
      if (text.length < 4096) text += chunk.toString('latin1')
    },
  })
  const version = /version\s+(\S+)/.exec(`${text}\n${stderr}`)?.[1]
  if (code !== 0 || version === undefined)
    throw new PipelineError('engine_failed', `${zeek} --version failed: ${stderr.slice(0, 200) || `exit code ${code}`}`)
  return version
}

function environment(searchPath: string | undefined): Record<string, string> {
  return cleanEnv(searchPath === undefined ? {} : { PATH: searchPath })
}

async function convert(request: ConvertRequest, options: Opened, engineVersion: string): Promise<ConvertResult> {
  const { capturePath, clockOffsetUs = 0, workDir, signal, log } = request
  const embedded = createEmbeddedKeys(undefined)
  const read = await readCapture(capturePath, {
    signal,
    onSecrets: embedded.onSecrets,
    clockOffsetUs,
    onPacket: () => {},
    onWindow: (done) => request.onProgress?.(done),
  })
  const { size } = await stat(capturePath)
  const isIntact = read.account.salvaged === undefined && read.account.lostBytes === 0
  const count = partsOf(size, options.partBytes)
  const whole: Part = { label: '', path: capturePath, packets: read.packets }
  // A copy holds what is whole in a damaged capture, and so do its parts; they have the corrected times as well.
  const isAsItIs = isIntact && count === 1 && clockOffsetUs === 0
  const parts = isAsItIs ? [whole] : await cut(whole, count, workDir, signal, clockOffsetUs)
  const hasKeys = request.keysPath !== undefined || embedded.blocks > 0
  const warnings: string[] = hasKeys ? [NO_KEYS] : []
  const runs = createRuns(request, options)
  const queue = new PQueue({ concurrency: options.parallel ?? availableParallelism() })
  const done = await Promise.all(parts.map((part) => queue.add(() => runs.dissect(part))))
  runs.check()
  for (const run of done.flat()) {
    warnings.push(...run.said)
    await collect(run.dir, request.outDir, runs.logs, warnings)
  }
  const packets = { ...read.account, decoded: read.packets - runs.poison }
  if (runs.poison > 0) {
    packets.skipped = { ...packets.skipped, poison: runs.poison }
    log.warn('Zeek fails on some packets; they are set aside', { packets: runs.poison })
    warnings.push(`${runs.poison} packets made Zeek fail and were set aside.`)
  }
  return { engine: 'zeek', engineVersion, logs: runs.logs, packets, warnings: warnings.slice(0, MAX_WARNINGS) }
}

/** A run of Zeek that ended well: where its logs are, and what it said. */
interface Run {
  dir: string
  said: string[]
}

/**
 * Runs Zeek on parts of a capture. One on which it crashes, hangs or takes too much memory is halved, by hosts as long
 * as there are several, then by packets, until the packets that do it stand alone: these are handed out and counted.
 */
function createRuns({ captureId, workDir, signal }: ConvertRequest, options: Opened) {
  const logs: ConvertResult['logs'] = {}
  let [started, failures, poison, good] = [0, 0, 0, 0]
  let first: PipelineError | undefined

  async function dissect(part: Part): Promise<Run[]> {
    if (part.packets === 0) return []
    const dir = join(workDir, started++ === 0 ? 'zeek' : `zeek-${started}`)
    await mkdir(dir, { recursive: true })
    const seeds = `${dir}.seeds`
    await writeFile(seeds, seedText(`${captureId}${part.label}`))
    try {
      const said = await runZeek(part.path, seeds, dir, signal, options)
      good += part.packets
      return [{ dir, said }]
    } catch (error) {
      if (!isPoisoned(error)) throw error
      first ??= error
      await rm(dir, { recursive: true, force: true })
      if (part.packets === 1 || ++failures > MAX_FAILURES) return await setAside(part, error)
      const halves = await halve(part, workDir, signal)
      return [...(await dissect(halves[0])), ...(await dissect(halves[1]))]
    }
  }

  async function setAside(part: Part, error: PipelineError): Promise<Run[]> {
    poison += part.packets
    await options.onPoison?.(part.path, error.message)
    return []
  }

  /** Where Zeek can read nothing at all, it is not the packets that are to blame. */
  function check(): void {
    if (first !== undefined && good === 0) throw first
  }

  return {
    logs,
    dissect,
    check,
    get poison() {
      return poison
    },
  }
}

function isPoisoned(error: unknown): error is PipelineError {
  const codes = ['engine_failed', 'engine_timeout', 'engine_memory']
  return error instanceof PipelineError && codes.includes(error.code)
}

/** @returns what Zeek said on stderr, a sentence each. */
async function runZeek(
  input: string,
  seeds: string,
  runDir: string,
  signal: AbortSignal,
  { zeekPath, zeekScript, smbCommandLog, searchPath, timeoutMs = DAY_MS, memoryBytes }: Opened,
): Promise<string[]> {
  const {
    code,
    signal: endedBy,
    stderr,
  } = await runChild({
    command: zeekPath,
    args: [
      '-C',
      '-r',
      input,
      '--load-seeds',
      seeds,
      'LogAscii::use_json=T',
      ...(smbCommandLog === true ? ['policy/protocols/smb/log-cmds'] : []),
      ...(zeekScript === undefined ? [] : [zeekScript]),
    ],
    cwd: runDir,
    env: environment(searchPath),
    timeoutMs,
    maxRssBytes: memoryBytes,
    signal,
  })
  const said = stderr.split('\n').filter((line) => line.trim() !== '')
  if (code !== 0)
    throw new PipelineError(
      'engine_failed',
      `Zeek failed (${endedBy === null ? `exit code ${code}` : `signal ${endedBy}`}): ${said.slice(-3).join(' ').slice(0, 500) || 'it said nothing'}`,
      { details: { code: code ?? -1, signal: endedBy ?? '' } },
    )
  const more = said.length > MAX_WARNINGS ? [`Zeek said ${said.length - MAX_WARNINGS} more lines.`] : []
  return [...said.slice(0, MAX_WARNINGS).map((line) => `Zeek: ${line.trim().slice(0, 300)}`), ...more]
}

/** Adds `conn.log` to `conn.ndjson` and so on, and counts. */
async function collect(runDir: string, outDir: string, logs: ConvertResult['logs'], warnings: string[]): Promise<void> {
  for (const name of (await readdir(runDir)).sort()) {
    const log = LOG_FILE.exec(name)?.[1]
    if (log === undefined) continue
    const path = join(runDir, name)
    const { records, bytes, isJson, lastLine } = await measure(path)
    if (!isJson) {
      warnings.push(`Zeek's ${basename(name)} is not JSON and was left out.`)
      continue
    }
    if (records === 0) continue
    // A line without its end was not written whole.
    if (lastLine < bytes) await truncate(path, lastLine)
    const target = join(outDir, `${log}.ndjson`)
    const before = logs[log]
    if (before === undefined) await move(path, target)
    else await pipeline(createReadStream(path), createWriteStream(target, { flags: 'a' }))
    logs[log] = { records: records + (before?.records ?? 0), bytes: lastLine + (before?.bytes ?? 0) }
  }
}

async function measure(path: string): Promise<{ records: number; bytes: number; isJson: boolean; lastLine: number }> {
  let [records, bytes, lastLine] = [0, 0, 0]
  let isJson = true
  for await (const chunk of createReadStream(path)) {
    const piece = chunk as Buffer
    if (bytes === 0 && piece[0] !== 0x7b) isJson = false
    for (let feed = piece.indexOf(10); feed >= 0; feed = piece.indexOf(10, feed + 1)) {
      records++
      lastLine = bytes + feed + 1
    }
    bytes += piece.length
  }
  return { records, bytes, isJson, lastLine }
}

async function move(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (cause) {
    if (errnoOf(cause) !== 'EXDEV')
      throw new PipelineError('io', `cannot write ${to}: ${messageOf(cause)}`, { cause, retryable: true })
    await copyFile(from, to)
    await rm(from)
  }
}

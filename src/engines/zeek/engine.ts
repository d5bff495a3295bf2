/**
 * Zeek as the engine: a capture in, the logs that Zeek writes of it out, as they are.
 *
 * Zeek runs in a folder of its own, with its seeds fixed by the capture. The packets are counted by our own
 * reader; a damaged capture is handed to Zeek as a copy of what is whole in it, because Zeek gives up at the
 * first damage.
 */

import { createReadStream } from 'node:fs'
import { copyFile, mkdir, readdir, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { ConvertRequest, ConvertResult, Engine } from '../../../stages/ports.ts'
import { errnoOf, messageOf, PipelineError } from '../../../state/errors.ts'
import { type ReadResult, readCapture } from '../../capture/reader.ts'
import { openCaptureWriter } from '../../capture/writer.ts'
import { cleanEnv, findExecutable, runChild } from '../child.ts'
import { seedText } from './seed.ts'

export interface ZeekEngineOptions {
  /** Default: `zeek` on the search path. */
  zeekPath?: string
  searchPath?: string
  /** Loaded after Zeek's own scripts: `local`, another name that Zeek knows, or the path of a script. */
  zeekScript?: string
  timeoutMs?: number
  memoryBytes?: number
}

const DAY_MS = 86_400_000
const LOG_FILE = /^([a-z0-9_]+)\.log$/
const MAX_WARNINGS = 5

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

async function convert(
  request: ConvertRequest,
  options: ZeekEngineOptions,
  engineVersion: string,
): Promise<ConvertResult> {
  const { capturePath, captureId, outDir, workDir, signal } = request
  const read = await readCapture(capturePath, {
    signal,
    onPacket: () => {},
    onWindow: (done) => request.onProgress?.(done),
  })
  const intact = read.account.salvaged === undefined && read.account.lostBytes === 0
  const input = intact ? capturePath : await salvage(capturePath, workDir, read, signal)

  const runDir = join(workDir, 'zeek')
  await mkdir(runDir, { recursive: true })
  const seeds = join(workDir, 'seeds')
  await writeFile(seeds, seedText(captureId))
  const warnings = read.packets === 0 ? [] : await runZeek(input, seeds, runDir, signal, options)
  const logs = await collect(runDir, outDir, warnings)
  if (!intact) await rm(input, { force: true })
  return { engine: 'zeek', engineVersion, logs, packets: { ...read.account, decoded: read.packets }, warnings }
}

/** What is whole in a damaged capture, as a new one. */
async function salvage(
  capturePath: string,
  workDir: string,
  { linkTypes }: ReadResult,
  signal: AbortSignal,
): Promise<string> {
  const path = join(workDir, 'salvaged.pcap')
  const writer = await openCaptureWriter(path, {
    format: linkTypes.length > 1 ? 'pcapng' : 'pcap',
    linkType: linkTypes[0],
  })
  try {
    await readCapture(capturePath, {
      signal,
      onPacket: (packet) => writer.packet(packet),
      onWindow: () => writer.flush(),
    })
  } finally {
    await writer.close()
  }
  return path
}

/** @returns what Zeek said on stderr, a sentence each. */
async function runZeek(
  input: string,
  seeds: string,
  runDir: string,
  signal: AbortSignal,
  { zeekPath = 'zeek', zeekScript, searchPath, timeoutMs = DAY_MS, memoryBytes }: ZeekEngineOptions,
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

/** Moves `conn.log` to `conn.ndjson` and so on, and counts. */
async function collect(runDir: string, outDir: string, warnings: string[]): Promise<ConvertResult['logs']> {
  const logs: ConvertResult['logs'] = {}
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
    await move(path, join(outDir, `${log}.ndjson`))
    logs[log] = { records, bytes: lastLine }
  }
  return logs
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

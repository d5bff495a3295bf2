/**
 * Runs one child process under limits: its stdout goes to the caller chunk by chunk (with back-pressure), its
 * stderr is kept up to a bound, and it is ended, with its whole process group, when it exceeds its time, its
 * memory, or when the caller's signal is aborted. The child never outlives the call, and has no network where that
 * can be had (cut-off.ts).
 *
 * An exit code other than 0 is a result, not an error: what it means is the caller's to say.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, isAbsolute, join, resolve } from 'node:path'
import { messageOf, PipelineError } from '../../state/errors.ts'
import { noteChild } from '../children.ts'
import { cutOff } from './cut-off.ts'
import { rssOf } from './rss.ts'

export interface ChildOptions {
  /** A name looked up on the PATH, or a path. */
  command: string
  args: string[]
  cwd?: string
  /** The child's whole environment; default: a PATH, a fixed locale and time zone. */
  env?: Record<string, string>
  timeoutMs: number
  /** Resident memory above which the child is ended. */
  maxRssBytes?: number
  signal: AbortSignal
  /** Called in order; the child waits while a returned promise is pending. */
  onStdout?: (chunk: Buffer) => void | Promise<void>
  /** How much of stderr is kept: its start and its end, half of this each (default 16 KiB). */
  stderrBytes?: number
}

export interface ChildResult {
  /** null when a signal ended it. */
  code: number | null
  signal: NodeJS.Signals | null
  stderr: string
  peakRssBytes: number
  wallMs: number
}

const RSS_POLL_MS = 100
/** Where programs are looked for unless the caller says so. */
const DEFAULT_PATH =
  '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/zeek/bin:/usr/local/zeek/bin:/opt/homebrew/bin'

/** The environment of a child: nothing of ours, which could change its output. */
export function cleanEnv(extra: Record<string, string> = {}): Record<string, string> {
  return { PATH: DEFAULT_PATH, LANG: 'C.UTF-8', LC_ALL: 'C.UTF-8', TZ: 'UTC', ...extra }
}

/** The absolute path of an executable, or undefined where there is none. */
export function findExecutable(command: string, path = DEFAULT_PATH): string | undefined {
  const candidates = command.includes('/')
    ? [isAbsolute(command) ? command : resolve(command)]
    : path
        .split(delimiter)
        .filter((dir) => dir !== '')
        .map((dir) => join(dir, command))
  return candidates.find(isExecutableFile)
}

function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/**
 * @throws PipelineError engine_missing (no such executable), engine_failed (it could not be started),
 *   engine_timeout, engine_memory; the signal's reason when aborted; whatever `onStdout` throws.
 */
export async function runChild(options: ChildOptions): Promise<ChildResult> {
  const { command, args, signal, timeoutMs, maxRssBytes = Number.POSITIVE_INFINITY } = options
  signal.throwIfAborted()
  const env = options.env ?? cleanEnv()
  const executable = findExecutable(command, env.PATH)
  if (executable === undefined)
    throw new PipelineError('engine_missing', `${command} is not installed, or not on the PATH`, {
      details: { command },
    })

  const { prefix } = await cutOff()
  const [first = executable, ...rest] = [...prefix, executable, ...args]
  const started = performance.now()
  const child = spawn(first, rest, {
    cwd: options.cwd,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  noteChild('tool', child)
  let failure: unknown
  const end = (reason: unknown) => {
    failure ??= reason
    killGroup(child)
  }
  const onAbort = () => end(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  const timer = setTimeout(() => end(timeoutError(command, timeoutMs)), timeoutMs)
  let peakRssBytes = 0
  const poll = setInterval(() => {
    const rss = rssOf(child.pid)
    peakRssBytes = Math.max(peakRssBytes, rss)
    if (rss > maxRssBytes) end(memoryError(command, rss, maxRssBytes))
  }, RSS_POLL_MS)

  const stderr = boundedText(options.stderrBytes ?? 16384)
  child.stderr.on('data', (chunk: Buffer) => stderr.add(chunk))
  const exit = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((done) => {
    child.once('error', (error) => {
      end(new PipelineError('engine_failed', `${command} could not be started: ${messageOf(error)}`, { cause: error }))
      done({ code: null, signal: null })
    })
    child.once('close', (code, endedBy) => done({ code, signal: endedBy }))
  })
  try {
    await drain(child, options.onStdout).catch(end)
    const { code, signal: endedBy } = await exit
    if (failure !== undefined) throw failure
    return { code, signal: endedBy, stderr: stderr.text(), peakRssBytes, wallMs: performance.now() - started }
  } finally {
    clearTimeout(timer)
    clearInterval(poll)
    signal.removeEventListener('abort', onAbort)
    // Whatever the child itself started and left behind shares its process group.
    killGroup(child)
  }
}

async function drain(child: ChildProcess, onStdout: ChildOptions['onStdout']): Promise<void> {
  if (child.stdout === null) return
  for await (const chunk of child.stdout) await onStdout?.(chunk as Buffer)
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // ESRCH: the group is gone already.
  }
}

function boundedText(limit: number): { add(chunk: Buffer): void; text(): string } {
  const half = Math.max(1, Math.floor(limit / 2))
  let head = Buffer.alloc(0)
  let tail = Buffer.alloc(0)
  let dropped = 0
  return {
    add(chunk) {
      const room = half - head.length
      if (room > 0) head = Buffer.concat([head, chunk.subarray(0, room)])
      const rest = chunk.subarray(Math.max(0, room))
      const joined = Buffer.concat([tail, rest])
      dropped += Math.max(0, joined.length - half)
      tail = joined.subarray(Math.max(0, joined.length - half))
    },
    text() {
      const gap = dropped > 0 ? `\n… ${dropped} bytes left out …\n` : ''
      return `${head.toString('utf8')}${gap}${tail.toString('utf8')}`.trim()
    },
  }
}

function timeoutError(command: string, timeoutMs: number): PipelineError {
  return new PipelineError('engine_timeout', `${command} did not end within ${Math.ceil(timeoutMs / 1000)} s`, {
    details: { command, timeoutMs },
  })
}

function memoryError(command: string, rssBytes: number, maxRssBytes: number): PipelineError {
  const mb = (bytes: number) => Math.round(bytes / 1e6)
  return new PipelineError('engine_memory', `${command} used ${mb(rssBytes)} MB, its limit is ${mb(maxRssBytes)} MB`, {
    details: { command, rssBytes, maxRssBytes },
  })
}

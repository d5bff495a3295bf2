/**
 * Worker processes for the passes over captures: all cores, and nothing that a capture does to one of them can hurt
 * anything else.
 *
 * In: tasks. Out: their results, or a `PipelineError`: `engine_memory` when a worker took more memory than it may,
 * `engine_timeout` when one said nothing for too long, `engine_failed` with `details.crashed` when one ended or threw
 * what nobody had foreseen; the signal's reason when aborted. A worker that failed is replaced. They are started when
 * they are first needed and then kept; idle ones do not keep this process alive, and none outlives it.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import module from 'node:module'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import PQueue from 'p-queue'
import { PipelineError } from '../../../state/errors.ts'
import { noteChild } from '../../children.ts'
import { cleanEnv } from '../child.ts'
import { cutOff } from '../cut-off.ts'
import { rssOf } from '../rss.ts'
import type { OnProgress, PassRequest, PassResult } from './pass.ts'
import type { Reply, Task } from './serve.ts'
import type { SplitRequest, SplitResult } from './split.ts'

export interface PoolOptions {
  workers: number
  /** Resident memory above which a worker is ended. */
  memoryBytes: number
  /** A task reports every few megabytes; one that is silent for this long hangs. */
  silenceMs: number
  /** Default: worker.ts. */
  worker?: URL
}

export interface RunOptions {
  signal: AbortSignal
  onProgress?: OnProgress
  /** Tasks of a higher one go first. */
  priority?: number
}

export interface Pool {
  split(request: SplitRequest, options: RunOptions): Promise<SplitResult>
  pass(request: PassRequest, options: RunOptions): Promise<PassResult>
}

interface Worker {
  process: ChildProcess
  /** The end of what it said on stderr. */
  said: string
}

/** In the sources as built: `.ts` beside `.ts`, `.js` beside `.js`. */
const WORKER = new URL(`worker${import.meta.url.slice(-3)}`, import.meta.url)

const START_MS = 60_000
const RSS_POLL_MS = 50
const MAX_SAID = 4000
const MB = 1 << 20
/** The heap's share of a worker's memory: the rest is Node itself, buffers, and what is not collected yet. */
const HEAP_SHARE = 0.7
/**
 * The young generation is collected often instead of growing, and the old one from the start at what a part needs:
 * left alone, both grow with what comes by, not with what is alive.
 */
const FLAGS = [
  '--max-semi-space-size=2',
  '--initial-old-space-size=32',
  '--expose-gc',
  '--no-flush-bytecode',
  '--disable-warning=ExperimentalWarning',
]

/** Those that stand still do not see that their channel is closed: none outlives this process. */
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export function createPool({ workers, memoryBytes, silenceMs, worker: path = WORKER }: PoolOptions): Pool {
  const queue = new PQueue({ concurrency: workers })
  const idle: Worker[] = []

  async function run(task: Task, { signal, onProgress, priority = 0 }: RunOptions): Promise<unknown> {
    const answer = await queue.add(
      async () => {
        signal.throwIfAborted()
        const worker = idle.pop() ?? (await start())
        hold(worker)
        try {
          signal.throwIfAborted()
          const answer = await answerOf(worker, task, signal, onProgress)
          // What was foreseen leaves it as good as it was; after a bug nobody knows.
          if (answer instanceof PipelineError && answer.details.crashed === true) throw answer
          release(worker)
          idle.push(worker)
          return answer
        } catch (error) {
          worker.process.kill('SIGKILL')
          throw error
        }
      },
      { priority },
    )
    if (answer instanceof Error) throw answer
    return answer
  }

  async function start(): Promise<Worker> {
    const { prefix } = await cutOff()
    const heapMb = Math.round((memoryBytes / MB) * HEAP_SHARE)
    const [command = process.execPath, ...args] = [
      ...prefix,
      process.execPath,
      `--max-old-space-size=${heapMb}`,
      ...FLAGS,
      fileURLToPath(path),
    ]
    const child = spawn(command, args, { env: environment(), stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    const worker = { process: child, said: '' }
    running.add(child)
    noteChild('worker', child)
    child.stderr?.on('data', (data: Buffer) => {
      worker.said = (worker.said + data.toString('utf8')).slice(-MAX_SAID)
    })
    // An end between two tasks hurts nobody; the next task gets another worker.
    child
      .on('error', () => {})
      .on('exit', () => {
        running.delete(child)
        const at = idle.indexOf(worker)
        if (at >= 0) idle.splice(at, 1)
      })
    await started(worker)
    offerToOomKiller(child.pid)
    return worker
  }

  function answerOf(worker: Worker, task: Task, signal: AbortSignal, onProgress: OnProgress | undefined) {
    const { process: child } = worker
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    let silence = setTimeout(hang, silenceMs)
    const watch = setInterval(weigh, RSS_POLL_MS)
    child.on('message', hear).on('close', end)
    signal.addEventListener('abort', abort)
    child.send(task, (error) => {
      // It has ended before it could be asked; `close` tells how.
      if (error && child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    })
    return promise.finally(() => {
      clearTimeout(silence)
      clearInterval(watch)
      child.off('message', hear).off('close', end)
      signal.removeEventListener('abort', abort)
    })

    function hear(reply: Reply): void {
      clearTimeout(silence)
      silence = setTimeout(hang, silenceMs)
      if ('progress' in reply) onProgress?.(reply.progress)
      else if ('result' in reply) resolve(reply.result)
      else if ('failure' in reply) resolve(failureOf(reply.failure))
    }

    function hang(): void {
      reject(new PipelineError('engine_timeout', `the dissection stood still for ${silenceMs / 1000} s`))
    }

    function weigh(): void {
      if (rssOf(child.pid) > memoryBytes) reject(memoryError(memoryBytes))
    }

    function end(code: number | null, endedBy: NodeJS.Signals | null): void {
      reject(
        /heap out of memory|Reached heap limit/.test(worker.said)
          ? memoryError(memoryBytes)
          : crash(worker, code, endedBy),
      )
    }

    function abort(): void {
      reject(signal.reason)
    }
  }

  return {
    split: (request, options) => run({ split: request }, options) as Promise<SplitResult>,
    pass: (request, options) => run({ pass: request }, options) as Promise<PassResult>,
  }
}

/** Of ours it gets where compiled code is kept, so that it starts fast. */
function environment(): Record<string, string> {
  // It tells the folder of this version of Node, which is made below the one that is told.
  const cache = module.getCompileCacheDir?.()
  return cleanEnv({
    // Of the C library: memory that was freed goes back to the system soon, and not into an arena for each thread.
    MALLOC_ARENA_MAX: '2',
    MALLOC_TRIM_THRESHOLD_: '131072',
    ...(cache === undefined ? {} : { NODE_COMPILE_CACHE: dirname(cache) }),
  })
}

/** @throws PipelineError engine_failed when the worker does not come up: that is no fault of any capture. */
async function started(worker: Worker): Promise<void> {
  const { process: child } = worker
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const fail = (what: string) => {
    const message = `a worker process could not be started: ${what} ${worker.said.trim().slice(-500)}`
    reject(new PipelineError('engine_failed', message.trim(), { retryable: true }))
  }
  const timer = setTimeout(() => fail(`it said nothing for ${START_MS / 1000} s`), START_MS)
  const onEnd = (code: number | null, signal: NodeJS.Signals | null) =>
    fail(`it ended (${signal ?? `exit code ${code}`})`)
  const onError = (error: Error) => fail(error.message)
  child
    .once('message', () => resolve())
    .once('close', onEnd)
    .once('error', onError)
  try {
    await promise
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  } finally {
    clearTimeout(timer)
    child.off('close', onEnd).off('error', onError)
  }
}

/** Should the host run out of memory, its kernel takes a worker, which is replaced, and not the pipeline. */
function offerToOomKiller(pid: number | undefined): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, '500')
  } catch {
    // Not Linux, or it has just ended.
  }
}

function hold({ process: child }: Worker): void {
  child.ref()
  child.channel?.ref()
}

function release({ process: child }: Worker): void {
  child.unref()
  child.channel?.unref()
  // A pipe that is only read must not keep the process alive.
  ;(child.stderr as { unref?: () => void } | null)?.unref?.()
}

function memoryError(memoryBytes: number): PipelineError {
  const limit = Math.round(memoryBytes / MB)
  return new PipelineError('engine_memory', `the dissection needs more than ${limit} MB of memory (CONVERT_MEMORY_MB)`)
}

function crash({ said }: Worker, code: number | null, signal: NodeJS.Signals | null): PipelineError {
  const how = signal === null ? `exit code ${code}` : `signal ${signal}`
  const lines = said.trim().split('\n')
  const last = (lines.findLast((line) => /^\w*Error\b|FATAL/.test(line)) ?? lines.at(-1))?.slice(0, 300)
  const message = `the dissection crashed (${how}${last ? `: ${last}` : ''})`
  return new PipelineError('engine_failed', message, { details: { crashed: true } })
}

/** A failed system call is told as one. A failure without any code is a bug of ours, and as good as a crash. */
function failureOf({ code, errno, message, retryable }: Extract<Reply, { failure: unknown }>['failure']): Error {
  if (code !== undefined) return new PipelineError(code, message, { retryable })
  if (errno !== undefined) return Object.assign(new Error(message), { code: errno })
  return new PipelineError('engine_failed', `the dissection failed (a bug; please report it): ${message}`, {
    details: { crashed: true },
  })
}

/**
 * Worker threads for the passes over captures: all cores, a heap limit for each, and an event loop that stays free.
 *
 * In: requests for passes. Out: their results, or a `PipelineError`: `engine_memory` when a worker outgrew its
 * heap, `engine_timeout` when one said nothing for too long, the signal's reason when aborted. A worker that failed
 * is replaced. Idle workers do not keep the process alive.
 */

import { Worker } from 'node:worker_threads'
import PQueue from 'p-queue'
import { PipelineError } from '../../../state/errors.ts'
import type { PassRequest, PassResult } from './pass.ts'
import type { WorkerReply } from './worker.ts'

export interface PoolOptions {
  workers: number
  heapMb: number
  /** A pass reports every few megabytes; one that is silent for this long hangs. */
  silenceMs: number
  /** Default: worker.ts. */
  worker?: URL
}

export interface RunOptions {
  signal: AbortSignal
  onProgress?: (progress: { bytes: number; packets: number }) => void
}

export interface Pool {
  run(request: PassRequest, options: RunOptions): Promise<PassResult>
}

/** In the sources as built: `.ts` beside `.ts`, `.js` beside `.js`. */
const WORKER = new URL(`worker${import.meta.url.slice(-3)}`, import.meta.url)

/**
 * Beyond its limit a heap has 16 MB to end in good order; what is over that ends the whole process. So no more than
 * that may survive one collection of the young.
 */
const YOUNG_MB = 24

export function createPool({ workers, heapMb, silenceMs, worker: module = WORKER }: PoolOptions): Pool {
  const queue = new PQueue({ concurrency: workers })
  const idle: Worker[] = []

  async function run(request: PassRequest, { signal, onProgress }: RunOptions): Promise<PassResult> {
    return await queue.add(async () => {
      signal.throwIfAborted()
      const worker = idle.pop() ?? start()
      worker.ref()
      try {
        const result = await answerOf(worker, request, signal, onProgress)
        worker.unref()
        idle.push(worker)
        return result
      } catch (error) {
        await worker.terminate()
        throw error
      }
    })
  }

  /** An error between two passes must not end the process; the next pass finds out. */
  function start(): Worker {
    const resourceLimits = { maxOldGenerationSizeMb: heapMb, maxYoungGenerationSizeMb: YOUNG_MB }
    const worker = new Worker(module, { resourceLimits })
    return worker.on('error', () => {})
  }

  function answerOf(
    worker: Worker,
    request: PassRequest,
    signal: AbortSignal,
    onProgress: RunOptions['onProgress'],
  ): Promise<PassResult> {
    const { promise, resolve, reject } = Promise.withResolvers<PassResult>()
    let silence = setTimeout(hang, silenceMs)
    worker.on('message', hear).on('error', fail).on('exit', end)
    signal.addEventListener('abort', abort)
    worker.postMessage(request)
    return promise.finally(() => {
      clearTimeout(silence)
      worker.off('message', hear).off('error', fail).off('exit', end)
      signal.removeEventListener('abort', abort)
    })

    function hear(reply: WorkerReply): void {
      clearTimeout(silence)
      silence = setTimeout(hang, silenceMs)
      if ('progress' in reply) onProgress?.(reply.progress)
      else if ('result' in reply) resolve(reply.result)
      else reject(failureOf(reply.failure))
    }

    function hang(): void {
      reject(new PipelineError('engine_timeout', `the dissection stood still for ${silenceMs / 1000} s`))
    }

    function fail(error: NodeJS.ErrnoException): void {
      const message = `the dissection needs more than ${heapMb} MB of memory (CONVERT_MEMORY_MB)`
      reject(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? new PipelineError('engine_memory', message) : error)
    }

    function end(code: number): void {
      reject(
        new PipelineError('engine_failed', `the dissection ended without an answer (exit code ${code})`, {
          retryable: true,
        }),
      )
    }

    function abort(): void {
      reject(signal.reason)
    }
  }

  return { run }
}

/** A failed system call is told as one. A failure without any code is a bug; its stack is its message. */
function failureOf({ code, errno, message, retryable }: Extract<WorkerReply, { failure: unknown }>['failure']): Error {
  if (code !== undefined) return new PipelineError(code, message, { retryable })
  return errno === undefined ? new Error(message) : Object.assign(new Error(message), { code: errno })
}

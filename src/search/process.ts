/**
 * The search in a process of its own that stays warm.
 *
 * In: requests. Out: their answers. DuckDB's memory is that process's; should it die, its requests fail with an error
 * that says so, and the next one starts it again. A request that nobody waits for any more is interrupted.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { RulesFiles } from '../../stages/upload/rules.ts'
import { type ErrorCode, PipelineError } from '../../state/errors.ts'
import type { Layout } from '../../state/layout.ts'
import { noteChild } from '../children.ts'
import type { DatasetOptions } from '../query/dataset.ts'
import type { SearchName, SearchRequests } from './engine.ts'

export interface SearchProcessOptions {
  dataset: DatasetOptions
  layout: Layout
  rules: RulesFiles
  timeoutMs: number
}

export type ToChild =
  | { open: SearchProcessOptions }
  | { id: number; name: SearchName; request: unknown }
  | { cancel: number }

export type FromChild = { ready: true } | ({ id: number } & ({ answer: unknown } | { failure: Failure }))

export interface Failure {
  code: ErrorCode
  message: string
  retryable: boolean
  details: PipelineError['details']
}

export interface SearchProcess extends AsyncDisposable {
  ask<N extends SearchName>(
    name: N,
    request: SearchRequests[N]['in'],
    signal?: AbortSignal,
  ): Promise<SearchRequests[N]['out']>
  close(): Promise<void>
}

interface Waiting {
  resolve(value: unknown): void
  reject(error: unknown): void
}

export function openSearchProcess(options: SearchProcessOptions): SearchProcess {
  let child: ChildProcess | undefined
  let closed = false
  let lastId = 0
  const waiting = new Map<number, Waiting>()

  function start(): ChildProcess {
    const started = fork(childPath(), [], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: {}, execArgv: [] })
    noteChild('search', started)
    started.on('message', (message: FromChild) => {
      if (!('id' in message)) return
      const request = waiting.get(message.id)
      waiting.delete(message.id)
      if ('answer' in message) request?.resolve(message.answer)
      else request?.reject(errorOf(message.failure))
    })
    started.on('error', () => lost(started))
    started.once('exit', () => lost(started))
    started.send({ open: options } satisfies ToChild)
    return started
  }

  function lost(ended: ChildProcess): void {
    if (child !== ended) return
    child = undefined
    const error = new PipelineError('query_failed', 'the process that searches ended; ask again', { retryable: true })
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }

  async function ask<N extends SearchName>(name: N, request: SearchRequests[N]['in'], signal?: AbortSignal) {
    if (closed) throw new PipelineError('stopped', 'the search is closed')
    if (signal?.aborted) throw new PipelineError('stopped', 'the search was stopped before its end')
    child ??= start()
    const asked = child
    const id = ++lastId
    const cancel = () => asked.connected && asked.send({ cancel: id } satisfies ToChild)
    signal?.addEventListener('abort', cancel, { once: true })
    try {
      return await new Promise<SearchRequests[N]['out']>((resolve, reject) => {
        waiting.set(id, { resolve: (value) => resolve(value as SearchRequests[N]['out']), reject })
        asked.send({ id, name, request } satisfies ToChild, (error) => {
          if (error) lost(asked)
        })
      })
    } finally {
      signal?.removeEventListener('abort', cancel)
    }
  }

  async function close(): Promise<void> {
    closed = true
    const last = child
    if (last === undefined) return
    const ended = new Promise((resolve) => last.once('exit', resolve))
    last.disconnect()
    const timer = setTimeout(() => last.kill('SIGKILL'), 2000)
    await ended
    clearTimeout(timer)
  }

  return { ask, close, [Symbol.asyncDispose]: close }
}

function errorOf({ code, message, ...options }: Failure): PipelineError {
  return new PipelineError(code, message, options)
}

/** In the sources as built: `.ts` beside `.ts`, `.js` beside `.js`. */
function childPath(): string {
  return fileURLToPath(new URL(`process-child${import.meta.url.slice(-3)}`, import.meta.url))
}

/**
 * Answers one query in a process of its own.
 *
 * In and out: as `runQuery`, but of a dataset that is opened for this query alone. DuckDB's memory limit does not
 * count what single functions make (`repeat('x', 4000000000)`, `range(1000000000)` as a list), and a function
 * that runs cannot be interrupted. In a process of its own such a query ends with its process: the caller keeps
 * its memory and gets `query_failed`. Costs a process start, about a third of a second.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { type ErrorCode, PipelineError } from '../../state/errors.ts'
import { noteChild } from '../children.ts'
import { type DatasetOptions, removeLeftovers } from './dataset.ts'
import { openOutput } from './output.ts'
import type { QueryOptions, QuerySummary } from './run.ts'

export type IsolatedOptions = Omit<QueryOptions, 'look' | 'onStop'>

/** What the child is asked; all of it is JSON. */
export interface IsolatedRequest {
  dataset: DatasetOptions
  sql: string
  options: Omit<IsolatedOptions, 'out' | 'signal'>
}

export type IsolatedReply =
  | { summary: QuerySummary }
  | { failure: { code: ErrorCode; message: string; retryable: boolean; details: PipelineError['details'] } }

/** As `runQuery`, with the same errors. `dataset.memoryMb` limits DuckDB, twice that and 512 MB the process. */
export async function runIsolated(
  dataset: DatasetOptions,
  sql: string,
  options: IsolatedOptions,
): Promise<QuerySummary> {
  const { out, signal, ...rest } = options
  if (signal?.aborted) throw stopped()
  // The environment stays here: a query has no business with it.
  const child = spawn(process.execPath, [childPath()], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env: {} })
  noteChild('query', child)
  const ended = endOf(child)
  const kill = () => child.kill('SIGKILL')
  signal?.addEventListener('abort', kill, { once: true })
  using output = openOutput(out, patient, signal)
  try {
    const request: IsolatedRequest = { dataset, sql, options: rest }
    child.send(request, () => {})
    let open = true
    for await (const bytes of child.stdout as Readable) {
      open = await output.write(bytes)
      if (!open || signal?.aborted) break
    }
    if (!open) kill()
    const { reply, what } = await ended
    if (signal?.aborted) throw stopped()
    if (!open) return { rows: 0, truncated: false, closed: true, elapsedMs: 0, warnings: [] }
    if (reply === undefined)
      throw new PipelineError('query_failed', `the query's process ended without an answer (${what})`)
    if ('summary' in reply) return { ...reply.summary, closed: !(await output.flush()) }
    const { code, message, ...errorOptions } = reply.failure
    throw new PipelineError(code, message, errorOptions)
  } finally {
    kill()
    signal?.removeEventListener('abort', kill)
    await ended
    if (child.signalCode) await removeLeftovers(dataset.tempDir)
  }
}

/** The child keeps the time; here only the reader is waited for. */
const patient = { check: () => {}, paused: <T>(wait: () => Promise<T>) => wait() }

/** In the sources as built: `.ts` beside `.ts`, `.js` beside `.js`. */
function childPath(): string {
  return fileURLToPath(new URL(`isolated-child${import.meta.url.slice(-3)}`, import.meta.url))
}

function stopped(): PipelineError {
  return new PipelineError('stopped', 'the query was stopped before its end')
}

interface End {
  reply: IsolatedReply | undefined
  what: string
}

const MAX_STDERR = 2000

function endOf(child: ChildProcess): Promise<End> {
  let reply: IsolatedReply | undefined
  let stderr = ''
  child.on('message', (message: IsolatedReply) => {
    reply = message
  })
  child.stderr?.on('data', (data: Buffer) => {
    stderr = (stderr + data.toString()).slice(0, MAX_STDERR)
  })
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ reply, what: error.message }))
    child.once('close', (code, signal) => {
      const said = stderr.trim().split('\n').at(-1)
      resolve({ reply, what: [signal ?? `exit code ${code}`, said].filter(Boolean).join(', ') })
    })
  })
}

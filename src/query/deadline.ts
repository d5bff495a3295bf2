/**
 * Ends a query that takes too long, or that nobody waits for any more.
 *
 * In: the time that DuckDB may work, and a signal. Out: `check()` throws once either has come; a statement
 * that is running is interrupted. Time that the reader of the answer takes (a pager, a slow client) is not counted.
 */

import type { DuckDBConnection } from '@duckdb/node-api'
import { PipelineError } from '../../state/errors.ts'

export interface Deadline extends Disposable {
  /** Why the query was ended, once it was. */
  readonly failure: PipelineError | undefined
  check(): void
  /** Waits without the clock running. */
  paused<T>(wait: () => Promise<T>): Promise<T>
  /** Looks at something every tick; an error that it returns ends the query. */
  watch(look: () => PipelineError | undefined): void
}

export interface DeadlineOptions {
  timeoutMs: number
  signal?: AbortSignal | undefined
  /** Called once, when the query is to end; DuckDB may not obey before the function that it is in returns. */
  onStop?: ((failure: PipelineError) => void) | undefined
}

/** DuckDB forgets an interruption that comes between two statements, so that it is repeated. */
const TICK_MS = 50

export function startDeadline(connection: DuckDBConnection, options: DeadlineOptions): Deadline {
  const { timeoutMs, signal, onStop } = options
  const looks: (() => PipelineError | undefined)[] = []
  let failure: PipelineError | undefined
  let worked = 0
  let since: number | undefined = performance.now()

  const stop = (reason: PipelineError) => {
    connection.interrupt()
    if (failure) return
    failure = reason
    onStop?.(reason)
  }
  const tick = () => {
    const now = performance.now()
    if (since !== undefined) {
      // Far more than a tick: this thread waited in a write to a pipe that is full, which is the reader's time.
      worked += Math.min(now - since, 4 * TICK_MS)
      since = now
    }
    const reason = failure ?? (worked > timeoutMs ? tooSlow(timeoutMs) : firstOf(looks))
    if (reason) stop(reason)
  }
  const abort = () => stop(new PipelineError('stopped', 'the query was stopped before its end'))
  const timer = setInterval(tick, TICK_MS)
  if (signal?.aborted) abort()
  signal?.addEventListener('abort', abort, { once: true })

  return {
    get failure() {
      return failure
    },
    check() {
      if (failure) throw failure
    },
    async paused(wait) {
      tick()
      since = undefined
      try {
        return await wait()
      } finally {
        since = performance.now()
      }
    },
    watch(look) {
      looks.push(look)
    },
    [Symbol.dispose]() {
      clearInterval(timer)
      signal?.removeEventListener('abort', abort)
    },
  }
}

function firstOf(looks: readonly (() => PipelineError | undefined)[]): PipelineError | undefined {
  for (const look of looks) {
    const failure = look()
    if (failure) return failure
  }
  return undefined
}

function tooSlow(timeoutMs: number): PipelineError {
  const advice = 'narrow it by year, month, day or by event_time, or allow more time'
  return new PipelineError(
    'query_failed',
    `the query took longer than ${timeoutMs / 1000} s and was stopped: ${advice}`,
    {
      details: { timeoutMs },
    },
  )
}

/**
 * Counts what the runners do, and says every so often how the process is.
 *
 * In: the runners' events. Out: a log line of memory, buffer, events per second, flushes, errors and the queue
 * depth of each stage; the same figures for whoever asks.
 */

import type { Bus } from '../stages/bus.ts'
import type { Log } from '../stages/ports.ts'
import type { Observer } from '../stages/runner.ts'
import { STAGE_NAMES } from '../state/job.ts'
import type { Ledger } from '../state/ledger.ts'

export interface Health extends Disposable {
  observer: Observer
  close(): void
}

export interface HealthOptions {
  ledger: Ledger
  bus: Pick<Bus, 'counters'>
  log: Log
  intervalMs: number
  /** Bytes at which a flush is due: 100 % of the buffer; 0 where that rule is off. */
  bufferBytes: number
}

const MB = 1024 * 1024

export function startHealth({ ledger, bus, log, intervalMs, bufferBytes }: HealthOptions): Health {
  const count = { events: 0, flushes: 0, errors: 0, buffered: 0 }
  let before = { events: 0, at: performance.now() }

  const observer: Observer = {
    done(stage, jobs) {
      if (stage !== 'upload') return
      count.flushes++
      for (const { events } of jobs) count.events += events
    },
    failed() {
      count.errors++
    },
    gathered(_stage, bytes) {
      count.buffered = bytes
    },
  }

  function report(): void {
    const { rss, heapUsed } = process.memoryUsage()
    const now = performance.now()
    const perSecond = ((count.events - before.events) * 1000) / (now - before.at)
    before = { events: count.events, at: now }
    log.info('health', {
      rss_mb: Math.round(rss / MB),
      heap_mb: Math.round(heapUsed / MB),
      buffer_percent: bufferBytes > 0 ? Math.round((100 * count.buffered) / bufferBytes) : 0,
      events_per_second: Math.round(perSecond),
      events: count.events,
      flushes: count.flushes,
      errors: count.errors,
      ...depths(ledger),
      ...bus.counters(),
    })
  }

  const timer = setInterval(() => {
    try {
      report()
    } catch (error) {
      log.warn('the health line could not be made', { error: String(error) })
    }
  }, intervalMs)
  timer.unref()
  const close = () => clearInterval(timer)
  return { observer, close, [Symbol.dispose]: close }
}

/** `queue_<stage>`: jobs that wait or are under way. */
function depths(ledger: Ledger): Record<string, number> {
  const open = ledger.jobs.depths().filter(({ status }) => status !== 'failed')
  return Object.fromEntries(
    STAGE_NAMES.map((name) => [
      `queue_${name}`,
      open.filter(({ stage }) => stage === name).reduce((sum, { jobs }) => sum + jobs, 0),
    ]),
  )
}

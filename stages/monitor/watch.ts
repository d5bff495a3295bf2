/**
 * Watches the inbox and queues every file that has settled.
 *
 * In: kernel events (a hint) and a rescan every so often (the truth). Out: jobs of the monitor stage. Several
 * watchers over one inbox queue the same file once, since its identity is the job's key.
 */

import { realpathSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { watch } from 'chokidar'
import { messageOf } from '../../state/errors.ts'
import type { Ledger } from '../../state/ledger.ts'
import { probeFolder } from '../durable.ts'
import { heldForWriting } from '../open-files.ts'
import type { Log } from '../ports.ts'
import { arrivalJob } from './arrival.ts'
import { type InboxFile, isPartialName, scanInbox } from './scan.ts'
import { Settling } from './settle.ts'

export interface WatchOptions {
  inbox: string
  stabilityMs: number
  rescanMs: number
  /** For mounts that send no events: chokidar looks by itself. */
  polling: boolean
  ledger: Ledger
  log: Log
  /** Called when new work was queued. */
  onQueued(): void
  /** No new work is queued while this says no. */
  mayQueue(): boolean
}

/** Files that one look queues: a transaction that stays short. The next look takes the next. */
const MOST_AT_ONCE = 500

export interface Watcher {
  /** Looks now. */
  rescan(): void
  close(): Promise<void>
}

export async function watchInbox(options: WatchOptions): Promise<Watcher> {
  const { inbox, stabilityMs, rescanMs, polling, ledger, log, onQueued, mayQueue } = options
  const settling = new Settling(stabilityMs)
  const tickMs = Math.max(100, Math.min(1000, stabilityMs / 4))
  /** Files that wait in the queue: they need no second look until their job has ended. */
  const queued = new Map<string, string>()
  const complaints = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined
  let closed = false
  let dueAt = Number.POSITIVE_INFINITY

  const events = watch(inbox, {
    ignoreInitial: true,
    followSymlinks: false,
    usePolling: polling,
    interval: rescanMs,
    ignored: (path) => path !== inbox && isPartialName(path.slice(path.lastIndexOf('/') + 1)),
    ignorePermissionErrors: true,
  })
  events.on('all', () => schedule(tickMs / 2))
  events.on('error', (error) =>
    complain('events', `the inbox sends no events; it is looked at every ${rescanMs} ms`, error),
  )

  /** Brings the next look forward, never back: a file that changes all the time must not keep the others waiting. */
  function schedule(delayMs: number): void {
    const at = performance.now() + delayMs
    if (closed || at >= dueAt) return
    dueAt = at
    clearTimeout(timer)
    timer = setTimeout(look, delayMs)
  }

  function look(): void {
    dueAt = Number.POSITIVE_INFINITY
    running ??= scanOnce().finally(() => {
      running = undefined
      schedule(settling.size > 0 ? tickMs : rescanMs)
    })
  }

  async function scanOnce(): Promise<void> {
    try {
      const files = await scanInbox(inbox, (path, error) =>
        complain(path, `the folder ${path} cannot be read; its files are left out`, error),
      )
      complaints.delete('inbox')
      await queueSettled(files)
    } catch (error) {
      complain('inbox', `the inbox ${inbox} cannot be read; nothing comes in until it can`, error)
    }
  }

  async function queueSettled(files: InboxFile[]): Promise<void> {
    try {
      forgetEnded(files)
      const open = files.filter(({ key, kind }) => kind !== 'other' && !queued.has(key))
      const settled = settling.observe(open, performance.now())
      if (settled.size === 0 || !mayQueue()) return
      const candidates = open.filter(({ key }) => settled.has(key))
      const held = heldForWriting(new Set(candidates.map(({ path }) => realPath(path))))
      const ready = candidates.filter(({ path }) => !held.has(realPath(path))).slice(0, MOST_AT_ONCE)
      ledger.transaction(() => {
        for (const file of ready) queued.set(file.key, queue(file))
      })
      for (const { key } of ready) settling.forget(key)
      complaints.delete('ledger')
      if (ready.length > 0) onQueued()
    } catch (error) {
      complain('ledger', 'files that have settled cannot be queued; it is tried again', error)
    }
  }

  /**
   * A file that came again in the same state (a hard link, a restored copy) is a new arrival. One that could
   * not be moved away still lies there: it waits for somebody's retry.
   */
  function queue({ path, name, source, dev, ino, bytes, mtimeMs }: InboxFile): string {
    const arrival = { path, name, source, dev, ino, bytes, mtimeMs }
    for (let again = 0; ; again++) {
      const job = arrivalJob(arrival, again)
      const known = ledger.jobs.find('monitor', job.key)
      if (known === undefined) ledger.jobs.add(job)
      else if (known.status === 'done' || (known.status === 'failed' && known.errorCode !== 'io')) continue
      return job.key
    }
  }

  function forgetEnded(files: InboxFile[]): void {
    if (queued.size === 0) return
    const present = new Set(files.map(({ key }) => key))
    const open = ledger.jobs.openKeys('monitor')
    for (const [key, job] of queued) if (!present.has(key) || !open.has(job)) queued.delete(key)
  }

  /** Says a thing once, until it has gone away. */
  function complain(what: string, message: string, error: unknown): void {
    if (complaints.has(what)) return
    complaints.add(what)
    log.error(message, { error: messageOf(error) })
  }

  look()
  return {
    rescan: () => schedule(0),
    async close() {
      closed = true
      clearTimeout(timer)
      await running
      await events.close()
    },
  }
}

/** Whether this process may do in the inbox what it must: read, write, rename and delete. Throws what it may not. */
export async function probeInbox(inbox: string): Promise<void> {
  await mkdir(inbox, { recursive: true })
  await probeFolder(inbox)
}

function realPath(path: InboxFile['path']): string {
  if (typeof path !== 'string') return path.hex
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

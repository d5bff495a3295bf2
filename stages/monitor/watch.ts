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
import { belongsTo, isKeyLogName } from '../key-log.ts'
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

/** Keys that lie alone are taken for those of a capture that came earlier only after so long. */
const KEYS_GRACE_INTERVALS = 5

export interface Watcher {
  /** Looks now. */
  rescan(): void
  close(): Promise<void>
}

export async function watchInbox(options: WatchOptions): Promise<Watcher> {
  const { inbox, stabilityMs, rescanMs, polling, ledger, log, onQueued, mayQueue } = options
  const keysGraceMs = stabilityMs * KEYS_GRACE_INTERVALS
  const settling = new Settling(stabilityMs)
  const tickMs = Math.max(100, Math.min(1000, stabilityMs / 4))
  /** Files that wait in the queue: they need no second look until their job has ended. */
  const queued = new Map<string, string>()
  /** Key logs whose capture is not in the inbox: since when they look as they do. */
  const waiting = new Map<string, { identity: string; at: number; isTold?: boolean }>()
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
      const { captures, keysOf, alone } = pairUp(files)
      const fresh = captures.filter(({ key, kind }) => kind !== 'other' && !queued.has(key))
      const open = [...new Set(fresh.flatMap((file) => [file, ...keysOf(file)]))]
      queueKeys(alone)
      const settled = settling.observe(open, performance.now())
      if (settled.size === 0 || !mayQueue()) return
      // A capture and its keys settle together.
      const withKeys = (file: InboxFile) => [file, ...keysOf(file)]
      const candidates = fresh.filter((file) => withKeys(file).every(({ key }) => settled.has(key)))
      const held = heldForWriting(new Set(candidates.flatMap(withKeys).map(({ path }) => realPath(path))))
      const isHeld = (file: InboxFile) => withKeys(file).some(({ path }) => held.has(realPath(path)))
      const ready = candidates.filter((file) => !isHeld(file)).slice(0, MOST_AT_ONCE)
      ledger.transaction(() => {
        for (const file of ready) queued.set(file.key, queue(file, keysOf(file)))
      })
      for (const { key } of ready.flatMap(withKeys)) settling.forget(key)
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
  function queue(file: InboxFile, keys: InboxFile[], keysOf?: string[]): string {
    const { path, name, source, dev, ino, bytes, mtimeMs } = file
    const more = { ...(keys.length > 0 && { keys: keys.map((each) => each.path) }), ...(keysOf && { keysOf }) }
    const arrival = { path, name, source, dev, ino, bytes, mtimeMs, ...more }
    for (let again = 0; ; again++) {
      const job = arrivalJob(arrival, again)
      const known = ledger.jobs.find('monitor', job.key)
      if (known === undefined) ledger.jobs.add(job)
      else if (known.status === 'done' || (known.status === 'failed' && known.errorCode !== 'io')) continue
      return job.key
    }
  }

  /**
   * Keys without their capture wait for it; where it was here before, they are taken in for it. They wait as long as a
   * capture that does not look whole: it may be on its way, under a name that was used before.
   */
  function queueKeys(alone: readonly InboxFile[]): void {
    const present = new Set(alone.map(({ key }) => key))
    for (const key of waiting.keys()) if (!present.has(key)) waiting.delete(key)
    const now = performance.now()
    for (const file of alone.filter(({ key }) => !queued.has(key))) {
      const identity = `${file.ino} ${file.bytes} ${file.mtimeMs}`
      const since = waiting.get(file.key)
      if (since?.identity !== identity) waiting.set(file.key, { identity, at: now })
      else if (now - since.at >= keysGraceMs && mayQueue()) queueLate(file)
    }
  }

  function queueLate(file: InboxFile): void {
    const stem = file.name.slice(0, file.name.lastIndexOf('.'))
    const captures = ledger.captures.arrivedAs(file.source, stem)
    const found = captures.find(({ name }) => belongsTo(file.name, name))
    if (found === undefined) {
      const known = waiting.get(file.key)
      if (known !== undefined && !known.isTold)
        log.info('TLS keys wait in the inbox for the capture that they belong to', { file: file.name })
      if (known !== undefined) known.isTold = true
      return
    }
    if (heldForWriting(new Set([realPath(file.path)])).size > 0) return
    ledger.transaction(() => queued.set(file.key, queue(file, [], [found.captureId])))
    onQueued()
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

/** Which key logs belong to which captures of the same folder, and which have none there. */
function pairUp(files: readonly InboxFile[]) {
  const keyLogs = files.filter(({ kind, name }) => kind === 'file' && isKeyLogName(name))
  const isKeyLog = new Set(keyLogs)
  const captures = keyLogs.length === 0 ? files : files.filter((file) => !isKeyLog.has(file))
  const byFolder = Map.groupBy(keyLogs, folderOf)
  const keysOf = (file: InboxFile) =>
    keyLogs.length === 0 ? [] : (byFolder.get(folderOf(file)) ?? []).filter(({ name }) => belongsTo(name, file.name))
  const paired = keyLogs.length === 0 ? isKeyLog : new Set(captures.flatMap(keysOf))
  return { captures, keysOf, alone: keyLogs.filter((file) => !paired.has(file)) }
}

const folderOf = ({ key }: InboxFile) => key.slice(0, key.lastIndexOf('/'))

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

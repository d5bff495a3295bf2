/**
 * What changes, as it changes: server-sent events.
 *
 * One look a second at the ledger serves all who listen, and none is made when nobody does. A client that does not
 * read is let go, so that nothing piles up for it; its browser comes again by itself.
 */

import { open } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import type { Log } from '../../stages/ports.ts'
import { messageOf } from '../../state/errors.ts'
import type { Ledger } from '../../state/ledger.ts'
import { describeCaptures, isoTime } from './captures.ts'
import type { LiveEvent } from './contract.ts'
import type { HealthView } from './health.ts'
import { refusal } from './problems.ts'
import type { Routes } from './routes.ts'
import { describeHit } from './watch.ts'

export interface LiveParts {
  ledger: Ledger
  log: Log
  logFile: string | undefined
  view: HealthView
  /** How often it is looked. */
  everyMs?: number
}

export interface Live {
  close(): void
}

interface Client {
  kinds: ReadonlySet<string> | undefined
  response: ServerResponse
}

type Kind = LiveEvent['kind']

const MOST_CLIENTS = 100
const PING_MS = 15_000
const UNREAD_BYTES = 1024 * 1024
/** Of captures that ended, for clients that came a little late. */
const ENDED_MS = 5000
const NEWEST = 20
const HITS_BACK = 1000

export function liveRoutes({ handle }: Routes, { ledger, log, logFile, view, everyMs = 1000 }: LiveParts): Live {
  const clients = new Set<Client>()
  let timer: NodeJS.Timeout | undefined
  let isLooking = false
  let changes = ''
  let lastCaptures = new Map<string, string>()
  let lastStages = ''
  let lastError = 0
  let lastHit: number | undefined
  let seenHits = new Set<number>()
  let lastPing = 0
  const tail = followLog(logFile)

  handle('live', ({ query, request, reply, signal }) => {
    if (clients.size >= MOST_CLIENTS) throw refusal(503, 'rate_limited', 'too many listen already')
    reply.hijack()
    for (const [name, value] of Object.entries(reply.getHeaders()))
      if (value !== undefined) reply.raw.setHeader(name, value)
    reply.raw.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    })
    reply.raw.write('retry: 2000\n\n')
    const client: Client = {
      kinds: query.kinds === undefined ? undefined : new Set(query.kinds.split(',')),
      response: reply.raw,
    }
    if (clients.size === 0) begin()
    clients.add(client)
    greet(client)
    const end = () => {
      clients.delete(client)
      if (clients.size === 0) clearInterval(timer)
    }
    request.raw.once('close', end)
    signal.addEventListener('abort', end, { once: true })
    return reply
  })

  /** What was before is not news. */
  function begin(): void {
    changes = ''
    lastCaptures = new Map(currentCaptures().map((capture) => [capture.id, JSON.stringify(capture)]))
    lastStages = ''
    lastError = Date.now()
    const recent = ledger.watch.hits({ limit: HITS_BACK })
    lastHit = recent[0]?.id ?? 0
    seenHits = new Set(recent.map(({ id }) => id))
    void tail.skip()
    timer = setInterval(() => void look(), everyMs)
  }

  function greet(client: Client): void {
    try {
      sendTo(client, { kind: 'stages', stages: view.stages() })
      for (const capture of currentCaptures()) sendTo(client, { kind: 'capture', capture })
    } catch (error) {
      log.warn('live events cannot be read', { error: messageOf(error) })
    }
  }

  async function look(): Promise<void> {
    if (isLooking) return
    isLooking = true
    try {
      const now = ledger.changes()
      if (now !== changes) lookAtLedger()
      changes = now
      for (const line of await tail.lines()) send({ kind: 'log', line })
      ping()
    } catch (error) {
      log.warn('live events cannot be read', { error: messageOf(error) })
    } finally {
      isLooking = false
    }
  }

  function lookAtLedger(): void {
    const current = currentCaptures()
    for (const capture of current) {
      const text = JSON.stringify(capture)
      if (lastCaptures.get(capture.id) !== text) send({ kind: 'capture', capture })
      lastCaptures.set(capture.id, text)
    }
    const present = new Set(current.map(({ id }) => id))
    for (const id of lastCaptures.keys()) {
      if (present.has(id)) continue
      lastCaptures.delete(id)
      if (ledger.captures.get(id) === undefined) send({ kind: 'forgotten', captureId: id })
    }
    const stages = view.stages()
    const text = JSON.stringify(stages.map(({ oldestSeconds: _, ...stage }) => stage))
    if (text !== lastStages) send({ kind: 'stages', stages })
    lastStages = text
    for (const { at, stage, key, code, message } of ledger.overview.errorsSince(lastError)) {
      lastError = Math.max(lastError, at)
      send({ kind: 'error', at: isoTime(at), stage, key, code, message })
    }
    lookAtHits()
  }

  /** A load's hits are recorded before its commit is: some become visible later than those that came after them. */
  function lookAtHits(): void {
    const found = ledger.watch.hits({ since: Math.max(0, (lastHit ?? 0) - HITS_BACK), limit: 2 * HITS_BACK })
    for (const hit of found) {
      if (seenHits.has(hit.id)) continue
      seenHits.add(hit.id)
      send({ kind: 'hit', hit: describeHit(hit) })
    }
    lastHit = Math.max(lastHit ?? 0, found.at(-1)?.id ?? 0)
    const floor = lastHit - 2 * HITS_BACK
    for (const id of seenHits) if (id < floor) seenHits.delete(id)
  }

  /** In work, just ended, or newest. */
  function currentCaptures() {
    const since = Date.now() - ENDED_MS
    const found = ledger.captures.current({ since, newest: 10 * NEWEST })
    const wanted = found.filter(({ state, finishedAt, id }, i) => {
      const isInWork = state === 'accepted' || finishedAt === null || finishedAt > since
      return isInWork || i >= found.length - NEWEST || lastCaptures.has(id)
    })
    return describeCaptures(ledger, wanted.slice(-500))
  }

  function send(event: LiveEvent): void {
    for (const client of clients) sendTo(client, event)
  }

  function sendTo({ kinds, response }: Client, event: LiveEvent): void {
    const { kind }: { kind: Kind } = event
    if (kinds !== undefined && !kinds.has(kind)) return
    if (response.writableLength > UNREAD_BYTES) response.destroy()
    else response.write(`event: ${kind}\ndata: ${JSON.stringify(event)}\n\n`)
  }

  /** So that proxies and browsers see that the line is not dead. */
  function ping(): void {
    if (performance.now() - lastPing < PING_MS) return
    lastPing = performance.now()
    for (const { response } of clients) response.write(': still here\n\n')
  }

  return {
    close() {
      clearInterval(timer)
      for (const { response } of clients) response.end()
      clients.clear()
    },
  }
}

const MOST_LINES = 500

/** New lines of the log file, which may be put aside and begun anew at any time. */
function followLog(path: string | undefined) {
  let position = 0
  let rest = ''

  async function withFile<T>(
    use: (size: number, read: (from: number, bytes: number) => Promise<string>) => Promise<T>,
  ): Promise<T | undefined> {
    if (path === undefined) return undefined
    const file = await open(path, 'r').catch(() => undefined)
    if (file === undefined) return undefined
    try {
      const { size } = await file.stat()
      return await use(size, async (from, bytes) => {
        const buffer = Buffer.alloc(bytes)
        await file.read(buffer, 0, bytes, from)
        return buffer.toString()
      })
    } finally {
      await file.close()
    }
  }

  return {
    async skip(): Promise<void> {
      await withFile(async (size) => {
        position = size
        rest = ''
      })
    },
    async lines(): Promise<string[]> {
      const lines = await withFile(async (size, read) => {
        if (size < position) position = 0
        const from = Math.max(position, size - UNREAD_BYTES / 4)
        const text = rest + (await read(from, size - from))
        position = size
        const all = text.split('\n')
        rest = (all.pop() ?? '').slice(-UNREAD_BYTES / 4)
        return all.slice(-MOST_LINES)
      })
      return lines ?? []
    },
  }
}

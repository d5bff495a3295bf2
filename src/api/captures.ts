/** Captures: what came, how far it is, its receipt, its packets; forgetting, reprocessing, trying again. */

import '@fastify/static'
import { mkdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Bus } from '../../stages/bus.ts'
import type { Log } from '../../stages/ports.ts'
import type { PacketAccount } from '../../state/capture.ts'
import { type ArrivalRow, type CaptureRow, isBeingRemoved } from '../../state/captures.ts'
import { messageOf } from '../../state/errors.ts'
import type { JobRow } from '../../state/job.ts'
import { STAGE_NAMES } from '../../state/job.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { warningsOf } from '../../state/receipt.ts'
import { checkRemoval, type Removal, removeCapture } from '../dataset/remove-capture.ts'
import type { Indexing } from '../indexing.ts'
import { cutFlowPackets, listFlowPackets } from '../packets/flow-packets.ts'
import type { Arrival, Capture, CaptureList, Job, PacketQuery, StageProgress } from './contract.ts'
import { pageOf, WRONG_CURSOR } from './paging.ts'
import { refusal } from './problems.ts'
import type { Input, Routes } from './routes.ts'

export interface CaptureParts {
  ledger: Ledger
  layout: Layout
  log: Log
  bus: Bus
  /** Where there is an Elasticsearch, a capture's documents go with its rows. */
  indexing: Indexing | undefined
  /** Rolls commits forward that a process left behind. */
  recover(): Promise<void>
  /** Work was put into the queue. */
  wake(): void
}

export function captureRoutes({ handle }: Routes, parts: CaptureParts): void {
  const { ledger, layout, log } = parts
  const find = (id: string) => ledger.captures.resolve(id)

  handle('listCaptures', ({ query }) => captureList(ledger, query))

  handle('getCapture', ({ params }) => {
    const row = find(params.id)
    const [shown] = describeCaptures(ledger, [row])
    const failures = ledger.jobs.list({ captureId: row.id, status: 'failed' })
    return {
      ...(shown as Capture),
      arrivals: ledger.captures.arrivals(row.id).map(describeArrival),
      failures: failures.map(describeJob),
    }
  })

  handle('getReceipt', ({ params }) => {
    const { capture, packets, warnings, logs, total, removedAt, balanced, problems } = ledger.receipt(
      find(params.id).id,
    )
    const { id: captureId, name, source, state, tls } = capture
    return {
      captureId,
      name,
      source,
      state,
      clockOffsetSeconds: capture.clockOffsetUs / 1e6,
      packets: packets && describeAccount(packets),
      tls,
      warnings,
      logs,
      total,
      removedAt: removedAt === null ? null : isoTime(removedAt),
      fileRemovedAt: capture.fileRemovedAt === null ? null : isoTime(capture.fileRemovedAt),
      balanced,
      problems,
    }
  })

  handle('forgetCapture', (input) => beginRemoval(input, 'forgetting'))
  handle('reprocessCapture', (input) => beginRemoval(input, 'reprocessing'))

  function beginRemoval({ params, request }: Pick<Input<'forgetCapture'>, 'params' | 'request'>, removal: Removal) {
    const row = find(params.id)
    checkRemoval(row, removal)
    const action = removal === 'forgetting' ? 'forget' : 'reprocess'
    ledger.accounts.audit({ user: request.user, remote: request.ip, action, detail: `${row.id} ${row.name}` })
    void removeCapture(parts, row, removal)
      .then(() => parts.wake())
      .catch((error) =>
        log.error(`a capture could not be removed; \`${action}\` it again`, {
          capture: row.id.slice(0, 16),
          error: messageOf(error),
        }),
      )
    return { captureId: row.id, state: removal }
  }

  handle('retryCapture', ({ params }) => retry((job) => job.captureId === find(params.id).id))
  handle('retryJobs', ({ body }) => {
    if ('all' in body) return retry(() => true)
    if ('captureId' in body) return retry(({ captureId }) => captureId === body.captureId)
    return retry(({ stage, key }) => stage === body.stage && key === body.key)
  })

  function retry(isMeant: (job: JobRow) => boolean): { retried: number } {
    const retried = ledger.transaction(() => {
      const chosen = ledger.jobs.list({ status: 'failed' }).filter(isMeant)
      for (const { stage, key, captureId } of chosen) {
        ledger.jobs.retry({ stage, key })
        if (captureId) ledger.settle(captureId)
      }
      return chosen.length
    })
    if (retried > 0) parts.wake()
    return { retried }
  }

  handle('listJobs', ({ query }) => ({
    jobs: ledger.jobs.list({ status: query.status }).slice(-1000).reverse().map(describeJob),
  }))

  handle('listArrivals', ({ query: { outcome, limit, after } }) => {
    const { items, next } = pageOf(limit, (n) => ledger.captures.arrivalsPage({ outcome, limit: n, before: after }))
    return { arrivals: items.map(describeArrival), next: next?.id ?? null }
  })

  handle('downloadCapture', async ({ params, reply }) => {
    const row = find(params.id)
    const path = await storedPath(row, layout)
    reply.headers(attachment(fileNameOf(row, row.format)))
    reply.type('application/vnd.tcpdump.pcap')
    return reply.sendFile(basename(path), dirname(path), { cacheControl: false })
  })

  handle('listPackets', async ({ params, query, signal }) => {
    const started = performance.now()
    const request = await packetRequest(find(params.id), query, layout, signal)
    const { packets, matched, bytes } = await listFlowPackets(request, query.limit)
    return { packets, matched, bytes, truncated: matched > packets.length, elapsedMs: performance.now() - started }
  })

  handle('downloadPackets', async ({ params, query, reply, signal }) => {
    const row = find(params.id)
    await mkdir(layout.cache, { recursive: true })
    await using cut = await cutFlowPackets(await packetRequest(row, query, layout, signal), layout.cache)
    const name = `${basename(fileNameOf(row, row.format), `.${row.format}`)}-flow.${cut.format}`
    reply.headers(attachment(name))
    reply.headers({
      'content-length': cut.bytes,
      'content-type': 'application/vnd.tcpdump.pcap',
      'x-packets': cut.packets,
    })
    reply.hijack()
    for (const [header, value] of Object.entries(reply.getHeaders()))
      if (value !== undefined) reply.raw.setHeader(header, value)
    await cut.pipe(reply.raw).catch((error) => log.debug('a download was cut off', { error: messageOf(error) }))
  })
}

async function packetRequest(
  row: CaptureRow,
  { from, to, ...tuple }: PacketQuery,
  layout: Layout,
  signal: AbortSignal,
) {
  const capturePath = await storedPath(row, layout)
  return { capturePath, clockOffsetUs: row.clockOffsetUs, tuple, from: Date.parse(from), to: Date.parse(to), signal }
}

async function storedPath(row: CaptureRow, { dataDir }: Layout): Promise<string> {
  const path = join(dataDir, row.path)
  if (row.fileRemovedAt !== null)
    throw refusal(
      404,
      'capture_gone',
      `retention removed the stored file of this capture at ${isoTime(row.fileRemovedAt)}; its rows and its receipt are here, and the file is stored again when it comes again`,
    )
  if (isBeingRemoved(row.state) || (await stat(path).catch(() => undefined)) === undefined) {
    throw refusal(404, 'capture_gone', 'the stored file of this capture is not here any more; its rows are')
  }
  return path
}

export function captureList(ledger: Ledger, query: Input<'listCaptures'>['query']): CaptureList {
  const { limit, after, ...choice } = query
  let total = 0
  const { items, next } = pageOf(limit, (n) => {
    const page = ledger.captures.page({ ...choice, limit: n, after: after === undefined ? undefined : placeIn(after) })
    total = page.total
    return page.captures
  })
  return {
    captures: describeCaptures(ledger, items),
    next: next === undefined ? null : `${next.acceptedAt}.${next.id}`,
    total,
    states: ledger.captures.summary().states,
    sources: ledger.captures.sources(),
  }
}

/** `1770114603250.<hash>`, as an answer's `next` has it. */
function placeIn(cursor: string): Pick<CaptureRow, 'acceptedAt' | 'id'> {
  const [, at = '', id = ''] = /^(\d{1,15})\.([0-9a-f]{64})$/.exec(cursor) ?? []
  if (id === '') throw refusal(400, 'invalid_request', WRONG_CURSOR)
  return { acceptedAt: Number(at), id }
}

export function describeCaptures(ledger: Ledger, rows: readonly CaptureRow[]): Capture[] {
  const ids = rows.map(({ id }) => id)
  const { overview } = ledger
  const sums = Map.groupBy(overview.sums(ids), ({ captureId }) => captureId)
  const running = Map.groupBy(overview.running(ids), ({ captureId }) => captureId)
  const [failures, duplicates, counts] = [overview.failures(ids), overview.duplicates(ids), overview.rows(ids)]
  return rows.map((row) => ({
    ...{ id: row.id, name: row.name, source: row.source, format: row.format, bytes: row.bytes, state: row.state },
    ...{ engine: row.engine, engineVersion: row.engineVersion, warnings: warningsOf(row), tls: row.tls },
    clockOffsetSeconds: row.clockOffsetUs / 1e6,
    packets: row.packets && describeAccount(row.packets),
    acceptedAt: isoTime(row.acceptedAt),
    finishedAt: row.finishedAt === null ? null : isoTime(row.finishedAt),
    fileRemovedAt: row.fileRemovedAt === null ? null : isoTime(row.fileRemovedAt),
    duplicates: duplicates.get(row.id) ?? 0,
    rows: counts.get(row.id)?.rows ?? 0,
    quarantined: counts.get(row.id)?.quarantined ?? 0,
    progress: progressOf(sums.get(row.id) ?? [], running.get(row.id) ?? []),
    error: failures.get(row.id) ?? null,
  }))
}

function progressOf(
  sums: ReturnType<Ledger['overview']['sums']>,
  running: ReturnType<Ledger['overview']['running']>,
): StageProgress[] {
  return STAGE_NAMES.flatMap((stage) => {
    const own = sums.filter((sum) => sum.stage === stage)
    if (own.length === 0) return []
    const jobs = (...statuses: string[]) =>
      own.filter(({ status }) => statuses.includes(status)).reduce((total, sum) => total + sum.jobs, 0)
    const at = running.filter((job) => job.stage === stage).map(({ progress }) => progress ?? {})
    const bytes = own.reduce((total, sum) => total + sum.bytes, 0)
    const finished = own.filter(({ status }) => status === 'done').reduce((total, sum) => total + sum.bytes, 0)
    return [
      {
        stage,
        waiting: jobs('ready', 'sent'),
        running: jobs('running'),
        done: jobs('done'),
        failed: jobs('failed'),
        bytes,
        bytesDone: Math.min(bytes, finished + at.reduce((total, each) => total + (each.bytes ?? 0), 0)),
        packetsDone: at.reduce((total, each) => total + (each.packets ?? 0), 0),
      },
    ]
  })
}

function describeAccount({ inFile, decoded, skipped, lostBytes, salvaged, firstTime, lastTime }: PacketAccount) {
  const time = (seconds: number | undefined) => (seconds === undefined ? null : isoTime(seconds * 1000))
  return {
    inFile,
    decoded,
    skipped,
    lostBytes,
    salvaged: salvaged ?? null,
    firstTime: time(firstTime),
    lastTime: time(lastTime),
  }
}

function describeArrival({ arrivedAt, ...arrival }: ArrivalRow): Arrival {
  return { ...arrival, arrivedAt: isoTime(arrivedAt) }
}

function describeJob({
  stage,
  key,
  captureId,
  status,
  attempts,
  error,
  errorCode,
  bytes,
  createdAt,
  updatedAt,
}: JobRow): Job {
  const times = { createdAt: isoTime(createdAt), updatedAt: isoTime(updatedAt) }
  return { stage, key, captureId, status, attempts, error, errorCode, bytes, ...times }
}

/** A capture may claim a time that no date has. */
export function isoTime(ms: number): string {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString()
}

function fileNameOf({ name, id }: CaptureRow, format: string): string {
  const base = name.replace(/\.(pcap|pcapng|cap|gz|zst|zip)+$/gi, '')
  return `${base || id.slice(0, 16)}.${format}`
}

/** RFC 6266: a plain name for all, and the whole one encoded. */
export function attachment(name: string): { 'content-disposition': string } {
  const plain = name.replace(/[^\w.-]+/g, '_').slice(0, 120) || 'download'
  const encoded = encodeURIComponent(name.toWellFormed().slice(0, 200)).replace(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16)}`,
  )
  return { 'content-disposition': `attachment; filename="${plain}"; filename*=UTF-8''${encoded}` }
}

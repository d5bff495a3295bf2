/** Watch lists: employees, computers, indicators; taking files in; hits, reports, rescans. */

import type { Readable, Writable } from 'node:stream'
import { Writable as WritableStream } from 'node:stream'
import type { Log } from '../../stages/ports.ts'
import { messageOf } from '../../state/errors.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { ChangeInPlace, ComputerRow, HitRow } from '../../state/watch-lists.ts'
import type { DatasetOptions } from '../query/dataset.ts'
import { runIsolated } from '../query/isolated.ts'
import { literal } from '../query/sql.ts'
import { computerOf, importWatchList, indicatorOf } from '../watch/import.ts'
import { type RescanParts, rescan } from '../watch/watch.ts'
import { isoTime } from './captures.ts'
import type { Rescan, WatchHit } from './contract.ts'
import { pageOf, WRONG_CURSOR } from './paging.ts'
import { notFound, refusal } from './problems.ts'
import { DONE, type Input, type Routes } from './routes.ts'

export interface WatchApiParts {
  ledger: Ledger
  log: Log
  rescanParts: RescanParts
  dataset(): DatasetOptions
  timeoutMs: number
}

export interface WatchApi {
  close(): Promise<void>
}

const IMPORT_BYTES = 64 * 2 ** 20

export function watchRoutes(
  { handle }: Routes,
  { ledger, log, rescanParts, dataset, timeoutMs }: WatchApiParts,
): WatchApi {
  const { watch } = ledger
  const closing = new AbortController()
  let running: Promise<void> | undefined
  let state: Rescan = { state: 'idle', files: 0, of: 0, rewritten: 0, startedAt: null, finishedAt: null, error: null }

  const audit = ({ request }: Pick<Input<'getSession'>, 'request'>, detail: string) =>
    ledger.accounts.audit({ user: request.user, remote: request.ip, action: 'watch list', detail })

  handle('listEmployees', ({ query: { text, limit, after } }) => {
    const { items, next } = pageOf(limit, (n) => watch.employees({ text, limit: n, after: nameIn(after) }))
    return {
      employees: items,
      total: watch.count('employees', text),
      next: next === undefined ? null : JSON.stringify([next.name, next.key]),
    }
  })
  handle('putEmployee', (input) => {
    const { body } = input
    watch.putEmployee(body)
    audit(input, `employee ${body.key}: ${body.watched ? 'watched' : 'not watched'}`)
    return { ...body, computers: watch.computersOf(body.key) }
  })
  handle('deleteEmployee', (input) => {
    if (!watch.removeEmployee(input.params.key)) throw notFound('there is no such employee')
    audit(input, `employee ${input.params.key} removed`)
    return DONE
  })

  handle('listComputers', ({ query: { text, limit, after } }) => {
    const { items, next } = pageOf(limit, (n) => watch.computers({ text, limit: n, after: numberIn(after) }))
    return { computers: items.map(describeComputer), total: watch.count('computers', text), next: idOf(next) }
  })
  handle('putComputer', (input) => {
    const row = checked(() => computerOf({ ...input.body }))
    watch.putComputer(row)
    audit(input, `computer ${row.compId} of ${row.employee}`)
    return describeComputer({ ...row, id: watch.computerId(row) as number })
  })
  handle('changeComputer', (input) => {
    const row = checked(() => computerOf({ ...input.body }))
    const { id } = input.params
    inPlace(watch.changeComputer(id, row), 'computer')
    audit(input, `computer ${id} changed: ${row.compId} of ${row.employee}`)
    return describeComputer({ ...row, id })
  })
  handle('deleteComputer', (input) => {
    if (!watch.removeComputer(input.params.id)) throw notFound('there is no such computer')
    audit(input, `computer ${input.params.id} removed`)
    return DONE
  })

  handle('listIndicators', ({ query: { text, limit, after } }) => {
    const { items, next } = pageOf(limit, (n) => watch.indicators({ text, limit: n, after: numberIn(after) }))
    return { indicators: items, lists: watch.lists(), total: watch.count('indicators', text), next: idOf(next) }
  })
  handle('putIndicator', (input) => {
    const row = checked(() => indicatorOf({ ...input.body }, input.body.list))
    watch.putIndicator(row)
    audit(input, `indicator ${row.kind} ${row.value} in ${row.list}`)
    return { ...row, id: watch.indicatorId(row) }
  })
  handle('changeIndicator', (input) => {
    const row = checked(() => indicatorOf({ ...input.body }, input.body.list))
    const { id } = input.params
    inPlace(watch.changeIndicator(id, row), 'indicator')
    audit(input, `indicator ${id} changed: ${row.kind} ${row.value} in ${row.list}`)
    return { ...row, id }
  })
  handle('deleteIndicator', (input) => {
    if (!watch.removeIndicator(input.params.id)) throw notFound('there is no such indicator')
    audit(input, `indicator ${input.params.id} removed`)
    return DONE
  })

  handle('importWatch', async ({ query: { kind, replace, list }, body, request }) => {
    const text = await textOf(body as unknown as Readable)
    const result = importWatchList(ledger, kind, text, { replace: replace === 'true', list })
    audit({ request }, `${kind} imported: ${result.added} added, ${result.changed} changed, ${result.removed} removed`)
    return result
  })

  handle('listHits', ({ query }) => ({ hits: watch.hits(query).map(describeHit) }))

  handle('watchReport', async ({ query, signal }) => {
    const started = performance.now()
    const { columns, rows } = await answerOf(dataset(), reportSql(query), timeoutMs, signal)
    return { columns, rows, elapsedMs: performance.now() - started }
  })

  handle('getRescan', () => state)
  handle('startRescan', (input) => {
    if (running !== undefined) throw refusal(409, 'rescan_running', 'a rescan is under way already')
    audit(input, 'rescan')
    state = {
      ...state,
      state: 'running',
      files: 0,
      of: 0,
      rewritten: 0,
      startedAt: isoTime(Date.now()),
      finishedAt: null,
      error: null,
    }
    running = rescan(rescanParts, (progress) => Object.assign(state, progress), closing.signal)
      .then(() => {
        state = { ...state, state: 'done', finishedAt: isoTime(Date.now()) }
      })
      .catch((error) => {
        state = { ...state, state: 'failed', finishedAt: isoTime(Date.now()), error: messageOf(error) }
        log.error('a rescan failed', { error: messageOf(error) })
      })
      .finally(() => {
        running = undefined
      })
    return state
  })

  return {
    async close() {
      closing.abort()
      await running
    },
  }
}

function describeComputer({ validFrom, validTo, ...row }: ComputerRow & { id: number }) {
  return { ...row, validFrom: timeOf(validFrom), validTo: timeOf(validTo) }
}

function inPlace(change: ChangeInPlace, what: string): void {
  if (change === 'missing') throw notFound(`there is no such ${what} any more`)
  if (change === 'taken') throw refusal(409, 'exists_already', `there is another ${what} that is just so`)
}

function idOf(row: { id: number } | undefined): string | null {
  return row === undefined ? null : String(row.id)
}

function numberIn(cursor: string | undefined): number | undefined {
  if (cursor === undefined) return undefined
  if (!/^\d{1,15}$/.test(cursor)) throw wrongCursor()
  return Number(cursor)
}

/** `["name","key"]` */
function nameIn(cursor: string | undefined): { name: string; key: string } | undefined {
  if (cursor === undefined) return undefined
  try {
    const [name, key] = JSON.parse(cursor) as unknown[]
    if (typeof name === 'string' && typeof key === 'string') return { name, key }
  } catch {
    // Told below.
  }
  throw wrongCursor()
}

function wrongCursor() {
  return refusal(400, 'invalid_request', WRONG_CURSOR)
}

export function describeHit({ at, firstTime, lastTime, ...hit }: HitRow): WatchHit {
  return { ...hit, at: isoTime(at), firstTime: timeOf(firstTime), lastTime: timeOf(lastTime) }
}

function timeOf(ms: number | null): string | null {
  return ms === null ? null : isoTime(ms)
}

function checked<T>(make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw refusal(400, 'invalid_request', messageOf(error))
  }
}

async function textOf(body: Readable): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of body) {
    bytes += part.length
    if (bytes > IMPORT_BYTES)
      throw refusal(413, 'invalid_request', `a watch list has at most ${IMPORT_BYTES / 2 ** 20} MB`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

type ReportQuery = Input<'watchReport'>['query']

const GROUPS: Record<ReportQuery['by'], string> = {
  employee: 'employee, name',
  day: "date_trunc('day', event_time)::DATE AS day, employee, name",
  protocol: 'frame_protocols, employee, name',
  host: 'host, employee, name',
  list: 'watch_reason, employee, name',
}

/** Also what the command line prints. */
export function reportSql({ by, employee, from, to }: ReportQuery): string {
  const time = (iso: string) => `TIMESTAMP ${literal(new Date(iso).toISOString().replace('T', ' ').replace('Z', ''))}`
  const where = [
    ...(employee === undefined ? [] : [`employee = ${literal(employee)}`]),
    ...(from === undefined ? [] : [`event_time >= ${time(from)}`]),
    ...(to === undefined ? [] : [`event_time < ${time(to)}`]),
  ]
  return `SELECT ${GROUPS[by]}, count(*) AS records, sum(frame_len) AS bytes, min(event_time) AS first, max(event_time) AS last
    FROM watched_traffic ${where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''}
    GROUP BY ALL ORDER BY ${by === 'day' ? 'day, ' : ''}records DESC LIMIT 10000`
}

async function answerOf(dataset: DatasetOptions, sql: string, timeoutMs: number, signal: AbortSignal) {
  const parts: Buffer[] = []
  const out: Writable = new WritableStream({
    write(chunk: Buffer, _encoding, done) {
      parts.push(Buffer.from(chunk))
      done()
    },
  })
  await runIsolated(dataset, sql, { format: 'rows', out, maxRows: 10_000, timeoutMs, signal })
  const [head = '[]', ...lines] = Buffer.concat(parts).toString().trimEnd().split('\n')
  return { columns: JSON.parse(head), rows: lines.map((line) => JSON.parse(line)) }
}

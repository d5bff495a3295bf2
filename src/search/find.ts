/**
 * Events in the order of their time, page by page.
 *
 * In: a search. Out: a page, and a cursor that says where it ended: the time and the id of its last event. What is
 * loaded meanwhile moves nothing. Files are read hour by hour from the end that is asked for, some at a time, until the
 * page is full: a page costs the same over a day and over a year. When a rare event makes it take long, the page is
 * given as it is, with a cursor that goes on from there.
 */

import type { DuckDBConnection } from '@duckdb/node-api'
import { PipelineError } from '../../state/errors.ts'
import type { SearchAnswer, SearchRequest } from '../api/contract.ts'
import { literal } from '../query/sql.ts'
import { COMMON_COLUMNS } from '../query/views.ts'
import { type AnswerColumn, ask } from './ask.ts'
import { type Catalogue, type CatalogueFile, UNSORTED_HOUR } from './catalogue.ts'
import type { SearchColumn } from './columns.ts'
import type { Source } from './source.ts'

export interface FindParts {
  connection: DuckDBConnection
  catalogue: Catalogue
  source: Source
  columnsOf(type: string): Promise<SearchColumn[]>
  /** Throws once the search is to end. */
  check(): void
}

const FIRST_COLUMNS = ['event_time', 'event_id', 'log_type', 'capture_id']
/** Behind which a page that is not full is given. */
const SOFT_LIMIT_MS = 1000
const FIRST_BATCH_ROWS = 200_000
const LARGEST_BATCH_ROWS = 2_000_000
/** Of files of other ledgers, whose rows are not known. */
const BYTES_A_ROW = 40
const HOUR_US = 3_600_000_000

/** Microseconds since the epoch, null for events without a time, which come last; the id decides between equals. */
interface Cursor {
  time: number | null
  id: string
}

type Found = Cursor & { row: unknown[] }

export async function find(parts: FindParts, types: readonly string[], request: SearchRequest): Promise<SearchAnswer> {
  const started = performance.now()
  const { catalogue } = parts
  const newest = request.order === 'newest'
  const after = request.after === undefined ? undefined : readCursor(request.after)
  const all = await catalogue.files(types, { from: msOf(request.from), to: msOf(request.to) })
  const sorted = inOrder(all, newest).filter(({ hour }) => mayFollow(hour, after, newest))
  const warnings = new Set<string>()
  const columns = await columnsFor(parts, types, request)
  const read = (files: readonly CatalogueFile[]) =>
    readBatch(parts, { files, request, columns, after, newest, warnings })

  const wanted = request.limit + 1
  const strays = await read(all.filter(({ hour }) => hour === UNSORTED_HOUR))
  const found: Found[] = []
  let next = 0
  let budget = FIRST_BATCH_ROWS
  while (next < sorted.length && found.length < wanted) {
    if (next > 0 && performance.now() - started > SOFT_LIMIT_MS) break
    const batch = sorted.slice(next, batchEnd(sorted, next, budget))
    const before = performance.now()
    found.push(...(await read(batch)))
    next += batch.length
    const took = performance.now() - before
    // No more than what the time that is left is likely to be enough for.
    const perMs = batch.reduce((sum, file) => sum + rowsOf(file), 0) / took
    const left = SOFT_LIMIT_MS - (performance.now() - started)
    budget = Math.min(LARGEST_BATCH_ROWS, budget * 2, Math.max(FIRST_BATCH_ROWS / 4, perMs * left))
  }
  const complete = next === sorted.length || found.length >= wanted
  // Of the strays only those count that no file still to be read comes before.
  const edge = next === sorted.length ? undefined : edgeOf(sorted[next] as CatalogueFile, newest)
  const before = compare(newest)
  const mergeable = strays.filter((stray) => edge === undefined || before(stray, edge) < 0)
  const merged = [...found, ...mergeable].sort(before).slice(0, wanted)
  const page = merged.slice(0, request.limit)
  return {
    columns,
    rows: page.map(({ row }) => row),
    next: nextCursor(page, merged.length > page.length, edge),
    complete,
    scanned: { files: next + (all.length - sorted.length), of: all.length },
    elapsedMs: performance.now() - started,
    warnings: [...warnings],
  }
}

function nextCursor(page: readonly Found[], hasMore: boolean, edge: Cursor | undefined): string | null {
  const last = page.at(-1)
  if (hasMore && last) return writeCursor(last)
  return edge === undefined ? null : writeCursor(edge)
}

/** Whole hours, so that what follows is older than all of it. */
function batchEnd(files: readonly CatalogueFile[], from: number, budget: number): number {
  let rows = 0
  let end = from
  while (end < files.length) {
    const { hour } = files[end] as CatalogueFile
    if (rows >= budget && hour !== files[end - 1]?.hour) break
    rows += rowsOf(files[end] as CatalogueFile)
    end++
  }
  return end
}

export function rowsOf({ rows, bytes }: CatalogueFile): number {
  return rows ?? Math.ceil(bytes / BYTES_A_ROW)
}

function inOrder(files: readonly CatalogueFile[], newest: boolean): CatalogueFile[] {
  const sorted = files.filter(({ hour }) => hour !== UNSORTED_HOUR)
  return newest ? sorted : sorted.reverse()
}

function mayFollow(hour: number, after: Cursor | undefined, newest: boolean): boolean {
  if (after === undefined) return true
  if (after.time === null) return false
  return newest ? hour * HOUR_US <= after.time : (hour + 1) * HOUR_US > after.time
}

/** The place before everything of this hour, in the order of the search. */
function edgeOf({ hour }: CatalogueFile, newest: boolean): Cursor {
  return newest ? { time: (hour + 1) * HOUR_US, id: '' } : { time: hour * HOUR_US, id: '' }
}

function compare(newest: boolean) {
  const sign = newest ? -1 : 1
  return (a: Cursor, b: Cursor): number => {
    if (a.time === null || b.time === null) {
      if (a.time === b.time) return sign * compareText(a.id, b.id)
      return a.time === null ? 1 : -1
    }
    return a.time === b.time ? sign * compareText(a.id, b.id) : sign * (a.time - b.time)
  }
}

/** As DuckDB does it: by bytes. Ids are ASCII. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

interface BatchRequest {
  files: readonly CatalogueFile[]
  request: SearchRequest
  columns: readonly AnswerColumn[]
  after: Cursor | undefined
  newest: boolean
  warnings: Set<string>
}

async function readBatch(
  { connection, source, check }: FindParts,
  { files, request, columns, after, newest, warnings }: BatchRequest,
): Promise<Found[]> {
  if (files.length === 0) return []
  check()
  const select = await source.select(connection, {
    files,
    filter: request,
    wanted: columns.map(({ name }) => name),
    types: new Map(columns.map(({ name, type }) => [name, type])),
    and: after === undefined ? undefined : afterSql(after, newest),
    warnings,
  })
  if (select === undefined) return []
  check()
  const order = newest ? 'DESC' : 'ASC'
  const { rows } = await ask(
    connection,
    `SELECT epoch_us(event_time), * FROM (${select}) ORDER BY event_time ${order} NULLS LAST, event_id ${order} LIMIT ${request.limit + 1}`,
  )
  return rows.map(([time, ...row]) => ({ time: time as number | null, id: String(row[1]), row }))
}

function afterSql({ time, id }: Cursor, newest: boolean): string {
  const sign = newest ? '<' : '>'
  if (time === null) return `event_time IS NULL AND event_id ${sign} ${literal(id)}`
  const at = `make_timestamp(${time}::BIGINT)`
  // The first comparison alone lets whole row groups be left out.
  return `(event_time ${sign}= ${at} AND (event_time ${sign} ${at} OR event_id ${sign} ${literal(id)})) OR event_time IS NULL`
}

async function columnsFor(
  { columnsOf }: FindParts,
  types: readonly string[],
  { columns }: SearchRequest,
): Promise<AnswerColumn[]> {
  const known = await Promise.all(types.map(columnsOf))
  const names = columns ?? defaultColumns(known)
  const wanted = [...FIRST_COLUMNS, ...names.filter((name) => !FIRST_COLUMNS.includes(name))]
  return wanted.map((name) => ({ name, type: commonType(name, known) }))
}

function commonType(name: string, known: readonly (readonly SearchColumn[])[]): string {
  if (name === 'log_type') return 'VARCHAR'
  const types = new Set(known.flatMap((columns) => columns.find((column) => column.name === name)?.type ?? []))
  if (types.size === 0) {
    if (known.length === 0 || COMMON_COLUMNS.some((column) => column.name === name)) return 'VARCHAR'
    throw new PipelineError('usage', `there is no column ${JSON.stringify(name)}`)
  }
  return types.size === 1 ? ([...types][0] as string) : 'VARCHAR'
}

function defaultColumns(known: readonly (readonly SearchColumn[])[]): string[] {
  const [only] = known
  if (known.length !== 1 || only === undefined) return COMMON_COLUMNS.map(({ name }) => name)
  const hidden = new Set(['event_type', 'event_class'])
  return only
    .filter(({ layer, name }) => (layer === 'normalized' || layer === 'raw') && !hidden.has(name))
    .map(({ name }) => name)
    .slice(0, 16)
}

function msOf(iso: string | undefined): number | undefined {
  return iso === undefined ? undefined : Date.parse(iso)
}

function writeCursor({ time, id }: Cursor): string {
  return Buffer.from(JSON.stringify([time, id])).toString('base64url')
}

function readCursor(text: string): Cursor {
  try {
    const [time, id] = JSON.parse(Buffer.from(text, 'base64url').toString())
    if ((time === null || Number.isSafeInteger(time)) && typeof id === 'string' && id.length < 500) return { time, id }
  } catch {}
  throw new PipelineError('usage', '`after` is no cursor of an earlier page')
}

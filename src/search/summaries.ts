/** Figures over all events of a filter: how many, the most frequent values, over time, the largest groups. */

import type { DuckDBConnection } from '@duckdb/node-api'
import type { z } from 'zod'
import { PipelineError } from '../../state/errors.ts'
import type {
  EventFilter,
  FacetAnswer,
  facetRequest,
  HistogramAnswer,
  histogramRequest,
  TopAnswer,
  topRequest,
} from '../api/contract.ts'
import { identifier } from '../query/sql.ts'
import { ask } from './ask.ts'
import { type Catalogue, type CatalogueFile, UNSORTED_HOUR } from './catalogue.ts'
import type { SearchColumn } from './columns.ts'
import { rowsOf } from './find.ts'
import type { Source } from './source.ts'

export interface SummaryParts {
  connection: DuckDBConnection
  catalogue: Catalogue
  source: Source
  columnsOf(type: string): Promise<SearchColumn[]>
}

const HOUR_MS = 3_600_000

export async function countEvents(parts: SummaryParts, types: readonly string[], filter: EventFilter): Promise<number> {
  const files = await filesOf(parts, types, filter)
  const plain = isPlain(filter)
  const whole = files.filter((file) => plain && isWhole(file, filter))
  const rest = files.filter((file) => !(plain && isWhole(file, filter)))
  const known = whole.reduce((sum, file) => sum + (file.rows ?? 0), 0)
  const select = await selectOf(parts, types, filter, rest, ['event_time'])
  if (select === undefined) return known
  const { rows } = await ask(parts.connection, `SELECT count(*) FROM (${select})`)
  return known + Number(rows[0]?.[0])
}

/** Without a condition the books tell how many rows a file has. */
function isPlain({ text, conditions }: EventFilter): boolean {
  return conditions.length === 0 && (text ?? '').trim() === ''
}

function isWhole({ hour, rows }: CatalogueFile, { from, to }: EventFilter): boolean {
  if (rows === undefined) return false
  if (hour === UNSORTED_HOUR) return from === undefined && to === undefined
  const [start, end] = [hour * HOUR_MS, (hour + 1) * HOUR_MS]
  return (from === undefined || Date.parse(from) <= start) && (to === undefined || Date.parse(to) >= end)
}

export async function facets(
  parts: SummaryParts,
  types: readonly string[],
  { facets: wanted, ...filter }: z.output<typeof facetRequest>,
): Promise<Omit<FacetAnswer, 'elapsedMs'>> {
  const files = await filesOf(parts, types, filter)
  const answers: FacetAnswer['facets'] = []
  const total = await countEvents(parts, types, filter)
  for (const { column, limit } of wanted) {
    if (column === 'log_type' && isPlain(filter)) {
      answers.push(await byType(parts, types, filter, limit, total))
      continue
    }
    const select = await selectOf(parts, types, filter, files, [column])
    if (select === undefined) {
      answers.push({ column, values: [], missing: 0, other: 0 })
      continue
    }
    const { rows } = await ask(
      parts.connection,
      `WITH g AS MATERIALIZED (SELECT ${identifier(column)} AS v, count(*) AS n FROM (${select}) GROUP BY ALL)
       SELECT v, n, 0 AS part FROM (SELECT * FROM g WHERE v IS NOT NULL ORDER BY n DESC, v LIMIT ${limit})
       UNION ALL SELECT NULL, coalesce(sum(n), 0), 1 FROM g WHERE v IS NULL ORDER BY part, n DESC`,
    )
    const values = rows.filter(([, , part]) => part === 0).map(([value, n]) => ({ value, count: Number(n) }))
    const missing = Number(rows.find(([, , part]) => part === 1)?.[1] ?? 0)
    const listed = values.reduce((sum, each) => sum + each.count, 0)
    answers.push({ column, values, missing, other: Math.max(0, total - missing - listed) })
  }
  return { total, facets: answers }
}

async function byType(
  parts: SummaryParts,
  types: readonly string[],
  filter: EventFilter,
  limit: number,
  total: number,
) {
  const values: { value: unknown; count: number }[] = []
  for (const type of types) values.push({ value: type, count: await countEvents(parts, [type], filter) })
  const filled = values
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count)
    .slice(0, limit)
  return {
    column: 'log_type',
    values: filled,
    missing: 0,
    other: total - filled.reduce((sum, { count }) => sum + count, 0),
  }
}

const INTERVALS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400]
const WEEK = 604_800
/** Bars of an hour that are enough. */
const DAY_BARS = 24
const MOST_SERIES = 10

export async function histogram(
  parts: SummaryParts,
  types: readonly string[],
  { buckets, by, ...filter }: z.output<typeof histogramRequest>,
): Promise<Omit<HistogramAnswer, 'elapsedMs'>> {
  const files = (await filesOf(parts, types, filter)).filter(({ hour }) => hour !== UNSORTED_HOUR || isBounded(filter))
  const range = await rangeOf(parts, files, filter)
  if (range === undefined) return { intervalSeconds: 3600, bars: [], total: 0 }
  const seconds = Math.max(1, (range.to - range.from) / 1000)
  const isBookable = isPlain(filter) && (by === undefined || by === 'log_type')
  // Whole hours are in the books: a few bars less are worth a scan of everything.
  const least = isBookable && seconds >= DAY_BARS * 3600 ? 3600 : 1
  const intervalSeconds =
    INTERVALS.find((each) => each >= least && seconds / each <= buckets) ?? Math.ceil(seconds / buckets / WEEK) * WEEK
  const bars = new Map<string, { time: number; value: unknown; count: number }>()
  const add = (time: number, value: unknown, count: number) => {
    const key = `${time} ${JSON.stringify(value)}`
    const bar = bars.get(key) ?? { time, value, count: 0 }
    bar.count += count
    bars.set(key, bar)
  }
  const fromBooks = isBookable && intervalSeconds % 3600 === 0
  const isKnown = (file: CatalogueFile) => fromBooks && file.hour !== UNSORTED_HOUR && isWhole(file, filter)
  for (const file of files.filter(isKnown)) {
    const time = Math.floor((file.hour * 3600) / intervalSeconds) * intervalSeconds
    add(time, by === undefined ? null : file.type, rowsOf(file))
  }
  const rest = files.filter((file) => !isKnown(file))
  for (const [time, value, count] of await countBars(parts, types, filter, rest, intervalSeconds, by))
    add(Number(time), value, Number(count))
  const sorted = [...bars.values()].sort((a, b) => a.time - b.time)
  return {
    intervalSeconds,
    bars: sorted.map(({ time, value, count }) => ({ time: isoOf(time * 1000), value, count })),
    total: sorted.reduce((sum, { count }) => sum + count, 0),
  }
}

function isBounded({ from, to }: EventFilter): boolean {
  return from !== undefined && to !== undefined
}

async function countBars(
  parts: SummaryParts,
  types: readonly string[],
  filter: EventFilter,
  files: readonly CatalogueFile[],
  interval: number,
  by: string | undefined,
): Promise<unknown[][]> {
  const select = await selectOf(parts, types, filter, files, ['event_time', ...(by === undefined ? [] : [by])])
  if (select === undefined) return []
  const time = `(epoch_us(event_time) // ${interval * 1_000_000}) * ${interval}`
  if (by === undefined)
    return (
      await ask(
        parts.connection,
        `SELECT ${time} AS t, NULL, count(*) FROM (${select}) WHERE event_time IS NOT NULL GROUP BY t`,
      )
    ).rows
  const { rows } = await ask(
    parts.connection,
    `WITH g AS MATERIALIZED (SELECT ${time} AS t, ${identifier(by)} AS v, count(*) AS n FROM (${select}) WHERE event_time IS NOT NULL GROUP BY ALL),
     largest AS (SELECT v FROM g WHERE v IS NOT NULL GROUP BY v ORDER BY sum(n) DESC LIMIT ${MOST_SERIES})
     SELECT t, CASE WHEN v IN (FROM largest) THEN v END AS w, sum(n) FROM g GROUP BY ALL`,
  )
  return rows
}

/** The filter's own, else from the first event's hour to the end of the last one's. */
async function rangeOf(parts: SummaryParts, files: readonly CatalogueFile[], { from, to }: EventFilter) {
  const hours = files.map(({ hour }) => hour).filter((hour) => hour !== UNSORTED_HOUR)
  if (hours.length === 0 && !(from && to)) return undefined
  const first = hours.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
  const last = hours.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  let start = from === undefined ? first * HOUR_MS : Date.parse(from)
  let end = to === undefined ? (last + 1) * HOUR_MS : Date.parse(to)
  // A short capture fills a small part of its hour: its bars should not be one.
  if (last - first < 3) {
    const times = await spanOf(parts, files)
    if (times && from === undefined) start = times.from
    if (times && to === undefined) end = times.to
  }
  return { from: start, to: Math.max(end, start + 1000) }
}

async function spanOf({ connection, source }: SummaryParts, files: readonly CatalogueFile[]) {
  const sorted = files.filter(({ hour }) => hour !== UNSORTED_HOUR)
  const filter = { types: [], conditions: [] }
  const select = await source.select(connection, { files: sorted, filter, wanted: ['event_time'], warnings: new Set() })
  if (select === undefined) return undefined
  const { rows } = await ask(connection, `SELECT epoch_ms(min(event_time)), epoch_ms(max(event_time)) FROM (${select})`)
  const [from, to] = rows[0] ?? []
  return typeof from === 'number' && typeof to === 'number' ? { from, to: to + 1 } : undefined
}

export async function top(
  parts: SummaryParts,
  types: readonly string[],
  { by, measures, order, limit, ...filter }: z.output<typeof topRequest>,
): Promise<Omit<TopAnswer, 'elapsedMs'>> {
  const measured = measures.flatMap(({ column }) => column ?? [])
  const wanted = [...new Set([...by, ...measured])]
  const files = await filesOf(parts, types, filter)
  const select = await selectOf(parts, types, filter, files, wanted)
  const columns = by.map((name) => ({ name, type: 'VARCHAR' }))
  if (select === undefined) return { columns, rows: [] }
  const figures = measures.map(({ of, column }, i) => `${figure(of, column)} AS measure_${i + 1}`)
  const names = by.map(identifier).join(', ')
  const size =
    order === 'first' ? 'measure_1' : measures.map((_, i) => `coalesce(measure_${i + 1}::DOUBLE, 0)`).join(' + ')
  return await ask(
    parts.connection,
    `SELECT ${names}, ${figures.join(', ')} FROM (${select}) WHERE ${by.map((name) => `${identifier(name)} IS NOT NULL`).join(' AND ')}
     GROUP BY ${names} ORDER BY ${size} DESC NULLS LAST, ${names} LIMIT ${limit}`,
  )
}

function figure(of: string, column: string | undefined): string {
  if (column === undefined) {
    if (of === 'count') return 'count(*)'
    throw new PipelineError('usage', `the measure ${of} needs a column`)
  }
  const name = identifier(column)
  if (of === 'count') return `count(${name})`
  if (of === 'distinct') return `count(DISTINCT ${name})`
  if (of === 'sum') return `sum(TRY_CAST(${name} AS DOUBLE))`
  return `${of}(${name})`
}

async function filesOf({ catalogue }: SummaryParts, types: readonly string[], { from, to }: EventFilter) {
  const ms = (iso: string | undefined) => (iso === undefined ? undefined : Date.parse(iso))
  return await catalogue.files(types, { from: ms(from), to: ms(to) })
}

/** Throws `usage` for a column that none of the types has. */
async function selectOf(
  { connection, source, columnsOf }: SummaryParts,
  types: readonly string[],
  filter: EventFilter,
  files: readonly CatalogueFile[],
  wanted: readonly string[],
): Promise<string | undefined> {
  const known = await Promise.all(types.map(columnsOf))
  const chosen = new Map<string, string>()
  for (const name of wanted) {
    if (name === 'log_type') continue
    const found = new Set(known.flatMap((columns) => columns.find((column) => column.name === name)?.type ?? []))
    if (found.size === 0 && types.length > 0)
      throw new PipelineError('usage', `there is no column ${JSON.stringify(name)}`)
    chosen.set(name, found.size === 1 ? ([...found][0] as string) : 'VARCHAR')
  }
  if (files.length === 0) return undefined
  return await source.select(connection, { files, filter, wanted, types: chosen, warnings: new Set() })
}

export function isoOf(ms: number): string {
  return new Date(ms).toISOString()
}

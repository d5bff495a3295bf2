/**
 * Everything that the page asks of the dataset, as plain requests and answers.
 *
 * In: a dataset that is opened once and stays warm, the ledger and the rules. Out: answers that are JSON. A request
 * that meets a file that was removed meanwhile is answered once more. Summaries are kept as long as no file changes.
 */

import { join, relative, resolve } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type { z } from 'zod'
import { tableOf } from '../../stages/upload/rules/table.ts'
import type { Rules } from '../../stages/upload/rules.ts'
import { PipelineError } from '../../state/errors.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import type {
  AnswerOf,
  EventFilter,
  FlowRequest,
  facetRequest,
  histogramRequest,
  SearchRequest,
  Table,
  topRequest,
} from '../api/contract.ts'
import type { Dataset } from '../query/dataset.ts'
import { startDeadline } from '../query/deadline.ts'
import { asQueryError } from '../query/failure.ts'
import { COMMON_COLUMNS } from '../query/views.ts'
import { asSql } from './as-sql.ts'
import { ask } from './ask.ts'
import { type CatalogueFile, createCatalogue, UNSORTED_HOUR } from './catalogue.ts'
import { describeColumns, type SearchColumn } from './columns.ts'
import { type EventParts, eventOf, flowOf } from './event.ts'
import { find } from './find.ts'
import { createSource, isStale } from './source.ts'
import { countEvents, facets, histogram, top } from './summaries.ts'

export interface SearchRequests {
  search: { in: SearchRequest; out: AnswerOf<'search'> }
  count: { in: EventFilter; out: AnswerOf<'count'> }
  facets: { in: z.output<typeof facetRequest>; out: AnswerOf<'facets'> }
  histogram: { in: z.output<typeof histogramRequest>; out: AnswerOf<'histogram'> }
  sql: { in: SearchRequest; out: AnswerOf<'searchSql'> }
  top: { in: z.output<typeof topRequest>; out: AnswerOf<'top'> }
  event: { in: { type: string; id: string; time?: string | undefined }; out: AnswerOf<'getEvent'> | null }
  flow: { in: FlowRequest; out: AnswerOf<'flow'> }
  tables: { in: null; out: AnswerOf<'listTables'> }
  columns: { in: { type: string }; out: AnswerOf<'getColumns'>['columns'] | null }
}

export type SearchName = keyof SearchRequests

export interface SearchEngine {
  answer<N extends SearchName>(
    name: N,
    request: SearchRequests[N]['in'],
    signal: AbortSignal,
  ): Promise<SearchRequests[N]['out']>
}

export interface SearchOptions {
  dataset: Dataset
  ledger: Ledger
  layout: Layout
  rules: Rules
  timeoutMs: number
}

const CACHED_ANSWERS = 300
const CACHED: ReadonlySet<SearchName> = new Set(['count', 'facets', 'histogram', 'top', 'tables'])

type Parts = EventParts & { check(): void }

export function createSearchEngine({ dataset, ledger, layout, rules, timeoutMs }: SearchOptions): SearchEngine {
  const catalogue = createCatalogue(ledger, layout, dataset)
  const source = createSource(dataset, rules)
  const cache = new Map<string, unknown>()
  const typeColumns = new Map<string, { newest: string; columns: SearchColumn[] }>()
  let cacheVersion = -1

  const handlers: {
    [N in SearchName]: (parts: Parts, request: SearchRequests[N]['in']) => Promise<SearchRequests[N]['out']>
  } = {
    async search(parts, request) {
      const types = await chosenTypes(parts, request)
      return await find(parts, types, request)
    },
    count: async (parts, request) =>
      timed(async () => ({ count: await countEvents(parts, await chosenTypes(parts, request), request) })),
    facets: async (parts, request) => timed(async () => facets(parts, await chosenTypes(parts, request), request)),
    histogram: async (parts, request) =>
      timed(async () => histogram(parts, await chosenTypes(parts, request), request)),
    top: async (parts, request) => timed(async () => top(parts, await chosenTypes(parts, request), request)),
    async sql(parts, request) {
      const types = await chosenTypes(parts, request)
      const known = await Promise.all(types.map(async (type) => ({ type, columns: await parts.columnsOf(type) })))
      return { sql: asSql(request, known, describeColumns(tableOf(rules, 'events'), COMMON_COLUMNS)) }
    },
    event: async (parts, { type, id, time }) => (await eventOf(parts, type, id, time)) ?? null,
    flow: async (parts, request) => timed(() => flowOf(parts, request)),
    tables: async (parts) => ({ tables: await tableList(parts) }),
    columns: async (parts, { type }) => {
      if (type === 'events') return describeColumns(tableOf(rules, 'events'), COMMON_COLUMNS)
      const isKnown = dataset.declared.has(type) || (await catalogue.types()).includes(type)
      return isKnown ? await parts.columnsOf(type) : null
    },
  }

  /** None are all that have files. Throws `usage` for a condition on a column that none of them has. */
  async function chosenTypes(parts: Parts, { types, conditions }: EventFilter): Promise<string[]> {
    const present = await catalogue.types()
    for (const type of types) {
      if (!present.includes(type) && !dataset.declared.has(type))
        throw new PipelineError('usage', `there is no log type "${type}"`)
    }
    const chosen = types.length === 0 ? present : types
    if (conditions.length === 0 || chosen.length === 0) return [...chosen]
    const known = new Set((await Promise.all(chosen.map(parts.columnsOf))).flat().map(({ name }) => name.toLowerCase()))
    const unknown = conditions.find(({ column }) => !known.has(column.toLowerCase()) && column !== 'log_type')
    if (unknown) throw new PipelineError('usage', `there is no column ${JSON.stringify(unknown.column)}`)
    return typesOfConditions([...chosen], conditions)
  }

  /** The newest file has the columns of the rules as they are now. */
  async function columnsOf(connection: DuckDBConnection, type: string): Promise<SearchColumn[]> {
    const [newest] = await catalogue.files([type], {})
    const known = typeColumns.get(type)
    const key = newest === undefined ? '' : `${newest.path} ${newest.bytes}`
    if (known?.newest === key) return known.columns
    const columns = await source.columns(connection, type, newest ? [newest] : [])
    typeColumns.set(type, { newest: key, columns })
    return columns
  }

  async function tableList({ connection }: Parts): Promise<Table[]> {
    const present = await catalogue.types()
    const filled: Table[] = []
    for (const name of present) filled.push(await tableOfType(connection, name, await catalogue.files([name], {})))
    const empty = [...dataset.declared.keys()].filter((name) => !present.includes(name)).sort()
    return [...filled, ...empty.map((name) => ({ name, rows: 0, files: 0, bytes: 0, firstTime: null, lastTime: null }))]
  }

  async function tableOfType(
    connection: DuckDBConnection,
    name: string,
    files: readonly CatalogueFile[],
  ): Promise<Table> {
    const unknown = files.filter(({ rows }) => rows === undefined)
    const known = files.reduce((sum, { rows }) => sum + (rows ?? 0), 0)
    const hours = files.map(({ hour }) => hour).filter((hour) => hour !== UNSORTED_HOUR)
    const ends = files.filter(({ hour }) => hour === hours[0] || hour === hours.at(-1) || hour === UNSORTED_HOUR)
    const select = (some: readonly CatalogueFile[]) =>
      source.select(connection, {
        files: some,
        filter: { types: [], conditions: [] },
        wanted: ['event_time'],
        types: new Map([['event_time', 'TIMESTAMP']]),
        warnings: new Set(),
      })
    const times = await select(ends)
    const [span] =
      times === undefined ? [] : (await ask(connection, `SELECT min(event_time), max(event_time) FROM (${times})`)).rows
    const counted = await select(unknown)
    const [count] = counted === undefined ? [] : (await ask(connection, `SELECT count(*) FROM (${counted})`)).rows
    return {
      name,
      rows: known + Number(count?.[0] ?? 0),
      files: files.length,
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      firstTime: (span?.[0] as string | null | undefined) ?? null,
      lastTime: (span?.[1] as string | null | undefined) ?? null,
    }
  }

  function pathsOf(captureId: string): ReadonlySet<string> {
    return new Set(
      ledger.commits
        .filesOf(captureId)
        .map(({ path }) => join(dataset.root, relative(layout.parquet, resolve(layout.dataDir, path)))),
    )
  }

  async function run<N extends SearchName>(
    name: N,
    request: SearchRequests[N]['in'],
    signal: AbortSignal,
  ): Promise<SearchRequests[N]['out']> {
    using _shared = dataset.share()
    const connection = await dataset.connect()
    using deadline = startDeadline(connection, { timeoutMs, signal })
    const check = () => deadline.check()
    try {
      const columns = (type: string) => columnsOf(connection, type)
      return await handlers[name](
        { connection, catalogue, source, ledger, rules, pathsOf, check, columnsOf: columns },
        request,
      )
    } catch (error) {
      if (deadline.failure) throw deadline.failure
      throw error
    } finally {
      connection.closeSync()
    }
  }

  async function answer<N extends SearchName>(
    name: N,
    request: SearchRequests[N]['in'],
    signal: AbortSignal,
  ): Promise<SearchRequests[N]['out']> {
    const key = `${name} ${JSON.stringify(request)}`
    const version = await catalogue.version()
    if (version !== cacheVersion) cache.clear()
    cacheVersion = version
    const kept = CACHED.has(name) ? cache.get(key) : undefined
    if (kept !== undefined) return kept as SearchRequests[N]['out']
    try {
      const result = await run(name, request, signal).catch((error) => {
        if (!isStale(error) || signal.aborted) throw error
        catalogue.distrust()
        return run(name, request, signal)
      })
      if (CACHED.has(name) && version === (await catalogue.version())) keep(key, result)
      return result
    } catch (error) {
      throw asQueryError(error, dataset)
    }
  }

  function keep(key: string, value: unknown): void {
    if (cache.size >= CACHED_ANSWERS) cache.delete(cache.keys().next().value as string)
    cache.set(key, value)
  }

  return { answer }
}

/** A condition on the log type itself spares the others' files. */
function typesOfConditions(types: string[], conditions: EventFilter['conditions']): string[] {
  let left = types
  for (const { column, op, value } of conditions) {
    if (column !== 'log_type') continue
    const values = (Array.isArray(value) ? value : [value]).map(String)
    if (op === '=' || op === 'in') left = left.filter((type) => values.includes(type))
    else if (op === '!=') left = left.filter((type) => !values.includes(type))
    else throw new PipelineError('usage', 'log_type is compared with =, != and in')
  }
  return left
}

async function timed<T>(work: () => Promise<T>): Promise<T & { elapsedMs: number }> {
  const started = performance.now()
  return { ...(await work()), elapsedMs: performance.now() - started }
}

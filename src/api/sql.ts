/**
 * SQL of users: each query in a process of its own, its result paged from a file while it still runs.
 *
 * What may run is decided by src/query/guard.ts; time, memory and the number of queries are bounded. A run that nobody
 * has asked for a while goes, and its file with it.
 */

import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import PQueue from 'p-queue'
import type { Log } from '../../stages/ports.ts'
import { messageOf, PipelineError } from '../../state/errors.ts'
import type { Ledger } from '../../state/ledger.ts'
import { privateFolderMode } from '../../state/private-mode.ts'
import type { DatasetOptions } from '../query/dataset.ts'
import { runIsolated } from '../query/isolated.ts'
import { PEOPLE_COLUMNS } from '../query/people.ts'
import { openStoredAnswer, type StoredAnswer } from '../query/stored-answer.ts'
import type { SearchProcess } from '../search/process.ts'
import { attachment, isoTime } from './captures.ts'
import type { SqlRun } from './contract.ts'
import { EXAMPLES } from './examples.ts'
import { notFound, problemOf, refusal } from './problems.ts'
import { DONE, type Routes } from './routes.ts'

export interface SqlParts {
  ledger: Ledger
  log: Log
  /** Asked for each query: employees and computers change. */
  dataset(): DatasetOptions
  search: SearchProcess
  cacheDir: string
  timeoutMs: number
}

export interface SqlRuns {
  close(): Promise<void>
}

interface Run {
  id: string
  sql: string
  maxRows: number
  user: string | null
  startedAt: number
  endedAt?: number
  state: SqlRun['state']
  truncated: boolean
  warnings: string[]
  error: SqlRun['error']
  answer: StoredAnswer
  cancel: AbortController
  lastAsked: number
  done: Promise<void>
}

const AT_ONCE = 2
const MOST_RUNS = 50
const MOST_WAITING = 20
const ANSWER_BYTES = 256 * 2 ** 20
const KEPT_MS = 30 * 60_000
const LOOK_MS = 60_000

export function sqlRoutes(
  { handle }: Routes,
  { ledger, log, dataset, search, cacheDir, timeoutMs }: SqlParts,
): SqlRuns {
  const runs = new Map<string, Run>()
  const queue = new PQueue({ concurrency: AT_ONCE })
  const dir = join(cacheDir, `answers-${process.pid}`)
  const prepared = prepare()
  const cleaning = setInterval(() => void clean(), LOOK_MS)
  cleaning.unref()

  /** Those of processes that are gone go with the first query. */
  async function prepare(): Promise<void> {
    await mkdir(cacheDir, { recursive: true })
    for (const name of await readdir(cacheDir)) {
      const pid = Number(/^answers-(\d+)$/.exec(name)?.[1])
      if (pid > 0 && !isAlive(pid)) await rm(join(cacheDir, name), { recursive: true, force: true })
    }
    await mkdir(dir, { recursive: true, mode: privateFolderMode(cacheDir) })
  }
  // A failure is the first query's to tell.
  prepared.catch(() => {})

  handle('runSql', async ({ body: { sql, maxRows }, request }) => {
    await clean()
    if (queue.size >= MOST_WAITING || runs.size >= MOST_RUNS)
      throw refusal(429, 'rate_limited', 'too many queries wait; try again later')
    ledger.accounts.audit({ user: request.user, remote: request.ip, action: 'sql', detail: sql })
    await prepared
    const id = randomUUID().replaceAll('-', '')
    const answer = await openStoredAnswer({ path: join(dir, id), maxBytes: ANSWER_BYTES })
    const now = Date.now()
    const run: Run = {
      ...{ id, sql, maxRows, user: request.user, startedAt: now, lastAsked: now, answer },
      ...{ state: 'running', truncated: false, warnings: [], error: null },
      cancel: new AbortController(),
      done: Promise.resolve(),
    }
    runs.set(id, run)
    run.done = queue.add(() => work(run))
    return describe(run)
  })

  async function work(run: Run): Promise<void> {
    const { sql, maxRows, answer, cancel } = run
    try {
      const summary = await runIsolated(dataset(), sql, {
        format: 'rows',
        out: answer.out,
        maxRows,
        timeoutMs,
        signal: cancel.signal,
      })
      run.state = 'done'
      run.truncated = summary.truncated || answer.isFull
      run.warnings = summary.warnings
    } catch (error) {
      run.state = cancel.signal.aborted ? 'cancelled' : 'failed'
      if (run.state === 'failed') run.error = errorOf(error)
      if (problemOf(error).isBug)
        log.error('a query failed for a reason that nobody foresaw', { error: messageOf(error) })
    }
    run.endedAt = Date.now()
    answer.wake()
    const { rows } = answer
    ledger.desk.note({
      user: run.user,
      sql,
      outcome: run.error?.code ?? run.state,
      rows,
      elapsedMs: run.endedAt - run.startedAt,
    })
  }

  function find(id: string): Run {
    const run = runs.get(id)
    if (run === undefined) throw notFound('this result is not kept any more; run the query again')
    run.lastAsked = Date.now()
    return run
  }

  function describe({ id, sql, state, startedAt, endedAt, answer, truncated, warnings, error }: Run): SqlRun {
    const elapsedMs = (endedAt ?? Date.now()) - startedAt
    const columns = answer.columns?.map(({ name, type }) => ({ name, type })) ?? null
    return {
      id,
      sql,
      state,
      startedAt: isoTime(startedAt),
      elapsedMs,
      columns,
      rows: answer.rows,
      truncated,
      warnings,
      error,
    }
  }

  handle('getRun', ({ params }) => describe(find(params.id)))

  handle('getRows', async ({ params, query: { offset, limit, waitMs } }) => {
    const run = find(params.id)
    if (run.state === 'running') await run.answer.waitFor(offset, waitMs)
    return { run: describe(run), offset, rows: await run.answer.read(offset, limit) }
  })

  handle('cancelRun', async ({ params }) => {
    await remove(find(params.id))
    return DONE
  })

  async function remove(run: Run): Promise<void> {
    runs.delete(run.id)
    run.cancel.abort()
    await run.done
    await run.answer[Symbol.asyncDispose]()
  }

  async function clean(): Promise<void> {
    const now = Date.now()
    const oldest = [...runs.values()]
      .filter(({ state }) => state !== 'running')
      .sort((a, b) => a.lastAsked - b.lastAsked)
    const tooMany = oldest.slice(0, Math.max(0, runs.size - MOST_RUNS + 1))
    for (const run of oldest) if (run.lastAsked + KEPT_MS < now || tooMany.includes(run)) await remove(run)
  }

  handle('exportRun', async ({ params, query: { format, spreadsheet }, request, reply, signal }) => {
    const { sql } = find(params.id)
    ledger.accounts.audit({ user: request.user, remote: request.ip, action: 'export', detail: `${format}: ${sql}` })
    reply.headers({ ...attachment(`result.${format}`), 'content-type': TYPES[format] })
    reply.hijack()
    for (const [name, value] of Object.entries(reply.getHeaders()))
      if (value !== undefined) reply.raw.setHeader(name, value)
    try {
      await runIsolated(dataset(), sql, {
        format,
        out: reply.raw,
        timeoutMs,
        signal,
        spreadsheetSafe: spreadsheet === 'true',
      })
      reply.raw.end()
    } catch (error) {
      // Before the first byte there is room for a reason; after it only the connection can tell.
      if (reply.raw.headersSent) return reply.raw.destroy()
      const { problem } = problemOf(error)
      reply.raw.removeHeader('content-disposition')
      reply.raw.writeHead(problem.status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problem))
    }
    return reply
  })

  handle('getSqlSchema', async () => {
    const { tables } = await search.ask('tables', null)
    const filled = tables.filter(({ rows }) => rows > 0)
    const described = await Promise.all(
      filled.map(async ({ name, rows }) => {
        const columns = (await search.ask('columns', { type: name })) ?? []
        return { name, rows, columns: columns.map(inSchema) }
      }),
    )
    const virtual = Object.entries(PEOPLE_COLUMNS).map(([name, columns]) => ({
      name,
      rows: null,
      columns: columns.map((column) => ({ ...column, meaning: null })),
    }))
    const events = (await search.ask('columns', { type: 'events' })) ?? []
    const all = { name: 'events', rows: null, columns: events.map(inSchema) }
    return { tables: [...described, all, ...virtual] }
  })

  handle('listExamples', () => ({ examples: EXAMPLES }))

  handle('listHistory', ({ query }) => ({
    entries: ledger.desk.history(query.limit).map(({ at, ...entry }) => ({ ...entry, at: isoTime(at) })),
  }))

  handle('listSaved', () => ({
    queries: ledger.desk.saved().map(({ updatedAt, ...query }) => ({ ...query, updatedAt: isoTime(updatedAt) })),
  }))

  handle('saveQuery', ({ body, request }) => {
    const { updatedAt, ...query } = ledger.desk.save({ ...body, user: request.user })
    return { ...query, updatedAt: isoTime(updatedAt) }
  })

  handle('deleteSaved', ({ params }) => {
    if (!ledger.desk.removeSaved(params.id)) throw notFound('there is no such saved query')
    return DONE
  })

  return {
    async close() {
      clearInterval(cleaning)
      for (const run of [...runs.values()]) await remove(run)
      await rm(dir, { recursive: true, force: true })
    },
  }
}

const TYPES = {
  csv: 'text/csv; charset=utf-8',
  ndjson: 'application/x-ndjson',
  json: 'application/json; charset=utf-8',
  parquet: 'application/vnd.apache.parquet',
}

/** Where the guard, or DuckDB, points to. */
const inSchema = ({ name, type, meaning }: { name: string; type: string; meaning: string | null }) => ({
  name,
  type,
  meaning,
})

function errorOf(error: unknown): NonNullable<SqlRun['error']> {
  const { code, detail } = problemOf(error).problem
  const message = error instanceof PipelineError ? error.message : detail
  const place = /\(line (\d+), column (\d+)\)/.exec(message)
  if (place) return { code, message, line: Number(place[1]), column: Number(place[2]) }
  const drawn = /\n\s*LINE (\d+): (.*)\n( *)\^/.exec(message)
  if (drawn === null) return { code, message, line: null, column: null }
  const column = (drawn[3]?.length ?? 0) - `LINE ${drawn[1]}: `.length + 1
  return { code, message, line: Number(drawn[1]), column: Math.max(1, column) }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

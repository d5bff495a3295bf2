/** `watchlist import|list|rescan|report`: whose traffic is looked for, and what was found. */

import { readFile } from 'node:fs/promises'
import { SINK } from '../../stages/index-events/index-events.ts'
import { messageOf, PipelineError } from '../../state/errors.ts'
import { reportSql } from '../api/watch.ts'
import { watchOptions } from '../parts.ts'
import type { QueryFormat } from '../query/run.ts'
import { datasetWithPeople } from '../serving.ts'
import { importWatchList, type WatchTable } from '../watch/import.ts'
import { rescan } from '../watch/watch.ts'
import { openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { textTable, timeText } from './text.ts'

const TABLES: readonly WatchTable[] = ['employees', 'computers', 'indicators']

function tableOf(name: string): WatchTable {
  const table = TABLES.find((each) => each === name)
  if (table === undefined)
    throw new PipelineError('usage', `there is no list "${name}"; the lists are ${TABLES.join(', ')}`)
  return table
}

export async function importList(
  name: string,
  file: string,
  options: { replace: boolean; list: string },
): Promise<number> {
  const table = tableOf(name)
  await using context = openContext()
  const text = await readFile(file, 'utf8').catch((error) => {
    throw new PipelineError('usage', `${file} cannot be read: ${messageOf(error)}`)
  })
  const { problems, ...counts } = importWatchList(context.parts().ledger, table, text, options)
  context.tell(
    `${Object.entries(counts)
      .map(([what, n]) => `${n} ${what}`)
      .join(', ')}; it counts from the next load on, and for the past by \`watchlist rescan\``,
  )
  for (const { line, reason } of problems) context.tell(`line ${line} is left out: ${reason}`)
  return problems.length > 0 ? EXIT.unbalanced : EXIT.ok
}

export async function showList(name: string, { json }: { json: boolean }): Promise<number> {
  const table = tableOf(name)
  await using context = openContext()
  const { watch } = context.parts().ledger
  const rows = {
    employees: () => watch.employees(),
    computers: () => watch.computers(),
    indicators: () => watch.indicators(),
  }[table]()
  if (json) {
    context.print(JSON.stringify(rows, null, 2))
    return EXIT.ok
  }
  const columns = Object.keys(rows[0] ?? {})
  const cells = rows.map((row) => Object.entries(row).map(([column, value]) => cellText(column, value)))
  if (rows.length === 0) context.tell(`there are no ${table}`)
  else context.print(textTable(columns, cells))
  return EXIT.ok
}

function cellText(column: string, value: unknown): string {
  if (column.startsWith('valid') && typeof value === 'number') return timeText(value)
  return value === null ? '' : String(value)
}

export async function rescanAll(): Promise<number> {
  await using context = openContext()
  const { ledger, layout, indexing } = context.parts()
  const sinks = indexing ? [SINK] : []
  const done = await rescan({ ledger, layout, ...watchOptions(context.config), sinks }, ({ files, of }) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${files} of ${of} files`)
  })
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
  const hits = ledger.watch.hits({ limit: 100_000 })
  const matches = hits.reduce((sum, hit) => sum + hit.rows, 0)
  context.tell(
    `${done.files} files looked through, ${done.rewritten} written anew; ${matches} matches of rows and rules`,
  )
  if (indexing !== undefined && ledger.sinks.changedFiles(SINK, 1).length > 0) {
    await indexing.lookAfter()
    const waits = ledger.sinks.changedFiles(SINK, 1).length > 0
    context.tell(
      waits
        ? 'Elasticsearch has not got all of it yet; the service goes on with it by itself'
        : 'the documents in Elasticsearch follow',
    )
  }
  return EXIT.ok
}

export interface ReportOptions {
  by: 'employee' | 'day' | 'protocol' | 'host' | 'list'
  employee?: string
  from?: string
  to?: string
  format: QueryFormat
}

export async function report({ format, ...query }: ReportOptions): Promise<number> {
  for (const text of [query.from, query.to]) {
    if (text !== undefined && Number.isNaN(Date.parse(text)))
      throw new PipelineError('usage', `"${text}" is no time; write it as 2026-01-31T12:00:00Z`)
  }
  await using context = openContext()
  const { runIsolated } = await import('../query/isolated.ts')
  const sql = reportSql({ ...query, employee: query.employee, from: query.from, to: query.to })
  const { timeoutMs } = context.config.query
  await runIsolated(await datasetWithPeople(context.config), sql, {
    format,
    out: process.stdout,
    width: process.stdout.columns,
    timeoutMs,
  })
  return EXIT.ok
}

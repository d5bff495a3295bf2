/** The commands that read the dataset: `query` and `tables`. */

import { tableOf } from '../../stages/upload/rules/table.ts'
import { loadRules } from '../../stages/upload/rules.ts'
import { PipelineError } from '../../state/errors.ts'
import type { Dataset } from '../query/dataset.ts'
import type { QueryFormat } from '../query/run.ts'
import { datasetOptions, datasetWithPeople } from '../serving.ts'
import { type Context, openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { untilSignal } from './run.ts'
import { bytesText, textTable } from './text.ts'

export async function query(sql: string, { format }: { format: QueryFormat }): Promise<number> {
  await using context = openContext({ stateless: true })
  const { runIsolated } = await import('../query/isolated.ts')
  const interrupted = new AbortController()
  void untilSignal().then(() => interrupted.abort(new PipelineError('stopped', 'the query was stopped')))
  const { config, tell } = context
  const summary = await runIsolated(await datasetWithPeople(config), sql, {
    format,
    out: process.stdout,
    width: process.stdout.columns,
    timeoutMs: config.query.timeoutMs,
    signal: interrupted.signal,
  })
  for (const warning of summary.warnings) tell(`note: ${warning}`)
  return EXIT.ok
}

/** All log types; of a `name` its columns. */
export async function tables(name: string | undefined, { json }: { json: boolean }): Promise<number> {
  await using context = openContext({ stateless: true })
  const { openDataset } = await import('../query/dataset.ts')
  await using dataset = await openDataset(await datasetOptions(context.config))
  if (name !== undefined) return await showColumns(context, dataset, name, json)
  const { listTables } = await import('../query/tables.ts')
  const list = await listTables(dataset)
  if (json) {
    context.print(JSON.stringify(list, null, 2))
    return EXIT.ok
  }
  tellDamage(context, list)
  const filled = list.filter(({ rows }) => rows > 0)
  const rows = filled.map(({ name, rows: n, columns, files, bytes, firstTime, lastTime }) => [
    name,
    n,
    columns.length,
    files,
    bytesText(bytes),
    firstTime ?? '',
    lastTime ?? '',
  ])
  context.print(textTable(['table', 'rows', 'columns', 'files', 'size', 'first event', 'last event'], rows))
  const empty = list.length - filled.length
  if (empty > 0) context.tell(`${empty} more log types are known and have no rows yet`)
  return EXIT.ok
}

async function showColumns({ config, print }: Context, dataset: Dataset, name: string, json: boolean) {
  const { describeTable } = await import('../query/tables.ts')
  const { describeColumns } = await import('../search/columns.ts')
  const held = await describeTable(dataset, name)
  const columns = describeColumns(tableOf(await loadRules(config.rules), name), held)
  const rows = columns.map(({ name: column, type, zeek, meaning }) => [column, type, zeek ?? '', meaning ?? ''])
  const answer = { table: name, columns: columns.map(({ isAddress: _, ...column }) => column) }
  print(json ? JSON.stringify(answer, null, 2) : textTable(['column', 'type', 'Zeek field', 'meaning'], rows))
  return EXIT.ok
}

function tellDamage({ tell }: Context, list: { damaged: { file: string; reason: string }[] }[]): void {
  for (const { file, reason } of list.flatMap(({ damaged }) => damaged))
    tell(`damaged and left out: ${file}: ${reason}`)
}

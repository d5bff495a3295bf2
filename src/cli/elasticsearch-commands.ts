/** `elasticsearch setup`: templates into the cluster. `elasticsearch backfill`: what is in the tables already as well. */

import { randomUUID } from 'node:crypto'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toMicros } from '../../stages/upload/rules/values.ts'
import { loadRules } from '../../stages/upload/rules.ts'
import { PipelineError } from '../../state/errors.ts'
import { readersLock } from '../../state/shared-lock.ts'
import type { Indexing } from '../indexing.ts'
import { openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { untilSignal } from './run.ts'
import { printable } from './text.ts'

function indexingOf(context: ReturnType<typeof openContext>): Indexing {
  const { indexing } = context.parts()
  if (indexing === undefined)
    throw new PipelineError('usage', 'no Elasticsearch is set; name it in ELASTICSEARCH_NODE (docs/elasticsearch.md)')
  return indexing
}

export async function setup(): Promise<number> {
  await using context = openContext()
  const sink = await indexingOf(context).sink()
  const { setupText } = await import('../sinks/elasticsearch/setup.ts')
  context.print(setupText(await sink.setUp()))
  return EXIT.ok
}

/** Needs no cluster: what is printed is imported by a person. */
export async function kibana({ page }: { page: string }): Promise<number> {
  if (!/^https?:\/\//i.test(page) || !URL.canParse(page))
    throw new PipelineError('usage', `--page is "${page}"; write a URL that starts with http:// or https://`)
  await using context = openContext({ stateless: true })
  const { savedObjectsText } = await import('../sinks/elasticsearch/kibana/saved-objects.ts')
  context.print(savedObjectsText({ prefix: context.config.elasticsearch.prefix, pageUrl: page }).trimEnd())
  return EXIT.ok
}

export interface BackfillCommandOptions {
  from?: string
  to?: string
  type?: string[]
}

export async function backfill({ from, to, type }: BackfillCommandOptions): Promise<number> {
  await using context = openContext()
  const { config, print, tell } = context
  const { layout } = context.parts()
  const bounds = { from: timeOf('--from', from), to: timeOf('--to', to) }
  const sink = await indexingOf(context).sink()
  const [{ backfill: load }, { listFiles, listTypes }] = await Promise.all([
    import('../sinks/elasticsearch/backfill.ts'),
    import('../query/files.ts'),
  ])
  using _shared = readersLock(layout.cache).share()
  const known = await listTypes(layout.parquet)
  const unknown = (type ?? []).filter((name) => !known.includes(name))
  if (unknown.length > 0)
    throw new PipelineError('usage', `the dataset has no ${unknown.join(', ')}; \`tables\` lists what it has`)
  const stop = new AbortController()
  void untilSignal().then(() =>
    stop.abort(new PipelineError('stopped', 'stopped; what was sent stays, and the same command goes on')),
  )
  const refusedFile = join(layout.quarantine, `elasticsearch-backfill-${randomUUID()}.ndjson`)
  const refused: string[] = []
  let toldAt = performance.now()
  const result = await load({
    sink,
    rules: await loadRules(config.rules),
    filesOf: async (logType) => (await listFiles(layout.parquet, logType)).map(({ path }) => path),
    logTypes: type ?? known,
    ...bounds,
    signal: stop.signal,
    onProgress(logType, rows) {
      if (performance.now() - toldAt < 1000) return
      toldAt = performance.now()
      tell(`${logType}: ${rows} rows`)
    },
    onRejected: (eventId, why) => void refused.push(`${JSON.stringify({ event_id: eventId, ...why })}\n`),
  })
  print(
    `${result.rows} rows: ${result.created} documents made, ${result.duplicates} there already, ${result.rejected} refused`,
  )
  if (refused.length === 0) return EXIT.ok
  await appendFile(refusedFile, refused.join(''))
  tell(`what was refused, and why, is in ${printable(refusedFile)}`)
  return EXIT.unbalanced
}

function timeOf(option: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const micros = toMicros(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00` : text)
  if (micros === undefined)
    throw new PipelineError(
      'usage',
      `${option} is "${text}"; write a day or an ISO 8601 time in UTC, such as 2026-02-03T10:00:00`,
    )
  return new Date(micros / 1000).toISOString().slice(0, -1)
}

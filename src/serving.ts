/** Puts the API together from a pipeline's parts: the one place that knows what it needs of them. */

import { existsSync } from 'node:fs'
import { SINK } from '../stages/index-events/index-events.ts'
import type { Log } from '../stages/ports.ts'
import type { StageName } from '../state/job.ts'
import { openLedger } from '../state/ledger.ts'
import type { Api, ApiOptions } from './api/server.ts'
import type { Config } from './config.ts'
import { findExecutable } from './engines/child.ts'
import { layoutFrom, type Parts, watchOptions } from './parts.ts'
import { recoverAll } from './pipeline.ts'
import type { DatasetOptions } from './query/dataset.ts'

const MB = 1024 * 1024

export interface ServeOptions {
  stages: readonly StageName[]
  wake(): void
}

export async function openPages(
  config: Config,
  log: Log,
  { ledger, layout, stages, bus, indexing, tally, meter }: Parts,
  { stages: run, wake, ...rest }: ServeOptions & Pick<ApiOptions, 'checkAnswers' | 'page'>,
): Promise<Api> {
  const { openApi } = await import('./api/server.ts')
  const component = log.child({ component: 'api' })
  return await openApi({
    ...{ config, ledger, layout, meter, wake, tally },
    ...rest,
    log: component,
    bus: await bus(),
    indexing,
    stages: run,
    dataset: await datasetOptions(config),
    rescanParts: { ledger, layout, ...watchOptions(config), sinks: indexing ? [SINK] : [] },
    recover: () => recoverAll(stages, component),
    async engine() {
      const name = engineOf(config)
      return { name, version: ledger.captures.engineVersion(name) }
    },
  })
}

function engineOf({ convert: { engine, zeekPath = 'zeek', searchPath } }: Config): string {
  if (engine !== 'auto') return engine
  return findExecutable(zeekPath, searchPath) === undefined ? 'tshark' : 'zeek'
}

/** How queries open the dataset; watched people are asked for each time. */
export async function datasetOptions(config: Config): Promise<DatasetOptions> {
  const { declaredTables } = await import('./sinks/parquet/columns.ts')
  const { parquet, cache } = layoutFrom(config)
  return {
    parquetDir: parquet,
    tables: await declaredTables(config.rules),
    memoryMb: Math.round(config.query.memoryBytes / MB),
    threads: config.upload.threads,
    tempDir: cache,
  }
}

/** With employees and computers, where there is a ledger; none is made for a question. */
export async function datasetWithPeople(config: Config): Promise<DatasetOptions> {
  const dataset = await datasetOptions(config)
  const { ledger: path } = layoutFrom(config)
  if (!existsSync(path)) return dataset
  using ledger = openLedger(path)
  return { ...dataset, people: { employees: ledger.watch.employees(), computers: ledger.watch.computers() } }
}

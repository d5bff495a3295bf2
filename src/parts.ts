/**
 * Puts the pipeline together from its settings: the one place that knows which adapter stands behind which port.
 * Heavy adapters are loaded when they are first used, so that `status` starts fast.
 */

import { randomUUID } from 'node:crypto'
import { copyFile, writeFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import type { Bus } from '../stages/bus.ts'
import { createStages } from '../stages/index.ts'
import type { Engine, EventSink, Log } from '../stages/ports.ts'
import type { Stage } from '../stages/stage.ts'
import { loadRules } from '../stages/upload/rules.ts'
import type { StageName } from '../state/job.ts'
import { type Layout, layoutOf, makeLayout, withSpoolOf } from '../state/layout.ts'
import { type Ledger, openLedger } from '../state/ledger.ts'
import { createEmbeddedBus } from './bus/embedded.ts'
import type { KafkaBusOptions } from './bus/kafka/bus.ts'
import type { Config } from './config.ts'
import { createUpkeep } from './dataset/upkeep.ts'
import { createDiskGuard } from './disk/guard.ts'
import { createDiskMeter, type DiskMeter } from './disk/use.ts'
import { type Indexing, openIndexing } from './indexing.ts'
import { createInspector } from './intake/inspector.ts'
import { once } from './once.ts'
import { type Pipeline, startPipeline } from './pipeline.ts'
import type { ParquetSinkOptions } from './sinks/parquet/types.ts'
import { createTally, type Tally } from './tally.ts'
import { createWatch, type Watch } from './watch/watch.ts'

export interface Parts extends AsyncDisposable {
  ledger: Ledger
  layout: Layout
  stages: Stage[]
  /** One for the process; whoever starts no pipeline closes it. */
  bus(): Promise<Bus>
  /** Absent where no Elasticsearch is set. */
  indexing?: Indexing
  /** What the runners of this process do. */
  tally: Tally
  meter: DiskMeter
  start(run: readonly StageName[], options: { watch: boolean }): Promise<Pipeline>
}

const MB = 1024 * 1024
/** For each thread of the Parquet writer: a statement takes some 110 MB, and has to have room for long lines. */
const WRITER_BYTES = 192 * MB
/** A file that ends in the middle of a record may still grow for this many stability intervals. */
const CUT_GRACE_INTERVALS = 5

export function layoutFrom({ dataDir, inboxDir, parquetDir, stateDir }: Config): Layout {
  return layoutOf(dataDir, { inbox: inboxDir, parquet: parquetDir, stateDir })
}

export function openParts(config: Config, log: Log): Parts {
  const places = layoutFrom(config)
  makeLayout(places)
  const ledger = openLedger(places.ledger)
  const layout = withSpoolOf(places, ledger.id)
  const indexing = openIndexing(config, ledger, layout, log.child({ component: 'elasticsearch' }))
  const tellsEvents = indexing !== undefined || config.bus.kind === 'kafka'
  const watch = createWatch({ ledger, ...watchOptions(config), tellsEvents })
  const meter = createDiskMeter({ ledger, layout, logFile: config.log.file, limits: config.disk })
  const disk = createDiskGuard({ ledger, meter, limits: config.disk, log: log.child({ component: 'disk' }) })
  const stages = createStages(
    {
      ledger,
      layout,
      inspector: inspectorFrom(config, disk.leftBytes),
      engine: once(() => openEngineFrom(config, log, quarantinePoison(layout))),
      sink: lazySink(config, watch),
      eventIndex: indexing?.eventIndex,
    },
    {
      cutGraceMs: config.inbox.stabilityMs * CUT_GRACE_INTERVALS,
      clockOffsets: config.inbox.clockOffsets,
      convertTimeoutMs: config.convert.timeoutMs,
      linesPerChunk: config.split.linesPerChunk,
      lanes: config.distribute.lanes,
      eventsPerBatch: config.distribute.eventsPerBatch,
      flush: config.upload.flush,
    },
  )
  const tally = createTally()
  const bus = once(() => openBus(config, { ledger, layout, log: log.child({ component: 'bus' }) }))
  return {
    ledger,
    layout,
    stages,
    bus,
    indexing,
    tally,
    meter,
    start: async (run, { watch }) =>
      await startPipeline({
        ledger,
        bus: await bus(),
        layout,
        log,
        stages,
        run,
        watch,
        inbox: config.inbox,
        concurrency: {
          monitor: 2,
          convert: config.convert.concurrency,
          split: 1,
          distribute: 1,
          upload: config.upload.concurrency,
          index: 1,
        },
        jobs: config.jobs,
        indexing,
        observer: tally.observer,
        disk,
        upkeep: run.includes('upload')
          ? createUpkeep({ ...upkeepOptions(config), ledger, layout, meter, log: log.child({ component: 'upkeep' }) })
          : undefined,
        health: { ...config.health, bufferBytes: config.upload.flush.bufferBytes },
      }),
    async [Symbol.asyncDispose]() {
      await indexing?.[Symbol.asyncDispose]()
      ledger.close()
    },
  }
}

async function openBus(
  { bus, jobs, upload, rules }: Config,
  own: Pick<KafkaBusOptions, 'ledger' | 'layout' | 'log'>,
): Promise<Bus> {
  if (bus.kind === 'embedded') return createEmbeddedBus(own.ledger)
  const { openKafkaBus } = await import('./bus/kafka/bus.ts')
  return openKafkaBus({ ...own, config: bus, leaseMs: jobs.leaseMs, flush: upload.flush, rules })
}

/** What retention, compaction and pruning go by. */
export function upkeepOptions({ disk, retention, compactAfterMs, jobHistoryMs }: Config) {
  return { disk, retention, compactAfterMs, jobHistoryMs }
}

export function inspectorFrom({ inbox, disk }: Config, leftBytes?: () => number) {
  return createInspector({
    maxBytes: inbox.maxCaptureBytes,
    floorBytes: disk.floorBytes,
    ...(leftBytes && { leftBytes }),
  })
}

export type OnPoison = (file: string, reason: string) => Promise<void>

export async function openEngineFrom(config: Config, log: Log, onPoison?: OnPoison): Promise<Engine> {
  const { openEngine } = await import('./engines/open.ts')
  return await openEngine(config.convert.engine, { ...config.convert, log, onPoison })
}

/** Packets that no engine can take become a capture of their own. */
function quarantinePoison({ quarantine }: Layout): OnPoison {
  return async (file, reason) => {
    const kept = join(quarantine, `poison-${randomUUID()}${extname(file)}`)
    await copyFile(file, kept)
    await writeFile(
      `${kept}.reason.json`,
      `${JSON.stringify({ code: 'poison', reason, at: new Date().toISOString() }, null, 2)}\n`,
    )
  }
}

/** A mistake in the site's own rules is told at the start, not with the first batch. Throws `rules_invalid`. */
export async function checkRules({ rules }: Config): Promise<void> {
  await loadRules(rules)
}

/** What flags rows of watch lists: half of the writer's memory at the most, since the writer's own is free by then. */
export function watchOptions({ upload, rules }: Config) {
  const memoryLimit = `${Math.max(256, Math.round(upload.memoryBytes / MB / 2))}MB`
  return { rules: once(() => loadRules(rules)), memoryLimit }
}

/** What the Parquet sink is opened with: as many threads as its memory has room for. */
export function sinkOptions({ upload: { threads, memoryBytes, filePrefix }, rules }: Config): ParquetSinkOptions {
  return {
    threads: Math.min(threads, Math.floor(memoryBytes / WRITER_BYTES)),
    memoryLimit: `${Math.round(memoryBytes / MB)}MB`,
    filePrefix,
    ...rules,
  }
}

/** Opened with the first batch, and only once. */
function lazySink(config: Config, watch: Watch): EventSink {
  const sink = once(async () => {
    const { openParquetSink } = await import('./sinks/parquet/sink.ts')
    return await openParquetSink(sinkOptions(config))
  })
  return {
    async write(request) {
      const result = await (await sink()).write(request)
      await watch.flagStaged(request, result)
      return result
    },
  }
}

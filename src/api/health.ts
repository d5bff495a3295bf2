/** How the pipeline is: for the page, for probes, and for Prometheus. */

import { open, statfs } from 'node:fs/promises'
import { freemem, totalmem } from 'node:os'
import type { FastifyInstance } from 'fastify'
import { STAGE_NAMES, type StageName } from '../../state/job.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { type Config, describeConfig } from '../config.ts'
import type { DiskMeter } from '../disk/use.ts'
import { waitText } from '../disk/wait-text.ts'
import type { Indexing } from '../indexing.ts'
import type { Tally } from '../tally.ts'
import { isoTime } from './captures.ts'
import type { Health, StageHealth } from './contract.ts'
import { createMeasures } from './measures.ts'
import { metricsText } from './metrics.ts'
import { problemWith } from './problems.ts'
import type { Routes } from './routes.ts'

export interface HealthParts {
  ledger: Ledger
  layout: Layout
  config: Config
  meter: DiskMeter
  version: string
  tally: Tally
  indexing: Indexing | undefined
  /** Of this process; none where it serves pages alone. */
  stages: readonly StageName[]
  busCounters(): Record<string, number>
  engine(): Promise<{ name: string; version: string | null }>
}

export interface HealthView {
  stages(): StageHealth[]
  health(): Promise<Health>
}

const MINUTE_MS = 60_000
const KEPT_MS = 1000
const STUCK_SECONDS = 3600
const TAIL_BYTES = 512 * 1024

export function createHealthView(parts: HealthParts): HealthView {
  const { ledger, layout, config, meter, version, busCounters } = parts
  const startedAt = isoTime(Date.now() - process.uptime() * 1000)
  let kept: { at: number; stages: StageHealth[] } | undefined

  function stages(): StageHealth[] {
    if (kept && performance.now() - kept.at < KEPT_MS) return kept.stages
    const now = Date.now()
    const depths = ledger.jobs.depths()
    const activity = new Map(ledger.overview.activity(now - MINUTE_MS).map((each) => [each.stage, each]))
    const errors = new Map(ledger.overview.lastErrors().map((error) => [error.stage, error]))
    const found = STAGE_NAMES.map((stage): StageHealth => {
      const of = (status: string) => depths.find((depth) => depth.stage === stage && depth.status === status)
      const waiting = of('ready')
      const error = errors.get(stage)
      return {
        stage,
        here: parts.stages.includes(stage),
        waiting: waiting?.jobs ?? 0,
        running: of('running')?.jobs ?? 0,
        sent: of('sent')?.jobs ?? 0,
        failed: of('failed')?.jobs ?? 0,
        oldestSeconds: waiting === undefined ? null : Math.max(0, (now - waiting.oldest) / 1000),
        doneLastMinute: activity.get(stage)?.jobs ?? 0,
        eventsLastMinute: activity.get(stage)?.events ?? 0,
        lastError:
          error === undefined
            ? null
            : { at: isoTime(error.at), code: error.code, message: error.message, key: error.key },
      }
    })
    kept = { at: performance.now(), stages: found }
    return found
  }

  async function health(): Promise<Health> {
    const now = stages()
    const { bavail, blocks, bsize } = await statfs(layout.dataDir)
    const { rss, heapUsed } = process.memoryUsage()
    const captures = ledger.captures.summary()
    const dataset = ledger.commits.publishedTotals()
    const use = meter.measure()
    const waits = ledger.space.waits()
    const capturesBytes = captures.bytes
    // Without a budget the meter leaves the books alone.
    const booksBytes = capturesBytes + dataset.bytes
    const othersBytes = use.usedBytes - use.capturesBytes - use.datasetBytes
    const disk = {
      freeBytes: bavail * bsize,
      totalBytes: blocks * bsize,
      floorBytes: config.disk.floorBytes,
      capturesBytes,
      datasetBytes: dataset.bytes,
      usedBytes: Math.round(booksBytes + othersBytes),
      budgetBytes: config.disk.budgetBytes,
      promisedBytes: Math.round(use.promisedBytes),
      waits: [...new Set(waits.map(waitText))],
    }
    const isOverBudget = waits.some(({ why }) => why === 'budget')
    const { failing, degraded } = problemsOf(now, disk, captures.states, isOverBudget)
    return {
      state: failing.length > 0 ? 'failing' : degraded.length > 0 ? 'degraded' : 'ok',
      problems: [...failing, ...degraded],
      version,
      startedAt,
      stages: now,
      captures: captures.states,
      sinks: sinksOf(now, dataset.rows, config),
      bus: { kind: config.bus.kind, counters: busCounters() },
      disk,
      memory: { rssBytes: rss, heapBytes: heapUsed, systemFreeBytes: freemem(), systemTotalBytes: totalmem() },
      engine: await parts.engine(),
      versions: { 'pcap-pipeline': version, node: process.versions.node, sqlite: ledger.sqliteVersion() },
    }
  }

  return { stages, health }
}

function problemsOf(
  stages: readonly StageHealth[],
  disk: Health['disk'],
  captures: Record<string, number>,
  isOverBudget: boolean,
) {
  const failing: string[] = []
  const degraded: string[] = []
  if (disk.freeBytes < disk.floorBytes)
    failing.push('the disk is nearly full: intake is paused until there is space again')
  if (isOverBudget) degraded.push('the budget is used up: intake waits until there is space again')
  for (const { stage, failed, oldestSeconds, running } of stages) {
    if (failed > 0) degraded.push(`${stage}: ${failed} ${failed === 1 ? 'job was' : 'jobs were'} given up`)
    if (oldestSeconds !== null && oldestSeconds > STUCK_SECONDS && running === 0)
      degraded.push(`${stage}: work has waited for ${Math.round(oldestSeconds / 60)} minutes and nobody works on it`)
  }
  if (captures.unbalanced) degraded.push(`${captures.unbalanced} receipts do not balance`)
  return { failing, degraded }
}

function sinksOf(stages: readonly StageHealth[], rows: number, config: Config): Health['sinks'] {
  const isOn = config.elasticsearch.connection.nodes.length > 0
  const index = sinkOf(stages, 'index', 'indexing')
  return [
    { name: 'parquet', rows, ...sinkOf(stages, 'upload', `${rows} rows in ${config.parquetDir}`) },
    {
      name: 'elasticsearch',
      rows: null,
      ...(!isOn ? { state: 'off', detail: 'ELASTICSEARCH_NODE is not set' } : index),
    },
  ]
}

/** A job that was given up, or that waits after a failure, is one that the sink did not take. */
function sinkOf(
  stages: readonly StageHealth[],
  name: StageName,
  detail: string,
): Pick<Health['sinks'][number], 'state' | 'detail'> {
  const stage = stages.find((each) => each.stage === name)
  const isFailing = (stage?.failed ?? 0) > 0 || (stage?.lastError != null && stage.waiting > 0)
  return isFailing
    ? { state: 'failing', detail: stage?.lastError?.message ?? 'work was given up' }
    : { state: 'ok', detail }
}

export function healthRoutes(app: FastifyInstance, { handle }: Routes, parts: HealthParts, view: HealthView): void {
  handle('getHealth', () => view.health())

  handle('getLog', async ({ query }) => ({ lines: await tailOf(parts.config.log.file, query.lines) }))

  handle('getSettings', () => ({ settings: [...describeConfig(parts.config)] }))

  const measure = createMeasures(parts)
  const plain = { schema: { hide: true } }
  app.get('/healthz', plain, (_request, reply) => reply.type('text/plain').send('ok\n'))

  // Ready is who can answer: the ledger can be read, and the disk has room.
  app.get('/readyz', plain, async (_request, reply) => {
    const { state, problems } = await view.health()
    if (state !== 'failing') return reply.type('text/plain').send('ready\n')
    const problem = problemWith(503, 'not_ready', problems.join('; '))
    return reply.code(503).type('application/problem+json').send(JSON.stringify(problem))
  })

  app.get('/metrics', plain, async (_request, reply) => {
    return reply.type('text/plain; version=0.0.4; charset=utf-8').send(metricsText(await measure(await view.health())))
  })
}

/** Without a log file there are none. */
export async function tailOf(path: string | undefined, lines: number): Promise<string[]> {
  if (path === undefined) return []
  const file = await open(path, 'r').catch(() => undefined)
  if (file === undefined) return []
  try {
    const { size } = await file.stat()
    const from = Math.max(0, size - TAIL_BYTES)
    const buffer = Buffer.alloc(size - from)
    await file.read(buffer, 0, buffer.length, from)
    const all = buffer.toString().split('\n')
    // The first may have lost its beginning.
    return all.slice(from > 0 ? 1 : 0, -1).slice(-lines)
  } finally {
    await file.close()
  }
}

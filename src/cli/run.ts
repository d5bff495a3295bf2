/** `run`: all stages and the inbox, until a signal. `stage NAME`: one of them. */

import { constants } from 'node:os'
import { relative } from 'node:path'
import { messageOf, PipelineError } from '../../state/errors.ts'
import { STAGE_NAMES, type StageName } from '../../state/job.ts'
import type { Api } from '../api/server.ts'
import { type Config, serviceEnvironment } from '../config.ts'
import { checkRules, type Parts } from '../parts.ts'
import type { Pipeline } from '../pipeline.ts'
import { openServiceManager } from '../service/manager.ts'
import { findStandstill } from '../service/standstill.ts'
import { openPages } from '../serving.ts'
import { type Context, openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'

/** The watchdog's limits: a queue that is not looked at hangs soon; work that is silent may be long. */
const LOOK_MS = 60_000
const WORK_MS = 3_600_000

export async function runAll(): Promise<number> {
  return await serve(STAGE_NAMES, { pages: true })
}

export async function runStage(name: string): Promise<number> {
  if (!isStage(name))
    throw new PipelineError('usage', `there is no stage "${name}"; the stages are ${STAGE_NAMES.join(', ')}`)
  // What upload hands over is indexed beside it, where an Elasticsearch is set.
  return await serve(name === 'upload' ? ['upload', 'index'] : [name])
}

/** The upload stage alone, fed by whoever writes raw events: Zeek sensors, or the distribute stage of any host. */
export async function runStream(): Promise<number> {
  return await serve(['upload'], {
    check({ bus }) {
      if (bus.kind === 'kafka') return
      throw new PipelineError(
        'usage',
        'stream reads raw events from Kafka: set BUS=kafka and KAFKA_BROKERS, or name a config.json with --config',
      )
    },
  })
}

/** The API and the pages alone, over a data directory that other processes may work on. */
export async function runServe(): Promise<number> {
  await using context = openContext({ console: 'stdout' })
  const { config, log, tell } = context
  await checkRules(config)
  const parts = context.parts()
  const stopped = untilSignal()
  await using api = await openPages(config, log, parts, { stages: [], wake: () => {} })
  const address = await api.listen()
  log.child({ component: 'startup' }).info('the pages are served', { address, pid: process.pid })
  tell(`\nThe pages:  ${address}/\n`)
  const manager = openServiceManager(serviceEnvironment())
  using _signs = manager.watch(() => {
    parts.ledger.jobs.depths()
    return undefined
  }, log)
  manager.ready(`serving ${address}`)
  await stopped
  manager.stopping(config.stopTimeoutMs)
  await (await parts.bus()).close()
  return EXIT.ok
}

function isStage(name: string): name is StageName {
  return STAGE_NAMES.some((stage) => stage === name)
}

interface ServeOptions {
  check?: (config: Config) => void
  pages?: boolean
}

async function serve(stages: readonly StageName[], { check, pages = false }: ServeOptions = {}): Promise<number> {
  await using context = openContext({ console: 'stdout' })
  const { config, log, tell } = context
  check?.(config)
  await checkRules(config)
  const parts = context.parts()
  const { layout, ledger, indexing, start } = parts
  if (indexing === undefined && stages.length === 1 && stages.includes('index'))
    throw new PipelineError('usage', 'no Elasticsearch is set; name it in ELASTICSEARCH_NODE (docs/elasticsearch.md)')
  const startup = log.child({ component: 'startup' })
  startup.info('configuration loaded', {
    data_dir: layout.dataDir,
    engine: config.convert.engine,
    bus: config.bus.kind,
  })
  for (const warning of config.warnings) startup.warn(warning)
  const waiting = ledger.jobs.openBytes('index')
  if (waiting > 0 && indexing === undefined) {
    startup.warn(
      'batches wait to be indexed, but no Elasticsearch is set: they stay on the disk until ELASTICSEARCH_NODE names one',
      {
        waiting_mb: Math.ceil(waiting / 2 ** 20),
      },
    )
  }
  const stopped = untilSignal()
  const pipeline = await start(stages, { watch: stages.includes('monitor') })
  startup.info('started', { stages: stages.join(','), inbox: layout.inbox, pid: process.pid })
  if (stages.includes('monitor')) {
    const here = (path: string) => relative(process.cwd(), path) || path
    tell(`\nDrop captures into ${here(layout.inbox)}/ (a subfolder names their source).`)
    tell(`Ask for rows with:  ${config.command} query "select * from conn limit 10"`)
    tell(`See what is there:  ${config.command} tables      captures: ${config.command} captures\n`)
  }
  const api = pages && config.http.enabled ? await servePages(context, parts, pipeline) : undefined
  const manager = openServiceManager(serviceEnvironment())
  // A conversion has a limit of its own, which the user may set.
  const limits = { lookMs: LOOK_MS, workMs: Math.max(WORK_MS, 2 * config.convert.timeoutMs) }
  using _signs = manager.watch(() => findStandstill(pipeline.signs(), limits), startup)
  manager.ready(`at work: ${stages.join(', ')}`)
  const signal = await stopped
  startup.info('stopping', { signal, limit_s: config.stopTimeoutMs / 1000 })
  manager.stopping(config.stopTimeoutMs)
  await api?.close()
  await pipeline.stop(config.stopTimeoutMs)
  startup.info('stopped')
  return EXIT.ok
}

/**
 * Captures are worked on even when the pages cannot be shown (a port that is taken). Settings that would show them to
 * everybody are no such case: they end the start.
 */
async function servePages({ config, log, tell }: Context, parts: Parts, pipeline: Pipeline): Promise<Api | undefined> {
  const api = await openPages(config, log, parts, { stages: STAGE_NAMES, wake: () => pipeline.wake() })
  try {
    const address = await api.listen()
    log.child({ component: 'startup' }).info('the pages are served', { address })
    tell(`The pages:  ${address}/\n`)
    return api
  } catch (error) {
    await api.close()
    if (error instanceof PipelineError && error.code === 'config_invalid') {
      await pipeline.stop(config.stopTimeoutMs)
      throw error
    }
    log.child({ component: 'api' }).error('the pages are not served', { error: messageOf(error) })
    return undefined
  }
}

/** Ctrl-C reaches a process twice, from the terminal and from npm: what comes this soon is the same wish. */
const SAME_WISH_MS = 1000

/** The first of these signals is answered with an orderly stop; a later one ends the process at once. */
export function untilSignal(): Promise<NodeJS.Signals> {
  const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const
  return new Promise((resolve) => {
    let first: number | undefined
    for (const signal of signals) {
      process.on(signal, () => {
        if (first !== undefined && Date.now() - first > SAME_WISH_MS) process.exit(128 + constants.signals[signal])
        first ??= Date.now()
        resolve(signal)
      })
    }
  })
}

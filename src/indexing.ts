/**
 * Elasticsearch as the running pipeline sees it: opened when first used, asked no more often than it bears, and looked
 * after. Everything that knows the library is loaded behind this.
 */

import { SINK } from '../stages/index-events/index-events.ts'
import type { EventIndex, Log } from '../stages/ports.ts'
import { loadRules, type Rules } from '../stages/upload/rules.ts'
import { messageOf, PipelineError } from '../state/errors.ts'
import type { StageName } from '../state/job.ts'
import type { Layout } from '../state/layout.ts'
import type { Ledger } from '../state/ledger.ts'
import type { Config } from './config.ts'
import type { ElasticsearchSink } from './sinks/elasticsearch/sink.ts'

export interface Indexing extends AsyncDisposable {
  readonly eventIndex: EventIndex
  /** Says no to intake while too much waits to be indexed, and to indexing while the server takes nothing. */
  mayClaim(stage: StageName): boolean
  sink(): Promise<ElasticsearchSink>
  /** Installs the templates, sends receipts, makes documents of changed rows anew, removes what is past its time; once. Never throws. */
  lookAfter(): Promise<void>
  /** That now, and every so often. */
  startUpkeep(): void
  /** Takes out what the cluster has of a capture. */
  removeDocuments(captureId: string, notBefore?: number): Promise<number>
}

const MB = 1024 * 1024
const LOOK_EVERY_MS = 1_000
const UPKEEP_EVERY_MS = 10_000
const RETENTION_EVERY_MS = 3_600_000
/** What makes the backlog larger. */
const PAUSED: readonly StageName[] = ['monitor', 'convert']
/** Intake goes on when the backlog is this much smaller than the bound, so that it does not stutter. */
const RESUME_AT = 0.9

/** Undefined where none is set. */
export function openIndexing(config: Config, ledger: Ledger, layout: Layout, log: Log): Indexing | undefined {
  const { connection, backlogBytes, ...options } = config.elasticsearch
  if (connection.nodes.length === 0) return undefined
  const { prefix, retentionDays } = options
  let opened: Promise<{ sink: ElasticsearchSink; rules: Rules }> | undefined
  let current: ElasticsearchSink | undefined
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined
  let nextRetention = 0
  const closing = new AbortController()
  let complaint = ''
  const mayTakeIn = createBacklogGuard(ledger, backlogBytes, log)

  async function sink(): Promise<ElasticsearchSink> {
    opened ??= open().catch((error) => {
      opened = undefined
      throw error
    })
    return (await opened).sink
  }

  async function open(): Promise<{ sink: ElasticsearchSink; rules: Rules }> {
    const [{ openElasticsearchSink }, rules] = await Promise.all([
      import('./sinks/elasticsearch/sink.ts'),
      loadRules(config.rules),
    ])
    current = await openElasticsearchSink({
      options: { ...options, connection, localNetworks: config.rules.localNetworks },
      rules,
      ledger,
      log,
    })
    return { sink: current, rules }
  }

  async function upkeep(): Promise<void> {
    try {
      const opened = await sink()
      if (!opened.isReady()) return
      const { hasLifecycles } = await opened.setUp()
      const { sendReceipts } = await import('./sinks/elasticsearch/receipts.ts')
      await sendReceipts(opened.client, prefix, ledger)
      await refresh(opened)
      if (!hasLifecycles && retentionDays > 0 && Date.now() >= nextRetention) await applyRetention(opened)
      complaint = ''
    } catch (error) {
      if (closing.signal.aborted) return
      // What the server refuses is said by the sink; anything else once.
      const text = messageOf(error)
      if (text !== complaint && !text.startsWith('Elasticsearch'))
        log.warn('Elasticsearch could not be looked after', { error: text })
      complaint = text
    }
  }

  async function refresh(current: ElasticsearchSink): Promise<void> {
    if (ledger.sinks.changedFiles(SINK, 1).length === 0) return
    const [{ refreshDocuments }, rules] = await Promise.all([
      import('./sinks/elasticsearch/refresh.ts'),
      loadRules(config.rules),
    ])
    await refreshDocuments({ sink: current, rules, ledger, layout, log, signal: closing.signal })
  }

  async function applyRetention({ client }: ElasticsearchSink): Promise<void> {
    const { removeOldIndices } = await import('./sinks/elasticsearch/remove.ts')
    nextRetention = Date.now() + RETENTION_EVERY_MS
    const removed = await removeOldIndices(client, prefix, retentionDays)
    for (const name of removed) ledger.sinks.dropIndex(name)
    if (removed.length > 0)
      log.info('deleted indices that are past their time', { indices: removed.join(' '), days: retentionDays })
  }

  /** Never two side by side. */
  function lookAfter(): Promise<void> {
    running ??= upkeep().finally(() => {
      running = undefined
    })
    return running
  }

  return {
    eventIndex: { index: async (request) => (await sink()).index(request) },
    mayClaim: (stage) => (stage === 'index' ? (current?.isReady() ?? true) : !PAUSED.includes(stage) || mayTakeIn()),
    sink,
    lookAfter,
    startUpkeep() {
      void lookAfter()
      timer = setInterval(() => void lookAfter(), UPKEEP_EVERY_MS)
      timer.unref()
    },
    async removeDocuments(captureId, notBefore) {
      const { removeDocuments } = await import('./sinks/elasticsearch/remove.ts')
      return await removeDocuments((await sink()).client, prefix, captureId, notBefore)
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      closing.abort(new PipelineError('stopped', 'the process stops'))
      await running
      await current?.close()
    },
  }
}

function createBacklogGuard(ledger: Ledger, limitBytes: number, log: Log): () => boolean {
  let lookedAt = Number.NEGATIVE_INFINITY
  let paused = false
  return () => {
    if (performance.now() - lookedAt >= LOOK_EVERY_MS) {
      lookedAt = performance.now()
      const waiting = ledger.jobs.openBytes('index')
      const isOver = waiting >= (paused ? limitBytes * RESUME_AT : limitBytes)
      if (isOver !== paused) {
        paused = isOver
        const values = { waiting_mb: Math.round(waiting / MB), limit_mb: Math.round(limitBytes / MB) }
        if (paused)
          log.error(
            'too much waits for Elasticsearch: intake is paused until it catches up (ELASTICSEARCH_BACKLOG_MB)',
            values,
          )
        else log.info('Elasticsearch has caught up: intake goes on', values)
      }
    }
    return !paused
  }
}

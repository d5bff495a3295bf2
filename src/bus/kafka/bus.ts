/**
 * The bus over Kafka. Hand-offs are messages, and completing a job is one transaction: what it hands on, a record for
 * the ledgers of all hosts, and the offset of the message that asked for it.
 *
 * Before the transaction the ledger notes what is to be recorded; after it, it is. In between the truth is in the ledger
 * topic: a record that bears the attempt's lease means that it was committed, and whoever reads it there first applies
 * it. An attempt whose partition went to somebody else cannot commit, since its generation of the group has passed.
 */

import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join as pathOf } from 'node:path'
import type { Bus, CompleteOptions, JoinOptions } from '../../../stages/bus.ts'
import type { Batch } from '../../../stages/hand-offs.ts'
import type { Log } from '../../../stages/ports.ts'
import { loadRules, type RulesFiles } from '../../../stages/upload/rules.ts'
import type { Completion } from '../../../state/completion.ts'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import type { NewJob, StageName } from '../../../state/job.ts'
import type { Layout } from '../../../state/layout.ts'
import type { Ledger } from '../../../state/ledger.ts'
import { once } from '../../once.ts'
import { sleep } from '../../sleep.ts'
import { type BusConfig, clientOptions, kafkaError } from './client.ts'
import { openCluster } from './cluster.ts'
import { DEAD_LETTERS_FILE, type DeadLetter, openDeadLetters, readDeadLetters } from './dead-letters.ts'
import type { Position } from './fetch.ts'
import { followLedger, recordsOf } from './follower.ts'
import type { Membership } from './group.ts'
import { createNormalizedMessages, type SendMessages } from './normalized.ts'
import { publishChunks } from './publish.ts'
import { openQueue, type Queue } from './queue.ts'
import type { Taken } from './source.ts'
import { openStream, STREAM_ORIGIN, type Stream, type StreamOptions } from './stream.ts'
import { ensureTopics, topicsOf } from './topics.ts'
import {
  CommitUnknown,
  createProducer,
  Fenced,
  fence,
  type OutMessage,
  type Producer,
  StaleMembership,
  type Transaction,
} from './transaction.ts'
import { openWatchFeed, type WatchFeed } from './watch-feed.ts'

export interface KafkaBusOptions {
  config: BusConfig
  ledger: Ledger
  layout: Layout
  log: Log
  leaseMs: number
  /** When a batch of live events is due. */
  flush: StreamOptions['flush']
  rules: RulesFiles & { localNetworks: readonly string[] }
}

const WAIT_FOR_BROKER_MS = 3000
const RECOVERY_MS = 20_000
/** So often a commit is tried whose transaction others end. */
const MAX_FENCED = 3

/** The stages whose jobs go over the bus; the others stay with the ledger that they came to. */
const SHARED = ['convert', 'split', 'distribute'] as const satisfies StageName[]

/** Leases of commits that this process asks for at this moment. */
const underWay = new Set<string>()

class InDoubt extends PipelineError {}

function isShared(stage: StageName): stage is (typeof SHARED)[number] {
  return SHARED.some((each) => each === stage)
}

const isLocal = (stage: StageName): boolean => !isShared(stage)

export function openKafkaBus(options: KafkaBusOptions): Bus {
  const { config, ledger, layout, log } = options
  const { topicPrefix } = config
  const topics = {
    ...Object.fromEntries(SHARED.map((stage) => [stage, `${topicPrefix}${stage}`])),
    ledger: `${topicPrefix}ledger`,
    raw: config.topicsRaw[0],
  } as Record<(typeof SHARED)[number] | 'ledger' | 'raw', string>
  const cluster = openCluster(clientOptions(config))
  const closing = new AbortController()
  const producers = new Map<StageName, Producer>()
  const readers: (Queue | Stream)[] = []
  let stream: Stream | undefined
  let watchFeed: WatchFeed | undefined
  const count = { commits: 0, aborted: 0, deadLetters: 0 }
  /** Dead letters of what is being committed, by its lease. */
  const lettersOf = new Map<string, number>()
  const normalized = once(async () => {
    const { localNetworks, ...files } = options.rules
    return createNormalizedMessages({ rules: await loadRules(files), localNetworks })
  })
  let wake = () => {}
  const follower = followLedger({
    ...{ cluster, ledger, isLocal, log },
    topic: topics.ledger,
    onApplied: () => wake(),
  })

  async function join({ stages, onWork, mayClaim }: JoinOptions): Promise<void> {
    wake = onWork
    await untilThere()
    if (config.watch !== undefined) {
      watchFeed = openWatchFeed({ cluster, topics: config.watch, ledger, refuse, log })
      // Before any traffic is taken: whom it is about must be known.
      await watchFeed.ready(closing.signal)
    }
    for (const stage of stages.filter(isShared)) {
      const queue = openQueue({
        ...{ cluster, stage, ledger, follower, log, onWork },
        topic: topics[stage],
        groupId: `${topicPrefix}${stage}`,
        sessionTimeoutMs: config.sessionTimeoutMs,
        acknowledge: (member, positions) => acknowledge(stage, member, positions),
      })
      readers.push(queue)
    }
    if (stages.includes('upload')) {
      const { start, groupId, sessionTimeoutMs, fetchMaxBytes: fetchBytes, topicsRaw } = config
      const { leaseMs, flush, rules } = options
      const knownTypes = new Set(Object.keys((await loadRules(rules)).logs))
      stream = openStream({
        ...{
          cluster,
          ledger,
          layout,
          log,
          onWork,
          groupId,
          start,
          sessionTimeoutMs,
          fetchBytes,
          leaseMs,
          flush,
          knownTypes,
        },
        topics: topicsRaw,
        mayRead: () => mayClaim('upload'),
        acknowledge: (member, positions) => acknowledge('upload', member, positions),
      })
      readers.push(stream)
    }
  }

  /** The topics are there and fit. A broker that does not answer is waited for; what it refuses is thrown. */
  async function untilThere(): Promise<void> {
    for (;;) {
      try {
        const { created, warnings } = await ensureTopics(config, topicsOf(config))
        if (created.length > 0) log.info('topics created', { topics: created.join(', ') })
        for (const warning of warnings) log.warn(warning)
        return
      } catch (error) {
        const failure = kafkaError(error, config)
        if (!failure.retryable) throw failure
        log.warn('waiting for Kafka', { error: failure.message })
        await sleep(WAIT_FOR_BROKER_MS, closing.signal)
      }
    }
  }

  /** What is no entry of a watch list goes where other messages go that nobody understands. */
  async function refuse(letters: readonly DeadLetter[]): Promise<void> {
    await producerOf('monitor').transact(closing.signal, (transaction) =>
      send(transaction, config.topicDeadLetter, letters),
    )
  }

  function acknowledge(stage: StageName, member: Membership, positions: readonly Position[]): Promise<void> {
    return producerOf(stage).transact(closing.signal, (transaction) => transaction.commitOffsets(member, positions))
  }

  /** One for each stage, so that a long transaction of one holds up no other. */
  function producerOf(stage: StageName): Producer {
    let producer = producers.get(stage)
    if (producer === undefined) {
      const transactionId = `${config.topicPrefix}${stage}-${ledger.id}-${process.pid}-${Date.now().toString(36)}`
      producer = createProducer(cluster, {
        ...{ transactionId, compression: config.compression },
        onAborted: () => count.aborted++,
      })
      producers.set(stage, producer)
    }
    return producer
  }

  function sourceOf(lease: string): Taken | undefined {
    for (const source of readers) {
      const taken = source.find(lease)
      if (taken !== undefined) return taken
    }
    return undefined
  }

  async function complete(completion: Completion, options: CompleteOptions): Promise<void> {
    const taken = sourceOf(completion.lease)
    const batches = completion.handOffs.filter(({ stage }) => stage === 'upload') as NewJob<Batch>[]
    if (completion.stage === 'upload') await commit(completion, taken, options, await tellOthers(completion, options))
    else if (batches.length === 0) await commit(completion, taken, options, sendHandOffs(completion))
    else await publish(completion, batches, taken, options)
    taken?.finished()
    wake()
  }

  /** What upload publishes: the normalized events, those of watched people and indicators, and what was no event or became no row. */
  async function tellOthers({ lease }: Completion, { uploaded, signal }: CompleteOptions) {
    const files = (uploaded?.dirs ?? []).map((dir) => pathOf(dir, DEAD_LETTERS_FILE))
    if (uploaded?.result.quarantineFile !== undefined) {
      const { chunks, stagingDir, result } = uploaded
      const file = pathOf(stagingDir, DEAD_LETTERS_FILE)
      await rm(file, { force: true })
      await openDeadLetters(file).addQuarantined(pathOf(stagingDir, result.quarantineFile as string), chunks)
      files.push(file)
    }
    return async (transaction: Transaction) => {
      // An attempt that is repeated sends them all again.
      lettersOf.set(lease, 0)
      for (const file of files) {
        for await (const letters of readDeadLetters(file)) {
          await send(transaction, config.topicDeadLetter, letters)
          lettersOf.set(lease, (lettersOf.get(lease) ?? 0) + letters.length)
        }
      }
      if (uploaded === undefined) return
      const to = (topic: string, isWanted: boolean): SendMessages | undefined =>
        isWanted ? (messages) => send(transaction, topic, messages) : undefined
      const isWatched = config.watch !== undefined && uploaded.result.flags !== undefined
      if (!config.publishNormalized && !isWatched) return
      const names = new Map(isWatched ? ledger.watch.employees().map(({ key, name }) => [key, name]) : [])
      await (await normalized())(
        { ...uploaded, signal },
        {
          normalized: to(config.topicNormalized, config.publishNormalized),
          watched: to(config.watch?.topicWatched ?? '', isWatched),
          nameOf: (key) => names.get(key),
        },
      )
    }
  }

  async function send(
    transaction: Transaction,
    topic: string,
    messages: readonly (Omit<OutMessage, 'topic' | 'key'> & { key: Buffer | null })[],
  ): Promise<void> {
    await transaction.send(messages.map(({ key, ...message }) => ({ ...message, topic, ...(key && { key }) })))
  }

  function sendHandOffs({ handOffs }: Completion) {
    const messages = handOffs.filter(({ stage }) => isShared(stage)).map(messageFor)
    return (transaction: Transaction) => transaction.send(messages)
  }

  function messageFor(job: NewJob): OutMessage {
    const topic = topics[job.stage as (typeof SHARED)[number]]
    return { topic, key: Buffer.from(job.key), value: Buffer.from(JSON.stringify(job)) }
  }

  /**
   * Events go to where every upload process takes them, a batch in one transaction. What an attempt before has published
   * is recorded by chunk, and left out.
   */
  async function publish(
    completion: Completion,
    batches: readonly NewJob<Batch>[],
    taken: Taken | undefined,
    options: CompleteOptions,
  ): Promise<void> {
    const rest = { ...completion, keep: [], handOffs: completion.handOffs.filter(({ stage }) => stage !== 'upload') }
    for (const [index, { captureId = '', input }] of batches.entries()) {
      const chunks = input.chunks.filter((chunk) => !ledger.published.has(captureId, chunk))
      const isLast = index === batches.length - 1
      const published = {
        kind: 'published' as const,
        captureId,
        chunks: chunks.map(({ logType, firstOrdinal, lines }) => ({ logType, firstOrdinal, lines })),
      }
      const step: Completion = isLast
        ? { ...rest, facts: [...rest.facts, published] }
        : { ...rest, lease: `${rest.lease}-${index}`, jobs: [], consumed: [], handOffs: [], facts: [published] }
      const held = isLast || taken === undefined ? taken : { ...taken, after: taken.before }
      await commit(step, held, { ...options, lease: rest.lease }, async (transaction) => {
        const { signal } = options
        const to = { topic: topics.raw, dataDir: layout.dataDir, captureId, signal }
        await publishChunks(transaction, input, chunks, to)
        await sendHandOffs(step)(transaction)
      })
    }
    for (const { input } of batches) await rm(pathOf(layout.dataDir, input.dir), { recursive: true, force: true })
  }

  /** The commit point of everything. `lease` where the step is part of an attempt with another name. */
  async function commit(
    completion: Completion,
    taken: Taken | undefined,
    { guard, signal, lease = completion.lease }: CompleteOptions & { lease?: string },
    send: (transaction: Transaction) => Promise<void>,
  ): Promise<void> {
    const producer = producerOf(completion.stage)
    let isCommitted = false
    ledger.transaction(() => {
      if (!ledger.jobs.isHeld(lease))
        throw new PipelineError(
          'lease_lost',
          `lease ${lease} is not held any more: the work was given to another worker`,
        )
      guard?.()
      ledger.prepared.add(completion, producer.transactionId)
    })
    underWay.add(completion.lease)
    try {
      for (let tries = 1; !isCommitted; tries++)
        isCommitted = await attempt(producer, completion, taken, { signal, tries }, send)
      ledger.transaction(() => ledger.applyPrepared(completion.lease, isLocal))
      count.commits++
      count.deadLetters += lettersOf.get(completion.lease) ?? 0
    } catch (error) {
      // What is or may be committed stays prepared, and its jobs stay leased: `recover` finds out and applies it.
      if (!isCommitted && !(error instanceof InDoubt)) ledger.prepared.remove(completion.lease)
      throw kafkaError(error, config)
    } finally {
      underWay.delete(completion.lease)
      lettersOf.delete(completion.lease)
    }
  }

  /** False when it has to be tried again: nothing was committed, and the work is still ours. */
  async function attempt(
    producer: Producer,
    completion: Completion,
    taken: Taken | undefined,
    { signal, tries }: { signal: AbortSignal; tries: number },
    send: (transaction: Transaction) => Promise<void>,
  ): Promise<boolean> {
    let member: Membership | undefined
    try {
      await producer.transact(signal, async (transaction) => {
        // The producer is registered by now. Whoever takes the row away registers it anew after that, and so either
        // this sees it, or nothing that follows can be committed.
        if (!ledger.prepared.isOurs(completion.lease))
          throw new PipelineError('lease_lost', 'another process took this work back while this one stood still')
        await send(transaction)
        if (taken !== undefined) {
          member = await taken.member(signal)
          await transaction.commitOffsets(member, taken.after)
        }
        // Last, since readers of the ledger topic wait for the end of a transaction from its first record there on.
        await transaction.send(recordsOf(completion, ledger.id, topics.ledger))
      })
      return true
    } catch (error) {
      if (error instanceof StaleMembership) {
        // Waits for a generation other than the one that was refused, and throws when that gave the work away.
        await taken?.member(signal, member)
        return false
      }
      if (error instanceof Fenced && tries < MAX_FENCED) {
        log.warn('a transaction was ended by others; trying again', { error: messageOf(error) })
        return false
      }
      if (error instanceof Fenced)
        throw new PipelineError('bus_unavailable', `transactions do not last long enough: ${messageOf(error)}`, {
          ...{ retryable: true, cause: error },
        })
      if (!(error instanceof CommitUnknown)) throw error
      log.warn('it is not known whether a commit was made; asking', { error: messageOf(error) })
      return await wasCommitted(completion.lease, (limit) => producer.settle(limit), signal).catch((cause) => {
        throw new InDoubt('bus_unavailable', 'it is not known whether a commit was made', { retryable: true, cause })
      })
    }
  }

  /**
   * Makes an end of what is open under the attempt's transactional id, and looks whether the ledger topic has a record of
   * the attempt. After the first nothing more can be committed under that id, and all that was is before the topic's end.
   */
  async function wasCommitted(
    lease: string,
    end: (signal: AbortSignal) => Promise<unknown>,
    until: AbortSignal,
  ): Promise<boolean> {
    const signal = AbortSignal.any([until, closing.signal])
    await end(signal)
    await follower.catchUp(signal)
    return ledger.prepared.isApplied(lease)
  }

  async function recover(): Promise<void> {
    const orphans = ledger.transaction(() => ledger.jobs.dropOrphans(STREAM_ORIGIN))
    for (const { input } of orphans) {
      const dir = (input as Batch | null)?.dir
      if (dir !== undefined) ledger.artifacts.release(dir)
    }
    // Ours from here on: no other process decides about the same at the same time.
    const left = ledger.transaction(() => ledger.prepared.takeAbandoned(underWay))
    for (const { completion, transactionId } of left) {
      const { lease, stage } = completion
      const limit = AbortSignal.timeout(RECOVERY_MS)
      const done = await wasCommitted(lease, (signal) => fence(cluster, transactionId, signal), limit)
      if (!done) ledger.prepared.takeBack(lease)
      log.info(done ? 'recorded what was committed before' : 'took back what was not committed', { stage, lease })
    }
  }

  return {
    join,
    claim({ stage, leaseMs, lease }) {
      const own = ledger.jobs.claim({ stage, leaseMs, ...(lease === undefined ? {} : { lease }) })
      if (own.length > 0 || lease !== undefined) return own
      for (const source of readers) {
        const found = source.stage === stage ? source.claim(leaseMs) : []
        if (found.length > 0) return found
      }
      return []
    },
    // What is on its way cannot be seen from here: a group is what has been gathered.
    expects: () => false,
    complete,
    async fail(job, failure, options) {
      const { key, captureId, lease, stage } = job
      const taken = sourceOf(lease)
      const completion: Completion = {
        ...{ lease, stage, failure, keep: [], consumed: [], handOffs: [], facts: [] },
        jobs: [{ key, ...(captureId === undefined ? {} : { captureId }) }],
      }
      await commit(completion, taken, options, async () => {})
      taken?.finished()
      wake()
    },
    async announce(facts) {
      const lease = randomBytes(8).toString('hex')
      const told: Completion = {
        lease,
        stage: 'monitor',
        jobs: [],
        keep: [],
        consumed: [],
        handOffs: [],
        facts: [...facts],
      }
      const records = recordsOf(told, ledger.id, topics.ledger)
      try {
        await producerOf('monitor').transact(closing.signal, (transaction) => transaction.send(records))
      } catch (error) {
        throw kafkaError(error, config)
      }
    },
    recover,
    counters: () => ({
      kafka_commits: count.commits,
      kafka_aborted: count.aborted,
      kafka_dead_letters: count.deadLetters,
      kafka_rebalances: readers.reduce((sum, { group }) => sum + group.rebalances(), 0),
      kafka_lag: readers.reduce((sum, reader) => sum + reader.lag(), 0),
      kafka_buffered_bytes: stream?.buffered() ?? 0,
    }),
    async close() {
      for (const source of readers) await source.close()
      closing.abort(new PipelineError('stopped', 'the process stops'))
      await follower.close()
      await watchFeed?.close()
      await cluster.close()
    },
  }
}

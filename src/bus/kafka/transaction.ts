/**
 * Transactions: messages and offsets that appear together or not at all.
 *
 * One at a time for each producer. A producer that failed in the middle begins anew with a higher epoch, which makes an
 * end of what it left open. What is not known after a failed commit is asked elsewhere (bus.ts): `CommitUnknown` says so.
 */

import {
  addOffsetsToTxnV3,
  addPartitionsToTxnV3,
  createAPI,
  endTxnV3,
  initProducerIdV4,
  produceV10,
  txnOffsetCommitV3,
  Writer,
} from '@platformatic/kafka'
import { messageOf } from '../../../state/errors.ts'
import { type Cluster, errorIds, retrying } from './cluster.ts'
import { encodeBatch, partitionOf } from './encode.ts'
import type { Position } from './fetch.ts'
import type { Membership } from './group.ts'

export interface OutMessage {
  topic: string
  /** Chooses the partition where none is named: the same key, the same partition. */
  key?: Buffer
  partition?: number
  value: Buffer | null
  headers?: Record<string, string>
}

export interface Transaction {
  /** Answers when the brokers have them, not before. */
  send(messages: readonly OutMessage[]): Promise<void>
  /** Where the group goes on reading. Throws `StaleMembership` when the member is not of the group's generation. */
  commitOffsets(member: Membership, positions: readonly Position[]): Promise<void>
}

export interface Producer {
  readonly transactionId: string
  /**
   * Runs the body and commits. When either fails, nothing of it is seen, or `CommitUnknown` is thrown. `Fenced` when
   * somebody else made an end of it, or the brokers did after its time.
   */
  transact(signal: AbortSignal, body: (transaction: Transaction) => Promise<void>): Promise<void>
  /** Makes an end of what was left open: after it, a commit that was asked for is made or never will be. */
  settle(signal: AbortSignal): Promise<void>
}

export interface ProducerOptions {
  transactionId: string
  compression: 'none' | 'gzip' | 'lz4' | 'zstd'
  onAborted?: () => void
}

/** The group has a new generation: this member commits nothing for the old one. */
export class StaleMembership extends Error {}

/** Nothing was committed: the producer has a successor, or its transaction took too long. */
export class Fenced extends Error {}

/** The commit was asked for and no answer came. */
export class CommitUnknown extends Error {}

const TRANSACTION_MS = 60_000
const REQUEST_MS = 20_000
const ALL_REPLICAS = -1
/** Of a batch before compression: below what brokers take by default (1 MiB). */
const BATCH_BYTES = 768 * 1024
/** How long a commit that was asked for is asked for again, and an abort, when nobody waits any more. */
const PATIENCE_MS = 5000
const FENCED = [
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
  'INVALID_TXN_STATE',
  'INVALID_PRODUCER_ID_MAPPING',
  'UNKNOWN_PRODUCER_ID',
  'OUT_OF_ORDER_SEQUENCE_NUMBER',
  'TRANSACTION_ABORTABLE',
]
const STALE_MEMBER = ['ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'REBALANCE_IN_PROGRESS', 'FENCED_INSTANCE_ID']

interface Identity {
  producerId: bigint
  producerEpoch: number
  /** Of the next message, by topic and partition. */
  sequences: Map<string, number>
}

interface Produce {
  transactionId: string
  topic: string
  partition: number
  records: Buffer
}

const produceApi = createAPI<[Produce], unknown>(
  0,
  10,
  (({ transactionId, topic, partition, records }: Produce) =>
    Writer.create()
      .appendString(transactionId)
      .appendInt16(ALL_REPLICAS)
      .appendInt32(REQUEST_MS)
      .appendArray([topic], (w, name) => {
        w.appendString(name).appendArray([partition], (p, index) => {
          p.appendInt32(index)
            .appendUnsignedVarInt(records.length + 1)
            .append(records)
        })
      })
      .appendTaggedFields()) as never,
  produceV10.parseResponse as never,
)

export function createProducer(cluster: Cluster, { transactionId, compression, onAborted }: ProducerOptions): Producer {
  let identity: Identity | undefined
  let last: Promise<unknown> = Promise.resolve()

  function inTurn(run: () => Promise<void>): Promise<void> {
    const turn = last.then(run)
    last = turn.catch(() => {})
    return turn
  }

  async function settle(signal: AbortSignal): Promise<void> {
    identity = undefined
    identity = await fence(cluster, transactionId, signal)
  }

  async function one(signal: AbortSignal, body: (transaction: Transaction) => Promise<void>): Promise<void> {
    identity ??= await fence(cluster, transactionId, signal)
    const own = identity
    const open = createTransaction(cluster, transactionId, own, compression, signal)
    try {
      await body(open)
    } catch (error) {
      identity = undefined
      onAborted?.()
      // Only to be quick: the next epoch, or the broker's time limit, ends it as well.
      if (open.isBegun()) await Promise.race([end(own, false), expiry(PATIENCE_MS)]).catch(() => {})
      throw named(error)
    }
    if (!open.isBegun()) return
    try {
      await ending(signal, (limit) => retrying(limit, () => end(own, true)))
    } catch (error) {
      identity = undefined
      throw new CommitUnknown(messageOf(error), { cause: error })
    }
  }

  async function end({ producerId, producerEpoch }: Identity, commit: boolean): Promise<void> {
    await cluster.onCoordinator('transaction', transactionId, (connection) =>
      endTxnV3.api.async(connection, transactionId, producerId, producerEpoch, commit),
    )
  }

  return {
    transactionId,
    transact: (signal, body) => inTurn(() => one(signal, body)),
    settle: (signal) => inTurn(() => settle(signal)),
  }
}

/** As long as a transaction may take; a little while when nobody waits any more. */
async function ending(signal: AbortSignal, run: (limit: AbortSignal) => Promise<void>): Promise<void> {
  const limit = new AbortController()
  const hurry = () => setTimeout(() => limit.abort(signal.reason), PATIENCE_MS)
  const timers = [setTimeout(() => limit.abort(new Error('no answer in time')), TRANSACTION_MS)]
  const onAbort = () => void timers.push(hurry())
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort)
  try {
    // A request that gets no answer does not look at the limit.
    await Promise.race([run(limit.signal), rejection(limit.signal)])
  } finally {
    signal.removeEventListener('abort', onAbort)
    for (const timer of timers) clearTimeout(timer)
  }
}

function rejection(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
}

function expiry(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref())
}

/** Makes an end of whatever was left open under this id, and takes it over: whoever had it can commit no more. */
export async function fence(cluster: Cluster, transactionId: string, signal: AbortSignal): Promise<Identity> {
  const { producerId, producerEpoch } = await retrying(signal, () =>
    cluster.onCoordinator('transaction', transactionId, (connection) =>
      initProducerIdV4.api.async(connection, transactionId, TRANSACTION_MS, -1n, -1),
    ),
  )
  return { producerId, producerEpoch, sequences: new Map() }
}

interface Batch {
  topic: string
  partition: number
  messages: OutMessage[]
  bytes: number
}

function getOrMake(places: Map<string, Batch[]>, place: string): Batch[] {
  const known = places.get(place)
  if (known !== undefined) return known
  const made: Batch[] = []
  places.set(place, made)
  return made
}

function createTransaction(
  cluster: Cluster,
  transactionId: string,
  { producerId, producerEpoch, sequences }: Identity,
  compression: ProducerOptions['compression'],
  signal: AbortSignal,
): Transaction & { isBegun(): boolean } {
  const added = new Set<string>()
  const groups = new Set<string>()
  let roundRobin = 0

  async function send(messages: readonly OutMessage[]): Promise<void> {
    if (messages.length === 0) return
    const topics = await retrying(signal, () => cluster.topics([...new Set(messages.map(({ topic }) => topic))]))
    const spare = roundRobin++
    const places = new Map<string, Batch[]>()
    for (const message of messages) {
      const { topic, key, value } = message
      const count = topics.get(topic)?.partitions.length ?? 1
      const partition = message.partition ?? (key === undefined ? spare % count : partitionOf(key, count))
      const bytes = (key?.length ?? 0) + (value?.length ?? 0) + 64
      const batches = getOrMake(places, `${topic}:${partition}`)
      let batch = batches.at(-1)
      if (batch === undefined || batch.bytes + bytes > BATCH_BYTES) {
        batch = { topic, partition, messages: [], bytes: 0 }
        batches.push(batch)
      }
      batch.messages.push(message)
      batch.bytes += bytes
    }
    await addPartitions([...places.values()].map(([first]) => first as Batch))
    // What is on its way when one fails must have arrived before the transaction is ended.
    const sent = await Promise.allSettled([...places.values()].map(produceAll))
    for (const each of sent) if (each.status === 'rejected') throw each.reason
  }

  /** Batches of one partition: one after the other, as their sequence numbers have to be. */
  async function produceAll(batches: readonly Batch[]): Promise<void> {
    for (const batch of batches) await produceOne(batch)
  }

  async function produceOne({ topic, partition, messages }: Batch): Promise<void> {
    const place = `${topic}:${partition}`
    const sequence = sequences.get(place) ?? 0
    const producer = { id: producerId, epoch: producerEpoch, sequence }
    const records = encodeBatch(messages, { compression, timestamp: Date.now(), producer })
    await retrying(signal, () =>
      cluster.onLeader(topic, partition, (connection) =>
        produceApi.async(connection, { transactionId, topic, partition, records }),
      ),
    )
    sequences.set(place, (sequence + messages.length) % 2 ** 31)
  }

  async function addPartitions(batches: readonly Batch[]): Promise<void> {
    const fresh = batches.filter(({ topic, partition }) => !added.has(`${topic}:${partition}`))
    if (fresh.length === 0) return
    const names = [...new Set(fresh.map(({ topic }) => topic))]
    const topics = names.map((name) => ({
      name,
      partitions: fresh.filter(({ topic }) => topic === name).map(({ partition }) => partition),
    }))
    const request = [{ transactionalId: transactionId, producerId, producerEpoch, topics, verifyOnly: false }]
    await retrying(signal, () =>
      cluster.onCoordinator('transaction', transactionId, (connection) =>
        addPartitionsToTxnV3.api.async(connection, request),
      ),
    )
    for (const { topic, partition } of fresh) added.add(`${topic}:${partition}`)
  }

  async function commitOffsets(member: Membership, positions: readonly Position[]): Promise<void> {
    const { groupId, generationId, memberId } = member
    if (!groups.has(groupId)) {
      await retrying(signal, () =>
        cluster.onCoordinator('transaction', transactionId, (connection) =>
          addOffsetsToTxnV3.api.async(connection, transactionId, producerId, producerEpoch, groupId),
        ),
      )
      groups.add(groupId)
    }
    const topics = [...new Set(positions.map(({ topic }) => topic))].map((name) => ({
      name,
      partitions: positions
        .filter(({ topic }) => topic === name)
        .map(({ partition, offset }) => ({
          ...{ partitionIndex: partition, committedOffset: BigInt(offset), committedLeaderEpoch: -1 },
          committedMetadata: null,
        })),
    }))
    await retrying(signal, () =>
      cluster.onCoordinator('group', groupId, (connection) =>
        txnOffsetCommitV3.api.async(
          ...[connection, transactionId, groupId, producerId, producerEpoch],
          ...[generationId, memberId, null, topics as never],
        ),
      ),
    )
  }

  return { send, commitOffsets, isBegun: () => added.size > 0 || groups.size > 0 }
}

function named(error: unknown): unknown {
  const ids = errorIds(error)
  const isOneOf = (names: readonly string[]) => names.some((id) => ids.has(id))
  if (isOneOf(STALE_MEMBER)) return new StaleMembership(messageOf(error), { cause: error })
  return isOneOf(FENCED) ? new Fenced(messageOf(error), { cause: error }) : error
}

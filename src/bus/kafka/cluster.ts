/**
 * The brokers behind an address: connections, metadata and coordinators, with one way to call them.
 *
 * It stands on the client library's protocol layer (connections, authentication, requests and their answers), not on
 * its consumer and producer: those leave aborted events in what they call committed when a transaction reaches beyond
 * one answer, and do not ask for stable offsets. Versions of the requests are fixed ones that Kafka 3.1 to 4.x speak.
 */

import {
  type Broker,
  type Connection,
  ConnectionPool,
  findCoordinatorV4,
  metadataV12,
  type ResponseError,
} from '@platformatic/kafka'
import { PipelineError } from '../../../state/errors.ts'
import { sleep } from '../../sleep.ts'
import type { ClientOptions } from './client.ts'

export interface Partition {
  leader: number
  leaderEpoch: number
}

export interface Topic {
  id: string
  partitions: Partition[]
}

export type CoordinatorKind = 'group' | 'transaction'

export interface Cluster {
  /** From the cache where it knows all of them. @throws a protocol error for a topic that is not there. */
  topics(names: readonly string[], options?: { refresh?: boolean }): Promise<Map<string, Topic>>
  /** Calls a broker by its id. */
  onBroker<T>(id: number, send: (connection: Connection) => Promise<T>): Promise<T>
  onLeader<T>(topic: string, partition: number, send: (connection: Connection) => Promise<T>): Promise<T>
  onCoordinator<T>(kind: CoordinatorKind, key: string, send: (connection: Connection) => Promise<T>): Promise<T>
  /** Connections of its own, for calls that wait long: requests on one connection are answered one after another. */
  lane(): Cluster
  close(): Promise<void>
}

const KINDS: Record<CoordinatorKind, number> = { group: 0, transaction: 1 }
/** After these the brokers have to be asked anew who is responsible. */
const STALE = new Set([
  'NOT_COORDINATOR',
  'COORDINATOR_NOT_AVAILABLE',
  'NOT_LEADER_OR_FOLLOWER',
  'LEADER_NOT_AVAILABLE',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'UNKNOWN_TOPIC_ID',
  'INCONSISTENT_TOPIC_ID',
  'KAFKA_STORAGE_ERROR',
])

export function openCluster(options: ClientOptions): Cluster {
  const { bootstrapBrokers, clientId, connectTimeout, requestTimeout, tls, tlsServerName, sasl } = options
  const pool = new ConnectionPool(clientId, {
    ...{ connectTimeout, requestTimeout, maxInflights: 5 },
    ...(tls === undefined ? {} : { tls }),
    ...(tlsServerName === undefined ? {} : { tlsServerName }),
    ...(sasl === undefined ? {} : { sasl }),
  })
  let brokers = new Map<number, Broker>()
  const known = new Map<string, Topic>()
  const coordinators = new Map<string, Broker>()
  const lanes: Cluster[] = []

  async function connection(): Promise<Connection> {
    const candidates = [...brokers.values(), ...bootstrapBrokers]
    return await pool.getFirstAvailable(candidates)
  }

  async function topics(names: readonly string[], { refresh = false } = {}): Promise<Map<string, Topic>> {
    if (refresh || names.some((name) => !known.has(name))) {
      const answer = await metadataV12.api.async(await connection(), [...new Set(names)], false, false)
      brokers = new Map(answer.brokers.map(({ nodeId, host, port }) => [nodeId, { host, port }]))
      for (const { name, topicId, partitions } of answer.topics) {
        if (!name) continue
        const inOrder = [...partitions].sort((a, b) => a.partitionIndex - b.partitionIndex)
        known.set(name, {
          id: topicId,
          partitions: inOrder.map(({ leaderId, leaderEpoch }) => ({ leader: leaderId, leaderEpoch })),
        })
      }
    }
    return new Map(names.map((name) => [name, known.get(name) as Topic]))
  }

  async function guarded<T>(stale: () => void, call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      const ids = errorIds(error)
      if (ids.size === 0 || [...ids].some((id) => STALE.has(id))) stale()
      throw error
    }
  }

  async function onBroker<T>(id: number, send: (connection: Connection) => Promise<T>): Promise<T> {
    return await guarded(
      () => known.clear(),
      async () => {
        const broker = brokers.get(id)
        if (broker === undefined)
          throw new PipelineError('bus_unavailable', `broker ${id} is not there`, { retryable: true })
        return await send(await pool.get(broker))
      },
    )
  }

  async function onLeader<T>(
    topic: string,
    partition: number,
    send: (connection: Connection) => Promise<T>,
  ): Promise<T> {
    const leader = (await topics([topic])).get(topic)?.partitions[partition]?.leader
    if (leader === undefined)
      throw new PipelineError('bus_refused', `topic ${topic} has no partition ${partition}`, { retryable: true })
    return await onBroker(leader, send)
  }

  async function onCoordinator<T>(
    kind: CoordinatorKind,
    key: string,
    send: (connection: Connection) => Promise<T>,
  ): Promise<T> {
    const name = `${kind}:${key}`
    return await guarded(
      () => coordinators.delete(name),
      async () => {
        let broker = coordinators.get(name)
        if (broker === undefined) {
          const answer = await findCoordinatorV4.api.async(await connection(), KINDS[kind], [key])
          const found = answer.coordinators[0]
          if (found === undefined) throw new PipelineError('bus_unavailable', 'no coordinator yet', { retryable: true })
          broker = { host: found.host, port: found.port }
          coordinators.set(name, broker)
        }
        return await send(await pool.get(broker))
      },
    )
  }

  return {
    topics,
    onBroker,
    onLeader,
    onCoordinator,
    lane() {
      const lane = openCluster(options)
      lanes.push(lane)
      return lane
    },
    async close() {
      for (const lane of lanes) await lane.close()
      await pool.close()
    },
  }
}

/** The names of Kafka's errors in anything that was thrown (`NOT_COORDINATOR`, …); none for a failed connection. */
export function errorIds(error: unknown): Set<string> {
  const ids = new Set<string>()
  const open: unknown[] = [error]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (typeof next !== 'object' || next === null) continue
    const { apiId, errors, cause } = next as Partial<ResponseError> & { apiId?: string }
    if (apiId !== undefined) ids.add(apiId)
    if (Array.isArray(errors)) open.push(...errors)
    if (cause !== undefined) open.push(cause)
  }
  return ids
}

/** Worth asking again: the connection failed, or a broker said that it cannot answer yet. */
export function isTransient(error: unknown): boolean {
  if (error instanceof PipelineError) return error.retryable
  const ids = errorIds(error)
  if (ids.size === 0) return isConnectionFailure(error)
  return [...ids].every((id) => STALE.has(id) || TRANSIENT.has(id))
}

const TRANSIENT = new Set([
  'COORDINATOR_LOAD_IN_PROGRESS',
  'CONCURRENT_TRANSACTIONS',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'REQUEST_TIMED_OUT',
  'NETWORK_EXCEPTION',
  'UNSTABLE_OFFSET_COMMIT',
  'OFFSET_NOT_AVAILABLE',
  'REPLICA_NOT_AVAILABLE',
  'THROTTLING_QUOTA_EXCEEDED',
  'UNKNOWN_SERVER_ERROR',
])

function isConnectionFailure(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? String(error.code) : ''
  if (code === 'PLT_KFK_AUTHENTICATION' || code === 'PLT_KFK_USER') return false
  if (code.startsWith('PLT_KFK_') || code.startsWith('E')) return true
  return error.message === 'Connection pool is closed.' ? false : code !== ''
}

const LONGEST_WAIT_MS = 2000

/** Asks again until it is answered, refused for good, or nobody waits any more. */
export async function retrying<T>(signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted()
    try {
      return await ask()
    } catch (error) {
      if (!isTransient(error)) throw error
      await sleep(Math.min(LONGEST_WAIT_MS, 50 * 2 ** Math.min(attempt, 10)), signal)
    }
  }
}

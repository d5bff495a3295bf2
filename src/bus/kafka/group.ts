/**
 * Membership in a consumer group: which partitions are ours, and since when without a break.
 *
 * The classic protocol (https://kafka.apache.org/protocol): join, the leader shares the partitions out, sync, heartbeats.
 * Partitions stay where they are when members come and go. `kept` tells of an assignment that it follows the one before
 * without a generation in between: what was read but not committed is then still ours alone.
 */

import {
  type Connection,
  heartbeatV4,
  joinGroupV9,
  leaveGroupV5,
  offsetFetchV8,
  Reader,
  syncGroupV5,
  Writer,
} from '@platformatic/kafka'
import type { Log } from '../../../stages/ports.ts'
import { messageOf } from '../../../state/errors.ts'
import { sleep } from '../../sleep.ts'
import { type MemberShare, shareOut } from './assignment.ts'
import { type Cluster, errorIds, isTransient, retrying } from './cluster.ts'

export interface Membership {
  groupId: string
  memberId: string
  generationId: number
}

export interface TopicPartition {
  topic: string
  partition: number
}

export interface GroupOptions {
  cluster: Cluster
  groupId: string
  topics: readonly string[]
  sessionTimeoutMs: number
  log: Log
  /** Work begins once it has resolved. It is called again after one that was aborted, whatever that had done. */
  onAssigned(assignment: Assignment): Promise<void> | void
}

export interface Assignment {
  /** The partitions that are ours from now on. */
  assigned: TopicPartition[]
  /** Those of them that nobody else can have had in between. */
  kept: ReadonlySet<string>
  /** Aborted when the group has gone on meanwhile. */
  signal: AbortSignal
}

export interface Group {
  /** Absent while the group is being formed anew. */
  membership(): Membership | undefined
  /** Resolves with the membership of the next generation that this member is part of; `refused` is none any more. */
  settled(signal: AbortSignal, refused?: Membership): Promise<Membership>
  /** Where the group goes on reading, once no open transaction may change it; absent where it never committed. */
  committed(partitions: readonly TopicPartition[], signal: AbortSignal): Promise<Map<string, number>>
  rebalances(): number
  /** Leaves, so that others take over at once. */
  close(): Promise<void>
}

const PROTOCOL = 'sticky-quota'
const TOLERANT = ['REBALANCE_IN_PROGRESS', 'MEMBER_ID_REQUIRED']
const AGAIN_MS = 500

export function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}

export function joinGroup({ cluster, groupId, topics, sessionTimeoutMs, log, onAssigned }: GroupOptions): Group {
  // Joining waits for the other members: on a connection that heartbeats of other groups do not share.
  const lane = cluster.lane()
  const closing = new AbortController()
  const { signal } = closing
  let memberId = ''
  let generationId = -1
  let owned: TopicPartition[] = []
  let current: Membership | undefined
  let count = 0
  let waiting: ((membership: Membership) => void)[] = []
  const living = live()

  async function live(): Promise<void> {
    while (!signal.aborted) {
      try {
        await takePart(await join())
      } catch (error) {
        current = undefined
        if (signal.aborted) return
        const ids = errorIds(error)
        if (TOLERANT.some((id) => ids.has(id))) continue
        if (generationId < 0 && isTransient(error)) await sleep(AGAIN_MS, signal).catch(() => {})
        else {
          log.warn('the membership in a consumer group was lost; joining again', {
            group: groupId,
            error: messageOf(error),
          })
          lose()
          await sleep(AGAIN_MS, signal).catch(() => {})
        }
      }
    }
  }

  /** Another may have our partitions by now. */
  function lose(): void {
    memberId = ''
    generationId = -1
  }

  /**
   * Heartbeats go on while the assignment is taken up: where the group reads on may be known only when a transaction has
   * ended of a process that was killed, which takes longer than a session.
   */
  async function takePart(assignment: Omit<Assignment, 'signal'>): Promise<void> {
    const over = new AbortController()
    const until = AbortSignal.any([over.signal, signal])
    const taking = (async () => {
      await onAssigned({ ...assignment, signal: until })
      until.throwIfAborted()
      current = { groupId, memberId, generationId }
      for (const resolve of waiting.splice(0)) resolve(current)
    })()
    try {
      await Promise.race([beat(), taking.then(() => new Promise<never>(() => {}))])
    } finally {
      current = undefined
      over.abort(new Error('the group is formed anew'))
      await taking.catch(() => {})
    }
  }

  async function join(): Promise<Omit<Assignment, 'signal'>> {
    current = undefined
    const joined = await askToJoin()
    const isNext = joined.generationId === generationId + 1 && generationId >= 0
    const isLeader = joined.leader === joined.memberId
    const shares = isLeader ? await share(joined.members as Member[]) : []
    const synced = await call((connection) =>
      syncGroupV5.api.async(
        ...[connection, groupId, joined.generationId, joined.memberId as string, null],
        ...['consumer', PROTOCOL, shares as never],
      ),
    )
    const assigned = decodeAssignment(synced.assignment as Buffer)
    const before = new Set(owned.map(keyOf))
    const kept = new Set(isNext ? assigned.map(keyOf).filter((key) => before.has(key)) : [])
    ;({ generationId } = joined)
    owned = assigned
    count++
    log.info('assigned', { group: groupId, generation: generationId, partitions: assigned.length, kept: kept.size })
    return { assigned, kept }
  }

  async function askToJoin() {
    for (;;) {
      try {
        const protocols = [{ name: PROTOCOL, metadata: encodeSubscription(topics, owned) }]
        const joined = await call((connection) =>
          joinGroupV9.api.async(
            ...[connection, groupId, sessionTimeoutMs, sessionTimeoutMs, memberId, null],
            ...['consumer', protocols as never, ''],
          ),
        )
        memberId = joined.memberId as string
        return joined
      } catch (error) {
        const ids = errorIds(error)
        const given = (error as { response?: { memberId?: string } }).response?.memberId
        if (ids.has('MEMBER_ID_REQUIRED') && given) memberId = given
        else if (ids.has('UNKNOWN_MEMBER_ID') && memberId !== '') lose()
        else throw error
      }
    }
  }

  async function share(members: readonly Member[]): Promise<{ memberId: string; assignment: Buffer }[]> {
    const known = await lane.topics(topics, { refresh: true })
    const partitions = [...known].flatMap(([topic, { partitions: all }]) =>
      all.map((_, partition): TopicPartition => ({ topic, partition })),
    )
    const claims = members.map(({ memberId: id, metadata }) => ({ member: id, owned: decodeOwned(metadata) }))
    return shareOut(partitions, claims).map(({ member, partitions: own }: MemberShare) => ({
      memberId: member,
      assignment: encodeAssignment(own),
    }))
  }

  /** Until the group changes; a coordinator that does not answer is borne for as long as it keeps our place. */
  async function beat(): Promise<never> {
    let heard = Date.now()
    for (;;) {
      await sleep(Math.min(3000, sessionTimeoutMs / 6), signal)
      try {
        await call((connection) => heartbeatV4.api.async(connection, groupId, generationId, memberId, null))
        heard = Date.now()
      } catch (error) {
        const ids = errorIds(error)
        if (ids.has('REBALANCE_IN_PROGRESS')) throw error
        const isGone = ['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'FENCED_INSTANCE_ID'].some((id) => ids.has(id))
        if (isGone || Date.now() - heard > sessionTimeoutMs) throw error
      }
    }
  }

  function call<T>(send: (connection: Connection) => Promise<T>): Promise<T> {
    return lane.onCoordinator('group', groupId, send)
  }

  async function committed(partitions: readonly TopicPartition[], until: AbortSignal): Promise<Map<string, number>> {
    const asked = [...new Set(partitions.map(({ topic }) => topic))].map((name) => ({
      name,
      partitionIndexes: partitions.filter(({ topic }) => topic === name).map(({ partition }) => partition),
    }))
    const answer = await retrying(until, () =>
      lane.onCoordinator('group', groupId, (connection) =>
        offsetFetchV8.api.async(connection, [{ groupId, topics: asked } as never], true),
      ),
    )
    const found = new Map<string, number>()
    for (const { name: topic, partitions: all } of answer.groups[0]?.topics ?? [])
      for (const { partitionIndex: partition, committedOffset } of all)
        if (committedOffset >= 0n) found.set(keyOf({ topic, partition }), Number(committedOffset))
    return found
  }

  return {
    membership: () => current,
    async settled(until, refused) {
      until.throwIfAborted()
      const isRefused = current?.generationId === refused?.generationId && current?.memberId === refused?.memberId
      if (current !== undefined && !isRefused) return current
      const { promise, resolve, reject } = Promise.withResolvers<Membership>()
      const abort = () => reject(until.reason)
      until.addEventListener('abort', abort)
      waiting.push(resolve)
      return await promise.finally(() => {
        until.removeEventListener('abort', abort)
        waiting = waiting.filter((each) => each !== resolve)
      })
    },
    committed,
    rebalances: () => count,
    async close() {
      closing.abort(new Error('the process stops'))
      const left = { memberId, groupInstanceId: null, reason: 'the process stops' }
      if (memberId !== '') await call((c) => leaveGroupV5.api.async(c, groupId, [left as never])).catch(() => {})
      await lane.close()
      await living
    },
  }
}

interface Member {
  memberId: string
  metadata: Buffer | null
}

/** ConsumerProtocolSubscription, version 1. */
function encodeSubscription(topics: readonly string[], owned: readonly TopicPartition[]): Buffer {
  return Writer.create()
    .appendInt16(1)
    .appendArray([...topics], (w, topic) => w.appendString(topic, false), false, false)
    .appendInt32(-1)
    .appendArray(byTopic(owned), appendTopic, false, false).buffer
}

/** ConsumerProtocolAssignment, version 0. */
function encodeAssignment(partitions: readonly TopicPartition[]): Buffer {
  return Writer.create().appendInt16(0).appendArray(byTopic(partitions), appendTopic, false, false).appendInt32(-1)
    .buffer
}

function appendTopic(w: Writer, { topic, partitions }: ReturnType<typeof byTopic>[number]): void {
  w.appendString(topic, false).appendArray(partitions, (v, partition) => v.appendInt32(partition), false, false)
}

function byTopic(partitions: readonly TopicPartition[]): { topic: string; partitions: number[] }[] {
  const grouped = Map.groupBy(partitions, ({ topic }) => topic)
  return [...grouped].map(([topic, own]) => ({ topic, partitions: own.map(({ partition }) => partition) }))
}

/** What a member says it had; another kind of member says nothing that we read. */
function decodeOwned(metadata: Buffer | null): TopicPartition[] {
  try {
    const reader = Reader.from(metadata ?? Buffer.alloc(0))
    if (reader.readInt16() < 1) return []
    reader.readArray((r) => r.readString(false), false, false)
    const user = reader.readInt32()
    if (user > 0) reader.skip(user)
    return readTopics(reader)
  } catch {
    return []
  }
}

function decodeAssignment(bytes: Buffer): TopicPartition[] {
  if (bytes.length < 6) return []
  const reader = Reader.from(bytes)
  reader.readInt16()
  return readTopics(reader)
}

function readTopics(reader: Reader): TopicPartition[] {
  const topics = reader.readArray(
    (r) => ({
      topic: r.readString(false) as string,
      partitions: r.readArray((p) => p.readInt32(), false, false) as number[],
    }),
    false,
    false,
  ) as { topic: string; partitions: number[] }[]
  return topics.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition })))
}

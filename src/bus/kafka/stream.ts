/**
 * Raw events, as the upload stage gets them: what comes in is collected into a batch of chunk files, and a batch that is
 * due is one job, whose acknowledgement is the offsets up to which it reaches.
 *
 * While one batch is uploaded the next is collected; when that is full too, nothing more is fetched, and the membership
 * lives on. A partition that goes to another process takes its events along: the batches that hold some of them are
 * given up, and what is still ours is read again from where the group has committed.
 */

import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { Batch } from '../../../stages/hand-offs.ts'
import type { Log } from '../../../stages/ports.ts'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import { type Layout, spoolOf } from '../../../state/layout.ts'
import type { Ledger } from '../../../state/ledger.ts'
import { processIdentity } from '../../../state/process-identity.ts'
import { sleep } from '../../sleep.ts'
import { type Cluster, isTransient, retrying } from './cluster.ts'
import { type Collector, openCollector } from './collector.ts'
import { type Fetched, fetchCommitted, OFFSET_OUT_OF_RANGE, offsetAt, type Position } from './fetch.ts'
import { type Assignment, type Group, joinGroup, keyOf, type Membership, type TopicPartition } from './group.ts'
import { readRecords } from './records.ts'
import type { Source } from './source.ts'

export interface StreamOptions {
  cluster: Cluster
  topics: readonly string[]
  groupId: string
  ledger: Ledger
  layout: Layout
  /** Log types after which a topic may be named. */
  knownTypes: ReadonlySet<string>
  /** Where a group begins that has committed nothing. */
  start: 'earliest' | 'latest'
  sessionTimeoutMs: number
  fetchBytes: number
  leaseMs: number
  /** A batch is due when any holds; 0 turns one off. */
  flush: { bufferBytes: number; intervalMs: number; events: number }
  /** No while the host cannot take more (disk). */
  mayRead(): boolean
  log: Log
  onWork(): void
  /** Moves on behind what holds no events: marks of transactions, and what was aborted. */
  acknowledge(member: Membership, positions: readonly Position[]): Promise<void>
}

export interface Stream extends Source {
  readonly group: Group
  lag(): number
  /** Bytes of events that wait for the next flush. */
  buffered(): number
}

interface Slot extends Position {
  end: number
  committed: number
}

/** A batch while it is collected, and then while it is uploaded. */
interface Filling {
  key: string
  dir: string
  collector: Collector
  openedAt: number
  /** Events and what was none. */
  messages: number
  /** Its partitions, and where in each it begins. */
  begun: Map<string, number>
  /** Whoever sweeps may take its directory away. */
  isLost: boolean
}

interface Ready extends Pick<Filling, 'key' | 'dir' | 'begun'> {
  after: Position[]
  lease?: string
  /** Its job is gone from the ledger. */
  isLost?: boolean
}

/** Before a process's identity, the origin of jobs that are of no use when that process has ended. */
export const STREAM_ORIGIN = 'stream'
const ORIGIN = `${STREAM_ORIGIN} ${processIdentity()}`

const WAIT_MS = 500
/** Whoever waits for a capture need not wait for the interval when nothing more comes. */
const DRY_MS = 500
/** Without the rule of bytes a batch still has to end somewhere. */
const LARGEST_BATCH = 1024 ** 3
const MAX_CHUNK_LINES = 100_000
/** Of a topic's id, in the ids of events. */
const ID_DIGITS = 8

function tokenOf({ key }: Filling): string {
  return key.slice('stream/'.length)
}

export function openStream(options: StreamOptions): Stream {
  const { cluster, topics, groupId, ledger, layout, start, sessionTimeoutMs, fetchBytes, leaseMs, flush } = options
  const { knownTypes, mayRead, log, onWork, acknowledge } = options
  const lane = cluster.lane()
  const closing = new AbortController()
  const { signal } = closing
  let slots = new Map<string, Slot>()
  let filling: Filling | undefined
  let ready: Ready | undefined
  let epoch = 0
  let heardAt = Date.now()
  const group = joinGroup({ cluster, groupId, topics, sessionTimeoutMs, log, onAssigned })
  const reading = read()
  const renewing = setInterval(renew, Math.min(1000, leaseMs / 3))

  /**
   * A commit of ours that is on its way while this runs is either known to the group already, which then tells no offset
   * until its transaction has ended, or of an earlier generation, and refused: nothing is read twice that gets in.
   */
  async function onAssigned({ assigned, kept, signal: until }: Assignment): Promise<void> {
    epoch++
    const touched = [...(filling?.begun.keys() ?? []), ...(ready?.begun.keys() ?? [])]
    const isWhole = touched.every((key) => kept.has(key))
    if (!isWhole) await discard('their partitions went to another process')
    slots = new Map([...slots].filter(([key]) => isWhole && kept.has(key)))
    const fresh = assigned.filter((each) => !slots.has(keyOf(each)))
    for (const slot of await opened(fresh, until)) slots.set(keyOf(slot), slot)
  }

  async function opened(fresh: readonly TopicPartition[], until: AbortSignal): Promise<Slot[]> {
    const committed = fresh.length > 0 ? await group.committed(fresh, until) : new Map<string, number>()
    return await Promise.all(
      fresh.map(async ({ topic, partition }) => {
        const known = committed.get(keyOf({ topic, partition }))
        const offset = known ?? (await edge({ topic, partition }, start))
        // Where a group begins at the end, that is committed before anything is read: whoever comes next begins there too.
        return { topic, partition, offset, end: offset, committed: known ?? -1 }
      }),
    )
  }

  async function edge({ topic, partition }: TopicPartition, where: 'earliest' | 'latest'): Promise<number> {
    return await retrying(signal, () => offsetAt(lane, topic, partition, where))
  }

  async function discard(why: string, batches: readonly (Filling | Ready | undefined)[] = [filling, ready]) {
    for (const batch of batches) {
      if (batch === undefined) continue
      log.info('events that were not committed are given up, to be read again', { batch: batch.key, why })
      ledger.transaction(() => {
        ledger.jobs.drop('upload', batch.key, ORIGIN)
        ledger.artifacts.release(relative(layout.dataDir, batch.dir))
      })
    }
    const unfinished = batches.includes(filling) ? filling : undefined
    if (unfinished !== undefined) filling = undefined
    if (batches.includes(ready)) ready = undefined
    if (unfinished !== undefined) await rm(unfinished.dir, { recursive: true, force: true })
  }

  /** What was collected cannot be relied on: it is collected again from where it began. */
  async function collectAgain(why: string): Promise<void> {
    const { begun } = filling as Filling
    // Before anything that waits: nothing may be added to it any more, and nothing offered.
    for (const [key, offset] of begun) {
      const slot = slots.get(key)
      if (slot !== undefined) slot.offset = offset
    }
    await discard(why, [filling])
  }

  /** Without its job a batch is never uploaded, so its events are read again, and all that followed them. */
  async function readAgain(): Promise<void> {
    const asked = epoch
    const lost = [...slots.values()]
    slots = new Map()
    await discard('their job is not in the ledger any more')
    const again = await opened(lost, signal)
    if (epoch === asked) slots = new Map(again.map((slot) => [keyOf(slot), slot]))
  }

  async function read(): Promise<void> {
    while (!signal.aborted) {
      try {
        await group.settled(signal)
        if (filling?.isLost) await collectAgain('the lease of its directory was lost')
        if (ready?.isLost) await readAgain()
        if (isDue() && ready === undefined) await offer()
        if (slots.size === 0 || !mayRead() || isFull()) await sleep(50, signal)
        else await fetchAll()
        if (filling === undefined && ready === undefined) await moveOn()
      } catch (error) {
        if (signal.aborted) return
        if (!isTransient(error)) log.warn('events cannot be read; trying again', { error: messageOf(error) })
        await sleep(500, signal).catch(() => {})
      }
    }
  }

  /** The next batch has all it may hold, and the one before is not uploaded yet. */
  function isFull(): boolean {
    return filling !== undefined && holdsEnough(filling)
  }

  function holdsEnough({ collector: { bytes, events, isFull: hasManyFiles } }: Filling): boolean {
    return hasManyFiles || bytes >= (flush.bufferBytes || LARGEST_BATCH) || (flush.events > 0 && events >= flush.events)
  }

  function isDue(): boolean {
    if (filling === undefined) return false
    const { collector, openedAt } = filling
    const isOld = flush.intervalMs > 0 && Date.now() - openedAt >= flush.intervalMs
    const isDry = collector.hasCaptures && Date.now() - heardAt >= DRY_MS
    return isOld || isDry || holdsEnough(filling)
  }

  async function fetchAll(): Promise<void> {
    const asked = epoch
    const open = [...slots.values()]
    const known = await lane.topics(topics)
    const leaders = Map.groupBy(open, ({ topic, partition }) => known.get(topic)?.partitions[partition]?.leader ?? -1)
    const limits = { maxWaitMs: WAIT_MS, maxBytes: fetchBytes }
    const answers = await Promise.all([...leaders].map(([leader, own]) => fetchCommitted(lane, leader, own, limits)))
    for (const answer of answers.flat()) if (epoch === asked) await take(answer)
  }

  async function moveOn(): Promise<void> {
    // Before the positions: they are those of its generation, and in a later one refused.
    const member = await group.settled(signal)
    const passed = [...slots.values()].filter(({ offset, committed }) => offset > committed)
    if (passed.length === 0) return
    const positions = passed.map(({ topic, partition, offset }) => ({ topic, partition, offset }))
    await acknowledge(member, positions)
    for (const [index, slot] of passed.entries()) slot.committed = positions[index]?.offset ?? slot.committed
  }

  async function take(answer: Fetched): Promise<void> {
    const key = keyOf(answer)
    const slot = slots.get(key)
    if (slot === undefined || slot.offset !== answer.offset) return
    if (answer.error === OFFSET_OUT_OF_RANGE) {
      const first = await edge(slot, 'earliest')
      log.warn('events are gone from the topic before they were read', {
        ...{ partition: key, from: slot.offset, to: first },
      })
      slot.offset = first
      return
    }
    if (answer.error !== 0) {
      await lane.topics(topics, { refresh: true })
      return
    }
    slot.end = answer.end
    if (answer.records.length === 0) return
    const asked = epoch
    const batch = filling ?? (await begin())
    if (epoch !== asked) return
    const { topic, partition } = slot
    if (!batch.begun.has(key)) batch.begun.set(key, slot.offset)
    try {
      const onUnreadable = ({ offset, body, reason }: { offset: number; body: Buffer; reason: string }) => {
        log.error('a batch of messages is passed over', { partition: key, offset, why: reason })
        batch.collector.refuse({ topic, partition, offset, key: null, value: body }, 'batch unreadable')
        batch.messages++
      }
      const options = { from: slot.offset, aborted: answer.aborted, onUnreadable }
      slot.offset = readRecords(answer.records, options, (record) => {
        batch.collector.add({ topic, partition, ...record })
        batch.messages++
        heardAt = Date.now()
      })
    } catch (error) {
      // Part of the answer may be in the batch already (a full disk): what is asked for again must not come on top.
      await collectAgain(messageOf(error))
      throw error
    }
    if (batch.messages === 0) await abandon(batch)
  }

  async function begin(): Promise<Filling> {
    const token = randomBytes(8).toString('hex')
    const key = `stream/${token}`
    const dir = join(spoolOf(layout, 'distribute'), `stream.${token}`)
    // Leased while it is collected: the lease names its directory, so that no sweep takes it for somebody's remains.
    ledger.jobs.receive({ stage: 'upload', key, input: null }, ORIGIN)
    ledger.jobs.claimReceived('upload', key, ORIGIN, leaseMs, token)
    await mkdir(dir, { recursive: true })
    const known = await retrying(signal, () => lane.topics(topics))
    const streamId = (topic: string, partition: number) =>
      `${topic}.${(known.get(topic)?.id ?? '').replaceAll('-', '').slice(0, ID_DIGITS)}-${partition}`
    const collector = openCollector({ dir, maxChunkLines: MAX_CHUNK_LINES, streamId, knownTypes })
    filling = { key, dir, collector, openedAt: Date.now(), messages: 0, begun: new Map(), isLost: false }
    return filling
  }

  /** It held nothing but marks. */
  async function abandon({ key, dir }: Filling): Promise<void> {
    filling = undefined
    ledger.jobs.drop('upload', key, ORIGIN)
    await rm(dir, { recursive: true, force: true })
  }

  function renew(): void {
    try {
      if (filling !== undefined) ledger.jobs.renew(tokenOf(filling), leaseMs)
    } catch (error) {
      if (filling !== undefined && error instanceof PipelineError && error.code === 'lease_lost') filling.isLost = true
      log.warn('the lease of a batch could not be renewed', { error: messageOf(error) })
    }
  }

  async function offer(): Promise<void> {
    const batch = filling as Filling
    if (batch.messages === 0) return await abandon(batch)
    try {
      ready = handedOver(batch)
      filling = undefined
    } catch (error) {
      await collectAgain(messageOf(error))
      throw error
    }
    onWork()
  }

  /** From here on it is kept by the ledger. Until now its lease kept it: without that, a sweep may have taken files. */
  function handedOver(batch: Filling): Ready {
    const collected = batch.collector.finish()
    const { key, dir, begun } = batch
    const after = [...slots.values()].map(({ topic, partition, offset }) => ({ topic, partition, offset }))
    const path = relative(layout.dataDir, dir)
    const input: Batch = { dir: path, source: '', chunks: collected.chunks }
    ledger.transaction(() => {
      if (!ledger.jobs.isHeld(tokenOf(batch)))
        throw new PipelineError('lease_lost', 'the lease of a batch ran out while it was collected')
      ledger.artifacts.add(path, 'distribute', undefined)
      ledger.jobs.receive({ stage: 'upload', key, input, bytes: collected.bytes, events: collected.events }, ORIGIN)
    })
    return { key, dir, begun, after: after.filter((each) => begun.has(keyOf(each))) }
  }

  function finish(batch: Ready): void {
    if (ready !== batch) return
    ready = undefined
    for (const { offset, ...each } of batch.after) {
      const slot = slots.get(keyOf(each))
      if (slot !== undefined) slot.committed = Math.max(slot.committed, offset)
    }
  }

  return {
    stage: 'upload',
    group,
    lag: () => [...slots.values()].reduce((sum, { offset, end }) => sum + Math.max(0, end - offset), 0),
    buffered: () => filling?.collector.bytes ?? 0,

    claim(ms) {
      if (ready === undefined) return []
      const job = ledger.jobs.claimReceived('upload', ready.key, ORIGIN, ms)
      if (job === undefined) {
        const status = ledger.jobs.find('upload', ready.key)?.status
        // Whoever read the record of its commit first has applied it.
        if (status === 'done' || status === 'failed') finish(ready)
        else if (status === undefined) ready.isLost = true
        return []
      }
      ready.lease = job.lease
      return [job]
    },

    find(lease) {
      const found = ready
      if (found === undefined || found.lease !== lease) return undefined
      return {
        before: [],
        after: found.after,
        async member(until, refused) {
          const member = await group.settled(until, refused)
          if (ready !== found)
            throw new PipelineError('lease_lost', 'the group gave partitions of this batch to another process')
          return member
        },
        finished: () => finish(found),
      }
    },

    async close() {
      closing.abort(new Error('the process stops'))
      clearInterval(renewing)
      await group.close()
      await lane.close()
      await reading
      await discard('the process stops')
    },
  }
}

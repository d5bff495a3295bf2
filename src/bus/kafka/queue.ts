/**
 * The jobs of one stage, as messages of a topic: one at a time from each partition that is ours, so that its offset says
 * exactly what is done. A job that fails for now is kept and offered again; meanwhile its partition waits.
 */

import { randomBytes } from 'node:crypto'
import type { Log } from '../../../stages/ports.ts'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import type { NewJob, StageName } from '../../../state/job.ts'
import type { Ledger } from '../../../state/ledger.ts'
import { sleep } from '../../sleep.ts'
import { type Cluster, isTransient, retrying } from './cluster.ts'
import { fetchCommitted, OFFSET_OUT_OF_RANGE, offsetAt, type Position } from './fetch.ts'
import type { Follower } from './follower.ts'
import { type Assignment, type Group, joinGroup, keyOf, type Membership, type TopicPartition } from './group.ts'
import { type RawRecord, readRecords } from './records.ts'
import type { Source } from './source.ts'

export interface QueueOptions {
  cluster: Cluster
  topic: string
  groupId: string
  stage: StageName
  ledger: Ledger
  follower: Follower
  sessionTimeoutMs: number
  log: Log
  /** Work has come. */
  onWork(): void
  /** Moves on behind a message that asks for nothing any more. */
  acknowledge(member: Membership, positions: readonly Position[]): Promise<void>
}

export interface Queue extends Source {
  readonly group: Group
  lag(): number
}

/** A partition that is ours. */
interface Slot extends Position {
  /** The message that is being worked on. */
  held?: { job: NewJob; origin: string; lease?: string }
  end: number
  committed: number
}

const WAIT_MS = 500
const MAX_BYTES = 1024 * 1024

export function openQueue(options: QueueOptions): Queue {
  const { cluster, topic, groupId, stage, ledger, follower, sessionTimeoutMs, log, onWork, acknowledge } = options
  const lane = cluster.lane()
  const closing = new AbortController()
  const { signal } = closing
  const self = randomBytes(6).toString('hex')
  let slots = new Map<string, Slot>()
  /** Of a fetch that is out: the assignment it belongs to. */
  let epoch = 0
  const group = joinGroup({ cluster, groupId, topics: [topic], sessionTimeoutMs, log, onAssigned })
  const reading = read()

  async function onAssigned({ assigned, kept, signal: until }: Assignment): Promise<void> {
    epoch++
    for (const [key, slot] of slots) if (!kept.has(key)) giveBack(slot)
    slots = new Map([...slots].filter(([key]) => kept.has(key)))
    const fresh = assigned.filter((each) => !slots.has(keyOf(each)))
    const committed = fresh.length > 0 ? await group.committed(fresh, until) : new Map<string, number>()
    for (const each of fresh) {
      const offset = committed.get(keyOf(each)) ?? (await first(each))
      slots.set(keyOf(each), { ...each, offset, end: offset, committed: offset })
    }
  }

  async function first({ partition }: TopicPartition): Promise<number> {
    return await retrying(signal, () => offsetAt(lane, topic, partition, 'earliest'))
  }

  /** Somebody else has it from now on, maybe a process of this ledger, which may have received it already. */
  function giveBack({ held }: Slot): void {
    if (held !== undefined) ledger.jobs.giveBack(stage, held.job.key, held.origin)
  }

  async function read(): Promise<void> {
    while (!signal.aborted) {
      try {
        await group.settled(signal)
        const open = [...slots.values()].filter(({ held }) => held === undefined)
        if (open.length === 0) await sleep(50, signal)
        else await Promise.all([...(await byLeader(open))].map(([leader, positions]) => fetchFrom(leader, positions)))
        await moveOn()
      } catch (error) {
        if (signal.aborted) return
        if (!isTransient(error)) log.warn('jobs cannot be read; trying again', { topic, error: messageOf(error) })
        await sleep(500, signal).catch(() => {})
      }
    }
  }

  async function byLeader(open: readonly Slot[]): Promise<Map<number, Slot[]>> {
    const partitions = (await lane.topics([topic])).get(topic)?.partitions ?? []
    return Map.groupBy(open, ({ partition }) => partitions[partition]?.leader ?? -1)
  }

  async function fetchFrom(leader: number, positions: readonly Slot[]): Promise<void> {
    const asked = epoch
    const answers = await fetchCommitted(lane, leader, positions, { maxWaitMs: WAIT_MS, maxBytes: MAX_BYTES })
    for (const answer of answers) {
      const slot = slots.get(keyOf(answer))
      if (epoch !== asked || slot === undefined || slot.held !== undefined) continue
      if (answer.error === OFFSET_OUT_OF_RANGE) slot.offset = await first(slot)
      else if (answer.error !== 0) await lane.topics([topic], { refresh: true })
      else {
        slot.end = answer.end
        let found: RawRecord | undefined
        const next = readRecords(answer.records, { from: slot.offset, aborted: answer.aborted }, (record) => {
          found ??= record
        })
        if (found === undefined) slot.offset = next
        else await take(slot, found, asked)
      }
    }
  }

  async function take(slot: Slot, { offset, value }: RawRecord, asked: number): Promise<void> {
    const job = jobIn(value, `${keyOf(slot)}/${offset}`)
    // Whoever had the partition before may have finished it; then the ledger topic says so.
    await follower.catchUp(signal)
    if (epoch !== asked || slots.get(keyOf(slot)) !== slot) return
    slot.offset = offset
    // Of this process and this assignment alone, so that two that have the same message do not touch each other's work.
    const origin = `${keyOf(slot)}/${offset} ${self}-${epoch}`
    if (job !== undefined && ledger.jobs.receive(job, origin)) {
      slot.held = { job, origin }
      onWork()
      return
    }
    slot.offset = offset + 1
  }

  /** Behind the marks of transactions, and messages that ask for nothing any more. */
  async function moveOn(): Promise<void> {
    // Before the positions: they are those of its generation, and in a later one refused.
    const member = await group.settled(signal)
    const passed = [...slots.values()].filter(({ held, offset, committed }) => held === undefined && offset > committed)
    if (passed.length === 0) return
    const positions = passed.map(({ partition, offset }) => ({ topic, partition, offset }))
    await acknowledge(member, positions)
    for (const [index, slot] of passed.entries()) slot.committed = positions[index]?.offset ?? slot.committed
  }

  /**
   * It was finished in another way (recorded after a commit in doubt, forgotten with its capture), or another process of
   * this ledger has received it: then the group has given it this partition, and refuses our offset.
   */
  function passOver(slot: Slot): void {
    delete slot.held
    slot.offset++
  }

  function jobIn(value: Buffer | null, origin: string): NewJob | undefined {
    try {
      const job = JSON.parse((value ?? '').toString()) as NewJob
      if (job.stage === stage && typeof job.key === 'string') return job
    } catch {
      // Told below.
    }
    log.error('a message that is no job is passed over', { message: origin })
    return undefined
  }

  return {
    stage,
    group,
    lag: () => [...slots.values()].reduce((sum, { offset, end }) => sum + Math.max(0, end - offset), 0),

    claim(leaseMs) {
      for (const slot of slots.values()) {
        const { held } = slot
        if (held === undefined) continue
        const job = ledger.jobs.claimReceived(stage, held.job.key, held.origin, leaseMs)
        if (job !== undefined) {
          held.lease = job.lease
          return [job]
        }
        if (!ledger.jobs.isReceived(stage, held.job.key, held.origin)) passOver(slot)
      }
      return []
    },

    find(lease) {
      const found = [...slots.values()].find(({ held }) => held?.lease === lease)
      if (found === undefined) return undefined
      const { partition, offset } = found
      return {
        before: [{ topic, partition, offset }],
        after: [{ topic, partition, offset: offset + 1 }],
        async member(until, refused) {
          const member = await group.settled(until, refused)
          if (slots.get(keyOf(found)) !== found || found.held?.lease !== lease)
            throw new PipelineError('lease_lost', 'the group gave the partition of this job to another process')
          return member
        },
        finished() {
          if (found.held?.lease !== lease) return
          delete found.held
          found.offset = offset + 1
          found.committed = found.offset
        },
      }
    },

    async close() {
      closing.abort(new Error('the process stops'))
      await group.close()
      await lane.close()
      await reading
      for (const slot of slots.values()) giveBack(slot)
    },
  }
}

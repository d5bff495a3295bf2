/**
 * The ledger topic: what became of every job, for the ledgers of all hosts.
 *
 * It has one partition, so that facts come in the order in which they were committed, and is compacted by job. A record
 * is part of the transaction that acknowledges the job. Each ledger keeps its place in the topic in the transaction that
 * applies what was read, so that a record is applied once, whichever process of a host reads it.
 */

import type { Log } from '../../../stages/ports.ts'
import type { Completion, Fact } from '../../../state/completion.ts'
import { messageOf } from '../../../state/errors.ts'
import type { StageName } from '../../../state/job.ts'
import type { Ledger } from '../../../state/ledger.ts'
import { sleep } from '../../sleep.ts'
import { slices } from '../../slices.ts'
import { type Cluster, retrying } from './cluster.ts'
import { fetchCommitted, OFFSET_OUT_OF_RANGE, offsetAt } from './fetch.ts'
import { readRecords } from './records.ts'
import type { OutMessage } from './transaction.ts'

export interface Follower {
  /** Resolves when all that was in the topic at this moment is applied, or was aborted. */
  catchUp(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

export interface FollowerOptions {
  cluster: Cluster
  topic: string
  ledger: Ledger
  isLocal(stage: StageName): boolean
  /** Something was applied: captures may have settled, jobs may wait. */
  onApplied(): void
  log: Log
}

/** A record of the topic. The facts of a large completion come in records of their own before it. */
interface LedgerRecord {
  ledger: string
  completion: Completion
}

/** Below what brokers take by default, uncompressed. */
const FACTS_BYTES = 400_000

/**
 * What is told of a completion: everything but where files lie on the host that has done it. What it has taken over lies
 * in the spool of whoever handed it on, who may remove it then.
 */
export function recordsOf(completion: Completion, ledgerId: string, topic: string): OutMessage[] {
  const { stage, jobs, lease } = completion
  const key = `${stage}/${jobs.length === 1 ? jobs[0]?.key : lease}`
  const shared: Completion = {
    ...completion,
    ...{ keep: [], facts: [] },
    handOffs: completion.handOffs.map((job) => ({ ...job, input: null })),
  }
  const parts = inParts(completion.facts.flatMap(withoutFiles))
  const rest = parts.pop() ?? []
  const records = parts.map((facts) => ({ ...shared, jobs: [], consumed: [], handOffs: [], facts }))
  return [...records, { ...shared, facts: rest }].map((each, index, all) => ({
    topic,
    partition: 0,
    key: Buffer.from(index === all.length - 1 ? key : `${key}#${index}`),
    value: Buffer.from(JSON.stringify({ ledger: ledgerId, completion: each } satisfies LedgerRecord)),
  }))
}

/** A fact as others need it, and one that is too long for a message in pieces. */
function withoutFiles(fact: Fact): Fact[] {
  if (fact.kind === 'published') return atLeastOne(slices(fact.chunks, 4000)).map((chunks) => ({ ...fact, chunks }))
  if (fact.kind !== 'commit') return [fact]
  const { commit } = fact
  const counted = atLeastOne(slices(commit.counts, 1500))
  return counted.map((counts) => ({ ...fact, commit: { ...commit, files: [], counts } }))
}

/** A fact about nothing is told as well. */
function atLeastOne<T>(parts: T[][]): T[][] {
  return parts.length === 0 ? [[]] : parts
}

function inParts(facts: readonly Fact[]): Fact[][] {
  const parts: Fact[][] = []
  let bytes = Number.POSITIVE_INFINITY
  for (const fact of facts) {
    const size = JSON.stringify(fact).length
    if (bytes + size > FACTS_BYTES) {
      parts.push([])
      bytes = 0
    }
    parts.at(-1)?.push(fact)
    bytes += size
  }
  return parts
}

const WAIT_MS = 500
const MAX_BYTES = 4 * 1024 * 1024

export function followLedger({ cluster, topic, ledger, isLocal, onApplied, log }: FollowerOptions): Follower {
  const lane = cluster.lane()
  const closing = new AbortController()
  const { signal } = closing
  let reached = -1
  let waiting: { end: number; resolve: () => void }[] = []
  const following = follow()

  async function follow(): Promise<void> {
    while (!signal.aborted) {
      try {
        await step()
      } catch (error) {
        if (signal.aborted) return
        log.warn('the ledger topic cannot be read; trying again', { topic, error: messageOf(error) })
        await sleep(1000, signal).catch(() => {})
      }
    }
  }

  async function step(): Promise<void> {
    const known = await retrying(signal, () => lane.topics([topic]))
    const { id, partitions } = known.get(topic) as { id: string; partitions: { leader: number }[] }
    const place = `${topic}/${id}`
    const from = ledger.position(place)
    const leader = partitions[0]?.leader ?? -1
    const [answer] = await retrying(signal, () =>
      fetchCommitted(lane, leader, [{ topic, partition: 0, offset: from }], {
        maxWaitMs: WAIT_MS,
        maxBytes: MAX_BYTES,
      }),
    )
    if (answer === undefined) return
    if (answer.error === OFFSET_OUT_OF_RANGE) {
      const first = await retrying(signal, () => offsetAt(lane, topic, 0, 'earliest'))
      move(place, from, first, [])
      return
    }
    if (answer.error !== 0) {
      await lane.topics([topic], { refresh: true })
      return await sleep(200, signal)
    }
    const values: Buffer[] = []
    const next = readRecords(answer.records, { from, aborted: answer.aborted }, ({ value }) => {
      if (value !== null) values.push(value)
    })
    move(place, from, next, values)
    reached = ledger.position(place)
    for (const { resolve } of waiting.filter(({ end }) => end <= reached)) resolve()
    waiting = waiting.filter(({ end }) => end > reached)
  }

  /** Unless another process of this ledger was faster. */
  function move(place: string, from: number, next: number, values: readonly Buffer[]): void {
    if (next === from) return
    const applied = ledger.transaction(() => {
      if (ledger.position(place) !== from) return false
      for (const value of values) apply(value)
      ledger.setPosition(place, next)
      return values.length > 0
    })
    if (applied) onApplied()
  }

  function apply(value: Buffer): void {
    const record = recordIn(value)
    if (record === undefined) return
    const { ledger: by, completion } = record
    if (by !== ledger.id) ledger.applyElsewhere(completion, by)
    // Its worker is about to apply it, or is gone.
    else ledger.applyPrepared(completion.lease, isLocal)
  }

  /** One that somebody else wrote there must not stop all that follow. */
  function recordIn(value: Buffer): LedgerRecord | undefined {
    try {
      const record = JSON.parse(value.toString()) as LedgerRecord
      const { jobs, consumed, handOffs, facts } = record.completion
      if (typeof record.ledger === 'string' && [jobs, consumed, handOffs, facts].every(Array.isArray)) return record
    } catch {
      // Told below.
    }
    log.error('a message that is no record is passed over', { topic })
    return undefined
  }

  async function catchUp(until: AbortSignal): Promise<void> {
    const end = await retrying(until, () => offsetAt(cluster, topic, 0, 'latest'))
    if (reached >= end) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const abort = () => reject(until.reason)
    until.addEventListener('abort', abort)
    const waiter = { end, resolve }
    waiting.push(waiter)
    await promise.finally(() => {
      until.removeEventListener('abort', abort)
      waiting = waiting.filter((each) => each !== waiter)
    })
  }

  return {
    catchUp,
    async close() {
      closing.abort(new Error('the process stops'))
      await lane.close()
      await following
    },
  }
}

/**
 * The topics of watched employees and their computers, into the ledger's watch lists.
 *
 * In: records `key` → JSON object, or no value, which takes the row of that key away. Out: rows of the ledger, on every
 * host alike, since each reads all of it. At the start the topics are read from their beginning to their end, and the
 * last value of each key is applied, all of them in one transaction; keys that the topic has no more, because they were
 * removed while this host was away, go with it. Then each record is applied as it comes. Safe to repeat: a record stands
 * for one row, and a place in the topic that another process of the host has passed is not gone back to.
 *
 * What is no row becomes a dead letter with its reason. Each host tells it once, and once more where it is killed between
 * the telling and the noting of it.
 */

import type { Log } from '../../../stages/ports.ts'
import { messageOf } from '../../../state/errors.ts'
import type { Ledger } from '../../../state/ledger.ts'
import type { FedList } from '../../../state/watch-lists.ts'
import { sleep } from '../../sleep.ts'
import { applyWatchRecord, type WatchRecord, watchRecordOf } from '../../watch/import.ts'
import { type Cluster, retrying } from './cluster.ts'
import type { DeadLetter } from './dead-letters.ts'
import { fetchCommitted, OFFSET_OUT_OF_RANGE, offsetAt, type Position } from './fetch.ts'
import { readRecords } from './records.ts'

export interface WatchFeedOptions {
  cluster: Cluster
  topics: Readonly<Record<FedList, string>>
  ledger: Ledger
  /** Answers when the brokers have them. */
  refuse(letters: readonly DeadLetter[]): Promise<void>
  log: Log
}

export interface WatchFeed {
  /** All that was in the topics at the start is in the ledger. Throws when the signal is aborted first. */
  ready(signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

interface Change {
  topic: string
  partition: number
  offset: number
  key: string
  value: Buffer | null
  /** What it says, or why it says nothing. */
  entry: WatchRecord | { reason: string }
}

type Refused = Change & { entry: { reason: string } }

interface Slot extends Position {
  list: FedList
  /** Of the topic as it is now: one that is made anew has other places. */
  place: string
}

const WAIT_MS = 500
const MAX_BYTES = 4 * 1024 * 1024
const MAX_KEY_BYTES = 1024

export function openWatchFeed({ cluster, topics, ledger, refuse, log }: WatchFeedOptions): WatchFeed {
  const lane = cluster.lane()
  const closing = new AbortController()
  const { signal } = closing
  const isReady = Promise.withResolvers<void>()
  isReady.promise.catch(() => {})
  const lists: [FedList, string][] = [
    ['employees', topics.employees],
    ['computers', topics.computers],
  ]
  const following = follow()

  async function follow(): Promise<void> {
    let slots: Slot[] | undefined
    while (!signal.aborted) {
      try {
        slots ??= await load()
        isReady.resolve()
        for (const change of await fetchOnce(slots)) await apply(change, slots)
      } catch (error) {
        if (signal.aborted) return
        log.warn('the topics of the watch lists cannot be read; trying again', { error: messageOf(error) })
        // From the beginning: the topic may be another one.
        slots = undefined
        await sleep(1000, signal).catch(() => {})
      }
    }
  }

  async function open(): Promise<Slot[]> {
    const known = await retrying(signal, () => lane.topics(lists.map(([, topic]) => topic)))
    const slots = lists.flatMap(([list, topic]) => {
      const { id, partitions } = known.get(topic) as { id: string; partitions: unknown[] }
      return partitions.map((_, partition) => ({ list, topic, partition, place: `${topic}/${id}-${partition}` }))
    })
    return await Promise.all(
      slots.map(async (slot) => ({
        ...slot,
        offset: await retrying(signal, () => offsetAt(lane, slot.topic, slot.partition, 'earliest')),
      })),
    )
  }

  /** The last value of each key, up to where the topics end now. */
  async function load(): Promise<Slot[]> {
    const slots = await open()
    const ends = await Promise.all(
      slots.map(({ topic, partition }) => retrying(signal, () => offsetAt(lane, topic, partition, 'latest'))),
    )
    const last = new Map<string, WatchRecord>()
    const kept = new Set<string>()
    const refused: Refused[] = []
    while (slots.some(({ offset }, i) => offset < (ends[i] as number))) {
      for (const change of await fetchOnce(slots)) {
        const name = nameOf(listOf(change.topic), change.key)
        kept.add(name)
        // What says nothing leaves what was there.
        if (!isRefused(change)) last.set(name, change.entry as WatchRecord)
        else if (change.offset >= ledger.position(placeOf(change, slots))) refused.push(change)
      }
    }
    ledger.transaction(() => {
      // What another process of this host has read further knows better.
      if (slots.some(({ place, offset }) => ledger.position(place) > offset)) return
      for (const record of last.values()) applyWatchRecord(ledger, record)
      for (const [list] of lists)
        for (const key of ledger.watch.fedKeys(list))
          if (!kept.has(nameOf(list, key))) applyWatchRecord(ledger, { list, key, row: null })
    })
    await tell(refused)
    ledger.transaction(() => {
      for (const { place, offset } of slots) if (ledger.position(place) < offset) ledger.setPosition(place, offset)
    })
    log.info('the watch lists are those of their topics', {
      employees: ledger.watch.fedKeys('employees').length,
      computers: ledger.watch.fedKeys('computers').length,
    })
    return slots
  }

  async function fetchOnce(slots: Slot[]): Promise<Change[]> {
    const known = await lane.topics(lists.map(([, topic]) => topic))
    const leaders = Map.groupBy(slots, ({ topic, partition }) => known.get(topic)?.partitions[partition]?.leader ?? -1)
    const limits = { maxWaitMs: WAIT_MS, maxBytes: MAX_BYTES }
    const answers = await Promise.all([...leaders].map(([leader, own]) => fetchCommitted(lane, leader, own, limits)))
    const changes: Change[] = []
    for (const { topic, partition, error, aborted, records } of answers.flat()) {
      const slot = slots.find((each) => each.topic === topic && each.partition === partition) as Slot
      if (error === OFFSET_OUT_OF_RANGE) slot.offset = await offsetAt(lane, topic, partition, 'earliest')
      else if (error !== 0) await lane.topics([topic], { refresh: true })
      else
        slot.offset = readRecords(records, { from: slot.offset, aborted }, ({ key, value, offset }) => {
          const text = key?.toString() ?? ''
          changes.push({ topic, partition, offset, key: text, value, entry: entryOf(slot.list, text, value) })
        })
    }
    return changes
  }

  function placeOf({ topic, partition }: Change, slots: readonly Slot[]): string {
    return slots.find((each) => each.topic === topic && each.partition === partition)?.place as string
  }

  function listOf(topic: string): FedList {
    return lists.find(([, name]) => name === topic)?.[0] as FedList
  }

  async function apply(change: Change, slots: readonly Slot[]): Promise<void> {
    const place = placeOf(change, slots)
    if (isRefused(change) && ledger.position(place) <= change.offset) await tell([change])
    ledger.transaction(() => {
      if (ledger.position(place) > change.offset) return
      if (!isRefused(change)) applyWatchRecord(ledger, change.entry as WatchRecord)
      ledger.setPosition(place, change.offset + 1)
    })
  }

  async function tell(refused: readonly Refused[]): Promise<void> {
    if (refused.length === 0) return
    for (const { topic, partition, offset, entry } of refused)
      log.warn('a record is no entry of a watch list', { topic, partition, offset, why: entry.reason })
    await refuse(
      refused.map(({ topic, partition, offset, key, value, entry: { reason } }) => ({
        ...{ key: key === '' ? null : Buffer.from(key), value: value ?? Buffer.alloc(0) },
        headers: { reason, topic, partition: String(partition), offset: String(offset) },
      })),
    )
  }

  return {
    async ready(until) {
      const { promise, reject } = Promise.withResolvers<never>()
      const abort = () => reject(until.reason)
      until.addEventListener('abort', abort)
      await Promise.race([isReady.promise, promise]).finally(() => until.removeEventListener('abort', abort))
    },
    async close() {
      closing.abort(new Error('the process stops'))
      await lane.close()
      await following
    },
  }
}

function nameOf(list: FedList, key: string): string {
  return `${list}/${key}`
}

function isRefused(change: Change): change is Refused {
  return 'reason' in change.entry
}

function entryOf(list: FedList, key: string, value: Buffer | null): Change['entry'] {
  if (key === '') return { reason: 'no key' }
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) return { reason: `a key of more than ${MAX_KEY_BYTES} bytes` }
  try {
    return watchRecordOf(list, key, value)
  } catch (error) {
    return { reason: messageOf(error) }
  }
}

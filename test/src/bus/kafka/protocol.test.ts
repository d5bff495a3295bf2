import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { clientOptions } from '../../../../src/bus/kafka/client.ts'
import { type Cluster, openCluster } from '../../../../src/bus/kafka/cluster.ts'
import { fetchCommitted } from '../../../../src/bus/kafka/fetch.ts'
import { type Assignment, type Group, joinGroup, keyOf, type Membership } from '../../../../src/bus/kafka/group.ts'
import { readRecords } from '../../../../src/bus/kafka/records.ts'
import { ensureTopics, topicsOf } from '../../../../src/bus/kafka/topics.ts'
import { createProducer, Fenced, fence, StaleMembership } from '../../../../src/bus/kafka/transaction.ts'
import { brokerForTests, skipReason, uniquePrefix } from '../../../support/kafka.ts'
import { recordingLog, until } from '../../../support/pipeline.ts'
import { busOf, namesWith } from './settings.ts'

const why = await skipReason()
const never = new AbortController().signal

interface World {
  cluster: Cluster
  topic: string
  id: string
  join(options?: { onAssigned?: (assignment: Assignment) => Promise<void> | void }): Group
}

async function openWorld(partitions = 2): Promise<World> {
  const { bootstrap } = await brokerForTests()
  const names = namesWith(uniquePrefix())
  const bus = busOf(bootstrap, { ...names, KAFKA_PARTITIONS: String(partitions) })
  await ensureTopics(bus, topicsOf(bus))
  const cluster = openCluster(clientOptions(bus))
  onTestFinished(() => cluster.close())
  const topic = names.KAFKA_TOPIC_RAW as string
  const id = names.KAFKA_GROUP_ID as string
  return {
    ...{ cluster, topic, id },
    join({ onAssigned = () => {} } = {}) {
      const options = { cluster, groupId: id, topics: [topic], sessionTimeoutMs: 3000, log: recordingLog(), onAssigned }
      const group = joinGroup(options)
      onTestFinished(() => group.close())
      return group
    },
  }
}

const producerOf = ({ cluster, id }: World, name: string, onAborted = () => {}) =>
  createProducer(cluster, { transactionId: `${id}-${name}`, compression: 'lz4', onAborted })
const message = ({ topic }: World, text: string, partition = 0) => ({ topic, partition, value: Buffer.from(text) })

async function readAll({ cluster, topic }: World, end: number, maxBytes = 1024 * 1024): Promise<string[]> {
  const found: string[] = []
  const leader = (await cluster.topics([topic])).get(topic)?.partitions[0]?.leader as number
  for (let offset = 0; offset < end; ) {
    const at = [{ topic, partition: 0, offset }]
    const [answer] = await fetchCommitted(cluster, leader, at, { maxWaitMs: 200, maxBytes })
    if (answer === undefined) throw new Error('no answer')
    offset = readRecords(answer.records, { from: offset, aborted: answer.aborted }, ({ value }) =>
      found.push(String(value)),
    )
  }
  return found
}

describe.skipIf(why)(`transactions on a broker${why}`, () => {
  it('appear whole or not at all', async () => {
    const world = await openWorld()
    let aborted = 0
    const producer = producerOf(world, 'a', () => aborted++)
    await producer.transact(never, ({ send }) => send([message(world, 'one'), message(world, 'two')]))
    const given = new Error('given up')
    await expect(
      producer.transact(never, async ({ send }) => {
        await send([message(world, 'no')])
        throw given
      }),
    ).rejects.toBe(given)
    await producer.transact(never, ({ send }) => send([message(world, 'three')]))
    // Three marks among them.
    expect(await readAll(world, 7)).toEqual(['one', 'two', 'three'])
    expect(aborted).toBe(1)
  })

  it('that were aborted are left out even where an answer ends before their mark', async () => {
    const world = await openWorld()
    const producer = producerOf(world, 'a')
    const bulky = (n: number) => message(world, `no ${n} ${String(Math.random()).repeat(600)}`)
    const attempt = producer.transact(never, async ({ send }) => {
      for (let n = 0; n < 30; n++) await send([bulky(n)])
      throw new Error('given up')
    })
    await expect(attempt).rejects.toThrow('given up')
    await producer.transact(never, ({ send }) => send([message(world, 'yes')]))
    expect(await readAll(world, 33, 4096)).toEqual(['yes'])
  })

  it('of more than a batch may hold arrive in their order', async () => {
    const world = await openWorld()
    const producer = producerOf(world, 'a')
    const texts = Array.from({ length: 5000 }, (_, n) => `${n} ${'x'.repeat(400)}`)
    await producer.transact(never, async ({ send }) => {
      await send(texts.slice(0, 4000).map((text) => message(world, text)))
      await send(texts.slice(4000).map((text) => message(world, text)))
    })
    expect(await readAll(world, 5001)).toEqual(texts)
  })

  it('of a producer whose id another took over commit nothing, and go on under a new epoch', async () => {
    const world = await openWorld()
    const zombie = producerOf(world, 'shared')
    const attempt = zombie.transact(never, async ({ send }) => {
      await send([message(world, 'zombie')])
      await fence(world.cluster, `${world.id}-shared`, never)
      await send([message(world, 'zombie again')])
    })
    await expect(attempt).rejects.toBeInstanceOf(Fenced)
    await zombie.transact(never, ({ send }) => send([message(world, 'registered anew')]))
    expect(await readAll(world, 4)).toEqual(['registered anew'])
  })
})

describe.skipIf(why)(`groups on a broker${why}`, () => {
  it('share the partitions out, and leave them where they are', async () => {
    const world = await openWorld(4)
    const assigned = { a: [] as Assignment[], b: [] as Assignment[] }
    const a = world.join({ onAssigned: (each) => void assigned.a.push(each) })
    await a.settled(never)
    expect(assigned.a.at(-1)?.assigned).toHaveLength(4)
    const b = world.join({ onAssigned: (each) => void assigned.b.push(each) })
    await until(() => assigned.a.at(-1)?.assigned.length === 2 && assigned.b.at(-1)?.assigned.length === 2, 'shares')
    const [last] = assigned.a.slice(-1) as [Assignment]
    expect([...last.kept].sort()).toEqual(last.assigned.map(keyOf).sort())
    await b.close()
    await until(() => assigned.a.at(-1)?.assigned.length === 4, 'all of them again')
    // What the other had in between is not kept.
    expect(assigned.a.at(-1)?.kept.size).toBe(2)
  })

  it('refuse offsets of an earlier generation', async () => {
    const world = await openWorld()
    const a = world.join()
    const early = await a.settled(never)
    world.join()
    const now = await a.settled(never, early)
    expect(now.generationId).toBeGreaterThan(early.generationId)
    const producer = producerOf(world, 'a')
    const commit = (member: Membership, offset: number) =>
      producer.transact(never, async ({ send, commitOffsets }) => {
        await send([message(world, `at ${offset}`)])
        await commitOffsets(member, [{ topic: world.topic, partition: 0, offset }])
      })
    await expect(commit(early, 5)).rejects.toBeInstanceOf(StaleMembership)
    // A third may join in between.
    await until(async () => {
      const member = await a.settled(never)
      return await commit(member, 3).then(
        () => true,
        () => false,
      )
    }, 'a commit of this generation')
    const committed = await a.committed([{ topic: world.topic, partition: 0 }], never)
    expect(committed.get(`${world.topic}/0`)).toBe(3)
  })

  it('tell no offset while a transaction may still change it', async () => {
    const world = await openWorld()
    const group = world.join()
    const member = await group.settled(never)
    const place = { topic: world.topic, partition: 0 }
    const producer = producerOf(world, 'a')
    let told: number | undefined
    let asking: Promise<void> | undefined
    await producer.transact(never, async ({ commitOffsets }) => {
      await commitOffsets(member, [{ ...place, offset: 8 }])
      asking = group.committed([place], never).then((found) => {
        told = found.get(keyOf(place))
      })
      await sleep(600)
      expect(told).toBeUndefined()
    })
    await asking
    expect(told).toBe(8)
  })

  it('keep a member whose assignment takes longer than its session', async () => {
    const world = await openWorld()
    let taken = 0
    const group = world.join({
      async onAssigned() {
        await sleep(5000)
        taken++
      },
    })
    await group.settled(never)
    expect([taken, group.rebalances()]).toEqual([1, 1])
  })

  it('that go on while an assignment is taken up end it, and the next is whole', async () => {
    const world = await openWorld()
    const reasons: unknown[] = []
    let calls = 0
    const group = world.join({
      async onAssigned({ signal }) {
        if (calls++ > 0) return
        await sleep(20_000, undefined, { signal }).catch(() => reasons.push(signal.reason))
        throw signal.reason
      },
    })
    await until(() => calls === 1, 'the first assignment')
    const other = world.join()
    await other.settled(never)
    await group.settled(never)
    expect(reasons).toHaveLength(1)
    expect(calls).toBeGreaterThan(1)
  })
})

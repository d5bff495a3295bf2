import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openKafkaBus } from '../../../../src/bus/kafka/bus.ts'
import { clientOptions } from '../../../../src/bus/kafka/client.ts'
import { openCluster } from '../../../../src/bus/kafka/cluster.ts'
import { offsetAt } from '../../../../src/bus/kafka/fetch.ts'
import { ensureTopics, topicsOf } from '../../../../src/bus/kafka/topics.ts'
import { createProducer, fence } from '../../../../src/bus/kafka/transaction.ts'
import { openParquetSink } from '../../../../src/sinks/parquet/sink.ts'
import type { Batch } from '../../../../stages/hand-offs.ts'
import { completionOf } from '../../../../stages/runner.ts'
import type { StageResult } from '../../../../stages/stage.ts'
import { createUpload } from '../../../../stages/upload/upload.ts'
import type { Fact } from '../../../../state/completion.ts'
import type { Job, NewJob, StageName } from '../../../../state/job.ts'
import { openLedger } from '../../../../state/ledger.ts'
import { processIdentity } from '../../../../state/process-identity.ts'
import {
  arrivalOf,
  type BusHost,
  type BusUnderTest,
  claimed,
  complete,
  describeBus,
  handOn,
  jobFor,
  never,
} from '../../../contracts/bus.ts'
import { startProxy } from '../../../support/kafka/proxy.ts'
import { recordsIn } from '../../../support/kafka/topic.ts'
import { brokerForTests, skipReason, startBroker, uniquePrefix } from '../../../support/kafka.ts'
import { recordingLog, testLayout, until } from '../../../support/pipeline.ts'
import { busOf, namesWith } from './settings.ts'

const why = await skipReason()
const whyOwn = await skipReason({ own: true })

interface World extends BusUnderTest {
  config: ReturnType<typeof busOf>
  host(options?: {
    stages?: StageName[]
    ledger?: 'same' | 'own'
    intervalMs?: number
  }): Promise<BusHost & { lines: string[] }>
}

function worldOn(bootstrap: string, settings: Record<string, string> = {}): World {
  const config = busOf(bootstrap, {
    ...namesWith(uniquePrefix()),
    ...{ KAFKA_PARTITIONS: '3', KAFKA_SESSION_TIMEOUT_SECONDS: '6', KAFKA_NORMALIZED: 'false', ...settings },
  })
  const opened = new Map<'same' | 'own', Pick<BusHost, 'ledger' | 'layout'>>()
  return {
    config,
    hasLedgers: true,
    async host({ stages = ['convert'] as StageName[], ledger: which = 'same', intervalMs = 300 } = {}) {
      const own = which === 'same' ? (opened.get('same') ?? newLedger()) : newLedger()
      opened.set(which, own)
      const log = recordingLog()
      const bus = openKafkaBus({
        ...{ ...own, config, log, leaseMs: 30_000 },
        flush: { bufferBytes: 0, intervalMs, events: 0 },
        rules: { localNetworks: [] },
      })
      onTestFinished(async () => {
        await bus.close()
      }, 60_000)
      await bus.join({ stages, onWork: () => {}, mayClaim: () => true })
      return { ...own, bus, lines: log.lines }
    },
  }
}

function newLedger(): Pick<BusHost, 'ledger' | 'layout'> {
  const layout = testLayout()
  const ledger = openLedger(layout.ledger)
  onTestFinished(() => ledger.close())
  return { ledger, layout }
}

async function openWorld(settings: Record<string, string> = {}): Promise<World> {
  return worldOn((await brokerForTests()).bootstrap, settings)
}

describe.skipIf(why)(`over a broker${why}`, () => describeBus('the bus over Kafka', openWorld))

describe.skipIf(why)(`several ledgers on one bus${why}`, () => {
  it('come to know all facts, and where the work stands', async () => {
    const world = await openWorld()
    const here = await world.host({ stages: ['convert'] })
    const there = await world.host({ stages: ['split'], ledger: 'own' })
    await handOn(here, [jobFor('convert', 'a')], [arrivalOf('one')])
    await until(() => there.ledger.captures.arrivals().length === 1, 'the arrival')
    expect(there.ledger.jobs.find('convert', 'a')?.status).toBe('sent')
    const [job] = (await claimed(here, 'convert')) as [Job]
    await complete(here, job, { handOffs: [jobFor('split', 'b')], facts: [arrivalOf('two')] })
    const [next] = (await claimed(there, 'split')) as [Job]
    expect(there.ledger.jobs.find('convert', 'a')?.status).toBe('done')
    expect(there.ledger.captures.arrivals()).toHaveLength(2)
    await there.bus.fail(next, { code: 'io', message: 'no' }, { signal: never })
    await until(() => here.ledger.jobs.find('split', 'b')?.status === 'failed', 'the failure')
  })

  it('tell one another which directories were taken over', async () => {
    const world = await openWorld()
    const maker = await world.host({ stages: ['convert'] })
    const taker = await world.host({ stages: ['split'], ledger: 'own' })
    await handOn(maker, [jobFor('convert', 'a')])
    const [job] = (await claimed(maker, 'convert')) as [Job]
    const dir = join(maker.layout.spool, 'convert', `a.${job.lease}`)
    await complete(maker, job, { keep: [dir], handOffs: [jobFor('split', 'b')] })
    const path = relative(maker.layout.dataDir, dir)
    expect(maker.ledger.artifacts.isKept(path)).toBe(true)
    const [next] = (await claimed(taker, 'split')) as [Job]
    await complete(taker, next, { consumed: [path] })
    await until(() => maker.ledger.artifacts.released().includes(path), 'the release')
  })

  it('go on behind a message in the ledger topic that is no record', async () => {
    const world = await openWorld()
    const host = await world.host()
    const cluster = openCluster(clientOptions(world.config))
    onTestFinished(() => cluster.close())
    const topic = `${world.config.topicPrefix}ledger`
    const stranger = createProducer(cluster, { transactionId: `${topic}-stranger`, compression: 'none' })
    await stranger.transact(never, async ({ send }) => {
      for (const text of ['nonsense', '{"ledger":"x","completion":{}}', 'null'])
        await send([{ topic, key: Buffer.from(text), value: Buffer.from(text) }])
    })
    await handOn(host, [jobFor('convert', 'a')])
    const [job] = (await claimed(host, 'convert')) as [Job]
    await complete(host, job)
    const other = await world.host({ ledger: 'own' })
    await until(() => other.ledger.jobs.find('convert', 'a')?.status === 'done', 'the record')
    expect(host.lines.join('\n')).toContain('no record is passed over')
  })
})

describe.skipIf(why)(`work that moves${why}`, () => {
  it('from one process to another of the same ledger is not taken from the new one by the old one', async () => {
    const world = await openWorld({ KAFKA_PARTITIONS: '2' })
    const first = await world.host()
    const keys = Array.from({ length: 8 }, (_, index) => `k${index}`)
    await handOn(
      first,
      keys.map((key) => jobFor('convert', key)),
    )
    const held = [...(await claimed(first, 'convert')), ...(await claimed(first, 'convert'))]
    expect(held).toHaveLength(2)
    const second = await world.host()
    const [moved] = (await claimed(second, 'convert')) as [Job]
    expect(held.map(({ key }) => key)).toContain(moved.key)
    await first.bus.close()
    expect(first.ledger.jobs.isHeld(moved.lease)).toBe(true)
    await complete(second, moved)
    const done = [moved.key]
    await until(async () => {
      for (const job of second.bus.claim({ stage: 'convert', leaseMs: 30_000 })) {
        await complete(second, job)
        done.push(job.key)
      }
      return done.length === keys.length
    }, 'all jobs')
    expect(done.sort()).toEqual(keys)
  })

  it('stays open in the ledger meanwhile, so that its capture is not taken for finished', async () => {
    const world = await openWorld()
    const host = await world.host()
    await handOn(host, [jobFor('convert', 'a')])
    await claimed(host, 'convert')
    await host.bus.close()
    expect(host.ledger.jobs.find('convert', 'a')?.status).toBe('sent')
  })

  it('does not stop its partition when its capture is forgotten under it', async () => {
    const world = await openWorld({ KAFKA_PARTITIONS: '1' })
    const host = await world.host()
    const captureId = 'c'.repeat(64)
    await handOn(host, [{ ...jobFor('convert', 'gone'), captureId }, jobFor('convert', 'next')])
    const [job] = (await claimed(host, 'convert')) as [Job]
    expect(job.key).toBe('gone')
    host.ledger.jobs.removeOf(captureId)
    await expect(complete(host, job)).rejects.toMatchObject({ code: 'lease_lost' })
    expect((await claimed(host, 'convert'))[0]?.key).toBe('next')
  })
})

describe.skipIf(why)(`events on a bus${why}`, () => {
  it('of one flow stay in order, in one partition; chunks that are out are left out', async () => {
    const world = await openWorld({ KAFKA_PARTITIONS: '4' })
    const host = await world.host({ stages: ['distribute'] })
    const captureId = 'a'.repeat(64)
    const flows = ['CaaaaaaaaaaaaaaaaA', 'CbbbbbbbbbbbbbbbbB', 'CccccccccccccccccC']
    const line = (n: number) => `{"ts":${n},"uid":"${flows[n % 3]}","n":${n}}\n`
    const batches = [0, 1].map((index) => {
      const dir = join(host.layout.spool, 'batches', `b${index}`)
      mkdirSync(dir, { recursive: true })
      const lines = Array.from({ length: 30 }, (_, n) => line(index * 30 + n))
      writeFileSync(join(dir, '0.ndjson'), lines.join(''))
      const chunk = { file: '0.ndjson', logType: 'conn', firstOrdinal: index * 30, lines: 30, bytes: 1 }
      const input: Batch = { dir: relative(host.layout.dataDir, dir), source: 'site', chunks: [chunk] }
      return { stage: 'upload', key: `${captureId}/${index}`, captureId, input } as NewJob<Batch>
    })
    // As an attempt before has left it, that published the first batch and then died.
    host.ledger.published.add(captureId, batches[0]?.input.chunks ?? [])
    await handOn(host, [{ ...jobFor('distribute', captureId), captureId }])
    const [job] = (await claimed(host, 'distribute')) as [Job]
    await complete(host, job, { handOffs: batches })
    const records = await recordsIn(world.config, world.config.topicsRaw[0] as string)
    expect(records).toHaveLength(30)
    for (const flow of flows) {
      const own = records.filter(({ value }) => String(value).includes(flow))
      expect(new Set(own.map(({ partition }) => partition)).size).toBe(1)
      const ordinals = own.map(({ value }) => JSON.parse(String(value)).conn.n)
      expect(ordinals).toEqual([...ordinals].sort((a, b) => a - b))
    }
    const headers = Object.fromEntries((records[0]?.headers ?? []).map((pair) => pair.map(String)))
    expect(headers).toMatchObject({ capture: captureId, log: 'conn', source: 'site' })
    expect(readdirSync(join(host.layout.spool, 'batches'))).toEqual([])
  })
})

describe.skipIf(why)(`a batch of live events${why}`, () => {
  async function collecting(settings: { intervalMs: number }) {
    const world = await openWorld({ KAFKA_PARTITIONS: '2' })
    const host = await world.host({ stages: ['upload'], ...settings })
    const cluster = openCluster(clientOptions(world.config))
    onTestFinished(() => cluster.close())
    const topic = world.config.topicsRaw[0] as string
    const sensor = createProducer(cluster, { transactionId: `${topic}-sensor`, compression: 'lz4' })
    let next = 0
    const send = async (n: number) =>
      await sensor.transact(never, ({ send: produce }) =>
        produce(
          Array.from({ length: n }, () => ({
            ...{ topic, partition: next % 2 },
            value: Buffer.from(`{"dns":{"ts":1,"uid":"C${next++}"}}`),
          })),
        ),
      )
    await send(40)
    return { host, send, sent: () => next }
  }

  const spoolOf = ({ layout }: BusHost) => join(layout.spool, 'batches')
  const uidsOf = ({ layout }: BusHost, { input }: Job) => {
    const { dir, chunks } = input as Batch
    const text = chunks.map(({ file }) => readFileSync(join(layout.dataDir, dir, file), 'utf8')).join('')
    return [...text.matchAll(/"uid":"(C\d+)"/g)].map(([, uid]) => uid).sort()
  }
  const uids = (n: number) => Array.from({ length: n }, (_, index) => `C${index}`).sort()
  const isCollecting = ({ bus }: BusHost) => (bus.counters().kafka_buffered_bytes ?? 0) > 0

  it('is collected anew when its files were taken away, each event once', async () => {
    const { host } = await collecting({ intervalMs: 2000 })
    await until(() => isCollecting(host), 'events')
    for (const name of readdirSync(spoolOf(host))) rmSync(join(spoolOf(host), name), { recursive: true })
    const [job] = (await claimed(host, 'upload')) as [Job]
    expect(uidsOf(host, job)).toEqual(uids(40))
    expect(host.lines.join('\n')).toContain('given up, to be read again')
  })

  it('is collected anew when its lease ran out while the process stood still', async () => {
    const { host, send } = await collecting({ intervalMs: 2500 })
    await until(() => isCollecting(host), 'events')
    const [before] = readdirSync(spoolOf(host))
    expect(host.ledger.jobs.reclaim(Date.now() + 3600_000)).toBe(1)
    await send(10)
    const [job] = (await claimed(host, 'upload')) as [Job]
    expect((job.input as Batch).dir).not.toContain(before)
    const all = uidsOf(host, job)
    // The last ten may be in the next batch.
    if (all.length < 50) {
      await complete(host, job)
      all.push(...uidsOf(host, ((await claimed(host, 'upload')) as [Job])[0]))
    }
    expect(all.sort()).toEqual(uids(50))
  })

  it('is read again when its job is gone from the ledger, with what was read since', async () => {
    const { host, send } = await collecting({ intervalMs: 300 })
    const stream = () => host.ledger.jobs.list().filter(({ stage, status }) => stage === 'upload' && status === 'ready')
    await until(() => stream().length === 1 && !isCollecting(host), 'a batch')
    const key = stream()[0]?.key as string
    await send(10)
    host.ledger.jobs.drop('upload', key, `stream ${processIdentity()}`)
    const all: (string | undefined)[] = []
    await until(async () => {
      for (const job of host.bus.claim({ stage: 'upload', leaseMs: 30_000 })) {
        all.push(...uidsOf(host, job))
        await complete(host, job)
      }
      return all.length >= 50
    }, 'all events')
    expect(all.sort()).toEqual(uids(50))
  })

  it('whose upload is finished is not read again by whoever comes next', async () => {
    const { host, sent } = await collecting({ intervalMs: 200 })
    const [job] = (await claimed(host, 'upload')) as [Job]
    await complete(host, job)
    await until(() => host.bus.counters().kafka_lag === 0, 'the end of the topic')
    expect(uidsOf(host, job)).toHaveLength(sent())
    await new Promise((resolve) => setTimeout(resolve, 1500))
    expect(host.bus.claim({ stage: 'upload', leaseMs: 1000 })).toEqual([])
  })

  it('that was given up sends its dead letters, each once, when it is tried again', async () => {
    const world = await openWorld({ KAFKA_PARTITIONS: '1' })
    const host = await world.host({ stages: ['upload'], intervalMs: 300 })
    const cluster = openCluster(clientOptions(world.config))
    onTestFinished(() => cluster.close())
    const topic = world.config.topicsRaw[0] as string
    const sensor = createProducer(cluster, { transactionId: `${topic}-sensor`, compression: 'lz4' })
    const texts = ['nonsense', '{"dns":{"ts":1,"uid":"C1"}}', '{"dns":{"ts":wrong}}']
    await sensor.transact(never, ({ send }) => send(texts.map((text) => ({ topic, value: Buffer.from(text) }))))
    const letters = async () =>
      (await recordsIn(world.config, world.config.topicDeadLetter)).map(({ value }) => String(value)).sort()
    const { handle } = createUpload({
      ...{ ledger: host.ledger, layout: host.layout },
      sink: await openParquetSink({ localNetworks: [], threads: 1, memoryLimit: '300MB' }),
      flush: { bufferBytes: 0, intervalMs: 0, events: 0 },
    })
    const uploaded = async (job: Job) => {
      const workDir = join(host.layout.spool, `work.${job.lease}`)
      mkdirSync(workDir, { recursive: true })
      return await handle([job], { workDir, signal: never, log: recordingLog(), progress: () => {} })
    }
    const [job] = (await claimed(host, 'upload')) as [Job]
    await uploaded(job)
    await host.bus.fail(job, { code: 'io', message: 'the disk is broken' }, { signal: never })
    expect(await letters()).toEqual([])
    expect(host.ledger.jobs.retry()).toBe(1)
    const [again] = (await claimed(host, 'upload')) as [Job]
    const result = (await uploaded(again)) as StageResult
    const completion = completionOf('upload', [again], result, host.layout)
    await host.bus.complete(completion, { signal: never, uploaded: result.uploaded })
    expect(await letters()).toEqual(['nonsense', '{"dns":{"ts":wrong}}'])
  })
})

/** A broker that is reached through the proxy alone. */
async function startBehindProxy() {
  const proxy = await startProxy()
  onTestFinished(() => proxy.close())
  const broker = await startBroker({ properties: { 'advertised.listeners': `PLAIN://127.0.0.1:${proxy.port}` } })
  onTestFinished(async () => await broker[Symbol.asyncDispose]())
  proxy.to(Number(broker.bootstrap.split(':')[1]))
  return { proxy, world: worldOn(`127.0.0.1:${proxy.port}`) }
}

describe.skipIf(whyOwn)(`an answer that comes after its time${whyOwn}`, () => {
  const LIST_OFFSETS = 2

  it('finds its connection closed, so that it cannot be taken for another', async () => {
    const { proxy, world } = await startBehindProxy()
    await ensureTopics(world.config, topicsOf(world.config))
    const cluster = openCluster({ ...clientOptions(world.config), requestTimeout: 700 })
    onTestFinished(() => cluster.close())
    const topic = world.config.topicsRaw[0] as string
    const sensor = createProducer(cluster, { transactionId: `${topic}-sensor`, compression: 'lz4' })
    await sensor.transact(never, ({ send }) =>
      send([0, 1, 1].map((partition) => ({ topic, partition, value: Buffer.from('{}') }))),
    )
    // Behind the events, the mark of the transaction.
    const ends = async () =>
      await Promise.all([0, 1, 2].map((partition) => offsetAt(cluster, topic, partition, 'latest')))
    await until(async () => (await ends()).join() === '2,3,0', 'the marks')
    proxy.cut({ apiKey: LIST_OFFSETS, where: 'answer', times: 1, lateMs: 1500 })
    await expect(offsetAt(cluster, topic, 0, 'latest')).rejects.toThrow('timed out')
    expect(await ends()).toEqual([2, 3, 0])
    await until(() => proxy.late().missed + proxy.late().arrived === 1, 'the late answer')
    expect(proxy.late()).toEqual({ missed: 1, arrived: 0 })
    expect(await ends()).toEqual([2, 3, 0])
  }, 60_000)
})

describe.skipIf(whyOwn)(`a commit whose answer is lost${whyOwn}`, () => {
  const END_TXN = 26
  const facts: Fact[] = [arrivalOf('f')]
  const result = { handOffs: [jobFor('split', 'b')], facts }

  async function behindProxy() {
    const { proxy, world } = await startBehindProxy()
    const host = await world.host({ stages: ['convert', 'split'] })
    await handOn(host, [jobFor('convert', 'a'), jobFor('convert', 'b'), jobFor('convert', 'c'), jobFor('convert', 'd')])
    const cluster = openCluster(clientOptions(world.config))
    onTestFinished(() => cluster.close())
    return { world, host, proxy, cluster }
  }

  /** What a request to end a transaction is about: behind the client's name, a compact string. */
  function transactionOf(request: Buffer): string {
    const at = 14 + Math.max(0, request.readInt16BE(12)) + 1
    return request.toString('utf8', at + 1, at + (request[at] as number))
  }

  it('is asked for again; is found out, when others have ended it since; and is left to recovery, when nobody waits', async () => {
    const { host, proxy, cluster } = await behindProxy()
    const arrivals = () => host.ledger.captures.arrivals().length
    for (const [index, where] of (['answer', 'request'] as const).entries()) {
      const [job] = (await claimed(host, 'convert')) as [Job]
      proxy.cut({ apiKey: END_TXN, where, times: 1 })
      await complete(host, job, { facts })
      expect([proxy.cuts(), arrivals()]).toEqual([index + 1, index + 1])
    }
    for (const [index, where] of (['answer', 'request'] as const).entries()) {
      const [job] = (await claimed(host, 'convert')) as [Job]
      const before = async (request: Buffer) => void (await fence(cluster, transactionOf(request), never))
      proxy.cut({ apiKey: END_TXN, where, times: 1, before })
      await complete(host, job, { facts })
      expect([proxy.cuts(), arrivals()]).toEqual([3 + index, 3 + index])
    }
    expect(host.lines.filter((line) => line.includes('it is not known whether'))).toHaveLength(2)

    await handOn(host, [jobFor('convert', 'e'), jobFor('convert', 'f')])
    for (const where of ['answer', 'request'] as const) {
      const [job] = (await claimed(host, 'convert')) as [Job]
      // What else this process commits now and then (marks that were read) is behind it.
      await new Promise((resolve) => setTimeout(resolve, 1500))
      const giveUp = new AbortController()
      const before = async () => giveUp.abort(new Error('the process stops'))
      proxy.cut({ apiKey: END_TXN, where, times: 1000, before })
      // Longer than a commit is asked for when nobody waits any more; then others may commit.
      const through = setTimeout(() => proxy.cut({ apiKey: END_TXN, where, times: 0 }), 6000)
      const completion = completionOf('convert', [job], { facts }, host.layout)
      await expect(host.bus.complete(completion, { signal: giveUp.signal })).rejects.toMatchObject({
        code: 'bus_unavailable',
      })
      clearTimeout(through)
      proxy.cut({ apiKey: END_TXN, where, times: 0 })
      // It may have been made: nobody else gets the job, however late it is.
      expect(host.ledger.jobs.reclaim(Date.now() + 3600_000)).toBe(0)
      expect(host.ledger.jobs.release(job)).toBe(false)
      await host.bus.recover()
      const isMade = where === 'answer'
      expect(host.ledger.jobs.find('convert', job.key)?.status).toBe(isMade ? 'done' : 'running')
      expect(arrivals()).toBe(5)
      if (!isMade) expect(host.ledger.jobs.release(job)).toBe(true)
    }
    const [again] = (await claimed(host, 'convert')) as [Job]
    await complete(host, again, result)
    expect(arrivals()).toBe(6)
    expect((await claimed(host, 'split'))[0]?.key).toBe('b')
  }, 180_000)
})

/**
 * The pipeline over Kafka, its stages as processes of their own, disturbed at random instants: processes are killed,
 * stopped in good order, paused for longer than their session, joined by others; the broker is killed. Meanwhile
 * captures come in, and messages of others. Then all may finish.
 *
 * In: a broker, a seed and what to do. Out: what there is in the end, beside what there should be.
 */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BusConfig, clientOptions } from '../../src/bus/kafka/client.ts'
import { type Cluster, openCluster } from '../../src/bus/kafka/cluster.ts'
import { fetchCommitted, offsetAt } from '../../src/bus/kafka/fetch.ts'
import { groupLags } from '../../src/bus/kafka/lag.ts'
import { type RawRecord, readRecords } from '../../src/bus/kafka/records.ts'
import { createProducer, type OutMessage } from '../../src/bus/kafka/transaction.ts'
import type { CaptureRow } from '../../state/captures.ts'
import { corruptRecord, cutTail, nanosecond, packetsOf, pcapng, sample } from '../fixtures/variants.ts'
import { busOf, namesWith } from '../src/bus/kafka/settings.ts'
import { type Home, makeHome } from './cli.ts'
import { type Broker, uniquePrefix } from './kafka.ts'
import { describeHome, type KillRun, runWithKills } from './kills.ts'
import { type Random, randomFrom } from './mutate.ts'

export interface KafkaKillOptions {
  broker: Broker
  seed: number
  /** Disturbances of all kinds. */
  kills: number
  /** Two ledgers over one data directory, instead of one. */
  hosts: 1 | 2
  /** The next comes within this time. */
  withinMs: number
  /** What was done. */
  say?: (what: string) => void
}

export interface KafkaKillRun {
  /** What was done, how often. */
  done: Record<string, number>
  expected: Pick<KillRun, 'captures' | 'tables'>
  /** As each ledger has it. */
  hosts: (Omit<KillRun, 'kills' | 'tables'> & { receipts: string[] })[]
  tables: KillRun['tables']
  /** Messages that others wrote; of these, ids that are no row, and that are more than one. */
  foreign: { sent: number; lost: number; doubled: number }
  /** Read committed. Only those of others can be told apart: captures that share packets share events. */
  normalized: { messages: number; rows: number; ofOthers: number; distinctOfOthers: number }
  deadLetters: { expected: number; found: number }
  lag: number
}

const SESSION_SECONDS = 6
const FINISH_MS = 240_000
const CAPTURES = 6
const FOREIGN_EACH = 120

interface Role {
  name: string
  stage: string
  host: number
}

export async function runKafkaWithKills(options: KafkaKillOptions): Promise<KafkaKillRun> {
  const { broker, seed, kills, hosts, withinMs, say = () => {} } = options
  const random = randomFrom(seed)
  const names = namesWith(uniquePrefix())
  const states = Array.from({ length: hosts }, () => mkdtempSync(join(tmpdir(), 'pcap-pipeline-state-')))
  const settings = {
    ...names,
    ...{ BUS: 'kafka', KAFKA_BROKERS: broker.bootstrap, KAFKA_PARTITIONS: '4' },
    ...{ KAFKA_SESSION_TIMEOUT_SECONDS: String(SESSION_SECONDS), FLUSH_INTERVAL_SECONDS: '1' },
    ...{
      SPLIT_LINES: '7',
      BATCH_EVENTS: '20',
      JOB_LEASE_SECONDS: '5',
      JOB_BACKOFF_MS: '200',
      STOP_TIMEOUT_SECONDS: '5',
    },
  }
  using first = makeHome({ ...settings, ...(hosts > 1 && { STATE_DIR: states[0] as string }) })
  using second = makeHome({ ...settings, DATA_DIR: first.dataDir, STATE_DIR: states[1] ?? first.dataDir })
  const homes = [first, second].slice(0, hosts)
  const bus = busOf(broker.bootstrap, names)
  const captures = makeCaptures(join(first.dir, 'captures'))
  const expected = await undisturbed(captures)
  const processes = new Processes(homes)
  const foreign = openForeign(bus, seed)
  const done: Record<string, number> = {}
  try {
    for (const role of rolesOf(hosts)) processes.start(role)
    mkdirSync(first.inbox, { recursive: true })
    await untilTopics(bus)
    const disturb = disturbances({ processes, broker, random })
    for (let kill = 0; kill < kills; kill++) {
      await foreign.send(FOREIGN_EACH)
      const due = Math.floor((kill * CAPTURES) / kills)
      for (const capture of captures.splice(0, due - (CAPTURES - captures.length) + 1)) drop(capture, first.inbox)
      await sleep(random(withinMs + 1))
      const what = await disturb(kill)
      done[what] = (done[what] ?? 0) + 1
      say(`${kill + 1}/${kills} ${what}`)
    }
    for (const capture of captures.splice(0)) drop(capture, first.inbox)
    await foreign.send(FOREIGN_EACH)
    await processes.allUp()
    say('finishing')
    await untilFinished({ homes, bus, captures: CAPTURES })
    await processes.stop()
    return { done, expected: withForeign(expected, foreign.counts()), ...(await describeAll({ homes, bus, foreign })) }
  } finally {
    await processes.stop('SIGKILL')
    await foreign.close()
    for (const dir of states) rmSync(dir, { recursive: true, force: true })
  }
}

/** Of two hosts each has one of what there are two of. */
function rolesOf(hosts: number): Role[] {
  const other = hosts - 1
  return [
    { name: 'monitor', stage: 'monitor', host: 0 },
    { name: 'convert 1', stage: 'convert', host: 0 },
    { name: 'convert 2', stage: 'convert', host: other },
    { name: 'split', stage: 'split', host: other },
    { name: 'distribute', stage: 'distribute', host: 0 },
    { name: 'upload 1', stage: 'upload', host: 0 },
    { name: 'upload 2', stage: 'upload', host: other },
  ]
}

class Processes {
  readonly #homes: readonly Home[]
  readonly #running = new Map<string, { role: Role; child: ChildProcess; tail: string }>()
  readonly #restarts: Promise<void>[] = []

  constructor(homes: readonly Home[]) {
    this.#homes = homes
  }

  start(role: Role): void {
    const child = (this.#homes[role.host] as Home).start('stage', role.stage)
    const entry = { role, child, tail: '' }
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        entry.tail = (entry.tail + text).slice(-2000)
        if (process.env.KILLS_LOG) process.stderr.write(text.replace(/^(?=.)/gm, `[${role.name}] `))
      })
    this.#running.set(role.name, entry)
  }

  names(): string[] {
    return [...this.#running.keys()]
  }

  /** Ends it, and starts it again a little later. */
  async end(name: string, signal: 'SIGKILL' | 'SIGTERM', pauseMs: number): Promise<void> {
    const { role, child } = this.#of(name)
    await ended(child, signal)
    this.#restarts.push(sleep(pauseMs).then(() => this.start(role)))
  }

  async pause(name: string, ms: number): Promise<void> {
    const { child } = this.#of(name)
    child.kill('SIGSTOP')
    this.#restarts.push(sleep(ms).then(() => void child.kill('SIGCONT')))
  }

  /** One more of a kind, for a while. */
  async join(role: Role, ms: number): Promise<void> {
    this.start(role)
    await sleep(ms)
    const { child } = this.#of(role.name)
    await ended(child, 'SIGTERM')
    this.#running.delete(role.name)
  }

  async allUp(): Promise<void> {
    await Promise.all(this.#restarts)
    for (const { role, child, tail } of this.#running.values())
      if (child.exitCode !== null) throw new Error(`${role.name} ended by itself (${child.exitCode}): ${tail}`)
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await Promise.all(this.#restarts)
    for (const { child } of this.#running.values()) child.kill('SIGCONT')
    await Promise.all([...this.#running.values()].map(({ child }) => ended(child, signal)))
  }

  #of(name: string) {
    const entry = this.#running.get(name)
    if (entry === undefined) throw new Error(`there is no ${name}`)
    return entry
  }
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill(signal)
  const late = setTimeout(() => child.kill('SIGKILL'), 30_000)
  await exit
  clearTimeout(late)
}

interface Disturbed {
  processes: Processes
  broker: Broker
  random: Random
}

/** Each kind in turn comes to every kind of process; which of them, and when, is chance. */
function disturbances({ processes, broker, random }: Disturbed): (round: number) => Promise<string> {
  const pick = (names: readonly string[]) => names[random(names.length)] as string
  const of = (...stages: string[]) => processes.names().filter((name) => stages.some((stage) => name.startsWith(stage)))
  const pauseMs = () => random(1500)
  const kinds: ((round: number) => Promise<string>)[] = [
    async () => await kill(pick(of('upload')), 'SIGKILL'),
    async () => await kill(pick(of('convert', 'distribute')), 'SIGKILL'),
    async () => await kill(pick(processes.names()), 'SIGTERM'),
    async () => await freeze(pick(of('upload'))),
    async () => await kill(pick(processes.names()), 'SIGKILL'),
    async () => {
      await broker.kill()
      await sleep(pauseMs())
      await broker.restart()
      return 'broker SIGKILL'
    },
    async () => await kill(pick(of('distribute', 'upload')), 'SIGKILL'),
    async (round) => {
      await processes.join({ name: `upload +${round}`, stage: 'upload', host: 0 }, 3000 + random(3000))
      return 'one more upload for a while'
    },
    async () => await kill(pick(of('monitor', 'split')), 'SIGKILL'),
    async () => await freeze(pick(of('convert', 'distribute', 'split'))),
  ]
  return async (round) => await (kinds[round % kinds.length] as (typeof kinds)[number])(round)

  async function kill(name: string, signal: 'SIGKILL' | 'SIGTERM'): Promise<string> {
    await processes.end(name, signal, pauseMs())
    return `${name.replace(/ .*/, '')} ${signal}`
  }

  async function freeze(name: string): Promise<string> {
    await processes.pause(name, SESSION_SECONDS * 1000 + 1500 + random(2000))
    return `${name.replace(/ .*/, '')} paused beyond its session`
  }
}

function makeCaptures(dir: string): string[] {
  mkdirSync(dir, { recursive: true })
  const bytes = sample()
  const last = packetsOf(bytes).length - 1
  const variants = {
    'sample.pcap': bytes,
    'nanos.pcap': nanosecond(bytes),
    'ng.pcapng': pcapng(bytes),
    'cut.pcap': cutTail(bytes),
    'corrupt.pcap': corruptRecord(bytes, Math.floor(last / 2)),
    'short.pcap': bytes.subarray(0, bytes.length - 300),
  }
  return Object.entries(variants).map(([name, content]) => {
    const path = join(dir, name)
    writeFileSync(path, content)
    return path
  })
}

function drop(path: string, inbox: string): void {
  renameSync(path, join(inbox, path.slice(path.lastIndexOf('/') + 1)))
}

/** What the bus that needs no server makes of the same captures. */
async function undisturbed(captures: readonly string[]): Promise<Pick<KillRun, 'captures' | 'tables'>> {
  using home = makeHome({ SPLIT_LINES: '7' })
  const { captures: states, tables } = await runWithKills(home, { captures, kills: 0, seed: 1, withinMs: 0 })
  return { captures: states, tables }
}

function withForeign(
  { captures, tables }: Pick<KillRun, 'captures' | 'tables'>,
  foreign: Record<string, number>,
): Pick<KillRun, 'captures' | 'tables'> {
  const types = [...new Set([...Object.keys(tables), ...Object.keys(foreign)])].sort()
  const sums = types.map((type) => {
    const n = (tables[type]?.rows ?? 0) + (foreign[type] ?? 0)
    return [type, { rows: n, ids: n }] as const
  })
  return { captures, tables: Object.fromEntries(sums) }
}

async function untilTopics(bus: BusConfig): Promise<void> {
  const cluster = openCluster(clientOptions(bus))
  for (let tries = 0; ; tries++) {
    try {
      await cluster.topics([bus.topicsRaw[0] as string], { refresh: true })
      return await cluster.close()
    } catch (error) {
      if (tries > 300) throw error
      await sleep(200)
    }
  }
}

/** A sensor of somebody else's. It writes transactions too, some of which it gives up. */
function openForeign(bus: BusConfig, seed: number) {
  const cluster = openCluster(clientOptions(bus))
  const topic = bus.topicsRaw[0] as string
  const random = randomFrom(seed + 1)
  const producer = createProducer(cluster, { transactionId: `${topic}-sensor`, compression: 'lz4' })
  const counts: Record<string, number> = {}
  let next = 0
  let refused = 0

  async function send(n: number): Promise<void> {
    const limit = AbortSignal.timeout(90_000)
    const messages = Array.from({ length: n }, () => messageOf(next++))
    const nonsense: OutMessage = { topic, value: Buffer.from(`no event ${next}`) }
    await producer.transact(limit, (transaction) =>
      transaction.send([...messages.map(({ message }) => message), nonsense]),
    )
    refused++
    for (const { logType } of messages) counts[logType] = (counts[logType] ?? 0) + 1
    // Readers must not see these.
    const given = Array.from({ length: 5 }, (_, i) => messageOf(1_000_000 + next + i).message)
    const why = new Error('given up')
    await producer
      .transact(limit, async (transaction) => {
        await transaction.send(given)
        throw why
      })
      .catch((error) => {
        if (error !== why) throw error
      })
  }

  function messageOf(index: number): { logType: string; message: OutMessage } {
    const logType = ['conn', 'dns', 'http'][random(3)] as string
    const event = {
      ...{ ts: 1_767_225_600 + index / 100, uid: `Ckill${index}` },
      ...{ 'id.orig_h': '10.0.0.1', 'id.orig_p': 1024 + (index % 60_000), 'id.resp_h': '192.0.2.7', 'id.resp_p': 53 },
      ...{ conn: { proto: 'udp' }, dns: { query: `host${index}.example` }, http: { method: 'GET' } }[logType],
    }
    const value = random(2) === 0 ? { [logType]: event } : { _path: logType, ...event }
    return { logType, message: { topic, value: Buffer.from(JSON.stringify(value)), partition: random(4) } }
  }

  return { send, counts: () => counts, sent: () => next, refused: () => refused, close: () => cluster.close() }
}

interface Finishing {
  homes: readonly Home[]
  bus: BusConfig
  captures: number
}

async function untilFinished({ homes, bus, captures }: Finishing): Promise<void> {
  const started = Date.now()
  for (;;) {
    await sleep(1000)
    const open = await whatIsOpen({ homes, bus, captures })
    if (open === undefined) return
    if (Date.now() - started > FINISH_MS) throw new Error(`not finished after ${FINISH_MS / 1000} s: ${open}`)
  }
}

async function whatIsOpen({ homes, bus, captures }: Finishing): Promise<string | undefined> {
  const lags = (await groupLags(bus)).filter(({ lag }) => lag > 0)
  if (lags.length > 0) return JSON.stringify(lags)
  for (const [host, home] of homes.entries()) {
    const list: CaptureRow[] = JSON.parse((await home.run('captures', '--json')).stdout)
    const open = list.filter(({ state }) => state === 'accepted')
    if (list.length < captures || open.length > 0)
      return `host ${host}: ${list.length} captures, ${open.map(({ name }) => name).join(', ')} in work`
  }
  const spool = filesBelow(join((homes[0] as Home).dataDir, 'spool'))
  return spool.length > 0 ? `in the spool: ${spool.slice(0, 5).join(', ')}` : undefined
}

function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath.slice(dir.length), name))
}

interface Described {
  homes: readonly Home[]
  bus: BusConfig
  foreign: ReturnType<typeof openForeign>
}

async function describeAll({ homes, bus, foreign }: Described) {
  const hosts: KafkaKillRun['hosts'] = []
  let tables: KillRun['tables'] = {}
  for (const home of homes) {
    const { tables: found, ...rest } = await describeHome({ ...home, dataDir: (homes[0] as Home).dataDir })
    tables = found
    const receipts: string[] = []
    for (const { id } of rest.captures) {
      const { balanced, problems } = JSON.parse((await home.run('receipt', id, '--json')).stdout)
      if (!balanced) receipts.push(`${id.slice(0, 8)}: ${problems.join('; ')}`)
    }
    hosts.push({ ...rest, receipts })
  }
  const selects = Object.keys(foreign.counts()).map(
    (type) => `select flow_id as uid from "${type}" where flow_id like 'Ckill%'`,
  )
  const uids = (await (homes[0] as Home).rows<{ uid: string }>(selects.join(' union all '))).map(({ uid }) => uid)
  const distinct = new Set(uids)
  const sent = Array.from({ length: foreign.sent() }, (_, index) => `Ckill${index}`)
  const cluster = openCluster(clientOptions(bus))
  const normalized = await readTopic(cluster, bus.topicNormalized)
  const letters = await readTopic(cluster, bus.topicDeadLetter)
  await cluster.close()
  const others = normalized.map(({ value }) => flowOf(value)).filter((flow) => flow.startsWith('Ckill'))
  return {
    hosts,
    tables,
    foreign: {
      sent: sent.length,
      lost: sent.filter((uid) => !distinct.has(uid)).length,
      doubled: uids.length - distinct.size,
    },
    normalized: {
      messages: normalized.length,
      rows: Object.values(tables).reduce((sum, { rows }) => sum + rows, 0),
      ofOthers: others.length,
      distinctOfOthers: new Set(others).size,
    },
    deadLetters: { expected: foreign.refused(), found: letters.length },
    lag: (await groupLags(bus)).reduce((sum, { lag }) => sum + lag, 0),
  }
}

function flowOf(value: Buffer | null): string {
  return String(JSON.parse((value ?? '').toString()).normalized?.flow_id)
}

async function readTopic(cluster: Cluster, topic: string): Promise<RawRecord[]> {
  const { partitions } = (await cluster.topics([topic])).get(topic) as { partitions: { leader: number }[] }
  const found: RawRecord[] = []
  for (const [partition, { leader }] of partitions.entries()) {
    const end = await offsetAt(cluster, topic, partition, 'latest')
    for (let offset = 0; offset < end; ) {
      const at = [{ topic, partition, offset }]
      const [answer] = await fetchCommitted(cluster, leader, at, { maxWaitMs: 500, maxBytes: 2 ** 22 })
      if (answer === undefined || answer.error !== 0) throw new Error(`${topic} cannot be read: ${answer?.error}`)
      offset = readRecords(answer.records, { from: offset, aborted: answer.aborted }, (record) => {
        found.push({ ...record, value: record.value && Buffer.from(record.value) })
      })
    }
  }
  return found
}

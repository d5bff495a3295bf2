/**
 * `npm run bench:stream [-- --events 500000 --times 1 --partitions 1 --processes 1 --normalized both --kills 0 --set NAME=VALUE]`: raw
 * events that lie in a topic until they are Parquet files, by `stream` with the settings as shipped: events a second,
 * CPU seconds, memory, files and bytes; and by the events' own ids how many are lost or doubled. `--all` also takes four
 * partitions with two processes, and ten times the load; `--profile DIR` writes a CPU profile of each process there.
 *
 * The broker is not counted in, but has the same cores.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { produceV10 } from '@platformatic/kafka'
// @ts-expect-error: plain JavaScript
import { nodeOptions } from '../../deploy/bootstrap/node-options.mjs'
import { clientOptions } from '../../src/bus/kafka/client.ts'
import { openCluster } from '../../src/bus/kafka/cluster.ts'
import { groupLags } from '../../src/bus/kafka/lag.ts'
import { ensureTopics, topicsOf } from '../../src/bus/kafka/topics.ts'
import { errnoOf } from '../../state/errors.ts'
import { busOf, namesWith } from '../src/bus/kafka/settings.ts'
import { skipReason, startBroker, uniquePrefix } from '../support/kafka.ts'
import { randomFrom } from '../support/mutate.ts'

const GENERATOR = join(import.meta.dirname, '../../../shared/tools/gen_zeek_raw.py')
const MAIN = join(import.meta.dirname, '../../dist/src/main.js')
const BATCH = 1000

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '500000' },
    times: { type: 'string', default: '1' },
    partitions: { type: 'string', default: '1' },
    processes: { type: 'string', default: '1' },
    normalized: { type: 'string', default: 'both' },
    kills: { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
    all: { type: 'boolean', default: false },
    profile: { type: 'string' },
    // NAME=VALUE, other than as shipped.
    set: { type: 'string', multiple: true, default: [] },
    // A file of nested messages, one a line, instead of generated ones.
    nested: { type: 'string' },
  },
})

interface Scenario {
  times: number
  partitions: number
  processes: number
  normalized: boolean
  kills: number
}

const why = await skipReason({ own: true })
if (why !== '') throw new Error(`there is no broker to read from${why}`)
const dir = mkdtempSync(join(tmpdir(), 'bench-stream-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
const nested = values.nested ?? generate(Number(values.events))
const asked = {
  partitions: Number(values.partitions),
  processes: Number(values.processes),
  times: Number(values.times),
}
const scenarios: Scenario[] = []
for (const normalized of values.normalized === 'both' ? [false, true] : [values.normalized === 'yes'])
  scenarios.push({ ...asked, normalized, kills: Number(values.kills) })
if (values.all) {
  const last = scenarios.at(-1) as Scenario
  scenarios.push({ ...last, partitions: 4, processes: 2 }, { ...last, times: 10 })
}

for (const scenario of scenarios) {
  // A broker of its own each, so that none finds the memory of the one before.
  await using broker = await startBroker({ properties: { 'log.retention.check.interval.ms': '3600000' } })
  console.log(await run(broker.bootstrap, scenario))
}

async function run(bootstrap: string, scenario: Scenario): Promise<string> {
  const { times, partitions, processes, normalized, kills } = scenario
  const names = namesWith(uniquePrefix())
  const settings = { ...names, KAFKA_PARTITIONS: String(partitions), KAFKA_NORMALIZED: String(normalized) }
  const bus = busOf(bootstrap, settings)
  await ensureTopics(bus, topicsOf(bus))
  let events = 0
  for (let round = 0; round < times; round++) events += await preload(bus, partitions, round)
  const home = mkdtempSync(join(dir, 'home-'))
  const dataDir = join(home, 'data')
  const env = {
    ...{ PATH: process.env.PATH, HOME: home, DATA_DIR: dataDir, BUS: 'kafka', KAFKA_BROKERS: bootstrap },
    ...{
      LOG_FILE: 'off',
      ...settings,
      ...Object.fromEntries(
        values.set.map((each) => [each.slice(0, each.indexOf('=')), each.slice(each.indexOf('=') + 1)]),
      ),
    },
  }
  const start = Date.now()
  const children = Array.from({ length: processes }, () => startStream(env, home))
  const end = () => children.forEach((child) => void child.kill('SIGKILL'))
  process.once('exit', end)
  const killing = killAtRandom(children, kills, env, home)
  const usage = watch(children)
  await untilDone(bus, dataDir, children)
  await killing
  const { cpuSeconds, peakMb } = usage.end()
  for (const child of children) {
    const exit = once(child, 'exit')
    child.kill('SIGTERM')
    await exit
  }
  process.off('exit', end)
  const files = parquetFiles(dataDir)
  const seconds = (Math.max(...files.map((file) => statSync(file).ctimeMs)) - start) / 1000
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0)
  const { n, ids } = count(env, home)
  const each = events / times
  rmSync(home, { recursive: true, force: true })
  return [
    `${partitions} partition(s), ${processes} process(es), normalized ${normalized ? 'on' : 'off'}, kills ${kills}:`,
    `${events} events, ${seconds.toFixed(1)} s, ${Math.round(events / seconds)} events/s;`,
    `${cpuSeconds.toFixed(1)} CPU s (${((cpuSeconds * 500_000) / events).toFixed(1)} a 500k); peak RSS ${peakMb.join(' + ')} MB;`,
    `${files.length} files, ${(bytes / 2 ** 20).toFixed(0)} MB;`,
    // The same ids come again with every round.
    `rows ${n}, lost ${each - ids}${times > 1 ? ' of the ids' : ''}, doubled ${n - events + (each - ids) * times}`,
  ].join(' ')
}

function generate(events: number): string {
  if (!existsSync(GENERATOR)) throw new Error(`there is no ${GENERATOR}; name a file of nested messages with --nested`)
  const path = join(dir, 'nested.ndjson')
  execFileSync('python3', [GENERATOR, String(events), path])
  return path
}

/** Plain messages, as a sensor writes them: no key, no transaction. */
async function preload(bus: ReturnType<typeof busOf>, partitions: number, round: number): Promise<number> {
  const cluster = openCluster(clientOptions(bus))
  const topic = bus.topicsRaw[0] as string
  let messages: { topic: string; partition: number; value: Buffer }[] = []
  let sent = 0
  const send = async () => {
    const partition = (round + sent / BATCH) % partitions
    const batch = messages.map((message) => ({ ...message, partition: Math.floor(partition) }))
    await cluster.onLeader(topic, Math.floor(partition), (connection) =>
      produceV10.api.async(connection, 1, 20_000, batch as never, { compression: 'lz4' } as never),
    )
    sent += messages.length
    messages = []
  }
  for await (const line of createInterface({ input: createReadStream(nested) })) {
    messages.push({ topic, partition: 0, value: Buffer.from(line) })
    if (messages.length === BATCH) await send()
  }
  if (messages.length > 0) await send()
  await cluster.close()
  return sent
}

function startStream(env: NodeJS.ProcessEnv, cwd: string): ChildProcess {
  const profile = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`]
  const asShipped = nodeOptions(['stream'], env)
  const args = [...asShipped.flags, ...profile, MAIN, 'stream']
  return spawn(process.execPath, args, { env: asShipped.env, cwd, stdio: ['ignore', 'ignore', 'inherit'] })
}

async function killAtRandom(children: ChildProcess[], kills: number, env: NodeJS.ProcessEnv, cwd: string) {
  const random = randomFrom(Number(values.seed))
  for (let kill = 0; kill < kills; kill++) {
    await sleep(1500 + random(3500))
    const index = random(children.length)
    const child = children[index] as ChildProcess
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
    children[index] = startStream(env, cwd)
  }
}

/** Of all processes, those that were killed among them, as far as they were seen alive. */
function watch(children: readonly ChildProcess[]) {
  const cpu = new Map<number, number>()
  const peak = new Map<number, number>()
  const look = () => {
    for (const { pid = 0 } of children) {
      const stat = read(`/proc/${pid}/stat`)
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      if (fields.length > 13) cpu.set(pid, (Number(fields[11]) + Number(fields[12])) / 100)
      const high = /^VmHWM:\s*(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1]
      if (high !== undefined) peak.set(pid, Math.round(Number(high) / 1024))
    }
  }
  const timer = setInterval(look, 100)
  return {
    end() {
      look()
      clearInterval(timer)
      return { cpuSeconds: [...cpu.values()].reduce((a, b) => a + b, 0), peakMb: [...peak.values()] }
    },
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

async function untilDone(bus: ReturnType<typeof busOf>, dataDir: string, children: readonly ChildProcess[]) {
  for (;;) {
    await sleep(500)
    const ended = children.find(({ exitCode }) => exitCode !== null)
    if (ended !== undefined) throw new Error(`stream ended by itself: ${ended.exitCode}`)
    const lag = (await groupLags(bus)).reduce((sum, each) => sum + each.lag, 0)
    if (lag === 0 && isWithoutFiles(join(dataDir, 'spool'))) return
  }
}

/** Whoever works there may take folders away while they are listed. */
function isWithoutFiles(path: string): boolean {
  try {
    return filesBelow(path).length === 0
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

function parquetFiles(dataDir: string): string[] {
  return filesBelow(join(dataDir, 'parquet')).filter((path) => path.endsWith('.parquet'))
}

function filesBelow(path: string): string[] {
  if (!existsSync(path)) return []
  const entries = readdirSync(path, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
}

function count(env: NodeJS.ProcessEnv, cwd: string): { n: number; ids: number } {
  const sql = 'select count(*)::int as n, count(distinct flow_id)::int as ids from events'
  const answer = execFileSync(process.execPath, [MAIN, 'query', sql, '--format', 'json'], { env, cwd })
  return JSON.parse(answer.toString())[0]
}

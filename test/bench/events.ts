/**
 * `npm run bench -- events [--rows 500000] [--runs 2] [--threads 2] [--memory 512MB] [--normalized] [--nested FILE]`:
 * what live events cost from fetched message to Parquet, step by step and without Kafka itself: collecting them, writing
 * the rows and, with `--normalized`, making the normalized messages. Messages are read from a file as a fetch would
 * give them, a megabyte at a time, and are not counted.
 */

import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Collector, openCollector } from '../../src/bus/kafka/collector.ts'
import { createNormalizedMessages } from '../../src/bus/kafka/normalized.ts'
import { openParquetSink } from '../../src/sinks/parquet/sink.ts'
import { defaultRules } from '../../stages/upload/rules.ts'

const GENERATOR = join(import.meta.dirname, '../../../shared/tools/gen_zeek_raw.py')
const BLOCK_BYTES = 2 ** 20
const NEWLINE = 10
const localNetworks = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', 'fe80::/10']

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '500000' },
    runs: { type: 'string', default: '2' },
    threads: { type: 'string', default: '2' },
    memory: { type: 'string', default: '512MB' },
    normalized: { type: 'boolean', default: false },
    nested: { type: 'string' },
  },
})

const dir = mkdtempSync(join(tmpdir(), 'bench-events-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
const nested = values.nested ?? generate(Number(values.rows))
const rules = defaultRules()
const sink = await openParquetSink({ localNetworks, threads: Number(values.threads), memoryLimit: values.memory })
const sendAll = createNormalizedMessages({ rules, localNetworks })
for (let run = 1; run <= Number(values.runs); run++) await measure(run)

async function measure(run: number): Promise<void> {
  const [work, stagingDir] = [join(dir, `work-${run}`), join(dir, `staging-${run}`)]
  for (const path of [work, stagingDir]) mkdirSync(path)
  const clock = createClock()
  const collector = openCollector({
    ...{ dir: work, maxChunkLines: 10_000, knownTypes: new Set(Object.keys(rules.schema)) },
    streamId: (topic, partition) => `${topic}.12345678-${partition}`,
  })
  addAll(collector)
  const { chunks: collected, events, refused } = collector.finish()
  clock.lap('collect')
  const chunks = collected.map(({ file, source = '', ...chunk }) => ({ ...chunk, source, path: join(work, file) }))
  const ingestTimeMs = Date.now()
  const result = await sink.write({ chunks, stagingDir, commitId: `run${run}`, ingestTimeMs })
  clock.lap('rows')
  if (values.normalized) {
    await sendAll({ chunks, result, ingestTimeMs }, { normalized: async () => {} })
    clock.lap('normalized')
  }
  const bytes = result.files.reduce((sum, file) => sum + file.bytes, 0)
  console.log(
    `run ${run}: ${events} events, ${refused} refused, ${chunks.length} chunks, ${result.files.length} files, ` +
      `${(bytes / 2 ** 20).toFixed(0)} MB; ${clock.report(events)}; ` +
      `peak RSS so far ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB`,
  )
  for (const path of [work, stagingDir]) rmSync(path, { recursive: true })
}

function createClock() {
  let [cpu, time] = [process.cpuUsage(), performance.now()]
  const laps: [string, number, number][] = []
  return {
    lap(name: string) {
      const { user, system } = process.cpuUsage(cpu)
      laps.push([name, (user + system) / 1e6, (performance.now() - time) / 1000])
      cpu = process.cpuUsage()
      time = performance.now()
    },
    report: (events: number) =>
      laps
        .map(
          ([name, cpuSeconds, seconds]) =>
            `${name} ${cpuSeconds.toFixed(2)} CPU s in ${seconds.toFixed(2)} s (${((cpuSeconds / events) * 1e6).toFixed(2)} us an event)`,
        )
        .join(', '),
  }
}

function addAll(collector: Collector): void {
  const file = openSync(nested, 'r')
  let offset = 0n
  let rest = Buffer.alloc(0)
  for (;;) {
    const block = Buffer.allocUnsafe(BLOCK_BYTES)
    const read = readSync(file, block)
    if (read === 0) break
    const bytes = Buffer.concat([rest, block.subarray(0, read)])
    let at = 0
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, at)) {
      collector.add({ topic: 'zeek-raw', partition: 0, offset: offset++, value: bytes.subarray(at, end) })
      at = end + 1
    }
    rest = bytes.subarray(at)
  }
  closeSync(file)
}

function generate(rows: number): string {
  if (!existsSync(GENERATOR)) throw new Error(`there is no ${GENERATOR}; name a file of nested messages with --nested`)
  const path = join(dir, 'nested.ndjson')
  execFileSync('python3', [GENERATOR, String(rows), path])
  return path
}

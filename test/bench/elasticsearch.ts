/**
 * `npm run bench -- elasticsearch [--events 100000] [--runs 2] [--node URL] [--capture-mb 15]`: documents a second that
 * the sink loads with one and with two bulk requests under way, beside the same node fed by curl with the same documents
 * in ready-made bodies (the limit); CPU seconds and memory of this process; then the seconds from dropping a capture until
 * all its events are found by a search, and the bytes that were sent.
 *
 * The load is half conn, half dns. The node is started for it, unless one is named; each run has indices of its own.
 */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openDocuments } from '../../src/sinks/elasticsearch/document.ts'
import { openElasticsearchSink } from '../../src/sinks/elasticsearch/sink.ts'
import type { EventChunk } from '../../stages/ports.ts'
import { loadRules } from '../../stages/upload/rules.ts'
import { openLedger } from '../../state/ledger.ts'
import { makeHome } from '../support/cli.ts'
import { writeEvents } from '../support/elasticsearch/events.ts'
import {
  ask,
  cleanUp,
  countOf,
  LOCAL_NETWORKS,
  sinkOptions,
  startNode,
  uniquePrefix,
} from '../support/elasticsearch.ts'
import { recordingLog } from '../support/pipeline.ts'

const GENERATOR = join(import.meta.dirname, '../../../shared/tools/make_big.py')
const BODY_BYTES = 5 * 2 ** 20
const rules = await loadRules({})

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '100000' },
    runs: { type: 'string', default: '2' },
    node: { type: 'string' },
    'capture-mb': { type: 'string', default: '15' },
  },
})

const dir = mkdtempSync(join(tmpdir(), 'bench-elasticsearch-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
const node = values.node === undefined ? await startNode() : undefined
const url = values.node ?? (node?.url as string)
try {
  const chunks = writeEvents(join(dir, 'events'), Number(values.events))
  // The first load of a fresh server is its warming up.
  await bySink(chunks, 1, 'warm-up')
  for (let run = 1; run <= Number(values.runs); run++) {
    await byCurl(chunks, 1, `run ${run}, curl, one after another`)
    await bySink(chunks, 1, `run ${run}, sink, 1 request under way`)
    await byCurl(chunks, 2, `run ${run}, curl, two side by side`)
    await bySink(chunks, 2, `run ${run}, sink, 2 requests under way`)
  }
  await dropToSearchable()
} finally {
  await node?.[Symbol.asyncDispose]()
}

async function bySink(chunks: EventChunk[], bulkConcurrency: number, title: string): Promise<void> {
  const prefix = uniquePrefix()
  using ledger = openLedger(join(dir, `${prefix}.db`))
  const options = sinkOptions(url, prefix, { bulkConcurrency, bulkBytes: BODY_BYTES })
  const sink = await openElasticsearchSink({ options, rules, ledger, log: recordingLog() })
  await sink.setUp()
  const [cpu, started] = [process.cpuUsage(), performance.now()]
  const result = await sink.index({
    chunks,
    deadLetterFile: join(dir, `${prefix}.dead`),
    signal: new AbortController().signal,
  })
  const seconds = (performance.now() - started) / 1000
  const { user, system } = process.cpuUsage(cpu)
  report(
    title,
    chunks,
    seconds,
    result.bytes,
    `${((user + system) / 1e6).toFixed(2)} CPU s, RSS ${Math.round(process.memoryUsage().rss / 2 ** 20)} MB`,
  )
  await expectAll(prefix, chunks)
  await sink.close()
}

/** The same documents, in bodies that were made before the clock starts; curl does nothing but send them. */
async function byCurl(chunks: EventChunk[], workers: number, title: string): Promise<void> {
  const prefix = uniquePrefix()
  using ledger = openLedger(join(dir, `${prefix}.db`))
  const sink = await openElasticsearchSink({ options: sinkOptions(url, prefix), rules, ledger, log: recordingLog() })
  await sink.setUp()
  await sink.close()
  const bodies = makeBodies(chunks, prefix)
  const shares = Array.from({ length: workers }, (_, i) => bodies.filter((_, n) => n % workers === i))
  const script = shares
    .map(
      (files) =>
        `(for f in ${files.join(' ')}; do curl -s -o /dev/null -H 'Content-Type: application/x-ndjson' --data-binary @$f '${url}/_bulk'; done) &`,
    )
    .join('\n')
  writeFileSync(join(dir, 'send.sh'), `${script}\nwait\n`)
  const started = performance.now()
  execFileSync('bash', [join(dir, 'send.sh')])
  const seconds = (performance.now() - started) / 1000
  const bytes = bodies.reduce((sum, file) => sum + readFileSync(file).length, 0)
  // It looks at no answer: what the server refused for now is lost.
  const lost = Number(values.events) - (await countOf(url, `${prefix}-*`))
  report(title, chunks, seconds, bytes, lost > 0 ? `${lost} refused and not sent again` : '')
  await cleanUp(url, prefix)
  for (const file of bodies) rmSync(file)
}

function makeBodies(chunks: EventChunk[], prefix: string): string[] {
  const documents = openDocuments({ rules, localNetworks: LOCAL_NETWORKS })
  const into = join(dir, `bodies-${prefix}`)
  mkdirSync(into)
  const files: string[] = []
  let body: string[] = []
  let bytes = 0
  const write = () => {
    const file = join(into, `${files.length}.ndjson`)
    writeFileSync(file, body.join(''))
    files.push(file)
    body = []
    bytes = 0
  }
  for (const { path, logType, captureId = '', source, firstOrdinal } of chunks) {
    for (const [i, line] of readFileSync(path, 'utf8').trim().split('\n').entries()) {
      const eventId = `${captureId.slice(0, 24)}-${logType}-${firstOrdinal + i}`
      const { text, period } = documents.of(logType)(JSON.parse(line), {
        eventId,
        source,
        captureId,
        ingested: new Date().toISOString(),
      })
      body.push(`{"create":{"_index":"${prefix}-${logType}-${period}","_id":"${eventId}"}}\n${text}\n`)
      bytes += text.length
      if (bytes >= BODY_BYTES) write()
    }
  }
  if (body.length > 0) write()
  return files
}

function report(title: string, chunks: EventChunk[], seconds: number, bytes: number, rest: string): void {
  const events = chunks.reduce((sum, { lines }) => sum + lines, 0)
  console.log(
    `${title}: ${Math.round(events / seconds)} documents/s (${events} in ${seconds.toFixed(1)} s, ${(bytes / 2 ** 20).toFixed(0)} MB) ${rest}`,
  )
}

async function expectAll(prefix: string, chunks: EventChunk[]): Promise<void> {
  const [found, expected] = [await countOf(url, `${prefix}-*`), chunks.reduce((sum, { lines }) => sum + lines, 0)]
  if (found !== expected) throw new Error(`${found} of ${expected} documents are there`)
  await cleanUp(url, prefix)
}

async function dropToSearchable(): Promise<void> {
  if (!existsSync(GENERATOR)) return console.log(`no capture: there is no ${GENERATOR}`)
  const prefix = uniquePrefix()
  using home = makeHome({
    CONVERT_ENGINE: 'tshark',
    ELASTICSEARCH_NODE: url,
    ELASTICSEARCH_INDEX_PREFIX: prefix,
    FLUSH_INTERVAL_SECONDS: '1',
  })
  const capture = join(home.dir, 'big.pcap')
  execFileSync('python3', [
    GENERATOR,
    '--corpus',
    join(GENERATOR, '../../corpus'),
    '--size',
    `${values['capture-mb']}MB`,
    '--out',
    capture,
  ])
  const service = home.start('run')
  // Templates are there and the inbox is watched before the clock starts.
  while (
    !existsSync(home.inbox) ||
    (await ask(url, `_index_template/${prefix}-log-conn`)).index_templates === undefined
  )
    await pause(200)
  await pause(3000)
  const started = performance.now()
  execFileSync('cp', [capture, join(home.inbox, 'big.pcap')])
  let text = ''
  while (!/search {4}.*documents, \d+ refused\n/.test(text) || !text.includes('state     done')) {
    await pause(250)
    text = (await home.run('receipt', 'big.pcap')).stdout
  }
  const searched = (performance.now() - started) / 1000
  const found = await countOf(url, `${prefix}-*-*`)
  const log = readFileSync(join(home.dataDir, 'log/pipeline.log'), 'utf8')
  const sent = [...log.matchAll(/\| indexed \|.* mb=(\d+)/g)].reduce((sum, [, mb]) => sum + Number(mb), 0)
  console.log(
    `drop to searchable: ${values['capture-mb']} MB, ${found} documents after ${searched.toFixed(1)} s (the receipt is asked for every quarter of a second, by a process of its own); ${sent} MB sent`,
  )
  for (const line of log.split('\n').filter((each) => /accepted|converted|flushed|indexed/.test(each)))
    console.log(`  ${line.slice(0, 180)}`)
  service.kill('SIGTERM')
  await new Promise((resolve) => service.once('exit', resolve))
  if (readdirSync(home.inbox).length > 0) throw new Error('the capture is still in the inbox')
  await cleanUp(url, prefix)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

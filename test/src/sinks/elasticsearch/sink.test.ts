import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { ElasticsearchSink } from '../../../../src/sinks/elasticsearch/sink.ts'
import type { EventChunk, IndexResult } from '../../../../stages/ports.ts'
import { CAPTURE, connLine, writeEvents, writeLog } from '../../../support/elasticsearch/events.ts'
import {
  ask,
  countOf,
  nodeForTests,
  openSink,
  sinkOptions,
  skipReason,
  startNode,
  uniquePrefix,
} from '../../../support/elasticsearch.ts'
import { type TestBench, testBench, until } from '../../../support/pipeline.ts'

const why = await skipReason()
const whyOwn = await skipReason({ own: true })

function send(sink: ElasticsearchSink, bench: TestBench, chunks: EventChunk[], signal = new AbortController().signal) {
  return sink.index({ chunks, deadLetterFile: deadLetters(bench), signal })
}

const deadLetters = ({ layout }: TestBench) => join(layout.spool, 'dead-letters.ndjson')

function letters(bench: TestBench): Record<string, unknown>[] {
  if (!existsSync(deadLetters(bench))) return []
  return readFileSync(deadLetters(bench), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

function sum({ chunks }: IndexResult) {
  const rejected = chunks.flatMap((chunk) => Object.values(chunk.rejected))
  return {
    documents: chunks.reduce((total, chunk) => total + chunk.documents, 0),
    duplicates: chunks.reduce((total, chunk) => total + chunk.duplicates, 0),
    rejected: rejected.reduce((total, n) => total + n, 0),
  }
}

describe.skipIf(why)(`the Elasticsearch sink${why}`, () => {
  it('loads 100,000 events once; a second load makes nothing', { timeout: 300_000 }, async () => {
    const url = await nodeForTests()
    const bench = testBench()
    const prefix = uniquePrefix()
    const sink = await openSink(bench, sinkOptions(url, prefix))
    const chunks = writeEvents(join(bench.layout.spool, 'events'), 100_000)
    expect(sum(await send(sink, bench, chunks))).toEqual({ documents: 100_000, duplicates: 0, rejected: 0 })
    expect(await countOf(url, `${prefix}-*`)).toBe(100_000)
    expect(sum(await send(sink, bench, chunks))).toEqual({ documents: 100_000, duplicates: 100_000, rejected: 0 })
    expect(await countOf(url, `${prefix}-*`)).toBe(100_000)
    // By the month of the event, and no other.
    const indices = Object.keys(await ask(url, `${prefix}-*`)).map((name) => name.slice(prefix.length + 1))
    expect(indices.sort()).toEqual(['conn-2026.01', 'conn-2026.02', 'dns-2026.01', 'dns-2026.02'])
  })

  it('puts lines that conflict with the mapping, and only those, into the dead-letter file with the words of the server', async () => {
    const url = await nodeForTests()
    const bench = testBench()
    const prefix = uniquePrefix()
    // A user's own component says so.
    const custom = { template: { mappings: { properties: { message: { type: 'long' } } } } }
    await ask(url, `_component_template/${prefix}-custom`, custom, 'PUT')
    const sink = await openSink(bench, sinkOptions(url, prefix))
    const syslog = (n: number) =>
      JSON.stringify({
        ts: 1768435200 + n,
        uid: `S${n}`,
        'id.orig_h': '10.0.0.1',
        'id.resp_h': '10.0.0.2',
        message: n % 10 === 3 ? `word ${n}` : String(n),
      })
    const result = await send(sink, bench, writeLog(join(bench.layout.spool, 'events'), 'syslog', 100, syslog))
    expect(sum(result)).toEqual({ documents: 90, duplicates: 0, rejected: 10 })
    expect(result.chunks[0]?.rejected).toEqual({ document_parsing_exception: 10 })
    expect(result.hasDeadLetters).toBe(true)
    const dead = letters(bench)
    expect(dead.map(({ ordinal }) => ordinal)).toEqual([3, 13, 23, 33, 43, 53, 63, 73, 83, 93])
    expect(dead[0]).toMatchObject({ event_id: `${CAPTURE.slice(0, 24)}-syslog-3`, status: 400, line: syslog(3) })
    expect(dead[0]?.said).toMatch(/failed to parse field \[message\] of type \[long\]/)
    expect(await countOf(url, `${prefix}-*`)).toBe(90)
  })

  it('counts lines that are no records as dead letters, with the numbers of the others unchanged', async () => {
    const url = await nodeForTests()
    const bench = testBench()
    const prefix = uniquePrefix()
    const sink = await openSink(bench, sinkOptions(url, prefix))
    const lines = [connLine(0), 'nonsense', '[1]', '', connLine(4)]
    const chunks = writeLog(join(bench.layout.spool, 'events'), 'conn', 5, (n) => lines[n] as string)
    const result = await send(sink, bench, chunks)
    expect(result.chunks).toMatchObject([
      { documents: 2, rejected: { 'not JSON': 1, 'not an object': 1, 'empty line': 1 } },
    ])
    await countOf(url, `${prefix}-*`)
    const { hits } = await ask(url, `${prefix}-*/_search`, { sort: ['event.id'] })
    expect(hits.hits.map(({ _id }: { _id: string }) => _id)).toEqual(
      [0, 4].map((n) => `${CAPTURE.slice(0, 24)}-conn-${n}`),
    )
  })

  it('takes the numbers and the beginning of ids that chunks of live events bring', async () => {
    const url = await nodeForTests()
    const bench = testBench()
    const prefix = uniquePrefix()
    const sink = await openSink(bench, sinkOptions(url, prefix))
    const numbered = (n: number) => connLine(n).replace('{', `{"#":${1000 + 7 * n},`)
    const [chunk] = writeLog(join(bench.layout.spool, 'events'), 'conn', 3, numbered)
    const live = {
      ...chunk,
      captureId: undefined,
      numbering: 'explicit',
      idPrefix: 'zeek-raw-4-',
    } as unknown as EventChunk
    await send(sink, bench, [live])
    await countOf(url, `${prefix}-*`)
    const { hits } = await ask(url, `${prefix}-*/_search`, { sort: ['event.id'] })
    expect(hits.hits.map(({ _id }: { _id: string }) => _id)).toEqual([
      'zeek-raw-4-1000',
      'zeek-raw-4-1007',
      'zeek-raw-4-1014',
    ])
    expect(hits.hits[0]._source).not.toHaveProperty('zeek.extra')
    expect(hits.hits[0]._source.labels).toEqual({ source: 'lab' })
  })

  it('makes no more indices than it may, and puts what lies beyond into undated ones, each event once', async () => {
    const url = await nodeForTests()
    const bench = testBench()
    const prefix = uniquePrefix()
    const sink = await openSink(bench, sinkOptions(url, prefix, { maxIndices: 3 }))
    const scattered = (n: number) => connLine(0).replace(/"ts":[\d.]+/, `"ts":${n * 5_000_000}`)
    const chunks = writeLog(join(bench.layout.spool, 'events'), 'conn', 400, scattered)
    await send(sink, bench, chunks)
    await send(sink, bench, chunks)
    expect(await countOf(url, `${prefix}-*`)).toBe(400)
    expect(Object.keys(await ask(url, `${prefix}-*`))).toHaveLength(4)
  })

  it('keeps what is strange searchable without a new field in the mapping', async () => {
    const url = await nodeForTests()
    const bench = testBench()
    const prefix = uniquePrefix()
    const sink = await openSink(bench, sinkOptions(url, prefix))
    const strange = (n: number) =>
      connLine(n).replace(
        '{',
        `{"odd_${n}":"value ${n}","deep":{"er":{"x":[${n}]}},"missed_bytes_":"","orig_pkts_":9007199254740993,`,
      )
    await send(sink, bench, writeLog(join(bench.layout.spool, 'events'), 'conn', 50, strange))
    const unknown = (n: number) =>
      JSON.stringify({ ts: 1768435200, uid: 'U', colour: ['red', 'green'][n % 2], nested: { size: n } })
    await send(sink, bench, writeLog(join(bench.layout.spool, 'events'), 'my_own_log', 50, unknown))
    expect(await countOf(url, `${prefix}-conn-*`, { term: { 'zeek.extra.odd_7': 'value 7' } })).toBe(1)
    expect(await countOf(url, `${prefix}-my_own_log-*`, { term: { 'zeek.my_own_log.colour': 'red' } })).toBe(25)
    expect(await countOf(url, `${prefix}-my_own_log-*`, { term: { 'zeek.my_own_log.nested.size': '7' } })).toBe(1)
    const mapping = await ask(url, `${prefix}-conn-2026.01/_mapping`)
    expect(JSON.stringify(mapping)).not.toContain('odd_')
  })
})

describe.skipIf(whyOwn)(`a node of its own${whyOwn}`, () => {
  it('that is killed in the middle and comes back has exactly the events, none twice', {
    timeout: 300_000,
  }, async () => {
    await using node = await startNode()
    const bench = testBench()
    const prefix = uniquePrefix()
    const sink = await openSink(bench, sinkOptions(node.url, prefix, { bulkBytes: 300_000 }))
    const chunks = writeEvents(join(bench.layout.spool, 'events'), 40_000)
    await sink.setUp()
    const first = send(sink, bench, chunks).then(
      () => 'done',
      (error) => error.code,
    )
    await until(async () => (await countOf(node.url, `${prefix}-*`)) > 4000, 'some events are there', 60_000)
    await node.kill()
    // It is tried for a while, then the batch waits for its next turn.
    const outcome = first
    await new Promise((resolve) => setTimeout(resolve, 1500))
    await node.restart()
    expect(['done', 'sink_down']).toContain(await outcome)
    const again = await send(sink, bench, chunks)
    expect(sum(again)).toMatchObject({ documents: 40_000, rejected: 0 })
    expect(sum(again).duplicates).toBeGreaterThan(4000)
    expect(await countOf(node.url, `${prefix}-*`)).toBe(40_000)
    const ids = { size: 0, aggs: { ids: { cardinality: { field: 'event.id', precision_threshold: 40_000 } } } }
    expect((await ask(node.url, `${prefix}-*/_search`, ids)).aggregations.ids.value).toBeGreaterThan(39_000)
  })

  it('whose queue is small refuses some for now (429), and gets all in the end', { timeout: 300_000 }, async () => {
    await using node = await startNode({
      settings: { 'thread_pool.write.size': '1', 'thread_pool.write.queue_size': '1' },
    })
    const bench = testBench()
    const prefix = uniquePrefix()
    const sink = await openSink(bench, sinkOptions(node.url, prefix, { bulkBytes: 150_000, bulkConcurrency: 12 }))
    const result = await send(sink, bench, writeEvents(join(bench.layout.spool, 'events'), 20_000))
    expect(result.retried).toBeGreaterThan(0)
    expect(sum(result)).toEqual({ documents: 20_000, duplicates: 0, rejected: 0 })
    expect(await countOf(node.url, `${prefix}-*`)).toBe(20_000)
  })
})

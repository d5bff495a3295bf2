/** The pipeline as its user runs it, with a real Elasticsearch beside it. */

import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  aggregations,
  dashboards,
  filtersOf,
  indicesOf,
  type Panel,
} from '../../src/sinks/elasticsearch/kibana/saved-objects.ts'
import { type Home, makeHome } from '../support/cli.ts'
import { ask, cleanUp, countOf, nodeForTests, skipReason, uniquePrefix } from '../support/elasticsearch.ts'
import { until } from '../support/pipeline.ts'

const why = await skipReason()
const SAMPLE = join(import.meta.dirname, '../fixtures/sample.pcap')

describe.skipIf(why)(`a pipeline with Elasticsearch${why}`, { timeout: 240_000 }, () => {
  let url: string
  let home: Home
  const prefix = uniquePrefix()

  beforeAll(async () => {
    url = await nodeForTests()
    home = makeHome({ CONVERT_ENGINE: 'tshark', ELASTICSEARCH_NODE: url, ELASTICSEARCH_INDEX_PREFIX: prefix })
    await watchAnn(home)
    const { code, stdout, stderr } = await home.run('ingest', SAMPLE, '--source', 'lab', '--json')
    expect(stderr).not.toContain('refused')
    expect(code).toBe(0)
    const [receipt] = JSON.parse(stdout)
    expect(receipt).toMatchObject({
      balanced: true,
      elasticsearch: { documents: receipt.total.rows, rejected: 0, waiting: 0, notSent: 0 },
    })
  }, 240_000)

  afterAll(async () => {
    home?.[Symbol.dispose]()
    await cleanUp(url, prefix)
    await cleanUp(url, `${prefix}b`)
  })

  it('has a document for every row, by the same id, and a receipt', async () => {
    const rows = await home.rows<{ event_id: string }>('select event_id from events')
    expect(await countOf(url, `${prefix}-*-*`)).toBe(rows.length)
    const { hits } = await ask(url, `${prefix}-*-*/_search`, { size: 1000, _source: false })
    expect(hits.hits.map(({ _id }: { _id: string }) => _id).sort()).toEqual(rows.map(({ event_id }) => event_id).sort())
    const receipts = await ask(url, `${prefix}-receipts/_refresh`, undefined, 'POST').then(() =>
      ask(url, `${prefix}-receipts/_search`),
    )
    expect(receipts.hits.hits).toHaveLength(1)
    expect(receipts.hits.hits[0]._source).toMatchObject({
      receipt: { state: 'done', balanced: true, documents: rows.length },
    })
    expect((await home.run('receipt', 'sample.pcap')).stdout).toContain(
      `Elasticsearch: ${rows.length} documents, 0 refused`,
    )
  })

  it('answers every panel of every dashboard with rows', async () => {
    for (const { view, filter, panels, title } of dashboards) {
      for (const panel of panels) {
        const answer = await ask(url, `${indicesOf(panel.view ?? view, prefix)}/_search`, requestOf(panel, filter))
        expect(answer.error, `${title}: ${panel.title}`).toBeUndefined()
        expect(answer.hits.total.value, `${title}: ${panel.title}`).toBeGreaterThan(0)
        for (const name of ['2', '3']) {
          const buckets = answer.aggregations?.[name]?.buckets
          if (buckets !== undefined) expect(buckets.length, `${title}: ${panel.title}`).toBeGreaterThan(0)
        }
        const metric = answer.aggregations?.['1']
        if (metric !== undefined) expect(metric.value, `${title}: ${panel.title}`).not.toBeNull()
      }
    }
  })

  it('has the flags of the rows in the documents, and follows a rescan', async () => {
    const flagged = await watchedRows(home)
    expect(flagged).toBeGreaterThan(10)
    expect(await countOf(url, `${prefix}-*-*`, WATCHED)).toBe(flagged)
    await watchAnn(home, 'NO')
    const { code, stderr } = await home.run('watchlist', 'rescan')
    expect([code, stderr]).toEqual([0, expect.stringContaining('the documents in Elasticsearch follow')])
    expect(await watchedRows(home)).toBe(0)
    expect(await countOf(url, `${prefix}-*-*`, WATCHED)).toBe(0)
    expect(await countOf(url, `${prefix}-*-*`)).toBe(52)
    await watchAnn(home)
    await home.run('watchlist', 'rescan')
    expect(await countOf(url, `${prefix}-*-*`, WATCHED)).toBe(flagged)
    expect((await home.run('watchlist', 'rescan')).stderr).toContain(', 0 written anew')
  })

  it('loads the tables into another cluster: the same documents, and none the second time', async () => {
    const other = { ELASTICSEARCH_INDEX_PREFIX: `${prefix}b` }
    using second = makeHome({ CONVERT_ENGINE: 'tshark', ELASTICSEARCH_NODE: url, ...other, DATA_DIR: home.dataDir })
    const captures = `labels.pcap_sha256:"${await captureId(home)}"`
    const first = await second.run('elasticsearch', 'backfill')
    expect(first.stderr).not.toContain('unexpected')
    expect(first.stdout).toMatch(/52 rows: 52 documents made, 0 there already, 0 refused/)
    expect((await second.run('elasticsearch', 'backfill', '--type', 'conn', 'dns')).stdout).toMatch(
      /28 rows: 0 documents made, 28 there already/,
    )
    expect((await second.run('elasticsearch', 'backfill', '--to', '2000-01-01')).stdout).toMatch(/^0 rows/)
    const all = async (indices: string) => {
      await countOf(url, indices)
      const { hits } = await ask(url, `${indices}/_search?q=${encodeURIComponent(captures)}`, {
        size: 1000,
        sort: ['event.id'],
      })
      return hits.hits.map(({ _id, _source }: { _id: string; _source: { event: object } }) => ({
        _id,
        ..._source,
        event: { ..._source.event, ingested: '' },
      }))
    }
    const [loaded, indexed] = [await all(`${prefix}b-*-*`), await all(`${prefix}-*-*`)]
    expect(loaded).toHaveLength(52)
    expect(loaded).toEqual(indexed)
  })

  it('forgets the documents with the capture', async () => {
    const id = await captureId(home)
    const { code, stderr } = await home.run('forget', 'sample.pcap')
    expect(stderr).toContain('is forgotten')
    expect(code).toBe(0)
    expect(await countOf(url, `${prefix}-*-*`, { term: { 'labels.pcap_sha256': id } })).toBe(0)
    expect(await countOf(url, `${prefix}-receipts`)).toBe(0)
  })

  it('is done with Parquet while the server is down, and catches up by itself when it is there', async () => {
    const port = await freePort()
    const name = uniquePrefix()
    using late = makeHome({
      CONVERT_ENGINE: 'tshark',
      ELASTICSEARCH_NODE: `http://127.0.0.1:${port}`,
      ELASTICSEARCH_INDEX_PREFIX: name,
    })
    await watchAnn(late)
    const { code, stdout } = await late.run('ingest', SAMPLE)
    expect(code).toBe(0)
    expect(stdout).toContain('Elasticsearch: 0 documents, 0 refused, 52 waiting')
    expect((await late.run('captures')).stdout).toContain('done (52 to be indexed)')
    const log = readFileSync(join(late.dataDir, 'log/pipeline.log'), 'utf8')
    expect(log.match(/nothing is indexed until/g)).toHaveLength(1)
    expect(readdirSync(join(late.dataDir, 'spool/batches'))).toHaveLength(1)
    // The same pipeline, started again, when the server answers.
    using now = makeHome({ DATA_DIR: late.dataDir, ELASTICSEARCH_NODE: url, ELASTICSEARCH_INDEX_PREFIX: name })
    const service = now.start('stage', 'upload')
    await until(
      async () => (await now.run('receipt', 'sample.pcap')).stdout.includes('Elasticsearch: 52 documents, 0 refused\n'),
      'all is indexed',
      60_000,
    )
    service.kill('SIGTERM')
    expect(await countOf(url, `${name}-*-*`)).toBe(52)
    expect(await countOf(url, `${name}-*-*`, WATCHED)).toBe(await watchedRows(late))
    await until(() => readdirSync(join(late.dataDir, 'spool/batches')).length === 0, 'the batch is removed')
    await cleanUp(url, name)
  })

  it('pauses intake, and says so once, while too much waits for the server; what is in the inbox stays there', async () => {
    const port = await freePort()
    using held = makeHome({
      CONVERT_ENGINE: 'tshark',
      ELASTICSEARCH_NODE: `http://127.0.0.1:${port}`,
      ELASTICSEARCH_BACKLOG_MB: '1',
    })
    // Just above 1 MB of lines.
    const big = join(held.dir, 'big.pcap')
    mkdirSync(held.dataDir, { recursive: true })
    writeFileSync(big, repeated(readFileSync(SAMPLE), 60))
    expect((await held.run('ingest', big)).code).toBe(0)
    const ownLog = join(held.dataDir, 'log/pipeline.log')
    const before = readFileSync(ownLog, 'utf8').length
    const service = held.start('run')
    mkdirSync(held.inbox, { recursive: true })
    copyFileSync(SAMPLE, join(held.inbox, 'next.pcap'))
    // The first command may have said it, too.
    const log = () => readFileSync(ownLog, 'utf8').slice(before)
    await until(() => log().includes('too much waits for Elasticsearch'), 'it says so', 30_000)
    await new Promise((resolve) => setTimeout(resolve, 3000))
    expect(log().match(/too much waits for Elasticsearch/g)).toHaveLength(1)
    expect(readdirSync(held.inbox)).toContain('next.pcap')
    service.kill('SIGTERM')
  })
})

/** Whose computer is the sample's originator. */
async function watchAnn(home: Home, flag = 'YES'): Promise<void> {
  const file = (name: string, text: string) => {
    const path = join(home.dir, name)
    writeFileSync(path, text)
    return path
  }
  const employees = file('employees.csv', `key,name,watch_flag\n100,Ann Able,${flag}\n`)
  const computers = file('computers.csv', 'comp_id,empkey,ip\n1,100,192.168.7.20\n')
  expect((await home.run('watchlist', 'import', 'employees', employees)).code).toBe(0)
  expect((await home.run('watchlist', 'import', 'computers', computers)).code).toBe(0)
}

const WATCHED = { term: { tags: 'watchlist' } }
const watchedRows = async (home: Home) =>
  (await home.rows('select event_id from events where watch_list is not null')).length

/** The records of a capture again and again: its packets with other addresses of the originator. */
function repeated(pcap: Buffer, times: number): Buffer {
  const parts = [pcap.subarray(0, 24)]
  for (let n = 0; n < times; n++) {
    const body = Buffer.from(pcap.subarray(24))
    for (
      let at = body.indexOf(Buffer.from([192, 168, 7, 20]));
      at >= 0;
      at = body.indexOf(Buffer.from([192, 168, 7, 20]), at + 1)
    )
      body[at + 3] = 30 + n
    parts.push(body)
  }
  return Buffer.concat(parts)
}

async function captureId(home: Home): Promise<string> {
  const [capture] = JSON.parse((await home.run('captures', '--json')).stdout)
  return capture.id
}

/** What a panel asks of Elasticsearch, built from its saved form alone. */
function requestOf(panel: Panel, filter: (typeof dashboards)[number]['filter']) {
  const filters = filtersOf(filter).map(({ query }) => query)
  if (panel.kind === 'search')
    return { query: { bool: { filter: filters } }, sort: [{ '@timestamp': 'desc' }], track_total_hits: true }
  const aggs: Record<string, unknown> = {}
  for (const { id, type, params } of aggregations(panel)) {
    if (type === 'count') continue
    if (type === 'date_histogram')
      aggs[id] = { date_histogram: { field: params.field, fixed_interval: '1m', min_doc_count: 1 } }
    else if (type === 'terms') aggs[id] = { terms: { field: params.field, size: params.size } }
    else aggs[id] = { [type]: { field: params.field } }
  }
  return {
    size: 0,
    track_total_hits: true,
    query: { bool: { filter: filters } },
    ...(Object.keys(aggs).length > 0 && { aggs }),
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** What Elasticsearch answers and what SQL answers about the same records: the same numbers. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { EventChunk } from '../../../../stages/ports.ts'
import { isIn, networkAddress, parseAddress, parseNetwork } from '../../../../stages/upload/rules/address.ts'
import { PipelineError } from '../../../../state/errors.ts'
import { makeHome } from '../../../support/cli.ts'
import {
  ask,
  countOf,
  LOCAL_NETWORKS,
  nodeForTests,
  openSink,
  sinkOptions,
  skipReason,
  uniquePrefix,
} from '../../../support/elasticsearch.ts'
import { testBench } from '../../../support/pipeline.ts'
import { query, writeChunks } from '../parquet/harness.ts'

const why = await skipReason()
const LOGS = join(import.meta.dirname, '../../../../../shared/corpus/zeek-logs-full/zeek-logs')
const noCorpus = existsSync(LOGS) ? '' : ' (skipped: no ../shared/corpus here)'
const SAMPLE = join(import.meta.dirname, '../../../fixtures/sample.pcap')
const NETWORKS = [
  '10.0.0.0/8',
  '192.168.0.0/16',
  '192.168.1.0/24',
  '127.0.0.1/32',
  '2000::/3',
  'fe80::/10',
  '0.0.0.0/0',
]

/** ECS field → what SQL says of it, where the table has these columns. */
const TERMS: Record<string, string> = {
  'source.ip': 'src_ip',
  'destination.ip': 'dst_ip',
  'source.port': 'src_port',
  'destination.port': 'dst_port',
  'network.community_id': 'community_id',
  'network.direction': 'direction',
  'zeek.connection.state': 'conn_state',
  'dns.question.type': 'qtype_name',
  'dns.response_code': 'rcode_name',
  'http.request.method': 'method',
  'http.response.status_code': 'status_code',
  'tls.cipher': 'cipher',
  'tls.client.server_name': 'server_name',
  'file.mime_type': 'mime_type',
}
const OF_LOG: Record<string, string[]> = {
  conn: ['zeek.connection.state'],
  dns: ['dns.question.type', 'dns.response_code'],
  http: ['http.request.method', 'http.response.status_code'],
  ssl: ['tls.cipher', 'tls.client.server_name'],
  files: ['file.mime_type'],
}
const ANY_LOG = [
  'source.ip',
  'destination.ip',
  'source.port',
  'destination.port',
  'network.community_id',
  'network.direction',
]

async function reconcile(chunks: EventChunk[], maxIndices = 1000): Promise<number> {
  const url = await nodeForTests()
  const prefix = uniquePrefix()
  const bench = testBench()
  const sink = await openSink(bench, sinkOptions(url, prefix, { maxIndices }))
  const { result, stagingDir } = await writeChunks(chunks, { localNetworks: LOCAL_NETWORKS })
  const deadLetterFile = join(bench.layout.spool, 'dead')
  const indexed = await untilTaken(() => sink.index({ chunks, deadLetterFile, signal: new AbortController().signal }))
  expect(existsSync(deadLetterFile) ? readFileSync(deadLetterFile, 'utf8') : '').toBe('')
  for (const [i, { rows }] of result.chunks.entries()) expect(indexed.chunks[i]?.documents).toBe(rows)

  let compared = 0
  for (const logType of new Set(chunks.map((chunk) => chunk.logType))) {
    const files = result.files
      .filter((file) => file.logType === logType)
      .map(({ path }) => `'${join(stagingDir, path)}'`)
    const table = `read_parquet([${files.join(', ')}], hive_partitioning = false, union_by_name = true)`
    const columns = new Set(
      (await query(`DESCRIBE SELECT * FROM ${table}`)).map(({ column_name }) => column_name as string),
    )
    const indices = `${prefix}-${logType}-*`
    const [count] = await query(`SELECT count(*) AS n FROM ${table}`)
    expect(await countOf(url, indices), logType).toBe(count?.n)
    for (const field of [...ANY_LOG, ...(OF_LOG[logType] ?? [])]) {
      const column = TERMS[field] as string
      if (!columns.has(column)) continue
      // ICMP has types and codes where others have ports, and documents call them so.
      const isPort = field.endsWith('.port') && columns.has('protocol')
      const some = `${column} IS NOT NULL AND ${column}::VARCHAR <> ''${isPort ? " AND protocol IS DISTINCT FROM 'icmp'" : ''}`
      const sql = await query(`SELECT ${column} AS term, count(*) AS n FROM ${table} WHERE ${some} GROUP BY 1`)
      const expected = new Map<string, number>()
      for (const { term, n } of sql) expected.set(canonical(term), (expected.get(canonical(term)) ?? 0) + (n as number))
      const { aggregations } = await ask(url, `${indices}/_search`, {
        size: 0,
        aggs: { t: { terms: { field, size: 20_000 } } },
      })
      const found = new Map(
        aggregations.t.buckets.map((b: { key: unknown; doc_count: number }) => [canonical(b.key), b.doc_count]),
      )
      expect(found, `${logType} ${field}`).toEqual(expected)
      compared++
    }
    if (columns.has('src_ip'))
      for (const cidr of NETWORKS) {
        const rows = await query(`SELECT src_ip AS ip, count(*) AS n FROM ${table} WHERE src_ip IS NOT NULL GROUP BY 1`)
        const network = parseNetwork(cidr)
        const expected = rows.reduce((sum, { ip, n }) => sum + (isWithin(ip as string, network) ? (n as number) : 0), 0)
        expect(await countOf(url, indices, { term: { 'source.ip': cidr } }), `${logType} ${cidr}`).toBe(expected)
        compared++
      }
    if (columns.has('event_time')) {
      const hours = await query(
        `SELECT epoch_ms(date_trunc('hour', event_time)) AS hour, count(*) AS n FROM ${table} WHERE event_time IS NOT NULL GROUP BY 1 ORDER BY 1`,
      )
      const { aggregations } = await ask(url, `${indices}/_search`, {
        size: 0,
        aggs: { h: { date_histogram: { field: '@timestamp', fixed_interval: '1h', min_doc_count: 1 } } },
      })
      const found = aggregations.h?.buckets.map((b: { key: number; doc_count: number }) => ({
        hour: b.key,
        n: b.doc_count,
      }))
      expect(found, logType).toEqual(hours)
      compared++
    }
  }
  return compared
}

/** As the runner does: a server that is too slow for now (here, with hundreds of indices to make) is asked again. */
async function untilTaken<T>(send: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await send()
    } catch (error) {
      if (!(error instanceof PipelineError && error.code === 'sink_down') || attempt === 8) throw error
    }
  }
}

/** Addresses by value, since there are several ways to write one of version 6. */
function canonical(term: unknown): string {
  const address = typeof term === 'string' ? parseAddress(term) : undefined
  if (address === undefined) return String(term)
  const { version, bits } = networkAddress(address)
  return `IPv${version} ${bits}`
}

function isWithin(ip: string, network: ReturnType<typeof parseNetwork>): boolean {
  const address = parseAddress(ip)
  return address !== undefined && isIn(networkAddress(address), [network])
}

describe.skipIf(why)(`Elasticsearch answers as SQL does${why}`, () => {
  it('over all log types of the sample', { timeout: 240_000 }, async () => {
    using home = makeHome({ CONVERT_ENGINE: 'tshark' })
    const out = join(home.dir, 'logs')
    expect((await home.run('convert', SAMPLE, '--out', out)).code).toBe(0)
    const chunks = chunksIn(join(out, 'sample.pcap'), 'ee'.repeat(32))
    expect(await reconcile(chunks)).toBeGreaterThan(40)
  })

  it.skipIf(noCorpus)(
    `over all log types that Zeek itself made of the corpus${noCorpus}`,
    { timeout: 600_000 },
    async () => {
      const traces = readdirSync(LOGS).sort()
      const chunks = traces.flatMap((trace, i) =>
        chunksIn(join(LOGS, trace), i.toString(16).padStart(6, '0').padEnd(64, 'f')),
      )
      // Traces of thirty years: a node of this size need not hold an index for each month of each log type.
      expect(await reconcile(chunks, 40)).toBeGreaterThan(300)
    },
  )
})

function chunksIn(dir: string, captureId: string): EventChunk[] {
  return readdirSync(dir)
    .filter((name) => name.endsWith('.ndjson'))
    .flatMap((name) => {
      const path = join(dir, name)
      const text = readFileSync(path, 'utf8')
      const lines = text.split('\n').filter(Boolean).length
      if (lines === 0) return []
      return {
        path,
        logType: name.replace('.ndjson', ''),
        captureId,
        source: 'corpus',
        firstOrdinal: 0,
        lines,
        bytes: Buffer.byteLength(text),
      }
    })
}

/**
 * `npm run bench -- search [--conn 5000000] [--dns 2000000] [--captures 100] [--hours 48] [--compact] [--keep DIR]`: how long the
 * page waits over a dataset of this size: first rows of searches, the dashboard's figures, a flow, in the process that
 * searches. The dataset is synthetic: every capture is some minutes of one hour, each log type a file of its own; with
 * `--compact` those are joined before.
 */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { DuckDBInstance } from '@duckdb/node-api'
import { compact } from '../../src/dataset/compact.ts'
import type { SearchName, SearchRequests } from '../../src/search/engine.ts'
import { openSearchProcess } from '../../src/search/process.ts'
import { declaredTables } from '../../src/sinks/parquet/columns.ts'
import { PARQUET_FORMAT } from '../../src/sinks/parquet/plan.ts'
import { layoutOf, makeLayout } from '../../state/layout.ts'
import { openLedger } from '../../state/ledger.ts'

const { values } = parseArgs({
  options: {
    conn: { type: 'string', default: '5000000' },
    dns: { type: 'string', default: '2000000' },
    captures: { type: 'string', default: '100' },
    hours: { type: 'string', default: '48' },
    threads: { type: 'string', default: '2' },
    compact: { type: 'boolean', default: false },
    keep: { type: 'string' },
  },
})

const dir = values.keep ?? mkdtempSync(join(tmpdir(), 'bench-search-'))
if (values.keep === undefined) process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
const layout = layoutOf(join(dir, 'data'))
const START = Date.UTC(2026, 0, 5)
const tables = await declaredTables({})
if (!existsSync(layout.ledger)) await generate()
if (values.compact) await joinFiles()

const search = openSearchProcess({
  dataset: {
    parquetDir: layout.parquet,
    tables,
    memoryMb: 1024,
    threads: Number(values.threads),
    tempDir: layout.cache,
  },
  layout,
  rules: {},
  timeoutMs: 120_000,
})
const all = { types: [], conditions: [] }
const conn = { types: ['conn'], conditions: [] }
const page = { order: 'newest' as const, limit: 100 }
await time('tables (the first answer of the process)', 'tables', null)
await time('search: newest 100 of conn', 'search', { ...conn, ...page })
await time('search: newest 100 of all types', 'search', { ...all, ...page })
await time('search: oldest 100 of all types', 'search', { ...all, ...page, order: 'oldest' })
await time('search: a service (common)', 'search', {
  ...conn,
  ...page,
  conditions: [{ column: 'service', op: '=', value: 'http' }],
})
await time('search: an address (rare)', 'search', { ...all, ...page, text: '10.200.1.77' })
await time('search: a word (in one of a thousand)', 'search', { ...all, ...page, text: 'name-4711' })
await time('search: a network', 'search', {
  ...conn,
  ...page,
  conditions: [{ column: 'dst_ip', op: 'cidr', value: '203.0.0.0/12' }],
})
await time('search: one hour', 'search', { ...all, ...page, from: iso(5), to: iso(6) })
await time('count: all', 'count', all)
await time('dashboard: events over time by type', 'histogram', { ...all, buckets: 100, by: 'log_type' })
await time('dashboard: top talkers', 'top', {
  ...conn,
  by: ['src_ip'],
  measures: [
    { of: 'sum', column: 'orig_bytes' },
    { of: 'sum', column: 'resp_bytes' },
  ],
  order: 'sum',
  limit: 10,
})
await time('dashboard: services', 'facets', { ...conn, facets: [{ column: 'service', limit: 10 }] })
await time('dashboard: DNS names', 'facets', {
  types: ['dns'],
  conditions: [],
  facets: [{ column: 'query', limit: 10 }],
})
await time('dashboard: four facets of conn', 'facets', {
  ...conn,
  facets: ['src_ip', 'dst_ip', 'dst_port', 'conn_state'].map((column) => ({ column, limit: 10 })),
})
await time('the same again', 'facets', {
  ...conn,
  facets: ['src_ip', 'dst_ip', 'dst_port', 'conn_state'].map((column) => ({ column, limit: 10 })),
})
const { rows } = await search.ask('search', { ...conn, ...page, columns: ['flow_id'], limit: 1 })
const [at, id, , captureId, flowId] = rows[0] as string[]
await time('a flow, of a capture', 'flow', {
  flowId: flowId as string,
  captureId: captureId as string,
  time: at as string,
  limit: 1000,
})
await time('a flow, by its time alone', 'flow', { flowId: flowId as string, time: at as string, limit: 1000 })
await time('an event', 'event', { type: 'conn', id: id as string, time: at as string })
await search.close()

async function time<N extends SearchName>(what: string, name: N, request: SearchRequests[N]['in']): Promise<void> {
  const [cpuBefore, before] = [cpuOfChildren(), performance.now()]
  const answer = await search.ask(name, request)
  const ms = Math.round(performance.now() - before)
  const cpu = cpuOfChildren() - cpuBefore
  const found = answer as { rows?: unknown[]; complete?: boolean; scanned?: { files: number; of: number } }
  const more = found.scanned
    ? `${found.rows?.length} rows, ${found.scanned.files} of ${found.scanned.of} files${found.complete ? '' : ', goes on'}`
    : ''
  console.log(`${String(ms).padStart(6)} ms ${String(cpu).padStart(6)} CPU ms  ${what}  ${more}`)
}

/** Milliseconds, to ten of them; on a busy host the wall clock tells of the others. */
function cpuOfChildren(): number {
  const pids = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
  return pids.reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return sum + 10 * (Number(fields[11]) + Number(fields[12]))
  }, 0)
}

function iso(hour: number): string {
  return new Date(START + hour * 3_600_000).toISOString()
}

async function joinFiles(): Promise<void> {
  using ledger = openLedger(layout.ledger)
  const quiet = () => {}
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet, child: () => log }
  const [cpu, before] = [process.cpuUsage(), performance.now()]
  // What was generated was committed just now, in hours long gone.
  const { joined, into, rows } = await compact({ ledger, layout, log, afterMs: -1, hasSpace: () => true })
  const { user, system } = process.cpuUsage(cpu)
  console.log(
    `joined ${joined} files into ${into}, ${rows} rows, in ${Math.round((performance.now() - before) / 1000)} s (${Math.round((user + system) / 1e6)} s of CPU)`,
  )
}

async function generate(): Promise<void> {
  makeLayout(layout)
  const ledger = openLedger(layout.ledger)
  const instance = await DuckDBInstance.create(':memory:', { threads: '2', memory_limit: '2GB' })
  const connection = await instance.connect()
  const captures = Number(values.captures)
  const before = performance.now()
  for (let i = 0; i < captures; i++) {
    const capture = i.toString(16).padStart(8, '0').padEnd(64, 'a')
    const hour = Math.floor((i * Number(values.hours)) / captures)
    const files: { path: string; staged: string; logType: string; rows: number; bytes: number }[] = []
    for (const [type, total] of [
      ['conn', values.conn],
      ['dns', values.dns],
    ] as const) {
      const n = Math.round(Number(total) / captures)
      const [year, month, day, hh] = iso(hour).split(/[-T:]/)
      const path = `parquet/${type}/year=${year}/month=${month}/day=${day}/hour=${hh}/events_${type}_c${i}-0.parquet`
      const file = join(layout.dataDir, path)
      mkdirSync(dirname(file), { recursive: true })
      await connection.run(
        `COPY (${rowsSql(type, capture, START + hour * 3_600_000, n)}) TO '${file}' (${PARQUET_FORMAT})`,
      )
      files.push({ path, staged: 'x', logType: type, rows: n, bytes: statSync(file).size })
    }
    const counts = files.map(({ logType, rows: n }) => ({
      captureId: capture,
      logType,
      rows: n,
      quarantined: 0,
      reasons: {},
    }))
    ledger.transaction(() => {
      ledger.captures.add({
        id: capture,
        name: `${i}.pcap`,
        source: 'bench',
        format: 'pcap',
        bytes: 1,
        path: 'x',
        state: 'empty',
      })
      ledger.commits.add({ id: `c${i}`, files, counts })
      ledger.commits.markPublished(`c${i}`)
    })
  }
  connection.closeSync()
  instance.closeSync()
  ledger.close()
  console.log(
    `made ${values.conn} conn and ${values.dns} dns rows of ${captures} captures in ${Math.round((performance.now() - before) / 1000)} s`,
  )
}

function rowsSql(type: string, capture: string, startMs: number, n: number): string {
  const uid = `'C' || md5('${capture}' || i::VARCHAR)[:17]`
  const common: Record<string, string> = {
    event_id: `'${capture.slice(0, 24)}-${type}-' || i::VARCHAR`,
    capture_id: `'${capture}'`,
    source: "'bench'",
    event_time: `make_timestamp(${startMs}::BIGINT * 1000 + (i * 3500000000 / ${n})::BIGINT)`,
    flow_id: uid,
    src_ip: "'10.' || (hash(i) % 4)::VARCHAR || '.' || (hash(i, 1) % 20)::VARCHAR || '.' || (hash(i, 2) % 50)::VARCHAR",
    dst_ip:
      "CASE WHEN hash(i, 9) % 100000 = 0 THEN '10.200.1.77' ELSE (hash(i, 3) % 200 + 20)::VARCHAR || '.' || (hash(i, 4) % 8)::VARCHAR || '.1.' || (hash(i, 5) % 250)::VARCHAR END",
    ingest_time: `make_timestamp(${startMs}::BIGINT * 1000)`,
    community_id: "'1:' || md5(i::VARCHAR)",
    event_class: "'network'",
  }
  const own: Record<string, Record<string, string>> = {
    conn: {
      src_port: '(1024 + hash(i, 6) % 60000)::INTEGER',
      dst_port: '[80, 443, 53, 22, 123, 8080][1 + (hash(i, 7) % 6)::INTEGER]',
      protocol: "'tcp'",
      service: "[NULL, 'http', 'ssl', 'dns', 'ssh'][1 + (hash(i, 7) % 5)::INTEGER]",
      duration: '(hash(i, 8) % 10000) / 1000.0',
      orig_bytes: '(hash(i, 10) % 100000)::BIGINT',
      resp_bytes: '(hash(i, 11) % 1000000)::BIGINT',
      conn_state: "['SF', 'S0', 'REJ', 'RSTO'][1 + (hash(i, 12) % 4)::INTEGER]",
      history: "'ShADadFf'",
    },
    dns: {
      query: "'name-' || (hash(i, 6) % 20000)::VARCHAR || '.example.com'",
      qtype_name: "'A'",
      rcode_name: "'NOERROR'",
      protocol: "'udp'",
    },
  }
  const columns = tables.find(({ name }) => name === type)?.columns ?? []
  const selected = columns.map(
    ({ name, type: sql }) => `${own[type]?.[name] ?? common[name] ?? 'NULL'}::${sql} AS "${name}"`,
  )
  return `SELECT ${selected.join(', ')} FROM range(${n}) t(i)`
}

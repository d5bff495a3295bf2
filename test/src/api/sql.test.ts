import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EXAMPLES } from '../../../src/api/examples.ts'
import { sample } from '../../fixtures/variants.ts'
import { type ApiHome, openApiHome } from '../../support/api.ts'
import { until } from '../../support/pipeline.ts'

let home: ApiHome

beforeAll(async () => {
  home = await openApiHome({ QUERY_TIMEOUT_SECONDS: '5', QUERY_MEMORY_MB: '256' })
  await home.load('sample.pcap', sample())
}, 120_000)

afterAll(async () => await home[Symbol.asyncDispose]())

const start = async (sql: string, maxRows?: number) =>
  (await home.post('/api/sql/runs', { sql, ...(maxRows && { maxRows }) })).body
const ended = async (id: string) => {
  await until(async () => (await home.get(`/api/sql/runs/${id}`)).body.state !== 'running', 'the query ends', 30_000)
  return (await home.get(`/api/sql/runs/${id}`)).body
}

const HOSTILE = [
  "SELECT * FROM read_text('/etc/passwd')",
  "SELECT * FROM read_csv('/etc/passwd')",
  "SELECT * FROM '/etc/passwd'",
  "SELECT * FROM glob('/etc/*')",
  "SELECT * FROM read_blob('/proc/self/environ')",
  "SELECT content FROM read_text((SELECT '/etc/passwd'))",
  "COPY (SELECT 1) TO '/tmp/stolen.csv'",
  "COPY conn TO '/tmp/stolen.parquet'",
  "COPY conn FROM '/etc/passwd'",
  "ATTACH '/tmp/other.db'",
  "ATTACH ':memory:' AS m; SELECT 1",
  'INSTALL httpfs',
  "LOAD 'httpfs'",
  'PRAGMA database_list',
  'PRAGMA enable_external_access = true',
  'SET enable_external_access = true',
  "SET GLOBAL allowed_directories = ['/']",
  'RESET lock_configuration',
  'CREATE TABLE t (a INT)',
  "CREATE VIEW v AS SELECT * FROM read_text('/etc/passwd')",
  'DROP VIEW conn',
  'DELETE FROM conn',
  'UPDATE conn SET uid = 1',
  'INSERT INTO conn SELECT * FROM conn',
  'CALL duckdb_settings()',
  'SELECT * FROM duckdb_settings()',
  "SELECT getenv('HOME')",
  "SELECT current_setting('temp_directory')",
  "EXPORT DATABASE '/tmp/x'",
  'CHECKPOINT',
  "EXPLAIN COPY conn TO '/tmp/x'",
  'SELECT 1; SELECT 2',
  "SELECT * FROM query('SELECT 1')",
  "SELECT * FROM query_table('conn')",
  'SELECT * FROM information_schema.tables',
  "WITH x AS (SELECT * FROM read_json('/etc/passwd')) SELECT * FROM x",
  "SELECT (SELECT max(content) FROM read_text('/etc/passwd'))",
  "FROM parquet_metadata('/etc/passwd')",
  'USE memory',
  'BEGIN TRANSACTION',
  'PREPARE p AS SELECT 1',
  '',
  'SELECT',
  '\u0000',
]

describe('SQL that wants more than the dataset', () => {
  it.each(HOSTILE)('is refused: %s', async (sql) => {
    const { status, body } = await home.post('/api/sql/runs', { sql })
    if (status === 400) return expect(body.code).toBe('invalid_request')
    const run = await ended(body.id)
    expect(run.state).toBe('failed')
    expect(['query_refused', 'query_failed']).toContain(run.error.code)
    expect(run.rows).toBe(0)
    expect(run.error.message).not.toContain('root:')
  })

  it('that would never end is ended in time, and the next query is answered', async () => {
    const bomb = await start('select count(*) from range(10000000) a, range(10000000) b where a.range + b.range = 7')
    const [run, next] = await Promise.all([ended(bomb.id), start('select 42').then(({ id }) => ended(id))])
    expect(run).toMatchObject({ state: 'failed', error: { code: 'query_failed' } })
    expect(run.error.message).toContain('longer than 5 s')
    expect(next).toMatchObject({ state: 'done', rows: 1 })
  }, 60_000)

  it('that takes all memory ends with its process alone', async () => {
    const run = await ended((await start("select length(repeat('x', 3000000000))")).id)
    expect(run.state).toBe('failed')
    expect((await ended((await start('select 1')).id)).state).toBe('done')
  }, 60_000)
})

describe('a result', () => {
  it('is paged, also while the query runs, and is exported as files', async () => {
    const { id } = await start('select i, i * 2 as twice from range(2500) t(i)')
    await ended(id)
    const page = (await home.get(`/api/sql/runs/${id}/rows?offset=2000&limit=3`)).body
    expect(page.rows).toEqual([
      [2000, 4000],
      [2001, 4002],
      [2002, 4004],
    ])
    expect(page.run).toMatchObject({
      rows: 2500,
      truncated: false,
      columns: [{ name: 'i', type: 'BIGINT' }, { name: 'twice' }],
    })
    const csv = await home.get(`/api/sql/runs/${id}/export?format=csv`)
    expect(csv.text.split('\r\n')).toHaveLength(2502)
    const ndjson = await home.get(`/api/sql/runs/${id}/export?format=ndjson`)
    expect(JSON.parse(ndjson.text.split('\n')[2500 - 1] as string)).toEqual({ i: 2499, twice: 4998 })
    const parquet = await home.get(`/api/sql/runs/${id}/export?format=parquet`)
    expect(parquet.raw.subarray(0, 4).toString()).toBe('PAR1')
  }, 60_000)

  it('ends at the most rows that were asked for, and says so', async () => {
    const run = await ended((await start('select * from range(1000)', 10)).id)
    expect(run).toMatchObject({ state: 'done', rows: 10, truncated: true })
  })

  it('can be given up while it is made', async () => {
    const { id } = await start('select count(*) from range(10000000) a, range(1000000) b where a.range + b.range = 7')
    expect((await home.send({ method: 'DELETE', url: `/api/sql/runs/${id}` })).body).toEqual({ done: true })
    expect((await home.get(`/api/sql/runs/${id}`)).status).toBe(404)
  })

  it('has its errors at their place', async () => {
    const run = await ended((await start('select\n  nothing from conn')).id)
    expect(run.error.line).toBe(2)
    expect(run.error.message).toContain('nothing')
  })

  it('is noted in the history and the audit', async () => {
    const { entries } = (await home.get('/api/sql/history')).body
    expect(entries.map(({ outcome }: { outcome: string }) => outcome)).toContain('query_refused')
    expect(home.parts.ledger.accounts.audited(1000).map(({ detail }) => detail)).toContain(
      "SELECT * FROM read_text('/etc/passwd')",
    )
  })
})

describe('queries to keep', () => {
  it('are saved, replaced by name, and removed', async () => {
    const first = (await home.post('/api/sql/saved', { name: 'mine', sql: 'select 1' })).body
    const second = (await home.post('/api/sql/saved', { name: 'mine', sql: 'select 2' })).body
    expect(second).toMatchObject({ id: first.id, sql: 'select 2' })
    await home.send({ method: 'DELETE', url: `/api/sql/saved/${first.id}` })
    expect((await home.get('/api/sql/saved')).body.queries).toEqual([])
  })

  it.each(EXAMPLES)('that are shipped run on any dataset: $name', async ({ sql }) => {
    expect(await ended((await start(sql)).id)).toMatchObject({ state: 'done', error: null })
  })

  it('find their tables and columns in the schema', async () => {
    const { tables } = (await home.get('/api/sql/schema')).body
    const names = tables.map(({ name }: { name: string }) => name)
    for (const name of ['conn', 'dns', 'events', 'employees', 'watched_traffic']) expect(names).toContain(name)
  })
})

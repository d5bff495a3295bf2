import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DatasetOptions } from '../../../src/query/dataset.ts'
import { type IsolatedOptions, runIsolated } from '../../../src/query/isolated.ts'
import { connRows, type Fixture, makeFixture, Sink } from './fixture.ts'

const HOUR = '2026-03-05 08'

let fixture: Fixture
let options: DatasetOptions

beforeAll(async () => {
  fixture = await makeFixture()
  await fixture.write('conn', HOUR, 'a', connRows(HOUR, 3))
  options = { parquetDir: fixture.parquetDir, tempDir: join(fixture.dir, 'temp'), tables: [], memoryMb: 64, threads: 2 }
})
afterAll(() => fixture[Symbol.asyncDispose]())

async function ask(sql: string, more: Partial<IsolatedOptions> = {}) {
  const out = new Sink()
  const summary = await runIsolated(options, sql, { format: 'json', timeoutMs: 10_000, ...more, out })
  return { ...summary, text: out.text, bytes: out.bytes }
}

const leftovers = () =>
  readdirSync(options.tempDir).filter((name) => name !== 'schemas.json' && name !== 'readers.lock')

describe('a query in its own process', () => {
  it('answers as one in this process does', async () => {
    const answer = await ask('SELECT count(*)::INT AS n FROM conn')
    expect(answer).toMatchObject({ rows: 1, truncated: false, closed: false, warnings: [], text: '[\n{"n":3}\n]\n' })
    expect(await ask('FROM range(100)', { maxRows: 7, format: 'csv' })).toMatchObject({ rows: 7, truncated: true })
    expect((await ask('FROM conn', { format: 'parquet' })).bytes.subarray(0, 4).toString()).toBe('PAR1')
    expect(leftovers()).toEqual([])
  })

  it('brings long answers over whole', async () => {
    const { text } = await ask("SELECT range AS i, repeat('x', 50) AS s FROM range(200000)", { format: 'ndjson' })
    expect(text.length).toBe(text.lastIndexOf('\n') + 1)
    expect(text.split('\n').length).toBe(200_001)
    expect(text).toContain('{"i":199999,')
  })

  it('fails with the same errors', async () => {
    await expect(ask("FROM '/etc/passwd'")).rejects.toMatchObject({ code: 'query_refused', retryable: false })
    await expect(ask('SELECT nope FROM conn')).rejects.toMatchObject({
      code: 'query_failed',
      message: expect.stringContaining('nope'),
    })
  })

  it('ends when it takes memory that DuckDB does not count', async () => {
    await expect(ask('SELECT len(range(400000000))')).rejects.toMatchObject({
      code: 'query_failed',
      message: expect.stringContaining('more memory than it may'),
    })
    expect(leftovers()).toEqual([])
  })

  it('ends at its time limit even within a function that cannot be interrupted', async () => {
    const started = performance.now()
    await expect(
      ask("SELECT length(repeat('x', 500000000)), length(repeat('y', 400000000 + range)) FROM range(50)", {
        timeoutMs: 300,
      }),
    ).rejects.toMatchObject({
      code: 'query_failed',
    })
    expect(performance.now() - started).toBeLessThan(6000)
    expect(leftovers()).toEqual([])
  })

  it('ends with its signal', async () => {
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 500)
    const endless = 'SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b'
    await expect(ask(endless, { signal: controller.signal })).rejects.toMatchObject({ code: 'stopped' })
    await expect(ask('SELECT 1', { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'stopped' })
    expect(leftovers()).toEqual([])
  })

  it('ends quietly with its reader', async () => {
    const out = new PassThrough()
    out.once('data', () => out.destroy())
    const sql = 'SELECT * FROM range(100000000) a, range(1000) b'
    expect(await runIsolated(options, sql, { format: 'csv', timeoutMs: 10_000, out })).toMatchObject({ closed: true })
    expect(leftovers()).toEqual([])
  })

  it('waits for a slow reader without counting the time', async () => {
    const out = new PassThrough({ highWaterMark: 1024 })
    const running = runIsolated(options, "SELECT repeat('x', 1000) AS s FROM range(3000)", {
      format: 'csv',
      timeoutMs: 1000,
      out,
    })
    await new Promise((resolve) => setTimeout(resolve, 2500))
    out.resume()
    expect(await running).toMatchObject({ rows: 3000, closed: false })
  })
})

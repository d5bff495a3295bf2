import { execFileSync, spawn } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Dataset } from '../../../src/query/dataset.ts'
import { runQuery } from '../../../src/query/run.ts'
import { ask, connRows, type Fixture, makeFixture } from './fixture.ts'

const HOUR = '2026-03-05 08'
const ENDLESS = 'SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b'
const ENDLESS_ROWS = 'SELECT a.range, b.range AS c FROM range(100000000) a, range(1000) b'

let fixture: Fixture
let dataset: Dataset

beforeAll(async () => {
  fixture = await makeFixture()
  await fixture.write('conn', HOUR, 'a', connRows(HOUR, 3))
  dataset = await fixture.open({ memoryMb: 100, tempMaxMb: 20 })
})
afterAll(async () => {
  await dataset.close()
  await fixture[Symbol.asyncDispose]()
})

describe('a query', () => {
  it.each([
    ['an endless aggregate', ENDLESS],
    ['an endless answer', 'SELECT * FROM range(10000000) a, range(100000) b WHERE hash(a.range, b.range) = 1'],
    ['an endless recursion', 'WITH RECURSIVE t AS (SELECT 1 AS x UNION ALL SELECT x FROM t) SELECT count(*) FROM t'],
    ['EXPLAIN ANALYZE of an endless query', `EXPLAIN ANALYZE ${ENDLESS}`],
  ])('is ended at its time limit: %s', async (_name, sql) => {
    const started = performance.now()
    await expect(ask(dataset, sql, { timeoutMs: 300 })).rejects.toMatchObject({
      code: 'query_failed',
      message: expect.stringContaining('longer than 0.3 s'),
    })
    expect(performance.now() - started).toBeLessThan(5000)
  })

  it('is ended at its time limit in Parquet too, and its file removed', async () => {
    await expect(ask(dataset, ENDLESS_ROWS, { format: 'parquet', timeoutMs: 300 })).rejects.toMatchObject({
      code: 'query_failed',
    })
    expect(readdirSync(dataset.workDir).filter((name) => name.startsWith('answer'))).toEqual([])
  })

  it('is ended by its signal, before and while it runs', async () => {
    await expect(ask(dataset, 'SELECT 1', { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'stopped' })
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 100)
    await expect(ask(dataset, ENDLESS, { signal: controller.signal })).rejects.toMatchObject({ code: 'stopped' })
  })

  it('does not disturb the next one', async () => {
    await expect(ask(dataset, ENDLESS, { timeoutMs: 200 })).rejects.toMatchObject({ code: 'query_failed' })
    expect(JSON.parse((await ask(dataset, 'SELECT count(*)::INT AS n FROM conn')).text)).toEqual([{ n: 3 }])
  })

  it('that needs more memory than it may take fails with advice', async () => {
    await expect(ask(dataset, 'SELECT len(list(range)) FROM range(100000000)')).rejects.toMatchObject({
      code: 'query_failed',
      message: expect.stringMatching(/^Out of Memory Error[\s\S]*narrow it by year, month, day/),
    })
  })

  it('that needs more temporary space than it may take fails with advice', async () => {
    const sql = 'SELECT repeat(chr(65 + (range % 26)::INT), 200) AS s FROM range(2000000) ORDER BY hash(range)'
    await expect(ask(dataset, sql)).rejects.toMatchObject({
      code: 'query_failed',
      message: expect.stringMatching(/^Out of Memory[\s\S]*temporary space[\s\S]*narrow it/),
    })
  })

  it('whose Parquet answer is larger than the temporary space is ended', async () => {
    await expect(
      ask(dataset, 'SELECT uuid() AS u, uuid() AS v FROM range(100000000)', { format: 'parquet' }),
    ).rejects.toMatchObject({ code: 'query_failed', message: expect.stringContaining('larger than 20 MiB') })
    expect(readdirSync(dataset.workDir).filter((name) => name.startsWith('answer'))).toEqual([])
  })
})

describe('the output', () => {
  it('is no faster than its reader: an endless answer waits', async () => {
    const out = new PassThrough({ highWaterMark: 1024 })
    const controller = new AbortController()
    const running = runQuery(dataset, ENDLESS_ROWS, {
      format: 'ndjson',
      out,
      timeoutMs: 60_000,
      signal: controller.signal,
    })
    await sleep(500)
    const before = process.memoryUsage().rss
    await sleep(1500)
    expect(process.memoryUsage().rss - before).toBeLessThan(100e6)
    expect(out.writableLength + out.readableLength).toBeLessThan(1e6)
    controller.abort()
    await expect(running).rejects.toMatchObject({ code: 'stopped' })
  })

  it('does not count the time that the reader takes', async () => {
    const out = new Writable({ highWaterMark: 1, write: (_chunk, _encoding, done) => void setTimeout(done, 200) })
    const summary = await runQuery(dataset, 'SELECT * FROM range(30000)', { format: 'ndjson', out, timeoutMs: 600 })
    expect(summary.elapsedMs).toBeGreaterThan(700)
    expect(summary.rows).toBe(30_000)
  })

  it('stays open for its owner', async () => {
    const out = new PassThrough()
    await runQuery(dataset, 'SELECT 1', { format: 'csv', out, timeoutMs: 5000 })
    expect(out.writable).toBe(true)
    expect(out.listenerCount('error') + out.listenerCount('close')).toBe(0)
  })

  it('that is closed by its reader ends the query quietly', async () => {
    const out = new PassThrough()
    out.once('data', () => out.destroy())
    const summary = await runQuery(dataset, ENDLESS_ROWS, { format: 'ndjson', out, timeoutMs: 10_000 })
    expect(summary.closed).toBe(true)
    expect(summary.elapsedMs).toBeLessThan(5000)
  })

  it('that fails otherwise is an error', async () => {
    const out = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error('disk full'), { code: 'ENOSPC' })),
    })
    await expect(runQuery(dataset, 'FROM conn', { format: 'csv', out, timeoutMs: 5000 })).rejects.toMatchObject({
      code: 'io',
      message: expect.stringContaining('disk full'),
    })
  })
})

describe('a process', () => {
  // getrusage's peak is no use here: it counts what the parent held at the fork.
  const script = (sql: string, format: string) => `
    import { readFileSync } from 'node:fs'
    import { openDataset } from ${JSON.stringify(new URL('../../../src/query/dataset.ts', import.meta.url).href)}
    import { runQuery } from ${JSON.stringify(new URL('../../../src/query/run.ts', import.meta.url).href)}
    const dataset = await openDataset({ parquetDir: ${JSON.stringify(fixture.parquetDir)}, tempDir: ${JSON.stringify(join(fixture.dir, 'temp'))}, tables: [], memoryMb: 128, threads: 2 })
    const summary = await runQuery(dataset, ${JSON.stringify(sql)}, { format: ${JSON.stringify(format)}, out: process.stdout, timeoutMs: 20000 })
    await dataset.close()
    console.error(JSON.stringify({ closed: summary.closed, peakMb: Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024 }))`

  it.each(['ndjson', 'csv', 'table', 'json'])('that writes %s into head ends at once and quietly', async (format) => {
    const path = join(fixture.dir, `head-${format}.mjs`)
    writeFileSync(path, script(ENDLESS_ROWS, format))
    const child = spawn(process.execPath, [path], { stdio: ['ignore', 'pipe', 'pipe'] })
    let errors = ''
    child.stderr.on('data', (data: Buffer) => {
      errors += data.toString()
    })
    child.stdout.once('data', () => child.stdout.destroy())
    const code = await new Promise((resolve) => child.once('close', resolve))
    expect({ code, errors }).toEqual({ code: 0, errors: expect.stringMatching(/^\{"closed":true,.*\}\n$/) })
  })

  it('answers 2 million rows in bounded memory', () => {
    const path = join(fixture.dir, 'many.mjs')
    writeFileSync(
      path,
      script("SELECT range AS i, 'some text ' || range AS s, repeat('x', 60) AS t FROM range(2000000)", 'ndjson'),
    )
    const errors = execFileSync('/bin/sh', ['-c', 'exec "$0" "$1" 2>&1 >/dev/null', process.execPath, path], {
      encoding: 'utf8',
    })
    expect(JSON.parse(errors).peakMb).toBeLessThan(300)
  })
})

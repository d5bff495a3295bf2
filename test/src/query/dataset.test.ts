import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ask, connRows, type Fixture, makeFixture, partitionOf, rowsOf } from './fixture.ts'

describe('dataset', () => {
  let fixture: Fixture
  beforeEach(async () => {
    fixture = await makeFixture()
  })
  afterEach(() => fixture[Symbol.asyncDispose]())

  it('answers from a declared type that has no files yet with its columns and no rows', async () => {
    await using dataset = await fixture.open()
    expect((await ask(dataset, 'FROM dns', { format: 'csv' })).text).toBe(
      'event_time,event_id,query,answers,year,month,day,hour\r\n',
    )
    expect(
      await rowsOf(dataset, "SELECT count(*)::INTEGER AS n FROM dns WHERE query = 'x' AND answers[1] = 'y'"),
    ).toEqual([{ n: 0 }])
  })

  it('reads all hours of a type, the partitions as integers', async () => {
    await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    await fixture.write('conn', '2026-12-31 23', 'b', connRows('2026-12-31 23'))
    await using dataset = await fixture.open()
    expect(
      await rowsOf(
        dataset,
        'SELECT year, month, day, hour, typeof(hour) AS t, count(*)::INT AS n FROM conn GROUP BY ALL ORDER BY ALL',
      ),
    ).toEqual([
      { year: 2026, month: 3, day: 5, hour: 8, t: 'INTEGER', n: 2 },
      { year: 2026, month: 12, day: 31, hour: 23, t: 'INTEGER', n: 2 },
    ])
  })

  it('makes a table of a folder that nobody declared, whatever SQL thinks of its name', async () => {
    await fixture.write('select', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    await using dataset = await fixture.open()
    expect(await rowsOf(dataset, 'SELECT count(*)::INT AS n FROM "select"')).toEqual([{ n: 2 }])
  })

  it('finds tables without regard to case', async () => {
    await using dataset = await fixture.open()
    expect((await ask(dataset, 'SELECT * FROM DNS')).rows).toBe(0)
  })

  it('never reads unfinished, hidden, foreign, misplaced or linked files', async () => {
    const good = await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    const hour = dirname(good)
    for (const name of ['events_conn_b.parquet.part', 'events_conn_c.tmp', '.events_conn_d.parquet', 'other.parquet'])
      copyFileSync(good, join(hour, name))
    writeFileSync(join(hour, 'events_conn_half.parquet.tmp'), 'PAR1 half')
    copyFileSync(good, join(fixture.parquetDir, 'conn', 'events_conn_e.parquet'))
    mkdirSync(join(hour, 'deeper'))
    copyFileSync(good, join(hour, 'deeper', 'events_conn_f.parquet'))
    symlinkSync(good, join(hour, 'events_conn_g.parquet'))
    symlinkSync(hour, join(dirname(hour), 'hour=09'))
    mkdirSync(join(fixture.parquetDir, 'Bad-Name'))
    mkdirSync(join(fixture.parquetDir, '.staging'))
    await using dataset = await fixture.open()
    const answer = await ask(dataset, 'SELECT count(*)::INT AS n FROM conn')
    expect(JSON.parse(answer.text)).toEqual([{ n: 2 }])
    expect(answer.warnings).toEqual([])
    expect(await dataset.tableNames()).toEqual(['conn', 'dns'])
  })

  it('reads files under every prefix that was ever set, and none of another type', async () => {
    const good = await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    copyFileSync(good, join(dirname(good), 'zeek-2_conn_b.parquet'))
    copyFileSync(good, join(dirname(good), 'events_dns_c.parquet'))
    await using dataset = await fixture.open()
    expect(await rowsOf(dataset, 'SELECT count(*)::INT AS n FROM conn')).toEqual([{ n: 4 }])
  })

  it('joins files of different schemas: what one lacks is NULL, the wider type holds both', async () => {
    await fixture.write('conn', '2026-03-05 08', 'a', "SELECT 1::INTEGER AS a, 'x' AS old, {'p': 1} AS s, 5 AS mixed")
    await fixture.write(
      'conn',
      '2026-03-05 09',
      'b',
      "SELECT 9007199254740993::BIGINT AS A, 'y' AS new, {'q': 'z'} AS s, [7] AS mixed",
    )
    await using dataset = await fixture.open()
    expect((await ask(dataset, 'SELECT * FROM conn ORDER BY hour', { format: 'ndjson' })).text.split('\n')).toEqual([
      '{"a":1,"old":"x","s":{"p":1,"q":null},"mixed":"5","new":null,"year":2026,"month":3,"day":5,"hour":8}',
      '{"a":9007199254740993,"old":null,"s":{"p":null,"q":"z"},"mixed":"[7]","new":"y","year":2026,"month":3,"day":5,"hour":9}',
      '',
    ])
  })

  it('keeps declared columns that the files lack, and the files’ columns that are not declared', async () => {
    await fixture.write('dns', '2026-03-05 08', 'a', "SELECT 'q' AS query, 1 AS other")
    await using dataset = await fixture.open()
    expect(await rowsOf(dataset, 'SELECT * EXCLUDE (year, month, day, hour) FROM dns')).toEqual([
      { event_time: null, event_id: null, query: 'q', answers: null, other: 1 },
    ])
  })

  it('leaves damaged files out and names them, and answers from the rest', async () => {
    const good = await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    const cut = await fixture.write('conn', '2026-03-05 09', 'cut', connRows('2026-03-05 09'))
    truncateSync(cut, 100)
    writeFileSync(join(dirname(good), 'events_conn_empty.parquet'), '')
    writeFileSync(join(dirname(good), 'events_conn_text.parquet'), 'not parquet at all, not at all')
    await using dataset = await fixture.open()
    for (let time = 0; time < 2; time++) {
      const answer = await ask(dataset, 'SELECT count(*)::INT AS n FROM conn')
      expect(JSON.parse(answer.text)).toEqual([{ n: 2 }])
      expect(answer.warnings).toHaveLength(1)
      expect(answer.warnings[0]).toMatch(/^conn: 3 files that cannot be read are left out/)
      for (const name of ['events_conn_cut.parquet', 'events_conn_empty.parquet', 'events_conn_text.parquet'])
        expect(answer.warnings[0]).toContain(name)
      expect(answer.warnings[0]).not.toContain(fixture.dir)
    }
  })

  it('names the file whose pages are damaged behind a whole footer', async () => {
    const path = await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08', 5000))
    const bytes = readFileSync(path)
    bytes.fill(0xee, 4, bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8))
    writeFileSync(path, bytes)
    await using dataset = await fixture.open()
    await expect(ask(dataset, 'SELECT sum(orig_bytes), max(event_id) FROM conn')).rejects.toMatchObject({
      code: 'query_failed',
      message: expect.stringContaining('conn/year=2026/month=03/day=05/hour=08/events_conn_a.parquet'),
    })
  })

  it('sees files that are published while it is open, and no longer those that are gone', async () => {
    const first = await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    await using dataset = await fixture.open()
    const count = 'SELECT count(*)::INT AS n FROM conn'
    expect(await rowsOf(dataset, count)).toEqual([{ n: 2 }])
    await fixture.write('conn', '2026-03-05 09', 'b', connRows('2026-03-05 09', 3))
    expect(await rowsOf(dataset, count)).toEqual([{ n: 5 }])
    rmSync(first)
    expect(await rowsOf(dataset, count)).toEqual([{ n: 3 }])
  })

  it('sees that a file was replaced by one of another schema', async () => {
    await fixture.write('conn', '2026-03-05 08', 'a', 'SELECT 1 AS before')
    await using dataset = await fixture.open()
    await rowsOf(dataset, 'SELECT before FROM conn')
    await fixture.write('conn', '2026-03-05 08', 'a', "SELECT 'two' AS after")
    expect(await rowsOf(dataset, 'SELECT after FROM conn')).toEqual([{ after: 'two' }])
  })

  it('shows the common columns of all types as events, NULL where a type lacks one', async () => {
    await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08', 1))
    await fixture.write(
      'odd',
      '2026-03-05 09',
      'a',
      "SELECT 'no number' AS dst_port, 'later' AS event_time, 'o1' AS event_id",
    )
    await using dataset = await fixture.open()
    expect(
      await rowsOf(
        dataset,
        'SELECT log_type, event_time, event_id, src_ip, dst_port, community_id, hour FROM events ORDER BY hour',
      ),
    ).toEqual([
      {
        log_type: 'conn',
        event_time: '2026-03-05T08:00:00.000Z',
        event_id: 'e-2026-03-05 08-0',
        src_ip: '10.0.0.1',
        dst_port: 443,
        community_id: null,
        hour: 8,
      },
      { log_type: 'odd', event_time: null, event_id: 'o1', src_ip: null, dst_port: null, community_id: null, hour: 9 },
    ])
  })

  it('has an empty events table when there is nothing at all', async () => {
    await using dataset = await fixture.open({ tables: [] })
    expect((await ask(dataset, 'SELECT event_time, log_type, src_port FROM events')).rows).toBe(0)
  })

  it('opens no file of another hour when a query names the hour', async () => {
    await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    const other = await fixture.write('conn', '2026-03-05 09', 'b', connRows('2026-03-05 09'))
    await using dataset = await fixture.open()
    await rowsOf(dataset, 'SELECT count(*) AS n FROM conn')
    const bytes = readFileSync(other)
    const { atime, mtime } = await import('node:fs').then((fs) => fs.statSync(other))
    writeFileSync(other, Buffer.alloc(bytes.length))
    await import('node:fs').then((fs) => fs.utimesSync(other, atime, mtime))
    expect(await rowsOf(dataset, 'SELECT count(*)::INT AS n FROM conn WHERE year = 2026 AND hour = 8')).toEqual([
      { n: 2 },
    ])
  })

  it('works below a symbolic link and below folders that look like partitions', async () => {
    await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    const moved = join(fixture.dir, 'site=a', "it's", 'parquet')
    mkdirSync(dirname(moved), { recursive: true })
    renameSync(fixture.parquetDir, moved)
    symlinkSync(moved, fixture.parquetDir)
    await using dataset = await fixture.open()
    expect(await rowsOf(dataset, 'SELECT count(*)::INT AS n FROM conn WHERE hour = 8')).toEqual([{ n: 2 }])
  })

  it('refuses names and folders that it could not keep apart', async () => {
    await expect(fixture.open({ tables: [{ name: 'a"b', columns: [] }] })).rejects.toMatchObject({
      code: 'config_invalid',
    })
    await expect(fixture.open({ tables: [{ name: 'events', columns: [] }] })).rejects.toMatchObject({
      code: 'config_invalid',
    })
    await expect(fixture.open({ tempDir: join(fixture.parquetDir, 'tmp') })).rejects.toMatchObject({
      code: 'config_invalid',
    })
    await expect(fixture.open({ parquetDir: join(fixture.dir, 'a*') })).rejects.toMatchObject({
      code: 'config_invalid',
    })
  })

  it('leaves nothing but its cache behind, and removes what a killed process left', async () => {
    const temp = join(fixture.dir, 'temp')
    const dead = `query.${Buffer.from('another-boot/1/1/1').toString('base64url')}.0`
    mkdirSync(join(temp, dead, 'spill'), { recursive: true })
    mkdirSync(join(temp, 'query.not-ours'))
    await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    {
      await using dataset = await fixture.open()
      await ask(dataset, 'FROM conn', { format: 'parquet' })
      expect(existsSync(join(temp, dead))).toBe(false)
    }
    expect(readdirSync(temp).sort()).toEqual(['query.not-ours', 'readers.lock', 'schemas.json'])
  })

  it('uses the cache of an earlier process, and does without one that is damaged', async () => {
    const cache = join(fixture.dir, 'temp', 'schemas.json')
    await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    for (const content of [undefined, 'same', '{"version":', '[]', '{"version":"1","files":{"x":3}}']) {
      if (content !== undefined && content !== 'same') writeFileSync(cache, content)
      await using dataset = await fixture.open()
      expect(await rowsOf(dataset, 'SELECT count(*)::INT AS n FROM conn')).toEqual([{ n: 2 }])
      expect(JSON.parse(readFileSync(cache, 'utf8')).files).toEqual({
        [join(fixture.parquetDir, 'conn', partitionOf('2026-03-05 08'), 'events_conn_a.parquet')]: [
          expect.any(Number),
          expect.any(Number),
          expect.stringMatching(/^\d+$/),
        ],
      })
    }
  })

  it('answers several queries at once, each with its own tables', async () => {
    await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08'))
    await using dataset = await fixture.open()
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        rowsOf(dataset, `SELECT ${i} AS i, count(*)::INT AS n FROM ${i % 2 ? 'conn' : 'events'}`),
      ),
    )
    expect(answers).toEqual(Array.from({ length: 8 }, (_, i) => [{ i, n: 2 }]))
  })
})

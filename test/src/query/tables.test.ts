import { statSync, truncateSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { describeTable, listTables } from '../../../src/query/tables.ts'
import { connRows, type Fixture, makeFixture } from './fixture.ts'

describe('the tables', () => {
  let fixture: Fixture
  beforeEach(async () => {
    fixture = await makeFixture()
  })
  afterEach(() => fixture[Symbol.asyncDispose]())

  it('are counted over all their files', async () => {
    const paths = [
      await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08', 30)),
      await fixture.write('conn', '2026-03-05 09', 'b', connRows('2026-03-05 09', 7)),
      await fixture.write('conn', '2026-12-01 10', 'c', connRows('2026-12-01 10', 5)),
    ]
    await using dataset = await fixture.open()
    for (let time = 0; time < 2; time++) {
      expect(await listTables(dataset)).toEqual([
        {
          name: 'conn',
          rows: 42,
          files: 3,
          bytes: paths.reduce((sum, path) => sum + statSync(path).size, 0),
          columns: expect.arrayContaining([{ name: 'orig_bytes', type: 'BIGINT' }]),
          firstTime: '2026-03-05T08:00:00.000Z',
          lastTime: '2026-12-01T10:04:00.000Z',
          damaged: [],
        },
        { name: 'dns', rows: 0, files: 0, bytes: 0, columns: expect.any(Array), damaged: [] },
      ])
    }
  })

  it('find their first and last event in the hour of events without a usable hour too', async () => {
    await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08', 1))
    await fixture.write(
      'conn',
      '1970-01-01 00',
      'b',
      `${connRows('2027-07-07 07', 1)} UNION ALL BY NAME SELECT NULL::TIMESTAMP AS event_time`,
    )
    await using dataset = await fixture.open()
    expect((await listTables(dataset))[0]).toMatchObject({
      rows: 3,
      firstTime: '2026-03-05T08:00:00.000Z',
      lastTime: '2027-07-07T07:00:00.000Z',
    })
  })

  it('name their damaged files', async () => {
    const path = await fixture.write('conn', '2026-03-05 08', 'a', connRows('2026-03-05 08', 30))
    truncateSync(path, 50)
    await using dataset = await fixture.open()
    expect((await listTables(dataset))[0]).toMatchObject({
      rows: 0,
      files: 0,
      damaged: [
        { file: 'conn/year=2026/month=03/day=05/hour=08/events_conn_a.parquet', reason: expect.stringMatching(/./) },
      ],
    })
  })

  it('describe their columns, the partitions last', async () => {
    await fixture.write('conn', '2026-03-05 08', 'a', 'SELECT 1 AS a, [1.5] AS l')
    await using dataset = await fixture.open()
    expect(await describeTable(dataset, 'conn')).toEqual([
      { name: 'a', type: 'INTEGER' },
      { name: 'l', type: 'DECIMAL(2,1)[]' },
      ...['year', 'month', 'day', 'hour'].map((name) => ({ name, type: 'INTEGER' })),
    ])
    expect((await describeTable(dataset, 'events'))[0]).toEqual({ name: 'event_time', type: 'TIMESTAMP' })
    expect((await describeTable(dataset, 'dns')).map((column) => column.name)).toContain('query')
    await expect(describeTable(dataset, '../conn')).rejects.toMatchObject({ code: 'query_failed' })
  })
})

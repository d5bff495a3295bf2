import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiHome, openApiHome } from '../../support/api.ts'

const SAMPLE = readFileSync(join(import.meta.dirname, '../../fixtures/sample.pcap'))

let home: ApiHome
let id: string

beforeAll(async () => {
  home = await openApiHome()
  const ids = await home.load('first sample.pcap', SAMPLE, 'site-a')
  id = ids[0] as string
}, 120_000)

afterAll(async () => await home[Symbol.asyncDispose]())

describe('captures', () => {
  it('are listed with their state, progress, rows and source', async () => {
    const { body } = await home.get('/api/captures')
    expect(body.total).toBe(1)
    expect(body.sources).toEqual(['site-a'])
    const [capture] = body.captures
    expect(capture).toMatchObject({
      id,
      name: 'first sample.pcap',
      state: 'done',
      source: 'site-a',
      rows: 52,
      error: null,
    })
    expect(capture.packets.inFile).toBe(132)
    expect(capture.progress.map(({ stage }: { stage: string }) => stage)).toEqual([
      'convert',
      'split',
      'distribute',
      'upload',
    ])
    expect(
      capture.progress.every(({ bytes, bytesDone }: { bytes: number; bytesDone: number }) => bytes === bytesDone),
    ).toBe(true)
  })

  it('have a receipt that balances', async () => {
    const { body } = await home.get(`/api/captures/${id.slice(0, 12)}/receipt`)
    expect(body.balanced).toBe(true)
    expect(body.total).toEqual({ records: 52, rows: 52, quarantined: 0, removed: 0 })
  })

  it('are linked to the first when the same content comes again, under any name', async () => {
    await home.load('the same.pcap', SAMPLE)
    const { body } = await home.get(`/api/captures/${id}`)
    expect(body.duplicates).toBe(1)
    expect(body.arrivals.map(({ outcome }: { outcome: string }) => outcome)).toEqual(['accepted', 'duplicate'])
    expect((await home.get('/api/captures')).body.total).toBe(1)
  })

  it('are downloaded as they came, also in parts', async () => {
    const whole = await home.get(`/api/captures/${id}/file`)
    expect(whole.raw.equals(SAMPLE)).toBe(true)
    expect(whole.headers['content-disposition']).toContain('filename="first_sample.pcap"')
    const part = await home.get(`/api/captures/${id}/file`, { range: 'bytes=0-3' })
    expect(part.status).toBe(206)
    expect(part.raw.equals(SAMPLE.subarray(0, 4))).toBe(true)
  })

  it('that are not known are not found', async () => {
    const { status, body } = await home.get('/api/captures/ffffffff')
    expect(status).toBe(404)
    expect(body).toMatchObject({ status: 404, code: 'capture_unknown' })
    expect((await home.get('/api/captures/..%2f..%2fetc')).status).toBe(400)
  })
})

describe('search', () => {
  const search = async (body: object) => (await home.post('/api/search', body)).body

  it('pages through all events without one twice and without one left out', async () => {
    for (const order of ['newest', 'oldest']) {
      const ids: string[] = []
      let after: string | undefined
      do {
        const page: { rows: string[][]; next: string | null } = await search({
          limit: 7,
          order,
          ...(after && { after }),
        })
        ids.push(...page.rows.map((row) => row[1] as string))
        after = page.next ?? undefined
      } while (after !== undefined)
      expect(ids).toHaveLength(52)
      expect(new Set(ids).size).toBe(52)
    }
  })

  it('gives rows by time, with the columns that were asked for', async () => {
    const { columns, rows } = await search({ types: ['conn'], columns: ['src_ip', 'duration'], limit: 100 })
    expect(columns.map(({ name }: { name: string }) => name)).toEqual([
      ...['event_time', 'event_id', 'log_type', 'capture_id', 'src_ip', 'duration'],
    ])
    const times = rows.map(([time]: string[]) => time)
    expect(times).toEqual([...times].sort().reverse())
  })

  const found = async (body: object) => (await search({ limit: 1000, ...body })).rows.length
  const counted = async (sql: string) => {
    const run = (await home.post('/api/sql/runs', { sql })).body
    return (await home.get(`/api/sql/runs/${run.id}/rows?waitMs=20000`)).body.rows[0][0]
  }

  it.each([
    [
      { types: ['conn'], conditions: [{ column: 'src_ip', op: 'cidr', value: '192.168.0.0/16' }] },
      "select count(*) from conn where src_ip like '192.168.%'",
    ],
    [
      { types: ['conn'], conditions: [{ column: 'src_ip', op: 'cidr', value: '192.168.7.16/28' }] },
      "select count(*) from conn where src_ip like '192.168.7.2_'",
    ],
    [
      { types: ['conn'], conditions: [{ column: 'src_ip', op: 'cidr', value: 'fd00::/8' }] },
      "select count(*) from conn where src_ip like 'fd00:%'",
    ],
    [
      { types: ['conn'], conditions: [{ column: 'src_ip', op: 'cidr', value: '::1' }] },
      "select count(*) from conn where src_ip = '::1'",
    ],
    [
      { types: ['conn'], conditions: [{ column: 'service', op: 'missing' }] },
      'select count(*) from conn where service is null',
    ],
    [
      { types: ['conn'], conditions: [{ column: 'service', op: 'exists' }] },
      'select count(*) from conn where service is not null',
    ],
    [
      { types: ['conn'], conditions: [{ column: 'service', op: '!=', value: 'dns' }] },
      "select count(*) from conn where service is distinct from 'dns'",
    ],
    [
      { types: ['conn'], conditions: [{ column: 'dst_port', op: '>', value: 1000 }] },
      'select count(*) from conn where dst_port > 1000',
    ],
    [
      { types: ['conn'], conditions: [{ column: 'dst_port', op: 'in', value: [53, 80] }] },
      'select count(*) from conn where dst_port in (53, 80)',
    ],
    [
      { types: ['http'], conditions: [{ column: 'user_agent', op: 'contains', value: 'CLIENT' }] },
      "select count(*) from http where user_agent ilike '%client%'",
    ],
    [{ types: ['http'], text: '192.168.7.20' }, "select count(*) from http where '192.168.7.20' in (src_ip, dst_ip)"],
    [
      { types: ['dns'], text: 'example' },
      "select count(*) from dns where query ilike '%example%' or array_to_string(answers, ' ') ilike '%example%'",
    ],
  ])('finds with %j what SQL finds', async (filter, sql) => {
    const expected = await counted(sql)
    expect(await found(filter)).toBe(expected)
    expect((await home.post('/api/search/count', filter)).body.count).toBe(expected)
  })

  it('keeps to the range of time, whose end is not part of it', async () => {
    const { rows } = await search({ types: ['conn'], limit: 1000 })
    const middle = rows[9][0]
    const late = await found({ types: ['conn'], from: middle })
    const early = await found({ types: ['conn'], to: middle })
    expect(late + early).toBe(20)
    expect(late).toBeGreaterThan(0)
  })

  it('refuses columns and types that are not there', async () => {
    for (const body of [
      { types: ['conn'], conditions: [{ column: 'nothing', op: '=', value: 1 }] },
      { types: ['nothing'] },
      { types: ['conn'], columns: ['nothing'] },
      { types: ['conn'], conditions: [{ column: 'dst_port', op: '=', value: '1 or 1=1' }] },
      { after: 'xx' },
    ]) {
      const { status, body: problem } = await home.post('/api/search', body)
      expect(status, JSON.stringify(body)).toBe(400)
      expect(problem.title).toBe('The request is wrong')
    }
  })

  it('takes whatever stands in a value as a value', async () => {
    for (const value of ["' OR 1=1 --", '"; DROP TABLE conn; --', '%', "\\'", '\u0000']) {
      expect(await found({ types: ['conn'], conditions: [{ column: 'service', op: '=', value }] })).toBe(0)
      const { status } = await home.post('/api/search', { types: ['http'], text: value })
      expect(status).toBe(200)
    }
    expect(
      (await home.post('/api/search', { types: ['conn'], conditions: [{ column: 'x" OR 1=1 --', op: '=', value: 1 }] }))
        .status,
    ).toBe(400)
  })
})

describe('figures', () => {
  it('facets add up to the number of events', async () => {
    const { body } = await home.post('/api/search/facets', {
      types: ['conn'],
      facets: [{ column: 'service', limit: 2 }, { column: 'log_type' }],
    })
    expect(body.total).toBe(20)
    for (const { values, missing, other } of body.facets) {
      const sum = values.reduce((n: number, { count }: { count: number }) => n + count, 0)
      expect(sum + missing + other).toBe(20)
    }
  })

  it('a histogram has every event in one bar', async () => {
    const { body } = await home.post('/api/search/histogram', { by: 'log_type', buckets: 20 })
    expect(body.total).toBe(52)
    expect(body.bars.reduce((n: number, { count }: { count: number }) => n + count, 0)).toBe(52)
  })

  it('groups are sorted by their first measure', async () => {
    const { body } = await home.post('/api/search/top', {
      types: ['conn'],
      by: ['src_ip'],
      measures: [{ of: 'count' }, { of: 'sum', column: 'orig_bytes' }],
    })
    expect(body.rows[0][0]).toBe('192.168.7.20')
    const counts = body.rows.map(([, n]: [string, number]) => n)
    expect(counts).toEqual([...counts].sort((a, b) => b - a))
  })
})

describe('an event', () => {
  it('has three layers: as Zeek wrote it, normalized, enriched', async () => {
    const { rows } = (await home.post('/api/search', { types: ['http'], limit: 1 })).body
    const [time, eventId] = rows[0]
    const { body } = await home.get(`/api/events/http/${eventId}?time=${encodeURIComponent(time)}`)
    expect(body.raw['id.orig_h']).toBe(body.normalized.src_ip)
    expect(body.raw.uid).toBe(body.flowId)
    expect(body.raw.ts).toBeCloseTo(Date.parse(time) / 1000, 2)
    expect(body.enriched.direction).toBeTypeOf('string')
    expect(body.raw).not.toHaveProperty('src_ip')
    expect((await home.get('/api/events/http/nothing')).status).toBe(404)
  })

  it('leads to all records of its flow, and from there to its packets', async () => {
    const { rows } = (await home.post('/api/search', { types: ['http'], limit: 1, columns: ['flow_id'] })).body
    const [time, , , captureId, flowId] = rows[0]
    const flow = (await home.post('/api/flow', { flowId, captureId, time })).body
    const types = new Set(flow.records.map(({ logType }: { logType: string }) => logType))
    expect([...types].sort()).toEqual(['conn', 'files', 'http'])
    const conn = flow.records.find(({ logType }: { logType: string }) => logType === 'conn').record
    const query = new URLSearchParams(flow.packets).toString()
    const list = (await home.get(`/api/captures/${captureId}/packets?${query}`)).body
    expect(list.matched).toBe(conn.orig_pkts + conn.resp_pkts)
    expect(list.packets[0].flags).toBe('SYN')
    const cut = await home.get(`/api/captures/${captureId}/packets.pcap?${query}`)
    expect(cut.headers['x-packets']).toBe(String(list.matched))
    expect(cut.raw.length).toBe(
      24 + list.packets.reduce((n: number, { captured }: { captured: number }) => n + 16 + captured, 0),
    )
  })
})

describe('health', () => {
  it('tells of stages, disk, memory and versions', async () => {
    const { body } = await home.get('/api/health')
    expect(body.stages.map(({ stage }: { stage: string }) => stage)).toContain('upload')
    expect(body.sinks[0]).toMatchObject({ name: 'parquet', state: 'ok', rows: 52 })
    expect(body.captures).toEqual({ done: 1 })
    expect(body.disk.freeBytes).toBeGreaterThan(0)
  })

  it('answers probes', async () => {
    expect((await home.get('/healthz')).text).toBe('ok\n')
    expect((await home.get('/readyz')).text).toBe('ready\n')
  })

  it('masks secrets in the settings', async () => {
    const { body } = await home.get('/api/settings')
    expect(body.settings.find(({ name }: { name: string }) => name === 'DATA_DIR').value).toContain('data')
  })

  it('describes every route in the OpenAPI document', async () => {
    const { body } = await home.get('/api/openapi.json')
    expect(body.openapi).toBe('3.1.0')
    const { routes } = await import('../../../src/api/contract.ts')
    for (const { method, path } of Object.values(routes)) {
      const place = path.replace(/:(\w+)/g, '{$1}')
      expect(body.paths[place]?.[method.toLowerCase()], `${method} ${place}`).toBeDefined()
    }
    expect((await home.get('/api/docs')).text).not.toMatch(/<script|https?:\/\//)
  })
})

describe('forgetting and reprocessing', () => {
  it('takes a capture away with its rows, and makes them again', async () => {
    const { until } = await import('../../support/pipeline.ts')
    expect((await home.post(`/api/captures/${id}/reprocess`)).status).toBe(202)
    await until(() => home.parts.ledger.captures.get(id)?.state === 'done', 'converted again', 60_000)
    expect((await home.post('/api/search/count', {})).body.count).toBe(52)
    const gone = await home.send({ method: 'DELETE', url: `/api/captures/${id}` })
    expect(gone.status).toBe(202)
    await until(() => home.parts.ledger.captures.get(id) === undefined, 'forgotten', 60_000)
    await until(async () => (await home.post('/api/search/count', {})).body.count === 0, 'no rows are left')
    expect((await home.post('/api/search', {})).body.rows).toEqual([])
    const actions = home.parts.ledger.accounts.audited(10).map(({ action }) => action)
    expect(actions).toContain('forget')
  }, 120_000)
})

/** Long lists in pages, and entries that are changed in their place. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sample } from '../../fixtures/variants.ts'
import { type ApiHome, openApiHome } from '../../support/api.ts'

let home: ApiHome
beforeAll(async () => {
  home = await openApiHome()
  await home.load('sample.pcap', sample())
}, 120_000)
afterAll(async () => await home[Symbol.asyncDispose]())

/** All entries, page after page; what comes in between moves nothing. */
// biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came
async function pagesOf(url: string, name: string, between: () => void = () => {}): Promise<any[][]> {
  const pages = []
  for (let after: string | number | null = ''; after !== null; ) {
    const { status, body } = await home.get(`${url}${after === '' ? '' : `&after=${encodeURIComponent(after)}`}`)
    expect(status).toBe(200)
    pages.push(body[name])
    after = body.next
    between()
  }
  return pages
}

describe('lists', () => {
  it('of captures and of what came are paged, newest first, within a choice', async () => {
    const { captures } = home.parts.ledger
    const put = (n: number, at: number) => {
      const id = n.toString(16).padStart(64, '0')
      const arrival = { name: `made-${n}.pcap`, source: 'lab', container: 'none', bytes: 10, captureId: id }
      const [name, source, format] = [arrival.name, 'lab', 'pcap' as const]
      captures.add({ id, name, source, format, bytes: 10, path: `captures/${id}.pcap`, state: 'empty' }, at)
      captures.addArrival({ ...arrival, outcome: 'empty' }, at)
    }
    // Some at the same moment.
    for (let n = 1; n <= 11; n++) put(n, 1000 + Math.floor(n / 3))
    let next = 100
    const pages = await pagesOf('/api/captures?source=lab&limit=4', 'captures', () => put(next++, 5000))
    expect(pages.map((page) => page.length)).toEqual([4, 4, 3])
    const names = pages.flat().map(({ name }) => name)
    expect(names).toEqual(Array.from({ length: 11 }, (_, i) => `made-${11 - i}.pcap`))
    const some = (await home.get('/api/captures?text=MADE-1&limit=2')).body
    expect([some.total, some.captures.length, some.sources]).toEqual([6, 2, ['default', 'lab']])
    expect((await home.get(`/api/captures?text=${'0'.repeat(60)}`)).body.total).toBe(14)
    expect((await home.get('/api/captures?after=nonsense')).status).toBe(400)
    const came = await pagesOf('/api/arrivals?outcome=empty&limit=5', 'arrivals')
    expect(came.map((page) => page.length)).toEqual([5, 5, 4])
  })

  it('of watched people and indicators are paged, and tell how many fit', async () => {
    const { watch } = home.parts.ledger
    for (let n = 0; n < 7; n++) {
      watch.putEmployee({ key: `k${n}`, name: n < 5 ? 'Same Name' : `Other ${n}`, watched: true })
      watch.putIndicator({ list: 'l', kind: 'domain', value: `d${n}.test`, note: '' })
      const none = { mac: null, hostname: null, validFrom: null, validTo: null }
      watch.putComputer({ compId: `c${n}`, employee: 'k1', ip: `10.0.0.${n}`, ...none })
    }
    const employees = await pagesOf('/api/watch/employees?limit=3', 'employees')
    expect(employees.flat().map(({ key }) => key)).toEqual(['k5', 'k6', 'k0', 'k1', 'k2', 'k3', 'k4'])
    expect(employees.flat().map(({ computers }) => computers)).toEqual([0, 0, 0, 7, 0, 0, 0])
    const computers = await pagesOf('/api/watch/computers?limit=3', 'computers')
    expect(computers.map((page) => page.length)).toEqual([3, 3, 1])
    const indicators = await pagesOf('/api/watch/indicators?limit=7', 'indicators')
    expect(indicators.map((page) => page.length)).toEqual([7])
    const { total, next } = (await home.get('/api/watch/employees?text=same&limit=2')).body
    expect([total, JSON.parse(next)]).toEqual([5, ['Same Name', 'k1']])
    for (const list of ['employees', 'computers', 'indicators'])
      expect((await home.get(`/api/watch/${list}?after=nonsense`)).status, list).toBe(400)
  })

  it('have entries that are changed in their place, unless another is just so', async () => {
    const change = (url: string, payload: object) => home.send({ method: 'PUT', url, payload })
    const version = home.parts.ledger.watch.version()
    const [first, second] = (await home.get('/api/watch/computers?limit=2')).body.computers
    const validTo = '2030-01-01T00:00:00Z'
    const { status, body } = await change(`/api/watch/computers/${first.id}`, {
      ...{ compId: 'new', employee: 'k2', mac: 'E0:A1:D7:18:C2:72', validTo },
    })
    expect([status, body]).toEqual([
      200,
      {
        ...{ id: first.id, compId: 'new', employee: 'k2', mac: 'e0:a1:d7:18:c2:72', ip: null, hostname: null },
        ...{ validFrom: null, validTo: '2030-01-01T00:00:00.000Z' },
      },
    ])
    expect(home.parts.ledger.watch.version()).toBeGreaterThan(version)
    const { id: _, ...same } = second
    expect((await change(`/api/watch/computers/${first.id}`, same)).status).toBe(409)
    expect((await change('/api/watch/computers/4711', same)).status).toBe(404)
    expect((await change(`/api/watch/computers/${first.id}`, { compId: 'x', employee: 'y' })).status).toBe(400)
    const [domain] = (await home.get('/api/watch/indicators?limit=1')).body.indicators
    const changed = await change(`/api/watch/indicators/${domain.id}`, { list: 'l', kind: 'ip', value: '10.9.9.9' })
    expect(changed.body).toEqual({ id: domain.id, list: 'l', kind: 'ip', value: '10.9.9.9', note: '' })
  })
})

describe('a search', () => {
  it.each([
    ['of one type with words', { types: ['http'], text: 'sample.test page.gz' }],
    ['of one type with an address', { types: ['conn'], text: '192.168.7.20' }],
    [
      'of one type with a network',
      { types: ['conn'], conditions: [{ column: 'dst_ip', op: 'cidr', value: '192.168.0.0/16' }] },
    ],
    [
      'of one type with a network of version 6',
      { types: ['conn'], conditions: [{ column: 'dst_ip', op: 'cidr', value: '2001:db8::/32' }] },
    ],
    ['of all types with words', { text: '"sample.test"' }],
    ['of all types with a network', { conditions: [{ column: 'src_ip', op: 'cidr', value: '192.168.7.0/24' }] }],
    ['of some types with a column of one', { types: ['dns', 'http'], conditions: [{ column: 'query', op: 'exists' }] }],
    ['of two types', { types: ['dns', 'http'], conditions: [{ column: 'src_ip', op: '!=', value: '10.0.0.1' }] }],
    ['with a time', { types: ['dns'], from: '2001-01-01T00:00:00Z', to: '2100-01-01T00:00:00Z' }],
  ])('%s is, as SQL, a query that finds as many', async (_, filter) => {
    const { count } = (await home.post('/api/search/count', filter)).body
    expect(count).toBeGreaterThan(0)
    const columns = ['src_ip', 'uid']
    const { sql } = (await home.post('/api/search/sql', { ...filter, columns })).body
    const run = (await home.post('/api/sql/runs', { sql })).body
    const { rows, run: ended } = (await home.get(`/api/sql/runs/${run.id}/rows?waitMs=20000`)).body
    expect(ended.error, sql).toBeNull()
    expect(rows.length, sql).toBe(count)
  })

  it('gives the largest groups by the sum of what they sent and received', async () => {
    const measures = ['orig_bytes', 'resp_bytes'].map((column) => ({ of: 'sum', column }))
    const body = { types: ['conn'], by: ['dst_port'], measures, order: 'sum', limit: 3 }
    const { rows } = (await home.post('/api/search/top', body)).body
    const all = (await home.post('/api/search/top', { ...body, limit: 1000 })).body.rows as number[][]
    const sums = all.map(([port, out, back]) => [port, Number(out ?? 0) + Number(back ?? 0)] as const)
    expect(rows.map(([port]: number[]) => port)).toEqual(
      [...sums]
        .sort((a, b) => b[1] - a[1] || Number(a[0]) - Number(b[0]))
        .slice(0, 3)
        .map(([port]) => port),
    )
  })
})

import { copyFileSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sample } from '../../fixtures/variants.ts'
import { type ApiHome, openApiHome } from '../../support/api.ts'
import { until } from '../../support/pipeline.ts'

let home: ApiHome
let id: string

const query = async (sql: string) => {
  const run = (await home.post('/api/sql/runs', { sql })).body
  const { body } = await home.get(`/api/sql/runs/${run.id}/rows?waitMs=20000`)
  if (body.run.error) throw new Error(body.run.error.message)
  return body.rows
}
const rescan = async () => {
  await home.post('/api/watch/rescan')
  await until(async () => (await home.get('/api/watch/rescan')).body.state !== 'running', 'the rescan is over')
  return (await home.get('/api/watch/rescan')).body
}
const put = (kind: string, text: string) =>
  home.send({
    method: 'POST',
    url: `/api/watch/import?kind=${kind}`,
    payload: text,
    headers: { 'content-type': 'text/csv' },
  })

beforeAll(async () => {
  home = await openApiHome()
  await put(
    'employees',
    '1:{"key":"1","name":"Ann Able","watch_flag":"YES"}\n2:{"key":"2","name":"Bo Baker","watch_flag":"NO"}\n',
  )
  await put('computers', 'comp_id,empkey,ip\n10,1,192.168.7.20\n11,2,192.168.7.20\n')
  await put('indicators', 'value,list\nsample.test,names\n2001:db8::/32,documentation\n')
  id = (await home.load('sample.pcap', sample()))[0] as string
}, 120_000)

afterAll(async () => await home[Symbol.asyncDispose]())

describe('watch lists', () => {
  it('flag rows while they are loaded, and the receipt balances all the same', async () => {
    expect((await home.get(`/api/captures/${id}/receipt`)).body.balanced).toBe(true)
    const [[flagged, others]] = await query(
      `select count(*) filter (watch_employee = ['1']), count(*) filter (watch_employee is not null and watch_employee <> ['1']) from conn`,
    )
    const [[expected]] = await query(`select count(*) from conn where '192.168.7.20' in (src_ip, dst_ip)`)
    expect(flagged).toBe(expected)
    expect(flagged).toBeGreaterThan(10)
    expect(others).toBe(0)
  })

  it('explain each hit', async () => {
    const rows = await query(`select distinct unnest(watch_reason) from dns where query like '%.sample.test'`)
    expect(rows.flat()).toContain('ip 192.168.7.20 (src_ip)')
    expect(rows.flat()).toContain('domain sample.test (query www.sample.test)')
    const { hits } = (await home.get('/api/watch/hits')).body
    expect(hits.map(({ list }: { list: string }) => list)).toContain('documentation')
    expect(hits.find(({ employee }: { employee: string }) => employee === '1').employeeName).toBe('Ann Able')
  })

  it('leave the order of rows and all other columns as they are', async () => {
    const [[differences]] = await query(
      `with ordered as (select row_number() over () as n, split_part(event_id, '-', 3)::int as ordinal from conn) select count(*) from ordered where n <> ordinal + 1`,
    )
    expect(differences).toBe(0)
  })

  it('make watched_traffic, to be asked as packets are', async () => {
    const rows = await query(
      `select name, ip_src, host, frame_protocols from watched_traffic where frame_protocols like '%http'`,
    )
    expect(rows.length).toBeGreaterThan(2)
    for (const [name, src, host] of rows)
      expect([name, src, host]).toEqual(['Ann Able', '192.168.7.20', 'www.sample.test'])
    const { body } = await home.get('/api/watch/report?by=protocol')
    expect(body.rows.map(([protocols]: string[]) => protocols)).toContain('eth:ethertype:ip:udp:dns')
  })

  it('apply to the past by a rescan, and take back what does not hold any more', async () => {
    await home.send({
      method: 'PUT',
      url: '/api/watch/employees',
      payload: { key: '1', name: 'Ann Able', watched: false },
    })
    await home.send({
      method: 'PUT',
      url: '/api/watch/employees',
      payload: { key: '2', name: 'Bo Baker', watched: true },
    })
    expect(await rescan()).toMatchObject({ state: 'done', error: null })
    const rows = await query(
      `select distinct unnest(watch_employee) from events_of_all`.replace('events_of_all', 'conn'),
    )
    expect(rows).toEqual([['2']])
    const [[count]] = await query('select count(*) from conn')
    expect(count).toBe(20)
    expect((await home.get(`/api/captures/${id}/receipt`)).body.balanced).toBe(true)
  })

  it('find by MAC address the records that carry none, by their flow', async () => {
    for (const { id: row } of (await home.get('/api/watch/computers')).body.computers)
      await home.send({ method: 'DELETE', url: `/api/watch/computers/${row}` })
    await put('computers', 'comp_id,empkey,macaddr\n12,2,00:00:00:00:00:00\n')
    await rescan()
    const [[conn, http]] = await query(
      `select (select count(*) from conn where watch_employee = ['2']), (select count(*) from http where watch_employee = ['2'])`,
    )
    expect([conn, http]).toEqual([20, 10])
  })

  it('hold for their time alone', async () => {
    for (const { id: row } of (await home.get('/api/watch/computers')).body.computers)
      await home.send({ method: 'DELETE', url: `/api/watch/computers/${row}` })
    await put(
      'computers',
      'comp_id,empkey,ip,valid_from,valid_to\n13,2,192.168.7.20,2020-01-01T00:00:00Z,2021-01-01T00:00:00Z\n',
    )
    await rescan()
    expect(await query('select count(*) from conn where watch_employee is not null')).toEqual([[0]])
  })

  it('leave alone what another host has put into a dataset that is shared', async () => {
    const { ledger, layout } = home.parts
    const own = ledger.commits.published().find(({ logType }) => logType === 'conn')?.path as string
    const foreign = join(layout.dataDir, dirname(own), 'events_conn_of-another-host-0-1.parquet')
    copyFileSync(join(layout.dataDir, own), foreign)
    const before = readFileSync(foreign)
    await put('computers', 'comp_id,empkey,ip\n14,2,192.168.7.20\n')
    expect((await rescan()).rewritten).toBeGreaterThan(0)
    expect(readFileSync(foreign).equals(before)).toBe(true)
    expect(readFileSync(join(layout.dataDir, own)).equals(before)).toBe(false)
    expect((await rescan()).rewritten).toBe(0)
  })
})

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { samplePath } from '../../fixtures/variants.ts'
import { makeHome } from '../../support/cli.ts'
import { until } from '../../support/pipeline.ts'

it('serves the pages beside the stages, and ends when it is asked to', async () => {
  using home = makeHome({ HTTP_ENABLED: 'true' })
  const child = home.start('run')
  let said = ''
  child.stderr?.on('data', (data: Buffer) => {
    said += data.toString()
  })
  await until(() => /http:\/\/127\.0\.0\.1:\d+/.test(said), 'the address is told', 60_000)
  const [address] = /http:\/\/127\.0\.0\.1:\d+/.exec(said) as RegExpExecArray
  const answer = await fetch(`${address}/api/health`)
  expect((await answer.json()) as object).toMatchObject({ bus: { kind: 'embedded' } })
  const live = await fetch(`${address}/api/live?kinds=stages`)
  const { value } = await (live.body as ReadableStream<Uint8Array>).getReader().read()
  expect(Buffer.from(value as Uint8Array).toString()).toContain('retry: 2000')
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit')
  expect(code).toBe(0)
}, 120_000)

it('does not listen where everybody could ask, until somebody has to log in', async () => {
  using home = makeHome({ HTTP_HOST: '0.0.0.0' })
  const refused = await home.run('serve')
  expect(refused.code).toBe(2)
  expect(refused.stderr).toContain('HTTP_TOKEN')
}, 60_000)

it('takes watch lists in, applies them to the past, and reports', async () => {
  using home = makeHome()
  const file = (name: string, text: string) => {
    writeFileSync(join(home.dir, name), text)
    return name
  }
  expect((await home.run('ingest', samplePath)).code).toBe(0)
  await home.run(
    'watchlist',
    'import',
    'employees',
    file('e.json', '100:{"key":"100", "name":"Ann Able", "watch_flag":"YES"}\n'),
  )
  const taken = await home.run(
    'watchlist',
    'import',
    'computers',
    file('c.csv', 'comp_id,empkey,ip\n1,100,192.168.7.20\n2,100,nonsense\n'),
  )
  expect(taken.stderr).toContain('line 3 is left out')
  expect(taken.code).toBe(3)
  expect((await home.run('watchlist', 'rescan')).code).toBe(0)
  const report = await home.run('watchlist', 'report', '--by', 'protocol', '--format', 'json')
  const protocols = JSON.parse(report.stdout).map((row: { frame_protocols: string }) => row.frame_protocols)
  expect(protocols).toContain('eth:ethertype:ip:tcp:http')
  const [row] = await home.rows<{ n: number }>(
    "select count(*) as n from watched_traffic where name = 'Ann Able' and frame_protocols like '%http'",
  )
  expect(row?.n).toBe(4)
}, 120_000)

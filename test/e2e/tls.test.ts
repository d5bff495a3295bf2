/** Captures with the keys of their TLS sessions, through the command line and the inbox. */

import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openApiHome } from '../support/api.ts'
import { makeHome } from '../support/cli.ts'
import { until } from '../support/pipeline.ts'

const PCAP = join(import.meta.dirname, '../fixtures/tls.pcap')
const KEYS = join(import.meta.dirname, '../fixtures/tls.keys')
const OURS = { CONVERT_ENGINE: 'tshark', CONVERT_PARALLEL: '1' }

it('keys that lie beside a file are used where that is allowed, told in the receipt, and forgotten with the capture', async () => {
  using home = makeHome(OURS)
  const dir = join(home.dir, 'mine')
  mkdirSync(dir)
  copyFileSync(PCAP, join(dir, 'case.pcap'))
  copyFileSync(KEYS, join(dir, 'case.keys'))
  const off = await home.run('ingest', dir)
  expect(off).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^warning +TLS keys .* were not used \(TLS_KEYS is false\)\.$/m),
  })
  expect(off.stdout).not.toMatch(/^tls /m)

  writeFileSync(join(home.dir, '.env'), 'TLS_KEYS=true\n')
  expect((await home.run('reprocess', 'case.pcap')).code).toBe(0)
  const on = await home.run('ingest', join(dir, 'case.pcap'))
  expect(on.stdout).toMatch(/^tls {7}keys of 22 sessions, 21 of them in the capture; 21 of 21 sessions decrypted$/m)
  expect(on.stdout).not.toMatch(/^warning/m)
  const [count] = await home.rows("select count(*) as n from http where uri like '/13-%/long'")
  expect(Number(count?.n)).toBe(7)
  const services = await home.rows("select distinct service from conn where service like '%http%'")
  expect(services).toEqual([{ service: 'ssl,http' }])
  expect((await home.run('config')).stdout).toMatch(/TLS_KEYS\s+true/)

  const captures = join(home.dataDir, 'captures')
  const stored = readdirSync(captures).find((name) => name.endsWith('.keys')) as string
  expect(statSync(join(captures, stored)).mode & 0o777).toBe(0o600)
  expect(existsSync(join(dir, 'case.keys'))).toBe(true)
  expect((await home.run('forget', 'case.pcap')).code).toBe(0)
  expect(readdirSync(captures)).toEqual([])
  const alone = await home.run('ingest', join(dir, 'case.keys'))
  expect(alone).toMatchObject({ code: 2, stderr: expect.stringContaining('is a file of TLS keys') })
}, 120_000)

it('convert uses them too', async () => {
  using home = makeHome({ ...OURS, TLS_KEYS: 'true' })
  copyFileSync(PCAP, join(home.dir, 'a.pcap'))
  copyFileSync(KEYS, join(home.dir, 'a.pcap.keylog'))
  const { code, stdout } = await home.run('convert', 'a.pcap', '--out', 'out')
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining('http 55') })
}, 60_000)

it('keys that come after their capture are kept, the receipt says so, and reprocessing makes use of them', async () => {
  await using home = await openApiHome({ ...OURS, TLS_KEYS: 'true' })
  const [id] = (await home.load('late.pcap', readFileSync(PCAP), 'lab')) as [string]
  const receipt = async () => (await home.get(`/api/captures/${id}/receipt`)).body
  expect(await receipt()).toMatchObject({ balanced: true, tls: null, warnings: [] })
  const { inbox } = home.parts.layout
  writeFileSync(join(inbox, 'lab', 'late.keys'), readFileSync(KEYS))
  const late = 'TLS keys came after it was converted; `reprocess` makes use of them.'
  await until(async () => (await receipt()).warnings.includes(late), 'the keys are taken in')
  await home.post(`/api/captures/${id}/reprocess`, {})
  await until(async () => (await receipt()).tls !== null && (await receipt()).balanced, 'it is converted again', 60_000)
  expect(await receipt()).toMatchObject({ warnings: [], tls: { sessions: 21, withKeys: 21, decrypted: 21 } })
  expect((await home.get(`/api/captures/${id}`)).body.tls).toMatchObject({ decrypted: 21 })
}, 90_000)

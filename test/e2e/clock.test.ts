/** Clocks that are wrong: through the command line and the API, from a file to its rows and its packets. */

import { readFileSync, writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { packetsOf, pcapng, sample, samplePath } from '../fixtures/variants.ts'
import { openApiHome } from '../support/api.ts'
import { makeHome } from '../support/cli.ts'

const HOUR_US = 3_600_000_000
const times = "select flow_id, epoch_us(event_time) as us from conn where source = 'lab' order by us, flow_id"
const firstMicros = Number(packetsOf(sample())[0]?.micros)

/** The sample as if its first packet had come at this second. */
function sampleAt(seconds: number): Buffer {
  const bytes = sample()
  const shift = seconds - Math.floor(firstMicros / 1e6)
  for (let at = 24; at < bytes.length; at += 16 + bytes.readUInt32LE(at + 8))
    bytes.writeUInt32LE(bytes.readUInt32LE(at) + shift, at)
  return bytes
}

it('the clock of a source is corrected in all of its events, and a capture keeps the offset that it came with', async () => {
  using home = makeHome()
  const set = (offsets: string) => writeFileSync(join(home.dir, '.env'), `CLOCK_OFFSETS=${offsets}\n`)
  const first = async () => Number((await home.rows<{ us: string }>(times))[0]?.us)

  set('lab=+3600s,dmz=-1.5s')
  const { code, stdout } = await home.run('ingest', samplePath, '--source', 'lab')
  expect(code).toBe(0)
  expect(stdout).toContain('clock     +3600s added to every time (CLOCK_OFFSETS)')
  expect(await first()).toBe(firstMicros + HOUR_US)
  const [all] = await home.rows("select count(*) as n from conn where source = 'lab'")
  expect(Number(all?.n)).toBeGreaterThan(5)
  const before = await home.rows(times)

  set('lab=-9d')
  expect((await home.run('reprocess', 'sample.pcap')).code).toBe(0)
  await home.run('ingest', samplePath, '--source', 'lab')
  expect(await home.rows(times)).toEqual(before)

  expect((await home.run('reprocess', 'sample.pcap', '--clock-offset=-1.5s')).code).toBe(0)
  const again = await home.run('ingest', samplePath, '--source', 'lab')
  expect(again.stdout).toContain('clock     -1.5s added to every time')
  expect(await first()).toBe(firstMicros - 1_500_000)
  const { code: refused, stderr } = await home.run('reprocess', 'sample.pcap', '--clock-offset=2s')
  expect({ refused, stderr }).toEqual({ refused: 2, stderr: expect.stringContaining('with a sign and a unit') })
}, 120_000)

it('a pcapng is corrected alike, and so is the log of its packets', async () => {
  using home = makeHome({ CLOCK_OFFSETS: 'lab=+3600s', PACKET_LOG: 'true' })
  const file = join(home.dir, 'other.pcapng')
  writeFileSync(file, pcapng(sample()))
  const { code, stdout } = await home.run('ingest', file, '--source', 'lab')
  expect({ code, stdout }).toMatchObject({ code: 0 })
  const sums = await home.rows('select min(epoch_us(event_time)) as least from packet')
  expect(Number(sums[0]?.least)).toBe(firstMicros + HOUR_US)
}, 120_000)

it.each([
  {
    what: '1970',
    at: 12,
    year: 'year=1970',
    warning: /^The first packet claims the time 1970-01-01T00:00:12\.\d+Z: the clock of lab was not set/,
  },
  {
    what: 'the future',
    at: 4_102_444_800,
    year: 'year=2100',
    warning: /^The last packet claims the time 2100-01-01T.* still to come .* the clock of lab is ahead/,
  },
])(
  'a capture from $what is under that year, with a warning in every form of its receipt',
  async ({ at, year, warning }) => {
    await using home = await openApiHome()
    const [id] = await home.load('odd.pcap', sampleAt(at), 'lab')
    const receipt = (await home.get(`/api/captures/${id}/receipt`)).body
    expect(receipt).toMatchObject({ balanced: true, clockOffsetSeconds: 0, warnings: [expect.stringMatching(warning)] })
    expect((await home.get(`/api/captures/${id}`)).body.warnings).toEqual(receipt.warnings)
    expect(home.parts.ledger.receipt(id as string).capture.warnings).toEqual(receipt.warnings)
    expect(await readdir(join(home.parts.layout.parquet, 'conn'))).toEqual([year])
  },
  60_000,
)

it("a flow's packets are found by the corrected time, and the cut has it too", async () => {
  await using home = await openApiHome({ CLOCK_OFFSETS: 'lab=-90m' })
  const [id] = await home.load('late.pcap', readFileSync(samplePath), 'lab')
  expect((await home.get(`/api/captures/${id}`)).body).toMatchObject({ clockOffsetSeconds: -5400, warnings: [] })
  const { rows } = (await home.post('/api/search', { types: ['http'], limit: 1, columns: ['flow_id'] })).body
  const [time, , , captureId, flowId] = rows[0]
  const flow = (await home.post('/api/flow', { flowId, captureId, time })).body
  const query = new URLSearchParams(flow.packets).toString()
  const { packets, matched } = (await home.get(`/api/captures/${id}/packets?${query}`)).body
  expect(matched).toBeGreaterThan(0)
  const originals = packetsOf(sample()).map(({ micros }) => Number(micros) - 5_400_000_000)
  const microsOf = (iso: string) => Date.parse(`${iso.slice(0, 19)}Z`) * 1000 + Number(iso.slice(20, 26))
  for (const { number, time } of packets) expect(microsOf(time)).toBe(originals[number - 1])
  const cut = await home.get(`/api/captures/${id}/packets.pcap?${query}`)
  expect(cut.raw.readUInt32LE(24)).toBe(Math.floor(microsOf(packets[0].time) / 1e6))
}, 60_000)

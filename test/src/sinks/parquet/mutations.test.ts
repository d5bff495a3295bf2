/** Records with random damage: whatever comes out, each line is a row or quarantined, and each row is right. */

import { expect, it } from 'vitest'
import { createScan, createTally } from '../../../../src/sinks/parquet/scan.ts'
import { tableOf } from '../../../../stages/upload/rules/table.ts'
import { fits } from '../../../../stages/upload/rules/values.ts'
import { defaultRules } from '../../../../stages/upload/rules.ts'
import { expectedRow, lostMembers, withoutSigns } from './agreement.ts'
import { chunkOf, readRows, scratchDir, writeChunks } from './harness.ts'

const SEEDS = [
  '{"ts":1767225600.044421,"uid":"C3","id.orig_h":"10.1.63.175","id.orig_p":24720,"id.resp_h":"192.168.7.150","id.resp_p":53,"proto":"udp","rtt":0.042016,"query":"edge127.example.org","qclass":1,"qtype":28,"AA":false,"RD":true,"Z":0,"answers":["34.37.60.132","2001:db8::1"],"TTLs":[60.0,1e1,null],"rejected":false}',
  '{"ts":"2018-03-24T17:15:20.865716Z","uid":"C4","id.orig_h":"fe80::1","id.orig_p":0,"id.resp_h":"::ffff:10.0.0.1","id.resp_p":65535,"proto":"tcp","query":"\\u00e9\\ud83d\\ude00\\n","answers":[],"TTLs":[-0.5]}',
]
const PIECES = [
  '"',
  ',',
  ':',
  '{',
  '}',
  '[',
  ']',
  '\\',
  'null',
  'true',
  '-',
  '.',
  '0',
  '9',
  'e',
  '1e5',
  '"x":',
  '\\ud800',
  ' ',
  '\t',
  '::',
  'é',
  '"rcode":3',
  '.0',
]
const BYTES = [0x00, 0x09, 0x1f, 0x7f, 0x80, 0xc3, 0xff]

/** The numbers of a linear congruential generator: the same in each run. */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

function damaged(line: Buffer, random: (below: number) => number): Buffer {
  const at = random(line.length)
  const length = random(3) === 0 ? random(12) : random(2)
  const piece =
    random(8) === 0
      ? Buffer.from([BYTES[random(BYTES.length)] as number])
      : Buffer.from(PIECES[random(PIECES.length)] as string)
  const from = random(line.length)
  const copy = random(6) === 0 ? line.subarray(from, from + random(30)) : piece
  return Buffer.concat([line.subarray(0, at), random(4) === 0 ? Buffer.alloc(0) : copy, line.subarray(at + length)])
}

function mutations(count: number, seed: number): Buffer[] {
  const random = randomOf(seed)
  return Array.from({ length: count }, () => {
    let line: Buffer = Buffer.from(SEEDS[random(SEEDS.length)] as string)
    for (let n = random(3); n >= 0; n--) line = damaged(line, random)
    return Buffer.from(line.filter((byte) => byte !== 10))
  })
}

const table = tableOf(defaultRules(), 'dns')

it('a line that the scan finds clean is a flat JSON object of fields with values that fit, or unknown ones that are plain', () => {
  const scan = createScan(table)
  let clean = 0
  for (const line of mutations(60_000, 1)) {
    const tally = createTally()
    const bytes = Buffer.concat([line, Buffer.from('\n')])
    scan.lines(bytes, 0, bytes.length, tally, () => {})
    if (tally.lines === 0) continue
    clean++
    const text = line.toString()
    const record: Record<string, unknown> = JSON.parse(text)
    let values = 0
    for (const [name, value] of Object.entries(record)) {
      const field = table.byRaw.get(name)
      const isPlain = /^[A-Za-z0-9_@.:-]+$/.test(name) && ['string', 'number', 'boolean'].includes(typeof value)
      expect(field ? fits(field.type, value) : isPlain, `${name} of ${text}`).toBe(true)
      if (field && name !== 'community_id')
        values += Array.isArray(value) ? value.filter((each) => each !== null).length : 1
    }
    expect(tally.values, text).toBe(values)
  }
  expect(clean).toBeGreaterThan(3000)
})

it('each damaged line is a quarantined line or the row that the normalizer makes of it', {
  timeout: 120_000,
}, async () => {
  const lines = mutations(4000, 2)
  const { result, stagingDir } = await writeChunks([await chunkOf(await scratchDir(), 'dns', lines)])
  const rows = new Map((await readRows(stagingDir, result, 'dns')).map((row) => [row.event_id, row]))
  let compared = 0
  for (const [i, line] of lines.entries()) {
    const record = recordOf(line)
    const expected = record && expectedRow('dns', record, i)
    const row = rows.get(expected?.event_id ?? expectedRow('dns', {}, i).event_id)
    if (record && row) expect(lostMembers('dns', record, row), line.toString()).toEqual([])
    const { extra: _, ...columns } = row ?? {}
    expect(withoutSigns(row && columns), line.toString()).toEqual(withoutSigns(expected))
    if (expected) compared++
  }
  expect(compared).toBe(result.chunks[0]?.rows)
  expect(compared).toBeGreaterThan(500)
  expect(compared).toBeLessThan(3900)
})

/** The record of a line that is to be a row. */
function recordOf(line: Buffer): Record<string, unknown> | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(line)
    const value = JSON.parse(text.trim())
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

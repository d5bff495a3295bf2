import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createScan, createTally } from '../../../../src/sinks/parquet/scan.ts'
import { tableOf } from '../../../../stages/upload/rules/table.ts'
import { defaultRules } from '../../../../stages/upload/rules.ts'
import { CAPTURE, chunkOf, query, type Row, scratchDir, writeChunks } from './harness.ts'

const HOUR = Date.UTC(2026, 0, 1) / 1000
const LIVE = { numbering: 'explicit', captureId: undefined, idPrefix: 'zeek-raw.4f2a-3-', source: 'zeek-raw' } as const

/** A record whose uid tells what its ordinal must be. */
const numbered = (ordinal: number, ts = HOUR, rest = '') =>
  `{"#":${ordinal},"ts":${ts},"uid":"C${ordinal}","id.orig_h":"10.0.0.1","id.orig_p":1,"id.resp_h":"8.8.8.8","id.resp_p":53${rest}}`

async function rowsOf(...[chunks, options]: Parameters<typeof writeChunks>): Promise<Row[]> {
  const { result, stagingDir } = await writeChunks(chunks, options)
  const list = result.files.map(({ path }) => `'${join(stagingDir, path)}'`).join(', ')
  return query(`SELECT event_id, flow_id, capture_id, source, extra FROM read_parquet([${list}]) ORDER BY ALL`)
}

describe('events that bear their numbers', () => {
  it('have the ids of their prefix and number, in any order and over several chunks, origins and hours', async () => {
    const dir = await scratchDir()
    const ordinals = Array.from({ length: 100_000 }, (_, i) => (i * 7919) % 100_003)
    const lines = ordinals.map((ordinal, i) => numbered(ordinal, HOUR + (i % 3) * 3600))
    const chunks = [
      await chunkOf(dir, 'conn', lines.slice(0, 60_000), LIVE),
      await chunkOf(dir, 'conn', lines.slice(60_000), LIVE),
      await chunkOf(dir, 'conn', [numbered(5), numbered(9_007_199_254_740_991)], {
        ...LIVE,
        ...{ captureId: CAPTURE, idPrefix: undefined, source: 'site' },
      }),
      await chunkOf(dir, 'conn', ['{"uid":"C41"}', '{"uid":"C42"}'], { firstOrdinal: 41 }),
    ]
    const rows = await rowsOf(chunks)
    expect(rows).toHaveLength(100_004)
    const wrong = rows.filter(({ event_id, flow_id, capture_id, source }) => {
      const ordinal = String(flow_id).slice(1)
      const isOf = (prefix: string, capture: unknown, origin: string) =>
        event_id === prefix + ordinal && capture_id === capture && source === origin
      return !(
        isOf(LIVE.idPrefix, undefined, 'zeek-raw') ||
        isOf(`${CAPTURE.slice(0, 24)}-conn-`, CAPTURE, 'site') ||
        isOf(`${CAPTURE.slice(0, 24)}-conn-`, CAPTURE, 'lab')
      )
    })
    expect(wrong).toEqual([])
  })

  it('keep them where lines are rewritten, quarantined or empty, and a member of that name stays in the record', async () => {
    const lines = [
      numbered(7, HOUR, ',"x":{"deep":[1]}'),
      '{"#":3,"ts":nonsense}',
      '{"#":999999999999999999}',
      '{"#":0,"#":"own","uid":"C0"}',
      `{"#":12,"id":{"orig_h":"10.0.0.9"},"uid":"C12"}`,
      numbered(8),
      `{"#":4,"uid":"C4","x":"${'y'.repeat(5000)}"}`,
      '{"#":5, }',
      '{"#":6, "uid":"C6" }\r',
    ]
    const chunk = await chunkOf(await scratchDir(), 'conn', lines, LIVE)
    const { result, stagingDir } = await writeChunks([chunk], { maxLineBytes: 4000 })
    expect(result.chunks).toMatchObject([{ lines: 9, rows: 7, quarantined: { 'not JSON': 1, 'line too long': 1 } }])
    const list = result.files.map(({ path }) => `'${join(stagingDir, path)}'`).join(', ')
    const rows = await query(
      `SELECT event_id[${LIVE.idPrefix.length + 1}:] AS n, flow_id AS uid, capture_id, extra FROM read_parquet([${list}]) ORDER BY n::BIGINT`,
    )
    expect(rows).toEqual([
      { n: '0', uid: 'C0', extra: '{"#":"own"}' },
      { n: '5' },
      { n: '6', uid: 'C6' },
      { n: '7', uid: 'C7', extra: '{"x":{"deep":[1]}}' },
      { n: '8', uid: 'C8' },
      { n: '12', uid: 'C12' },
      { n: '999999999999999999' },
    ])
    const entries = (await readFile(join(stagingDir, result.quarantineFile as string), 'utf8')).trim().split('\n')
    expect(entries.map((line) => JSON.parse(line))).toMatchObject([
      { ordinal: 3, event_id: `${LIVE.idPrefix}3`, reason: 'not JSON', line: '{"ts":nonsense}' },
      { ordinal: 4, event_id: `${LIVE.idPrefix}4`, reason: 'line too long' },
    ])
  })

  it('of a chunk of none but unusable lines are quarantined, and of empty records alone are rows', async () => {
    const dir = await scratchDir()
    const { result } = await writeChunks([await chunkOf(dir, 'dns', ['{"#":1,x}', '{"#":2,y}'], LIVE)])
    expect(result).toMatchObject({ files: [], chunks: [{ rows: 0, quarantined: { 'not JSON': 2 } }] })
    const rows = await rowsOf([await chunkOf(dir, 'dns', ['{"#":1}', '{"#":2}'], LIVE)])
    expect(rows.map(({ event_id }) => event_id)).toEqual([`${LIVE.idPrefix}1`, `${LIVE.idPrefix}2`])
  })

  it('are refused when a line bears none, when an id would have no prefix, and when a prefix has odd characters', async () => {
    const dir = await scratchDir()
    for (const line of [
      '{"uid":"C1"}',
      '{"#":-1,"uid":"C1"}',
      '{"#":"1"}',
      '{"#":01}',
      '{"#":1234567890123456789}',
      '',
    ])
      await expect(writeChunks([await chunkOf(dir, 'conn', [numbered(1), line], LIVE)]), line).rejects.toMatchObject({
        code: 'artifact_damaged',
      })
    const chunk = await chunkOf(dir, 'conn', [numbered(1)], LIVE)
    for (const idPrefix of [undefined, "it's", ''])
      await expect(writeChunks([{ ...chunk, idPrefix }])).rejects.toMatchObject({ code: 'sink_rejected' })
  })
})

it('a numbered line is clean exactly when it is clean without its number', () => {
  const table = tableOf(defaultRules(), 'conn')
  const isClean = (line: string, numbering?: 'explicit') => {
    const bytes = Buffer.from(`${line}\n`)
    const tally = createTally()
    createScan(table, numbering).lines(bytes, 0, bytes.length, tally, () => {})
    return tally.lines === 1
  }
  const line = numbered(17, HOUR, ',"proto":"udp","local_orig":true,"tunnel_parents":["a"]').replace('"#":17,', '')
  for (let at = 1; at < line.length; at++)
    for (const byte of ['', '"', '{', '}', '\\', '0', ',']) {
      const damaged = line.slice(0, at) + byte + line.slice(at + 1)
      expect(isClean(`{"#":17,${damaged.slice(1)}`, 'explicit'), damaged).toBe(isClean(damaged))
    }
})

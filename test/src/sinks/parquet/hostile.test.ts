import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { ParquetResult } from '../../../../src/sinks/parquet/types.ts'
import { expectedRow, lostMembers, withoutSigns } from './agreement.ts'
import { chunkOf, query, type Row, readRows, scratchDir, writeChunks } from './harness.ts'
import { HOSTILE_RECORDS, NO_RECORDS, REPEATED_MEMBERS } from './hostile-records.ts'

const GOOD =
  '{"ts":1767225600.25,"uid":"CG","id.orig_h":"10.0.0.9","id.orig_p":9,"id.resp_h":"1.1.1.1","id.resp_p":53,"proto":"udp","rcode":0}'

/** Good lines between hostile ones show whether numbers and neighbours stay right. */
const between = <T>(lines: readonly T[]) => lines.flatMap((line) => [line, GOOD])

async function written(
  lines: readonly (string | Buffer)[],
): Promise<{ rows: Row[]; result: ParquetResult; stagingDir: string }> {
  const chunk = await chunkOf(await scratchDir(), 'dns', lines)
  const { result, stagingDir } = await writeChunks([chunk])
  return { rows: await readRows(stagingDir, result, 'dns'), result, stagingDir }
}

const parse = (line: string) => JSON.parse(line.trim().replace(/^\uFEFF/, ''))

describe('a record that is not as Zeek writes it', () => {
  let rows: Row[]
  let result: ParquetResult
  beforeAll(async () => {
    ;({ rows, result } = await written(between(HOSTILE_RECORDS.map(([, line]) => line))))
  })

  it('is a row, and quarantines nothing', () => {
    expect(rows).toHaveLength(2 * HOSTILE_RECORDS.length)
    expect(result.chunks).toMatchObject([{ lines: rows.length, rows: rows.length, quarantined: {} }])
    expect(result.quarantineFile).toBeUndefined()
  })

  it('leaves the rows beside it as they are', () => {
    for (let i = 1; i < rows.length; i += 2) expect(rows[i]).toEqual(expectedRow('dns', JSON.parse(GOOD), i))
  })

  it.each(HOSTILE_RECORDS.map(([title, line], i) => ({ title, line, i })))(
    'agrees with the normalizer: $title',
    ({ line, i }) => {
      const { extra: _, ...row } = rows[2 * i] as Row
      const expected = expectedRow('dns', parse(line), 2 * i)
      // What is beyond 2^53 JavaScript does not read exactly.
      for (const name of ['rcode', 'qtype', 'qclass'])
        if (typeof row[name] === 'bigint' || !Number.isSafeInteger(expected[name] ?? 0)) delete row[name]
      for (const name of ['rcode', 'qtype', 'qclass']) if (!(name in row)) delete expected[name]
      expect(withoutSigns(row)).toEqual(withoutSigns(expected))
    },
  )

  it.each(HOSTILE_RECORDS.map(([title, line], i) => ({ title, line, i })))('loses nothing: $title', ({ line, i }) => {
    expect(lostMembers('dns', parse(line), rows[2 * i] as Row)).toEqual([])
  })

  it('keeps integers exactly', () => {
    const row = rows[2 * HOSTILE_RECORDS.findIndex(([title]) => title === 'integers at the limits of int64')]
    expect(row).toMatchObject({ rcode: 2n ** 63n - 1n, qtype: -(2n ** 63n), qclass: 9007199254740993n })
  })

  it('keeps the text of numbers that have no column', () => {
    const row = rows[2 * HOSTILE_RECORDS.findIndex(([title]) => title === 'integers beyond int64')] as Row
    expect(row.extra).toContain('"qtype":18446744073709551615')
  })

  it('has an `extra` that DuckDB reads as JSON in every row', async () => {
    const { stagingDir, result: again } = await written(HOSTILE_RECORDS.map(([, line]) => line))
    const files = again.files.map(({ path }) => `'${join(stagingDir, path)}'`).join(', ')
    const [row] = await query(
      `SELECT count(extra) AS n, count(json_keys(extra)) AS readable FROM read_parquet([${files}])`,
    )
    expect(row?.n).toBeGreaterThan(20)
    expect(row?.readable).toBe(row?.n)
  })
})

describe('a member that a record has more than once', () => {
  it('counts with its last value, and the others are in `extra`', async () => {
    const { rows } = await written(REPEATED_MEMBERS.map(([, line]) => line))
    for (const [i, [title, line, extra]] of REPEATED_MEMBERS.entries()) {
      const { extra: found, ...row } = rows[i] as Row
      expect(row, title).toEqual(expectedRow('dns', JSON.parse(line), i))
      expect(JSON.parse(found as string), title).toEqual(extra)
    }
  })

  it('costs no more than its length when it is there very often', async () => {
    const started = performance.now()
    const { rows } = await written([`{"ts":1${',"a":1'.repeat(300_000)}}`])
    expect(Object.keys(JSON.parse(rows[0]?.extra as string))).toHaveLength(300_000)
    expect(performance.now() - started).toBeLessThan(10_000)
  })
})

describe('a line that is no record', () => {
  it('is quarantined with its reason, its number and its bytes, and the lines beside it keep their numbers', async () => {
    const { rows, result, stagingDir } = await written(between(NO_RECORDS.map(([, line]) => line)))
    expect(rows).toEqual(NO_RECORDS.map((_, i) => expectedRow('dns', JSON.parse(GOOD), 2 * i + 1)))
    const entries = (await readFile(join(stagingDir, result.quarantineFile as string), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(entries).toHaveLength(NO_RECORDS.length)
    for (const [i, [title, line, reason]] of NO_RECORDS.entries()) {
      const bytes = Buffer.from(line)
      expect(entries[i], title).toMatchObject({
        log_type: 'dns',
        source: 'lab',
        ordinal: 2 * i,
        reason,
        bytes: bytes.length,
      })
      const kept =
        entries[i].line_base64 === undefined
          ? Buffer.from(entries[i].line)
          : Buffer.from(entries[i].line_base64, 'base64')
      expect(kept.equals(bytes), title).toBe(true)
    }
    const [account] = result.chunks
    expect(Object.values(account?.quarantined ?? {}).reduce((a, b) => a + b, 0) + (account?.rows ?? 0)).toBe(
      account?.lines,
    )
  })

  it('is quarantined by its head and its hash when it is longer than the limit', async () => {
    const long = `{"ts":1,"query":"${'x'.repeat(300_000)}"}`
    const chunk = await chunkOf(await scratchDir(), 'dns', [GOOD, long, GOOD])
    const { result, stagingDir } = await writeChunks([chunk], { maxLineBytes: 200_000 })
    expect(result.chunks).toMatchObject([{ lines: 3, rows: 2, quarantined: { 'line too long': 1 } }])
    const entry = JSON.parse(await readFile(join(stagingDir, result.quarantineFile as string), 'utf8'))
    expect(entry).toMatchObject({ ordinal: 1, reason: 'line too long', bytes: long.length })
    expect(entry.line).toBe(long.slice(0, 65_536))
    expect(entry.sha256).toMatch(/^[0-9a-f]{64}$/)
    expect((await readRows(stagingDir, result, 'dns')).map((row) => row.event_id)).toEqual(
      [0, 2].map((n) => expectedRow('dns', {}, n).event_id),
    )
  })

  it('leaves no file when no line of a log is a record', async () => {
    const { result } = await written(['x', 'y'])
    expect(result.files).toEqual([])
    expect(result.chunks).toMatchObject([{ lines: 2, rows: 0, quarantined: { 'not JSON': 2 } }])
  })
})

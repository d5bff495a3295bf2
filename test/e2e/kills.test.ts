import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { makeHome } from '../support/cli.ts'
import { runWithKills } from '../support/kills.ts'

const SAMPLE = readFileSync(join(import.meta.dirname, '../fixtures/sample.pcap'))

/** Captures that differ: the sample, cut at different places. */
function captures(dir: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => {
    const path = join(dir, `capture-${i}.pcap`)
    writeFileSync(path, SAMPLE.subarray(0, SAMPLE.length - i * 150))
    return path
  })
}

it('killed at random instants again and again, every event is there exactly once in the end', async () => {
  using undisturbed = makeHome()
  using killed = makeHome({ SPLIT_LINES: '7' })
  const expected = await runWithKills(undisturbed, {
    captures: captures(undisturbed.dir, 6),
    kills: 0,
    seed: 1,
    withinMs: 0,
  })
  const seen = await runWithKills(killed, { captures: captures(killed.dir, 6), kills: 12, seed: 7, withinMs: 2500 })
  expect(seen).toEqual({ ...expected, kills: 12 })
  expect(seen.captures.map(({ state }) => state)).toEqual(Array(6).fill('done'))
  expect(Object.keys(seen.tables)).toContain('conn')
  for (const { rows, ids } of Object.values(seen.tables)) expect(rows).toBe(ids)
}, 180_000)

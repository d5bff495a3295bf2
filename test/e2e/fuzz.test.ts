import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openTsharkEngine } from '../../src/engines/tshark/engine.ts'
import { makeHome } from '../support/cli.ts'
import { tryConvert, tryIngest } from '../support/fuzz.ts'
import { mutate } from '../support/mutate.ts'

const SAMPLES = [readFileSync(join(import.meta.dirname, '../fixtures/sample.pcap'))]
const SEED = 1

it('damaged captures are converted or refused, nothing is lost and no dissector fails', {
  timeout: 120_000,
}, async () => {
  using home = makeHome()
  const modes = [
    await openTsharkEngine({ parallel: 1, silenceMs: 20_000 }),
    await openTsharkEngine({ parallel: 2, silenceMs: 20_000, partsFromBytes: 0 }),
  ]
  const failed: { seed: number; steps: string[]; problems: string[] }[] = []
  let records = 0
  for (let seed = SEED; seed < SEED + 80; seed++) {
    const { data, steps } = mutate(SAMPLES, seed)
    for (const engine of modes) {
      const tried = await tryConvert(engine, data, join(home.dir, 'one'))
      records += tried.records
      if (tried.problems.length > 0) failed.push({ seed, steps, problems: tried.problems })
    }
  }
  expect(failed).toEqual([])
  expect(records).toBeGreaterThan(500)
})

it('damaged captures go through the pipeline: each has a receipt that balances, or a reason', {
  timeout: 120_000,
}, async () => {
  using home = makeHome()
  const files = Array.from({ length: 25 }, (_, i) => {
    const file = join(home.dir, `seed-${SEED + i}.pcap`)
    writeFileSync(file, mutate(SAMPLES, SEED + i).data)
    return file
  })
  const { problems, balanced, refused } = await tryIngest(home, files)
  expect(problems).toEqual([])
  expect(balanced + refused).toBe(files.length)
  expect(balanced).toBeGreaterThan(15)
  expect(await home.rows('select count(*) > 100 as enough from conn')).toEqual([{ enough: true }])
})

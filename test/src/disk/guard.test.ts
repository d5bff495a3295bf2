import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { createDiskGuard } from '../../../src/disk/guard.ts'
import { createDiskMeter, type DiskLimits, needOf } from '../../../src/disk/use.ts'
import type { Job, StageName } from '../../../state/job.ts'
import { type TestBench, testBench } from '../../support/pipeline.ts'

const MB = 2 ** 20
const NONE = { budgetBytes: 0, floorBytes: 0 }

function guardOf({ ledger, layout, log }: TestBench, limits: Partial<DiskLimits>) {
  const all = { ...NONE, ...limits }
  const meter = createDiskMeter({ ledger, layout, logFile: undefined, limits: all })
  return { meter, guard: createDiskGuard({ ledger, meter, limits: all, log }) }
}

function claimed({ ledger }: TestBench, stage: StageName, key: string, bytes: number): Job[] {
  ledger.jobs.add({ stage, key, input: {}, bytes })
  return ledger.jobs.claim({ stage, leaseMs: 60_000 })
}

it('with less space than the floor, intake pauses and says so once; what makes rows of work space goes on', () => {
  const bench = testBench()
  const { guard } = guardOf(bench, { floorBytes: Number.MAX_SAFE_INTEGER })
  expect(guard.mayClaim('monitor')).toBe(false)
  expect(guard.mayClaim('convert')).toBe(false)
  expect(guard.mayClaim('split')).toBe(true)
  expect(guard.mayClaim('upload')).toBe(true)
  expect(bench.log.lines).toHaveLength(1)
  expect(bench.log.lines[0]).toMatch(/error the disk is nearly full: intake is paused/)
  expect(bench.ledger.space.waits()).toMatchObject([{ stage: 'monitor', why: 'floor' }])
  guard.close()
  expect(bench.ledger.space.waits()).toEqual([])
})

it('without floor and budget nothing pauses, nothing is promised and nothing is said', () => {
  const bench = testBench()
  const { guard } = guardOf(bench, {})
  expect(guard.mayClaim('monitor')).toBe(true)
  expect(guard.reserve('convert', claimed(bench, 'convert', 'a', 1e15))).toBe(true)
  expect(guard.leftBytes()).toBe(Number.POSITIVE_INFINITY)
  expect(bench.log.lines).toEqual([])
})

it('the same space is not promised twice, and comes back with the lease, however that ends', () => {
  const bench = testBench()
  const bytes = 20 * MB
  const need = needOf('convert', bytes, 0.5)
  const { guard, meter } = guardOf(bench, { budgetBytes: Math.round(need * 1.5) })
  const [first] = claimed(bench, 'convert', 'a', bytes) as [Job]
  const [second] = claimed(bench, 'convert', 'b', bytes) as [Job]
  expect(guard.reserve('convert', [first])).toBe(true)
  expect(meter.measure().promisedBytes).toBeGreaterThan(need - MB)
  expect(guard.reserve('convert', [second])).toBe(false)
  expect(bench.ledger.space.waits()).toMatchObject([{ stage: 'convert', why: 'budget', wanted: need }])
  // Its holder died: whoever reclaims the lease gives the space back.
  bench.ledger.jobs.reclaim(Date.now() + 120_000)
  const [again] = bench.ledger.jobs.claim({ stage: 'convert', leaseMs: 60_000, now: Date.now() + 240_000 }) as [Job]
  expect(guard.reserve('convert', [again])).toBe(true)
})

it('intake leaves room to convert what it takes in, and the largest that waits for it', () => {
  const bench = testBench()
  const room = needOf('convert', 40 * MB, 0.5)
  const { guard } = guardOf(bench, { budgetBytes: room + 60 * MB })
  bench.ledger.jobs.add({ stage: 'convert', key: 'large', input: {}, bytes: 40 * MB })
  expect(guard.reserve('monitor', claimed(bench, 'monitor', 'small', MB))).toBe(false)
  expect(bench.ledger.space.waits()).toMatchObject([{ why: 'backlog' }])
})

it('waits while the budget is used, and goes on by itself once there is space', async () => {
  const bench = testBench()
  const stray = join(bench.layout.quarantine, 'stray')
  mkdirSync(bench.layout.quarantine, { recursive: true })
  writeFileSync(stray, Buffer.alloc(8 * MB, 1))
  const { guard } = guardOf(bench, { budgetBytes: 10 * MB })
  expect(guard.reserve('convert', claimed(bench, 'convert', 'a', 2 * MB))).toBe(false)
  expect(guard.mayClaim('convert')).toBe(false)
  rmSync(stray)
  await expect.poll(() => guard.mayClaim('convert'), { timeout: 10_000, interval: 200 }).toBe(true)
  expect(bench.ledger.space.waits()).toEqual([])
  expect(bench.log.lines.map((line) => line.slice(0, 40))).toEqual([
    expect.stringMatching(/^warn the budget is used up/),
    expect.stringMatching(/^info there is disk space again/),
  ])
})

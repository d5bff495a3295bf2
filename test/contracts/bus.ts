/**
 * What every bus promises (stages/bus.ts), as tests: `describeBus('…', open)` in the tests of each adapter.
 *
 * `open` makes a bus for this test alone; `host()` gives a further process that takes part in it, on the same ledger or,
 * where the bus has several, on one of its own.
 */

import { describe, expect, it } from 'vitest'
import type { Bus } from '../../stages/bus.ts'
import { completionOf } from '../../stages/runner.ts'
import type { StageResult } from '../../stages/stage.ts'
import type { Fact } from '../../state/completion.ts'
import { PipelineError } from '../../state/errors.ts'
import type { Job, NewJob, StageName } from '../../state/job.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { until } from '../support/pipeline.ts'

export interface BusHost {
  bus: Bus
  ledger: Ledger
  layout: Layout
}

export interface BusUnderTest {
  /** Takes part in the work of these stages. */
  host(options?: { stages?: StageName[]; ledger?: 'same' | 'own' }): Promise<BusHost>
  /** Ledgers beyond the first. */
  hasLedgers: boolean
}

const LEASE_MS = 30_000
export const never = new AbortController().signal

export const arrivalOf = (name: string): Fact => ({
  kind: 'arrival',
  arrival: { name, source: 's', container: 'none', bytes: 0, outcome: 'accepted' },
})

export function jobFor(stage: StageName, key: string, input: unknown = { key }): NewJob {
  return { stage, key, input, bytes: 1, events: 1 }
}

/** Completes a job that only hands these on, as the monitor would. */
let handed = 0
export async function handOn({ bus, ledger, layout }: BusHost, handOffs: NewJob[], facts: Fact[] = []): Promise<void> {
  const key = `file-${handed++}`
  ledger.jobs.add({ stage: 'monitor', key, input: {} })
  const jobs = await claimed({ bus }, 'monitor')
  await bus.complete(completionOf('monitor', jobs, { handOffs, facts }, layout), { signal: never })
}

export async function claimed({ bus }: Pick<BusHost, 'bus'>, stage: StageName, leaseMs = LEASE_MS): Promise<Job[]> {
  let jobs: Job[] = []
  await until(() => {
    jobs = bus.claim({ stage, leaseMs })
    return jobs.length > 0
  }, `a job of ${stage}`)
  return jobs
}

export async function complete(
  { bus, layout }: BusHost,
  job: Job,
  result: StageResult = {},
  guard?: () => void,
): Promise<void> {
  await bus.complete(completionOf(job.stage, [job], result, layout), { signal: never, ...(guard && { guard }) })
}

/** Nothing is offered for as long as things take here to come. */
async function isQuiet({ bus }: BusHost, stage: StageName): Promise<boolean> {
  const end = Date.now() + 1500
  while (Date.now() < end) {
    if (bus.claim({ stage, leaseMs: LEASE_MS }).length > 0) return false
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return true
}

/** False where the lease was lost before. */
async function isFinishedBy(host: BusHost, job: Job): Promise<boolean> {
  try {
    await complete(host, job)
    return true
  } catch (error) {
    if (error instanceof PipelineError && error.code === 'lease_lost') return false
    throw error
  }
}

const lost = expect.objectContaining({ code: 'lease_lost' })

export function describeBus(name: string, open: () => Promise<BusUnderTest>): void {
  describe(name, () => {
    it('a hand-off reaches the next stage with its input', async () => {
      const host = await (await open()).host({ stages: ['convert'] })
      const input = { file: 'a.pcap', list: [1, { two: 'zwei' }], none: null }
      await handOn(host, [{ ...jobFor('convert', 'a', input), bytes: 17, events: 4 }])
      const [job] = await claimed(host, 'convert')
      expect(job).toMatchObject({ stage: 'convert', key: 'a', input, bytes: 17, events: 4, attempts: 0 })
    })

    it('a job is with one worker at a time, however many processes there are', async () => {
      const world = await open()
      const stages: StageName[] = ['convert']
      const hosts = [
        await world.host({ stages }),
        await world.host({ stages }),
        await world.host({ stages, ledger: 'own' }),
      ]
      const keys = Array.from({ length: 12 }, (_, index) => `job-${index}`)
      await handOn(
        hosts[0] as BusHost,
        keys.map((key) => jobFor('convert', key)),
      )
      const seen: string[] = []
      await until(async () => {
        for (const host of hosts)
          for (const job of host.bus.claim({ stage: 'convert', leaseMs: LEASE_MS })) {
            // Members that still come may move a job on while it is in hand: then it is another's to finish.
            if (await isFinishedBy(host, job)) seen.push(job.key)
          }
        return seen.length >= keys.length
      }, 'all jobs')
      for (const host of hosts) expect(await isQuiet(host, 'convert')).toBe(true)
      expect(seen.sort()).toEqual([...keys].sort())
    })

    it('completing records the job, what follows and the facts together', async () => {
      const host = await (await open()).host({ stages: ['convert', 'split'] })
      await handOn(host, [jobFor('convert', 'a')])
      const [job] = (await claimed(host, 'convert')) as [Job]
      await complete(host, job, { handOffs: [jobFor('split', 'b')], facts: [arrivalOf('f')], outputs: { n: 1 } })
      expect(host.ledger.jobs.find('convert', 'a')).toMatchObject({ status: 'done', outputs: { n: 1 } })
      expect(host.ledger.captures.arrivals()).toHaveLength(1)
      expect((await claimed(host, 'split'))[0]?.key).toBe('b')
      expect(await isQuiet(host, 'convert')).toBe(true)
    })

    it('what the guard throws undoes all of it', async () => {
      const host = await (await open()).host({ stages: ['convert', 'split'] })
      await handOn(host, [jobFor('convert', 'a')])
      const [job] = (await claimed(host, 'convert')) as [Job]
      const result = { handOffs: [jobFor('split', 'b')], facts: [arrivalOf('f')] }
      const why = new PipelineError('capture_unknown', 'it was forgotten')
      await expect(
        complete(host, job, result, () => {
          throw why
        }),
      ).rejects.toBe(why)
      expect(host.ledger.jobs.find('convert', 'a')?.status).toBe('running')
      expect(host.ledger.captures.arrivals()).toEqual([])
      expect(await isQuiet(host, 'split')).toBe(true)
      await complete(host, job, result)
      expect(host.ledger.captures.arrivals()).toHaveLength(1)
    })

    it('whoever lost the lease completes nothing, and another does', async () => {
      const host = await (await open()).host({ stages: ['convert', 'split'] })
      await handOn(host, [jobFor('convert', 'a')])
      const [late] = (await claimed(host, 'convert', 1)) as [Job]
      await new Promise((resolve) => setTimeout(resolve, 10))
      host.ledger.jobs.reclaim()
      const [job] = (await claimed(host, 'convert')) as [Job]
      const result = { handOffs: [jobFor('split', 'b')], facts: [arrivalOf('f')] }
      await expect(complete(host, late, result)).rejects.toEqual(lost)
      expect(host.ledger.captures.arrivals()).toEqual([])
      expect(host.ledger.jobs.find('convert', 'a')?.status).toBe('running')
      await complete(host, job, result)
      expect(host.ledger.jobs.find('convert', 'a')?.status).toBe('done')
      expect(host.ledger.captures.arrivals()).toHaveLength(1)
    })

    it('what is released or put off comes back, with its attempts', async () => {
      const { bus, ledger, layout } = await (await open()).host({ stages: ['convert'] })
      const host = { bus, ledger, layout }
      await handOn(host, [jobFor('convert', 'a')])
      const [first] = (await claimed(host, 'convert')) as [Job]
      ledger.jobs.release(first)
      const [second] = (await claimed(host, 'convert')) as [Job]
      expect(second).toMatchObject({ key: 'a', attempts: 0 })
      ledger.jobs.retryLater(second, { code: 'io', message: 'm' }, 100)
      const [third] = (await claimed(host, 'convert')) as [Job]
      expect(third).toMatchObject({ key: 'a', attempts: 1 })
      await complete(host, third)
      expect(await isQuiet(host, 'convert')).toBe(true)
    })

    it('a job that failed for good is acknowledged and kept, and runs again when a retry is asked for', async () => {
      const host = await (await open()).host({ stages: ['convert'] })
      await handOn(host, [jobFor('convert', 'bad'), jobFor('convert', 'good')])
      for (let left = 2; left > 0; left--) {
        const [job] = (await claimed(host, 'convert')) as [Job]
        if (job.key === 'good') await complete(host, job)
        else await host.bus.fail(job, { code: 'engine_failed', message: 'no' }, { signal: never })
      }
      expect(host.ledger.jobs.find('convert', 'bad')).toMatchObject({ status: 'failed', errorCode: 'engine_failed' })
      expect(await isQuiet(host, 'convert')).toBe(true)
      expect(host.ledger.jobs.retry({ key: 'bad' })).toBe(1)
      const [again] = (await claimed(host, 'convert')) as [Job]
      expect(again).toMatchObject({ key: 'bad', input: { key: 'bad' } })
      await complete(host, again)
      expect(host.ledger.jobs.find('convert', 'bad')?.status).toBe('done')
    })

    it('the same job handed on twice runs once', async () => {
      const host = await (await open()).host({ stages: ['convert'] })
      await handOn(host, [jobFor('convert', 'a')])
      await handOn(host, [jobFor('convert', 'a')])
      const [job] = (await claimed(host, 'convert')) as [Job]
      await complete(host, job)
      await handOn(host, [jobFor('convert', 'a'), jobFor('convert', 'b')])
      const [next] = (await claimed(host, 'convert')) as [Job]
      expect(next.key).toBe('b')
      await complete(host, next)
      expect(await isQuiet(host, 'convert')).toBe(true)
    })

    it('a process that goes away hands its work to another, and completes none of it any more', async () => {
      const world = await open()
      const first = await world.host({ stages: ['convert'] })
      await handOn(first, [jobFor('convert', 'a'), jobFor('convert', 'b')])
      const [held] = (await claimed(first, 'convert', 500)) as [Job]
      const second = await world.host({ stages: ['convert'], ledger: world.hasLedgers ? 'own' : 'same' })
      await first.bus.close()
      const done: string[] = []
      await until(async () => {
        second.ledger.jobs.reclaim()
        for (const job of second.bus.claim({ stage: 'convert', leaseMs: LEASE_MS })) {
          await complete(second, job)
          done.push(job.key)
        }
        return done.length === 2
      }, 'both jobs')
      await expect(complete(first, held)).rejects.toThrow()
      expect(done.sort()).toEqual(['a', 'b'])
    })
  })
}

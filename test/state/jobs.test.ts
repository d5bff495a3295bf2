import { describe, expect, it } from 'vitest'
import type { Job } from '../../state/job.ts'
import { testBench } from '../support/pipeline.ts'

const LEASE = { leaseMs: 60_000 }

function bench(...keys: string[]) {
  const { ledger } = testBench()
  const { jobs } = ledger
  for (const key of keys) jobs.add({ stage: 'convert', key, captureId: key, input: { key } })
  const claim = (options = {}) => jobs.claim({ stage: 'convert', ...LEASE, ...options })
  const one = (options = {}) => claim(options)[0] as Job
  return { ledger, jobs, claim, one }
}

describe('queueing', () => {
  it('the same work is queued once, whoever queues it', () => {
    const { jobs, claim } = bench('a')
    expect(jobs.add({ stage: 'convert', key: 'a', input: {} })).toBe(false)
    expect(claim({ limit: 10 })).toHaveLength(1)
  })

  it('work comes in the order in which it was queued, and each piece once', () => {
    const { claim } = bench('b', 'a', 'c')
    expect([claim(), claim(), claim(), claim()].map((found) => found[0]?.key)).toEqual(['b', 'a', 'c', undefined])
  })

  it('work that is not due is left alone until it is', () => {
    const { jobs, one, claim } = bench('a')
    jobs.release(one(), { delayMs: 1000, now: 5000 })
    expect(claim({ now: 5999 })).toEqual([])
    expect(claim({ now: 6000 })).toHaveLength(1)
  })
})

describe('leases', () => {
  it('what a worker that lost its lease does changes nothing', () => {
    const { ledger, jobs, one } = bench('a')
    const zombie = one({ leaseMs: -1 })
    expect(jobs.reclaim()).toBe(1)
    const heir = one()
    expect(() => jobs.complete(zombie, 'late')).toThrow(/not held any more/)
    expect(() => jobs.renew(zombie.lease, 1000)).toThrow(/not held any more/)
    expect(() => jobs.note(zombie, 'late')).toThrow(/not held any more/)
    expect(jobs.fail(zombie, { code: 'io', message: 'late' })).toBe(false)
    expect(jobs.release(zombie)).toBe(false)
    ledger.transaction(() => jobs.complete(heir, 'mine'))
    expect(jobs.find('convert', 'a')).toMatchObject({ status: 'done', outputs: 'mine' })
  })

  it('a lease of a living process that has not run out is not taken', () => {
    const { jobs, one } = bench('a')
    one()
    expect(jobs.reclaim()).toBe(0)
  })

  it('a job whose workers keep dying is tried alone, then later and later, and in the end given up', () => {
    const { jobs, claim } = bench('a', 'b')
    const waits: number[] = []
    let now = 1000
    for (let death = 1; death <= 100; death++) {
      const [job] = claim({ now, leaseMs: -1, limit: 2 })
      expect(job?.key).toBe('a')
      jobs.reclaim(now)
      const row = jobs.find('convert', 'a')
      waits.push(Math.max(0, (row?.notBefore ?? 0) - now))
      now = Math.max(now, row?.notBefore ?? 0)
      if (death === 1) jobs.removeOf('b')
    }
    expect(waits.slice(0, 3)).toEqual([0, 0, 0])
    expect(waits[4]).toBeGreaterThan(waits[3] as number)
    expect(Math.max(...waits)).toBe(60_000)
    expect(jobs.find('convert', 'a')?.status).toBe('failed')
  })

  it('renewing keeps the lease and the progress', () => {
    const { jobs, one } = bench('a')
    const job = one({ leaseMs: 10, now: 1000 })
    jobs.renew(job.lease, 10_000, { packets: 7 }, Date.now())
    expect(jobs.reclaim()).toBe(0)
    expect(jobs.find('convert', 'a')).toMatchObject({ status: 'running', progress: { packets: 7 } })
  })
})

describe('groups', () => {
  it('jobs join a lease that is held', () => {
    const { claim, one } = bench('a', 'b', 'c')
    const first = one()
    const more = claim({ lease: first.lease, limit: 10 })
    expect(more.map(({ key, lease }) => [key, lease])).toEqual([
      ['b', first.lease],
      ['c', first.lease],
    ])
  })

  it('a job that failed in company is handed out alone', () => {
    const { jobs, claim } = bench('a', 'b', 'c')
    for (const job of claim({ limit: 2 })) jobs.release(job, { alone: true })
    expect(claim({ limit: 10 }).map(({ key }) => key)).toEqual(['a'])
    expect(claim({ lease: 'held', limit: 10 })).toEqual([])
    expect(claim({ limit: 10 }).map(({ key }) => key)).toEqual(['b'])
    expect(claim({ limit: 10 }).map(({ key }) => key)).toEqual(['c'])
  })
})

describe('failures', () => {
  it('a failure that may pass counts as an attempt; stopping does not', () => {
    const { jobs, one } = bench('a')
    jobs.retryLater(one(), { code: 'io', message: 'disk asleep' }, 0)
    expect(one().attempts).toBe(1)
    expect(jobs.find('convert', 'a')).toMatchObject({ error: 'disk asleep', errorCode: 'io' })
  })

  it('a job that was given up waits for a retry, and then starts afresh', () => {
    const { jobs, one, claim } = bench('a')
    jobs.fail(one(), { code: 'io', message: 'broken' })
    expect(claim()).toEqual([])
    expect(jobs.retry({ captureId: 'other' })).toBe(0)
    expect(jobs.retry({ captureId: 'a' })).toBe(1)
    expect(one()).toMatchObject({ key: 'a', attempts: 0 })
  })

  it('a note outlives the attempt that made it', () => {
    const { jobs, one } = bench('a')
    const job = one()
    jobs.note(job, { sha256: 'abc' })
    jobs.release(job)
    expect(one().note).toEqual({ sha256: 'abc' })
  })
})

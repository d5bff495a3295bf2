import { existsSync, readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type RunnerOptions, startRunner } from '../../stages/runner.ts'
import { oneJob, type Stage } from '../../stages/stage.ts'
import { sweep } from '../../stages/sweep.ts'
import type { Fact } from '../../state/completion.ts'
import { PipelineError } from '../../state/errors.ts'
import { type TestBench, testBench, until } from '../support/pipeline.ts'

function run(bench: TestBench, stage: Stage, options: Partial<RunnerOptions> = {}) {
  const runner = startRunner(stage, {
    ...bench,
    concurrency: 1,
    leaseMs: 5000,
    maxAttempts: 3,
    backoffMs: 1,
    pollMs: 10,
    ...options,
  })
  onTestFinished(() => runner.stop(1000))
  return runner
}

const add = ({ ledger }: TestBench, key: string, bytes = 1) =>
  ledger.jobs.add({ stage: 'split', key, input: { key }, bytes })
const arrivalOf = (name: string): Fact => ({
  kind: 'arrival',
  arrival: { name, source: 's', container: 'none', bytes: 0, outcome: 'accepted' },
})
const commitOf = (id: string): Fact => ({ kind: 'commit', commit: { id, files: [], counts: [] } })
const statusOf = ({ ledger }: TestBench, key: string) => ledger.jobs.find('split', key)?.status

describe('the commit point', () => {
  it('records the job, its hand-offs and its facts together', async () => {
    const bench = testBench()
    add(bench, 'a')
    run(bench, {
      name: 'split',
      handle: oneJob(async ({ key }) => ({
        handOffs: [{ stage: 'distribute', key, input: {} }],
        facts: [arrivalOf(key)],
      })),
    })
    await until(() => statusOf(bench, 'a') === 'done', 'the job')
    expect(bench.ledger.jobs.find('distribute', 'a')?.status).toBe('ready')
    expect(bench.ledger.captures.arrivals()).toHaveLength(1)
  })

  it('when one of them cannot be recorded, none is', async () => {
    const bench = testBench()
    add(bench, 'a')
    run(bench, {
      name: 'split',
      handle: oneJob(async ({ key }) => ({
        handOffs: [{ stage: 'distribute', key, input: {} }],
        facts: [arrivalOf(key), commitOf('c'), commitOf('c')],
      })),
    })
    await until(() => statusOf(bench, 'a') === 'failed', 'the job')
    expect(bench.ledger.jobs.find('distribute', 'a')).toBeUndefined()
    expect(bench.ledger.captures.arrivals()).toHaveLength(0)
  })

  it('an attempt whose job was taken away records nothing', async () => {
    const bench = testBench()
    bench.ledger.jobs.add({ stage: 'split', key: 'a', captureId: 'forgotten', input: {} })
    run(bench, {
      name: 'split',
      handle: oneJob(async ({ key }) => {
        bench.ledger.jobs.removeOf('forgotten')
        return { handOffs: [{ stage: 'distribute', key, input: {} }] }
      }),
    })
    await until(() => bench.log.lines.some((line) => line.includes('taken away')), 'the loss')
    expect(bench.ledger.jobs.find('distribute', 'a')).toBeUndefined()
  })
})

describe('work spaces', () => {
  it('are kept when the result says so, and removed when the next stage has taken them over', async () => {
    const bench = testBench()
    add(bench, 'a')
    run(bench, {
      name: 'split',
      handle: oneJob(async ({ key }, { workDir }) => {
        await writeFile(join(workDir, 'part'), 'x')
        return {
          keep: [workDir],
          handOffs: [{ stage: 'distribute', key, input: relative(bench.layout.dataDir, workDir) }],
        }
      }),
    })
    await until(() => statusOf(bench, 'a') === 'done', 'the maker')
    const [dir] = readdirSync(join(bench.layout.spool, 'chunks'))
    const path = join(bench.layout.spool, 'chunks', dir as string)
    await sweep({ ...bench, stages: [] })
    expect(existsSync(join(path, 'part'))).toBe(true)
    run(bench, { name: 'distribute', handle: oneJob<string>(async ({ input }) => ({ consumed: [input] })) })
    await until(() => !existsSync(path), 'the removal')
  })

  it('of a failed attempt are removed', async () => {
    const bench = testBench()
    add(bench, 'a')
    run(bench, {
      name: 'split',
      handle: oneJob(async (_job, { workDir }) => {
        await writeFile(join(workDir, 'half'), 'x')
        throw new PipelineError('io', 'no')
      }),
    })
    await until(() => statusOf(bench, 'a') === 'failed', 'the failure')
    await until(() => readdirSync(join(bench.layout.spool, 'chunks')).length === 0, 'the removal')
  })

  it('that nobody owns are swept; those of a living lease are not', async () => {
    const bench = testBench()
    add(bench, 'a')
    let finish = () => {}
    run(bench, { name: 'split', handle: () => new Promise((resolve) => (finish = () => resolve({}))) })
    const spool = join(bench.layout.spool, 'chunks')
    await until(() => existsSync(spool) && readdirSync(spool).length === 1, 'the work space')
    const [living] = readdirSync(spool)
    await import('node:fs/promises').then(({ mkdir }) => mkdir(join(spool, 'dead.0123456789abcdef')))
    await sweep({ ...bench, stages: [] })
    expect(readdirSync(spool)).toEqual([living])
    finish()
  })
})

describe('failures', () => {
  it('that may pass are tried again, at most so many times, and then the input is put aside', async () => {
    const bench = testBench()
    add(bench, 'a')
    let attempts = 0
    const aside: string[] = []
    run(bench, {
      name: 'split',
      handle: async () => {
        attempts++
        throw new PipelineError('io', `failure ${attempts}`, { retryable: true })
      },
      giveUp: async (job, reason) => void aside.push(`${job.key}: ${reason.message}`),
    })
    await until(() => statusOf(bench, 'a') === 'failed', 'giving up')
    expect(attempts).toBe(3)
    expect(aside).toEqual(['a: failure 3'])
  })

  it('that will not pass are given up at once, and the pipeline goes on', async () => {
    const bench = testBench()
    for (const key of ['bad', 'bug', 'good']) add(bench, key)
    run(bench, {
      name: 'split',
      handle: oneJob(async ({ key }) => {
        if (key === 'bad') throw new PipelineError('capture_unreadable', 'broken')
        if (key === 'bug') throw new TypeError('undefined is not a function')
        return {}
      }),
    })
    await until(() => statusOf(bench, 'good') === 'done', 'the good job')
    expect([statusOf(bench, 'bad'), statusOf(bench, 'bug')]).toEqual(['failed', 'failed'])
    expect(bench.log.lines.join('\n')).toMatch(/unexpected error \(a bug/)
  })

  it('for lack of disk space wait as long as it takes, and count for nothing', async () => {
    const bench = testBench()
    add(bench, 'a')
    run(bench, {
      name: 'split',
      handle: () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' })),
    })
    await until(() => bench.log.lines.some((line) => line.includes('waiting for disk space')), 'the wait')
    expect(bench.ledger.jobs.find('split', 'a')).toMatchObject({ status: 'ready', attempts: 0 })
  })

  it('of a group are pinned down: each job is tried alone, and only the bad one fails', async () => {
    const bench = testBench()
    for (const key of ['a', 'bad', 'c']) add(bench, key)
    const groups: string[] = []
    run(bench, {
      name: 'split',
      gather: { isFull: ({ jobs }) => jobs >= 3, lingerMs: 50 },
      handle: async (jobs) => {
        groups.push(jobs.map(({ key }) => key).join('+'))
        if (jobs.some(({ key }) => key === 'bad')) throw new PipelineError('sink_rejected', 'no')
        return {}
      },
    })
    await until(() => statusOf(bench, 'c') === 'done', 'the last job')
    expect(groups).toEqual(['a+bad+c', 'a', 'bad', 'c'])
    expect(['a', 'bad', 'c'].map((key) => statusOf(bench, key))).toEqual(['done', 'failed', 'done'])
  })
})

describe('gathering', () => {
  it('waits for more while earlier stages are at work, and no longer', async () => {
    const bench = testBench()
    add(bench, 'a')
    bench.ledger.jobs.add({ stage: 'convert', key: 'upstream', input: {} })
    const groups: number[] = []
    run(bench, {
      name: 'split',
      gather: { isFull: () => false, lingerMs: 10_000 },
      handle: async (jobs) => {
        groups.push(jobs.length)
        return {}
      },
    })
    await new Promise((resolve) => setTimeout(resolve, 60))
    add(bench, 'b')
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect(groups).toEqual([])
    const [job] = bench.ledger.jobs.claim({ stage: 'convert', leaseMs: 1000 })
    bench.ledger.transaction(() => bench.ledger.jobs.complete(job as NonNullable<typeof job>, null))
    await until(() => groups.length > 0, 'the flush')
    expect(groups).toEqual([2])
  })
})

describe('a commit of which nobody knows whether it was made', () => {
  it('keeps its files and its job, and is no failure, however few attempts there are', async () => {
    const bench = testBench()
    const { bus, ledger, layout } = bench
    add(bench, 'a')
    let workDir = ''
    const inDoubt: typeof bus = {
      ...bus,
      async complete(completion) {
        ledger.prepared.add(completion, 'tx')
        throw new PipelineError('bus_unavailable', 'no answer', { retryable: true })
      },
    }
    const stage: Stage = {
      name: 'split',
      handle: oneJob(async (_job, context) => {
        workDir = context.workDir
        await writeFile(join(workDir, 'file'), 'rows')
        return { keep: [workDir] }
      }),
    }
    const runner = run({ ...bench, bus: inDoubt }, stage, { maxAttempts: 1 })
    await until(() => bench.log.lines.some((line) => line.includes('not known yet')), 'the doubt')
    await runner.stop(1000)
    await sweep({ stages: [stage], bus, ledger, layout, log: bench.log })
    expect(statusOf(bench, 'a')).toBe('running')
    expect(existsSync(join(workDir, 'file'))).toBe(true)
    const lease = ledger.prepared.takeAbandoned(new Set())[0]?.completion.lease as string
    expect(ledger.transaction(() => ledger.applyPrepared(lease, () => true))).toBe(true)
    expect(statusOf(bench, 'a')).toBe('done')
    expect(ledger.artifacts.isKept(relative(layout.dataDir, workDir))).toBe(true)
  })
})

describe('stopping', () => {
  it('lets what is in hand end within the limit', async () => {
    const bench = testBench()
    add(bench, 'a')
    const runner = run(bench, {
      name: 'split',
      handle: () => new Promise((resolve) => setTimeout(() => resolve({}), 100)),
    })
    await until(() => statusOf(bench, 'a') === 'running', 'the start')
    await runner.stop(5000)
    expect(statusOf(bench, 'a')).toBe('done')
  })

  it('gives back what does not, without blame', async () => {
    const bench = testBench()
    add(bench, 'a')
    const runner = run(bench, {
      name: 'split',
      handle: (_jobs, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.throwIfAborted()
          signal.addEventListener('abort', () => reject(signal.reason))
        }),
    })
    await until(() => statusOf(bench, 'a') === 'running', 'the start')
    await runner.stop(50)
    expect(bench.ledger.jobs.find('split', 'a')).toMatchObject({ status: 'ready', attempts: 0, error: null })
  })
})

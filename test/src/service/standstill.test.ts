import { expect, it, onTestFinished } from 'vitest'
import { findStandstill } from '../../../src/service/standstill.ts'
import { startRunner } from '../../../stages/runner.ts'
import { oneJob, type StageContext } from '../../../stages/stage.ts'
import { type TestBench, testBench, until } from '../../support/pipeline.ts'

const limits = { lookMs: 1000, workMs: 5000 }

function startSplit(bench: TestBench, handle: (context: StageContext) => Promise<void>) {
  const runner = startRunner(
    {
      name: 'split',
      handle: oneJob(async (_job, context) => {
        await handle(context)
        return {}
      }),
    },
    { ...bench, concurrency: 1, leaseMs: 5000, maxAttempts: 3, backoffMs: 1, pollMs: 10 },
  )
  onTestFinished(() => runner.stop(0))
  return runner
}

it('finds nothing while queues are looked at and work gives signs', () => {
  expect(findStandstill(new Map(), limits)).toBeUndefined()
  expect(findStandstill(new Map([['split', { lookedMs: 900, silentMs: 4000 }]]), limits)).toBeUndefined()
})

it('names the stage that does not see its queue, and the one whose work is silent', () => {
  const looking = { lookedMs: 0, silentMs: 0 }
  expect(
    findStandstill(
      new Map([
        ['convert', looking],
        ['split', { ...looking, lookedMs: 61_000 }],
      ]),
      limits,
    ),
  ).toBe('split has not seen its queue for 61 s')
  expect(findStandstill(new Map([['upload', { ...looking, silentMs: 6000 }]]), limits)).toBe(
    'work of upload has given no sign for 6 s',
  )
})

it('a runner tells of work that is silent, until the work tells of itself or ends', async () => {
  const bench = testBench()
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  let tell = () => {}
  const runner = startSplit(bench, async ({ progress }) => {
    tell = () => progress({ bytes: 1 })
    await ended
  })
  expect(runner.signs().silentMs).toBe(0)
  bench.ledger.jobs.add({ stage: 'split', key: 'a', input: {}, bytes: 1 })
  await until(() => runner.signs().silentMs > 100, 'silence')
  tell()
  expect(runner.signs().silentMs).toBeLessThan(100)
  // It waits for work all the same.
  expect(findStandstill(new Map([['split', runner.signs()]]), limits)).toBeUndefined()
  end()
  await until(() => bench.ledger.jobs.find('split', 'a')?.status === 'done', 'the job')
  await until(() => runner.signs().silentMs === 0, 'nothing under way')
})

it('a runner that cannot read its queue has not seen it', async () => {
  const bench = testBench()
  const runner = startSplit(bench, async () => {})
  const bus = { claim: bench.bus.claim }
  await until(() => runner.signs().lookedMs < 100, 'a look')
  bench.bus.claim = () => {
    throw new Error('disk I/O error')
  }
  await until(() => runner.signs().lookedMs > 200, 'no look')
  expect(bench.log.lines.join()).toContain('the queue cannot be read')
  bench.bus.claim = bus.claim
  await until(() => runner.signs().lookedMs < 100, 'a look again')
})

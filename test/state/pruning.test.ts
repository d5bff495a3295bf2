import { expect, it } from 'vitest'
import { type TestBench, testBench } from '../support/pipeline.ts'

const DAY = 86_400_000

function finished(
  { ledger }: TestBench,
  stage: 'convert' | 'index' | 'upload',
  key: string,
  captureId: string,
  at: number,
) {
  ledger.jobs.add({ stage, key, captureId, input: {} })
  ledger.jobs.finishAs('done', { stage, key, captureId }, {}, at)
}

function captureOf({ ledger }: TestBench, id: string, state: 'done' | 'accepted') {
  const rest = { name: id, source: 's', format: 'pcap' as const, bytes: 1, path: id }
  ledger.captures.add({ id, ...rest, state: 'accepted' })
  ledger.captures.setState(id, state)
}

it('finished jobs go once all of their capture are old and it has ended; its receipt stays', () => {
  const bench = testBench()
  const { ledger } = bench
  const now = Date.now()
  for (const [id, state] of [
    ['ended', 'done'],
    ['fresh', 'done'],
    ['working', 'accepted'],
    ['waiting', 'done'],
  ] as const)
    captureOf(bench, id, state)
  for (const id of ['ended', 'fresh', 'working', 'waiting']) finished(bench, 'convert', id, id, now - 40 * DAY)
  finished(bench, 'upload', 'fresh/0', 'fresh', now - DAY)
  ledger.jobs.add({ stage: 'index', key: 'waiting/0', captureId: 'waiting', input: {} })
  finished(bench, 'upload', 'gone/0', 'gone', now - 40 * DAY)
  expect(ledger.pruning.prune(now - 30 * DAY, now)).toBe(false)
  expect(
    ledger.jobs
      .list()
      .map(({ key }) => key)
      .sort(),
  ).toEqual(['fresh', 'fresh/0', 'waiting', 'waiting/0', 'working'])
  expect(ledger.receipt('ended').capture.state).toBe('done')
})

it('jobs of a file that came without a capture go as well, and one that failed stays', () => {
  const { ledger } = testBench()
  const now = Date.now()
  for (const key of ['done', 'failed']) ledger.jobs.add({ stage: 'monitor', key, input: {} })
  ledger.jobs.finishAs('done', { stage: 'monitor', key: 'done' }, {}, now - 40 * DAY)
  ledger.jobs.finishAs('failed', { stage: 'monitor', key: 'failed' }, {}, now - 40 * DAY)
  ledger.pruning.prune(now - 30 * DAY, now)
  expect(ledger.jobs.list().map(({ key }) => key)).toEqual(['failed'])
})

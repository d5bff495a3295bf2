import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { CompactionOrder } from '../../../src/dataset/upkeep.ts'
import { FORBID_PRIORITY, whyNoFilter } from '../../support/forbid-priority.ts'
import { openLoader } from '../../support/loaded.ts'
import { testBench } from '../../support/pipeline.ts'

const CHILD = join(import.meta.dirname, '../../../src/dataset/compact-child.ts')
const why = whyNoFilter()

async function answerOf(child: ChildProcess, order: CompactionOrder): Promise<unknown> {
  child.send(order)
  const [message] = await Promise.race([once(child, 'message'), once(child, 'exit')])
  return message
}

/** Two files of an hour that is over, and what the child is told to do with them. */
async function ordered() {
  const bench = testBench()
  const loader = await openLoader(bench)
  for (const name of ['a', 'b']) await loader.load(name, { hour: '2026-03-01 08' })
  const order = { layout: bench.layout, disk: { floorBytes: 0, budgetBytes: 0 }, afterMs: 60_000 }
  return { loader, order }
}

/** The 19th field of proc_pid_stat(5), behind the name in brackets. */
const niceOf = (pid: number) => Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[16])

it('joins files with the lowest priority, and tells how many', async () => {
  const { loader, order } = await ordered()
  await using _loader = loader
  const child = fork(CHILD, [], { env: {}, execArgv: [] })
  await expect.poll(() => niceOf(child.pid as number), { timeout: 20_000 }).toBe(19)
  expect(await answerOf(child, order)).toMatchObject({ done: { files: 2, into: 1, rows: 6 } })
})

it.skipIf(why !== '')(`joins files where the system does not let it have the lowest priority${why}`, async () => {
  const { loader, order } = await ordered()
  await using _loader = loader
  const child = fork(CHILD, [], { env: {}, execPath: 'perl', execArgv: ['-e', FORBID_PRIORITY, process.execPath] })
  expect(await answerOf(child, order)).toMatchObject({ done: { files: 2, into: 1, rows: 6 } })
})

it.skipIf(why !== '')(`the filter of this test forbids what it says${why}`, () => {
  const script = 'os.setPriority(19)'
  const { stderr } = spawnSync('perl', ['-e', FORBID_PRIORITY, process.execPath, '-e', script], { encoding: 'utf8' })
  expect(stderr).toContain('uv_os_setpriority returned EPERM')
})

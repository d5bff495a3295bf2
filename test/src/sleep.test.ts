import { expect, it } from 'vitest'
import { sleep } from '../../src/sleep.ts'

it('a sleep ends by itself, and at once with the reason when nobody waits any more', async () => {
  const waiting = new AbortController()
  await sleep(1, waiting.signal)
  const why = new Error('the process stops')
  const long = sleep(3_600_000, waiting.signal)
  waiting.abort(why)
  await expect(long).rejects.toBe(why)
  await expect(sleep(1, waiting.signal)).rejects.toBe(why)
})

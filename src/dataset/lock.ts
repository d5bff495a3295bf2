/**
 * One at a time rewrites the dataset's files: removals and rescans, over all processes of a ledger and within each.
 *
 * The ledger's lock knows processes alone; within one, the name of the ledger is the lock.
 */

import { PipelineError } from '../../state/errors.ts'
import type { Ledger } from '../../state/ledger.ts'

const NAME = 'dataset'
const LOCK_MS = 10 * 60_000
const LOOK_MS = 100

const held = new Set<string>()

export function tryDatasetLock(ledger: Ledger): Disposable | undefined {
  const { id } = ledger
  if (held.has(id) || !ledger.tryLock(NAME, LOCK_MS)) return undefined
  held.add(id)
  // For those that cannot see this process: its time must not run out.
  const renewing = setInterval(() => ledger.tryLock(NAME, LOCK_MS), LOCK_MS / 4)
  renewing.unref()
  return {
    [Symbol.dispose]() {
      clearInterval(renewing)
      held.delete(id)
      ledger.unlock(NAME)
    },
  }
}

/** Throws `io`, to be tried again, when it does not get it in time. */
export async function datasetLock(ledger: Ledger, patienceMs: number): Promise<Disposable> {
  const deadline = Date.now() + patienceMs
  for (;;) {
    const lock = tryDatasetLock(ledger)
    if (lock !== undefined) return lock
    if (Date.now() > deadline)
      throw new PipelineError('io', 'the dataset is being rewritten by something else; try again later', {
        retryable: true,
      })
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

/**
 * One at a time rewrites the dataset's files: removals, rescans, retention and compaction, over all processes of a
 * ledger and within each. Who gets it finds no file half joined: what a dead process left of that is finished first.
 *
 * The ledger's lock knows processes alone; within one, the name of the ledger is the lock.
 */

import { PipelineError } from '../../state/errors.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { finishJoins } from './join-swap.ts'

const NAME = 'dataset'
const LOCK_MS = 10 * 60_000
const LOOK_MS = 100

const held = new Set<string>()

export interface LockParts {
  ledger: Ledger
  layout: Pick<Layout, 'dataDir' | 'cache'>
}

export function tryDatasetLock(parts: LockParts): Disposable | undefined {
  const lock = take(parts.ledger)
  try {
    if (lock !== undefined) finishJoins(parts)
    return lock
  } catch (error) {
    lock?.[Symbol.dispose]()
    throw error
  }
}

function take(ledger: Ledger): Disposable | undefined {
  const { id } = ledger
  const lock = held.has(id) ? undefined : renewedLock(ledger, NAME, LOCK_MS)
  if (lock === undefined) return undefined
  held.add(id)
  return {
    [Symbol.dispose]() {
      held.delete(id)
      lock[Symbol.dispose]()
    },
  }
}

/** A lock of the ledger that lasts until it is disposed of: for those that cannot see this process its time must not run out. */
export function renewedLock(ledger: Ledger, name: string, lockMs: number): Disposable | undefined {
  if (!ledger.tryLock(name, lockMs)) return undefined
  const renewing = setInterval(() => ledger.tryLock(name, lockMs), lockMs / 4)
  renewing.unref()
  return {
    [Symbol.dispose]() {
      clearInterval(renewing)
      ledger.unlock(name)
    },
  }
}

/** Throws `io`, to be tried again, when it does not get it in time. */
export async function datasetLock(parts: LockParts, patienceMs: number): Promise<Disposable> {
  const deadline = Date.now() + patienceMs
  for (;;) {
    const lock = tryDatasetLock(parts)
    if (lock !== undefined) return lock
    if (Date.now() > deadline)
      throw new PipelineError('io', 'the dataset is being rewritten by something else; try again later', {
        retryable: true,
      })
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

/** What a thrown value means for the job that it ended. */

import { errnoOf, messageOf, PipelineError } from '../state/errors.ts'
import type { StageName } from '../state/job.ts'
import type { Log } from './ports.ts'

const MAX_BACKOFF_MS = 60_000

/** Anything but a `PipelineError` or a failed system call is a bug: told as such, and not tried again. */
export function foreseen(thrown: unknown, stage: StageName, log: Log, stopping: boolean): PipelineError {
  if (thrown instanceof PipelineError) return thrown
  if (stopping) return new PipelineError('stopped', 'the process stops', { cause: thrown })
  const errno = errnoOf(thrown)
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    const message = `no space left for ${stage}; free some, the work goes on by itself`
    return new PipelineError('disk_full', message, { retryable: true, cause: thrown })
  }
  if (errno === 'SQLITE_FULL') {
    return new PipelineError('disk_full', 'no space left for the ledger; free some, the work goes on by itself', {
      cause: thrown,
    })
  }
  if (errno !== undefined && /^(E[A-Z0-9]+|SQLITE_(BUSY|LOCKED|IOERR)(_\w+)?)$/.test(errno)) {
    return new PipelineError('io', messageOf(thrown), { retryable: true, cause: thrown })
  }
  const stack = thrown instanceof Error ? (thrown.stack ?? '') : String(thrown)
  log.error('unexpected error (a bug; please report it)', { stack })
  return new PipelineError('io', `unexpected error: ${messageOf(thrown)}`, { cause: thrown })
}

/** Doubles with each attempt, from `firstMs` up to a minute; half of it is chance, so that jobs do not march in step. */
export function backoff(attempt: number, firstMs: number): number {
  const full = Math.min(MAX_BACKOFF_MS, firstMs * 2 ** (attempt - 1))
  return Math.round(full / 2 + (Math.random() * full) / 2)
}

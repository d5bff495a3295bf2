/**
 * The process of one query (isolated.ts).
 *
 * In: one request over the IPC channel. Out: the answer on stdout, then one reply over the channel. It ends
 * itself when it takes more memory than it may, when DuckDB does not obey within two seconds, and when nobody waits.
 */

import { PipelineError } from '../../state/errors.ts'
import { openDataset } from './dataset.ts'
import type { IsolatedReply, IsolatedRequest } from './isolated.ts'
import { runQuery } from './run.ts'

const GRACE_MS = 2000

process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'))
process.once('message', (request: IsolatedRequest) => void answer(request))

async function answer({ dataset: options, sql, options: query }: IsolatedRequest): Promise<void> {
  const maxBytes = (options.memoryMb * 2 + 512) * 2 ** 20
  try {
    await using dataset = await openDataset(options)
    const summary = await runQuery(dataset, sql, {
      ...query,
      out: process.stdout,
      look: () => (process.memoryUsage.rss() > maxBytes ? tooMuch() : undefined),
      onStop: (failure) => setTimeout(() => end(failureOf(failure)), failure.details.atOnce ? 0 : GRACE_MS).unref(),
    })
    await dataset.close()
    end({ summary })
  } catch (error) {
    end(failureOf(error))
  }
}

function tooMuch(): PipelineError {
  const advice = 'make shorter texts and lists, or narrow it by year, month, day or by event_time'
  return new PipelineError('query_failed', `the query takes more memory than it may and was ended: ${advice}`, {
    details: { atOnce: true },
  })
}

function failureOf(error: unknown): IsolatedReply {
  const known = error instanceof PipelineError ? error : new PipelineError('query_failed', String(error))
  const { code, message, retryable, details } = known
  return { failure: { code, message, retryable, details } }
}

/** Not `process.exit`, which would wait for the function that does not obey. */
function end(reply: IsolatedReply): void {
  process.send?.(reply, () => process.kill(process.pid, 'SIGKILL'))
}

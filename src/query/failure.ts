/**
 * What a user is told when DuckDB fails.
 *
 * In: anything that was thrown while a query ran. Out: a `PipelineError`: DuckDB's message with its position
 * mark, without this host's paths and without advice that the user cannot follow (settings are locked).
 */

import { errnoOf, PipelineError } from '../../state/errors.ts'
import type { Dataset } from './dataset.ts'
import { isGone } from './schema.ts'

export function asQueryError(error: unknown, dataset: Pick<Dataset, 'root' | 'workDir'>): PipelineError {
  if (error instanceof PipelineError) return error
  if (errnoOf(error) === 'ENOSPC')
    return new PipelineError('disk_full', 'no space for temporary files', { cause: error })
  const text = cleanMessage(error instanceof Error ? error.message : String(error), dataset)
  if (isGone(text))
    return new PipelineError('query_failed', 'a file of the dataset was removed while the query ran: run it again', {
      retryable: true,
      cause: error,
    })
  return new PipelineError('query_failed', `${text}${adviceFor(text)}`, { cause: error })
}

export function cleanMessage(message: string, { root, workDir }: Pick<Dataset, 'root' | 'workDir'>): string {
  const own = message
    .replaceAll(`${root}/`, '')
    .replaceAll(root, 'the dataset')
    .replaceAll(workDir, 'the temporary folder')
  const withoutAdvice = own.replace(/\n+Possible solutions:[\s\S]*$/, '')
  return withoutAdvice.trim()
}

const ADVICE: readonly [RegExp, string][] = [
  [/max_temp_directory_size|temporary folder.*full/i, 'the query needs more temporary space than it may take'],
  [/^Out of Memory/i, 'the query needs more memory than it may take'],
]

function adviceFor(text: string): string {
  const advice = ADVICE.find(([pattern]) => pattern.test(text))?.[1]
  if (advice) return `\n${advice}: narrow it by year, month, day or by event_time, or ask for fewer columns`
  const file = /[A-Za-z0-9][\w.-]*\.parquet/.exec(text)?.[0]
  return file ? `\nif ${file} is damaged, move it out of the dataset and run the query again` : ''
}

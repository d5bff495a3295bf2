/** What DuckDB and the file system refuse, as failures that were foreseen. */

import { errnoOf, messageOf, PipelineError } from '../../../state/errors.ts'

export function fromDuckDb(cause: unknown): PipelineError {
  const message = messageOf(cause)
  const text = `DuckDB could not write the rows: ${message.slice(0, 500)}`
  if (/No space left on device|exceeds? .*max_temp_directory_size/i.test(message))
    return new PipelineError('disk_full', text, { retryable: true, cause })
  if (/^Out of Memory/i.test(message)) return new PipelineError('sink_unavailable', text, { retryable: true, cause })
  if (/^IO Error/i.test(message)) return new PipelineError('io', text, { retryable: true, cause })
  return new PipelineError('sink_rejected', text, { cause })
}

/** Anything but a refused system call stays what it is. */
export function fromFiles(error: unknown): unknown {
  const code = errnoOf(error)
  if (error instanceof PipelineError || code === undefined) return error
  const isFull = code === 'ENOSPC' || code === 'EDQUOT'
  const text = `cannot write the staged files: ${messageOf(error)}`
  return new PipelineError(isFull ? 'disk_full' : 'io', text, { retryable: true, cause: error })
}

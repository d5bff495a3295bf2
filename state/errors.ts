/**
 * The one error class of the pipeline.
 *
 * A `PipelineError` is a failure that was foreseen: its code says what kind, its message says what is
 * wrong, where, and what to do. Anything else that is thrown is a bug. The runner retries an error only
 * when `retryable` is set; all others go to quarantine at once.
 */

/** Each is told in `docs/failures.md`. */
export const ERROR_CODES = [
  // captures
  'capture_not_recognized',
  'capture_unreadable',
  'capture_too_large',
  'capture_changed',
  'capture_unknown',
  // engines
  'engine_missing',
  'engine_failed',
  'engine_timeout',
  'engine_memory',
  // hand-offs and files between stages
  'artifact_missing',
  'artifact_damaged',
  'lease_lost',
  // sinks
  'sink_unavailable',
  // a server behind a sink takes nothing now: waited for as long as it takes
  'sink_down',
  'sink_rejected',
  'events_unbalanced',
  // the bus
  'bus_unavailable',
  'bus_refused',
  // host
  'disk_full',
  'io',
  // configuration and commands
  'config_invalid',
  'rules_invalid',
  'query_refused',
  'query_failed',
  'usage',
  'ledger_damaged',
  'stopped',
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

export interface ErrorOptions {
  /** Trying again later may succeed (default false). */
  retryable?: boolean
  cause?: unknown
  /** Named values for the log line; never payload bytes, never a secret. */
  details?: Record<string, string | number | boolean>
}

export class PipelineError extends Error {
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly details: Record<string, string | number | boolean>

  constructor(code: ErrorCode, message: string, { retryable = false, cause, details = {} }: ErrorOptions = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'PipelineError'
    this.code = code
    this.retryable = retryable
    this.details = details
  }
}

/** The message of anything that was thrown, on one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return text.replace(/\s+/g, ' ').trim()
}

/** The errno code of a failed system call (`ENOENT`, `EXDEV`, …), if it has one. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

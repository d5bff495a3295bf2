/** The nouns of the work queue: stages, jobs, and what the ledger keeps of each. */

/** In pipeline order. */
export const STAGE_NAMES = ['monitor', 'convert', 'split', 'distribute', 'upload', 'index'] as const

export type StageName = (typeof STAGE_NAMES)[number]

/**
 * `ready` waits for a worker, `running` is leased to one, `sent` lies on the bus for any host to take, `done` is
 * history, `failed` gave up: its input is in quarantine.
 */
export type JobStatus = 'ready' | 'running' | 'sent' | 'done' | 'failed'

export function isOpen(status: JobStatus): boolean {
  return status === 'ready' || status === 'running' || status === 'sent'
}

/** Work for a stage: what a hand-off records. (stage, key) is unique: the same work is never queued twice. */
export interface NewJob<Input = unknown> {
  stage: StageName
  key: string
  /** The capture that the work belongs to; absent only in the monitor, which finds out. */
  captureId?: string
  input: Input
  /** Size of the input, for flush rules, progress and disk reservations. */
  bytes?: number
  events?: number
}

/** A job as its worker sees it. */
export interface Job<Input = unknown> extends NewJob<Input> {
  /** Unique for this attempt: names its work space and fences its completion. */
  lease: string
  /** Failed attempts before this one. */
  attempts: number
  bytes: number
  events: number
  /** What an earlier attempt noted with `Ledger.note`, for an attempt that was cut short. */
  note?: unknown
  createdAt: number
  /** Failed in company, or its worker died: must not be grouped with others. */
  alone: boolean
}

/** A job as the operator sees it. Times are milliseconds since the epoch. */
export interface JobRow {
  stage: StageName
  key: string
  captureId: string | null
  status: JobStatus
  attempts: number
  crashes: number
  error: string | null
  errorCode: string | null
  notBefore: number
  leaseUntil: number | null
  bytes: number
  events: number
  /** What the worker last said of its progress. */
  progress: unknown
  /** What a finished job noted for people. */
  outputs: unknown
  createdAt: number
  updatedAt: number
}

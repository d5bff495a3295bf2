/** What went wrong, as a problem document (RFC 9457): in, anything that was thrown; out, its status and its text. */

import { z } from 'zod'
import { type ErrorCode, PipelineError } from '../../state/errors.ts'
import type { Problem } from './contract.ts'

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8'

const STATUS: Partial<Record<ErrorCode, number>> = {
  usage: 400,
  capture_unknown: 404,
  capture_changed: 409,
  capture_too_large: 413,
  capture_not_recognized: 415,
  capture_unreadable: 422,
  query_refused: 422,
  query_failed: 422,
  disk_full: 507,
  stopped: 503,
}

const TITLES: Record<number, string> = {
  400: 'The request is wrong',
  401: 'Log in first',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Not allowed here',
  409: 'In conflict with what is there',
  413: 'Too large',
  415: 'Of a kind that is not taken',
  422: 'It cannot be answered',
  429: 'Too often',
  500: 'It failed',
  503: 'Not now',
  507: 'No space',
}

/** A refusal of the API itself, of a kind that the pipeline does not know. */
export interface Refusal extends Error {
  refusal: { status: number; code: string; headers: Record<string, string> }
}

export function refusal(status: number, code: string, detail: string, headers: Record<string, string> = {}): Refusal {
  return Object.assign(new Error(detail), { refusal: { status, code, headers } })
}

export function notFound(what: string): Refusal {
  return refusal(404, 'not_found', what)
}

export interface Told {
  problem: Problem
  headers: Record<string, string>
  /** Nobody foresaw it: it belongs in the log. */
  isBug: boolean
}

export function problemOf(error: unknown): Told {
  if (isRefusal(error)) {
    const { status, code, headers } = error.refusal
    return { problem: problemWith(status, code, error.message), headers, isBug: false }
  }
  if (error instanceof PipelineError) {
    const status = error.retryable ? 503 : (STATUS[error.code] ?? 500)
    return { problem: problemWith(status, error.code, error.message), headers: {}, isBug: false }
  }
  if (error instanceof z.ZodError) return { problem: invalid(error), headers: {}, isBug: false }
  const status = statusOf(error)
  if (status !== undefined && error instanceof Error)
    return { problem: problemWith(status, 'invalid_request', error.message), headers: {}, isBug: false }
  return { problem: problemWith(500, 'unexpected', 'this is a bug; the log has more'), headers: {}, isBug: true }
}

export function problemWith(status: number, code: string, detail: string): Problem {
  return { type: `urn:pcap-pipeline:problem:${code}`, title: TITLES[status] ?? 'It failed', status, detail, code }
}

function invalid({ issues }: z.ZodError): Problem {
  const errors = issues.slice(0, 20).map(({ path, message }) => ({ path: path.map(String).join('.'), message }))
  const [first] = errors
  const where = first?.path ? `${first.path}: ` : ''
  return { ...problemWith(400, 'invalid_request', `${where}${first?.message ?? 'it cannot be read'}`), errors }
}

function isRefusal(error: unknown): error is Refusal {
  return error instanceof Error && 'refusal' in error
}

/** Of the web framework's own refusals: a body that is no JSON, too long, of a type that is not taken. */
function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('statusCode' in error)) return undefined
  const { statusCode } = error
  return typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500 ? statusCode : undefined
}

/**
 * Where an event comes from, by its message's headers: `capture` (64 hex digits), `log` and `ordinal`, all three in
 * order, make it one of our own, with the id that it has on any bus; `source` names its sensor, site or case. Headers
 * are anybody's to write: what is not in order counts as absent.
 */

import { isUtf8 } from 'node:buffer'
import type { RawMessage } from './events.ts'

export interface Origin {
  source?: string
  captureId?: string
  /** Its number within the log of the capture; there with `captureId`. */
  ordinal?: number
}

const CAPTURE = Buffer.from('capture')
const LOG = Buffer.from('log')
const ORDINAL = Buffer.from('ordinal')
const SOURCE = Buffer.from('source')

const CAPTURE_ID = /^[0-9a-f]{64}$/
/** Within 2^53. */
const DIGITS = /^(?:0|[1-9]\d{0,14})$/
const MAX_SOURCE_BYTES = 200
const NONE: Origin = {}

export function createOrigins(): (message: RawMessage, logType: string) => Origin {
  // Messages of one origin follow one another.
  const captureOf = remembering((text) => (CAPTURE_ID.test(text) ? text : undefined))
  const sourceOf = remembering(sourceName)

  return ({ headers }, logType) => {
    if (headers === undefined || headers.length === 0) return NONE
    const capture = headerOf(headers, CAPTURE)
    const source = headerOf(headers, SOURCE)
    const origin: Origin = { source: source && sourceOf(source) }
    if (capture === undefined || headerOf(headers, LOG)?.toString('latin1') !== logType) return origin
    const captureId = captureOf(capture)
    const ordinal = ordinalOf(headerOf(headers, ORDINAL))
    return captureId === undefined || ordinal === undefined ? origin : { ...origin, captureId, ordinal }
  }
}

/** The first header of a name. */
function headerOf(headers: NonNullable<RawMessage['headers']>, name: Buffer): Buffer | undefined {
  for (const [key, value] of headers) {
    if (key?.length === name.length && key[0] === name[0] && key.equals(name)) return value ?? undefined
  }
  return undefined
}

function ordinalOf(value: Buffer | undefined): number | undefined {
  const text = value?.length !== undefined && value.length <= 15 ? value.toString('latin1') : ''
  return DIGITS.test(text) ? Number(text) : undefined
}

function sourceName(text: string): string | undefined {
  const name = text.trim()
  return name === '' || /\p{C}/u.test(name) ? undefined : name
}

function remembering(make: (text: string) => string | undefined): (bytes: Buffer) => string | undefined {
  let last = Buffer.alloc(0)
  let made: string | undefined
  return (bytes) => {
    if (bytes.length > MAX_SOURCE_BYTES || !isUtf8(bytes)) return undefined
    if (bytes.equals(last)) return made
    last = Buffer.from(bytes)
    made = make(bytes.toString('utf8'))
    return made
  }
}

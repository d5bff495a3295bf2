/**
 * How events are numbered: an event's id is the prefix of its chunk and its ordinal. Lines that do not follow one
 * another bear their ordinal in front: `{"#":17,"ts":…}`. No field can have that name, and a member `#` of the record
 * itself comes behind it.
 */

import { COMMA, skipInteger } from './tokens.ts'

export const ORDINAL_FIELD = '#'

const OPEN = 123
const CLOSE = 125
const MINUS = 45
const FRONT = Buffer.from(`{"${ORDINAL_FIELD}":`)

/** From `{` to the place behind the ordinal's digits, or -1. */
export function skipOrdinal(bytes: Uint8Array, start: number): number {
  for (let i = 0; i < FRONT.length; i++) if (bytes[start + i] !== FRONT[i]) return -1
  const first = start + FRONT.length
  return bytes[first] === MINUS ? -1 : skipInteger(bytes, first)
}

/** A line's ordinal, in digits, and the line without it. Undefined where it bears none. */
export function splitOrdinal(line: Buffer): { ordinal: string; record: Buffer } | undefined {
  const end = skipOrdinal(line, 0)
  if (end < 0 || (line[end] !== COMMA && line[end] !== CLOSE)) return undefined
  const ordinal = line.toString('latin1', FRONT.length, end)
  const rest = line.subarray(line[end] === COMMA ? end + 1 : end)
  return { ordinal, record: Buffer.concat([Buffer.of(OPEN), rest]) }
}

/** `record` is an object without blanks at its start. */
export function withOrdinal(ordinal: string, record: Buffer): Buffer {
  const separator = record[1] === CLOSE ? '' : ','
  return Buffer.concat([FRONT, Buffer.from(`${ordinal}${separator}`), record.subarray(1)])
}

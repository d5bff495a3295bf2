/**
 * When a JSON value fits a Zeek type. What does not fit is not forced: it goes to `extra` as it is.
 *
 * A number fits an integer type when it is whole (`80.0` is 80) and within int64; a port is 0 to 65535. A time is
 * seconds since the epoch, within ±10^11 (years -1199 to 5138), or an ISO 8601 date and time. An address is one
 * that `parseAddress` knows. A list fits when each of its elements does, or is null; elements of address lists
 * need only be strings. A string with half of a surrogate pair is no Unicode text and does not fit.
 */

import { elementOf, type ScalarType, type ZeekType } from '../rules.ts'
import { parseAddress } from './address.ts'

export const MAX_SECONDS = 1e11

const INT64_MAX = 2n ** 63n - 1n
const INT64_MIN = -(2n ** 63n)

/** `text` is the value's own JSON text where it is at hand: digits beyond 2^53 are read from it. */
export function fits(type: ZeekType, value: unknown, text?: string): boolean {
  const element = elementOf(type)
  if (element === undefined) return fitsScalar(type as ScalarType, value, text)
  const inner = element === 'addr' ? 'string' : element
  return Array.isArray(value) && value.every((each) => each === null || fitsScalar(inner, each))
}

function fitsScalar(type: ScalarType, value: unknown, text?: string): boolean {
  switch (type) {
    case 'time':
      return toMicros(value) !== undefined
    case 'interval':
    case 'double':
      return typeof value === 'number' && Number.isFinite(value)
    case 'port':
      return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65535
    case 'count':
    case 'int':
      return typeof value === 'number' && (Number.isSafeInteger(value) || isInt64(text))
    case 'bool':
      return typeof value === 'boolean'
    case 'addr':
      return typeof value === 'string' && parseAddress(value) !== undefined
    default:
      return typeof value === 'string' && value.isWellFormed()
  }
}

function isInt64(text: string | undefined): boolean {
  if (text === undefined || !/^-?\d{1,19}$/.test(text)) return false
  const exact = BigInt(text)
  return exact >= INT64_MIN && exact <= INT64_MAX
}

const PLAIN_ISO = /^[^ ]{19}(?:\.\d{1,6})?Z$/

/** A value that fits, as JSON text that any reader takes for the type: integers plain, ISO times in UTC. */
export function fittedText(type: ZeekType, value: unknown, text: string): string {
  if (type === 'time' && typeof value === 'string' && !PLAIN_ISO.test(value))
    return JSON.stringify(isoOf(toMicros(value) as number))
  if (typeof value === 'number') return Number.isInteger(value) && !Number.isSafeInteger(value) ? text : String(value)
  return JSON.stringify(value)
}

/** Microseconds since the epoch, rounded half up, of a value that fits `time`. */
export function toMicros(value: unknown): number | undefined {
  if (typeof value === 'string') return parseIso(value)
  if (typeof value !== 'number' || !(Math.abs(value) < MAX_SECONDS)) return undefined
  return Math.floor(value * 1e6 + 0.5)
}

const ISO = /^([1-9]\d{3})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?$/

/** ISO 8601 with seconds; UTC where it names no offset; digits below a microsecond are cut off. */
function parseIso(text: string): number | undefined {
  const match = ISO.exec(text)
  if (!match) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number)
  const ms = Date.UTC(year, month - 1, day, hour, minute, second)
  const date = new Date(ms)
  const exists =
    date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60
  const offset = offsetMinutes(match[8])
  if (!exists || offset === undefined) return undefined
  const micros = Number((match[7] ?? '').padEnd(6, '0').slice(0, 6))
  const total = (ms - offset * 60_000) * 1000 + micros
  return Math.abs(total) < MAX_SECONDS * 1e6 ? total : undefined
}

function offsetMinutes(zone: string | undefined): number | undefined {
  if (zone === undefined || zone === 'Z') return 0
  const hours = Number(zone.slice(1, 3))
  const minutes = Number(zone.slice(-2))
  if (hours > 23 || minutes > 59) return undefined
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes)
}

function isoOf(micros: number): string {
  const ms = Math.floor(micros / 1000)
  const rest = String(micros - ms * 1000).padStart(3, '0')
  return `${new Date(ms).toISOString().slice(0, -1)}${rest}Z`
}

/**
 * JSON tokens in bytes, strictly (RFC 8259): each function takes the place of a token's first byte and gives the
 * place behind the token, or -1 where the token is none, or none that is beyond doubt. Bytes are those of lines
 * that end in `\n`: no token holds one, therefore nothing here runs past the end of a line.
 */

import { parseAddress } from '../../../stages/upload/rules/address.ts'
import { MAX_SECONDS } from '../../../stages/upload/rules/values.ts'

const SPACE = 32
export const QUOTE = 34
export const COMMA = 44
export const COLON = 58
const MINUS = 45
const DOT = 46
const ZERO = 48
const NINE = 57
export const BACKSLASH = 92
const U = 117

/** From the opening quote. */
export function skipString(bytes: Uint8Array, view: DataView, start: number): number {
  for (let at = skipPlain(view, start + 1, bytes.length - 4); ; at++) {
    const byte = bytes[at] as number
    if (byte > BACKSLASH || (byte > QUOTE && byte < BACKSLASH)) continue
    if (byte === QUOTE) return at + 1
    if (byte === BACKSLASH) {
      at = skipEscape(bytes, at) - 1
      if (at < 0) return -1
    } else if (!(byte >= SPACE)) return -1
  }
}

/**
 * Over words of four bytes without a quote, a backslash or a control character: a byte of a word is zero, or less
 * than n, when subtracting 1, or n, borrows from a high bit that was not set.
 */
function skipPlain(view: DataView, start: number, last: number): number {
  let at = start
  while (at <= last) {
    const word = view.getInt32(at, true)
    const quote = word ^ 0x22222222
    const backslash = word ^ 0x5c5c5c5c
    const borrows =
      ((quote - 0x01010101) & ~quote) | ((backslash - 0x01010101) & ~backslash) | ((word - 0x20202020) & ~word)
    if ((borrows & 0x80808080) !== 0) break
    at += 4
  }
  return at
}

function skipEscape(bytes: Uint8Array, at: number): number {
  switch (bytes[at + 1]) {
    case QUOTE:
    case BACKSLASH:
    case 47: // "/"
    case 98: // "b"
    case 102: // "f"
    case 110: // "n"
    case 114: // "r"
    case 116: // "t"
      return at + 2
    case U:
      return skipUnicodeEscape(bytes, at)
    default:
      return -1
  }
}

/** A surrogate must be a pair: half of one is no Unicode text. */
function skipUnicodeEscape(bytes: Uint8Array, at: number): number {
  const unit = hex4(bytes, at + 2)
  if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff)) return -1
  if (unit < 0xd800 || unit > 0xdbff) return at + 6
  if (bytes[at + 6] !== BACKSLASH || bytes[at + 7] !== U) return -1
  const low = hex4(bytes, at + 8)
  return low >= 0xdc00 && low <= 0xdfff ? at + 12 : -1
}

function hex4(bytes: Uint8Array, at: number): number {
  let value = 0
  for (let i = at; i < at + 4; i++) {
    const byte = bytes[i] as number
    const lower = byte | 32
    if (isDigit(byte)) value = value * 16 + byte - ZERO
    else if (lower >= 97 && lower <= 102) value = value * 16 + lower - 87
    else return -1
  }
  return value
}

/** An integer of at most 18 digits: within int64. */
export function skipInteger(bytes: Uint8Array, start: number): number {
  const first = bytes[start] === MINUS ? start + 1 : start
  let at = first
  while (isDigit(bytes[at] as number)) at++
  return isIntegerPart(bytes, first, at) ? at : -1
}

/** 0 to 65535. */
export function skipPort(bytes: Uint8Array, start: number): number {
  let at = start
  let value = 0
  for (let byte = bytes[at] as number; isDigit(byte); byte = bytes[at] as number) {
    value = value * 10 + byte - ZERO
    at++
  }
  return isIntegerPart(bytes, start, at) && value <= 65535 ? at : -1
}

/** Any number that is finite beyond doubt: at most 18 digits before the point, an exponent of at most two digits. */
export function skipDouble(bytes: Uint8Array, start: number): number {
  const whole = skipInteger(bytes, start)
  if (whole < 0) return -1
  const at = bytes[whole] === DOT ? skipFraction(bytes, whole) : whole
  return at >= 0 && ((bytes[at] as number) | 32) === 101 ? skipExponent(bytes, at) : at
}

function skipFraction(bytes: Uint8Array, dot: number): number {
  let at = dot + 1
  while (isDigit(bytes[at] as number)) at++
  return at > dot + 1 && at < dot + 40 ? at : -1
}

function skipExponent(bytes: Uint8Array, e: number): number {
  const sign = bytes[e + 1]
  const first = sign === MINUS || sign === 43 ? e + 2 : e + 1
  let at = first
  while (isDigit(bytes[at] as number)) at++
  return at > first && at <= first + 2 ? at : -1
}

/** A string, a boolean or a number: any value that is neither null nor made of others. */
export function skipAnyScalar(bytes: Uint8Array, view: DataView, start: number): number {
  const first = bytes[start] as number
  if (first === QUOTE) return skipString(bytes, view, start)
  return first === MINUS || isDigit(first) ? skipDouble(bytes, start) : skipBoolean(bytes, view, start)
}

/** Seconds without an exponent, within the bounds of a time even when their fraction is rounded up. */
export function skipSeconds(bytes: Uint8Array, start: number): number {
  const whole = skipInteger(bytes, start)
  if (whole < 0 || whole - start > 12) return -1
  if (Math.abs(wholeNumber(bytes, start, whole)) >= MAX_SECONDS - 1) return -1
  return bytes[whole] === DOT ? skipFraction(bytes, whole) : whole
}

/** The value of an integer token, sign included. */
export function wholeNumber(bytes: Uint8Array, start: number, end: number): number {
  const negative = bytes[start] === MINUS
  let value = 0
  for (let at = negative ? start + 1 : start; at < end && isDigit(bytes[at] as number); at++)
    value = value * 10 + (bytes[at] as number) - ZERO
  return negative ? -value : value
}

// Words of four bytes, as `getInt32` reads them.
const TRUE = Buffer.from('true').readInt32LE()
const ALSE = Buffer.from('alse').readInt32LE()
const NULL = Buffer.from('null').readInt32LE()
const F = 102

export function skipBoolean(bytes: Uint8Array, view: DataView, at: number): number {
  if (at + 5 > bytes.length) return -1
  if (view.getInt32(at, true) === TRUE) return at + 4
  return bytes[at] === F && view.getInt32(at + 1, true) === ALSE ? at + 5 : -1
}

export function skipNull(bytes: Uint8Array, view: DataView, at: number): number {
  return at + 4 <= bytes.length && view.getInt32(at, true) === NULL ? at + 4 : -1
}

/** The version of the address that is the text between two places, or 0 where it is none. */
export function addressVersion(bytes: Buffer, start: number, end: number): 0 | 4 | 6 {
  let dots = 0
  let digits = 0
  let value = 0
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number
    if (byte === DOT) {
      if (digits === 0) return 0
      dots++
      digits = 0
      value = 0
    } else if (isDigit(byte)) {
      if (digits > 0 && value === 0) return otherVersion(bytes, start, end)
      value = value * 10 + byte - ZERO
      digits++
      if (value > 255) return otherVersion(bytes, start, end)
    } else return otherVersion(bytes, start, end)
  }
  return dots === 3 && digits > 0 ? 4 : 0
}

function otherVersion(bytes: Buffer, start: number, end: number): 0 | 4 | 6 {
  if (isPlainIpv6(bytes, start, end)) return 6
  if (end - start > 45) return 0
  return parseAddress(bytes.toString('latin1', start, end))?.version ?? 0
}

/** IPv6 in hexadecimal groups, `::` at most once and not at an end: what nearly all are. False proves nothing. */
function isPlainIpv6(bytes: Uint8Array, start: number, end: number): boolean {
  let groups = 1
  let digits = 0
  let gaps = 0
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number
    if (byte === COLON) {
      if (digits > 0) groups++
      else if (at === start || ++gaps > 1) return false
      digits = 0
    } else if (isHexDigit(byte)) {
      if (++digits > 4) return false
    } else return false
  }
  return digits > 0 && (gaps === 1 ? groups < 8 : groups === 8)
}

function isHexDigit(byte: number): boolean {
  const lower = byte | 32
  return isDigit(byte) || (lower >= 97 && lower <= 102)
}

function isIntegerPart(bytes: Uint8Array, first: number, end: number): boolean {
  const digits = end - first
  return digits === 1 || (digits > 1 && digits <= 18 && bytes[first] !== ZERO)
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= NINE
}

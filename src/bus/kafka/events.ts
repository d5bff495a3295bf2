/**
 * A message of a raw topic in; the log type and the record's bytes out, or the reason why it is no event.
 *
 * Accepted: nested `{"dns": {…}}` (also as Zeek's Kafka plugin tags it), flat with `_path` or `log_type`, and flat
 * without either on a topic that is named after a log (`conn`, `zeek.conn`, `zeek-conn`). Nothing is parsed: a few
 * bytes are looked at, and what they prove holds *if the message is JSON*. The record is cut out such that it is
 * JSON exactly when the message is; whether it is finds the sink, which quarantines the line when it is not.
 *
 * - The first `}` behind the record's `{` is the last but one of the message's: the object closed there, and it is the
 *   only member. Else the record's end is found by its brackets and strings.
 * - A `"_path":"dns"` is cut out of an object together with one comma; the members before and behind stay as they are.
 */

import { isUtf8 } from 'node:buffer'
import { LOG_TYPE } from '../../../stages/upload/rules.ts'
import { BACKSLASH, COLON, COMMA, QUOTE } from '../../sinks/parquet/tokens.ts'
import { createOrigins, type Origin } from './origins.ts'

/** A message as it was fetched. */
export interface RawMessage {
  topic: string
  partition: number
  offset: number | bigint
  key?: Buffer | null
  value?: Buffer | null
  headers?: readonly (readonly [Buffer | null, Buffer | null])[]
}

export const REFUSALS = [
  'empty message',
  'not JSON',
  'not an object',
  'no log type',
  'log type not usable',
  'too large',
  'batch unreadable',
] as const
export type Refusal = (typeof REFUSALS)[number]

/** The record is `{`, two stretches of `bytes`, `}`; neither holds a line feed. */
export interface RawEvent extends Origin {
  logType: string
  bytes: Buffer
  from: number
  gapFrom: number
  gapTo: number
  to: number
}

export interface EventReaderOptions {
  /** Log types after which a topic may be named. */
  knownTypes: ReadonlySet<string>
  /** A larger message is refused. */
  maxBytes: number
}

export type EventReader = (message: RawMessage) => RawEvent | Refusal

const TAB = 9
const NEWLINE = 10
const RETURN = 13
const SPACE = 32
const OPEN_LIST = 91
const CLOSE_LIST = 93
const OPEN = 123
const CLOSE = 125

const MAX_NAME_BYTES = 64
/** Names of log types come from outside, in any number. */
const MAX_NAMES_KEPT = 1000
const TOPIC_OF_LOG = /^(?:(?:zeek|bro)[._-])?([A-Za-z0-9._-]+)$/

export function createEventReader({ knownTypes, maxBytes }: EventReaderOptions): EventReader {
  const usable = new Map<string, string | undefined>()
  const ofTopic = new Map<string, string | undefined>()
  const originOf = createOrigins()

  return (message) => {
    const { value } = message
    if (value === null || value === undefined || value.length === 0) return 'empty message'
    if (value.length > maxBytes) return 'too large'
    let from = 0
    let to = value.length
    if (value[0] === 0xef && value[1] === 0xbb && value[2] === 0xbf) from = 3
    while (from < to && isSpace(value[from] as number)) from++
    while (to > from && isSpace(value[to - 1] as number)) to--
    if (from === to) return 'empty message'
    if (value[from] !== OPEN) return refusalOf(value, 'not an object')
    if (to - from < 2 || value[to - 1] !== CLOSE) return 'not JSON'
    const found = find(value, from, to, message.topic)
    if (typeof found === 'string') return refusalOf(value, found)
    const event = Object.assign(found, originOf(message, found.logType))
    // Few are written over several lines, but a line feed would cut them into several records.
    const newline = value.indexOf(NEWLINE, from)
    if (newline === -1 || newline >= to) return event
    // In a string it is no JSON, and must not become JSON.
    return refusalOf(value, 'no log type') === 'no log type' ? { ...event, bytes: inOneLine(value) } : 'not JSON'
  }

  /** `bytes[from..to)` begins with `{` and ends with `}`. */
  function find(bytes: Buffer, from: number, to: number, topic: string): Found | Refusal {
    const nested = nestedRecord(bytes, from, to)
    if (nested) {
      const logType = typeOf(nested.name)
      return logType === undefined ? 'log type not usable' : { logType, ...nested.record }
    }
    const flat = flatRecord(bytes, from, to)
    if (typeof flat === 'string') return flat
    if (flat.name !== undefined) {
      const logType = typeOf(flat.name)
      return logType === undefined ? 'log type not usable' : { logType, ...flat.record }
    }
    const logType = typeOfTopic(topic)
    return logType === undefined ? 'no log type' : { logType, ...flat.record }
  }

  function typeOf(name: string): string | undefined {
    const known = usable.get(name)
    if (known !== undefined || usable.has(name)) return known
    const type = name.toLowerCase().replaceAll(/[.-]/g, '_')
    const logType = LOG_TYPE.test(type) ? type : undefined
    if (usable.size < MAX_NAMES_KEPT) usable.set(name, logType)
    return logType
  }

  function typeOfTopic(topic: string): string | undefined {
    if (!ofTopic.has(topic)) {
      const type = typeOf(TOPIC_OF_LOG.exec(topic)?.[1] ?? '')
      ofTopic.set(topic, type !== undefined && knownTypes.has(type) ? type : undefined)
    }
    return ofTopic.get(topic)
  }
}

interface RecordPlace {
  bytes: Buffer
  from: number
  gapFrom: number
  gapTo: number
  to: number
}

type Found = RecordPlace & { logType: string }

/** Where the object has one member alone, whose value is an object and whose key is short and plain. */
function nestedRecord(bytes: Buffer, from: number, to: number): { name: string; record: RecordPlace } | undefined {
  const quote = skipSpace(bytes, from + 1)
  if (bytes[quote] !== QUOTE) return undefined
  let end = quote + 1
  const last = Math.min(to, end + MAX_NAME_BYTES)
  while (end < last && isNameByte(bytes[end] as number)) end++
  if (bytes[end] !== QUOTE) return undefined
  const colon = skipSpace(bytes, end + 1)
  if (bytes[colon] !== COLON) return undefined
  const open = skipSpace(bytes, colon + 1)
  if (bytes[open] !== OPEN) return undefined
  let close = to - 2
  while (close > open && isSpace(bytes[close] as number)) close--
  if (bytes[close] !== CLOSE) return undefined
  if (bytes.indexOf(CLOSE, open + 1) !== close && valueEnd(bytes, open, to) !== close + 1) return undefined
  return { name: bytes.toString('latin1', quote + 1, end), record: whole(bytes, open + 1, close) }
}

/**
 * A record that says itself what it is: by the first `_path`, else by the first `log_type`. That member is left out of
 * it. Without a name where there is neither.
 */
function flatRecord(bytes: Buffer, from: number, to: number): { name?: string; record: RecordPlace } | Refusal {
  let second: { name?: string; record: RecordPlace } | undefined
  let members = 0
  let objects = 0
  let at = skipSpace(bytes, from + 1)
  if (at === to - 1) return { record: whole(bytes, at, at) }
  for (let before = at; ; ) {
    if (bytes[at] !== QUOTE) return 'not JSON'
    const keyEnd = stringEnd(bytes, at, to)
    if (keyEnd < 0) return 'not JSON'
    const colon = skipSpace(bytes, keyEnd)
    if (bytes[colon] !== COLON) return 'not JSON'
    const start = skipSpace(bytes, colon + 1)
    const end = valueEnd(bytes, start, to)
    if (end < 0) return 'not JSON'
    const behind = skipSpace(bytes, end)
    const isLast = behind === to - 1
    if (!isLast && bytes[behind] !== COMMA) return 'not JSON'
    const next = isLast ? behind : skipSpace(bytes, behind + 1)
    const key = typeKey(bytes, at, keyEnd)
    if (key !== undefined && !(key === 'log_type' && second)) {
      if (!isLast && bytes[next] !== QUOTE) return 'not JSON'
      const isFirst = members === 0
      const place = { bytes, from: from + 1, gapFrom: isFirst ? from + 1 : before, to: to - 1 }
      // The comma before it goes with it, or of the first member the one behind it.
      const record = { ...place, gapTo: isFirst ? next : end }
      const named = bytes[start] === QUOTE ? stringOf(bytes, start, end) : undefined
      // An empty name is no usable one.
      const found = { name: named ?? '', record }
      if (key === '_path') return found
      second = found
    }
    members++
    if (bytes[start] === OPEN) objects++
    if (isLast) break
    before = behind
    at = next
  }
  if (second) return second
  return members === 1 && objects === 1 ? 'log type not usable' : { record: whole(bytes, from + 1, to - 1) }
}

function whole(bytes: Buffer, from: number, to: number): RecordPlace {
  return { bytes, from, gapFrom: to, gapTo: to, to }
}

function typeKey(bytes: Buffer, quote: number, end: number): '_path' | 'log_type' | undefined {
  const length = end - quote - 2
  // Any letter may be written as an escape, of six bytes.
  const isLike = length === 5 || length === 8 || (length > 8 && length <= 48 && hasEscape(bytes, quote, end))
  if (!isLike) return undefined
  const key = stringOf(bytes, quote, end)
  return key === '_path' || key === 'log_type' ? key : undefined
}

function hasEscape(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] === BACKSLASH) return true
  return false
}

/** Undefined for a string that no JSON reader takes. */
function stringOf(bytes: Buffer, quote: number, end: number): string | undefined {
  if (!hasEscape(bytes, quote, end)) return bytes.toString('utf8', quote + 1, end - 1)
  try {
    return JSON.parse(bytes.toString('utf8', quote, end)) as string
  } catch {
    return undefined
  }
}

/** The place behind a value, by its brackets and strings alone; -1 where it has no end before `to`. */
function valueEnd(bytes: Buffer, start: number, to: number): number {
  let depth = 0
  for (let at = start; at < to; ) {
    const byte = bytes[at] as number
    if (byte === QUOTE) {
      at = stringEnd(bytes, at, to)
      if (at < 0) return -1
      if (depth === 0) return at
    } else if (byte === OPEN || byte === OPEN_LIST) {
      depth++
      at++
    } else if (byte === CLOSE || byte === CLOSE_LIST) {
      // A bracket that is not the value's own ends a bare value.
      if (depth === 0) return at > start ? at : -1
      at++
      if (--depth === 0) return at
    } else if (depth === 0 && (byte === COMMA || isSpace(byte))) return at > start ? at : -1
    else at++
  }
  return -1
}

function stringEnd(bytes: Buffer, quote: number, to: number): number {
  for (let at = quote + 1; at < to; at++) {
    const byte = bytes[at]
    if (byte === QUOTE) return at + 1
    if (byte === BACKSLASH) at++
  }
  return -1
}

function inOneLine(value: Buffer): Buffer {
  const copy = Buffer.from(value)
  for (let at = copy.indexOf(NEWLINE); at !== -1; at = copy.indexOf(NEWLINE, at + 1)) copy[at] = SPACE
  return copy
}

/** Why it is no event, when something else than its form is wrong. */
function refusalOf(value: Buffer, otherwise: Refusal): Refusal {
  if (!isUtf8(value)) return 'not JSON'
  try {
    const parsed: unknown = JSON.parse(value.toString('utf8').replace(/^\uFEFF/, ''))
    return typeof parsed !== 'object' || parsed === null || Array.isArray(parsed) ? 'not an object' : otherwise
  } catch {
    return 'not JSON'
  }
}

function skipSpace(bytes: Buffer, start: number): number {
  let at = start
  while (isSpace(bytes[at] as number)) at++
  return at
}

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === NEWLINE || byte === RETURN || byte === TAB
}

function isNameByte(byte: number): boolean {
  const lower = byte | 32
  return (lower >= 97 && lower <= 122) || (byte >= 48 && byte <= 57) || byte === 95 || byte === 45 || byte === 46
}

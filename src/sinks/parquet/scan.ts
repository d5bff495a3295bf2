/**
 * The proof that a line can be read by its columns alone without losing anything.
 *
 * In: the bytes of whole lines. Out: which of them are clean, and counts over the clean ones. A clean line is one
 * flat JSON object with no key twice; each key is, byte for byte, a field of the table with a value that fits its type
 * (`values.ts`) in the plainest spelling, or one of a few unknown names with a string, number or boolean. DuckDB reads such a line into typed columns and nothing is
 * left over. A line that is not clean may still be a good record: the careful path decides that.
 *
 * One pass over the bytes, about 1.5 ns each: cheaper than asking DuckDB for the keys, and it sees the values' kinds.
 */

import { isUtf8 } from 'node:buffer'
import type { Table, TableField } from '../../../stages/upload/rules/table.ts'
import { toMicros } from '../../../stages/upload/rules/values.ts'
import { elementOf, type ScalarType } from '../../../stages/upload/rules.ts'
import { createKeys, findKey, isKeyAt, type Keys, keyAt } from './keys.ts'
import { skipOrdinal } from './numbering.ts'
import {
  addressVersion,
  COMMA,
  QUOTE,
  skipAnyScalar,
  skipBoolean,
  skipDouble,
  skipInteger,
  skipNull,
  skipPort,
  skipSeconds,
  skipString,
  wholeNumber,
} from './tokens.ts'

const NEWLINE = 10
const RETURN = 13
const OPEN_LIST = 91
const CLOSE_LIST = 93
const OPEN = 123
const CLOSE = 125
const N = 110
const T = 84
const Z = 90

const TIME = 1
const DOUBLE = 2
const INTEGER = 3
const PORT = 4
const TEXT = 5
const ADDRESS = 6
const BOOLEAN = 7
const LIST = 8
const ANY = 255

/** Unknown fields that a statement reads as they are; lines with others are rewritten, which costs ten times as much. */
const MAX_EXTRA_NAMES = 32
const PLAIN_NAME = /^[A-Za-z0-9_@][A-Za-z0-9_@.:-]{0,63}$/

const KINDS: Readonly<Record<ScalarType, number>> = {
  time: TIME,
  interval: DOUBLE,
  double: DOUBLE,
  count: INTEGER,
  int: INTEGER,
  port: PORT,
  string: TEXT,
  enum: TEXT,
  subnet: TEXT,
  addr: ADDRESS,
  bool: BOOLEAN,
}

/** Counts over the clean lines of all calls so far. */
export interface Tally {
  lines: number
  /** Values that must be found again in the columns: scalars, and the elements of lists that are not null. */
  values: number
  /** Lines with a field that the table does not know. */
  linesWithExtra: number
  longestLine: number
  /** Some time is ISO text. */
  hasIsoTimes: boolean
  /** Some address is of version 6. */
  hasIpv6: boolean
  /** Hours since the epoch → lines with an event time in it. */
  hours: HourCount
}

/** Lines by hour. Hostile times cannot make it grow: hours beyond the limit are not told apart. */
export interface HourCount {
  readonly lines: Map<number, number>
  add(hour: number, lines: number): void
}

/** Of times before 1970 or after 2199. */
export const NO_HOUR = -1

/** The hour since the epoch that is a partition of its own, or `NO_HOUR`. */
export function hourOf(seconds: number): number {
  return seconds >= 0 && seconds < LAST_PLACED_SECOND ? Math.floor(seconds / 3600) : NO_HOUR
}

/** 2200-01-01T00:00:00Z. */
export const LAST_PLACED_SECOND = 7_258_118_400

export const MAX_HOURS_COUNTED = 50_000

export function createHourCount(): HourCount {
  const lines = new Map<number, number>()
  return {
    lines,
    add(hour, count) {
      const known = lines.get(hour)
      if (known !== undefined) lines.set(hour, known + count)
      else if (lines.size < MAX_HOURS_COUNTED) lines.set(hour, count)
    },
  }
}

export function createTally(): Tally {
  return {
    lines: 0,
    values: 0,
    linesWithExtra: 0,
    longestLine: 0,
    hasIsoTimes: false,
    hasIpv6: false,
    hours: createHourCount(),
  }
}

const NEVER = 0
const LONG_AGO = 1

/** Called for each line that is not clean: its bytes without `\n`, and its number among the lines of this call. */
export type OnDirty = (start: number, end: number, line: number) => void

export interface Scan {
  /** `bytes[start..end)` holds whole lines, each ended by `\n`. Gives the number of lines, clean or not. */
  lines(bytes: Buffer, start: number, end: number, tally: Tally, onDirty: OnDirty): number
  /** The fields that occurred so far. */
  seenFields(): TableField[]
  /** The names of unknown fields that occurred so far in clean lines. */
  extraNames(): readonly string[]
}

/**
 * Fields whose values are not found again one for one in the columns: where a flow id may come from a list, and
 * where a community id may be computed.
 */
export function isCounted(table: Table, field: TableField): boolean {
  return field !== table.tuple.communityId && !(field === table.flowId && table.flowIdList !== undefined)
}

/** `explicit`: each line begins with its number (`Numbering`), which is no field of the record. */
export function createScan(table: Table, numbering?: 'explicit'): Scan {
  const state = createState(table, numbering === 'explicit')
  return {
    lines: (bytes, start, end, tally, onDirty) => scanLines(state, bytes, start, end, tally, onDirty),
    seenFields: () => table.fields.filter((_, slot) => state.lastSeen[slot] !== NEVER),
    extraNames: () => state.extraNames,
  }
}

/** The scan of one record after the other, with the places of its values: for those that use them where they lie. */
export interface RecordScan {
  /** The place behind the record that begins at `start`, or -1 where it is not clean. Whether it is UTF-8 is not looked at. */
  record(bytes: Buffer, view: DataView, start: number): number
  /** Whether the last record has this field of the table; the places below are those of fields that it has. */
  has(slot: number): boolean
  /** The places of the value's first byte and behind its last. */
  readonly starts: Int32Array
  readonly ends: Int32Array
}

export function createRecordScan(table: Table, numbering?: 'explicit'): RecordScan {
  const state = createState(table, numbering === 'explicit')
  return {
    record(bytes, view, start) {
      beginLine(state)
      return state.isNumbered ? skipNumberedRecord(state, bytes, view, start) : skipRecord(state, bytes, view, start)
    },
    has: (slot) => state.lastSeen[slot] === state.stamp,
    starts: state.starts,
    ends: state.ends,
  }
}

/**
 * What the scan of one table works with. It is passed to plain functions rather than closed over: there is a scan for
 * each log type, and code that is compiled once for all of them is faster than closures of each.
 */
interface ScanState {
  readonly isNumbered: boolean
  keys: Keys
  /** The names that are taken, in lower case. */
  readonly taken: Set<string>
  readonly fieldNames: readonly string[]
  /** Unknown fields have the slots behind the known ones. */
  readonly extraNames: string[]
  readonly kinds: Uint8Array
  readonly counted: Uint8Array
  readonly timeSlot: number
  /** Where the value of a field was seen last. */
  readonly starts: Int32Array
  readonly ends: Int32Array
  /** The stamp of the line in which a field was seen last. */
  readonly lastSeen: Int32Array
  /** Records of one log have their keys in one order: what followed a field last is the best guess. The last is for `{`. */
  readonly follower: Int32Array
  stamp: number
  // What the line under scan has shown so far; it goes into the tally when the line proves clean.
  values: number
  hour: number
  sawIso: boolean
  sawIpv6: boolean
  sawExtra: boolean
}

function createState(table: Table, isNumbered: boolean): ScanState {
  const { fields } = table
  const fieldNames = fields.map(({ raw }) => raw)
  const slots = fields.length + MAX_EXTRA_NAMES
  const kinds = new Uint8Array(slots).fill(ANY)
  kinds.set(fields.map(kindOf))
  return {
    isNumbered,
    keys: createKeys(fieldNames),
    taken: new Set(fieldNames.map((name) => name.toLowerCase())),
    fieldNames,
    extraNames: [],
    kinds,
    counted: Uint8Array.from({ length: slots }, (_, slot) =>
      slot < fields.length && isCounted(table, fields[slot] as TableField) ? 1 : 0,
    ),
    timeSlot: table.time ? fields.indexOf(table.time) : -1,
    starts: new Int32Array(slots),
    ends: new Int32Array(slots),
    lastSeen: new Int32Array(slots),
    follower: new Int32Array(slots + 1),
    stamp: LONG_AGO,
    values: 0,
    hour: NO_HOUR,
    sawIso: false,
    sawIpv6: false,
    sawExtra: false,
  }
}

function scanLines(
  state: ScanState,
  bytes: Buffer,
  start: number,
  end: number,
  tally: Tally,
  onDirty: OnDirty,
): number {
  const allUtf8 = isUtf8(bytes.subarray(start, end))
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let lines = 0
  let clean = 0
  let total = 0
  let hourLines = 0
  let lastHour = NO_HOUR
  for (let at = start; at < end; lines++) {
    beginLine(state)
    let stop = state.isNumbered ? skipNumberedRecord(state, bytes, view, at) : skipRecord(state, bytes, view, at)
    if (stop >= 0 && bytes[stop] === RETURN) stop++
    const isClean = stop >= 0 && bytes[stop] === NEWLINE
    const newline = isClean ? stop : bytes.indexOf(NEWLINE, at)
    if (isClean && (allUtf8 || isUtf8(bytes.subarray(at, newline)))) {
      clean++
      total += state.values
      if (newline - at > tally.longestLine) tally.longestLine = newline - at
      if (state.sawIso) tally.hasIsoTimes = true
      if (state.sawIpv6) tally.hasIpv6 = true
      if (state.sawExtra) tally.linesWithExtra++
      if (state.hour === lastHour) hourLines++
      else {
        if (lastHour !== NO_HOUR) tally.hours.add(lastHour, hourLines)
        lastHour = state.hour
        hourLines = 1
      }
    } else onDirty(at, newline, lines)
    at = newline + 1
  }
  if (lastHour !== NO_HOUR && hourLines > 0) tally.hours.add(lastHour, hourLines)
  tally.lines += clean
  tally.values += total
  return lines
}

function beginLine(state: ScanState): void {
  state.stamp = state.stamp === 0x3fffffff ? restart(state.lastSeen) : state.stamp + 1
  state.values = 0
  state.hour = NO_HOUR
  state.sawIso = false
  state.sawIpv6 = false
  state.sawExtra = false
}

/** From `{` to the place behind `}`, or -1. */
function skipRecord(state: ScanState, bytes: Buffer, view: DataView, start: number): number {
  if (bytes[start] !== OPEN) return -1
  return bytes[start + 1] === CLOSE ? start + 2 : skipMembers(state, bytes, view, start + 1)
}

function skipNumberedRecord(state: ScanState, bytes: Buffer, view: DataView, start: number): number {
  const end = skipOrdinal(bytes, start)
  if (end < 0 || bytes[end] === CLOSE) return end < 0 ? -1 : end + 1
  return bytes[end] === COMMA ? skipMembers(state, bytes, view, end + 1) : -1
}

/** From the quote of the first key to the place behind `}`, or -1. */
function skipMembers(state: ScanState, bytes: Buffer, view: DataView, start: number): number {
  const { kinds, counted, lastSeen, follower, stamp, timeSlot } = state
  let { keys } = state
  let before = kinds.length
  for (let at = start; ; at++) {
    if (bytes[at] !== QUOTE) return -1
    let slot = follower[before] as number
    if (!isKeyAt(keys, view, at + 1, slot)) {
      slot = findKey(keys, bytes, at + 1)
      if (slot < 0) {
        slot = addExtraName(state, bytes, at + 1)
        if (slot < 0) return -1
        keys = state.keys
      }
      follower[before] = slot
    }
    if (lastSeen[slot] === stamp) return -1
    lastSeen[slot] = stamp
    before = slot
    at += 1 + (keys.lengths[slot] as number)
    state.starts[slot] = at
    const kind = kinds[slot] as number
    const weight = counted[slot] as number
    if (kind === ANY) {
      at = skipAnyScalar(bytes, view, at)
      state.sawExtra = true
    } else if (kind >= LIST) at = skipList(state, bytes, view, at, kind - LIST, weight)
    else {
      if (kind === TIME) at = skipTime(state, bytes, view, at, slot === timeSlot)
      else if (kind === ADDRESS) at = skipAddress(state, bytes, view, at)
      else at = skipScalar(bytes, view, at, kind)
      state.values += weight
    }
    if (at < 0) return -1
    state.ends[slot] = at
    if (bytes[at] === CLOSE) return at + 1
    if (bytes[at] !== COMMA) return -1
  }
}

/** A slot for an unknown field with a plain name, or -1. */
function addExtraName(state: ScanState, bytes: Buffer, at: number): number {
  const { extraNames, fieldNames, taken } = state
  const name = keyAt(bytes, at)
  if (name === undefined || !PLAIN_NAME.test(name) || taken.has(name.toLowerCase())) return -1
  if (extraNames.length === MAX_EXTRA_NAMES) return -1
  taken.add(name.toLowerCase())
  extraNames.push(name)
  state.keys = createKeys([...fieldNames, ...extraNames])
  return fieldNames.length + extraNames.length - 1
}

function skipScalar(bytes: Buffer, view: DataView, at: number, kind: number): number {
  switch (kind) {
    case TEXT:
      return bytes[at] === QUOTE ? skipString(bytes, view, at) : -1
    case INTEGER:
      return skipInteger(bytes, at)
    case PORT:
      return skipPort(bytes, at)
    case DOUBLE:
      return skipDouble(bytes, at)
    default:
      return skipBoolean(bytes, view, at)
  }
}

function skipList(
  state: ScanState,
  bytes: Buffer,
  view: DataView,
  start: number,
  kind: number,
  weight: number,
): number {
  if (bytes[start] !== OPEN_LIST) return -1
  if (bytes[start + 1] === CLOSE_LIST) return start + 2
  // Elements of address lists need only be strings.
  const element = kind === ADDRESS ? TEXT : kind
  for (let at = start + 1; ; at++) {
    if (bytes[at] === N) at = skipNull(bytes, view, at)
    else {
      at = skipScalar(bytes, view, at, element)
      state.values += weight
    }
    if (at < 0) return -1
    if (bytes[at] === CLOSE_LIST) return at + 1
    if (bytes[at] !== COMMA) return -1
  }
}

function skipAddress(state: ScanState, bytes: Buffer, view: DataView, at: number): number {
  const end = bytes[at] === QUOTE ? skipString(bytes, view, at) : -1
  const version = end < 0 ? 0 : addressVersion(bytes, at + 1, end - 1)
  if (version === 6) state.sawIpv6 = true
  return version === 0 ? -1 : end
}

function skipTime(state: ScanState, bytes: Buffer, view: DataView, at: number, isEventTime: boolean): number {
  if (bytes[at] === QUOTE) return skipIsoTime(state, bytes, view, at, isEventTime)
  const end = skipSeconds(bytes, at)
  if (end >= 0 && isEventTime) state.hour = hourOf(wholeNumber(bytes, at, end))
  return end
}

/** `"2018-03-24T17:15:20.865716Z"` or without a fraction; an offset or more digits would need arithmetic. */
function skipIsoTime(state: ScanState, bytes: Buffer, view: DataView, at: number, isEventTime: boolean): number {
  const end = skipString(bytes, view, at)
  const isPlain = (end - at === 29 || (end - at === 22 && bytes[at + 11] === T)) && bytes[end - 2] === Z
  const micros = isPlain ? toMicros(bytes.toString('latin1', at + 1, end - 1)) : undefined
  if (micros === undefined) return -1
  state.sawIso = true
  if (isEventTime) state.hour = hourOf(micros / 1e6)
  return end
}

function restart(lastSeen: Int32Array): number {
  for (const [slot, stamp] of lastSeen.entries()) if (stamp !== NEVER) lastSeen[slot] = LONG_AGO
  return LONG_AGO + 1
}

function kindOf({ type }: TableField): number {
  const element = elementOf(type)
  return element === undefined ? KINDS[type as ScalarType] : LIST + KINDS[element]
}

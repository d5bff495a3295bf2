/**
 * The careful path: one line that the scan did not find clean in, the same record as a clean line out.
 *
 * Nothing is dropped. A field that the schema does not know, a value that does not fit its type, and the earlier of
 * two values of one name go to `extra`, as the JSON text that they are. Nested objects become dotted names
 * (`{"id": {"orig_h": …}}`). null is the same as absent for a known field. A line that is no JSON object is
 * quarantined with a reason.
 */

import { isUtf8 } from 'node:buffer'
import type { Table, TableField } from '../../../stages/upload/rules/table.ts'
import { fits, fittedText, toMicros } from '../../../stages/upload/rules/values.ts'
import { hourOf, isCounted, NO_HOUR } from './scan.ts'
import { BACKSLASH, COMMA, QUOTE } from './tokens.ts'
import type { QuarantineReason } from './types.ts'

/** Names of the columns by which the careful path talks to the statement; no field can have them. */
export const EXTRA_FIELD = '$extra'
export const QUARANTINED_FIELD = '$quarantined'

/** Stands in for a quarantined line, so that the lines behind it keep their numbers. */
export const PLACEHOLDER = Buffer.from(`{"${QUARANTINED_FIELD}":true}\n`)

export interface Rewritten {
  /** One clean line, `\n` included. */
  line: Buffer
  /** As `Tally.values` counts. */
  values: number
  hasExtra: boolean
  hasIsoTimes: boolean
  hasIpv6: boolean
  /** Hours since the epoch of the event time; `NO_HOUR` without one that has a partition of its own. */
  hour: number
}

const OPEN_BRACE = 123
const CLOSE_BRACE = 125

export interface Rewrite {
  line(bytes: Buffer): Rewritten | { reason: QuarantineReason }
  /** The fields that rewritten lines hold so far. */
  seenFields(): TableField[]
}

export function createRewrite(table: Table): Rewrite {
  const prefixes = new Set<string>()
  for (const { raw } of table.fields)
    for (let dot = raw.indexOf('.'); dot > 0; dot = raw.indexOf('.', dot + 1)) prefixes.add(raw.slice(0, dot))

  const seen = new Set<TableField>()

  function line(bytes: Buffer): ReturnType<Rewrite['line']> {
    const read = readRecord(bytes)
    return 'reason' in read ? read : emit(table, collect(read.text, table, prefixes), seen)
  }

  return { line, seenFields: () => [...seen] }
}

/** A line, whether clean or not, as a record and its JSON text; or the reason why it is quarantined. */
export function readRecord(
  bytes: Buffer,
): { text: string; record: Record<string, unknown> } | { reason: QuarantineReason } {
  if (!isUtf8(bytes)) return { reason: 'not UTF-8' }
  const text = bytes
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .trim()
  if (text === '') return { reason: 'empty line' }
  const record = parse(text)
  if (record === undefined) return { reason: 'not JSON' }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) return { reason: 'not an object' }
  return { text, record: record as Record<string, unknown> }
}

/** The members of one record: the JSON text of each field that is known, and what has no column. */
interface Collected {
  flat: Map<string, string>
  nested: Map<string, string>
  extra: Extra
}

interface Extra {
  values: Map<string, string>
  /** How often a name was taken already. */
  repeats: Map<string, number>
}

function collect(text: string, table: Table, prefixes: ReadonlySet<string>): Collected {
  const found: Collected = { flat: new Map(), nested: new Map(), extra: { values: new Map(), repeats: new Map() } }
  visit(text, '')
  return found

  function visit(object: string, prefix: string): void {
    for (const [key, value] of lastOfEach(membersOf(object), prefix, found.extra)) {
      const name = prefix + key
      if (table.byRaw.has(name) && !(value.startsWith('{') && prefixes.has(name))) {
        const level = prefix === '' ? found.flat : found.nested
        const earlier = level.get(name)
        if (earlier !== undefined) putExtra(found.extra, name, earlier)
        level.set(name, value)
      } else if (value.startsWith('{') && prefixes.has(name)) visit(value, `${name}.`)
      else putExtra(found.extra, name, value)
    }
  }
}

function emit(table: Table, { flat, nested, extra }: Collected, seen: Set<TableField>): Rewritten {
  const parts: string[] = []
  const result = { values: 0, hasIsoTimes: false, hasIpv6: false, hour: NO_HOUR }
  for (const name of new Set([...flat.keys(), ...nested.keys()])) {
    const field = table.byRaw.get(name) as TableField
    const text = choose(name, flat, nested, extra)
    if (text === undefined || text === 'null') continue
    const value: unknown = JSON.parse(text)
    if (!fits(field.type, value, text)) {
      putExtra(extra, name, text)
      continue
    }
    parts.push(`${JSON.stringify(name)}:${fittedText(field.type, value, text)}`)
    seen.add(field)
    if (isCounted(table, field)) result.values += countOf(value)
    if (field.type === 'time' && typeof value === 'string') result.hasIsoTimes = true
    if (field.type === 'addr' && (value as string).includes(':')) result.hasIpv6 = true
    if (field === table.time) result.hour = hourOf((toMicros(value) as number) / 1e6)
  }
  if (extra.values.size > 0) parts.push(`"${EXTRA_FIELD}":${JSON.stringify(extraText(extra))}`)
  return { ...result, hasExtra: extra.values.size > 0, line: Buffer.from(`{${parts.join(',')}}\n`) }
}

/** Of a flat and a nested value of one name the flat one is the field's. */
function choose(
  name: string,
  flat: Map<string, string>,
  nested: Map<string, string>,
  extra: Extra,
): string | undefined {
  const first = flat.get(name)
  const second = nested.get(name)
  if (first === undefined || first === 'null') return second
  if (second !== undefined && second !== 'null') putExtra(extra, name, second)
  return first
}

function countOf(value: unknown): number {
  return Array.isArray(value) ? value.filter((each) => each !== null).length : 1
}

/** A name that is taken already gets a number: `name#1`, `name#2`, …; each value is kept. */
function putExtra({ values, repeats }: Extra, name: string, text: string): void {
  let free = name
  let n = repeats.get(name) ?? 0
  while (values.has(free)) free = `${name}#${++n}`
  if (n > 0) repeats.set(name, n)
  values.set(free, text)
}

/** As in `JSON.parse`, of several members of one name the last counts; the others are kept in `extra`. */
function lastOfEach(members: [string, string][], prefix: string, extra: Extra): Map<string, string> {
  const last = new Map<string, string>()
  for (const [key, value] of members) {
    const earlier = last.get(key)
    if (earlier !== undefined) putExtra(extra, prefix + key, earlier)
    last.set(key, value)
  }
  return last
}

function extraText(extra: Extra): string {
  const members = [...extra.values].map(
    ([name, text]) => `${JSON.stringify(name.toWellFormed())}:${isReadable(text) ? text : JSON.stringify(text)}`,
  )
  return `{${members.join(',')}}`
}

const MAX_DEPTH = 64

/**
 * Whether any JSON reader takes the text. Numbers beyond a double, halves of surrogate pairs and deep nesting are
 * JSON, but not for every reader: such a value is kept as a string of its source text.
 */
function isReadable(text: string): boolean {
  return isPlain(JSON.parse(text), 0)
}

function isPlain(value: unknown, depth: number): boolean {
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value === 'string') return value.isWellFormed()
  if (typeof value !== 'object' || value === null) return true
  if (depth >= MAX_DEPTH) return false
  return Array.isArray(value)
    ? value.every((each) => isPlain(each, depth + 1))
    : Object.entries(value).every(([key, each]) => key.isWellFormed() && isPlain(each, depth + 1))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Name and JSON text of each member, in order, of an object's text that is known to be valid JSON. */
function membersOf(object: string): [string, string][] {
  const members: [string, string][] = []
  let at = skipSpace(object, 1)
  while (object.charCodeAt(at) === QUOTE) {
    const keyEnd = stringEnd(object, at)
    const key = JSON.parse(object.slice(at, keyEnd)) as string
    const start = skipSpace(object, skipSpace(object, keyEnd) + 1)
    const end = valueEnd(object, start)
    members.push([key, object.slice(start, end)])
    at = skipSpace(object, end)
    if (object.charCodeAt(at) === COMMA) at = skipSpace(object, at + 1)
  }
  return members
}

function skipSpace(text: string, at: number): number {
  let i = at
  while (isSpace(text.charCodeAt(i))) i++
  return i
}

function isSpace(code: number): boolean {
  return code === 32 || code === 9 || code === 13 || code === 10
}

function stringEnd(text: string, quote: number): number {
  let at = quote + 1
  for (let code = text.charCodeAt(at); code !== QUOTE; code = text.charCodeAt(at)) at += code === BACKSLASH ? 2 : 1
  return at + 1
}

function valueEnd(text: string, start: number): number {
  let depth = 0
  for (let at = start; ; ) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) at = stringEnd(text, at)
    else {
      // Brackets and braces, open or closed, differ in one bit.
      if ((code | 32) === OPEN_BRACE) depth++
      else if ((code | 32) === CLOSE_BRACE) depth--
      else if (depth === 0) return literalEnd(text, at)
      at++
    }
    if (depth === 0) return at
  }
}

function literalEnd(text: string, start: number): number {
  let at = start
  for (
    let code = text.charCodeAt(at);
    code !== COMMA && (code | 32) !== CLOSE_BRACE && !isSpace(code) && !Number.isNaN(code);
  )
    code = text.charCodeAt(++at)
  return at
}

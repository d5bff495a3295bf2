/**
 * One log line of one event: `TIMESTAMP | LEVEL | COMPONENT | MESSAGE | CONTEXT`, or the same as JSON.
 *
 * Names and messages may come from hostile captures. Whatever they hold, an event is one line, ` | ` separates
 * its five parts and nothing else, and in CONTEXT every `name=` is a name of ours: what could be taken for
 * either, and what a terminal would obey, is written as `\u` and four hex digits, as JSON has it.
 */

import type { LogValues } from '../../stages/ports.ts'

export interface LogEvent {
  time: Date
  level: string
  message: string
  /** `component` names the part of the program; the others are the line's context. */
  values: LogValues
}

const LONGEST_MESSAGE = 4000
const LONGEST_VALUE = 2000
const DEFAULT_COMPONENT = 'pipeline'
const NO_CONTEXT = '-'

/** Control, format (bidirectional and zero-width), private and unassigned characters, lone surrogates, odd spaces. */
const UNSAFE = /\p{C}|(?! )\p{Z}/gu
/** Also what separates parts and fields. */
const UNSAFE_IN_MESSAGE = /\p{C}|(?! )\p{Z}|\|/gu
const UNSAFE_IN_QUOTES = /\p{C}|(?! )\p{Z}|[|=]/gu
const NEEDS_QUOTES = /[\s"'`\\|=]|\p{C}|\p{Z}|^$/u

export function textLine({ time, level, message, values }: LogEvent): string {
  const { component = DEFAULT_COMPONENT, ...context } = values
  const parts = [
    `${time.toISOString().slice(0, 19)}Z`,
    level.toUpperCase(),
    plain(String(component)),
    plain(message),
    Object.entries(context).flatMap(field).join(' ') || NO_CONTEXT,
  ]
  return parts.join(' | ')
}

/** As `textLine`, for a console that has its own time and level for each record. */
export function bareLine({ message, values }: LogEvent): string {
  const { component = DEFAULT_COMPONENT, ...context } = values
  const fields = Object.entries(context).flatMap(field).join(' ')
  return [plain(String(component)), plain(message), ...(fields === '' ? [] : [fields])].join(' | ')
}

/** Every value by its name as lines show it, bounded, `component` first; as text that is not quoted. */
export function shownValues({ component = DEFAULT_COMPONENT, ...context }: LogValues): [string, string][] {
  return Object.entries({ component, ...context })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [fieldName(name), shorten(String(value), LONGEST_VALUE)])
}

export function jsonLine({ time, level, message, values }: LogEvent): string {
  const { component = DEFAULT_COMPONENT, ...context } = values
  const named = Object.entries(context).filter(([, value]) => value !== undefined)
  const event = {
    timestamp: time.toISOString(),
    level,
    component,
    message: shorten(message, LONGEST_MESSAGE),
    context: Object.fromEntries(named.map(([name, value]) => [fieldName(name), jsonValue(value)])),
  }
  return JSON.stringify(event).replace(UNSAFE, hexEscapes)
}

function plain(text: string): string {
  return shorten(text, LONGEST_MESSAGE).replace(UNSAFE_IN_MESSAGE, hexEscapes)
}

function field([name, value]: [string, LogValues[string]]): string[] {
  if (value === undefined) return []
  const text = shorten(String(value), LONGEST_VALUE)
  const shown = NEEDS_QUOTES.test(text) ? JSON.stringify(text).replace(UNSAFE_IN_QUOTES, hexEscapes) : text
  return [`${fieldName(name)}=${shown}`]
}

/** camelCase becomes snake_case; whatever else a name holds becomes `_`. */
function fieldName(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .replace(/[^a-z0-9_.]+/g, '_')
}

/** JSON has no way to write NaN and the infinities. */
function jsonValue(value: LogValues[string]): LogValues[string] {
  if (typeof value === 'string') return shorten(value, LONGEST_VALUE)
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value
}

function shorten(text: string, longest: number): string {
  return text.length <= longest ? text : `${text.slice(0, longest)}… (${text.length - longest} characters more)`
}

/** Per UTF-16 unit, so that characters beyond the first plane come out as the pair that JSON reads back. */
function hexEscapes(characters: string): string {
  return Array.from(
    { length: characters.length },
    (_, i) => `\\u${characters.charCodeAt(i).toString(16).padStart(4, '0')}`,
  ).join('')
}

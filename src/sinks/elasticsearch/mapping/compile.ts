/**
 * A log type's mapping as functions: one for each Zeek field, which puts its value where the table says.
 *
 * A value that does not fit its target's kind is not sent there, since the server would refuse the whole document:
 * it goes to `zeek.extra`, as do fields that nobody knows, and the document is tagged.
 */

import { PipelineError } from '../../../../state/errors.ts'
import type { AddressBook } from '../addresses.ts'
import { isoTime, type Raw, rules, type Value } from './rules.ts'
import { EXTRA, type Kind, kindOfTarget, type LogPlan, relatedTo, type Step } from './table.ts'

export type Json = Record<string, Value>
type Put = (doc: Json, value: Value) => void
type Move = (doc: Json, value: Value, record: Raw) => void

/** Puts all fields of a record but the common ones. */
export type Fill = (doc: Json, record: Raw) => void

export const INVALID_TAG = 'invalid_field'

const MAX_KEY = 256
const MAX_DEPTH = 8

export function compileFill(plan: LogPlan, book: AddressBook, handled: ReadonlySet<string>): Fill {
  const moves = new Map<string, Move[]>()
  for (const [field, steps] of plan.steps)
    moves.set(
      field,
      steps.map((step) => compileStep(step, field, plan, book)),
    )
  const derive = plan.derive.map((step) => compileStep(step, step.target, plan, book))
  const isUnknownLog = !plan.isKnown

  function fill(doc: Json, record: Raw): void {
    for (const field in record) {
      const value = record[field]
      if (value === null || value === undefined) continue
      const known = moves.get(field)
      if (known !== undefined) for (const move of known) move(doc, value, record)
      else if (!handled.has(field)) putExtra(doc, field, value, isUnknownLog ? plan.stream : undefined)
    }
    for (const move of derive) move(doc, undefined, record)
  }

  return fill
}

/** Under Zeek's dotted names, as flat records have them. */
export function flatten(record: Raw): Raw {
  for (const field in record) if (isNested(record[field])) return flattenInto(Object.create(null), record, '', 0)
  return record
}

function flattenInto(flat: Json, part: Raw, prefix: string, depth: number): Json {
  for (const key in part) {
    const value = part[key]
    const field = prefix + key
    if (isNested(value) && depth < MAX_DEPTH) flattenInto(flat, value, `${field}.`, depth + 1)
    else flat[field] = value
  }
  return flat
}

function isNested(value: Value): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What no field is declared for: scalars and lists of them as they are, deeper things as JSON text. */
function putExtra(doc: Json, field: string, value: Value, stream: string | undefined): void {
  const home = objectIn(objectIn(doc, 'zeek'), stream ?? EXTRA.slice('zeek.'.length))
  home[field === '__proto__' ? '__proto' : field.slice(0, MAX_KEY)] = shallow(value)
}

function shallow(value: Value): Value {
  if (Array.isArray(value)) return value.map((each) => (isScalar(each) ? each : JSON.stringify(each)))
  return isScalar(value) ? value : JSON.stringify(value)
}

function isScalar(value: Value): boolean {
  return value === null || typeof value !== 'object'
}

function compileStep({ target, rule: name }: Step, field: string, plan: LogPlan, book: AddressBook): Move {
  const rule = name === undefined ? undefined : rules[name]
  if (name !== undefined && rule === undefined)
    throw new PipelineError(
      'rules_invalid',
      `the mapping of ${plan.logType} names the rule "${name}", which is not there`,
    )
  const kind = kindOfTarget(plan, target)
  const put = putter(target)
  if (rule !== undefined) {
    // Rules answer times as they are to be sent.
    const fits = kind === undefined || kind === 'name' || kind === 'date' ? undefined : fitter(kind, book)
    return (doc, value, record) => {
      const made = rule(value, record)
      if (made === undefined) return
      if (fits === undefined || isNestedList(made)) return put(doc, made)
      const fitted = fits(made)
      if (fitted !== undefined) put(doc, fitted)
    }
  }
  if (kind === undefined)
    throw new PipelineError(
      'rules_invalid',
      `the mapping of ${plan.logType} names the field "${target}", which has no type`,
    )
  const fits = fitter(kind, book)
  return (doc, value) => {
    const fitted = fits(value)
    if (fitted !== undefined) put(doc, fitted)
    else if (!isEmptyList(value)) {
      putExtra(doc, field, value, undefined)
      addTo(doc, 'tags', INVALID_TAG)
    }
  }
}

function isEmptyList(value: Value): boolean {
  return Array.isArray(value) && value.length === 0
}

function isNestedList(value: Value): boolean {
  return Array.isArray(value) && typeof value[0] === 'object'
}

type Fit = (value: Value) => Value | undefined

/** The value as the kind takes it, or undefined. A list fits when all of it does; an empty one is nothing. */
function fitter(kind: Kind, book: AddressBook): Fit {
  const one = oneFitter(kind, book)
  return (value) => {
    if (!Array.isArray(value)) return one(value)
    if (value.length === 0) return undefined
    const list: Value[] = []
    for (const each of value) {
      if (each === null) continue
      const fitted = one(each)
      if (fitted === undefined) return undefined
      list.push(fitted)
    }
    return list.length > 0 ? list : undefined
  }
}

function oneFitter(kind: Kind, book: AddressBook): Fit {
  switch (kind) {
    case 'date':
      return (value) => isoTime(value)
    case 'ip':
      return (value) => (typeof value === 'string' && book.find(value) !== undefined ? value : undefined)
    case 'long':
      return (value) => (typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined)
    case 'double':
      return (value) => (typeof value === 'number' ? value : undefined)
    case 'boolean':
      return (value) => (typeof value === 'boolean' ? value : undefined)
    default:
      return (value) => {
        if (typeof value === 'string') return value === '' ? undefined : value
        return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
      }
  }
}

/** Lists grow, objects are merged, all else is set; what is related to a target goes to its list as well. */
export function putter(target: string): Put {
  const path = target.split('.')
  const last = path.pop() as string
  const parent = parentGetter(path)
  const related = relatedTo.get(target)
  const list = related?.slice('related.'.length)
  const grows = target === 'tags' || target.startsWith('related.')
  return (doc, value) => {
    const home = parent(doc)
    if (grows) addTo(home, last, value)
    else if (typeof value === 'object' && !Array.isArray(value)) mergeInto(objectIn(home, last), value)
    else home[last] = value
    if (list !== undefined) addTo(objectIn(doc, 'related'), list, value)
  }
}

function parentGetter(path: readonly string[]): (doc: Json) => Json {
  const [a, b, c] = path
  if (a === undefined) return (doc) => doc
  if (b === undefined) return (doc) => objectIn(doc, a)
  if (c === undefined) return (doc) => objectIn(objectIn(doc, a), b)
  return (doc) => path.reduce(objectIn, doc)
}

function objectIn(home: Json, key: string): Json {
  home[key] ??= {}
  return home[key]
}

function mergeInto(home: Json, values: Json): void {
  for (const key in values) if (values[key] !== undefined) home[key] = values[key]
}

/** Without repeating itself; lists are short. */
export function addTo(home: Json, key: string, value: Value): void {
  home[key] ??= []
  const list: Value[] = home[key]
  if (!Array.isArray(value)) {
    if (!list.includes(value)) list.push(value)
  } else for (const each of value) if (!list.includes(each) && list.length < 1000) list.push(each)
}

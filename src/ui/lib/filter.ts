/**
 * A filter in the address bar, as the search, the dashboard and links between them write it:
 * `type=conn&type=dns&from=…&to=…&q=words&where=src_ip = 10.0.0.1&where=query exists`.
 */

import type { Condition, Operator } from '../../api/contract.ts'
import { type Changes, hrefWith } from './router.tsx'

export interface Filter {
  types: string[]
  from?: string
  to?: string
  text?: string
  conditions: Condition[]
}

export const OPERATORS: Record<Operator, string> = {
  '=': 'is',
  '!=': 'is not',
  contains: 'contains',
  starts: 'starts with',
  in: 'is one of',
  cidr: 'is in network',
  '>': '>',
  '>=': '≥',
  '<': '<',
  '<=': '≤',
  exists: 'has a value',
  missing: 'has no value',
}

export function takesValue(op: Operator): boolean {
  return op !== 'exists' && op !== 'missing'
}

export function readFilter(params: URLSearchParams): Filter {
  const from = params.get('from')
  const to = params.get('to')
  const text = params.get('q')
  return {
    types: params.getAll('type'),
    conditions: params.getAll('where').flatMap((line) => readCondition(line) ?? []),
    ...(from && { from }),
    ...(to && { to }),
    ...(text && { text }),
  }
}

export function filterParams({ types, from, to, text, conditions }: Filter): Changes {
  return { type: types, from, to, q: text, where: conditions.map(writeCondition) }
}

/** The search that explains a figure. */
export function searchHref(filter: Partial<Filter>, more: Changes = {}): string {
  return hrefWith('/search', { ...filterParams({ types: [], conditions: [], ...filter }), ...more })
}

export function narrow(filter: Filter, change: { types?: string[]; where?: Condition[] }): Filter {
  const where = change.where ?? []
  const kept = filter.conditions.filter((old) => !where.some((each) => isSame(old, each)))
  return { ...filter, types: change.types ?? filter.types, conditions: [...kept, ...where] }
}

export function isSame(a: Condition, b: Condition): boolean {
  return writeCondition(a) === writeCondition(b)
}

export function equals(column: string, value: unknown): Condition {
  if (value === null || value === undefined) return { column, op: 'missing' }
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return { column, op: '=', value }
  return { column, op: 'contains', value: Array.isArray(value) ? String(value[0]) : JSON.stringify(value) }
}

export function writeCondition({ column, op, value }: Condition): string {
  if (!takesValue(op)) return `${column} ${op}`
  return `${column} ${op} ${Array.isArray(value) ? JSON.stringify(value) : String(value ?? '')}`
}

export function readCondition(line: string): Condition | undefined {
  const match = /^(\S+) (\S+)(?: (.*))?$/s.exec(line)
  if (!match) return undefined
  const [, column = '', op = '', value = ''] = match
  if (!isOperator(op)) return undefined
  if (!takesValue(op)) return { column, op }
  return { column, op, value: op === 'in' ? readList(value) : value }
}

export function isOperator(op: string): op is Operator {
  return Object.hasOwn(OPERATORS, op)
}

/** JSON, or values between commas. */
export function readList(text: string): string[] {
  try {
    const list: unknown = JSON.parse(text)
    if (Array.isArray(list)) return list.map(String)
  } catch {
    // typed by a person
  }
  return text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '')
}

export function describeCondition({ column, op, value }: Condition): string {
  if (!takesValue(op)) return `${column} ${OPERATORS[op]}`
  return `${column} ${OPERATORS[op]} ${Array.isArray(value) ? value.join(', ') : String(value ?? '')}`
}

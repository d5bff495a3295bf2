/** A search as the query that a person would write; words are looked for by the search alone and left as a comment. */

import type { Condition } from '../../api/contract.ts'
import { type Filter, readList } from './filter.ts'

const LIMIT = 1000

export function sqlOf(
  { types, from, to, text, conditions }: Filter,
  columns: readonly string[],
  order: 'newest' | 'oldest',
): string {
  const [only] = types
  const isMixed = types.length !== 1 || only === undefined
  const where = [
    ...(isMixed && types.length > 0 ? [`log_type IN (${types.map(literal).join(', ')})`] : []),
    ...(from ? [`event_time >= ${timestamp(from)}`] : []),
    ...(to ? [`event_time < ${timestamp(to)}`] : []),
    ...conditions.map(conditionSql),
  ]
  const chosen = [
    'event_time',
    ...(isMixed ? ['log_type'] : []),
    ...columns.filter((name) => name !== 'event_time' && name !== 'log_type'),
  ]
  return [
    ...(text ? [`-- the search also looked for these words: ${text.replace(/\s+/g, ' ')}`] : []),
    `SELECT ${chosen.map(identifier).join(', ')}`,
    `FROM ${isMixed ? 'events' : identifier(only)}`,
    ...(where.length > 0 ? [`WHERE ${where.join('\n  AND ')}`] : []),
    `ORDER BY event_time${order === 'newest' ? ' DESC' : ''}`,
    `LIMIT ${LIMIT}`,
  ].join('\n')
}

function conditionSql({ column, op, value }: Condition): string {
  const name = identifier(column)
  switch (op) {
    case 'exists':
      return `${name} IS NOT NULL`
    case 'missing':
      return `${name} IS NULL`
    case '!=':
      return `${name} IS DISTINCT FROM ${literal(value)}`
    case 'contains':
      return `contains(lower(${name}::VARCHAR), ${literal(String(value).toLowerCase())})`
    case 'starts':
      return `starts_with(lower(${name}::VARCHAR), ${literal(String(value).toLowerCase())})`
    case 'in':
      return `${name} IN (${(Array.isArray(value) ? value : readList(String(value))).map(literal).join(', ')})`
    case 'cidr':
      return `${name} IS NOT NULL /* in ${String(value).replace(/\*\//g, '')}: the search alone compares networks */`
    default:
      return `${name} ${op} ${literal(value)}`
  }
}

function literal(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return `'${String(value ?? '').replace(/'/g, "''")}'`
}

function timestamp(iso: string): string {
  return `TIMESTAMP '${iso.replace('T', ' ').replace(/Z$/, '')}'`
}

function identifier(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) && !RESERVED.has(name) ? name : `"${name.replace(/"/g, '""')}"`
}

const RESERVED = new Set([
  'from',
  'to',
  'order',
  'group',
  'user',
  'table',
  'end',
  'desc',
  'asc',
  'all',
  'and',
  'or',
  'not',
  'in',
  'is',
])

/**
 * A filter as the condition of one log type's rows.
 *
 * In: a filter that the contract has checked, and the columns of the type. Out: SQL, made of column names that the
 * type has and of literals alone. A column that a type lacks is NULL in all of its rows.
 */

import { isIP } from 'node:net'
import { PipelineError } from '../../state/errors.ts'
import type { Condition, EventFilter } from '../api/contract.ts'
import { identifier, literal as plainLiteral } from '../query/sql.ts'
import { inNetwork, networkOf } from './address-sql.ts'
import type { SearchColumn } from './columns.ts'

export function whereSql(filter: EventFilter, columns: readonly SearchColumn[], isUnsorted = false): string {
  const parts = whereParts(filter, columns, isUnsorted)
  return parts.length === 0 ? 'true' : parts.map((part) => `(${part})`).join(' AND ')
}

/** All of these must hold. */
export function whereParts(filter: EventFilter, columns: readonly SearchColumn[], isUnsorted = false): string[] {
  const byName = new Map(columns.map((column) => [column.name.toLowerCase(), column]))
  return [
    ...timeSql(filter, isUnsorted),
    ...filter.conditions
      .filter(({ column }) => column !== 'log_type' || byName.has('log_type'))
      .map((condition) => conditionSql(condition, byName.get(condition.column.toLowerCase()))),
    ...termsOf(filter.text ?? '').map((term) => termSql(term, columns)),
  ]
}

function timeSql({ from, to }: EventFilter, isUnsorted: boolean): string[] {
  const parts = []
  if (from !== undefined) parts.push(`event_time >= ${timestamp(from)}`)
  if (to !== undefined) parts.push(`event_time < ${timestamp(to)}`)
  // Rows without a time are in no range.
  return isUnsorted && parts.length > 0 ? ['event_time IS NOT NULL', ...parts] : parts
}

export function timestamp(iso: string): string {
  return `TIMESTAMP ${literal(utcText(iso))}`
}

/** With microseconds, which `Date` does not have. */
function utcText(iso: string): string {
  const fraction = /\.(\d+)/.exec(iso)?.[1]?.slice(0, 6) ?? ''
  const whole = new Date(iso.replace(/\.\d+/, '')).toISOString().slice(0, 19).replace('T', ' ')
  return fraction === '' ? whole : `${whole}.${fraction}`
}

const COMPARISONS = new Set(['=', '!=', '<', '<=', '>', '>='])

function conditionSql({ column, op, value }: Condition, found: SearchColumn | undefined): string {
  if (found === undefined) return op === 'missing' ? 'true' : 'false'
  const name = identifier(found.name)
  if (op === 'exists') return `${name} IS NOT NULL`
  if (op === 'missing') return `${name} IS NULL`
  if (value === undefined) throw invalid(`the condition ${column} ${op} needs a value`)
  if (op === 'in') {
    const values = Array.isArray(value) ? value : [value]
    return values.length === 0 ? 'false' : anyOf(values.map((each) => scalarSql(found, '=', each)))
  }
  if (Array.isArray(value)) throw invalid(`the condition ${column} ${op} takes one value`)
  if (op === '!=') return `NOT coalesce(${scalarSql(found, '=', value)}, false)`
  return scalarSql(found, op, value)
}

function scalarSql({ name, type }: SearchColumn, op: string, value: string | number | boolean): string {
  if (!type.endsWith('[]')) return comparison(identifier(name), type, op, value)
  if (op === '=') return `list_contains(${identifier(name)}, ${valueSql(type.slice(0, -2), value)})`
  const element = comparison('x', type.slice(0, -2), op, value)
  return `len(list_filter(${identifier(name)}, lambda x: ${element})) > 0`
}

function comparison(operand: string, type: string, op: string, value: string | number | boolean): string {
  if (COMPARISONS.has(op)) return `${operand} ${op} ${valueSql(type, value)}`
  const text = String(value)
  if (op === 'cidr') {
    if (type !== 'VARCHAR') throw invalid('only addresses can be compared with a network')
    return inNetwork(operand, networkOf(text))
  }
  const subject = type === 'VARCHAR' ? operand : `${operand}::VARCHAR`
  const call = op === 'starts' ? 'starts_with' : 'contains'
  return `${call}(lower(${subject}), ${literal(text.toLowerCase())})`
}

const INTEGER = /^(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|U\w+INT\w*)$/

function valueSql(type: string, value: string | number | boolean): string {
  if (type === 'VARCHAR') return literal(String(value))
  if (type === 'BOOLEAN') {
    if (/^(true|false)$/i.test(String(value))) return String(value).toLowerCase()
    throw invalid(`${JSON.stringify(value)} is neither true nor false`)
  }
  if (type.startsWith('TIMESTAMP')) {
    if (Number.isNaN(Date.parse(String(value))))
      throw invalid(`${JSON.stringify(value)} is no time (2026-01-31T12:00:00Z)`)
    return timestamp(String(value))
  }
  const text = String(value).trim()
  const isNumber = INTEGER.test(type)
    ? /^[+-]?\d{1,18}$/.test(text)
    : /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?$/i.test(text)
  if (!isNumber || text.length > 40) throw invalid(`${JSON.stringify(value)} is no number`)
  return text
}

/** Words, and what stands between quotation marks as one. */
export function termsOf(text: string): string[] {
  const found = [...text.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, word]) => quoted ?? word ?? '')
  return found.filter((term) => term !== '').slice(0, 20)
}

/** Ids are looked for as a whole: no part of them means anything. */
const WHOLE_ALONE = /^(event_id|capture_id|community_id|extra)$/

function termSql(term: string, columns: readonly SearchColumn[]): string {
  if (isIP(term) > 0 || isNetwork(term)) return addressSql(term, columns)
  const lower = literal(term.toLowerCase())
  const isNumber = /^\d{1,18}$/.test(term)
  return anyOf(
    columns.flatMap(({ name, type, layer, isAddress }) => {
      const column = identifier(name)
      if (layer === 'partition') return []
      if (isNumber && INTEGER.test(type) && layer !== 'enriched') return [`${column} = ${term}`]
      if (type === 'VARCHAR[]') return [`contains(lower(array_to_string(${column}, ' ')), ${lower})`]
      if (type !== 'VARCHAR') return []
      if (name === 'extra') return [`contains(lower(${column}), ${lower})`]
      if (WHOLE_ALONE.test(name) || name === 'flow_id') return [`${column} = ${literal(term)}`]
      if (isAddress && !/^[\d.:a-f]+$/i.test(term)) return []
      return [`contains(lower(${column}), ${lower})`]
    }),
  )
}

function isNetwork(term: string): boolean {
  const [address = '', bits = ''] = term.split('/')
  return isIP(address) > 0 && /^\d{1,3}$/.test(bits)
}

/** Addresses are in columns of their own, and in lists (the answers of dns). */
function addressSql(term: string, columns: readonly SearchColumn[]): string {
  const network = networkOf(term)
  return anyOf(
    columns.flatMap(({ name, type, isAddress }) => {
      const column = identifier(name)
      if (type === 'VARCHAR' && isAddress) return [inNetwork(column, network)]
      if (type !== 'VARCHAR[]') return []
      if (network.first === network.last) return [`list_contains(${column}, ${literal(term.toLowerCase())})`]
      return isAddress ? [`len(list_filter(${column}, lambda x: ${inNetwork('x', network)})) > 0`] : []
    }),
  )
}

function anyOf(parts: readonly string[]): string {
  return parts.length === 0 ? 'false' : parts.map((part) => `(${part})`).join(' OR ')
}

function invalid(message: string): PipelineError {
  return new PipelineError('usage', message)
}

/** A statement ends at a NUL, which a text may hold. */
function literal(text: string): string {
  if (!text.includes('\0')) return plainLiteral(text)
  return `(${text.split('\0').map(plainLiteral).join(' || chr(0) || ')})`
}

/**
 * A search as a query that anybody may run, change and keep: the same condition, word for word, that the search uses.
 *
 * In: a filter, the types that it is about and their columns. Out: one statement. Several types are asked through
 * `events` where that has all that is asked for, else each by itself.
 */

import type { SearchRequest } from '../api/contract.ts'
import { identifier, literal } from '../query/sql.ts'
import { COMMON_COLUMNS } from '../query/views.ts'
import type { SearchColumn } from './columns.ts'
import { whereParts } from './filter-sql.ts'

export interface TypeOfSearch {
  type: string
  columns: readonly SearchColumn[]
}

const LIMIT = 1000
const COMMON: ReadonlySet<string> = new Set(COMMON_COLUMNS.map(({ name }) => name))

export function asSql(request: SearchRequest, types: readonly TypeOfSearch[], events: readonly SearchColumn[]): string {
  const { order, text, conditions, columns = [] } = request
  const [only] = types
  const isMixed = types.length !== 1 || only === undefined
  const wanted = [
    'event_time',
    ...(isMixed ? ['log_type'] : []),
    ...columns.filter((name) => name !== 'event_time' && name !== 'log_type'),
  ]
  const isCommon = (name: string) => COMMON.has(name)
  const isInEvents =
    (text ?? '').trim() === '' && wanted.every(isCommon) && conditions.every(({ column }) => isCommon(column))
  const selects = !isMixed
    ? [select(only, wanted)]
    : isInEvents || types.length === 0
      ? [select({ type: 'events', columns: events }, wanted, request.types)]
      : types.filter(isPossible).map((each) => select(each, wanted))
  return [
    selects.join('\nUNION ALL BY NAME\n'),
    `ORDER BY event_time${order === 'newest' ? ' DESC' : ''}`,
    `LIMIT ${LIMIT}`,
  ].join('\n')

  /** A type without a column that is asked for has no such events. */
  function isPossible({ columns: own }: TypeOfSearch): boolean {
    const has = new Set(own.map(({ name }) => name.toLowerCase()))
    return conditions.every(
      ({ column, op }) => op === 'missing' || column === 'log_type' || has.has(column.toLowerCase()),
    )
  }

  function select(
    { type, columns: own }: TypeOfSearch,
    names: readonly string[],
    among: readonly string[] = [],
  ): string {
    const has = new Set(own.map(({ name }) => name))
    const shown = names.map((name) => {
      if (has.has(name)) return identifier(name)
      return name === 'log_type' ? `${literal(type)} AS log_type` : `NULL AS ${identifier(name)}`
    })
    const where = [
      ...(among.length > 0 ? [`log_type IN (${among.map(literal).join(', ')})`] : []),
      ...whereParts(request, own),
    ]
    return [
      `SELECT ${shown.join(', ')}`,
      `FROM ${identifier(type)}`,
      ...(where.length > 0 ? [`WHERE ${where.map((part) => `(${part})`).join('\n  AND ')}`] : []),
    ].join('\n')
  }
}

/** Log types and their columns, as the server has them now. */

import { useMemo } from 'react'
import type { SqlSchema, Table } from '../../api/contract.ts'
import { ask } from './api.ts'
import { type Asked, useAsk } from './use-ask.ts'

export interface KnownColumn {
  name: string
  type: string
}

const NOT_LOGS = new Set(['events', 'employees', 'computers', 'watched_traffic'])

export function useSchema(): Asked<SqlSchema> {
  return useAsk('schema', (signal) => ask('GET /api/sql/schema', { signal }))
}

/** Of log types that have rows, most rows first. */
export function useTables(): Asked<{ tables: Table[] }> {
  return useAsk('tables', async (signal) => {
    const { tables } = await ask('GET /api/tables', { signal })
    return { tables: tables.filter(({ rows }) => rows > 0).sort((a, b) => b.rows - a.rows) }
  })
}

/** The columns of these log types, of all when none is named; each once. */
export function useColumns(types: readonly string[]): KnownColumn[] {
  const { answer } = useSchema()
  const wanted = types.join(' ')
  return useMemo(() => {
    const chosen = new Set(wanted.split(' ').filter((type) => type !== ''))
    const found = new Map<string, KnownColumn>()
    for (const { name, columns } of answer?.tables ?? []) {
      if (chosen.size > 0 ? !chosen.has(name) : NOT_LOGS.has(name)) continue
      for (const column of columns) if (!PARTITION.test(column.name)) found.set(column.name, column)
    }
    return [...found.values()]
  }, [answer, wanted])
}

const PARTITION = /^(year|month|day|hour)$/

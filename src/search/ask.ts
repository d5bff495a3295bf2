/** A statement of ours in, its rows as JSON values out. */

import type { DuckDBConnection } from '@duckdb/node-api'
import { codecOf } from '../query/values.ts'

export interface AnswerColumn {
  name: string
  type: string
}

export interface Rows {
  columns: AnswerColumn[]
  rows: unknown[][]
}

export async function ask(connection: DuckDBConnection, sql: string): Promise<Rows> {
  const result = await connection.stream(sql)
  const columns = result.columnNames().map((name, i) => ({ name, type: String(result.columnType(i)) }))
  const codecs = columns.map((_, i) => codecOf(result.columnType(i)))
  const rows: unknown[][] = []
  for (let chunk = await result.fetchChunk(); chunk && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
    const values = chunk.getColumns()
    for (let row = 0; row < chunk.rowCount; row++) {
      rows.push(codecs.map((codec, i) => JSON.parse(codec.json(values[i]?.[row] ?? null))))
    }
  }
  return { columns, rows }
}

/**
 * What a statement says that it wrote, held against what went in.
 *
 * DuckDB's `RETURN_STATS` gives each file's row count and, from the file's own footer, how many values and nulls each
 * column holds. The sum over the columns that come from raw fields must be the number of values that the scan
 * counted in the lines: a value that had been dropped, or made up, would show.
 */

import { PARTITION_KEYS, type Table } from '../../../stages/upload/rules/table.ts'
import { PipelineError } from '../../../state/errors.ts'
import { isCounted } from './scan.ts'

export interface WrittenFile {
  /** Where the statement wrote it. */
  path: string
  /** `year=2026/month=01/day=01/hour=00`, in UTC. */
  partition: string
  rows: number
  bytes: number
  /** Column → values that are not null; of a list column its elements. */
  values: ReadonlyMap<string, number>
}

/** A row of `COPY … (RETURN_STATS)` as JSON: maps are lists of `{key, value}`. */
export interface StatsRow {
  filename: string
  count: string
  file_size_bytes: string
  column_statistics: { key: string; value: { key: string; value: string }[] }[]
  partition_keys: { key: string; value: string }[] | null
}

/** `hour` is that of all rows, where the statement did not partition. */
export function readStats(rows: readonly StatsRow[], hour?: number): WrittenFile[] {
  return rows.map(({ filename, count, file_size_bytes, column_statistics, partition_keys }) => ({
    path: filename,
    partition: partitionOf(hour ?? Number(partition_keys?.[0]?.value)),
    rows: Number(count),
    bytes: Number(file_size_bytes),
    values: new Map(column_statistics.map(({ key, value }) => [columnName(key), notNull(value)])),
  }))
}

function partitionOf(epochHour: number): string {
  const [year, month, day, hour] = new Date(epochHour * 3_600_000).toISOString().split(/[-T:]/)
  const parts = [year, month, day, hour]
  return PARTITION_KEYS.map((key, i) => `${key}=${parts[i]}`).join('/')
}

/** `"a"`, or of a list `"a"."element"`. */
function columnName(key: string): string {
  return key.slice(1, key.indexOf('"', 1))
}

function notNull(statistics: readonly { key: string; value: string }[]): number {
  const figure = (name: string) => Number(statistics.find(({ key }) => key === name)?.value ?? Number.NaN)
  return figure('num_values') - figure('null_count')
}

export interface Expected {
  rows: number
  values: number
  rowsWithExtra: number
}

/** Throws `events_unbalanced`. */
export function checkConserved(table: Table, files: readonly WrittenFile[], expected: Expected): void {
  const sum = (of: (file: WrittenFile) => number) => files.reduce((total, file) => total + of(file), 0)
  const columns = table.fields.filter((field) => isCounted(table, field)).map(({ column }) => column)
  const found: Expected = {
    rows: sum(({ rows }) => rows),
    values: sum(({ values }) => columns.reduce((total, column) => total + (values.get(column) ?? 0), 0)),
    rowsWithExtra: sum(({ values }) => values.get('extra') ?? 0),
  }
  for (const name of ['rows', 'values', 'rowsWithExtra'] as const) {
    if (found[name] === expected[name]) continue
    const message = `${table.logType}: the chunks hold ${expected[name]} ${name}, the Parquet files ${found[name]}; nothing of this batch is committed`
    throw new PipelineError('events_unbalanced', message, { details: { logType: table.logType, ...expected } })
  }
}

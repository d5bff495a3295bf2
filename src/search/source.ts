/**
 * Some files of the dataset as rows with wanted columns.
 *
 * In: files of the catalogue, by type, and a filter. Out: one SELECT over them. The schemas of files are read once;
 * files that cannot be read are left out and named in `warnings`.
 */

import type { DuckDBConnection } from '@duckdb/node-api'
import { tableOf } from '../../stages/upload/rules/table.ts'
import type { Rules } from '../../stages/upload/rules.ts'
import { errnoOf, PipelineError } from '../../state/errors.ts'
import type { EventFilter } from '../api/contract.ts'
import type { Dataset } from '../query/dataset.ts'
import { describe } from '../query/files.ts'
import { schemaOf, type TypeSchema } from '../query/schema.ts'
import { identifier, literal } from '../query/sql.ts'
import { columnsOf, typeSql } from '../query/views.ts'
import { type CatalogueFile, UNSORTED_HOUR } from './catalogue.ts'
import { describeColumns, type SearchColumn } from './columns.ts'
import { whereSql } from './filter-sql.ts'

export interface Source {
  /** Columns of a type over these files; without files, those that are declared. */
  columns(connection: DuckDBConnection, type: string, files: readonly CatalogueFile[]): Promise<SearchColumn[]>
  /** Rows that the filter lets through, of all types of the files, with the wanted columns; NULL where a type has none. */
  select(connection: DuckDBConnection, request: SelectRequest): Promise<string | undefined>
}

export interface SelectRequest {
  files: readonly CatalogueFile[]
  filter: EventFilter
  /** `log_type` is the type. */
  wanted: readonly string[]
  /** Besides the filter. */
  and?: string | undefined
  /** Besides the filter, by the columns that a type has. */
  match?: (columns: readonly SearchColumn[]) => string
  warnings: Set<string>
  /** Columns of several types have one type: what differs is text. */
  types?: ReadonlyMap<string, string>
}

export function createSource(dataset: Dataset, rules: Rules): Source {
  /** Of files that were seen before: the schema holds as long as the size does. */
  const known = new Map<string, { path: string; bytes: number; mtimeMs: number }>()

  async function schema(connection: DuckDBConnection, files: readonly CatalogueFile[]): Promise<TypeSchema> {
    const present = await Promise.all(
      files.map(async ({ path, bytes }) => {
        const old = known.get(path)
        if (old?.bytes === bytes) return old
        const found = await describe(path)
        if (found) known.set(path, found)
        return found
      }),
    )
    const readable = present.filter((file) => file !== undefined)
    const missing = readable.length < files.length
    if (missing)
      throw new PipelineError('query_failed', 'a file of the dataset was removed meanwhile', { retryable: true })
    return await schemaOf(dataset, connection, readable)
  }

  async function columns(
    connection: DuckDBConnection,
    type: string,
    files: readonly CatalogueFile[],
  ): Promise<SearchColumn[]> {
    const found = files.length === 0 ? { columns: [], groups: [], damaged: [] } : await schema(connection, files)
    return describeColumns(tableOf(rules, type), columnsOf(found, dataset.declared.get(type)))
  }

  return {
    columns,
    async select(connection, { files, filter, wanted, and, match, warnings, types }) {
      const parts: string[] = []
      for (const [type, all] of Map.groupBy(files, (file) => file.type)) {
        for (const [isUnsorted, some] of Map.groupBy(all, (file) => file.hour === UNSORTED_HOUR)) {
          const found = await schema(connection, some)
          for (const { file, reason } of found.damaged) warnings.add(`left out: ${file}: ${reason}`)
          if (found.groups.length === 0) continue
          const own = describeColumns(tableOf(rules, type), columnsOf(found, dataset.declared.get(type)))
          const selected = wanted.map((name) => columnSql(type, name, own, types))
          const besides = [and, match?.(own)].flatMap((part) => (part === undefined ? [] : [`(${part})`]))
          const where = [whereSql(filter, own, isUnsorted), ...besides].join(' AND ')
          parts.push(`SELECT ${selected.join(', ')} FROM (${typeSql(found.groups, own)}) WHERE ${where}`)
        }
      }
      return parts.length === 0 ? undefined : parts.join('\nUNION ALL\n')
    },
  }
}

function columnSql(
  type: string,
  name: string,
  own: readonly SearchColumn[],
  types?: ReadonlyMap<string, string>,
): string {
  const as = `AS ${identifier(name)}`
  const found = own.find((column) => column.name.toLowerCase() === name.toLowerCase())
  if (name === 'log_type' && found === undefined) return `${literal(type)} ${as}`
  const wantedType = types?.get(name)
  if (found === undefined) return `CAST(NULL AS ${wantedType ?? 'VARCHAR'}) ${as}`
  if (wantedType === undefined || wantedType === found.type) return `${identifier(found.name)} ${as}`
  return `CAST(${identifier(found.name)} AS ${wantedType}) ${as}`
}

/** Whether a failure tells that a file is not there any more. */
export function isStale(error: unknown): boolean {
  if (error instanceof PipelineError && error.retryable) return true
  return errnoOf(error) === 'ENOENT' || /No files found that match|No such file or directory/.test(String(error))
}

/**
 * The columns of a log type over all its files.
 *
 * In: the files of one type. Out: groups of files with equal schemas, the columns that hold all groups, and the
 * files that cannot be read, with reasons. Only files that are new since the last time are opened, for their
 * footer; the schemas themselves are asked of one file a group.
 */

import type { DuckDBConnection } from '@duckdb/node-api'
import { messageOf } from '../../state/errors.ts'
import type { Column, Dataset } from './dataset.ts'
import type { Facts } from './facts.ts'
import { type DataFile, listFiles } from './files.ts'
import { list, rowsOf } from './sql.ts'

export interface SchemaGroup {
  files: DataFile[]
  columns: Column[]
}

export interface DamagedFile {
  /** Relative to the dataset's root. */
  file: string
  reason: string
}

export interface TypeSchema {
  /** What every group can be read as, partition columns not among them. */
  columns: Column[]
  groups: SchemaGroup[]
  damaged: DamagedFile[]
}

export const PARTITION_COLUMNS: readonly Column[] = ['year', 'month', 'day', 'hour'].map((name) => ({
  name,
  type: 'INTEGER',
}))

export async function readSchema(dataset: Dataset, connection: DuckDBConnection, type: string): Promise<TypeSchema> {
  const files = await listFiles(dataset.root, type)
  dataset.facts.retain(`${dataset.root}/${type}/`, files)
  return await schemaOf(dataset, connection, files)
}

/** The same of some files of a type. */
export async function schemaOf(
  dataset: Dataset,
  connection: DuckDBConnection,
  files: readonly DataFile[],
): Promise<TypeSchema> {
  const damaged = await readFacts(dataset, connection, files, FINGERPRINTS, (file) => !dataset.facts.get(file))
  await dataset.facts.save()

  const bySchema = Map.groupBy(files, (file) => dataset.facts.get(file)?.schema)
  bySchema.delete(undefined)
  const groups: SchemaGroup[] = []
  for (const same of bySchema.values())
    groups.push({ files: same, columns: await describe(connection, same.slice(0, 1)) })
  const columns = groups.length === 1 ? (groups[0]?.columns ?? []) : await commonColumns(connection, groups)
  return { columns, groups, damaged }
}

/** Row counts by path of all readable files, from their footers. */
export async function readRowCounts(
  dataset: Dataset,
  connection: DuckDBConnection,
  files: readonly DataFile[],
): Promise<DamagedFile[]> {
  const damaged = await readFacts(dataset, connection, files, ROW_COUNTS, (file) => {
    return dataset.facts.get(file)?.rows === undefined
  })
  await dataset.facts.save()
  return damaged
}

interface FactQuery {
  sql: (paths: string) => string
  merge: (known: Facts | undefined, value: unknown) => Facts | undefined
}

/** Sums of hashes do not depend on the order in which DuckDB's threads read the files. */
const FINGERPRINTS: FactQuery = {
  sql: (paths) => `SELECT file_name, sum(hash(column_id, name, type, type_length, repetition_type, num_children,
    converted_type, scale, "precision", logical_type, duckdb_type))::VARCHAR FROM parquet_schema(${paths}) GROUP BY ALL`,
  merge: (known, value) => ({ ...known, schema: String(value) }),
}

const ROW_COUNTS: FactQuery = {
  sql: (paths) => `SELECT file_name, num_rows FROM parquet_file_metadata(${paths})`,
  merge: (known, value) => known && { ...known, rows: Number(value) },
}

async function readFacts(
  dataset: Dataset,
  connection: DuckDBConnection,
  files: readonly DataFile[],
  query: FactQuery,
  isMissing: (file: DataFile) => boolean,
): Promise<DamagedFile[]> {
  const { facts, root } = dataset
  const damaged: DamagedFile[] = []

  // One file that cannot be read fails the whole statement: halving finds each in log2(n) more statements.
  const read = async (part: readonly DataFile[]): Promise<void> => {
    if (part.length === 0) return
    try {
      const byPath = new Map(part.map((file) => [file.path, file]))
      for (const [path, value] of await rowsOf(connection, query.sql(list([...byPath.keys()])))) {
        const file = byPath.get(String(path))
        const merged = file && query.merge(facts.get(file), value)
        if (file && merged) facts.set(file, merged)
      }
    } catch (error) {
      const reason = messageOf(error)
      if (isAboutTheQuery(reason)) throw error
      if (part.length > 1) {
        await read(part.slice(0, part.length >> 1))
        await read(part.slice(part.length >> 1))
      } else if (part[0] && !isGone(reason)) {
        damaged.push({ file: part[0].path.slice(root.length + 1), reason: reason.replaceAll(`${root}/`, '') })
      }
    }
  }
  await read(files.filter(isMissing))
  return damaged
}

/** The query was stopped, or the host has no memory: this says nothing of a file. */
function isAboutTheQuery(reason: string): boolean {
  return /^(INTERRUPT|Out of Memory)/i.test(reason)
}

/** How DuckDB tells of a file that retention removed after it was listed. */
export function isGone(reason: string): boolean {
  return /No files found that match|No such file or directory/.test(reason)
}

async function describe(connection: DuckDBConnection, files: readonly DataFile[]): Promise<Column[]> {
  const paths = list(files.map((file) => file.path))
  const source = `read_parquet(${paths}, union_by_name = true, hive_partitioning = false)`
  const rows = await rowsOf(connection, `SELECT column_name, column_type FROM (DESCRIBE FROM ${source})`)
  const columns = rows.map(([name, type]) => ({ name: String(name), type: String(type) }))
  return columns.filter((column) => !isPartition(column.name))
}

function isPartition(name: string): boolean {
  return PARTITION_COLUMNS.some((column) => column.name === name.toLowerCase())
}

/** DuckDB finds the wider of two types (BIGINT and VARCHAR: VARCHAR), but not for a list and a number: text then. */
async function commonColumns(connection: DuckDBConnection, groups: readonly SchemaGroup[]): Promise<Column[]> {
  if (groups.length === 0) return []
  const shapes = new Map<string, Set<string>>()
  for (const { name, type } of groups.flatMap((group) => group.columns)) {
    const key = name.toLowerCase()
    shapes.set(key, (shapes.get(key) ?? new Set()).add(shapeOf(type)))
  }
  const wide = await describe(
    connection,
    groups.flatMap((group) => group.files.slice(0, 1)),
  )
  return wide.map(({ name, type }) => {
    return { name, type: shapes.get(name.toLowerCase())?.size === 1 ? type : 'VARCHAR' }
  })
}

function shapeOf(type: string): string {
  if (type.endsWith(']')) return 'list'
  return /^(STRUCT|MAP|UNION)\b/.exec(type)?.[0] ?? 'scalar'
}

/**
 * The tables that a query sees.
 *
 * In: the names of tables. Out: temporary views of this connection alone, and a sentence for each thing that
 * they leave out. A view names its files one by one, grouped by schema, so that making and binding it opens
 * one file a group, and a condition on year, month, day or hour keeps all other hours' files closed.
 */

import type { DuckDBConnection } from '@duckdb/node-api'
import { WATCH_COLUMNS } from '../../stages/upload/rules/table.ts'
import type { Column, Dataset } from './dataset.ts'
import { EVENTS } from './files.ts'
import { PEOPLE_TABLES, peopleSql, tablesBehind } from './people.ts'
import { type DamagedFile, PARTITION_COLUMNS, readSchema, type SchemaGroup, type TypeSchema } from './schema.ts'
import { identifier, list, literal } from './sql.ts'

/** The columns of `events`, which every log type has or shows as NULL. */
export const COMMON_COLUMNS: readonly Column[] = [
  { name: 'event_time', type: 'TIMESTAMP' },
  { name: 'event_id', type: 'VARCHAR' },
  { name: 'log_type', type: 'VARCHAR' },
  { name: 'capture_id', type: 'VARCHAR' },
  { name: 'source', type: 'VARCHAR' },
  { name: 'flow_id', type: 'VARCHAR' },
  { name: 'src_ip', type: 'VARCHAR' },
  { name: 'src_port', type: 'INTEGER' },
  { name: 'dst_ip', type: 'VARCHAR' },
  { name: 'dst_port', type: 'INTEGER' },
  { name: 'protocol', type: 'VARCHAR' },
  { name: 'event_type', type: 'VARCHAR' },
  { name: 'event_class', type: 'VARCHAR' },
  { name: 'direction', type: 'VARCHAR' },
  { name: 'community_id', type: 'VARCHAR' },
  ...WATCH_COLUMNS.map((name) => ({ name, type: 'VARCHAR[]' })),
]

/** Makes the views of these tables, which must exist; `events` makes those of all types. Returns warnings. */
export async function createViews(
  dataset: Dataset,
  connection: DuckDBConnection,
  names: readonly string[],
): Promise<string[]> {
  const virtual = names.filter((name) => PEOPLE_TABLES.includes(name))
  const named = names.filter((name) => !PEOPLE_TABLES.includes(name))
  const types = names.includes(EVENTS)
    ? [...new Set([...(await dataset.tableNames()), ...tablesBehind(virtual)])]
    : [...new Set([...named, ...tablesBehind(virtual)])]
  const made = new Map<string, Column[]>()
  const warnings: string[] = []
  for (const type of types) {
    const schema = await readSchema(dataset, connection, type)
    const columns = columnsOf(schema, dataset.declared.get(type))
    await createView(connection, type, typeSql(schema.groups, columns))
    made.set(type, columns)
    if (schema.damaged.length > 0) warnings.push(damageWarning(type, schema.damaged))
  }
  if (names.includes(EVENTS)) await createView(connection, EVENTS, eventsSql(made))
  const has = (table: string, column: string) => made.get(table)?.some(({ name }) => name === column) ?? false
  for (const name of virtual) await createView(connection, name, peopleSql(name, dataset.people, has))
  return warnings
}

/** Declared columns first and in their order, with the types that the files really have. */
export function columnsOf(schema: TypeSchema, declared: readonly Column[] = []): Column[] {
  const inFiles = new Map(schema.columns.map((column) => [column.name.toLowerCase(), column]))
  const first = declared.map((column) => inFiles.get(column.name.toLowerCase()) ?? column)
  const known = new Set(first.map((column) => column.name.toLowerCase()))
  const all = [...first, ...schema.columns.filter((column) => !known.has(column.name.toLowerCase()))]
  const partitions = new Set(PARTITION_COLUMNS.map((column) => column.name))
  const own = all.filter((column) => !partitions.has(column.name.toLowerCase()))
  return [...(own.length > 0 ? own : COMMON_COLUMNS), ...PARTITION_COLUMNS]
}

async function createView(connection: DuckDBConnection, name: string, sql: string): Promise<void> {
  try {
    await connection.run(`CREATE OR REPLACE TEMP VIEW ${identifier(name)} AS ${sql}`)
  } catch (error) {
    // DuckDB's mark points into a statement that the user did not write.
    const [message] = (error instanceof Error ? error.message : String(error)).split('\n\nLINE ')
    throw new Error(`${name}: ${message}`, { cause: error })
  }
}

/** The rows of these groups with these columns, as one SELECT. */
export function typeSql(groups: readonly SchemaGroup[], columns: readonly Column[]): string {
  if (groups.length === 0) return `SELECT ${columns.map(nullAs).join(', ')} WHERE false`
  return groups.map((group) => groupSql(group, columns)).join('\nUNION ALL\n')
}

/** Types are given for the partitions, else the hour `08` of one file would be text and of another a number. */
const HIVE = `hive_partitioning = true, hive_types_autocast = false, hive_types = {${PARTITION_COLUMNS.map(
  ({ name, type }) => `'${name}': ${type}`,
).join(', ')}}`

function groupSql({ files, columns }: SchemaGroup, wanted: readonly Column[]): string {
  const own = new Map([...columns, ...PARTITION_COLUMNS].map((column) => [column.name.toLowerCase(), column.type]))
  const selected = wanted.map((column) => {
    const type = own.get(column.name.toLowerCase())
    return type === undefined ? nullAs(column) : valueAs(column, type)
  })
  return `SELECT ${selected.join(', ')} FROM read_parquet(${list(files.map((file) => file.path))}, ${HIVE})`
}

function nullAs({ name, type }: Column): string {
  return `CAST(NULL AS ${type}) AS ${identifier(name)}`
}

function valueAs({ name, type }: Column, ownType: string): string {
  return ownType === type ? identifier(name) : `CAST(${identifier(name)} AS ${type}) AS ${identifier(name)}`
}

function eventsSql(tables: ReadonlyMap<string, readonly Column[]>): string {
  const wanted = [...COMMON_COLUMNS, ...PARTITION_COLUMNS]
  if (tables.size === 0) return `SELECT ${wanted.map(nullAs).join(', ')} WHERE false`
  const parts = [...tables].map(([type, columns]) => {
    const own = new Map(columns.map((column) => [column.name.toLowerCase(), column.type]))
    const selected = wanted.map((column) => eventColumn(type, column, own.get(column.name)))
    return `SELECT ${selected.join(', ')} FROM ${identifier(type)}`
  })
  return parts.join('\nUNION ALL\n')
}

/** A column of another type than the common one (a text of a foreign file) must not break all types' events. */
function eventColumn(type: string, column: Column, ownType: string | undefined): string {
  const name = identifier(column.name)
  if (ownType === undefined) return column.name === 'log_type' ? `${literal(type)} AS ${name}` : nullAs(column)
  return ownType === column.type ? name : `TRY_CAST(${name} AS ${column.type}) AS ${name}`
}

function damageWarning(type: string, damaged: readonly DamagedFile[]): string {
  const shown = damaged.slice(0, 3).map(({ file, reason }) => `${file} (${reason})`)
  const more = damaged.length > shown.length ? `, and ${damaged.length - shown.length} more` : ''
  const files =
    damaged.length === 1 ? 'a file that cannot be read is' : `${damaged.length} files that cannot be read are`
  return `${type}: ${files} left out of the answer: ${shown.join(', ')}${more}`
}

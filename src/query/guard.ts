/**
 * Decides whether a text from outside may run: it may read the dataset, and do nothing else.
 *
 * In: SQL as a user wrote it. Out: the one statement that will run and the tables that it names, or
 * `query_refused` with what was refused, where, and what is allowed. Nothing of the text runs here: DuckDB's
 * own parser turns it into a tree, and the tree must be made of known parts. Only a SELECT has a tree at all
 * (`json_serialize_sql`), which rules out every statement that writes or sets something. The locked DuckDB of
 * dataset.ts is the second wall: it would refuse files outside the dataset, extensions and settings by itself.
 */

import type { DuckDBConnection } from '@duckdb/node-api'
import { PipelineError } from '../../state/errors.ts'
import { EVENTS } from './files.ts'
import { rowsOf } from './sql.ts'

export interface CheckedQuery {
  /** One statement. */
  sql: string
  /** `show` for DESCRIBE, SHOW TABLES, SUMMARIZE: these cannot stand everywhere where a SELECT can. */
  kind: 'select' | 'show' | 'explain'
  /** The tables of the dataset that it names, as the dataset spells them. */
  tables: string[]
}

export const ALLOWED =
  'Allowed is one statement that reads the tables of the dataset: SELECT, WITH, FROM, VALUES, DESCRIBE, ' +
  'SHOW TABLES, SUMMARIZE, or EXPLAIN of one of these'

/** Planning time grows with the square of the number of SELECTs in a statement. */
const MAX_CHARACTERS = 200_000
const MAX_SELECTS = 500

/** Functions that give rows without reading anything from outside. */
const TABLE_FUNCTIONS = new Set([
  'range',
  'generate_series',
  'unnest',
  'json_each',
  'json_tree',
  'repeat',
  'repeat_row',
])

/** Scalar functions that look at or change more than their arguments, wait, or are DuckDB's inner parts. */
const FORBIDDEN_FUNCTIONS =
  /^(getenv|getvariable|current_setting|set_config|write_log|nextval|currval|setseed|sleep_ms|combine|finalize|json_serialize_plan|json_execute_serialized_sql|query|query_table|glob|(read|write|sniff|duckdb|pragma|parquet|pg_sleep|pg_get|__internal|which|inet_(client|server)|histogram_values)($|_).*)$/

/** @throws query_refused, or query_failed for text that is not SQL or names no table of the dataset. */
export async function checkQuery(
  connection: DuckDBConnection,
  text: string,
  tableNames: readonly string[],
): Promise<CheckedQuery> {
  if (text.length > MAX_CHARACTERS) throw refused(`a query of ${text.length} characters (at most ${MAX_CHARACTERS})`)
  if (text.includes('\0')) throw refused('a query with a NUL character')
  const { explain, body } = splitExplain(text)
  const tree = await treeOf(connection, body)
  const tables = checkTree(tree, body, tableNames)
  if (explain) return { sql: `${explain} ${body}`, kind: 'explain', tables }
  return { sql: body, kind: fromType(tree) === 'SHOW_REF' ? 'show' : 'select', tables }
}

/**
 * The same statement as one that can be put between parentheses. Cut at its last semicolon as long as
 * something stands behind one (comments may): what is left must have the same tree as the whole.
 */
export async function asSubquery(connection: DuckDBConnection, sql: string): Promise<string> {
  const whole = await serialize(connection, sql)
  let cut = sql
  for (;;) {
    const inner = `(\n${cut}\n)`
    if (!isRecordWith(JSON.parse(await serialize(connection, `FROM ${inner}`)), 'error', true)) return inner
    const end = cut.lastIndexOf(';')
    const shorter = cut.slice(0, Math.max(end, 0))
    if (end < 0 || (await serialize(connection, shorter)) !== whole)
      throw new PipelineError('query_failed', 'this statement cannot be written as Parquet: use another format')
    cut = shorter
  }
}

const LEADING = /^(?:[\s;]|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)+/

/** EXPLAIN has no tree of its own, so that what it explains is checked and EXPLAIN put before it again. */
function splitExplain(text: string): { explain?: string; body: string } {
  const body = text.replace(LEADING, '')
  const explained = afterWord(body, 'explain')
  if (explained === undefined) return { body }
  if (/^\(\s*(format|analyze)\b/i.test(explained)) throw refused('EXPLAIN with options')
  const analyzed = afterWord(explained, 'analyze')
  return analyzed === undefined
    ? { explain: 'EXPLAIN', body: explained }
    : { explain: 'EXPLAIN ANALYZE', body: analyzed }
}

function afterWord(text: string, word: string): string | undefined {
  const found = new RegExp(`^${word}\\b`, 'i').test(text)
  return found ? text.slice(word.length).replace(LEADING, '') : undefined
}

async function serialize(connection: DuckDBConnection, sql: string): Promise<string> {
  const options = 'skip_null := true, skip_empty := true'
  const [row] = await rowsOf(connection, `SELECT json_serialize_sql($1::VARCHAR, ${options})::VARCHAR`, [sql])
  return String(row?.[0])
}

async function treeOf(connection: DuckDBConnection, sql: string): Promise<unknown> {
  const answer: unknown = JSON.parse(await serialize(connection, sql))
  if (!isRecord(answer)) throw refused('a statement that cannot be read')
  if (answer.error === true) {
    if (answer.error_type === 'not implemented') throw refused(statementName(sql))
    // Unlike the places in a tree this one counts characters.
    const before = [...sql].slice(0, Number(answer.position)).join('')
    const place = typeof answer.position === 'string' ? placeAfter(before) : ''
    throw new PipelineError('query_failed', `this is not valid SQL: ${String(answer.error_message)}${place}`)
  }
  const statements: unknown[] = Array.isArray(answer.statements) ? answer.statements : []
  if (statements.length === 0) throw refused('an empty query')
  if (statements.length > 1) throw refused(`a query of ${statements.length} statements`)
  return statements[0]
}

const HINTS: Record<string, string> = {
  pivot: 'PIVOT without the values to make columns of (write PIVOT … ON column IN (value, …))',
  explain: 'EXPLAIN with options',
  pragma: 'PRAGMA (SHOW TABLES and DESCRIBE tell of the tables)',
}

function statementName(sql: string): string {
  const word = /^[a-z_]+/i.exec(sql)?.[0] ?? ''
  if (/^(select|with|from)$/i.test(word)) return HINTS.pivot ?? word
  return HINTS[word.toLowerCase()] ?? (word.toUpperCase() || 'this statement')
}

/** Walks without recursion: the depth of the tree is the user's. */
function checkTree(tree: unknown, sql: string, tableNames: readonly string[]): string[] {
  const known = new Map([...tableNames, EVENTS].map((name) => [name.toLowerCase(), name]))
  const nodes = recordsOf(tree)
  const ctes = new Set(nodes.flatMap(cteNames))
  const used = new Set<string>()
  let selects = 0
  for (const node of nodes) {
    const place = positionOf(sql, Number(node.query_location))
    if (node.type === 'SELECT_NODE' && ++selects > MAX_SELECTS) throw refused(`more than ${MAX_SELECTS} SELECTs`)
    if (node.class === 'PARAMETER') throw refused(`a parameter (there are no values for it)${place}`)
    if (node.type === 'SHOW_REF') for (const name of checkShow(node, tableNames)) used.add(name)
    if (node.type === 'TABLE_FUNCTION') checkTableFunction(node, place)
    else if (typeof node.function_name === 'string') checkFunction(node.function_name, place)
    if (node.type === 'BASE_TABLE') {
      const name = checkTable(node, known, ctes, place)
      if (name !== undefined) used.add(name)
    }
  }
  return [...used]
}

/** A CTE may hide a table of the same name; making its view all the same does no harm. */
function checkTable(
  node: Record<string, unknown>,
  known: ReadonlyMap<string, string>,
  ctes: ReadonlySet<string>,
  place: string,
): string | undefined {
  const name = String(node.table_name)
  // Refused even where a CTE has this name: out of the CTE's sight DuckDB would look for the file.
  if (/[/\\.:*?]/.test(name)) throw refused(`the file "${shorten(name)}"${place}`)
  if (node.schema_name !== undefined || node.catalog_name !== undefined)
    throw refused(`a table with a schema, "${shorten(`${node.schema_name ?? node.catalog_name}.${name}`)}"${place}`)
  const table = known.get(name.toLowerCase())
  if (table !== undefined || ctes.has(name.toLowerCase())) return table
  const names = [...known.values()].join(', ')
  throw new PipelineError('query_failed', `there is no table "${shorten(name)}"${place}; the tables are: ${names}`)
}

function checkTableFunction(node: Record<string, unknown>, place: string): void {
  const name = isRecord(node.function) ? String(node.function.function_name).toLowerCase() : ''
  if (TABLE_FUNCTIONS.has(name)) return
  throw refused(
    `${shorten(name) || 'this table function'}()${place}; of the functions in FROM only ${[...TABLE_FUNCTIONS].join(', ')} can be used`,
  )
}

function checkFunction(name: string, place: string): void {
  const lower = name.toLowerCase()
  if (!TABLE_FUNCTIONS.has(lower) && FORBIDDEN_FUNCTIONS.test(lower)) throw refused(`${shorten(lower)}()${place}`)
}

/** DESCRIBE and SUMMARIZE hold a query, which is walked like any; the others name what to list. */
function checkShow(node: Record<string, unknown>, tableNames: readonly string[]): string[] {
  if (isRecord(node.query)) return []
  const what = String(node.table_name ?? '').replaceAll('"', '')
  if (what === 'tables' || what === '__show_tables_expanded') return [...tableNames, EVENTS]
  throw refused(`SHOW ${shorten(what || 'of a schema')}`)
}

function recordsOf(tree: unknown): Record<string, unknown>[] {
  const found: Record<string, unknown>[] = []
  const waiting: unknown[] = [tree]
  while (waiting.length > 0) {
    const next = waiting.pop()
    if (typeof next !== 'object' || next === null) continue
    if (isRecord(next)) found.push(next)
    for (const value of Object.values(next)) waiting.push(value)
  }
  return found
}

function cteNames(node: Record<string, unknown>): string[] {
  const named = isRecord(node.cte_map) && Array.isArray(node.cte_map.map) ? node.cte_map.map : []
  const own = node.type === 'CTE_NODE' || node.type === 'RECURSIVE_CTE_NODE' ? [node.cte_name ?? node.ctename] : []
  return [...named.map((entry) => (isRecord(entry) ? entry.key : undefined)), ...own]
    .filter((name) => typeof name === 'string')
    .map((name) => name.toLowerCase())
}

function fromType(tree: unknown): unknown {
  const node = isRecord(tree) && isRecord(tree.node) ? tree.node : {}
  return isRecord(node.from_table) ? node.from_table.type : undefined
}

/** The places in a tree count bytes of UTF-8 from 0. */
function positionOf(sql: string, bytes: number): string {
  return Number.isInteger(bytes) && bytes >= 0 ? placeAfter(Buffer.from(sql).subarray(0, bytes).toString()) : ''
}

/** Lines and columns (in characters) count from 1. */
function placeAfter(before: string): string {
  const lines = before.split('\n')
  return ` (line ${lines.length}, column ${[...(lines.at(-1) ?? '')].length + 1})`
}

function refused(what: string): PipelineError {
  return new PipelineError('query_refused', `refused: ${what}. ${ALLOWED}.`)
}

function shorten(name: string): string {
  return name.length <= 80 ? name : `${name.slice(0, 80)}…`
}

function isRecordWith(value: unknown, key: string, expected: unknown): boolean {
  return isRecord(value) && value[key] === expected
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

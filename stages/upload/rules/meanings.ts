/**
 * The data dictionary: what each column means, in a few words.
 *
 * In: a table and one of its columns. Out: the words of `meanings.json`, by the Zeek field that the column holds, else
 * by its own name; undefined for fields that a site's own schema has added and for logs about Zeek itself.
 */

import meanings from './meanings.json' with { type: 'json' }
import type { Table } from './table.ts'

type Words = Readonly<Record<string, string>>

const LOGS: Readonly<Record<string, Words>> = meanings.logs
const EVERYWHERE: Words = meanings.everywhere
const COLUMNS: Words = meanings.columns

export function meaningOf(table: Table, column: string): string | undefined {
  const field = table.fields.find((each) => each.column === column)
  if (field === undefined || column === 'community_id') return wordsOf(COLUMNS, column)
  const log = Object.hasOwn(LOGS, table.logType) ? LOGS[table.logType] : undefined
  return wordsOf(log, field.raw) ?? wordsOf(EVERYWHERE, field.raw)
}

function wordsOf(words: Words | undefined, name: string): string | undefined {
  return words !== undefined && Object.hasOwn(words, name) ? words[name] : undefined
}

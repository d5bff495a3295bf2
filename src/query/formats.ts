/**
 * Rows as JSON, NDJSON and CSV text.
 *
 * In: the columns of an answer, then its rows. Out: pieces of text in order. Nothing is kept between rows.
 */

import type { DuckDBValue } from '@duckdb/node-api'
import { type Codec, jsonString } from './values.ts'

export interface AnswerColumn {
  /** Unique within the answer. */
  name: string
  /** As DuckDB names it. */
  type: string
  codec: Codec
}

interface AnswerEnd {
  rows: number
  truncated: boolean
}

export interface Format {
  head(): string
  row(values: readonly DuckDBValue[]): string
  tail(end: AnswerEnd): string
}

/** RFC 8259: one array of objects, one row a line; integers and decimals keep all digits. */
export function jsonFormat(columns: readonly AnswerColumn[]): Format {
  const object = objectWriter(columns)
  let separator = '\n'
  return {
    head: () => '[',
    row(values) {
      const text = `${separator}${object(values)}`
      separator = ',\n'
      return text
    },
    tail: ({ rows }) => (rows === 0 ? ']\n' : '\n]\n'),
  }
}

/** One object a line, no matter what the values hold. */
export function ndjsonFormat(columns: readonly AnswerColumn[]): Format {
  const object = objectWriter(columns)
  return { head: () => '', row: (values) => `${object(values)}\n`, tail: () => '' }
}

function objectWriter(columns: readonly AnswerColumn[]): (values: readonly DuckDBValue[]) => string {
  const fields = columns.map(({ name, codec }) => ({ key: `${jsonString(name)}:`, codec }))
  return (values) => `{${fields.map(({ key, codec }, index) => key + codec.json(values[index] ?? null)).join(',')}}`
}

/** The columns as one line, then an array a row: what is read by its place. */
export function rowsFormat(columns: readonly AnswerColumn[]): Format {
  const head = `[${columns.map(({ name, type }) => `{"name":${jsonString(name)},"type":${jsonString(type)}}`).join(',')}]\n`
  return {
    head: () => head,
    row: (values) => `[${columns.map(({ codec }, index) => codec.json(values[index] ?? null)).join(',')}]\n`,
    tail: () => '',
  }
}

/**
 * RFC 4180 with a header and CRLF. NULL is an empty field, an empty text is `""`.
 *
 * Values are written as they are: a text from a capture may begin with `=` and so run as a formula where a
 * spreadsheet opens the file. `spreadsheetSafe` puts an apostrophe before texts that begin with one of
 * `= + - @`, a tab or a carriage return (OWASP, "CSV Injection"), which changes them for every other reader.
 */
export function csvFormat(columns: readonly AnswerColumn[], spreadsheetSafe = false): Format {
  const field = (text: string) => {
    const safe = spreadsheetSafe && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
    return safe === '' || /[",\r\n]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
  }
  const record = (fields: readonly string[]) => `${fields.join(',')}\r\n`
  return {
    head: () => record(columns.map(({ name }) => field(name))),
    row: (values) =>
      record(
        columns.map(({ codec }, index) => {
          const value = values[index] ?? null
          if (value === null) return ''
          return codec.numeric ? codec.text(value) : field(codec.text(value))
        }),
      ),
    tail: () => '',
  }
}

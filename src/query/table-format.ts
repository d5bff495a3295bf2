/**
 * Rows as a table for people.
 *
 * In: rows, and the width of the terminal if there is one. Out: aligned lines and a line that counts the rows.
 * The first rows set the widths of the columns; longer values later are cut on a terminal, and stand out
 * otherwise. Whatever a capture put into a value, it cannot act on the terminal (visible-text.ts).
 */

import type { AnswerColumn, Format } from './formats.ts'
import { cut, visible, widthOf } from './visible-text.ts'

const SAMPLE_ROWS = 500
const GAP = '  '
/** No column is made narrower than this; columns that then find no place are left out, and said to be. */
const MIN_WIDTH = 8
/** A single long value must not take the whole terminal while others are cut. */
const MAX_WIDTH = 60

/** @param width Columns of the terminal; without it nothing is cut. */
export function tableFormat(columns: readonly AnswerColumn[], width?: number): Format {
  const names = columns.map(({ name }) => visible(name))
  let sample: string[][] | undefined = []
  let line: (cells: readonly string[]) => string = () => ''
  let omitted = 0

  const start = (): string => {
    const rows = sample ?? []
    sample = undefined
    const natural = names.map((name, i) => rows.reduce((w, row) => Math.max(w, widthOf(row[i] ?? '')), widthOf(name)))
    const widths = width === undefined ? natural : fitWidths(natural, width)
    omitted = names.length - widths.length
    line = lineWriter(columns, widths, width !== undefined)
    const rule = widths.map((w) => '─'.repeat(w)).join(GAP)
    return [line(names), `${rule}\n`, ...rows.map((row) => line(row))].join('')
  }

  return {
    head: () => '',
    row(values) {
      const cells = columns.map(({ codec }, i) => {
        const value = values[i] ?? null
        return value === null ? 'NULL' : visible(codec.text(value))
      })
      if (sample === undefined) return line(cells)
      sample.push(cells)
      return sample.length < SAMPLE_ROWS ? '' : start()
    },
    tail({ rows, truncated }) {
      const begun = sample === undefined ? '' : start()
      return `${begun}${endLine(rows, truncated, omitted)}\n`
    },
  }
}

function endLine(rows: number, truncated: boolean, omitted: number): string {
  const count = rows === 1 ? '1 row' : `${rows} rows`
  const more = truncated ? ', more were not asked for' : ''
  const columns =
    omitted > 0 ? `, ${omitted} columns find no place here: name those that you need, or use csv or json` : ''
  return `(${count}${more}${columns})`
}

function lineWriter(
  columns: readonly AnswerColumn[],
  widths: readonly number[],
  cuts: boolean,
): (cells: readonly string[]) => string {
  return (cells) => {
    const parts = widths.map((width, i) => {
      const cell = cuts ? cut(cells[i] ?? '', width) : (cells[i] ?? '')
      const padding = ' '.repeat(Math.max(0, width - widthOf(cell)))
      return columns[i]?.codec.numeric ? padding + cell : cell + padding
    })
    return `${parts.join(GAP).trimEnd()}\n`
  }
}

/** Takes from the widest column first until all fit; then leaves out columns at the end. */
function fitWidths(natural: readonly number[], width: number): number[] {
  const alone = natural.length === 1
  const widths = natural.map((w) => Math.min(w, alone ? width : Math.max(MAX_WIDTH, MIN_WIDTH)))
  const total = () => widths.reduce((sum, w) => sum + w, GAP.length * Math.max(0, widths.length - 1))
  while (total() > width) {
    const widest = widths.indexOf(Math.max(...widths))
    const current = widths[widest] ?? 0
    if (current > MIN_WIDTH) widths[widest] = current - 1
    else if (widths.length > 1) widths.pop()
    else break
  }
  return widths
}

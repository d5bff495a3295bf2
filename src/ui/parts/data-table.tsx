/**
 * A table of any length: rows outside the view are not in the document, but a spacer as high as they are is, so that it
 * stays a table to everybody. Its head stays in view; it scrolls both ways by itself, by keyboard too.
 */

import { useVirtualizer } from '@tanstack/react-virtual'
import { type KeyboardEvent, type ReactNode, useEffect, useRef } from 'react'

export interface TableColumn<R> {
  id: string
  title: ReactNode
  width: number
  /** Takes what is left. */
  grows?: boolean
  numeric?: boolean
  mono?: boolean
  cell(row: R): ReactNode
  /** The whole of what the cell may cut. */
  text?(row: R): string
}

interface DataTableProps<R> {
  label: string
  columns: readonly TableColumn<R>[]
  rows: readonly R[]
  keyOf(row: R, index: number): string
  /** Of the head's cells and rows, in pixels. */
  rowHeight?: number
  /** `fit` grows with its rows up to `maxHeight`. */
  maxHeight?: number
  isChosen?(row: R): boolean
  onOpen?(row: R): void
  /** The last rows are in view. */
  onEnd?(): void
  foot?: ReactNode
}

const OVERSCAN = 12

export function DataTable<R>(props: DataTableProps<R>) {
  const { label, columns, rows, keyOf, rowHeight = 32, maxHeight, isChosen, onOpen, onEnd, foot } = props
  const ref = useRef<HTMLDivElement>(null)
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => ref.current,
    estimateSize: () => rowHeight,
    overscan: OVERSCAN,
  })
  const items = virtual.getVirtualItems()
  const before = items[0]?.start ?? 0
  const after = Math.max(0, virtual.getTotalSize() - (items.at(-1)?.end ?? 0))
  const last = items.at(-1)?.index ?? -1

  // biome-ignore lint/correctness/useExhaustiveDependencies: asked once each time the end comes into view
  useEffect(() => {
    if (rows.length > 0 && last >= rows.length - 5) onEnd?.()
  }, [last, rows.length])

  const move = (event: KeyboardEvent<HTMLTableSectionElement>) => {
    const step =
      event.key === 'ArrowDown' || event.key === 'j' ? 1 : event.key === 'ArrowUp' || event.key === 'k' ? -1 : 0
    if (step === 0) return
    const own = (event.target as HTMLElement).closest('tr')
    const next = step === 1 ? own?.nextElementSibling : own?.previousElementSibling
    const target = next?.querySelector<HTMLElement>('.row-open')
    if (!target) return
    event.preventDefault()
    target.focus()
  }
  const total = columns.reduce((sum, { width }) => sum + width, 0)

  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard
    <section className="table-scroll" ref={ref} tabIndex={0} aria-label={label} style={{ maxHeight }}>
      <table className="table" aria-rowcount={rows.length + 1} style={{ minWidth: total }}>
        <caption className="hidden">{label}</caption>
        <colgroup>
          {columns.map(({ id, width, grows }) => (
            <col key={id} style={grows ? undefined : { width }} />
          ))}
        </colgroup>
        <thead>
          <tr>
            {columns.map(({ id, title, numeric }) => (
              <th key={id} scope="col" className={numeric ? 'num' : undefined}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody onKeyDown={move}>
          {before > 0 && (
            // biome-ignore lint/a11y/noAriaHiddenOnFocusable: a row of a table is nothing to focus
            <tr aria-hidden="true">
              <td colSpan={columns.length} className="spacer" style={{ height: before }} />
            </tr>
          )}
          {items.map(({ index }) => {
            const row = rows[index] as R
            const chosen = isChosen?.(row) ?? false
            return (
              <tr
                key={keyOf(row, index)}
                aria-rowindex={index + 2}
                className={chosen ? 'chosen' : undefined}
                style={{ height: rowHeight, lineHeight: `${rowHeight - 1}px` }}
                onClick={onOpen && ((event) => openUnlessControl(event.target, () => onOpen(row)))}
              >
                {columns.map(({ id, cell, numeric, mono, text }) => (
                  <td key={id} className={classOf(numeric, mono)} title={text?.(row)}>
                    {cell(row)}
                  </td>
                ))}
              </tr>
            )
          })}
          {after > 0 && (
            // biome-ignore lint/a11y/noAriaHiddenOnFocusable: a row of a table is nothing to focus
            <tr aria-hidden="true">
              <td colSpan={columns.length} className="spacer" style={{ height: after }} />
            </tr>
          )}
        </tbody>
      </table>
      {foot && <div className="table-foot">{foot}</div>}
    </section>
  )
}

function classOf(numeric: boolean | undefined, mono: boolean | undefined): string | undefined {
  return [numeric && 'num', mono && 'mono'].filter(Boolean).join(' ') || undefined
}

/** Links and buttons inside a row do what they say; text that was just marked is not a click. */
function openUnlessControl(target: EventTarget, open: () => void): void {
  if (target instanceof Element && target.closest('a, button, input')) return
  if (getSelection()?.type === 'Range') return
  open()
}

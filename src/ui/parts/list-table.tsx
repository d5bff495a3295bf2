/** A table that scrolls sideways where it has to, and the way to its further rows. */

import type { ReactNode } from 'react'
import { formatCount } from '../lib/format.ts'
import { Button } from './basics.tsx'

export function ListTable({
  label,
  heads,
  children,
}: {
  label: string
  heads: readonly Head[]
  /** Rows. */
  children: ReactNode
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keyboard
    <section className="table-wrap" tabIndex={0} aria-label={label}>
      <table className="table">
        <caption className="hidden">{label}</caption>
        <thead>
          <tr>
            {heads.map(({ text, isNumber, isHidden }) => (
              <th key={text} scope="col" className={isNumber ? 'num' : undefined}>
                {isHidden ? <span className="hidden">{text}</span> : text}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </section>
  )
}

export interface Head {
  text: string
  isNumber?: boolean
  /** For those who hear the page. */
  isHidden?: boolean
}

export function More({ more, left }: { more: (() => void) | undefined; left?: number }) {
  if (more === undefined) return null
  return (
    <div className="more">
      <Button onClick={more}>{left !== undefined && left > 0 ? `More (${formatCount(left)})` : 'More'}</Button>
    </div>
  )
}

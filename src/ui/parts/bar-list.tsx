/** Values with a bar each, longest first; every line is a link to what explains it. */

import type { ReactNode } from 'react'
import { formatCount } from '../lib/format.ts'
import { Link } from '../lib/router.tsx'

export interface BarLine {
  key: string
  label: ReactNode
  /** In full, where the label is cut. */
  text: string
  value: number
  href: string
  /** A second part of the bar: bytes in beside bytes out. */
  second?: number
  colour?: string
}

interface BarListProps {
  lines: readonly BarLine[]
  format?: (n: number) => string
  /** What the figures are, for those who hear them. */
  unit: string
  mono?: boolean
}

export function BarList({ lines, format = formatCount, unit, mono = false }: BarListProps) {
  const most = Math.max(1, ...lines.map(({ value, second = 0 }) => value + second))
  return (
    <ol className="bar-list">
      {lines.map(({ key, label, text, value, second = 0, href, colour }) => (
        <li key={key}>
          <Link href={href} className="bar-line" title={`${text}: ${format(value + second)} ${unit}`}>
            <span className={mono ? 'bar-label mono' : 'bar-label'}>{label}</span>
            <span className="bar-value num">
              {format(value + second)}
              <span className="hidden"> {unit}</span>
            </span>
            <span className="bar-track" aria-hidden="true">
              <span
                className="bar"
                style={{ width: `${(100 * value) / most}%`, ...(colour && { background: `var(${colour})` }) }}
              />
              {second > 0 && <span className="bar bar-second" style={{ width: `${(100 * second) / most}%` }} />}
            </span>
          </Link>
        </li>
      ))}
    </ol>
  )
}

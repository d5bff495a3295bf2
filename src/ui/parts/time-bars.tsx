/**
 * Events over time as stacked bars. Dragging over them chooses a range; what is under the pointer is told in a line
 * that is always there, so that nothing jumps.
 */

import { useEffect, useMemo, useRef, useState } from 'react'
import uPlot from 'uplot'
import type { HistogramAnswer } from '../../api/contract.ts'
import { formatCount, formatSeconds, formatShort, formatTime, plural } from '../lib/format.ts'
import { useWidth } from '../lib/hooks.ts'
import { colourOf, useIsDark } from '../lib/theme.ts'
import { colourOfType } from './colours.ts'

interface TimeBarsProps {
  answer: HistogramAnswer
  height?: number
  /** ISO times: from, to. */
  onRange(from: string, to: string): void
  colour?(value: unknown): string
}

const MOST_BARS = 2000

interface Stack {
  times: number[]
  names: string[]
  /** A row a name, a figure a time; not summed up. */
  counts: number[][]
}

function stackOf({ bars, intervalSeconds }: HistogramAnswer): Stack {
  const seconds = bars.map(({ time }) => Date.parse(time) / 1000)
  const first = Math.min(...seconds)
  const last = Math.max(...seconds)
  const size = Math.min(MOST_BARS, Math.round((last - first) / intervalSeconds) + 1)
  const totals = new Map<string, number>()
  for (const { value, count } of bars) totals.set(nameOf(value), (totals.get(nameOf(value)) ?? 0) + count)
  const names = [...totals].sort((a, b) => b[1] - a[1]).map(([name]) => name)
  const counts = names.map(() => new Array<number>(size).fill(0))
  bars.forEach(({ value, count }, i) => {
    const at = Math.round(((seconds[i] as number) - first) / intervalSeconds)
    const row = counts[names.indexOf(nameOf(value))]
    if (row && at < size) row[at] = (row[at] ?? 0) + count
  })
  return { times: Array.from({ length: size }, (_, i) => first + i * intervalSeconds), names, counts }
}

function nameOf(value: unknown): string {
  return value === null || value === undefined ? 'other' : String(value)
}

/** The topmost first, each with all that is below it: what is drawn later covers the lower part. */
function layersOf({ counts, times }: Stack): number[][] {
  const sums: number[][] = []
  let below = times.map(() => 0)
  for (const row of counts) {
    below = below.map((sum, i) => sum + (row[i] ?? 0))
    sums.unshift(below)
  }
  return sums
}

export function TimeBars({ answer, height = 168, onRange, colour = colourOfType }: TimeBarsProps) {
  const [box, width] = useWidth<HTMLDivElement>()
  const [at, setAt] = useState<number | null>(null)
  const isDark = useIsDark()
  const chart = useRef<HTMLDivElement>(null)
  const stack = useMemo(() => stackOf(answer), [answer])
  const choose = useRef(onRange)
  choose.current = onRange
  const { intervalSeconds } = answer

  // biome-ignore lint/correctness/useExhaustiveDependencies: colours are read anew when the theme changes
  useEffect(() => {
    const { current } = chart
    if (!current || width === 0) return
    const ink = colourOf('--text-3')
    const line = colourOf('--line')
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: '11px Inter Variable' }
    const plot = new uPlot(
      {
        width,
        height,
        legend: { show: false },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'UTC'),
        padding: [8, 4, 0, 0],
        cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
        scales: {
          x: { range: () => [stack.times[0] ?? 0, (stack.times.at(-1) ?? 0) + intervalSeconds] },
          y: { range: (_, _min, max) => [0, Math.max(1, max * 1.05)] },
        },
        axes: [
          { ...axis, grid: { show: false }, values: timeLabels, space: 90, size: 36, gap: 4 },
          {
            ...axis,
            size: 46,
            values: (_, ticks) => ticks.map((n) => (Number.isInteger(n) ? formatShort(n) : '')),
            space: 36,
          },
        ],
        series: [
          {},
          ...stack.names.toReversed().map((name) => ({
            label: name,
            fill: colourOf(name === 'other' ? '--series-other' : colour(name)),
            width: 0,
            points: { show: false },
            paths: uPlot.paths.bars?.({ size: [0.86, 48], align: 1 }) ?? (() => null),
          })),
        ],
        hooks: {
          setCursor: [
            ({ cursor, posToVal }) =>
              setAt(
                cursor.left === undefined || cursor.left < 0
                  ? null
                  : barAt(posToVal(cursor.left, 'x'), stack, intervalSeconds),
              ),
          ],
          setSelect: [
            (self) => {
              const { left, width: wide } = self.select
              if (wide < 4) return
              const from = self.posToVal(left, 'x')
              const to = self.posToVal(left + wide, 'x')
              self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
              choose.current(isoOf(floorTo(from, intervalSeconds)), isoOf(ceilTo(to, intervalSeconds)))
            },
          ],
        },
      },
      [stack.times, ...layersOf(stack)] as uPlot.AlignedData,
      current,
    )
    return () => plot.destroy()
  }, [stack, width, height, isDark, intervalSeconds])

  const first = stack.times[0]
  return (
    <div className="time-bars" ref={box}>
      <div
        ref={chart}
        role="img"
        aria-label={`Events over time: ${plural(answer.total, 'event')} in steps of ${formatSeconds(intervalSeconds)}`}
        style={{ height }}
      />
      <p className="readout">
        {at === null || first === undefined ? (
          <>
            <span>UTC, steps of {formatSeconds(intervalSeconds)}</span>
            <span className="faint hint-pointer">Drag over the bars to choose a time.</span>
          </>
        ) : (
          <>
            <span className="num">{formatTime(isoOf(stack.times[at] ?? first), 0)}</span>
            <strong className="num">{formatCount(stack.counts.reduce((sum, row) => sum + (row[at] ?? 0), 0))}</strong>
            {stack.names.map((name, i) => {
              const n = stack.counts[i]?.[at] ?? 0
              return n === 0 || stack.names.length === 1 ? null : (
                <span key={name}>
                  <Dot colour={name === 'other' ? '--series-other' : colour(name)} /> {name}{' '}
                  <span className="num">{formatCount(n)}</span>
                </span>
              )
            })}
          </>
        )}
      </p>
    </div>
  )
}

export function Dot({ colour }: { colour: string }) {
  return <span className="dot" style={{ background: `var(${colour})` }} aria-hidden="true" />
}

function barAt(seconds: number, { times }: Stack, interval: number): number | null {
  const at = Math.floor((seconds - (times[0] ?? 0)) / interval)
  return at >= 0 && at < times.length ? at : null
}

function isoOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString()
}

function floorTo(seconds: number, step: number): number {
  return Math.floor(seconds / step) * step
}

function ceilTo(seconds: number, step: number): number {
  return Math.ceil(seconds / step) * step
}

/** The date where it changes, the time where there is one. */
export function timeLabels(_: uPlot, ticks: number[], _axis: number, _space: number, step: number): string[] {
  let day = ''
  return ticks.map((seconds) => {
    const iso = isoOf(seconds)
    const date = iso.slice(0, 10)
    if (step >= 86_400) return date
    const time = iso.slice(11, step < 1 ? 23 : step < 60 ? 19 : 16)
    const label = date === day ? time : `${time}\n${date}`
    day = date
    return label
  })
}

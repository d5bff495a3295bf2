/** A result as a chart: lines or bars over a time or a number, bars side by side for anything else. */

import { useEffect, useMemo, useRef } from 'react'
import uPlot from 'uplot'
import { formatCount, formatShort, formatTime, formatValue, isNumberType, isTimeType } from '../lib/format.ts'
import { useWidth } from '../lib/hooks.ts'
import { useChangeParams, useParams } from '../lib/router.tsx'
import { colourOf, useIsDark } from '../lib/theme.ts'
import { Empty } from './basics.tsx'
import { colourOfSeries } from './colours.ts'
import { Dot, timeLabels } from './time-bars.tsx'

interface ResultChartProps {
  columns: readonly { name: string; type: string }[]
  rows: readonly (readonly unknown[])[]
  total: number
}

const MOST_CATEGORIES = 40
const MOST_SERIES = 8
const HEIGHT = 360

export function ResultChart({ columns, rows, total }: ResultChartProps) {
  const params = useParams()
  const change = useChangeParams()
  const numbers = columns.filter(({ type }) => isNumberType(type))
  const x =
    columns.find(({ name }) => name === params.get('x')) ?? columns.find(({ type }) => isTimeType(type)) ?? columns[0]
  const y = numbers.find(({ name }) => name === params.get('y')) ?? numbers.find(({ name }) => name !== x?.name)
  const isOver = x !== undefined && (isTimeType(x.type) || isNumberType(x.type))
  const names = columns.filter(
    (column) => column !== x && column !== y && !isNumberType(column.type) && !isTimeType(column.type),
  )
  const by = isOver
    ? (names.find(({ name }) => name === params.get('by')) ?? (params.get('by') === '-' ? undefined : names[0]))
    : undefined
  if (!x || !y)
    return (
      <Empty icon="chart" title="There is no number to draw">
        A chart needs a column of numbers besides another one.
      </Empty>
    )
  const data = { x: columns.indexOf(x), y: columns.indexOf(y), by: by ? columns.indexOf(by) : undefined }
  const choice = (label: string, name: string, value: string, all: readonly { name: string }[], none?: string) => (
    <label className="inline-field">
      <span>{label}</span>
      <select value={value} onChange={({ target }) => change({ [name]: target.value }, { replace: true })}>
        {none && <option value="-">{none}</option>}
        {all.map((column) => (
          <option key={column.name}>{column.name}</option>
        ))}
      </select>
    </label>
  )
  return (
    <div className="chart-box">
      <div className="chart-choices">
        {choice('Across', 'x', x.name, columns)}
        {choice('Height', 'y', y.name, numbers)}
        {isOver && names.length > 0 && choice('Split by', 'by', by?.name ?? '-', names, 'nothing')}
        {rows.length < total && <span className="hint">Of the first {formatCount(rows.length)} rows</span>}
      </div>
      {isOver ? (
        <OverChart rows={rows} at={data} isTime={isTimeType(x.type)} label={`${y.name} over ${x.name}`} />
      ) : (
        <Categories rows={rows} at={data} label={`${y.name} by ${x.name}`} />
      )}
    </div>
  )
}

interface At {
  x: number
  y: number
  by: number | undefined
}

function Categories({ rows, at, label }: { rows: ResultChartProps['rows']; at: At; label: string }) {
  const shown = rows
    .slice(0, MOST_CATEGORIES)
    .map((row) => ({ name: formatValue(row[at.x]) || 'NULL', n: Number(row[at.y] ?? 0) }))
  const most = Math.max(1, ...shown.map(({ n }) => Math.abs(n)))
  return (
    <div className="categories">
      <ol className="bar-list" aria-label={label}>
        {shown.map(({ name, n }, i) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: rows of a result have no other name
          <li key={i} className="bar-line" title={`${name}: ${formatCount(n)}`}>
            <span className="bar-label">{name}</span>
            <span className="bar-value num">{formatCount(n)}</span>
            <span className="bar-track" aria-hidden="true">
              <span className="bar" style={{ width: `${(100 * Math.abs(n)) / most}%` }} />
            </span>
          </li>
        ))}
      </ol>
      {rows.length > MOST_CATEGORIES && (
        <p className="list-rest">
          The first {MOST_CATEGORIES} of {formatCount(rows.length)} rows
        </p>
      )}
    </div>
  )
}

interface Series {
  names: string[]
  data: uPlot.AlignedData
}

function seriesOf(rows: ResultChartProps['rows'], { x, y, by }: At, isTime: boolean): Series {
  const sums = new Map<string, Map<number, number>>()
  for (const row of rows) {
    const at = isTime ? Date.parse(String(row[x])) / 1000 : Number(row[x])
    if (row[x] === null || Number.isNaN(at)) continue
    const name = by === undefined ? '' : formatValue(row[by]) || 'NULL'
    const own = sums.get(name) ?? new Map<number, number>()
    own.set(at, (own.get(at) ?? 0) + Number(row[y] ?? 0))
    sums.set(name, own)
  }
  const total = (own: Map<number, number>) => [...own.values()].reduce((sum, n) => sum + n, 0)
  const largest = [...sums].sort((a, b) => total(b[1]) - total(a[1])).slice(0, MOST_SERIES)
  const xs = [...new Set(largest.flatMap(([, own]) => [...own.keys()]))].sort((a, b) => a - b)
  return {
    names: largest.map(([name]) => name),
    data: [xs, ...largest.map(([, own]) => xs.map((at) => own.get(at) ?? null))] as uPlot.AlignedData,
  }
}

function OverChart({
  rows,
  at,
  isTime,
  label,
}: {
  rows: ResultChartProps['rows']
  at: At
  isTime: boolean
  label: string
}) {
  const [box, width] = useWidth<HTMLDivElement>()
  const chart = useRef<HTMLDivElement>(null)
  const isDark = useIsDark()
  const { x, y, by } = at
  const { names, data } = useMemo(() => seriesOf(rows, { x, y, by }, isTime), [rows, x, y, by, isTime])
  // biome-ignore lint/correctness/useExhaustiveDependencies: colours are read anew when the theme changes
  useEffect(() => {
    const { current } = chart
    if (!current || width === 0) return
    const axis = {
      stroke: colourOf('--text-3'),
      grid: { stroke: colourOf('--line'), width: 1 },
      ticks: { show: false },
      font: '11px Inter Variable',
    }
    const plot = new uPlot(
      {
        width,
        height: HEIGHT,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'UTC'),
        scales: { x: { time: isTime } },
        axes: [
          isTime ? { ...axis, values: timeLabels, space: 100 } : axis,
          { ...axis, size: 56, values: (_, ticks) => ticks.map(formatShort) },
        ],
        legend: { show: false },
        cursor: { drag: { x: true, y: false } },
        series: [
          {},
          ...names.map((name, i) => ({
            label: name,
            stroke: colourOf(colourOfSeries(i)),
            width: 1.5,
            spanGaps: true,
            points: { show: data[0].length < 80, size: 5 },
          })),
        ],
      },
      data,
      current,
    )
    return () => plot.destroy()
  }, [names, data, width, isDark, isTime])
  const [first] = data[0]
  const last = data[0].at(-1)
  const text = (n: number | undefined) =>
    n === undefined ? '' : isTime ? `${formatTime(new Date(n * 1000).toISOString(), 0)} UTC` : String(n)
  return (
    <div ref={box} className="over-chart">
      <div
        ref={chart}
        role="img"
        aria-label={`${label}, from ${text(first)} to ${text(last)}`}
        style={{ height: HEIGHT }}
      />
      {names.length > 1 && (
        <p className="readout">
          {names.map((name, i) => (
            <span key={name}>
              <Dot colour={colourOfSeries(i)} /> {name}
            </span>
          ))}
        </p>
      )}
    </div>
  )
}

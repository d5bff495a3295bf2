/** Search: which events, as a table with the columns that are wanted; one of them in full beside it. */

import { useCallback, useEffect, useMemo, useState } from 'react'
import type { SearchAnswer } from '../../api/contract.ts'
import { ask, messageOf } from '../lib/api.ts'
import { COMMON, defaultColumns, TELLING } from '../lib/default-columns.ts'
import { type Filter, readFilter } from '../lib/filter.ts'
import {
  formatBytes,
  formatCount,
  formatMs,
  formatTime,
  formatValue,
  isBytesColumn,
  isNumberType,
  isTimeType,
  plural,
} from '../lib/format.ts'
import { useIsNarrow, useMedia, useTitle } from '../lib/hooks.ts'
import { hrefWith, navigate, useChangeParams, useParams } from '../lib/router.tsx'
import { type KnownColumn, useColumns, useSchema, useTables } from '../lib/schema.ts'
import { useAsk } from '../lib/use-ask.ts'
import { Button, Empty, Failed, LinkButton, Notice, PageHead, Skeleton } from '../parts/basics.tsx'
import { colourOfType } from '../parts/colours.ts'
import { DataTable, type TableColumn } from '../parts/data-table.tsx'
import { EventPanel } from '../parts/event-panel.tsx'
import { FilterBar } from '../parts/filter-bar.tsx'
import { Popover } from '../parts/popover.tsx'
import { Dot, TimeBars } from '../parts/time-bars.tsx'
import { sayError } from '../parts/toasts.tsx'

const PAGE_ROWS = 100
/** More than anybody reads; a query is the way to them. */
const MOST_ROWS = 20_000
const EVENT = ['event', 'at'] as const

type Row = readonly unknown[]

/** The server says it, since it knows what the search does with words and networks. */
function AsSql({ filter, columns, order }: { filter: Filter; columns: string[]; order: 'newest' | 'oldest' }) {
  const { types, from, to, text, conditions } = filter
  const body = { types, from, to, text, conditions, columns, order }
  const open = () =>
    ask('POST /api/search/sql', { body }).then(({ sql }) => navigate(hrefWith('/sql', { sql })), sayError)
  return (
    <Button icon="sql" onClick={() => void open()}>
      As SQL
    </Button>
  )
}

export function SearchPage() {
  useTitle('Search')
  const params = useParams()
  const change = useChangeParams()
  const filter = useMemo(() => readFilter(params), [params])
  const order = params.get('order') === 'oldest' ? 'oldest' : 'newest'
  const schema = useSchema()
  const tables = useTables()
  const known = useColumns(filter.types)
  const chosen = params.get('cols')?.split(',').filter(Boolean)
  const shown = chosen ?? defaultColumns(filter.types, known)
  const isMixed = filter.types.length !== 1
  const wanted =
    isMixed && !chosen
      ? [...new Set([...shown, ...TELLING.filter((name) => known.some((each) => each.name === name))])]
      : shown
  const isReady = schema.answer !== undefined || schema.error !== undefined
  const key = keyOf(filter)
  const pages = usePages(isReady ? `${key} ${order} ${wanted.join()}` : undefined, filter, order, wanted)
  const event = params.get('event')
  const isEmpty = tables.answer?.tables.length === 0

  const histogram = useAsk(isEmpty ? undefined : `histogram ${key}`, (signal) =>
    ask('POST /api/search/histogram', { body: { ...filter, buckets: 120, by: 'log_type' }, signal }),
  )
  const counted = useAsk(isEmpty ? undefined : `count ${key}`, (signal) =>
    ask('POST /api/search/count', { body: filter, signal }),
  )
  const open = useCallback(
    (row: Row) => change({ event: `${row[2]}/${row[1]}`, at: String(row[0] ?? '') }, { replace: params.has('event') }),
    [change, params],
  )
  const close = useCallback(() => change({ event: null, at: null }, { replace: true }), [change])
  const isWide = useMedia('(min-width: 1180px)')

  if (isEmpty) {
    return (
      <>
        <PageHead title="Search" />
        <Empty
          icon="search"
          title="There is nothing to search yet"
          actions={
            <LinkButton look="primary" href="/captures">
              Put a capture in
            </LinkButton>
          }
        >
          Events are found here as soon as a capture is loaded.
        </Empty>
      </>
    )
  }
  const total = counted.isOld ? undefined : counted.answer?.count
  return (
    <div className={event && isWide ? 'search search-split' : 'search'}>
      <div className="search-main">
        <PageHead title="Search" />
        <FilterBar filter={filter} resets={EVENT} />
        <div className={histogram.isOld ? 'search-time old' : 'search-time'}>
          {histogram.answer && histogram.answer.bars.length > 0 ? (
            <TimeBars answer={histogram.answer} height={112} onRange={(from, to) => change({ from, to })} />
          ) : histogram.error ? null : histogram.answer ? (
            <p className="none">Nothing over time</p>
          ) : (
            <Skeleton height={132} />
          )}
        </div>
        <div className="results-bar">
          <p className="results-count" role="status">
            {total === undefined ? 'Counting…' : <strong className="num">{plural(total, 'event')}</strong>}
            {pages.last && <span className="faint num">first rows in {formatMs(pages.firstMs)}</span>}
          </p>
          <div className="results-tools">
            <select
              aria-label="Order"
              value={order}
              onChange={({ target }) =>
                change({ order: target.value === 'oldest' ? 'oldest' : null, event: null, at: null })
              }
            >
              <option value="newest">Newest first</option>
              <option value="oldest">Oldest first</option>
            </select>
            <ColumnPicker
              known={known}
              shown={shown}
              isChosen={chosen !== undefined}
              apply={(cols) => change({ cols: cols?.join(',') })}
            />
            <AsSql filter={filter} columns={shown} order={order} />
          </div>
        </div>
        {pages.last?.warnings.map((text) => (
          <Notice key={text} tone="warn">
            {text}
          </Notice>
        ))}
        <Results pages={pages} isMixed={isMixed && !chosen} shown={shown} opened={event} open={open} />
      </div>
      {event && (
        <EventPanel
          key={event}
          place={event}
          time={params.get('at')}
          filter={filter}
          isBeside={isWide}
          onClose={close}
        />
      )}
    </div>
  )
}

function keyOf(filter: Filter): string {
  return JSON.stringify(filter)
}

interface Pages {
  columns: SearchAnswer['columns']
  rows: readonly Row[]
  last: SearchAnswer | undefined
  firstMs: number
  error: string | undefined
  isAsking: boolean
  isOld: boolean
  more(): void
  again(): void
}

/** Page after page of one search; a new search begins anew, with the old rows still shown until the first new ones are there. */
function usePages(
  key: string | undefined,
  filter: Filter,
  order: 'newest' | 'oldest',
  columns: readonly string[],
): Pages {
  const [turn, setTurn] = useState(0)
  const [state, setState] = useState<{ key: string; rows: Row[]; last?: SearchAnswer; firstMs: number }>({
    key: '',
    rows: [],
    firstMs: 0,
  })
  const [error, setError] = useState<string>()
  const [isAsking, setAsking] = useState(false)
  const fetchPage = (after: string | null, signal?: AbortSignal) =>
    ask('POST /api/search', {
      body: { ...filter, order, columns: [...columns], limit: PAGE_ROWS, ...(after && { after }) },
      ...(signal && { signal }),
    })

  // biome-ignore lint/correctness/useExhaustiveDependencies: the key holds all that the search is made of
  useEffect(() => {
    if (key === undefined) return
    const controller = new AbortController()
    setError(undefined)
    setAsking(true)
    const started = performance.now()
    fetchPage(null, controller.signal).then(
      (last) => {
        setState({ key, rows: last.rows, last, firstMs: performance.now() - started })
        setAsking(false)
      },
      (reason: unknown) => {
        if (controller.signal.aborted) return
        setError(messageOf(reason))
        setAsking(false)
      },
    )
    return () => controller.abort()
  }, [key, turn])

  const more = () => {
    const next = state.last?.next
    if (!next || isAsking || state.key !== key || state.rows.length >= MOST_ROWS) return
    setAsking(true)
    fetchPage(next)
      .then((last) =>
        setState((old) => (old.last?.next === next ? { ...old, rows: [...old.rows, ...last.rows], last } : old)),
      )
      .catch((reason: unknown) => setError(messageOf(reason)))
      .finally(() => setAsking(false))
  }
  return {
    columns: state.last?.columns ?? [],
    rows: state.rows,
    last: state.last,
    firstMs: state.firstMs,
    error,
    isAsking,
    isOld: state.key !== key,
    more,
    again: () => setTurn((n) => n + 1),
  }
}

interface ResultsProps {
  pages: Pages
  isMixed: boolean
  shown: readonly string[]
  opened: string | null
  open(row: Row): void
}

function Results({ pages, isMixed, shown, opened, open }: ResultsProps) {
  const isNarrow = useIsNarrow()
  const { columns, rows, last, error, isOld } = pages
  const table = useMemo(() => tableColumns(columns, shown, isMixed, open), [columns, shown, isMixed, open])
  if (error) return <Failed error={error} again={pages.again} />
  if (!last) return <Skeleton lines={12} />
  if (rows.length === 0 && last.next === null) {
    return (
      <Empty icon="search" title="Nothing fits">
        Choose a longer time, other words or fewer conditions.
      </Empty>
    )
  }
  const foot = <Foot pages={pages} />
  if (isNarrow) {
    return (
      <div className={isOld ? 'old' : undefined}>
        <ul className="cards">
          {rows.map((row) => (
            <EventCard key={String(row[1])} row={row} columns={columns} open={open} />
          ))}
        </ul>
        <div className="table-foot">{foot}</div>
      </div>
    )
  }
  return (
    <div className={isOld ? 'results old' : 'results'}>
      <DataTable
        label="Events"
        columns={table}
        rows={rows}
        keyOf={(row) => `${String(row[2])} ${String(row[1])}`}
        isChosen={(row) => opened === `${row[2]}/${row[1]}`}
        onOpen={open}
        onEnd={pages.more}
        foot={foot}
      />
    </div>
  )
}

function Foot({ pages: { rows, last, isAsking, more } }: { pages: Pages }) {
  if (!last) return null
  if (rows.length >= MOST_ROWS)
    return <>The first {formatCount(rows.length)} are shown; narrow the search, or take it to SQL.</>
  if (isAsking) return <>Looking for more…</>
  if (last.next === null) return <>{plural(rows.length, 'event')}, no more.</>
  return (
    <>
      {formatCount(rows.length)} shown
      {!last.complete && `, ${formatCount(last.scanned.files)} of ${formatCount(last.scanned.of)} files looked through`}
      <Button look="quiet" onClick={more}>
        {last.complete ? 'More' : 'Go on looking'}
      </Button>
    </>
  )
}

const WIDTHS: Record<string, number> = {
  src_ip: 150,
  dst_ip: 150,
  src_port: 76,
  dst_port: 76,
  protocol: 80,
  service: 90,
  conn_state: 92,
  duration: 96,
  query: 260,
  host: 200,
  uri: 280,
  user_agent: 280,
  answers: 260,
  server_name: 220,
  cipher: 260,
  method: 76,
  status_code: 92,
  history: 120,
  version: 86,
  capture_id: 130,
  flow_id: 190,
  source: 120,
  mime_type: 160,
  sha256: 180,
  qtype_name: 92,
  rcode_name: 110,
}

function tableColumns(
  columns: SearchAnswer['columns'],
  shown: readonly string[],
  isMixed: boolean,
  open: (row: Row) => void,
): TableColumn<Row>[] {
  const at = (name: string) => columns.findIndex((column) => column.name === name)
  const own = shown.flatMap((name): TableColumn<Row>[] => {
    const index = at(name)
    const type = columns[index]?.type
    if (type === undefined) return []
    const numeric = isNumberType(type) && !/\[\]$/.test(type)
    return [
      {
        id: name,
        title: name,
        width: WIDTHS[name] ?? (isTimeType(type) ? 190 : numeric ? 110 : 160),
        numeric,
        mono: /_ip$|^(flow_id|capture_id|mac|sha256|community_id|ja[34]s?)$/.test(name),
        cell: (row) => cellText(name, row[index]),
        text: (row) => formatValue(row[index]),
      },
    ]
  })
  return [
    {
      id: 'event_time',
      title: (
        <>
          Time <span className="zone">UTC</span>
        </>
      ),
      width: 204,
      cell: (row) => (
        <button
          type="button"
          className="row-open num"
          onClick={() => open(row)}
          aria-label={`Open the ${row[2]} event of ${formatTime(String(row[0] ?? ''), 3)} UTC`}
        >
          {formatTime(row[0] as string | null, 3)}
        </button>
      ),
      text: (row) => `${formatTime(row[0] as string | null, 6)} UTC`,
    },
    {
      id: 'log_type',
      title: 'Type',
      width: 104,
      cell: (row) => (
        <>
          <Dot colour={colourOfType(row[2])} /> {String(row[2])}
        </>
      ),
    },
    ...own,
    ...(isMixed
      ? [
          {
            id: 'what',
            title: 'What',
            width: 260,
            grows: true,
            cell: (row: Row) => telling(columns, row),
            text: (row: Row) => telling(columns, row),
          },
        ]
      : []),
  ]
}

function cellText(name: string, value: unknown) {
  if (value === null || value === undefined) return <span className="faint">–</span>
  if (isBytesColumn(name) && typeof value === 'number') return formatBytes(value)
  if (typeof value === 'number')
    return Number.isInteger(value)
      ? /port|code|_id$/.test(name)
        ? String(value)
        : formatCount(value)
      : value.toPrecision(4)
  return formatValue(value)
}

function telling(columns: SearchAnswer['columns'], row: Row): string {
  for (const name of TELLING) {
    const value = row[columns.findIndex((column) => column.name === name)]
    if (value !== null && value !== undefined && value !== '') return formatValue(value)
  }
  return ''
}

function EventCard({ row, columns, open }: { row: Row; columns: SearchAnswer['columns']; open(row: Row): void }) {
  const value = (name: string) => row[columns.findIndex((column) => column.name === name)]
  const end = (side: 'src' | 'dst') => {
    const port = value(`${side}_port`)
    return [value(`${side}_ip`), port]
      .filter((each) => each !== null && each !== undefined)
      .map(String)
      .join(' : ')
  }
  const rest = columns
    .slice(4)
    .filter(({ name }, i) => !/^(src|dst)_(ip|port)$/.test(name) && row[i + 4] !== null && row[i + 4] !== undefined)
  return (
    <li>
      <button type="button" className="card card-event" onClick={() => open(row)}>
        <span className="card-head">
          <span>
            <Dot colour={colourOfType(row[2])} /> <strong>{String(row[2])}</strong>
          </span>
          <span className="faint num">{formatTime(row[0] as string | null, 3)}</span>
        </span>
        {Boolean(value('src_ip') ?? value('dst_ip')) && (
          <span className="card-ends mono">
            <span>{end('src') || '–'}</span> <span className="faint">→</span> <span>{end('dst') || '–'}</span>
          </span>
        )}
        <span className="card-rest">
          {rest.slice(0, 5).map(({ name }) => (
            <span key={name}>
              <span className="faint">{name}</span> {formatValue(value(name)).slice(0, 120)}
            </span>
          ))}
        </span>
      </button>
    </li>
  )
}

interface ColumnPickerProps {
  known: readonly KnownColumn[]
  shown: readonly string[]
  isChosen: boolean
  apply(columns: string[] | null): void
}

function ColumnPicker({ known, shown, isChosen, apply }: ColumnPickerProps) {
  const [text, setText] = useState('')
  const names = known.map(({ name }) => name).filter((name) => !/^(event_time|event_id|log_type)$/.test(name))
  const rank = (name: string) => (shown.includes(name) ? 0 : COMMON.includes(name) ? 1 : 2)
  const sorted = names.filter((name) => name.includes(text.trim().toLowerCase())).sort((a, b) => rank(a) - rank(b))
  const toggle = (name: string) =>
    apply(shown.includes(name) ? shown.filter((each) => each !== name) : [...shown, name])
  return (
    <Popover label="Columns" icon="columns" align="end" isSet={isChosen}>
      {(close) => (
        <div className="column-picker">
          <input
            type="search"
            aria-label="Find a column"
            placeholder="Find a column"
            value={text}
            onChange={({ target }) => setText(target.value)}
          />
          <fieldset className="choices">
            <legend className="hidden">Columns</legend>
            {sorted.map((name) => (
              <label key={name} className="choice">
                <input type="checkbox" checked={shown.includes(name)} onChange={() => toggle(name)} />
                <span className="choice-name">{name}</span>
                <span className="choice-count">{known.find((each) => each.name === name)?.type.toLowerCase()}</span>
              </label>
            ))}
          </fieldset>
          <div className="form-actions">
            <Button
              onClick={() => {
                apply(null)
                close()
              }}
            >
              The usual ones
            </Button>
          </div>
        </div>
      )}
    </Popover>
  )
}

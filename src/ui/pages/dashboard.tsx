/** The data in figures; each leads to the search that explains it. */

import type { EventFilter, FacetAnswer } from '../../api/contract.ts'
import { ask } from '../lib/api.ts'
import { equals, type Filter, narrow, readFilter, searchHref } from '../lib/filter.ts'
import { formatBytes, formatCount, formatValue, plural } from '../lib/format.ts'
import { useTitle } from '../lib/hooks.ts'
import { useLive } from '../lib/live.ts'
import { Link, useChangeParams, useParams } from '../lib/router.tsx'
import { useTables } from '../lib/schema.ts'
import { type Asked, forgetAnswers, useAsk } from '../lib/use-ask.ts'
import { type BarLine, BarList } from '../parts/bar-list.tsx'
import { Empty, Failed, LinkButton, PageHead, Panel, Skeleton } from '../parts/basics.tsx'
import { colourOfType } from '../parts/colours.ts'
import { FilterBar } from '../parts/filter-bar.tsx'
import { Dot, TimeBars } from '../parts/time-bars.tsx'

const SHOWN = 8

export function DashboardPage() {
  useTitle('Dashboard')
  const params = useParams()
  const filter = readFilter(params)
  const key = params.toString()
  const tables = useTables()
  const body = bodyOf(filter)
  const change = useChangeParams()
  const bars = useAsk(`histogram ${key}`, (signal) =>
    ask('POST /api/search/histogram', { body: { ...body, buckets: 120, by: 'log_type' }, signal }),
  )
  const types = useFacet(key, filter, [], 'log_type', 20)
  const isEmpty = tables.answer?.tables.length === 0
  useLive('capture', ({ capture }) => {
    if (capture.finishedAt === null) return
    for (const prefix of ['histogram', 'facet', 'top', 'tables']) forgetAnswers(prefix)
    if (isEmpty) tables.again()
  })

  if (isEmpty) {
    return (
      <>
        <PageHead title="Dashboard" />
        <Empty
          icon="dashboard"
          title="There are no events yet"
          actions={
            <LinkButton look="primary" href="/captures">
              Put a capture in
            </LinkButton>
          }
        >
          Upload a capture; its figures will be here as soon as it is loaded.
        </Empty>
      </>
    )
  }
  const isConn = filter.types.length === 0 || filter.types.includes('conn')
  return (
    <>
      <PageHead
        title="Dashboard"
        about="Every figure leads to the events behind it."
        actions={
          <LinkButton href={searchHref(filter)} icon="search">
            These events
          </LinkButton>
        }
      />
      <FilterBar filter={filter} />
      <Figures filter={filter} keyText={key} total={types.answer?.total} />
      <div className="columns-wide">
        <Panel title="Events over time" note={bars.answer && timeNote(bars.answer.total, types.answer?.total)}>
          <Answered asked={bars} height={276}>
            {(answer) =>
              answer.bars.length === 0 ? (
                <Empty icon="dashboard" title="No event in this choice">
                  Choose a longer time or fewer conditions.
                </Empty>
              ) : (
                <TimeBars answer={answer} height={252} onRange={(from, to) => change({ from, to })} />
              )
            }
          </Answered>
        </Panel>
        <Panel title="Log types">
          <Answered asked={types} height={276}>
            {({ facets: [facet] }) => (
              <BarList
                unit="events"
                lines={(facet?.values ?? []).slice(0, SHOWN).map(({ value, count }) => ({
                  key: String(value),
                  label: (
                    <>
                      <Dot colour={colourOfType(value)} /> {String(value)}
                    </>
                  ),
                  text: String(value),
                  value: count,
                  colour: colourOfType(value),
                  href: searchHref(narrow(filter, { types: [String(value)] })),
                }))}
              />
            )}
          </Answered>
        </Panel>
      </div>
      <div className="columns-3">
        {isConn && <TalkersPanel filter={filter} keyText={key} by="src_ip" title="Top talkers" />}
        {isConn && <TalkersPanel filter={filter} keyText={key} by="dst_ip" title="Top responders" />}
        {isConn && <TalkersPanel filter={filter} keyText={key} by="service" title="Services" />}
        {DETAILS.filter(({ type }) => filter.types.length === 0 || filter.types.includes(type)).map((detail) => (
          <FacetPanel key={detail.title} filter={filter} keyText={key} {...detail} />
        ))}
      </div>
    </>
  )
}

/** Some records have no time: they are in no bar. */
function timeNote(inBars: number, total: number | undefined): string {
  const without = total === undefined ? 0 : total - inBars
  return without > 0 ? `${plural(inBars, 'event')}, ${formatCount(without)} without a time` : plural(inBars, 'event')
}

interface Detail {
  title: string
  type: string
  column: string
  mono?: boolean
}

const DETAILS: readonly Detail[] = [
  { title: 'DNS names', type: 'dns', column: 'query' },
  { title: 'DNS response codes', type: 'dns', column: 'rcode_name' },
  { title: 'HTTP hosts', type: 'http', column: 'host' },
  { title: 'HTTP status codes', type: 'http', column: 'status_code' },
  { title: 'TLS server names', type: 'ssl', column: 'server_name' },
  { title: 'TLS versions', type: 'ssl', column: 'version' },
  { title: 'Ports', type: 'conn', column: 'dst_port' },
  { title: 'Connection states', type: 'conn', column: 'conn_state' },
  { title: 'Kinds of files', type: 'files', column: 'mime_type' },
]

function bodyOf({ types, from, to, text, conditions }: Filter): Partial<EventFilter> {
  return { types, conditions, ...(from && { from }), ...(to && { to }), ...(text && { text }) }
}

function useFacet(
  key: string,
  filter: Filter,
  types: readonly string[],
  column: string,
  limit: number,
): Asked<FacetAnswer> {
  return useAsk(`facet ${types.join()} ${column} ${key}`, (signal) =>
    ask('POST /api/search/facets', {
      body: { ...bodyOf(filter), types: types.length > 0 ? [...types] : filter.types, facets: [{ column, limit }] },
      signal,
    }),
  )
}

/** Packets and bytes of connections; the events of all types. */
function Figures({ filter, keyText, total }: { filter: Filter; keyText: string; total: number | undefined }) {
  const wantsConn = filter.types.length === 0 || filter.types.includes('conn')
  const conn = useAsk(wantsConn ? `top figures ${keyText}` : undefined, (signal) =>
    ask('POST /api/search/top', {
      body: {
        ...bodyOf(filter),
        types: ['conn'],
        by: ['event_type'],
        measures: [
          { of: 'count' },
          { of: 'sum', column: 'orig_bytes' },
          { of: 'sum', column: 'resp_bytes' },
          { of: 'distinct', column: 'src_ip' },
          { of: 'distinct', column: 'dst_ip' },
        ],
        limit: 1,
      },
      signal,
    }),
  )
  const row = conn.answer?.rows[0]
  const [, flows, sent, received, from, to] = row ?? []
  const href = searchHref(narrow(filter, { types: ['conn'] }))
  const isThere = conn.answer !== undefined
  const figures: [string, string | undefined, string][] = [
    ['Events', total === undefined ? undefined : formatCount(total), searchHref(filter)],
    ['Connections', isThere ? formatCount(Number(flows ?? 0)) : undefined, href],
    [
      'Bytes out',
      isThere ? formatBytes(Number(sent ?? 0)) : undefined,
      searchHref(narrow(filter, { types: ['conn'], where: [{ column: 'orig_bytes', op: '>', value: 0 }] })),
    ],
    [
      'Bytes in',
      isThere ? formatBytes(Number(received ?? 0)) : undefined,
      searchHref(narrow(filter, { types: ['conn'], where: [{ column: 'resp_bytes', op: '>', value: 0 }] })),
    ],
    ['Hosts that asked', isThere ? formatCount(Number(from ?? 0)) : undefined, href],
    ['Hosts that answered', isThere ? formatCount(Number(to ?? 0)) : undefined, href],
  ]
  return (
    <ul className="figures" aria-label="Figures">
      {figures.map(([name, value, to_]) => (
        <li key={name}>
          <Link href={to_} className="figure">
            <span className="figure-name">{name}</span>
            <span className="figure-value num">
              {value ?? <span className="skeleton figure-wait" aria-hidden="true" />}
            </span>
          </Link>
        </li>
      ))}
    </ul>
  )
}

interface TalkersProps {
  filter: Filter
  keyText: string
  by: string
  title: string
}

/** The largest by what they sent and received together. */
function TalkersPanel({ filter, keyText, by, title }: TalkersProps) {
  const asked = useAsk(`top ${by} ${keyText}`, async (signal) => {
    const measures = ['orig_bytes', 'resp_bytes'].map((column) => ({ of: 'sum' as const, column }))
    const { rows } = await ask('POST /api/search/top', {
      body: { ...bodyOf(filter), types: ['conn'], by: [by], measures, order: 'sum', limit: SHOWN },
      signal,
    })
    return rows.map(([name, out, back]) => ({ name, out: Number(out ?? 0), back: Number(back ?? 0) }))
  })
  const note = (
    <span className="legend">
      <span>
        <Dot colour="--series-1" /> out
      </span>{' '}
      <span>
        <Dot colour="--series-2" /> in
      </span>
    </span>
  )
  return (
    <Panel title={title} note={note}>
      <Answered asked={asked} height={264}>
        {(lines) => (
          <List
            format={formatBytes}
            unit="bytes"
            mono={by !== 'service'}
            lines={lines.map(({ name, out, back }) => ({
              key: String(name),
              label: String(name),
              text: String(name),
              value: out,
              second: back,
              href: searchHref(narrow(filter, { types: ['conn'], where: [equals(by, name)] })),
            }))}
          />
        )}
      </Answered>
    </Panel>
  )
}

function FacetPanel({ filter, keyText, title, type, column }: Detail & { filter: Filter; keyText: string }) {
  const asked = useFacet(keyText, filter, [type], column, SHOWN)
  return (
    <Panel title={title}>
      <Answered asked={asked} height={264}>
        {({ facets: [facet] }) => {
          const values = facet?.values ?? []
          const more = (facet?.other ?? 0) + (facet?.missing ?? 0)
          return (
            <>
              <List
                unit="events"
                lines={values.map(({ value, count }) => ({
                  key: formatValue(value),
                  label: formatValue(value),
                  text: formatValue(value),
                  value: count,
                  colour: colourOfType(type),
                  href: searchHref(narrow(filter, { types: [type], where: [equals(column, value)] })),
                }))}
              />
              {values.length > 0 && more > 0 && (
                <p className="list-rest">
                  {(facet?.other ?? 0) > 0 && <span>{formatCount(facet?.other ?? 0)} others</span>}
                  {(facet?.missing ?? 0) > 0 && (
                    <Link href={searchHref(narrow(filter, { types: [type], where: [{ column, op: 'missing' }] }))}>
                      {formatCount(facet?.missing ?? 0)} without
                    </Link>
                  )}
                </p>
              )}
            </>
          )
        }}
      </Answered>
    </Panel>
  )
}

function List(props: { lines: readonly BarLine[]; unit: string; format?: (n: number) => string; mono?: boolean }) {
  if (props.lines.length === 0) return <p className="none">None in this choice</p>
  return <BarList {...props} />
}

interface AnsweredProps<T> {
  asked: Asked<T>
  height: number
  children(answer: T): React.ReactNode
}

/** The place is held while the answer is on its way; an old one is shown paler. */
function Answered<T>({ asked: { answer, error, isOld, again }, height, children }: AnsweredProps<T>) {
  if (error && (!answer || isOld)) return <Failed error={error} again={again} />
  if (answer === undefined) return <Skeleton height={height} />
  return <div className={isOld ? 'old' : undefined}>{children(answer)}</div>
}

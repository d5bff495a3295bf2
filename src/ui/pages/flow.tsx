/** One flow: all that any log says of it on one time line, and its packets. */

import { useMemo, useState } from 'react'
import type { FlowAnswer, Packet } from '../../api/contract.ts'
import { ask, hrefOf } from '../lib/api.ts'
import { TELLING } from '../lib/default-columns.ts'
import { equals, searchHref } from '../lib/filter.ts'
import { formatBytes, formatCount, formatMs, formatSeconds, formatTime, formatValue, plural } from '../lib/format.ts'
import { useTitle } from '../lib/hooks.ts'
import { hrefWith, Link, useParams } from '../lib/router.tsx'
import { useAsk } from '../lib/use-ask.ts'
import { Badge, Button, Empty, Failed, LinkButton, PageHead, Panel, Skeleton } from '../parts/basics.tsx'
import { colourOfType } from '../parts/colours.ts'
import { DataTable, type TableColumn } from '../parts/data-table.tsx'
import { Dot } from '../parts/time-bars.tsx'

type Line = FlowAnswer['records'][number]
type Cut = NonNullable<FlowAnswer['packets']>

const MOST_PACKETS = 2000

export function FlowPage() {
  useTitle('Flow')
  const params = useParams()
  const body = {
    ...pick('flowId', params.get('flow')),
    ...pick('communityId', params.get('community')),
    ...pick('captureId', params.get('capture')),
    ...pick('time', params.get('at')),
  }
  const isNamed = Boolean(params.get('flow') ?? params.get('community'))
  const { answer, error, again } = useAsk(isNamed ? `flow ${params}` : undefined, (signal) =>
    ask('POST /api/flow', { body, signal }),
  )
  const head = answer && summaryOf(answer)
  const id = params.get('flow') ?? params.get('community') ?? ''
  return (
    <>
      <nav className="crumbs" aria-label="Way here">
        <Link href="/search">Search</Link>
      </nav>
      <PageHead
        title="Flow"
        about={<span className="mono break">{id}</span>}
        actions={
          isNamed && (
            <LinkButton
              icon="search"
              href={searchHref({
                conditions: [params.get('flow') ? equals('flow_id', id) : equals('community_id', id)],
              })}
            >
              As a search
            </LinkButton>
          )
        }
      />
      {!isNamed && (
        <Empty icon="flow" title="No flow is named">
          Open an event in the search and choose “The whole flow”.
        </Empty>
      )}
      {error && <Failed error={error} again={again} />}
      {isNamed && !answer && !error && <Skeleton lines={10} />}
      {answer?.records.length === 0 && (
        <Empty icon="flow" title="Nothing is known of this flow">
          Its capture may have been forgotten.
        </Empty>
      )}
      {answer && answer.records.length > 0 && (
        <>
          {head && <FlowHead head={head} answer={answer} />}
          <Panel
            title="Time line"
            note={`${plural(answer.records.length, 'record')}, found in ${formatMs(answer.elapsedMs)}${answer.truncated ? '; there are more' : ''}`}
            flush
          >
            <TimeLine records={answer.records} />
          </Panel>
          {answer.packets ? (
            <Packets cut={answer.packets} />
          ) : (
            <Panel title="Packets">
              <p className="none">No record tells both ends of it, so that its packets cannot be found.</p>
            </Panel>
          )}
        </>
      )}
    </>
  )
}

function pick<K extends string>(name: K, value: string | null): { [k in K]?: string } {
  return value ? ({ [name]: value } as { [k in K]: string }) : {}
}

interface Summary {
  record: Record<string, unknown>
  from: string | undefined
  seconds: number
}

function summaryOf({ records }: FlowAnswer): Summary {
  const conn = records.find(({ logType }) => logType === 'conn') ?? records[0]
  const times = records.flatMap(({ time, record }) =>
    time ? [Date.parse(time), Date.parse(time) + 1000 * Number(record.duration ?? 0)] : [],
  )
  const from = records.find(({ time }) => time)?.time ?? undefined
  return {
    record: conn?.record ?? {},
    from,
    seconds: times.length > 0 ? (Math.max(...times) - Math.min(...times)) / 1000 : 0,
  }
}

function FlowHead({ head: { record, from, seconds }, answer }: { head: Summary; answer: FlowAnswer }) {
  const end = (side: 'src' | 'dst') => (
    <Link className="mono break" href={searchHref({ conditions: [equals(`${side}_ip`, record[`${side}_ip`])] })}>
      {String(record[`${side}_ip`] ?? '–')}
      {record[`${side}_port`] !== undefined && <span className="faint"> : {String(record[`${side}_port`])}</span>}
    </Link>
  )
  const types = [...new Set(answer.records.map(({ logType }) => logType))]
  const facts: [string, string | undefined][] = [
    ['Began', from && `${formatTime(from, 3)} UTC`],
    ['Lasted', formatSeconds(seconds)],
    ['Protocol', [record.protocol, record.service].filter(Boolean).map(String).join(', ') || undefined],
    ['State', record.conn_state === undefined ? undefined : String(record.conn_state)],
    ['Out', record.orig_bytes === undefined ? undefined : formatBytes(Number(record.orig_bytes))],
    ['In', record.resp_bytes === undefined ? undefined : formatBytes(Number(record.resp_bytes))],
  ]
  return (
    <section className="panel flow-head" aria-label="The flow">
      <p className="ends ends-large">
        {end('src')} <span className="faint">→</span> {end('dst')}
      </p>
      <dl className="flow-facts">
        {facts.map(
          ([name, value]) =>
            value && (
              <div key={name}>
                <dt>{name}</dt>
                <dd className="num">{value}</dd>
              </div>
            ),
        )}
      </dl>
      <p className="flow-types">
        {types.map((type) => (
          <Badge key={type}>
            <Dot colour={colourOfType(type)} /> {type}
          </Badge>
        ))}
      </p>
    </section>
  )
}

const SHOWN_AT_FIRST = 100

function TimeLine({ records }: { records: readonly Line[] }) {
  const [most, setMost] = useState(SHOWN_AT_FIRST)
  const [first, span] = useMemo(() => {
    const starts = records.flatMap(({ time }) => (time ? [Date.parse(time)] : []))
    const ends = records.flatMap(({ time, record }) =>
      time ? [Date.parse(time) + 1000 * Number(record.duration ?? 0)] : [],
    )
    const start = Math.min(...starts)
    return [start, Math.max(1, Math.max(...ends) - start)]
  }, [records])
  return (
    <>
      <ol className="time-line">
        {records.slice(0, most).map((line) => (
          <TimeLineItem key={`${line.logType} ${line.eventId}`} line={line} first={first} span={span} />
        ))}
      </ol>
      {records.length > most && (
        <div className="more">
          <Button onClick={() => setMost(most + 500)}>More ({formatCount(records.length - most)})</Button>
        </div>
      )}
    </>
  )
}

function TimeLineItem({ line, first, span }: { line: Line; first: number; span: number }) {
  const { time, logType, eventId, record } = line
  const at = time ? Date.parse(time) - first : 0
  const wide = 1000 * Number(record.duration ?? 0)
  const offset = {
    marginLeft: `${(100 * at) / span}%`,
    width: `max(6px, ${(100 * wide) / span}%)`,
    background: `var(${colourOfType(logType)})`,
  }
  const href = hrefWith('/search', {
    type: logType,
    where: record.flow_id ? `flow_id = ${record.flow_id}` : null,
    event: `${logType}/${eventId}`,
    at: time,
  })
  return (
    <li>
      <Link href={href} className="tl-line" title={`Open this ${logType} event`}>
        <span className="tl-time num" title={time ? `${formatTime(time, 6)} UTC` : undefined}>
          +{formatSeconds(Math.max(0, at / 1000))}
        </span>
        <span className="tl-type">
          <Dot colour={colourOfType(logType)} /> {logType}
        </span>
        <span className="tl-track" aria-hidden="true">
          <span className="tl-bar" style={offset} />
        </span>
        <span className="tl-what">{whatOf(logType, record)}</span>
      </Link>
    </li>
  )
}

function whatOf(logType: string, record: Record<string, unknown>): string {
  const text = (...names: string[]) =>
    names.flatMap((name) => (record[name] === undefined ? [] : [formatValue(record[name])])).join(' ')
  if (logType === 'conn') {
    const bytes = (name: string) => (record[name] === undefined ? '?' : formatBytes(Number(record[name])))
    return `${text('protocol', 'service', 'conn_state', 'history')}, ${bytes('orig_bytes')} out, ${bytes('resp_bytes')} in`
  }
  if (logType === 'dns') return `${text('qtype_name', 'query')} → ${text('rcode_name', 'answers') || 'no answer'}`
  if (logType === 'http')
    return `${text('method', 'host')} ${text('uri')} → ${text('status_code', 'status_msg') || 'no answer'}`
  if (logType === 'ssl') return text('version', 'server_name', 'cipher')
  const found = TELLING.flatMap((name) => (record[name] === undefined ? [] : [`${name} ${formatValue(record[name])}`]))
  return found.slice(0, 4).join(', ')
}

function Packets({ cut }: { cut: Cut }) {
  const { captureId, ...tuple } = cut
  const params = { id: captureId }
  const { answer, error, again } = useAsk(`packets ${JSON.stringify(cut)}`, (signal) =>
    ask('GET /api/captures/:id/packets', { params, query: { ...tuple, limit: MOST_PACKETS }, signal }),
  )
  const href = hrefOf('GET /api/captures/:id/packets.pcap', { params, query: tuple })
  const { src, srcPort } = tuple
  const columns = useMemo(() => packetColumns(answer?.packets ?? [], src, srcPort), [answer, src, srcPort])
  return (
    <Panel
      title="Packets"
      flush
      note={
        answer &&
        `${plural(answer.matched, 'packet')}, ${formatBytes(answer.bytes)}${answer.truncated ? `; the first ${formatCount(answer.packets.length)} are listed` : ''}`
      }
      actions={
        answer &&
        answer.matched > 0 && (
          <LinkButton href={href} icon="download" look="primary" isDownload>
            Download pcap
          </LinkButton>
        )
      }
    >
      {error && <Failed error={error} again={again} />}
      {!answer && !error && <Skeleton lines={6} />}
      {answer?.matched === 0 && (
        <p className="none">The stored capture has no packets between these ends in this time.</p>
      )}
      {answer && answer.packets.length > 0 && (
        <DataTable
          label="Packets"
          columns={columns}
          rows={answer.packets}
          keyOf={({ number }) => String(number)}
          rowHeight={28}
          maxHeight={480}
        />
      )}
    </Panel>
  )
}

function packetColumns(packets: readonly Packet[], src: string, srcPort: number | undefined): TableColumn<Packet>[] {
  const isOut = (packet: Packet) => packet.src === src && (srcPort === undefined || packet.srcPort === srcPort)
  const start = packets[0] ? Date.parse(packets[0].time) : 0
  const hasVlans = packets.some(({ vlans }) => vlans.length > 0)
  const hasTunnels = packets.some(({ depth }) => depth > 0)
  const end = (ip: string, port: number | null) => (port === null ? ip : `${ip} : ${port}`)
  return [
    { id: 'number', title: 'No.', width: 72, numeric: true, cell: ({ number }) => String(number) },
    {
      id: 'time',
      title: 'After',
      width: 96,
      numeric: true,
      cell: ({ time }) => `+${((Date.parse(time) - start) / 1000).toFixed(3)} s`,
      text: ({ time }) => `${formatTime(time, 6)} UTC`,
    },
    {
      id: 'way',
      title: 'Way',
      width: 56,
      cell: (packet) => (
        <span title={isOut(packet) ? 'from the originator' : 'from the responder'}>{isOut(packet) ? '→' : '←'}</span>
      ),
    },
    {
      id: 'src',
      title: 'From',
      width: 190,
      mono: true,
      cell: (packet) => end(packet.src, packet.srcPort),
      text: (packet) => `${end(packet.src, packet.srcPort)} ${packet.srcMac ?? ''}`,
    },
    {
      id: 'dst',
      title: 'To',
      width: 190,
      mono: true,
      cell: (packet) => end(packet.dst, packet.dstPort),
      text: (packet) => `${end(packet.dst, packet.dstPort)} ${packet.dstMac ?? ''}`,
    },
    { id: 'protocol', title: 'Protocol', width: 84, cell: ({ protocol }) => protocol },
    {
      id: 'flags',
      title: 'Flags',
      width: 140,
      grows: true,
      cell: ({ flags }) => flags ?? <span className="faint">–</span>,
    },
    { id: 'payload', title: 'Payload', width: 90, numeric: true, cell: ({ payload }) => formatCount(payload) },
    {
      id: 'length',
      title: 'Length',
      width: 84,
      numeric: true,
      cell: ({ length }) => formatCount(length),
      text: ({ captured, length }) => (captured < length ? `${captured} of ${length} bytes were captured` : ''),
    },
    ...(hasVlans ? [{ id: 'vlans', title: 'VLAN', width: 80, cell: ({ vlans }: Packet) => vlans.join(', ') }] : []),
    ...(hasTunnels
      ? [{ id: 'depth', title: 'Tunnels', width: 80, numeric: true, cell: ({ depth }: Packet) => String(depth) }]
      : []),
  ]
}

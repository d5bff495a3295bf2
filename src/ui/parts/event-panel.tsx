/** One event in its three layers, with the ways on from it: its flow, the same value elsewhere. */

import { useEffect, useRef } from 'react'
import type { EventDetail } from '../../api/contract.ts'
import { ask } from '../lib/api.ts'
import { equals, type Filter, filterParams, narrow } from '../lib/filter.ts'
import { formatTime, formatValue, shortHash } from '../lib/format.ts'
import { hrefWith, Link, useChangeParams } from '../lib/router.tsx'
import { useAsk } from '../lib/use-ask.ts'
import { Badge, Button, Failed, LinkButton, Notice, Skeleton } from './basics.tsx'
import { colourOfType } from './colours.ts'
import { Icon } from './icons.tsx'
import { Dot } from './time-bars.tsx'
import { say } from './toasts.tsx'

interface EventPanelProps {
  /** `<log type>/<event id>` */
  place: string
  time: string | null
  filter: Filter
  /** Beside the table, or over it. */
  isBeside: boolean
  onClose(): void
}

export function EventPanel({ place, time, filter, isBeside, onClose }: EventPanelProps) {
  const slash = place.indexOf('/')
  const table = place.slice(0, slash)
  const id = place.slice(slash + 1)
  const { answer, error, again } = useAsk(`event ${place}`, (signal) =>
    ask('GET /api/events/:table/:id', { params: { table, id }, query: { time: time ?? undefined }, signal }),
  )
  const panel = useRef<HTMLElement>(null)
  useEffect(() => {
    if (!isBeside) panel.current?.focus()
    const listen = (event: KeyboardEvent) => {
      if (event.key === 'Escape' && !document.querySelector('dialog[open], .popover')) onClose()
    }
    window.addEventListener('keydown', listen)
    return () => window.removeEventListener('keydown', listen)
  }, [isBeside, onClose])
  return (
    <aside className={isBeside ? 'event-panel' : 'event-panel event-over'} aria-label="Event" ref={panel} tabIndex={-1}>
      <div className="event-head">
        <h2>
          <Dot colour={colourOfType(table)} /> {table}
        </h2>
        <Button look="quiet" icon="copy" aria-label="Copy the link to this event" onClick={() => void copyLink()} />
        <Button look="quiet" icon="close" aria-label="Close the event" onClick={onClose} />
      </div>
      {error && <Failed error={error} again={again} />}
      {!answer && !error && <Skeleton lines={10} />}
      {answer && <Detail event={answer} filter={filter} />}
    </aside>
  )
}

async function copyLink(): Promise<void> {
  try {
    await navigator.clipboard.writeText(location.href)
    say('The link was copied.')
  } catch {
    say('The browser does not allow it; the address bar has the link.', { isBad: true })
  }
}

function Detail({ event, filter }: { event: EventDetail; filter: Filter }) {
  const { normalized, enriched, raw, watch, captureId } = event
  const reasons = watch.reasons
  return (
    <div className="event-body">
      <p className="event-time num">{formatTime(event.eventTime, 6)} UTC</p>
      <Ends record={normalized} />
      <div className="event-ways">
        {(event.flowId || event.communityId) && (
          <LinkButton look="primary" icon="flow" href={flowHref(event)}>
            The whole flow
          </LinkButton>
        )}
        {captureId && <LinkButton href={`/captures/${captureId}`}>Its capture</LinkButton>}
      </div>
      {reasons.length > 0 && (
        <Notice tone="warn">
          <p>
            Watched:{' '}
            {[...watch.employees, ...watch.lists].map((name) => (
              <Badge key={name} tone="warn">
                {name}
              </Badge>
            ))}
          </p>
          {reasons.map((reason) => (
            <p key={reason}>{reason}</p>
          ))}
        </Notice>
      )}
      <Layer title="Normalized" about="Canonical names" record={normalized} event={event} filter={filter} />
      <Layer title="Enriched" about="What was added" record={enriched} event={event} filter={filter} />
      <Layer title="Raw" about="As Zeek's log has it" record={raw} event={event} filter={filter} isRaw />
    </div>
  )
}

export function flowHref({
  flowId,
  communityId,
  captureId,
  eventTime,
}: Pick<EventDetail, 'flowId' | 'communityId' | 'captureId' | 'eventTime'>): string {
  return hrefWith('/flow', { flow: flowId, community: flowId ? null : communityId, capture: captureId, at: eventTime })
}

function Ends({ record }: { record: Record<string, unknown> }) {
  const { src_ip, dst_ip, src_port, dst_port, protocol } = record
  if (!src_ip && !dst_ip) return null
  const end = (ip: unknown, port: unknown) => (
    <span className="mono break">
      {String(ip ?? '–')}
      {port !== undefined && <span className="faint"> : {String(port)}</span>}
    </span>
  )
  return (
    <p className="ends">
      {end(src_ip, src_port)}{' '}
      <span className="faint" title={protocol ? String(protocol) : undefined}>
        →
      </span>{' '}
      {end(dst_ip, dst_port)}
    </p>
  )
}

interface LayerProps {
  title: string
  about: string
  record: Record<string, unknown>
  event: EventDetail
  filter: Filter
  isRaw?: boolean
}

/** Raw fields are found under their own names, which are columns only where nothing was promoted: they offer no filter. */
function Layer({ title, about, record, event, filter, isRaw = false }: LayerProps) {
  const change = useChangeParams()
  const entries = Object.entries(record)
  const narrowTo = (name: string, value: unknown, isNot: boolean) => {
    const same = equals(name, value)
    const condition = isNot && same.op === '=' ? { ...same, op: '!=' as const } : same
    const types = isCommon(name) ? filter.types : [event.logType]
    change({ ...filterParams(narrow(filter, { types, where: [condition] })), event: null, at: null })
  }
  return (
    <section className="layer">
      <h3>
        {title} <span className="faint">{about}</span>
      </h3>
      {entries.length === 0 ? (
        <p className="none">Nothing</p>
      ) : (
        <dl>
          {entries.map(([name, value]) => (
            <div key={name} className="layer-line">
              <dt>{name}</dt>
              <dd className={typeof value === 'number' ? 'num break' : 'break'}>
                <span className="layer-value">
                  <Value name={name} value={value} />
                </span>
                {!isRaw && name !== 'event_time' && name !== 'event_id' && (
                  <span className="layer-tools">
                    <button
                      type="button"
                      title="Only these"
                      aria-label={`Only events with this ${name}`}
                      onClick={() => narrowTo(name, value, false)}
                    >
                      <Icon name="plus" />
                    </button>
                    {equals(name, value).op === '=' && (
                      <button
                        type="button"
                        title="Without these"
                        aria-label={`Without events with this ${name}`}
                        onClick={() => narrowTo(name, value, true)}
                      >
                        <Icon name="close" />
                      </button>
                    )}
                  </span>
                )}
              </dd>
            </div>
          ))}
        </dl>
      )}
    </section>
  )
}

const COMMON = /^(src_|dst_|flow_id|capture_id|community_id|source$|protocol|service|direction|event_)/

function isCommon(name: string): boolean {
  return COMMON.test(name)
}

function Value({ name, value }: { name: string; value: unknown }) {
  if (name === 'capture_id' && typeof value === 'string') {
    return (
      <Link href={`/captures/${value}`} className="mono" title={value}>
        {shortHash(value)}
      </Link>
    )
  }
  if (value === null) return <span className="faint">none</span>
  if (Array.isArray(value) && value.length > 1) {
    return (
      <ul className="value-list">
        {value.map((each, i) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a list of values that never changes
          <li key={i}>{formatValue(each)}</li>
        ))}
      </ul>
    )
  }
  return <>{formatValue(value)}</>
}

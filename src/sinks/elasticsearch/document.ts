/**
 * One Zeek record in, one document out: ECS names, and what ECS has no name for under `zeek.<stream>`.
 *
 * A pure function of the record and of where it came from, but for `event.ingested`. The index follows from the log
 * type and the event's month, so that an event that is sent twice meets itself (decision 0010).
 */

import type { Flags } from '../../../stages/event-flags.ts'
import { PROTOCOL_NUMBERS } from '../../../stages/upload/rules/community-id.ts'
import { type TableField, WATCH_COLUMNS } from '../../../stages/upload/rules/table.ts'
import { toMicros } from '../../../stages/upload/rules/values.ts'
import type { Rules } from '../../../stages/upload/rules.ts'
import { type AddressBook, openAddressBook } from './addresses.ts'
import { addTo, compileFill, type Fill, flatten, INVALID_TAG, type Json } from './mapping/compile.ts'
import { isoTime, type Raw, type Value } from './mapping/rules.ts'
import { commonFields, type LogPlan, planOf, tupleOf } from './mapping/table.ts'

export interface Origin {
  eventId: string
  source: string
  captureId?: string
  captureName?: string
  /** ISO 8601. */
  ingested: string
  /** Where watch lists mean the event. */
  flags?: Flags | undefined
}

export interface MadeDocument {
  /** JSON text. */
  text: string
  /** `2026.01`, or `undated`. */
  period: string
}

export type MakeDocument = (record: Raw, origin: Origin) => MadeDocument

export const UNDATED = 'undated'

/** Log types may come from outside, in any number. */
const MOST_PLANS = 500

export function openDocuments({ rules, localNetworks }: { rules: Rules; localNetworks: readonly string[] }) {
  const book = openAddressBook(localNetworks)
  const makers = new Map<string, MakeDocument>()
  return {
    of(logType: string): MakeDocument {
      const known = makers.get(logType)
      if (known !== undefined) return known
      const made = compileDocument(planOf(rules, logType), book)
      if (makers.size >= MOST_PLANS) makers.clear()
      makers.set(logType, made)
      return made
    },
  }
}

function compileDocument(plan: LogPlan, book: AddressBook): MakeDocument {
  const common = compileCommon(plan, book)
  const fill: Fill = compileFill(plan, book, common.handled)
  const { log, stream } = plan
  const dataset = `zeek.${stream}`
  const constants = Object.entries(log.set ?? {}).map(([target, value]) => ({ path: target.split('.'), value }))
  const timeField = plan.table.time?.raw ?? 'ts'

  return (line, { eventId, source, captureId, captureName, ingested, flags }) => {
    const given = flatten(line)
    const event: Json = { id: eventId, kind: log.kind ?? 'event', module: 'zeek', provider: 'zeek', dataset, ingested }
    if (log.category !== undefined) event.category = log.category
    if (log.type !== undefined) event.type = log.type
    const labels: Json = { source }
    if (captureId !== undefined) labels.pcap_sha256 = captureId
    if (captureName !== undefined) labels.pcap_name = captureName
    const doc: Json = { '@timestamp': undefined, event, labels, observer: { name: source } }
    const record = withFlags(doc, given, flags)
    const time = record[timeField]
    const stamp = isoTime(time)
    if (stamp === undefined) delete doc['@timestamp']
    else doc['@timestamp'] = stamp
    common.put(doc, record)
    for (const { path, value } of constants) setAt(doc, path, value)
    fill(doc, record)
    if (time !== undefined && time !== null && stamp === undefined) addTo(doc, 'tags', INVALID_TAG)
    return { text: JSON.stringify(doc), period: periodOf(time) }
  }
}

/** What watch lists say comes from them alone: a record that has such fields of its own keeps them beside the others. */
function withFlags(doc: Json, record: Raw, flags: Flags | undefined): Raw {
  const own = WATCH_COLUMNS.filter((name) => record[name] !== undefined)
  if (own.length > 0) {
    const home = zeek(doc)
    home.extra ??= {}
    for (const name of own) home.extra[name] = textOf(record[name])
  } else if (flags === undefined) return record
  const rest = Object.fromEntries(Object.entries(record).filter(([name]) => !own.includes(name)))
  return { ...rest, ...flags }
}

function textOf(value: Value): Value {
  return typeof value === 'object' ? JSON.stringify(value) : value
}

/** Years that captures are of; a clock that stands elsewhere must not make an index for each month that it claims. */
const FIRST_YEAR = 1990
const LAST_YEAR = 2099

function periodOf(time: Value): string {
  const micros = toMicros(time)
  if (micros === undefined) return UNDATED
  const date = new Date(micros / 1000)
  const year = date.getUTCFullYear()
  if (!(year >= FIRST_YEAR && year <= LAST_YEAR)) return UNDATED
  return `${year}.${String(date.getUTCMonth() + 1).padStart(2, '0')}`
}

function compileCommon({ table, stream, log }: LogPlan, book: AddressBook) {
  const tuple = tupleOf(table)
  const handled = new Set(commonFields(table))
  const at = (record: Raw, field: TableField | undefined): Value =>
    field === undefined ? undefined : record[field.raw]

  function put(doc: Json, record: Raw): void {
    const uid = record.uid
    if (typeof uid === 'string' && uid !== '') zeek(doc).session_id = uid
    const src = at(record, tuple.srcIp)
    const dst = at(record, tuple.dstIp)
    const from = side(doc, 'source', src, tuple.srcIp)
    const to = side(doc, 'destination', dst, tuple.dstIp)
    const proto = at(record, tuple.proto)
    const transport = typeof proto === 'string' ? proto.toLowerCase() : transportOf(record)
    const isIcmp = transport?.startsWith('icmp') === true
    const srcPort = portAt(doc, record, tuple.srcPort)
    const dstPort = portAt(doc, record, tuple.dstPort)
    if (isIcmp && srcPort !== undefined) {
      const home = zeek(doc)
      home[stream] ??= {}
      home[stream].icmp = { type: srcPort, code: dstPort }
    } else {
      if (srcPort !== undefined) within(doc, 'source').port = srcPort
      if (dstPort !== undefined) within(doc, 'destination').port = dstPort
    }
    if (log.roles === true) {
      if (from !== undefined) doc.client = roleOf(src, isIcmp ? undefined : srcPort)
      if (to !== undefined) doc.server = roleOf(dst, isIcmp ? undefined : dstPort)
    }
    network(doc, record, { src, dst, from, to, transport, srcPort, dstPort })
  }

  function side(doc: Json, name: 'source' | 'destination', value: Value, field: TableField | undefined) {
    if (value === undefined || value === null) return undefined
    const known = typeof value === 'string' ? book.find(value) : undefined
    if (known === undefined) {
      extra(doc, field as TableField, value)
      return undefined
    }
    doc[name] = { address: value, ip: value }
    addTo(within(doc, 'related'), 'ip', value)
    return known
  }

  function portAt(doc: Json, record: Raw, field: TableField | undefined): number | undefined {
    const value = at(record, field)
    if (value === undefined || value === null) return undefined
    if (Number.isInteger(value) && value >= 0 && value <= 65535) return value
    extra(doc, field as TableField, value)
    return undefined
  }

  interface Flow {
    src: Value
    dst: Value
    from: ReturnType<AddressBook['find']>
    to: ReturnType<AddressBook['find']>
    transport: string | undefined
    srcPort: number | undefined
    dstPort: number | undefined
  }

  function network(doc: Json, record: Raw, { src, dst, from, to, transport, srcPort, dstPort }: Flow): void {
    const some = from ?? to
    if (some === undefined && transport === undefined) return
    const net = within(doc, 'network')
    if (some !== undefined) net.type = some.address.version === 6 ? 'ipv6' : 'ipv4'
    if (transport !== undefined) net.transport = transport
    const number = protocolNumber(transport, at(record, tuple.ipProto), some?.address.version === 6)
    if (number !== undefined) net.iana_number = String(number)
    if (from !== undefined && to !== undefined) net.direction = directionOf(from.isLocal, to.isLocal)
    const given = at(record, tuple.communityId)
    const id =
      typeof given === 'string' && given !== ''
        ? given
        : from && to && number !== undefined
          ? book.communityId(src, dst, number, srcPort, dstPort)
          : undefined
    if (id !== undefined) net.community_id = id
  }

  function transportOf(record: Raw): string | undefined {
    const { transport } = table.rules
    if (typeof transport !== 'object') return transport
    const key = record[transport.field]
    return typeof key === 'string' && Object.hasOwn(transport.values, key) ? transport.values[key] : undefined
  }

  return { put, handled }
}

function protocolNumber(transport: string | undefined, given: Value, isIpv6: boolean): number | undefined {
  const known =
    transport !== undefined && Object.hasOwn(PROTOCOL_NUMBERS, transport) ? PROTOCOL_NUMBERS[transport] : undefined
  if (known === 1 && isIpv6) return 58
  if (known !== undefined) return known
  return Number.isInteger(given) && given >= 0 && given <= 255 ? given : undefined
}

function directionOf(srcIsLocal: boolean, dstIsLocal: boolean): string {
  if (srcIsLocal) return dstIsLocal ? 'internal' : 'outbound'
  return dstIsLocal ? 'inbound' : 'external'
}

function roleOf(ip: string, port: number | undefined): Json {
  return port === undefined ? { address: ip, ip } : { address: ip, ip, port }
}

function extra(doc: Json, field: TableField, value: Value): void {
  const home = zeek(doc)
  home.extra ??= {}
  home.extra[field.raw] = textOf(value)
  addTo(doc, 'tags', INVALID_TAG)
}

function zeek(doc: Json): Json {
  return within(doc, 'zeek')
}

function within(doc: Json, name: string): Json {
  doc[name] ??= {}
  return doc[name]
}

function setAt(doc: Json, path: readonly string[], value: string): void {
  let home = doc
  for (const part of path.slice(0, -1)) home = within(home, part)
  home[path.at(-1) as string] = value
}

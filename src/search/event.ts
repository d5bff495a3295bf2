/** One event in its layers, and all records of one flow. */

import { tableOf } from '../../stages/upload/rules/table.ts'
import type { Rules } from '../../stages/upload/rules.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { EventDetail, FlowAnswer, FlowRequest } from '../api/contract.ts'
import { identifier, literal } from '../query/sql.ts'
import { type AnswerColumn, ask } from './ask.ts'
import type { CatalogueFile } from './catalogue.ts'
import type { SearchColumn } from './columns.ts'
import type { SummaryParts } from './summaries.ts'

export interface EventParts extends SummaryParts {
  ledger: Ledger
  rules: Rules
  /** Absolute paths of the files that may hold rows of a capture. */
  pathsOf(captureId: string): ReadonlySet<string>
}

const DAY_MS = 86_400_000
const NO_FILTER = { types: [], conditions: [] }

export async function eventOf(
  parts: EventParts,
  type: string,
  eventId: string,
  time: string | undefined,
): Promise<EventDetail | undefined> {
  const range = time === undefined ? {} : { from: Date.parse(time), to: Date.parse(time) + 1 }
  let files = await parts.catalogue.files([type], range)
  const captureId = captureOf(parts.ledger, eventId)
  if (captureId !== undefined) files = within(parts, files, [captureId])
  const found = await recordsOf(parts, type, files, [eventId])
  const [record] = found
  return record && layersOf(parts, type, record)
}

/** An event's id begins with 24 digits of its capture's. */
function captureOf(ledger: Ledger, eventId: string): string | undefined {
  const [prefix] = /^[0-9a-f]{24}(?=[.:_-])/.exec(eventId) ?? []
  if (prefix === undefined) return undefined
  try {
    return ledger.captures.resolve(prefix).id
  } catch {
    return undefined
  }
}

function within({ pathsOf }: EventParts, files: CatalogueFile[], captures: readonly string[]): CatalogueFile[] {
  const paths = new Set(captures.flatMap((id) => [...pathsOf(id)]))
  const own = files.filter(({ path, rows }) => paths.has(path) || rows === undefined)
  return own.length === 0 ? files : own
}

type Record_ = Record<string, unknown>

async function recordsOf(
  { connection, source }: EventParts,
  type: string,
  files: readonly CatalogueFile[],
  ids: readonly string[],
): Promise<Record_[]> {
  if (files.length === 0 || ids.length === 0) return []
  const columns = await source.columns(connection, type, files)
  const select = await source.select(connection, {
    files,
    filter: NO_FILTER,
    wanted: columns.filter(({ layer }) => layer !== 'partition').map(({ name }) => name),
    types: new Map(columns.map((column) => [column.name, column.type])),
    and: ids.length === 1 ? `event_id = ${literal(ids[0] as string)}` : `event_id IN (${ids.map(literal).join(', ')})`,
    warnings: new Set(),
  })
  if (select === undefined) return []
  const answer = await ask(connection, select)
  return answer.rows.map((row) => objectOf(answer.columns, row))
}

function objectOf(columns: readonly AnswerColumn[], row: readonly unknown[]): Record_ {
  return Object.fromEntries(columns.flatMap(({ name }, i) => (row[i] === null ? [] : [[name, row[i]]])))
}

function layersOf({ rules }: EventParts, type: string, record: Record_): EventDetail {
  const table = tableOf(rules, type)
  const raw: Record_ = {}
  for (const field of table.fields) {
    const value = record[field.column]
    if (value === undefined || field.column === 'community_id') continue
    raw[field.raw] = field.type === 'time' ? secondsOf(String(value)) : value
  }
  Object.assign(raw, extraOf(record.extra))
  const normalized: Record_ = {}
  const enriched: Record_ = {}
  const known = new Set(table.fields.filter(({ promoted }) => !promoted).map(({ column }) => column))
  for (const [name, value] of Object.entries(record)) {
    if (name === 'extra' || name.startsWith('watch_')) continue
    const isNormalized =
      table.fields.some(({ column, promoted }) => promoted && column === name) ||
      Object.hasOwn(table.rules.static, name)
    if (isNormalized) normalized[name] = value
    else if (!known.has(name) || name === 'community_id') enriched[name] = value
  }
  const text = (name: string) => (typeof record[name] === 'string' ? (record[name] as string) : null)
  const list = (name: string) => (Array.isArray(record[name]) ? (record[name] as string[]) : [])
  return {
    logType: type,
    eventId: String(record.event_id),
    eventTime: text('event_time'),
    captureId: text('capture_id'),
    source: text('source'),
    flowId: text('flow_id'),
    communityId: text('community_id'),
    raw,
    normalized,
    enriched,
    watch: { employees: list('watch_employee'), lists: list('watch_list'), reasons: list('watch_reason') },
  }
}

function extraOf(text: unknown): Record_ {
  if (typeof text !== 'string') return {}
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record_) : { extra: value }
  } catch {
    return { extra: text }
  }
}

/** As Zeek writes a time: seconds with six decimals. */
function secondsOf(iso: string): number | string {
  const ms = Date.parse(iso)
  if (Number.isNaN(ms)) return iso
  const micros = Number((/\.\d{3}(\d{1,3})/.exec(iso)?.[1] ?? '').padEnd(3, '0'))
  return Number((Math.floor(ms) / 1000 + micros / 1e6).toFixed(6))
}

const FLOW_LISTS = ['uids', 'conn_uids', 'uid']
const FILE_LISTS = ['orig_fuids', 'resp_fuids', 'cert_chain_fuids', 'client_cert_chain_fuids', 'fuids']
/** Logs of files, which name no flow but the file's id. */
const FILE_TYPES = ['files', 'x509', 'pe', 'ocsp']

export async function flowOf(parts: EventParts, request: FlowRequest): Promise<Omit<FlowAnswer, 'elapsedMs'>> {
  const { flowId, communityId, captureId, time, limit } = request
  const at = time === undefined ? undefined : Date.parse(time)
  const range = at === undefined ? {} : { from: at - DAY_MS, to: at + DAY_MS }
  const all = await parts.catalogue.files(await parts.catalogue.types(), range)
  const files = captureId === undefined ? all : within(parts, all, [captureId])
  const first = await find(parts, files, limit + 1, (columns) => matchFlow(columns, { flowId, communityId, captureId }))
  const records = await fetchAll(parts, files, first.slice(0, limit))
  const fuids = [...new Set(records.flatMap(({ logType, record }) => fuidsOf(logType, record)))].slice(0, 1000)
  const more =
    fuids.length === 0
      ? []
      : await find(
          parts,
          files.filter(({ type }) => FILE_TYPES.includes(type)),
          limit,
          (columns) =>
            anyOf(columns, ['flow_id', 'fuid', 'id'], (name) => `${name} IN (${fuids.map(literal).join(', ')})`),
        )
  const known = new Set(records.map(({ eventId }) => eventId))
  const added = await fetchAll(parts, files, more.filter(({ id }) => !known.has(id)).slice(0, limit))
  const sorted = [...records, ...added].sort((a, b) => (a.time ?? '').localeCompare(b.time ?? ''))
  return {
    records: sorted.slice(0, limit),
    truncated: first.length > limit || sorted.length > limit,
    packets: packetsOf(sorted),
  }
}

interface Match {
  type: string
  id: string
}

async function find(
  { connection, source }: EventParts,
  files: readonly CatalogueFile[],
  limit: number,
  match: (columns: readonly SearchColumn[]) => string,
): Promise<Match[]> {
  const select = await source.select(connection, {
    ...{ files, filter: NO_FILTER, match, warnings: new Set<string>() },
    wanted: ['log_type', 'event_id', 'event_time'],
    types: new Map([['event_time', 'TIMESTAMP']]),
  })
  if (select === undefined) return []
  const { rows } = await ask(connection, `SELECT * FROM (${select}) ORDER BY event_time NULLS LAST LIMIT ${limit}`)
  return rows.map(([type, id]) => ({ type: String(type), id: String(id) }))
}

function matchFlow(
  columns: readonly SearchColumn[],
  { flowId, communityId, captureId }: Pick<FlowRequest, 'flowId' | 'communityId' | 'captureId'>,
): string {
  const parts = []
  if (flowId !== undefined) {
    const id = literal(flowId)
    parts.push(anyOf(columns, ['flow_id'], (name) => `${name} = ${id}`))
    for (const { name, type } of columns.filter((column) => FLOW_LISTS.includes(column.name)))
      parts.push(type.endsWith('[]') ? `list_contains(${identifier(name)}, ${id})` : `${identifier(name)} = ${id}`)
  }
  if (communityId !== undefined)
    parts.push(anyOf(columns, ['community_id'], (name) => `${name} = ${literal(communityId)}`))
  const either = parts.map((part) => `(${part})`).join(' OR ') || 'false'
  return captureId === undefined ? either : `capture_id = ${literal(captureId)} AND (${either})`
}

function anyOf(columns: readonly SearchColumn[], names: readonly string[], sql: (name: string) => string): string {
  const own = names.filter((name) => columns.some((column) => column.name === name && column.type === 'VARCHAR'))
  return own.map((name) => sql(identifier(name))).join(' OR ') || 'false'
}

async function fetchAll(parts: EventParts, files: readonly CatalogueFile[], matches: readonly Match[]) {
  const records: FlowAnswer['records'] = []
  for (const [type, some] of Map.groupBy(matches, (match) => match.type)) {
    const own = files.filter((file) => file.type === type)
    for (const record of await recordsOf(
      parts,
      type,
      own,
      some.map(({ id }) => id),
    )) {
      records.push({
        time: (record.event_time as string | undefined) ?? null,
        logType: type,
        eventId: String(record.event_id),
        captureId: (record.capture_id as string | undefined) ?? null,
        record,
      })
    }
  }
  return records
}

function fuidsOf(logType: string, record: Record_): string[] {
  const lists = FILE_LISTS.flatMap((name) => (Array.isArray(record[name]) ? (record[name] as string[]) : []))
  const own = logType === 'files' && typeof record.flow_id === 'string' ? [record.flow_id] : []
  return [...lists, ...own, ...(typeof record.fuid === 'string' ? [record.fuid] : [])]
}

const PROTOCOLS = ['tcp', 'udp', 'icmp', 'sctp'] as const
const MARGIN_MS = 1000

/** By the connection's record; without one, by any record that names both ends. */
function packetsOf(records: FlowAnswer['records']): FlowAnswer['packets'] {
  const whole = records.filter(({ record, time, captureId }) => record.src_ip && record.dst_ip && time && captureId)
  const chosen = whole.find(({ logType }) => logType === 'conn') ?? whole[0]
  if (chosen === undefined) return null
  const { record, captureId } = chosen
  const start = Math.min(...whole.map(({ time }) => Date.parse(time as string)))
  const ends = whole.map(({ time, record: own }) => Date.parse(time as string) + 1000 * Number(own.duration ?? 0))
  const protocol = PROTOCOLS.find((name) => name === String(record.protocol))
  const withPorts = protocol !== 'icmp'
  const port = (name: string) => (withPorts && typeof record[name] === 'number' ? (record[name] as number) : undefined)
  return {
    captureId: captureId as string,
    src: String(record.src_ip),
    dst: String(record.dst_ip),
    srcPort: port('src_port'),
    dstPort: port('dst_port'),
    protocol,
    from: new Date(start - MARGIN_MS).toISOString(),
    to: new Date(Math.max(...ends) + MARGIN_MS).toISOString(),
  }
}

/**
 * The table of one log type, as its rules make it: which raw field becomes which column, and all columns in
 * order. SQL, the JavaScript normalizer, empty views and the data dictionary are made from this one place.
 *
 * Names. A promoted field takes its canonical name. Every other raw field keeps Zeek's name with `.` and `-`
 * written `_`. Where that name is taken (DuckDB does not tell `AA` from `aa`), by a canonical name, by one of
 * the columns that every row has, by a partition key, or by a raw field before it in the schema, it is
 * prefixed `zeek_`; where that is taken too, it ends in `_2`, `_3`, …: `files.source` → `zeek_source`,
 * `ssh.direction` → `zeek_direction`. A raw `community_id` is Zeek's own and fills the column of that name.
 */

import {
  CANONICAL_TYPES,
  elementOf,
  genericRules,
  type LogRules,
  RESERVED,
  type Rules,
  type ScalarType,
  type ZeekType,
} from '../rules.ts'

/** A field of the raw record that has a column of its own. */
export interface TableField {
  /** Zeek's name, dotted: `id.orig_h`. */
  raw: string
  type: ZeekType
  column: string
  promoted: boolean
}

/** What a column holds, for the reader. */
export interface TableColumn {
  name: string
  /** As DuckDB names it. */
  type: string
}

/** The raw fields of the five-tuple; those that a log lacks are absent. */
export interface FiveTuple {
  srcIp?: TableField
  dstIp?: TableField
  srcPort?: TableField
  dstPort?: TableField
  /** `tcp`, `udp`, `icmp`, … */
  proto?: TableField
  /** The IP protocol number. */
  ipProto?: TableField
  communityId?: TableField
}

export interface Table {
  logType: string
  rules: LogRules
  fields: readonly TableField[]
  byRaw: ReadonlyMap<string, TableField>
  columns: readonly TableColumn[]
  tuple: FiveTuple
  /** The field whose value is `event_time`. */
  time?: TableField
  /** The field whose value is `flow_id`, and the list that stands in for it where it is absent. */
  flowId?: TableField
  flowIdList?: TableField
}

const SQL_TYPES: Readonly<Record<ScalarType, string>> = {
  time: 'TIMESTAMP',
  interval: 'DOUBLE',
  double: 'DOUBLE',
  addr: 'VARCHAR',
  subnet: 'VARCHAR',
  string: 'VARCHAR',
  enum: 'VARCHAR',
  port: 'INTEGER',
  count: 'BIGINT',
  int: 'BIGINT',
  bool: 'BOOLEAN',
}

const IDENTITY: readonly TableColumn[] = columnsOf('VARCHAR', ['event_id', 'capture_id', 'source'])
const TIME_PARTS = ['event_year', 'event_month', 'event_day', 'event_hour', 'event_minute', 'event_weekday']
/** Whom a row is about, by which list and why; NULL unless a watch list says so. */
export const WATCH_COLUMNS = ['watch_employee', 'watch_list', 'watch_reason']
const PRIVATE = ['src_ip_is_private', 'dst_ip_is_private']
const COMMUNITY_ID = 'community_id'

/** Promoted columns come in this order, whatever the order of the rules. */
const CANONICAL_ORDER = Object.keys(CANONICAL_TYPES)

/** The order in which partition keys nest. */
export const PARTITION_KEYS = ['year', 'month', 'day', 'hour'] as const

export function tableOf(rules: Rules, logType: string): Table {
  const log = own(rules.logs, logType) ?? genericRules(logType)
  const schema = own(rules.schema, logType) ?? {}
  const fields = [...promotedFields(log, schema), ...otherFields(log, schema)]
  const byRaw = new Map(fields.map((field) => [field.raw, field]))
  const byColumn = new Map(fields.map((field) => [field.column, field]))
  return {
    logType,
    rules: log,
    fields,
    byRaw,
    columns: columnOrder(log, fields),
    time: byColumn.get('event_time'),
    flowId: byColumn.get('flow_id'),
    flowIdList: log.flow_id_from === undefined ? undefined : byRaw.get(log.flow_id_from),
    tuple: {
      srcIp: byColumn.get('src_ip'),
      dstIp: byColumn.get('dst_ip'),
      srcPort: byColumn.get('src_port') ?? byRaw.get('id.orig_p'),
      dstPort: byColumn.get('dst_port') ?? byRaw.get('id.resp_p'),
      proto: byColumn.get('protocol') ?? byRaw.get('proto'),
      ipProto: byRaw.get('ip_proto'),
      communityId: byRaw.get(COMMUNITY_ID),
    },
  }
}

/** The tables of all log types that the rules or the schema name. */
export function allTables(rules: Rules): Table[] {
  const names = new Set([...Object.keys(rules.logs), ...Object.keys(rules.schema)])
  return [...names].sort().map((name) => tableOf(rules, name))
}

export function sqlType(type: ZeekType): string {
  const element = elementOf(type)
  return element === undefined ? SQL_TYPES[type as ScalarType] : `${SQL_TYPES[element]}[]`
}

function promotedFields(log: LogRules, schema: Readonly<Record<string, ZeekType>>): TableField[] {
  const place = (column: string) => CANONICAL_ORDER.indexOf(column) + 1 || CANONICAL_ORDER.length + 1
  return Object.entries(log.promote)
    .map(([raw, column]) => ({ raw, column, promoted: true, type: own(schema, raw) ?? canonicalType(column) }))
    .sort((a, b) => place(a.column) - place(b.column))
}

function otherFields(log: LogRules, schema: Readonly<Record<string, ZeekType>>): TableField[] {
  const taken = new Set(
    [...RESERVED, ...Object.values(log.promote), ...Object.keys(log.static), ...CANONICAL_ORDER].map(lower),
  )
  // A raw field may have a canonical name that this log does not use: kerberos has a `service` of its own.
  for (const name of CANONICAL_ORDER) if (!usesColumn(log, name)) taken.delete(name)
  const fields: TableField[] = []
  for (const [raw, type] of Object.entries(withCommunityId(log, schema))) {
    if (Object.hasOwn(log.promote, raw)) continue
    const isCommunityId = raw === COMMUNITY_ID && log.enrich.network
    const column = isCommunityId ? COMMUNITY_ID : freeName(raw, taken)
    taken.add(column.toLowerCase())
    fields.push({ raw, type, column, promoted: false })
  }
  return fields
}

function usesColumn(log: LogRules, name: string): boolean {
  return Object.values(log.promote).includes(name) || Object.hasOwn(log.static, name)
}

/** Packages write a `community_id` into any log with a connection; it is the column's value then. */
function withCommunityId(log: LogRules, schema: Readonly<Record<string, ZeekType>>): Record<string, ZeekType> {
  return log.enrich.network ? { ...schema, [COMMUNITY_ID]: 'string' } : schema
}

function freeName(raw: string, taken: ReadonlySet<string>): string {
  const plain = raw.replaceAll(/[.-]/g, '_')
  if (!taken.has(plain.toLowerCase())) return plain
  const prefixed = `zeek_${plain}`
  for (let n = 1; ; n++) {
    const name = n === 1 ? prefixed : `${prefixed}_${n}`
    if (!taken.has(name.toLowerCase())) return name
  }
}

function columnOrder(log: LogRules, fields: readonly TableField[]): TableColumn[] {
  const asColumn = ({ column, type }: TableField) => ({ name: column, type: sqlType(type) })
  const networkColumns = [...columnsOf('BOOLEAN', PRIVATE), ...columnsOf('VARCHAR', ['direction', COMMUNITY_ID])]
  return [
    ...IDENTITY,
    ...fields.filter(({ promoted }) => promoted).map(asColumn),
    ...columnsOf('VARCHAR', Object.keys(log.static)),
    { name: 'ingest_time', type: 'TIMESTAMP' },
    ...(log.enrich.time ? columnsOf('INTEGER', TIME_PARTS) : []),
    ...(log.enrich.network ? networkColumns : []),
    ...fields.filter(({ promoted, column }) => !promoted && column !== COMMUNITY_ID).map(asColumn),
    ...columnsOf('VARCHAR[]', WATCH_COLUMNS),
    { name: 'extra', type: 'VARCHAR' },
  ]
}

function columnsOf(type: string, names: readonly string[]): TableColumn[] {
  return names.map((name) => ({ name, type }))
}

function canonicalType(column: string): ZeekType {
  return CANONICAL_TYPES[column]?.[0] ?? 'string'
}

function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined
}

const lower = (name: string) => name.toLowerCase()

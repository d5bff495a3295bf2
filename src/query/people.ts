/**
 * Tables of watched people, beside those that files hold.
 *
 * In: employees and their computers, as the ledger has them. Out: the tables `employees` and `computers`, and
 * `watched_traffic`: one row for each packet of a watched employee, or for each connection of captures that have no
 * packet log, in the terms of a packet dissector.
 */

import { identifier, literal } from './sql.ts'

export interface People {
  employees: readonly { key: string; name: string; watched: boolean }[]
  computers: readonly {
    compId: string
    employee: string
    mac: string | null
    ip: string | null
    hostname: string | null
    validFrom: number | null
    validTo: number | null
  }[]
}

export const WATCHED_TRAFFIC = 'watched_traffic'
export const PEOPLE_TABLES: readonly string[] = ['employees', 'computers', WATCHED_TRAFFIC]

export const PEOPLE_COLUMNS: Record<string, readonly { name: string; type: string }[]> = {
  employees: [...columns('VARCHAR', 'key', 'name'), ...columns('BOOLEAN', 'watched')],
  computers: [
    ...columns('VARCHAR', 'comp_id', 'employee', 'mac', 'ip', 'hostname'),
    ...columns('TIMESTAMP', 'valid_from', 'valid_to'),
  ],
  [WATCHED_TRAFFIC]: [
    ...columns('VARCHAR', 'employee', 'name'),
    ...columns('TIMESTAMP', 'event_time'),
    ...columns('VARCHAR', 'frame_protocols'),
    ...columns('BIGINT', 'frame_len'),
    ...columns('VARCHAR', 'eth_src', 'eth_dst', 'ip_src', 'ip_dst'),
    ...columns('INTEGER', 'src_port', 'dst_port'),
    ...columns(
      'VARCHAR',
      'src_host',
      'dst_host',
      'host',
      'watch_reason',
      'flow_id',
      'capture_id',
      'source',
      'event_id',
    ),
  ],
}

/** Tables of the dataset that a table of people is made of. */
export function tablesBehind(names: readonly string[]): string[] {
  return names.includes(WATCHED_TRAFFIC) ? ['packet', 'conn', 'http', 'ssl', 'dns'] : []
}

/** The statement behind a table; `has` tells which columns a table of the dataset has. */
export function peopleSql(name: string, people: People, has: Has): string {
  if (name === 'employees')
    return rowsSql(
      name,
      people.employees.map(({ key, name: called, watched }) => [key, called, watched]),
    )
  if (name === 'computers') {
    return rowsSql(
      name,
      people.computers.map((each) => [
        each.compId,
        each.employee,
        each.mac,
        each.ip,
        each.hostname,
        timeOf(each.validFrom),
        timeOf(each.validTo),
      ]),
    )
  }
  return trafficSql(people, has)
}

function rowsSql(name: string, rows: readonly (string | boolean | null)[][]): string {
  const wanted = PEOPLE_COLUMNS[name] ?? []
  const casts = wanted.map(
    ({ name: column, type }) => `CAST(${identifier(column)} AS ${type}) AS ${identifier(column)}`,
  )
  if (rows.length === 0)
    return `SELECT ${wanted.map(({ name: column, type }) => `CAST(NULL AS ${type}) AS ${identifier(column)}`).join(', ')} WHERE false`
  const values = rows.map(
    (row) =>
      `(${row.map((value) => (value === null ? 'NULL' : typeof value === 'boolean' ? String(value) : literal(value))).join(', ')})`,
  )
  return `SELECT ${casts.join(', ')} FROM (VALUES ${values.join(', ')}) AS t(${wanted.map(({ name: column }) => identifier(column)).join(', ')})`
}

function timeOf(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString().replace('T', ' ').replace('Z', '')
}

type Has = (table: string, column: string) => boolean

const NEEDED = [
  'event_id',
  'event_time',
  'capture_id',
  'source',
  'flow_id',
  'src_ip',
  'dst_ip',
  'src_port',
  'dst_port',
  'watch_employee',
  'watch_reason',
]

/** A dataset that someone else wrote may lack any of it. */
function isUsable(table: string, has: Has): boolean {
  return NEEDED.every((column) => has(table, column))
}

function trafficSql(people: People, has: Has): string {
  const parts = [
    ...(isUsable('packet', has) ? [packetsSql(has)] : []),
    ...(isUsable('conn', has) ? [flowsSql(has)] : []),
  ]
  const wanted = PEOPLE_COLUMNS[WATCHED_TRAFFIC] ?? []
  if (parts.length === 0)
    return `SELECT ${wanted.map(({ name, type }) => `CAST(NULL AS ${type}) AS ${identifier(name)}`).join(', ')} WHERE false`
  const selected = wanted.map(({ name, type }) =>
    name === 'name'
      ? 'coalesce(e.name, w.employee) AS name'
      : `CAST(w.${identifier(name)} AS ${type}) AS ${identifier(name)}`,
  )
  return `WITH hosts AS (${hostsSql(has)}), watched AS (${parts.join(' UNION ALL ')})
    SELECT ${selected.join(', ')} FROM watched w LEFT JOIN (${peopleSql('employees', people, has)}) e ON e.key = w.employee`
}

function orNull(table: string, has: Has) {
  return (name: string, type: string) => (has(table, name) ? `t.${identifier(name)}` : `CAST(NULL AS ${type})`)
}

const COMMON = `h.host, array_to_string(t.watch_reason, '; ') AS watch_reason, t.flow_id, t.capture_id, t.source, t.event_id`
const HOST = 'LEFT JOIN hosts h ON h.flow_id = t.flow_id AND h.capture_id = t.capture_id'

function packetsSql(has: Has): string {
  const column = orNull('packet', has)
  return `SELECT unnest(t.watch_employee) AS employee, t.event_time, ${column('protocols', 'VARCHAR')} AS frame_protocols,
    ${column('frame_len', 'BIGINT')} AS frame_len, ${column('eth_src', 'VARCHAR')} AS eth_src, ${column('eth_dst', 'VARCHAR')} AS eth_dst,
    t.src_ip AS ip_src, t.dst_ip AS ip_dst, t.src_port, t.dst_port,
    ${column('src_host', 'VARCHAR')} AS src_host, ${column('dst_host', 'VARCHAR')} AS dst_host, ${COMMON}
    FROM packet t ${HOST} WHERE t.watch_employee IS NOT NULL`
}

/** Of captures without a packet log. */
function flowsSql(has: Has): string {
  const column = orNull('conn', has)
  const others = isUsable('packet', has)
    ? 'AND t.capture_id NOT IN (SELECT capture_id FROM packet WHERE capture_id IS NOT NULL)'
    : ''
  return `SELECT unnest(t.watch_employee) AS employee, t.event_time, ${connProtocols(has)} AS frame_protocols,
    coalesce(${column('orig_ip_bytes', 'BIGINT')}, 0) + coalesce(${column('resp_ip_bytes', 'BIGINT')}, 0) AS frame_len,
    ${column('orig_l2_addr', 'VARCHAR')} AS eth_src, ${column('resp_l2_addr', 'VARCHAR')} AS eth_dst,
    t.src_ip AS ip_src, t.dst_ip AS ip_dst, t.src_port, t.dst_port,
    CAST(NULL AS VARCHAR) AS src_host, CAST(NULL AS VARCHAR) AS dst_host, ${COMMON}
    FROM conn t ${HOST} WHERE t.watch_employee IS NOT NULL ${others}`
}

/** As the dissector names them: `eth:ethertype:ip:tcp:http`. */
function connProtocols(has: Has): string {
  const service = has('conn', 'service')
    ? "replace(replace(t.service, ',', ':'), 'ssl', 'tls')"
    : 'CAST(NULL AS VARCHAR)'
  return `'eth:ethertype:' || CASE WHEN contains(t.src_ip, ':') THEN 'ipv6' ELSE 'ip' END || coalesce(':' || t.protocol, '') || coalesce(':' || ${service}, '')`
}

/** The name by which a flow's other end was asked for. */
function hostsSql(has: Has): string {
  const names: [string, string][] = [
    ['http', 'host'],
    ['ssl', 'server_name'],
    ['dns', 'query'],
  ]
  const parts = names
    .filter(([table, name]) => ['flow_id', 'capture_id', 'watch_employee', name].every((column) => has(table, column)))
    .map(
      ([table, name]) =>
        `SELECT flow_id, capture_id, ${identifier(name)} AS host FROM ${table} WHERE ${identifier(name)} IS NOT NULL AND watch_employee IS NOT NULL`,
    )
  if (parts.length === 0)
    return 'SELECT CAST(NULL AS VARCHAR) AS flow_id, CAST(NULL AS VARCHAR) AS capture_id, CAST(NULL AS VARCHAR) AS host WHERE false'
  return `SELECT flow_id, capture_id, min(host) AS host FROM (${parts.join(' UNION ALL ')}) GROUP BY ALL`
}

function columns(type: string, ...names: string[]) {
  return names.map((name) => ({ name, type }))
}

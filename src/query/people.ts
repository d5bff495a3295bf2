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
export function peopleSql(name: string, people: People, has: (table: string, column: string) => boolean): string {
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

function trafficSql(people: People, has: (table: string, column: string) => boolean): string {
  const column = (table: string, name: string, type: string) =>
    has(table, name) ? `t.${identifier(name)}` : `CAST(NULL AS ${type})`
  const watched = (table: string) => (has(table, 'watch_employee') ? 't.watch_employee IS NOT NULL' : 'false')
  const employees = (table: string) => (has(table, 'watch_employee') ? 't.watch_employee' : 'CAST(NULL AS VARCHAR[])')
  const reasons = (table: string) => `array_to_string(${column(table, 'watch_reason', 'VARCHAR[]')}, '; ')`
  const packets = `SELECT unnest(${employees('packet')}) AS employee, t.event_time, ${column('packet', 'protocols', 'VARCHAR')} AS frame_protocols,
    ${column('packet', 'frame_len', 'BIGINT')} AS frame_len, ${column('packet', 'eth_src', 'VARCHAR')} AS eth_src, ${column('packet', 'eth_dst', 'VARCHAR')} AS eth_dst,
    ${column('packet', 'src_ip', 'VARCHAR')} AS ip_src, ${column('packet', 'dst_ip', 'VARCHAR')} AS ip_dst,
    ${column('packet', 'src_port', 'INTEGER')} AS src_port, ${column('packet', 'dst_port', 'INTEGER')} AS dst_port,
    ${column('packet', 'src_host', 'VARCHAR')} AS src_host, ${column('packet', 'dst_host', 'VARCHAR')} AS dst_host,
    h.host, ${reasons('packet')} AS watch_reason, ${column('packet', 'flow_id', 'VARCHAR')} AS flow_id, t.capture_id, t.source, t.event_id
    FROM packet t LEFT JOIN hosts h ON h.flow_id = ${column('packet', 'flow_id', 'VARCHAR')} AND h.capture_id = t.capture_id WHERE ${watched('packet')}`
  const flows = `SELECT unnest(${employees('conn')}) AS employee, t.event_time, ${connProtocols(has)} AS frame_protocols,
    coalesce(${column('conn', 'orig_ip_bytes', 'BIGINT')}, 0) + coalesce(${column('conn', 'resp_ip_bytes', 'BIGINT')}, 0) AS frame_len,
    ${column('conn', 'orig_l2_addr', 'VARCHAR')} AS eth_src, ${column('conn', 'resp_l2_addr', 'VARCHAR')} AS eth_dst, t.src_ip AS ip_src, t.dst_ip AS ip_dst,
    t.src_port, t.dst_port, CAST(NULL AS VARCHAR) AS src_host, CAST(NULL AS VARCHAR) AS dst_host, h.host,
    ${reasons('conn')} AS watch_reason, t.flow_id, t.capture_id, t.source, t.event_id
    FROM conn t LEFT JOIN hosts h ON h.flow_id = t.flow_id AND h.capture_id = t.capture_id
    WHERE ${watched('conn')} AND t.capture_id NOT IN (SELECT capture_id FROM packet WHERE capture_id IS NOT NULL)`
  const wanted = (PEOPLE_COLUMNS[WATCHED_TRAFFIC] ?? []).map(({ name, type }) =>
    name === 'name'
      ? 'coalesce(e.name, w.employee) AS name'
      : `CAST(w.${identifier(name)} AS ${type}) AS ${identifier(name)}`,
  )
  return `WITH hosts AS (${hostsSql(has)}), watched AS (${packets} UNION ALL ${flows})
    SELECT ${wanted.join(', ')} FROM watched w LEFT JOIN (${peopleSql('employees', people, has)}) e ON e.key = w.employee`
}

/** As the dissector names them: `eth:ethertype:ip:tcp:http`. */
function connProtocols(has: (table: string, column: string) => boolean): string {
  const service = has('conn', 'service')
    ? "replace(replace(t.service, ',', ':'), 'ssl', 'tls')"
    : 'CAST(NULL AS VARCHAR)'
  return `'eth:ethertype:' || CASE WHEN contains(t.src_ip, ':') THEN 'ipv6' ELSE 'ip' END || coalesce(':' || t.protocol, '') || coalesce(':' || ${service}, '')`
}

/** The name by which a flow's other end was asked for. */
function hostsSql(has: (table: string, column: string) => boolean): string {
  const names: [string, string][] = [
    ['http', 'host'],
    ['ssl', 'server_name'],
    ['dns', 'query'],
  ]
  const parts = names.map(([table, name]) => {
    const isThere = has(table, name) && has(table, 'watch_employee') && has(table, 'flow_id')
    return `SELECT flow_id, capture_id, ${isThere ? identifier(name) : 'CAST(NULL AS VARCHAR)'} AS host FROM ${table} WHERE ${isThere ? `${identifier(name)} IS NOT NULL AND watch_employee IS NOT NULL` : 'false'}`
  })
  return `SELECT flow_id, capture_id, min(host) AS host FROM (${parts.join(' UNION ALL ')}) GROUP BY ALL`
}

function columns(type: string, ...names: string[]) {
  return names.map((name) => ({ name, type }))
}

/**
 * Watch lists out of a file.
 *
 * In: CSV with a header, JSON lines, one JSON array, or `key:{json}` lines as a console producer of Kafka writes them;
 * which, the text itself tells. Out: rows of the ledger, and for each line that is none the reason. Names of columns
 * are taken as they come in such files: `macaddr` and `mac`, `empkey` and `employee`, `watch_flag` and `watched`.
 */

import { isUtf8 } from 'node:buffer'
import { isIP } from 'node:net'
import { parseNetwork } from '../../stages/upload/rules/address.ts'
import { messageOf } from '../../state/errors.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { Change, ComputerRow, EmployeeRow, FedList, IndicatorKind, IndicatorRow } from '../../state/watch-lists.ts'

export type WatchTable = 'employees' | 'computers' | 'indicators'

export interface ImportResult {
  added: number
  changed: number
  unchanged: number
  removed: number
  problems: { line: number; reason: string }[]
}

export interface ImportOptions {
  /** Removes what the file does not name. */
  replace: boolean
  /** Of indicators whose line names no list. */
  list: string
}

const MOST_PROBLEMS = 100

/** All of it in one transaction; lines that are wrong are left out and told. */
export function importWatchList(ledger: Ledger, table: WatchTable, text: string, options: ImportOptions): ImportResult {
  const { records, problems } = recordsIn(text)
  const result: ImportResult = { added: 0, changed: 0, unchanged: 0, removed: 0, problems }
  ledger.transaction(() => {
    const kept = new Set<string>()
    for (const { line, record } of records) {
      try {
        result[put(ledger, table, record, options, kept)]++
      } catch (error) {
        problems.push({ line, reason: messageOf(error) })
      }
    }
    // A file without a single good line is a mistake, not an order to empty the list.
    if (options.replace && kept.size > 0) result.removed = removeOthers(ledger, table, options, kept)
  })
  problems.sort((a, b) => a.line - b.line).splice(MOST_PROBLEMS)
  return result
}

/** A record of a topic that feeds a list: the row that its key stands for, null where it takes that row away. */
export type WatchRecord =
  | { list: 'employees'; key: string; row: EmployeeRow | null }
  | { list: 'computers'; key: string; row: ComputerRow | null }

/** Throws `Error` with the reason when it is no entry of the list. */
export function watchRecordOf(list: FedList, key: string, value: Buffer | null): WatchRecord {
  const record = value === null ? null : { key, ...objectIn(value) }
  return list === 'employees'
    ? { list, key, row: record && employeeOf(record) }
    : { list, key, row: record && computerOf(record) }
}

function objectIn(value: Buffer): RawRecord {
  if (!isUtf8(value)) throw new Error('not UTF-8')
  let parsed: unknown
  try {
    parsed = JSON.parse(value.toString())
  } catch {
    throw new Error('not JSON')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new Error('not an object')
  return parsed as RawRecord
}

/**
 * Part of the caller's transaction. The next record of a key takes the place of the row that the last one stood for,
 * unless another key stands for the same row.
 */
export function applyWatchRecord({ watch }: Ledger, record: WatchRecord): void {
  const { list, key } = record
  const row = putRow()
  const before = watch.fedRow(list, key)
  if (row === before) return
  watch.setFedRow(list, key, row)
  if (before === undefined || watch.isFed(list, before)) return
  if (list === 'employees') watch.removeEmployee(before)
  else watch.removeComputer(Number(before))

  function putRow(): string | null {
    if (record.row === null) return null
    if (record.list === 'employees') {
      watch.putEmployee(record.row)
      return record.row.key
    }
    watch.putComputer(record.row)
    return String(watch.computerId(record.row))
  }
}

type RawRecord = Record<string, unknown>

function put(ledger: Ledger, table: WatchTable, record: RawRecord, options: ImportOptions, kept: Set<string>): Change {
  if (table === 'employees') {
    const row = employeeOf(record)
    kept.add(row.key)
    return ledger.watch.putEmployee(row)
  }
  if (table === 'computers') {
    const row = computerOf(record)
    kept.add(JSON.stringify(row))
    return ledger.watch.putComputer(row)
  }
  const row = indicatorOf(record, options.list)
  kept.add(JSON.stringify([row.list, row.kind, row.value]))
  return ledger.watch.putIndicator(row)
}

function removeOthers(
  { watch }: Ledger,
  table: WatchTable,
  { list }: ImportOptions,
  kept: ReadonlySet<string>,
): number {
  const sum = (removed: boolean[]) => removed.filter(Boolean).length
  if (table === 'employees')
    return sum(
      watch
        .employees()
        .filter(({ key }) => !kept.has(key))
        .map(({ key }) => watch.removeEmployee(key)),
    )
  if (table === 'computers') {
    const others = watch.computers().filter(({ id: _, ...row }) => !kept.has(JSON.stringify(row)))
    return sum(others.map(({ id }) => watch.removeComputer(id)))
  }
  // Of the lists that the file speaks of.
  const lists = new Set([list, ...[...kept].map((key) => String(JSON.parse(key)[0]))])
  const others = watch
    .indicators()
    .filter((row) => lists.has(row.list) && !kept.has(JSON.stringify([row.list, row.kind, row.value])))
  return sum(others.map(({ id }) => watch.removeIndicator(id)))
}

function employeeOf(record: RawRecord): EmployeeRow {
  const flag = textOf(record, 'watch_flag', 'watched', 'watch') ?? 'yes'
  if (!/^(yes|no|y|n|true|false|1|0)$/i.test(flag))
    throw new Error(`watch_flag is ${JSON.stringify(flag)}; it is YES or NO`)
  const key = required(record, 'key', 'empkey', 'employee', 'id')
  return { key, name: textOf(record, 'name') ?? key, watched: /^(yes|y|true|1)$/i.test(flag) }
}

export function computerOf(record: RawRecord): ComputerRow {
  const mac = macOf(textOf(record, 'macaddr', 'mac', 'mac_addr'))
  const ip = textOf(record, 'ip', 'ipaddr')?.toLowerCase() ?? null
  const hostname = textOf(record, 'hostname', 'host', 'host_name')?.toLowerCase() ?? null
  if (ip !== null && isIP(ip) === 0) throw new Error(`${JSON.stringify(ip)} is no IP address`)
  if (mac === null && ip === null && hostname === null) throw new Error('it has no macaddr, no ip and no hostname')
  const [validFrom, validTo] = [timeOf(record, 'valid_from', 'validFrom'), timeOf(record, 'valid_to', 'validTo')]
  if (validFrom !== null && validTo !== null && validFrom >= validTo)
    throw new Error('valid_from is not before valid_to')
  return {
    compId: required(record, 'comp_id', 'compId', 'id'),
    employee: required(record, 'empkey', 'employee', 'emp_key'),
    ...{ mac, ip, hostname, validFrom, validTo },
  }
}

const HASH = /^([0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})$/i
const KINDS: readonly IndicatorKind[] = ['ip', 'cidr', 'domain', 'hash', 'ja3', 'ja4', 'mac']

export function indicatorOf(record: RawRecord, defaultList: string): IndicatorRow {
  const value = required(record, 'value', 'indicator', 'ioc').toLowerCase()
  const named = textOf(record, 'kind', 'type')?.toLowerCase()
  const kind = named === undefined ? kindOfValue(value) : KINDS.find((each) => each === named)
  if (kind === undefined)
    throw new Error(`what ${JSON.stringify(value.slice(0, 80))} is cannot be told; kind is one of ${KINDS.join(', ')}`)
  return {
    list: textOf(record, 'list') ?? defaultList,
    kind,
    value: checkedValue(kind, value),
    note: textOf(record, 'note', 'comment', 'description') ?? '',
  }
}

function kindOfValue(value: string): IndicatorKind | undefined {
  if (isIP(value) > 0) return 'ip'
  if (/^[\da-f.:]+\/\d{1,3}$/.test(value)) return 'cidr'
  if (/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/.test(value)) return 'mac'
  if (HASH.test(value)) return 'hash'
  if (/^[tqd]\d\d[di]\d{4}\w\w_[0-9a-f]{12}_[0-9a-f]{12}$/.test(value)) return 'ja4'
  return /^(\*\.)?([\w-]{1,63}\.)+[\w-]{2,63}\.?$/.test(value) ? 'domain' : undefined
}

function checkedValue(kind: IndicatorKind, value: string): string {
  const wrong = () => new Error(`${JSON.stringify(value.slice(0, 80))} is no ${kind}`)
  if (kind === 'ip' && isIP(value) === 0) throw wrong()
  if (kind === 'cidr') {
    try {
      parseNetwork(value)
    } catch {
      throw wrong()
    }
  }
  if (kind === 'mac') return macOf(value) as string
  if (kind === 'hash' && !HASH.test(value)) throw wrong()
  if (kind === 'domain') return value.replace(/^\*\./, '').replace(/\.$/, '')
  return value
}

/** `E0-A1-D7-18-C2-72`, `e0a1.d718.c272`, `e0:a1:…` → `e0:a1:d7:18:c2:72`. */
export function macOf(text: string | undefined): string | null {
  if (text === undefined) return null
  const digits = text.toLowerCase().replace(/[:.-]/g, '')
  if (!/^[0-9a-f]{12}$/.test(digits)) throw new Error(`${JSON.stringify(text.slice(0, 40))} is no MAC address`)
  return (digits.match(/../g) as string[]).join(':')
}

function textOf(record: RawRecord, ...names: string[]): string | undefined {
  for (const name of names) {
    const value = record[name]
    if (value === undefined || value === null || typeof value === 'object') continue
    const text = String(value).trim()
    if (text !== '') return text.slice(0, 1024)
  }
  return undefined
}

function required(record: RawRecord, ...names: string[]): string {
  const text = textOf(record, ...names)
  if (text === undefined) throw new Error(`it has no ${names[0]}`)
  return text
}

/** ISO 8601, or seconds or milliseconds since the epoch. */
function timeOf(record: RawRecord, ...names: string[]): number | null {
  const text = textOf(record, ...names)
  if (text === undefined) return null
  const number = Number(text)
  const ms = Number.isNaN(number) ? Date.parse(text) : number < 1e11 ? number * 1000 : number
  if (!Number.isFinite(ms)) throw new Error(`${names[0]} is ${JSON.stringify(text)}; write it as 2026-01-31T12:00:00Z`)
  return Math.trunc(ms)
}

interface Records {
  records: { line: number; record: RawRecord }[]
  problems: { line: number; reason: string }[]
}

function recordsIn(text: string): Records {
  const body = text.replace(/^\ufeff/, '')
  const start = body.trimStart()
  if (start.startsWith('[')) return arrayIn(start)
  if (start.startsWith('{') || /^"?[^\s"{,]{1,256}"?:\s*\{/.test(start)) return linesIn(body)
  return csvIn(body)
}

function arrayIn(text: string): Records {
  try {
    const values = JSON.parse(text) as unknown[]
    return sorted(values.map((value, i) => ({ line: i + 1, value })))
  } catch (error) {
    return { records: [], problems: [{ line: 1, reason: `no JSON: ${messageOf(error)}` }] }
  }
}

/** `{…}` or `key:{…}`; the key is taken where the record has none. */
function linesIn(text: string): Records {
  const problems: Records['problems'] = []
  const found = text.split(/\r?\n/).flatMap((each, i) => {
    const line = each.trim()
    if (line === '') return []
    const at = line.indexOf('{')
    try {
      const key = line.slice(0, Math.max(0, at)).replace(/:\s*$/, '').replaceAll('"', '')
      const value = JSON.parse(line.slice(Math.max(0, at)))
      return [{ line: i + 1, value: key === '' ? value : { key, ...value } }]
    } catch (error) {
      problems.push({ line: i + 1, reason: `no JSON: ${messageOf(error)}` })
      return []
    }
  })
  const { records, problems: more } = sorted(found)
  return { records, problems: [...problems, ...more] }
}

function sorted(values: readonly { line: number; value: unknown }[]): Records {
  const records: Records['records'] = []
  const problems: Records['problems'] = []
  for (const { line, value } of values) {
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      records.push({ line, record: value as RawRecord })
    else if (typeof value === 'string') records.push({ line, record: { value } })
    else problems.push({ line, reason: 'no JSON object' })
  }
  return { records, problems }
}

/** RFC 4180 with a header; `#` begins a comment. A list of bare indicators has one column and no header. */
function csvIn(text: string): Records {
  const rows = csvRows(text).filter(
    ({ fields: [first = ''] }) => first.trim() !== '' && !first.trimStart().startsWith('#'),
  )
  const [head] = rows
  if (head === undefined) return { records: [], problems: [{ line: 1, reason: 'the file is empty' }] }
  const names = head.fields.map((name) => name.trim().toLowerCase())
  const isList = names.length === 1 && kindOfValue(names[0] ?? '') !== undefined
  const columns = isList ? ['value'] : names
  const problems: Records['problems'] = []
  const records = (isList ? rows : rows.slice(1)).flatMap(({ line, fields }) => {
    if (fields.length > columns.length) {
      problems.push({ line, reason: `${fields.length} fields under a header of ${columns.length}` })
      return []
    }
    return [{ line, record: Object.fromEntries(columns.map((name, i) => [name, fields[i]])) as RawRecord }]
  })
  return { records, problems }
}

function csvRows(text: string): { line: number; fields: string[] }[] {
  const rows: { line: number; fields: string[] }[] = []
  let fields: string[] = []
  let line = 1
  let start = 1
  const separator =
    (text.split('\n', 1)[0] ?? '').includes(';') && !(text.split('\n', 1)[0] ?? '').includes(',') ? ';' : ','
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^"${separator}\\r\\n]*))(${separator}|\\r?\\n|$)`, 'y')
  while (cell.lastIndex < text.length) {
    const found = cell.exec(text)
    if (found === null) {
      // A quotation mark where none belongs: the rest of the line is one field.
      const end = text.indexOf('\n', cell.lastIndex)
      cell.lastIndex = end === -1 ? text.length : end + 1
      line++
      fields = []
      start = line
      continue
    }
    const [, quoted, plain, end] = found
    fields.push(quoted === undefined ? (plain ?? '').trim() : quoted.replaceAll('""', '"'))
    line += (quoted?.match(/\n/g)?.length ?? 0) + (end?.includes('\n') ? 1 : 0)
    if (end === separator) continue
    rows.push({ line: start, fields })
    fields = []
    start = line
    if (end === '') break
  }
  return rows
}

/** A row of a table against the record that it was made of, by way of the JavaScript normalizer. */

import { createNormalizer, fieldValue, type RawRecord } from '../../../../stages/upload/normalize.ts'
import { type Table, tableOf } from '../../../../stages/upload/rules/table.ts'
import { toMicros } from '../../../../stages/upload/rules/values.ts'
import { defaultRules } from '../../../../stages/upload/rules.ts'
import { CAPTURE, INGEST_MS, LOCAL_NETWORKS, type Row } from './harness.ts'

const rules = defaultRules()
const normalize = createNormalizer(rules, { localNetworks: LOCAL_NETWORKS })

/** What the row must be, but for `extra`: of the normalizer, and for the raw columns of the record itself. */
export function expectedRow(
  logType: string,
  raw: RawRecord,
  ordinal: number,
  { captureId = CAPTURE, source = 'lab' } = {},
): Row {
  const table = tableOf(rules, logType)
  const { normalized, enriched } = normalize(logType, raw, INGEST_MS)
  const row: Row = {
    event_id: `${captureId.slice(0, 24)}-${logType}-${ordinal}`,
    capture_id: captureId,
    source,
    ...normalized,
    ...enriched,
    ingest_time: INGEST_MS * 1000,
  }
  for (const field of table.fields) {
    const value = fieldValue(raw, field)
    if (value === undefined || field.column === 'community_id') continue
    row[field.column] = field.type === 'time' ? toMicros(value) : value
  }
  return row
}

/** Names of a record's members that are neither in their column nor in `extra`; those of parents are dotted. */
export function lostMembers(logType: string, raw: RawRecord, { extra, ...row }: Row): string[] {
  const table = tableOf(rules, logType)
  const rest = extra === undefined ? {} : JSON.parse(extra as string)
  return membersOf(table, raw)
    .filter(([name, value]) => {
      const column = table.byRaw.get(name)?.column
      const isInColumn = column !== undefined && row[column] !== undefined
      return !(isInColumn || Object.hasOwn(rest, name.toWellFormed()) || value === null)
    })
    .map(([name]) => name)
}

/** The members of a record, objects that are the parent of a field taken apart. */
function membersOf(table: Table, record: RawRecord, prefix = ''): [string, unknown][] {
  return Object.entries(record).flatMap(([key, value]) => {
    const name = prefix + key
    const isParent = table.fields.some(({ raw }) => raw.startsWith(`${name}.`))
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isParent && isObject
      ? membersOf(table, value as RawRecord, `${name}.`)
      : [[name, value] as [string, unknown]]
  })
}

/** Negative zero as zero: an integer column knows none, and a rewritten line does not either. */
export function withoutSigns(value: unknown): unknown {
  if (value === 0) return 0
  if (Array.isArray(value)) return value.map(withoutSigns)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withoutSigns(each)]))
}

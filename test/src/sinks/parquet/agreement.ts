/** A row of a table against the record that it was made of, by way of the JavaScript normalizer. */

import { createNormalizer, fieldValue, type RawRecord } from '../../../../stages/upload/normalize.ts'
import { tableOf } from '../../../../stages/upload/rules/table.ts'
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

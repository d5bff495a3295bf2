/** The columns of log types, and what each of them holds: in, the rules; out, columns with layer, Zeek's name, meaning. */

import { meaningOf } from '../../stages/upload/rules/meanings.ts'
import type { Table } from '../../stages/upload/rules/table.ts'
import { PARTITION_COLUMNS } from '../query/schema.ts'

export type Layer = 'identity' | 'normalized' | 'enriched' | 'watch' | 'raw' | 'partition'

export interface SearchColumn {
  name: string
  /** As DuckDB names it. */
  type: string
  layer: Layer
  /** Zeek's name of the field that it holds. */
  zeek: string | null
  /** In a few words. */
  meaning: string | null
  /** Holds addresses, or a list of them. */
  isAddress: boolean
}

const IDENTITY = new Set(['event_id', 'capture_id', 'source', 'ingest_time', 'extra'])
const ENRICHED =
  /^(event_(year|month|day|hour|minute|weekday)|(src|dst)_ip_is_private|direction|community_id|geo_|asn_|(src|dst)_(country|city|asn))/
const PARTITIONS = new Set(PARTITION_COLUMNS.map(({ name }) => name))

export function describeColumns(table: Table, columns: readonly { name: string; type: string }[]): SearchColumn[] {
  const fields = new Map(table.fields.map((field) => [field.column, field]))
  return columns.map(({ name, type }) => {
    const field = fields.get(name)
    return {
      name,
      type,
      layer: layerOf(table, name, field?.promoted ?? false),
      zeek: field?.raw ?? null,
      meaning: meaningOf(table, name) ?? null,
      isAddress: field !== undefined && /\baddr\b/.test(field.type),
    }
  })
}

function layerOf({ rules }: Table, name: string, promoted: boolean): Layer {
  if (IDENTITY.has(name)) return 'identity'
  if (PARTITIONS.has(name)) return 'partition'
  if (/^watch_(employee|list|reason)$/.test(name)) return 'watch'
  if (promoted || Object.hasOwn(rules.static, name)) return 'normalized'
  return ENRICHED.test(name) ? 'enriched' : 'raw'
}

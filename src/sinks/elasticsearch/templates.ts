/**
 * The index templates, made of the mapping's table and the schema: `<prefix>-log-<type>` for every log type,
 * `<prefix>-any-log` for those that nobody knows, over two component templates of ours (settings, ECS fields) and one,
 * `<prefix>-custom`, that is the user's.
 *
 * `dynamic` is false: a strange capture cannot add fields. What no field is declared for lies in `zeek.extra`, which is
 * `flattened`: one field of the mapping, searchable by its keys.
 */

import { createHash } from 'node:crypto'
import type { Rules } from '../../../stages/upload/rules.ts'
import { EXTRA, ecsFields, type Kind, knownLogTypes, NAME_PARTS, planOf } from './mapping/table.ts'

export interface TemplateOptions {
  prefix: string
  shards: number
  /** Undefined: none on a single node, else one. */
  replicas?: number
  /** Names the lifecycle policy, where the server has such. */
  lifecycle?: string
}

export interface Templates {
  components: Record<string, TemplateBody>
  indices: Record<string, TemplateBody>
}

// biome-ignore lint/suspicious/noExplicitAny: JSON for the server
export type Json = Record<string, any>
export type TemplateBody = Json & { version: number; _meta: { managed_by: string; digest: string } }

export const MANAGED_BY = 'pcap-pipeline'
/** Raised when the shape of documents changes: an older pipeline leaves newer templates alone. */
export const TEMPLATE_VERSION = 1

/** The longest text that a `keyword` indexes; longer ones are kept, and not found by their value. */
const KEYWORD_LIMIT = 1024
const PATH_LIMIT = 4096
const FLATTENED = { type: 'flattened', ignore_above: KEYWORD_LIMIT }
const WORDS = { text: { type: 'text' } }

const TYPES: Readonly<Record<Kind, Json>> = {
  date: { type: 'date' },
  ip: { type: 'ip' },
  long: { type: 'long' },
  double: { type: 'double' },
  boolean: { type: 'boolean' },
  keyword: { type: 'keyword', ignore_above: KEYWORD_LIMIT },
  path: { type: 'keyword', ignore_above: PATH_LIMIT, fields: WORDS },
  words: { type: 'keyword', ignore_above: KEYWORD_LIMIT, fields: WORDS },
  text: { type: 'text' },
  name: {
    properties: Object.fromEntries(NAME_PARTS.map((part) => [part, { type: 'keyword', ignore_above: KEYWORD_LIMIT }])),
  },
}

export const settingsName = (prefix: string) => `${prefix}-settings`
export const ecsName = (prefix: string) => `${prefix}-ecs`
export const customName = (prefix: string) => `${prefix}-custom`
export const receiptsIndex = (prefix: string) => `${prefix}-receipts`

export function templatesOf(rules: Rules, { prefix, shards, replicas, lifecycle }: TemplateOptions): Templates {
  const settings = {
    number_of_shards: shards,
    ...(replicas === undefined ? { auto_expand_replicas: '0-1' } : { number_of_replicas: replicas }),
    'mapping.total_fields.limit': 2000,
    ...(lifecycle !== undefined && { 'lifecycle.name': lifecycle }),
  }
  const composed = [settingsName(prefix), ecsName(prefix), customName(prefix)]
  const logs = knownLogTypes(rules).map((logType) => {
    const template = { mappings: { dynamic: false, properties: ownMapping(rules, logType) } }
    const body = { index_patterns: [`${prefix}-${logType}-*`], priority: 300, composed_of: composed, template }
    return [`${prefix}-log-${logType}`, managed(body)] as const
  })
  const { shards: _, ...receiptSettings } = { ...settings, shards, 'lifecycle.name': undefined }
  return {
    components: {
      [settingsName(prefix)]: managed({ template: { settings: { index: settings } } }),
      [ecsName(prefix)]: managed({ template: { mappings: { dynamic: false, properties: ecsMapping() } } }),
    },
    indices: {
      ...Object.fromEntries(logs),
      [`${prefix}-any-log`]: managed({
        index_patterns: [`${prefix}-*-*`],
        priority: 200,
        composed_of: composed,
        template: { mappings: { dynamic: false, ...unknownLogMapping() } },
      }),
      [receiptsIndex(prefix)]: managed({
        index_patterns: [receiptsIndex(prefix)],
        priority: 300,
        template: {
          settings: { index: { ...receiptSettings, number_of_shards: 1 } },
          mappings: { dynamic: false, properties: receiptMapping() },
        },
      }),
    },
  }
}

function ecsMapping(): Json {
  return nested([...ecsFields], { [EXTRA]: FLATTENED })
}

function ownMapping(rules: Rules, logType: string): Json {
  return nested([...planOf(rules, logType).own], {})
}

/** Below `zeek`, the one object that a log type of its own brings is flattened, whatever its name. */
function unknownLogMapping(): Json {
  return {
    dynamic_templates: [{ any_log: { path_match: 'zeek.*', match_mapping_type: 'object', mapping: FLATTENED } }],
    properties: { zeek: { dynamic: true, properties: { session_id: TYPES.keyword, extra: FLATTENED } } },
  }
}

const RECEIPT_FIELDS: Readonly<Record<string, Kind>> = {
  '@timestamp': 'date',
  'event.kind': 'keyword',
  'event.dataset': 'keyword',
  'event.outcome': 'keyword',
  'event.start': 'date',
  'event.end': 'date',
  'event.duration': 'long',
  'observer.name': 'keyword',
  'labels.pcap_sha256': 'keyword',
  'labels.pcap_name': 'keyword',
  'labels.source': 'keyword',
  'receipt.state': 'keyword',
  'receipt.engine': 'keyword',
  'receipt.engine_version': 'keyword',
  'receipt.balanced': 'boolean',
  'receipt.salvaged': 'boolean',
  'receipt.bytes': 'long',
  'receipt.problems': 'keyword',
  'receipt.packets.in_file': 'long',
  'receipt.packets.decoded': 'long',
  'receipt.packets.skipped': 'long',
  'receipt.records': 'long',
  'receipt.rows': 'long',
  'receipt.quarantined': 'long',
  'receipt.documents': 'long',
  'receipt.rejected': 'long',
  'receipt.log_types': 'keyword',
}

function receiptMapping(): Json {
  return nested(Object.entries(RECEIPT_FIELDS), { 'receipt.logs': FLATTENED })
}

/** Dotted names as nested properties. */
function nested(fields: Iterable<readonly [string, Kind]>, rest: Record<string, Json>): Json {
  const root: Json = {}
  for (const [name, type] of [...[...fields].map(([n, kind]) => [n, TYPES[kind]] as const), ...Object.entries(rest)]) {
    const path = name.split('.')
    let home = root
    for (const part of path.slice(0, -1)) {
      home[part] ??= { properties: {} }
      home = home[part].properties
    }
    home[path.at(-1) as string] = type
  }
  return root
}

function managed(body: Json): TemplateBody {
  const digest = createHash('sha256').update(JSON.stringify(body)).digest('hex').slice(0, 16)
  return { ...body, version: TEMPLATE_VERSION, _meta: { managed_by: MANAGED_BY, digest } }
}

/**
 * The rules by which raw Zeek records become rows: `normalization.json` (what is promoted, what is added) and
 * `schema.json` (each log's columns and types). Both are data that a site may replace by files of its own.
 *
 * In: the text of the two files. Out: checked rules, or a `rules_invalid` that names the file, the path inside
 * its JSON, and what is allowed there.
 */

import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { messageOf, PipelineError } from '../../state/errors.ts'
import defaultNormalization from './rules/normalization.json' with { type: 'json' }
import defaultSchema from './rules/schema.json' with { type: 'json' }

const SCALARS = [
  'time',
  'interval',
  'addr',
  'port',
  'count',
  'int',
  'double',
  'bool',
  'string',
  'enum',
  'subnet',
] as const
/** Zeek writes a list of times in no log; DuckDB and the careful path need not know them therefore. */
const ELEMENTS = SCALARS.filter((type) => type !== 'time')

export type ScalarType = (typeof SCALARS)[number]
export type ZeekType = ScalarType | `set[${ScalarType}]` | `vector[${ScalarType}]`

export type Transport = 'tcp' | 'udp'

/** What becomes of one log type's records. */
export interface LogRules {
  /** Names the kind of record in normalized messages: `zeek_conn`. */
  source: string
  /** Zeek field → canonical name. */
  promote: Readonly<Record<string, string>>
  static: Readonly<Record<string, string>>
  enrich: { time: boolean; network: boolean }
  /** A list field whose first element is the flow id where the promoted field is absent (dhcp `uids`). */
  flow_id_from?: string
  /** The transport of a log that has no `proto`, for `community_id`: always the same, or by a field's value. */
  transport?: Transport | { field: string; values: Readonly<Record<string, Transport>> }
}

export type LogSchema = Readonly<Record<string, ZeekType>>

export interface Rules {
  logs: Readonly<Record<string, LogRules>>
  schema: Readonly<Record<string, LogSchema>>
}

/** A log type is the name of a folder and of a table; `events` is the view over all of them. */
export const LOG_TYPE = /^(?!events$)[a-z0-9_]{1,64}$/

/** Canonical names whose type is fixed; any other canonical name takes the raw field's type. */
export const CANONICAL_TYPES: Readonly<Record<string, readonly ScalarType[]>> = {
  event_time: ['time'],
  flow_id: ['string'],
  src_ip: ['addr'],
  dst_ip: ['addr'],
  src_port: ['port'],
  dst_port: ['port'],
  protocol: ['string', 'enum'],
  service: ['string', 'enum'],
}

/** Columns that every table has or may have without any promotion; no rule may take their names. */
export const RESERVED: readonly string[] = [
  ...['event_id', 'capture_id', 'source', 'ingest_time', 'extra', 'direction', 'community_id'],
  ...['watch_employee', 'watch_list', 'watch_reason'],
  ...['event_year', 'event_month', 'event_day', 'event_hour', 'event_minute', 'event_weekday'],
  ...['src_ip_is_private', 'dst_ip_is_private', 'year', 'month', 'day', 'hour', 'epoch_hour'],
]

const field = z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,127}$/, 'a field name: letters, digits, "_", "-", "."')
const logType = z.string().regex(LOG_TYPE, 'a log type: lower-case letters, digits, "_", at most 64 of them')
const canonical = z
  .string()
  .regex(/^[a-z][a-z0-9_]{0,62}$/, 'a column name: lower-case letters, digits, "_"')
  .refine((name) => !RESERVED.includes(name), { error: `a name other than ${RESERVED.join(', ')}` })
const transport = z.enum(['tcp', 'udp'])

const logRules = z.strictObject({
  source: z.string().min(1),
  promote: z.record(field, canonical),
  static: z.record(canonical, z.string()),
  enrich: z.strictObject({ time: z.boolean(), network: z.boolean() }),
  flow_id_from: field.optional(),
  transport: z.union([transport, z.strictObject({ field, values: z.record(z.string(), transport) })]).optional(),
})

const typeNames = [...SCALARS, ...ELEMENTS.flatMap((type) => [`set[${type}]`, `vector[${type}]`])] as [
  ZeekType,
  ...ZeekType[],
]
const normalizationFile = z.record(logType, logRules)
const schemaFile = z.strictObject({
  source: z.string().optional(),
  logs: z.record(logType, z.record(field, z.enum(typeNames))),
})

/** Where the rules come from, for messages; `text` is the file's content. */
export interface RulesFile {
  name: string
  text: string
}

export function parseRules(normalization: RulesFile, schema: RulesFile): Rules {
  return checkRules({ ...normalization, value: parseJson(normalization) }, { ...schema, value: parseJson(schema) })
}

/** The rules that ship with the product. */
export function defaultRules(): Rules {
  return checkRules(
    { name: 'normalization.json', value: defaultNormalization },
    { name: 'schema.json', value: defaultSchema },
  )
}

export interface RulesFiles {
  normalizationFile?: string
  schemaFile?: string
}

/** The site's own files where it has any, else the product's. */
export async function loadRules(files: RulesFiles): Promise<Rules> {
  const read = async (path: string | undefined, name: string, value: unknown) =>
    path === undefined
      ? { name, value }
      : { name: path, value: parseJson({ name: path, text: await readRulesFile(path) }) }
  return checkRules(
    await read(files.normalizationFile, 'normalization.json', defaultNormalization),
    await read(files.schemaFile, 'schema.json', defaultSchema),
  )
}

/** Rules for a log type that the files do not name: Zeek's usual fields are promoted, the rest goes to `extra`. */
export function genericRules(logType: string): LogRules {
  return {
    source: `zeek_${logType}`,
    promote: {
      ...{ ts: 'event_time', uid: 'flow_id', proto: 'protocol' },
      ...{ 'id.orig_h': 'src_ip', 'id.resp_h': 'dst_ip', 'id.orig_p': 'src_port', 'id.resp_p': 'dst_port' },
    },
    static: { event_type: logType, event_class: 'other' },
    enrich: { time: true, network: true },
  }
}

export function elementOf(type: ZeekType): ScalarType | undefined {
  return type.endsWith(']') ? (type.slice(type.indexOf('[') + 1, -1) as ScalarType) : undefined
}

interface Parsed {
  name: string
  value: unknown
}

function checkRules(normalization: Parsed, schema: Parsed): Rules {
  const logs = validate(normalization, normalizationFile) as Rules['logs']
  const { logs: schemas } = validate(schema, schemaFile) as { logs: Rules['schema'] }
  const mistakes = [
    ...Object.entries(schemas).flatMap(([log, columns]) =>
      clashes(log, columns).map((text) => `${schema.name}: ${text}`),
    ),
    ...Object.entries(logs).flatMap(([log, rules]) =>
      contradictions(log, rules, schemas[log] ?? {}).map((text) => `${normalization.name}: ${text}`),
    ),
  ]
  if (mistakes.length > 0) throw invalid(mistakes)
  return { logs, schema: schemas }
}

/** DuckDB holds names that differ in case only for one name. */
function clashes(log: string, columns: LogSchema): string[] {
  const seen = new Map<string, string>()
  const found: string[] = []
  for (const name of Object.keys(columns)) {
    const other = seen.get(name.toLowerCase())
    if (other !== undefined)
      found.push(`logs.${log}.${name}: differs from "${other}" in case only; one of them must go`)
    seen.set(name.toLowerCase(), name)
  }
  return found
}

function contradictions(log: string, rules: LogRules, schema: LogSchema): string[] {
  const found: string[] = []
  const taken = new Map<string, string>()
  for (const [raw, name] of Object.entries(rules.promote)) {
    const at = `${log}.promote["${raw}"]`
    const other = taken.get(name)
    if (other !== undefined)
      found.push(`${at}: "${name}" is promoted from "${other}" already; a canonical name has one field`)
    taken.set(name, raw)
    const allowed = CANONICAL_TYPES[name]
    const type = schema[raw]
    if (allowed && type && !allowed.includes(type as ScalarType))
      found.push(`${at}: the schema says ${type}, but "${name}" takes ${allowed.join(' or ')}`)
  }
  for (const name of Object.keys(rules.static))
    if (taken.has(name)) found.push(`${log}.static.${name}: the name is promoted from "${taken.get(name)}" already`)
  const list = rules.flow_id_from
  if (list !== undefined && schema[list] !== 'set[string]' && schema[list] !== 'vector[string]')
    found.push(`${log}.flow_id_from: "${list}" must be a set[string] or vector[string] of the schema`)
  if (rules.enrich.network && !(taken.has('src_ip') || taken.has('dst_ip')))
    found.push(`${log}.enrich.network: needs a field that is promoted to src_ip or dst_ip, or must be false`)
  if (
    typeof rules.transport === 'object' &&
    schema[rules.transport.field] !== 'string' &&
    schema[rules.transport.field] !== 'enum'
  )
    found.push(`${log}.transport.field: "${rules.transport.field}" must be a string or enum of the schema`)
  return found
}

function validate({ name, value }: Parsed, shape: z.ZodType): unknown {
  const { data, error } = shape.safeParse(value)
  if (!error) return data
  throw invalid(
    error.issues.map((issue) => `${name}: ${issue.path.map(String).join('.') || 'the file'}: ${saying(issue)}`),
  )
}

/** Of a name that is not allowed zod tells in an issue within the issue why. */
function saying(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_key') return issue.message
  return `the name must be ${issue.issues.map(({ message }) => message).join(' and ')}`
}

function invalid(mistakes: string[]): PipelineError {
  const shown = mistakes.slice(0, 5).join('; ')
  const more = mistakes.length > 5 ? `; and ${mistakes.length - 5} more` : ''
  return new PipelineError('rules_invalid', `${shown}${more}`, { details: { mistakes: mistakes.length } })
}

function parseJson({ name, text }: RulesFile): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new PipelineError('rules_invalid', `${name}: is not JSON: ${messageOf(cause)}`, { cause })
  }
}

async function readRulesFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw new PipelineError('rules_invalid', `${path}: cannot be read: ${messageOf(cause)}`, { cause })
  }
}

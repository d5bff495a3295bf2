/**
 * The mapping as data: mapping.json, and with the schema of the rules, the fields that documents of a log type may
 * have, each with its kind. Documents (compile.ts) and index templates (../templates.ts) are made of this one place.
 *
 * In `fields`, a Zeek field names its targets: `target`, or `target = rule` where the value needs one, or `zeek`, which
 * is its own place, `zeek.<stream>.<field>`. A field that is not named goes to its own place alone; one with an empty
 * list goes nowhere (its value is part of another's rule, or a secret).
 */

import { type FiveTuple, type Table, tableOf } from '../../../../stages/upload/rules/table.ts'
import { elementOf, type Rules, type ScalarType, type ZeekType } from '../../../../stages/upload/rules.ts'
import json from './mapping.json' with { type: 'json' }

/** `words`: a keyword that is also searched by its words; `text`: searched by its words alone. `path`: a long keyword. `name`: a distinguished name. */
export type Kind = 'date' | 'ip' | 'long' | 'double' | 'boolean' | 'keyword' | 'words' | 'path' | 'text' | 'name'

type Targets = string | readonly string[]

export interface LogMapping {
  /** In `event.dataset` and `zeek.<stream>`; the log type where absent. */
  stream?: string
  category?: readonly string[]
  type?: readonly string[]
  kind?: string
  /** The originator is a client and the responder a server. */
  roles?: boolean
  set?: Readonly<Record<string, string>>
  fields?: Readonly<Record<string, Targets>>
  derive?: readonly string[]
  /** Kinds of targets below `zeek.` that no Zeek field is named after. */
  extra?: Readonly<Partial<Record<Kind, readonly string[]>>>
}

interface Mapping {
  ecs: Readonly<Record<Kind, readonly string[]>>
  related: Readonly<Record<string, readonly string[]>>
  common: { fields: Readonly<Record<string, Targets>> }
  logs: Readonly<Record<string, LogMapping>>
}

export const mapping = json as unknown as Mapping

/** Parts of a distinguished name, as ECS calls them. */
export const NAME_PARTS = [
  ...['distinguished_name', 'common_name', 'organization', 'organizational_unit'],
  ...['country', 'locality', 'state_or_province'],
]

export const EXTRA = 'zeek.extra'

/** ECS field → kind; the same in every index, so that one data view spans them. */
export const ecsFields: ReadonlyMap<string, Kind> = new Map(
  Object.entries(mapping.ecs).flatMap(([kind, names]) => names.map((name) => [name, kind as Kind] as const)),
)

/** ECS target → the `related.` list that its values go to as well. */
export const relatedTo: ReadonlyMap<string, string> = new Map(
  Object.entries(mapping.related).flatMap(([list, names]) => names.map((name) => [name, `related.${list}`] as const)),
)

export interface Step {
  target: string
  rule?: string
}

export interface LogPlan {
  logType: string
  stream: string
  log: LogMapping
  table: Table
  /** Zeek field → where its value goes. */
  steps: ReadonlyMap<string, readonly Step[]>
  derive: readonly Step[]
  /** Fields below `zeek.<stream>` → kind. Empty for a log type that neither the mapping nor the schema knows. */
  own: ReadonlyMap<string, Kind>
  isKnown: boolean
}

const NO_MAPPING: LogMapping = {}
/** What `zeek.` has besides streams, and what every object of JavaScript has. */
function isTaken(logType: string): boolean {
  return ['session_id', 'extra'].includes(logType) || logType in {}
}

export function planOf(rules: Rules, logType: string): LogPlan {
  const log = Object.hasOwn(mapping.logs, logType) ? (mapping.logs[logType] as LogMapping) : NO_MAPPING
  const stream = log.stream ?? (isTaken(logType) ? `log_${logType}` : logType)
  const table = tableOf(rules, logType)
  const schema = Object.hasOwn(rules.schema, logType) ? (rules.schema[logType] ?? {}) : {}
  const handled = new Set(commonFields(table))
  const named = { ...mapping.common.fields, ...log.fields }
  const steps = new Map<string, Step[]>()
  for (const field of [...Object.keys(schema), ...Object.keys(named)]) {
    if (handled.has(field)) continue
    const targets = Object.hasOwn(named, field) ? named[field] : 'zeek'
    steps.set(
      field,
      [targets ?? []].flat().map((text) => stepOf(text, `zeek.${stream}.${field}`)),
    )
  }
  const own = new Map<string, Kind>()
  for (const [field, list] of steps) {
    for (const { target, rule } of list) {
      if (!target.startsWith(`zeek.${stream}.`) || own.has(target)) continue
      const type = schema[field]
      if (type !== undefined && rule === undefined) own.set(target, kindOf(type))
    }
  }
  for (const [kind, names] of Object.entries(log.extra ?? {})) for (const name of names) own.set(name, kind as Kind)
  if (table.tuple.srcPort !== undefined && table.tuple.proto !== undefined)
    for (const part of ['type', 'code']) own.set(`zeek.${stream}.icmp.${part}`, 'long')
  const isKnown = Object.keys(schema).length > 0 || log !== NO_MAPPING
  return {
    logType,
    stream,
    log,
    table,
    steps,
    derive: (log.derive ?? []).map((text) => stepOf(text, '')),
    own,
    isKnown,
  }
}

/** All log types that have fields of their own. */
export function knownLogTypes(rules: Rules): string[] {
  return [...new Set([...Object.keys(mapping.logs), ...Object.keys(rules.schema)])].sort()
}

/** The five-tuple, also of logs whose rules promote no addresses (files). */
export function tupleOf({ tuple, byRaw }: Table): FiveTuple {
  return { ...tuple, srcIp: tuple.srcIp ?? byRaw.get('id.orig_h'), dstIp: tuple.dstIp ?? byRaw.get('id.resp_h') }
}

/** What every record's common part reads. */
export function commonFields(table: Table): string[] {
  const { srcIp, dstIp, srcPort, dstPort, proto, ipProto, communityId } = tupleOf(table)
  const fields = [table.time, srcIp, dstIp, srcPort, dstPort, proto, ipProto, communityId]
  return [...fields.flatMap((field) => field?.raw ?? []), 'uid']
}

function stepOf(text: string, ownPlace: string): Step {
  const [target = '', rule] = text.split(' = ')
  return { target: target === 'zeek' ? ownPlace : target, ...(rule !== undefined && { rule }) }
}

const KINDS: Readonly<Partial<Record<ScalarType, Kind>>> = {
  time: 'date',
  interval: 'double',
  double: 'double',
  addr: 'ip',
  port: 'long',
  count: 'long',
  int: 'long',
  bool: 'boolean',
}

function kindOf(type: ZeekType): Kind {
  return KINDS[(elementOf(type) ?? type) as ScalarType] ?? 'keyword'
}

export function kindOfTarget(plan: LogPlan, target: string): Kind | undefined {
  return ecsFields.get(target) ?? plan.own.get(target)
}

/**
 * A `config.json` of the format that zeek-kafka-parquet's users have, as settings: in, the file; out, a text for each
 * setting that it names, what is wrong in it, and what has no effect here. `normalization.json` beside it is used too.
 */

import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import { messageOf } from '../../state/errors.ts'
import type { SettingName } from './settings.ts'

export interface FileTexts {
  /** `at` is the place in the file, as in `kafka.brokers in config.json`. */
  texts: Partial<Record<SettingName, { text: string; at: string }>>
  problems: string[]
  warnings: string[]
}

type Json = string | number | boolean | null | Json[] | { [key: string]: Json }
type Kind = 'text' | 'number' | 'yes or no' | 'text or list'

interface Key {
  kind: Kind
  setting?: SettingName
  /** Why it has no effect, where it has none. */
  idle?: string
}

const EXPECTED: Record<Kind, string> = {
  text: 'a text',
  number: 'a number',
  'yes or no': 'true or false',
  'text or list': 'a text or a list of texts',
}

const KEYS: Record<string, Key> = {
  'kafka.brokers': { kind: 'text or list', setting: 'KAFKA_BROKERS' },
  'kafka.topic': { kind: 'text or list', setting: 'KAFKA_TOPIC_RAW' },
  'kafka.group_id': { kind: 'text', setting: 'KAFKA_GROUP_ID' },
  'kafka.max_poll_records': {
    kind: 'number',
    idle: 'messages are fetched by size (KAFKA_FETCH_MAX_MB), not by number',
  },
  'output.parquet.enabled': { kind: 'yes or no' },
  'output.parquet.base_path': { kind: 'text', setting: 'PARQUET_DIR' },
  'output.parquet.file_prefix': { kind: 'text', setting: 'PARQUET_FILE_PREFIX' },
  'output.kafka.enabled': { kind: 'yes or no', setting: 'KAFKA_NORMALIZED' },
  'output.kafka.brokers': { kind: 'text or list' },
  'output.kafka.topic': { kind: 'text', setting: 'KAFKA_TOPIC_NORMALIZED' },
  'output.kafka.compression': { kind: 'text', setting: 'KAFKA_COMPRESSION' },
  'log.path': { kind: 'text', setting: 'LOG_FILE' },
  'write.flush_buffer_mb': { kind: 'number', setting: 'FLUSH_BUFFER_MB' },
  'write.flush_interval_seconds': { kind: 'number', setting: 'FLUSH_INTERVAL_SECONDS' },
  'write.flush_event_count': { kind: 'number', setting: 'FLUSH_EVENT_COUNT' },
}
const SECTIONS = new Set(Object.keys(KEYS).flatMap((key) => partsBefore(key)))

const LARGEST_FILE = 1024 * 1024
const SHOWN_CHARACTERS = 80

export function readConfigFile(path: string): FileTexts {
  const name = basename(path)
  const found: FileTexts = { texts: {}, problems: [], warnings: [] }
  let root: Json
  try {
    if (statSync(path).size > LARGEST_FILE) throw new Error(`it is larger than ${LARGEST_FILE} bytes`)
    root = JSON.parse(readFileSync(path, 'utf8').replace(/^\uFEFF/, ''))
  } catch (error) {
    found.problems.push(`${path} (--config) cannot be used: ${messageOf(error)}`)
    return found
  }
  const values = new Map<string, Json>()
  collect(root, '', name, values, found)
  const set = (setting: SettingName, text: string, at: string) => {
    found.texts[setting] = { text, at: `${at} in ${name}` }
  }
  set('BUS', 'kafka', 'the use of --config')
  for (const [key, value] of values) {
    const { setting, idle } = KEYS[key] as Key
    if (setting) set(setting, key === 'log.path' ? logFile(String(value)) : textOf(value), key)
    if (idle) found.warnings.push(`${key} in ${name} has no effect: ${idle}`)
  }
  judgeOutputs(values, name, found)
  // Whoever names no such output has none.
  if (![...values.keys()].some((key) => key.startsWith('output.kafka.')))
    set('KAFKA_NORMALIZED', 'false', 'the lack of output.kafka')
  const rules = join(dirname(path), 'normalization.json')
  if (existsSync(rules)) set('NORMALIZATION_FILE', rules, 'normalization.json beside it')
  return found
}

/** The values of known keys whose kind is right; all others are told. */
function collect(value: Json, at: string, name: string, values: Map<string, Json>, found: FileTexts): void {
  if (!isObject(value)) {
    found.problems.push(`${at || 'the whole'} in ${name} is ${shown(value)}; it must be an object`)
    return
  }
  for (const [key, inner] of Object.entries(value)) {
    const path = at ? `${at}.${key}` : key
    const kind = KEYS[path]?.kind
    if (SECTIONS.has(path)) collect(inner, path, name, values, found)
    else if (kind === undefined)
      found.warnings.push(`${path.slice(0, SHOWN_CHARACTERS)} in ${name} has no effect: it is not known here`)
    else if (isOf(kind, inner)) values.set(path, inner)
    else found.problems.push(`${path} in ${name} is ${shown(inner)}; it must be ${EXPECTED[kind]}`)
  }
}

function judgeOutputs(values: Map<string, Json>, name: string, { problems, warnings }: FileTexts): void {
  if (values.get('output.parquet.enabled') === false)
    problems.push(
      `output.parquet.enabled in ${name} is false, but the dataset is always written: receipts, queries and exactly-once stand on it; take the key out, and give output.parquet.base_path a place with room`,
    )
  const brokers = values.get('output.kafka.brokers')
  const read = values.get('kafka.brokers')
  if (brokers === undefined) return
  if (values.get('output.kafka.enabled') === false)
    warnings.push(`output.kafka.brokers in ${name} has no effect: output.kafka.enabled is false`)
  else if (read === undefined || sorted(brokers) !== sorted(read))
    problems.push(
      `output.kafka.brokers in ${name} (${textOf(brokers)}) is not kafka.brokers (${read === undefined ? 'not set' : textOf(read)}): events are read and published in one transaction, which spans one cluster; publish to the same, or set output.kafka.enabled to false`,
    )
}

/** The file is named, or the folder of it: that ends in a slash, is there as one, or has no ending. */
function logFile(path: string): string {
  if (path === '') return ''
  const isFolder =
    path.endsWith('/') || extname(path) === '' || statSync(path, { throwIfNoEntry: false })?.isDirectory()
  return isFolder ? join(path, 'pipeline.log') : path
}

function partsBefore(key: string): string[] {
  const parts = key.split('.')
  return parts.slice(1).map((_, i) => parts.slice(0, i + 1).join('.'))
}

function isObject(value: Json): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isOf(kind: Kind, value: Json): boolean {
  switch (kind) {
    case 'text':
      return typeof value === 'string'
    case 'number':
      return typeof value === 'number'
    case 'yes or no':
      return typeof value === 'boolean'
    case 'text or list':
      return typeof value === 'string' || (Array.isArray(value) && value.every((item) => typeof item === 'string'))
  }
}

function textOf(value: Json): string {
  return Array.isArray(value) ? value.join(',') : String(value)
}

function sorted(value: Json): string {
  return textOf(value)
    .split(',')
    .map((item) => item.trim())
    .sort()
    .join(',')
}

function shown(value: Json): string {
  if (value === null) return 'null'
  const text = JSON.stringify(value)
  const short = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text
  if (Array.isArray(value)) return `${short}, a list`
  const kinds: Record<string, string> = { string: 'a text', number: 'a number', boolean: 'true or false' }
  return `${short}, ${kinds[typeof value] ?? 'an object'}`
}

/**
 * The configuration: `.env` of the working directory and the environment in, which wins; one frozen, typed tree
 * out. Read once; parts of it are handed down, and nothing else reads the environment.
 */

import { availableParallelism } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { PipelineError } from '../state/errors.ts'
import { factsOf, type SettingName, type Settings, settingNames, settings } from './config/settings.ts'
import { gatherTexts, type Source, type Texts } from './config/sources.ts'

export interface ConfigOptions {
  /** Default: this process's own. */
  env?: Record<string, string | undefined>
  /** Where relative paths start and `.env` lies; default: the working directory. */
  cwd?: string
  /** A settings file to read instead of `.env`; it has to be there. */
  envFile?: string
}

/** One setting as it took effect, its secrets masked. */
export interface EffectiveSetting {
  name: SettingName
  value: string
  source: Source
  unit?: string
}

type Tree = ReturnType<typeof treeOf>

export interface Config extends Tree {
  /** What a start should say of settings that are accepted and have no effect in this version. */
  readonly warnings: readonly string[]
  readonly settings: readonly EffectiveSetting[]
}

const MB = 1024 ** 2
const GB = 1024 ** 3
const NO_KAFKA = 'BUS is kafka: this version has no Kafka bus yet; use BUS=embedded'
const SHOWN_CHARACTERS = 80
const SECRET_NAME = /PASSWORD|SECRET|KEY|TOKEN/

/** @throws PipelineError config_invalid, which lists every problem at once. */
export function loadConfig({ env = process.env, cwd = process.cwd(), envFile }: ConfigOptions = {}): Config {
  const file = resolve(cwd, envFile ?? '.env')
  const { texts, problems } = gatherTexts({ env, envFile: file, required: envFile !== undefined })
  if (texts.BUS?.text.toLowerCase() === 'kafka') problems.push(NO_KAFKA)
  const parsed = settings.safeParse(Object.fromEntries(Object.entries(texts).map(([name, { text }]) => [name, text])))
  if (!parsed.success) {
    problems.push(
      ...parsed.error.issues.map(({ path, message }) => describeIssue(path[0] as SettingName, message, texts)),
    )
    throw invalid(problems)
  }
  const tree = treeOf(parsed.data, cwd, env.PATH ?? '')
  problems.push(...conflictsIn(tree))
  if (problems.length > 0) throw invalid(problems)
  return deepFreeze({ ...tree, warnings: warningsOf(tree), settings: effectiveSettings(texts, tree) })
}

/** The settings in effect, each with its source; secrets and credentials within addresses are masked. */
export function describeConfig(config: Config): readonly EffectiveSetting[] {
  return config.settings
}

function treeOf(values: Settings, cwd: string, searchPath: string) {
  const file = (path: string) => (path === '' ? undefined : resolve(cwd, path))
  const cores = (count: number) => count || availableParallelism()
  const dataDir = resolve(cwd, values.DATA_DIR)
  return {
    dataDir,
    inboxDir: file(values.INBOX_DIR) ?? join(dataDir, 'inbox'),
    stopTimeoutMs: values.STOP_TIMEOUT_SECONDS * 1000,
    disk: { floorBytes: values.DISK_FLOOR_MB * MB },
    inbox: {
      stabilityMs: values.STABILITY_INTERVAL_MS,
      rescanMs: values.RESCAN_INTERVAL_MS,
      polling: values.INBOX_POLLING,
      maxCaptureBytes: values.CAPTURE_MAX_GB * GB,
    },
    convert: {
      engine: values.CONVERT_ENGINE,
      concurrency: cores(values.CONVERT_CONCURRENCY),
      parallel: cores(values.CONVERT_PARALLEL),
      timeoutMs: values.CONVERT_TIMEOUT_SECONDS * 1000,
      memoryBytes: values.CONVERT_MEMORY_MB * MB,
      tsharkPath: file(values.TSHARK_PATH),
      zeekPath: file(values.ZEEK_PATH),
      zeekScript: isZeekName(values.ZEEK_SCRIPT) ? values.ZEEK_SCRIPT : file(values.ZEEK_SCRIPT),
      packetLog: values.PACKET_LOG,
      /** The PATH on which an engine is looked for. */
      searchPath,
    },
    split: { linesPerChunk: values.SPLIT_LINES },
    distribute: { lanes: values.DISTRIBUTE_LANES, eventsPerBatch: values.BATCH_EVENTS },
    upload: {
      concurrency: values.UPLOAD_CONCURRENCY,
      threads: cores(values.UPLOAD_THREADS),
      memoryBytes: values.UPLOAD_MEMORY_MB * MB,
      /** 0 turns a rule off. */
      flush: {
        bufferBytes: values.FLUSH_BUFFER_MB * MB,
        intervalMs: values.FLUSH_INTERVAL_SECONDS * 1000,
        events: values.FLUSH_EVENT_COUNT,
      },
    },
    bus: {
      kind: values.BUS,
      brokers: values.KAFKA_BROKERS,
      topicRaw: values.KAFKA_TOPIC_RAW,
      topicNormalized: values.KAFKA_TOPIC_NORMALIZED,
    },
    elasticsearch: {
      connection: {
        nodes: values.ELASTICSEARCH_NODE,
        apiKey: values.ELASTICSEARCH_API_KEY || undefined,
        username: values.ELASTICSEARCH_USERNAME || undefined,
        password: values.ELASTICSEARCH_PASSWORD || undefined,
        caFile: file(values.ELASTICSEARCH_CA),
      },
      prefix: values.ELASTICSEARCH_INDEX_PREFIX,
      bulkBytes: values.ELASTICSEARCH_BULK_MB * MB,
      bulkConcurrency: values.ELASTICSEARCH_BULK_CONCURRENCY,
      backlogBytes: values.ELASTICSEARCH_BACKLOG_MB * MB,
      retentionDays: values.ELASTICSEARCH_RETENTION_DAYS,
      shards: values.ELASTICSEARCH_SHARDS,
      replicas: values.ELASTICSEARCH_REPLICAS === 'auto' ? undefined : values.ELASTICSEARCH_REPLICAS,
      maxIndices: values.ELASTICSEARCH_MAX_INDICES,
    },
    rules: {
      localNetworks: values.LOCAL_NETWORKS,
      normalizationFile: file(values.NORMALIZATION_FILE),
      schemaFile: file(values.SCHEMA_FILE),
    },
    jobs: {
      maxAttempts: values.JOB_MAX_ATTEMPTS,
      leaseMs: values.JOB_LEASE_SECONDS * 1000,
      backoffMs: values.JOB_BACKOFF_MS,
    },
    health: { intervalMs: values.HEALTH_INTERVAL_SECONDS * 1000 },
    http: { host: values.HTTP_HOST, port: values.HTTP_PORT },
    query: { memoryBytes: values.QUERY_MEMORY_MB * MB, timeoutMs: values.QUERY_TIMEOUT_SECONDS * 1000 },
    log: {
      level: values.LOG_LEVEL,
      format: values.LOG_FORMAT,
      file: values.LOG_FILE === 'off' ? undefined : (file(values.LOG_FILE) ?? join(dataDir, 'log', 'pipeline.log')),
      maxBytes: values.LOG_MAX_MB * MB,
      maxFiles: values.LOG_MAX_FILES,
    },
  }
}

/** `local` and `policy/tuning/json-logs` are looked up by Zeek itself. */
function isZeekName(script: string): boolean {
  return script !== '' && !script.startsWith('.') && !script.startsWith('/') && !script.endsWith('.zeek')
}

/** What each setting alone cannot tell. */
function conflictsIn({ dataDir, inboxDir, elasticsearch }: Tree): string[] {
  const problems = []
  const { apiKey, username, password } = elasticsearch.connection
  if (apiKey !== undefined && username !== undefined)
    problems.push('ELASTICSEARCH_API_KEY and ELASTICSEARCH_USERNAME are both set; use one of them')
  if (password !== undefined && username === undefined)
    problems.push('ELASTICSEARCH_PASSWORD is set without ELASTICSEARCH_USERNAME')
  if (isWithin(dataDir, inboxDir)) {
    problems.push(
      `INBOX_DIR (${inboxDir}) holds DATA_DIR (${dataDir}): the pipeline would take in its own files; use a folder of its own`,
    )
  }
  const taken = ['captures', 'spool', 'parquet', 'quarantine', 'log'].find((name) =>
    isWithin(inboxDir, join(dataDir, name)),
  )
  if (taken)
    problems.push(`INBOX_DIR (${inboxDir}) lies in the pipeline's own folder ${taken}; use a folder of its own`)
  return problems
}

function warningsOf({ bus }: Tree): string[] {
  const warnings = []
  if (bus.brokers.length > 0)
    warnings.push('KAFKA_BROKERS is set, but this version has the embedded queue only: Kafka is not used')
  return warnings
}

function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path)
  return way !== '..' && !way.startsWith('../')
}

function effectiveSettings(texts: Texts, { dataDir, inboxDir, log }: Tree): EffectiveSetting[] {
  const resolved: Partial<Record<SettingName, string>> = {
    DATA_DIR: dataDir,
    INBOX_DIR: inboxDir,
    LOG_FILE: log.file ?? 'off',
  }
  return settingNames.map((name) => {
    const { initial, shown, unit } = factsOf(name)
    const { text, source } = texts[name] ?? { text: initial || (shown ?? ''), source: 'default' as const }
    return { name, value: mask(name, resolved[name] ?? text), source, ...(unit && { unit }) }
  })
}

function describeIssue(name: SettingName, message: string, texts: Texts): string {
  const { text = '', source } = texts[name] ?? {}
  const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text
  const place = source === 'environment' ? 'the environment' : source
  return `${name} in ${place} is ${JSON.stringify(mask(name, shown))}; it ${message}`
}

function mask(name: string, text: string): string {
  if (SECRET_NAME.test(name) && text !== '') return '***'
  return text.replace(/\/\/\S*@/g, '//***@')
}

function invalid(problems: string[]): PipelineError {
  const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`
  const list = problems.map((problem) => `\n- ${problem}`).join('')
  return new PipelineError('config_invalid', `the configuration has ${count}:${list}`, {
    details: { problems: problems.length },
  })
}

function deepFreeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) if (typeof part === 'object' && part !== null) deepFreeze(part)
  return Object.freeze(value)
}

/**
 * The configuration: the file of `--config`, `.env` of the working directory and the environment in, the later winning
 * over the earlier; one frozen, typed tree out. Read once; parts of it are handed down, and nothing else reads the
 * environment.
 */

import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { PipelineError } from '../state/errors.ts'
import { conflictsIn } from './config/conflicts.ts'
import { factsOf, type SettingName, type Settings, settingNames, settings } from './config/settings.ts'
import { gatherTexts, type Source, type Texts } from './config/sources.ts'

export interface ConfigOptions {
  /** Default: this process's own. */
  env?: Record<string, string | undefined>
  /** Where relative paths start and `.env` lies; default: the working directory. */
  cwd?: string
  /** A settings file to read instead of `.env`; it has to be there. */
  envFile?: string
  /** A config.json as zeek-kafka-parquet has it, below `.env`; it has to be there. */
  configFile?: string
}

/** One setting as it took effect, its secrets masked. */
export interface EffectiveSetting {
  name: SettingName
  value: string
  source: Source
  unit?: string
}

/** What systemd and deploy/systemd/launch tell a process that they start; all absent elsewhere. */
export interface ServiceEnvironment {
  /** `<device>:<inode>` of the journal's stream. */
  journalStream?: string
  /** A descriptor that is connected to the journal's own socket. */
  journalFd?: number
  /** A descriptor that is connected to NOTIFY_SOCKET. */
  notifyFd?: number
  /** Signs of life are missed after this time. */
  watchdogMs?: number
}

type Tree = ReturnType<typeof treeOf>

export interface Config extends Tree {
  /** What a start should say of settings that are accepted and have no effect, or one that is not meant. */
  readonly warnings: readonly string[]
  /** What a person types in front of a command's name: for messages. */
  readonly command: string
  readonly settings: readonly EffectiveSetting[]
}

const MB = 1024 ** 2
const GB = 1024 ** 3
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const SHOWN_CHARACTERS = 80
/** A name that ends in _TLS_KEY is that of a file, and TLS_KEYS is a switch. */
const SECRET_NAME = /PASSWORD|SECRET|TOKEN|KEY(?<!_TLS_KEY|^TLS_KEY)/

/** @throws PipelineError config_invalid, which lists every problem at once. */
export function loadConfig({
  env = process.env,
  cwd = process.cwd(),
  envFile,
  configFile,
}: ConfigOptions = {}): Config {
  const file = resolve(cwd, envFile ?? '.env')
  const { texts, problems, warnings } = gatherTexts({
    env,
    envFile: file,
    required: envFile !== undefined,
    configFile: configFile === undefined ? undefined : resolve(cwd, configFile),
  })
  const parsed = settings.safeParse(Object.fromEntries(Object.entries(texts).map(([name, { text }]) => [name, text])))
  if (!parsed.success) {
    problems.push(
      ...parsed.error.issues.map(({ path, message }) => describeIssue(path[0] as SettingName, message, texts)),
    )
    throw invalid(problems)
  }
  const tree = treeOf(parsed.data, cwd, env.PATH ?? '')
  problems.push(...conflictsIn(parsed.data, tree))
  if (problems.length > 0) throw invalid(problems)
  return deepFreeze({
    ...tree,
    command: commandOf(env),
    warnings: [...warnings, ...warningsOf(tree)],
    settings: effectiveSettings(texts, tree),
  })
}

/** They are no settings: who runs the pipeline does not choose them. */
export function serviceEnvironment(env: Record<string, string | undefined> = process.env): ServiceEnvironment {
  const number = (text = '') => (/^\d{1,15}$/.test(text) ? Number(text) : undefined)
  const microseconds = number(env.WATCHDOG_USEC)
  const isMeant = env.WATCHDOG_PID === undefined || number(env.WATCHDOG_PID) === process.pid
  return {
    journalStream: env.JOURNAL_STREAM,
    journalFd: number(env.JOURNAL_FD),
    notifyFd: number(env.NOTIFY_FD),
    watchdogMs: microseconds && isMeant ? microseconds / 1000 : undefined,
  }
}

/** The settings in effect, each with its source; secrets and credentials within addresses are masked. */
export function describeConfig(config: Config): readonly EffectiveSetting[] {
  return config.settings
}

function treeOf(values: Settings, cwd: string, searchPath: string) {
  const file = (path: string) => (path === '' ? undefined : resolve(cwd, path))
  const cores = (count: number) => count || availableParallelism()
  const dataDir = resolve(cwd, values.DATA_DIR)
  const stateDir = file(values.STATE_DIR) ?? dataDir
  return {
    dataDir,
    inboxDir: file(values.INBOX_DIR) ?? join(dataDir, 'inbox'),
    parquetDir: file(values.PARQUET_DIR) ?? join(dataDir, 'parquet'),
    stateDir,
    stopTimeoutMs: values.STOP_TIMEOUT_SECONDS * 1000,
    disk: { floorBytes: values.DISK_FLOOR_MB * MB, budgetBytes: values.DISK_BUDGET_MB * MB },
    /** 0 turns a rule off. */
    retention: {
      captures: { maxBytes: values.CAPTURES_MAX_GB * GB, maxAgeMs: values.CAPTURES_MAX_DAYS * DAY_MS },
      parquet: { maxBytes: values.PARQUET_MAX_GB * GB, maxAgeMs: values.PARQUET_MAX_DAYS * DAY_MS },
      quarantine: { maxBytes: values.QUARANTINE_MAX_GB * GB, maxAgeMs: values.QUARANTINE_MAX_DAYS * DAY_MS },
    },
    compactAfterMs: values.COMPACT_AFTER_MINUTES * MINUTE_MS,
    jobHistoryMs: values.JOB_HISTORY_DAYS * DAY_MS,
    inbox: {
      stabilityMs: values.STABILITY_INTERVAL_MS,
      rescanMs: values.RESCAN_INTERVAL_MS,
      polling: values.INBOX_POLLING,
      maxCaptureBytes: values.CAPTURE_MAX_GB * GB,
      /** Source → microseconds. */
      clockOffsets: values.CLOCK_OFFSETS,
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
      smbCommandLog: values.SMB_CMD_LOG,
      tlsKeys: values.TLS_KEYS,
      /** The PATH on which an engine is looked for. */
      searchPath,
    },
    split: { linesPerChunk: values.SPLIT_LINES },
    distribute: { lanes: values.DISTRIBUTE_LANES, eventsPerBatch: values.BATCH_EVENTS },
    upload: {
      concurrency: values.UPLOAD_CONCURRENCY,
      threads: cores(values.UPLOAD_THREADS),
      memoryBytes: values.UPLOAD_MEMORY_MB * MB,
      filePrefix: values.PARQUET_FILE_PREFIX,
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
      clientId: values.KAFKA_CLIENT_ID,
      groupId: values.KAFKA_GROUP_ID,
      topicPrefix: values.KAFKA_TOPIC_PREFIX,
      /** All are read; the first is written to. */
      topicsRaw: values.KAFKA_TOPIC_RAW,
      topicNormalized: values.KAFKA_TOPIC_NORMALIZED,
      topicDeadLetter: values.KAFKA_TOPIC_DEAD_LETTER,
      publishNormalized: values.KAFKA_NORMALIZED,
      watch: values.KAFKA_WATCH
        ? {
            employees: values.KAFKA_TOPIC_EMPLOYEES,
            computers: values.KAFKA_TOPIC_COMPUTERS,
            topicWatched: values.KAFKA_TOPIC_WATCHED,
          }
        : undefined,
      compression: values.KAFKA_COMPRESSION,
      createTopics: values.KAFKA_CREATE_TOPICS,
      partitions: values.KAFKA_PARTITIONS,
      /** 0: the broker's own default; so with the retention. */
      replication: values.KAFKA_REPLICATION,
      retentionMs: values.KAFKA_RETENTION_HOURS * HOUR_MS,
      start: values.KAFKA_START,
      sessionTimeoutMs: values.KAFKA_SESSION_TIMEOUT_SECONDS * 1000,
      fetchMaxBytes: values.KAFKA_FETCH_MAX_MB * MB,
      tls: values.KAFKA_TLS
        ? {
            caFile: file(values.KAFKA_TLS_CA),
            certFile: file(values.KAFKA_TLS_CERT),
            keyFile: file(values.KAFKA_TLS_KEY),
          }
        : undefined,
      sasl:
        values.KAFKA_SASL_MECHANISM === 'none'
          ? undefined
          : {
              mechanism: values.KAFKA_SASL_MECHANISM,
              username: values.KAFKA_SASL_USERNAME,
              password: values.KAFKA_SASL_PASSWORD,
            },
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
    http: {
      enabled: values.HTTP_ENABLED,
      host: values.HTTP_HOST,
      port: values.HTTP_PORT,
      token: values.HTTP_TOKEN || undefined,
      hosts: values.HTTP_HOSTS,
    },
    query: { memoryBytes: values.QUERY_MEMORY_MB * MB, timeoutMs: values.QUERY_TIMEOUT_SECONDS * 1000 },
    log: {
      level: values.LOG_LEVEL,
      format: values.LOG_FORMAT,
      file: values.LOG_FILE === 'off' ? undefined : (file(values.LOG_FILE) ?? join(stateDir, 'log', 'pipeline.log')),
      maxBytes: values.LOG_MAX_MB * MB,
      maxFiles: values.LOG_MAX_FILES,
    },
  }
}

/** `local` and `policy/tuning/json-logs` are looked up by Zeek itself. */
function isZeekName(script: string): boolean {
  return script !== '' && !script.startsWith('.') && !script.startsWith('/') && !script.endsWith('.zeek')
}

/** From a checkout it is npm that starts the program; where it is installed it has a name of its own. */
function commandOf(env: Record<string, string | undefined>): string {
  return env.npm_lifecycle_event === 'start' ? 'npm start --silent --' : 'pcap-pipeline'
}

function warningsOf({ bus }: Tree): string[] {
  const warnings = []
  if (bus.kind === 'embedded' && bus.brokers.length > 0)
    warnings.push('KAFKA_BROKERS is set, but BUS is embedded: Kafka is not used; set BUS=kafka to use it')
  if (bus.kind === 'kafka' && bus.sasl?.mechanism === 'plain' && bus.tls === undefined)
    warnings.push('KAFKA_SASL_MECHANISM is plain and KAFKA_TLS is false: the password crosses the network as it is')
  return warnings
}

function effectiveSettings(texts: Texts, { dataDir, inboxDir, parquetDir, stateDir, log }: Tree): EffectiveSetting[] {
  const resolved: Partial<Record<SettingName, string>> = {
    DATA_DIR: dataDir,
    INBOX_DIR: inboxDir,
    PARQUET_DIR: parquetDir,
    STATE_DIR: stateDir,
    LOG_FILE: log.file ?? 'off',
  }
  return settingNames.map((name) => {
    const { initial, shown, unit } = factsOf(name)
    const { text, source } = texts[name] ?? { text: initial || (shown ?? ''), source: 'default' as const }
    return { name, value: mask(name, resolved[name] ?? text), source, ...(unit && { unit }) }
  })
}

function describeIssue(name: SettingName, message: string, texts: Texts): string {
  const { text = '', source, at } = texts[name] ?? {}
  const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text
  const place = source === 'environment' ? 'the environment' : source
  const where = at === undefined ? `${name} in ${place}` : `${at} (${name})`
  return `${where} is ${JSON.stringify(mask(name, shown))}; it ${message}`
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

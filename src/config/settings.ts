/**
 * Every setting: its name, its default as a person would write it, what it allows, its unit and what it is for.
 *
 * The one zod schema reads the texts of `.env` and the environment into values; beside each of its fields lie
 * the facts from which `.env.example` and `docs/settings.md` are made. Sizes are binary: 1 MB is 1,048,576 bytes.
 */

import { z } from 'zod'
import {
  anyText,
  brokers,
  clockOffsets,
  filePrefix,
  host,
  hosts,
  identifier,
  indexPrefix,
  type Kind,
  networks,
  oneOf,
  path,
  replicas,
  topic,
  topicPrefix,
  topics,
  webAddresses,
  wholeNumber,
  yesOrNo,
} from './kinds.ts'

export interface SettingFacts {
  group: string
  /** What it is for, in one sentence. */
  about: string
  /** As in `.env`; empty where the default is described by `shown`. */
  initial: string
  /** The default in words, where `initial` does not say it. */
  shown?: string
  unit?: string
  allowed: string
}

const settingFacts = z.registry<SettingFacts>()

type Extra = Pick<SettingFacts, 'shown' | 'unit'>

function group(name: string) {
  return <T>(kind: Kind<T>, initial: string, about: string, extra: Extra = {}) =>
    z
      .string()
      .prefault(initial)
      .transform((text, context) => {
        const value = kind.parse(text.trim())
        if (value !== undefined) return value
        context.addIssue({ code: 'custom', message: `must be ${kind.allowed}` })
        return z.NEVER
      })
      .register(settingFacts, { group: name, about, initial, allowed: kind.allowed, ...extra })
}

const folders = group('Folders')
const intake = group('Intake')
const retention = group('Retention')
const convert = group('Conversion')
const batches = group('Chunks and batches')
const upload = group('Upload')
const bus = group('Bus and other sinks')
const kafka = group('Kafka')
const elasticsearch = group('Elasticsearch')
const rules = group('Rules')
const jobs = group('Jobs')
const query = group('Queries and pages')
const log = group('Log')

const ms = { unit: 'ms' }
const seconds = { unit: 's' }
const mb = { unit: 'MB' }
const days = wholeNumber(0, 36_500)
const gigabytes = wholeNumber(0, 1_048_576)
const DAY_SECONDS = 86_400
const LARGEST_MB = 1_048_576
const SITE = '10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,169.254.0.0/16,127.0.0.0/8,fc00::/7,fe80::/10,::1/128'

export const settings = z.object({
  DATA_DIR: folders(path, './data', 'Where everything is kept: inbox, captures, dataset, ledger, log.'),
  INBOX_DIR: folders(path, '', 'The folder to drop captures into; its first level of subfolders names the source.', {
    shown: '<DATA_DIR>/inbox',
  }),
  PARQUET_DIR: folders(path, '', 'The dataset.', { shown: '<DATA_DIR>/parquet' }),
  STATE_DIR: folders(
    path,
    '',
    'The ledger, the log and the cache; hosts that share DATA_DIR over a network file system each need one of their own, on a disk of theirs.',
    { shown: 'DATA_DIR' },
  ),
  DISK_FLOOR_MB: folders(
    wholeNumber(0, LARGEST_MB),
    '1024',
    'Intake pauses while less than this is free on the disk of the data.',
    mb,
  ),
  DISK_BUDGET_MB: folders(
    wholeNumber(0, 1_073_741_824),
    '0',
    'What everything but the inbox may take together; when it is used up the oldest goes, and intake waits for it. 0 is no budget.',
    mb,
  ),

  CAPTURES_MAX_GB: retention(
    gigabytes,
    '0',
    'Stored captures beyond this size go, oldest first; their rows and receipts stay. 0 keeps them.',
    { unit: 'GB' },
  ),
  CAPTURES_MAX_DAYS: retention(
    days,
    '0',
    'Stored captures go this long after they came; their rows and receipts stay. 0 keeps them.',
    { unit: 'days' },
  ),
  PARQUET_MAX_GB: retention(
    gigabytes,
    '0',
    'Rows beyond this size of the dataset go, oldest hour first. 0 keeps them.',
    {
      unit: 'GB',
    },
  ),
  PARQUET_MAX_DAYS: retention(
    days,
    '0',
    'Rows go once their hour, and their loading, lie further back than this. 0 keeps them.',
    { unit: 'days' },
  ),
  QUARANTINE_MAX_GB: retention(gigabytes, '0', 'Files in quarantine beyond this size go, oldest first. 0 keeps them.', {
    unit: 'GB',
  }),
  QUARANTINE_MAX_DAYS: retention(days, '0', 'Files in quarantine go this long after they came there. 0 keeps them.', {
    unit: 'days',
  }),
  COMPACT_AFTER_MINUTES: retention(
    wholeNumber(0, 525_600),
    '60',
    'Small files of an hour are joined once the hour is over, and they are loaded, this long. 0 joins none.',
    { unit: 'minutes' },
  ),
  JOB_HISTORY_DAYS: retention(
    wholeNumber(1, 36_500),
    '30',
    'How long the ledger keeps finished jobs; receipts stay. With Kafka, longer than messages are kept there.',
    { unit: 'days' },
  ),

  STABILITY_INTERVAL_MS: intake(
    wholeNumber(10, 3_600_000),
    '2000',
    'A file is taken in once its size and time have not changed for this long.',
    ms,
  ),
  RESCAN_INTERVAL_MS: intake(
    wholeNumber(100, 3_600_000),
    '5000',
    'How often the whole inbox is looked through for what no event told of.',
    ms,
  ),
  INBOX_POLLING: intake(
    yesOrNo,
    'false',
    'Look for files by polling, for network mounts and other file systems that send no events.',
  ),
  CAPTURE_MAX_GB: intake(
    wholeNumber(1, 1_048_576),
    '100',
    'A capture larger than this, uncompressed, is refused and put into quarantine.',
    { unit: 'GB' },
  ),
  CLOCK_OFFSETS: intake(
    clockOffsets,
    '',
    'What to add to the times of the captures of a source whose clock is wrong; a capture keeps what was set when it was accepted.',
    { shown: 'none' },
  ),

  CONVERT_ENGINE: convert(
    oneOf('auto', 'zeek', 'tshark'),
    'auto',
    'What reads the captures: auto is Zeek where it is installed, else our own dissectors, which is also what tshark means.',
  ),
  CONVERT_CONCURRENCY: convert(
    wholeNumber(0, 256),
    '0',
    'Captures converted at the same time; 0 is one for each core.',
  ),
  CONVERT_PARALLEL: convert(
    wholeNumber(0, 256),
    '0',
    'Engine workers, over all captures that are converted at the same time; a large capture is shared out among them. 0 is one for each core.',
  ),
  CONVERT_TIMEOUT_SECONDS: convert(
    wholeNumber(1, 7 * DAY_SECONDS),
    '3600',
    'A conversion that takes longer is ended and the capture put into quarantine.',
    seconds,
  ),
  CONVERT_MEMORY_MB: convert(
    wholeNumber(256, LARGEST_MB),
    '2048',
    'Memory that one engine process may take, all told; what needs more is divided, and in the end set aside.',
    mb,
  ),
  TSHARK_PATH: convert(path, '', 'The tshark to use for the packet log.', { shown: 'tshark on the PATH' }),
  ZEEK_PATH: convert(path, '', 'The Zeek to use.', { shown: 'zeek on the PATH' }),
  ZEEK_SCRIPT: convert(path, '', "A Zeek script to load besides Zeek's defaults: a file, or a name that Zeek knows.", {
    shown: "Zeek's defaults alone",
  }),
  PACKET_LOG: convert(
    yesOrNo,
    'false',
    'Also make a table of all packets, one row each, by tshark; it is larger than all others together.',
  ),
  SMB_CMD_LOG: convert(
    yesOrNo,
    'false',
    'Also make the smb_cmd log, one row an SMB command; Zeek then loads its script protocols/smb/log-cmds.',
  ),
  TLS_KEYS: convert(
    yesOrNo,
    'false',
    'Decrypt TLS with the keys that come with a capture, beside it or in it: what the sessions carried is in the tables then.',
  ),

  SPLIT_LINES: batches(wholeNumber(1, 10_000_000), '10000', 'The most events that one chunk holds.', {
    unit: 'events',
  }),
  DISTRIBUTE_LANES: batches(wholeNumber(1, 256), '4', 'Lanes that the batches of a large capture are spread over.'),
  BATCH_EVENTS: batches(
    wholeNumber(1, 100_000_000),
    '100000',
    'Beyond this many events a capture is divided into further batches.',
    {
      unit: 'events',
    },
  ),

  UPLOAD_CONCURRENCY: upload(wholeNumber(1, 64), '2', 'Uploads under way at the same time.'),
  UPLOAD_THREADS: upload(
    wholeNumber(0, 256),
    '0',
    'Threads of the Parquet writer, as far as there are 192 MB of its memory for each; 0 is one for each core.',
  ),
  UPLOAD_MEMORY_MB: upload(wholeNumber(192, LARGEST_MB), '256', 'Memory that the Parquet writer may take.', mb),
  PARQUET_FILE_PREFIX: upload(filePrefix, 'events', "What the names of the dataset's files begin with."),
  FLUSH_BUFFER_MB: upload(
    wholeNumber(0, LARGEST_MB),
    '128',
    'Write once this much raw data is waiting; 0 turns the rule off.',
    mb,
  ),
  FLUSH_INTERVAL_SECONDS: upload(
    wholeNumber(0, DAY_SECONDS),
    '10',
    'Write once the oldest waiting event is this old; 0 turns the rule off.',
    seconds,
  ),
  FLUSH_EVENT_COUNT: upload(
    wholeNumber(0, 1_000_000_000),
    '0',
    'Write once this many events are waiting; 0 turns the rule off.',
    {
      unit: 'events',
    },
  ),

  BUS: bus(
    oneOf('embedded', 'kafka'),
    'embedded',
    'What carries work between the stages: a queue in the ledger, for one host, or Kafka, for several.',
  ),
  ELASTICSEARCH_NODE: elasticsearch(
    webAddresses,
    '',
    'The Elasticsearch (8 or newer) to index every event into as well; several nodes of one cluster are separated by commas.',
    { shown: 'none' },
  ),
  ELASTICSEARCH_API_KEY: elasticsearch(anyText, '', 'An API key, as the cluster encodes it.', { shown: 'none' }),
  ELASTICSEARCH_USERNAME: elasticsearch(anyText, '', 'A user, where no API key is set.', { shown: 'none' }),
  ELASTICSEARCH_PASSWORD: elasticsearch(anyText, '', "That user's password.", { shown: 'none' }),
  ELASTICSEARCH_CA: elasticsearch(path, '', 'A file of certificates (PEM) to trust instead of those of the system.', {
    shown: "the system's",
  }),
  ELASTICSEARCH_INDEX_PREFIX: elasticsearch(
    indexPrefix,
    'pcap',
    'What the names of indices and templates begin with: <prefix>-<log type>-<year>.<month>.',
  ),
  ELASTICSEARCH_BULK_MB: elasticsearch(wholeNumber(1, 90), '5', 'The most that one bulk request holds.', mb),
  ELASTICSEARCH_BULK_CONCURRENCY: elasticsearch(
    wholeNumber(1, 32),
    '2',
    'Bulk requests under way at the same time, for each batch that is indexed.',
  ),
  ELASTICSEARCH_BACKLOG_MB: elasticsearch(
    wholeNumber(1, LARGEST_MB),
    '10240',
    'Intake pauses while more than this waits on the disk to be indexed.',
    mb,
  ),
  ELASTICSEARCH_RETENTION_DAYS: elasticsearch(
    wholeNumber(0, 36_500),
    '0',
    'Indices are deleted once their month, and their making, lie further back than this; 0 keeps them.',
    { unit: 'days' },
  ),
  ELASTICSEARCH_SHARDS: elasticsearch(wholeNumber(1, 100), '1', 'Primary shards of each index.'),
  ELASTICSEARCH_REPLICAS: elasticsearch(
    replicas,
    'auto',
    'Copies of each shard; auto is none on a single node and one on several.',
  ),
  ELASTICSEARCH_MAX_INDICES: elasticsearch(
    wholeNumber(1, 100_000),
    '1000',
    'The most indices that are made; events of further months go to the undated index of their log type.',
  ),

  KAFKA_BROKERS: kafka(brokers, '', 'The brokers to start from; the others are learnt of them. BUS=kafka needs it.', {
    shown: 'none',
  }),
  KAFKA_CLIENT_ID: kafka(identifier, 'pcap-pipeline', "How the broker's logs and quotas name this program."),
  KAFKA_GROUP_ID: kafka(
    identifier,
    'pcap-pipeline',
    'The consumer group of the upload; those of the other stages begin with KAFKA_TOPIC_PREFIX.',
  ),
  KAFKA_TOPIC_RAW: kafka(
    topics,
    'zeek-raw',
    'The topic of raw Zeek events; where there are several, all are read and the first is written to.',
  ),
  KAFKA_TOPIC_NORMALIZED: kafka(topic, 'zeek-normalized', 'The topic of normalized events.'),
  KAFKA_NORMALIZED: kafka(yesOrNo, 'true', 'Publish the normalized events as well.'),
  KAFKA_TOPIC_DEAD_LETTER: kafka(
    topic,
    'zeek-dead-letter',
    'The topic of messages that are no Zeek events, each with the reason.',
  ),
  KAFKA_WATCH: kafka(
    yesOrNo,
    'true',
    'Follow the topics of watched employees and their computers, and publish the traffic that watch lists mean.',
  ),
  KAFKA_TOPIC_EMPLOYEES: kafka(topic, 'employees', 'The topic of watched employees.'),
  KAFKA_TOPIC_COMPUTERS: kafka(topic, 'computers', "The topic of the employees' computers."),
  KAFKA_TOPIC_WATCHED: kafka(topic, 'watched-traffic', 'The topic of events that watch lists mean.'),
  KAFKA_TOPIC_PREFIX: kafka(
    topicPrefix,
    'pcap-pipeline.',
    "What the names of the pipeline's own topics begin with (the hand-offs between stages, the ledger), and of its groups and transactions.",
  ),
  KAFKA_COMPRESSION: kafka(oneOf('none', 'gzip', 'lz4', 'zstd'), 'lz4', 'How messages are compressed.'),
  KAFKA_CREATE_TOPICS: kafka(
    yesOrNo,
    'true',
    'Create the topics that are missing; else a start without them is refused.',
  ),
  KAFKA_PARTITIONS: kafka(
    wholeNumber(1, 10_000),
    '12',
    'Partitions of the topics that are created: the most processes that share the work of one.',
  ),
  KAFKA_REPLICATION: kafka(
    wholeNumber(0, 100),
    '0',
    "Copies of each partition of the topics that are created; 0 is the broker's own default.",
  ),
  KAFKA_RETENTION_HOURS: kafka(
    wholeNumber(0, 876_000),
    '168',
    "How long events are kept in the topics that are created; 0 is the broker's own default.",
    { unit: 'hours' },
  ),
  KAFKA_START: kafka(
    oneOf('earliest', 'latest'),
    'earliest',
    'Where the upload begins in a topic of raw events that its group has not read yet.',
  ),
  KAFKA_SESSION_TIMEOUT_SECONDS: kafka(
    wholeNumber(1, 1800),
    '30',
    'A process that the broker has not heard of for this long loses its partitions to the others.',
    seconds,
  ),
  KAFKA_FETCH_MAX_MB: kafka(
    wholeNumber(1, 1024),
    '2',
    'The most that one request for messages brings; one message that is larger still comes alone.',
    mb,
  ),
  KAFKA_TLS: kafka(yesOrNo, 'false', 'Encrypt the connections to the brokers.'),
  KAFKA_TLS_CA: kafka(path, '', "A PEM file of the authorities that may sign the brokers' certificates.", {
    shown: "Node's own list",
  }),
  KAFKA_TLS_CERT: kafka(path, '', 'A PEM file with the certificate to show to the brokers.', { shown: 'none' }),
  KAFKA_TLS_KEY: kafka(path, '', 'A PEM file with the private key of that certificate.', { shown: 'none' }),
  KAFKA_SASL_MECHANISM: kafka(
    oneOf('none', 'plain', 'scram-sha-256', 'scram-sha-512'),
    'none',
    'How a name and a password are shown to the brokers.',
  ),
  KAFKA_SASL_USERNAME: kafka(anyText, '', 'The name.', { shown: 'none' }),
  KAFKA_SASL_PASSWORD: kafka(anyText, '', 'The password.', { shown: 'none' }),

  LOCAL_NETWORKS: rules(networks, SITE, "The site's own networks, from which the direction of a flow follows."),
  NORMALIZATION_FILE: rules(path, '', 'Promotion rules to use instead of those that are shipped.', {
    shown: 'as shipped',
  }),
  SCHEMA_FILE: rules(path, '', 'Column types to use instead of those that are shipped.', { shown: 'as shipped' }),

  JOB_MAX_ATTEMPTS: jobs(
    wholeNumber(1, 1000),
    '5',
    'A job that failed this many times is given up and its input put into quarantine.',
  ),
  JOB_LEASE_SECONDS: jobs(
    wholeNumber(5, DAY_SECONDS),
    '60',
    'A job whose process has not been heard of for this long is given to another.',
    seconds,
  ),
  JOB_BACKOFF_MS: jobs(
    wholeNumber(1, 600_000),
    '1000',
    'The wait before the second attempt; it doubles with each further one.',
    ms,
  ),
  STOP_TIMEOUT_SECONDS: jobs(
    wholeNumber(0, 3600),
    '20',
    'How long a stop waits for the work in hand before it gives it back.',
    seconds,
  ),
  HEALTH_INTERVAL_SECONDS: jobs(wholeNumber(1, DAY_SECONDS), '30', 'How often a health line is logged.', seconds),

  HTTP_HOST: query(host, '127.0.0.1', 'The address that the API and the pages listen on.'),
  HTTP_PORT: query(
    wholeNumber(0, 65_535),
    '8080',
    'The port that the API and the pages listen on; 0 takes any that is free.',
  ),
  HTTP_ENABLED: query(yesOrNo, 'true', 'Serve the API and the pages while all stages run.'),
  HTTP_TOKEN: query(
    anyText,
    '',
    'Who has it may ask everything, as `Authorization: Bearer …` or as the password of the page; with it, or with accounts, addresses other than loopback may be listened on.',
    { shown: 'none' },
  ),
  HTTP_HOSTS: query(
    hosts,
    '',
    'Names, besides localhost and addresses, under which the page is asked for; others are refused.',
    { shown: 'none' },
  ),
  QUERY_MEMORY_MB: query(wholeNumber(128, LARGEST_MB), '1024', 'Memory that a query may take.', mb),
  QUERY_TIMEOUT_SECONDS: query(wholeNumber(1, DAY_SECONDS), '300', 'A query that takes longer is ended.', seconds),

  LOG_LEVEL: log(oneOf('debug', 'info', 'warn', 'error'), 'info', 'The least level that is logged.'),
  LOG_FORMAT: log(oneOf('text', 'json'), 'text', 'Lines for people, or a JSON object a line.'),
  LOG_FILE: log(path, '', 'The log file; off writes none.', { shown: '<DATA_DIR>/log/pipeline.log' }),
  LOG_MAX_MB: log(wholeNumber(1, 1024), '20', 'The log file is put aside when it reaches this size.', mb),
  LOG_MAX_FILES: log(wholeNumber(1, 100), '5', 'Log files kept, the current one included.'),
})

export type SettingName = keyof typeof settings.shape
export type Settings = z.infer<typeof settings>

export const settingNames = Object.keys(settings.shape) as SettingName[]

export function factsOf(name: SettingName): SettingFacts {
  return settingFacts.get(settings.shape[name]) as SettingFacts
}

/** What each setting alone cannot tell: in, all of them and where they put things; out, a sentence for each conflict. */

import { join, relative } from 'node:path'
import type { Settings } from './settings.ts'

export interface Places {
  dataDir: string
  inboxDir: string
  parquetDir: string
}

/** The pipeline's own folders in DATA_DIR. */
const OWN_FOLDERS = ['captures', 'spool', 'parquet', 'quarantine', 'log', 'cache']
/** What comes behind KAFKA_TOPIC_PREFIX. */
const OWN_TOPICS = ['convert', 'split', 'distribute', 'ledger']

export function conflictsIn(values: Settings, places: Places): string[] {
  return [
    ...conflictsOfPlaces(places),
    ...conflictsOfKafka(values),
    ...conflictsOfTopics(values),
    ...conflictsOfElasticsearch(values),
  ]
}

function conflictsOfPlaces({ dataDir, inboxDir, parquetDir }: Places): string[] {
  const problems = []
  if (isWithin(dataDir, inboxDir)) {
    problems.push(
      `INBOX_DIR (${inboxDir}) holds DATA_DIR (${dataDir}): the pipeline would take in its own files; use a folder of its own`,
    )
  }
  const taken = OWN_FOLDERS.find((name) => isWithin(inboxDir, join(dataDir, name)))
  if (taken)
    problems.push(`INBOX_DIR (${inboxDir}) lies in the pipeline's own folder ${taken}; use a folder of its own`)
  if (parquetDir === join(dataDir, 'parquet')) return problems
  if (isWithin(dataDir, parquetDir))
    problems.push(`PARQUET_DIR (${parquetDir}) holds DATA_DIR (${dataDir}); use a folder of its own`)
  const within = OWN_FOLDERS.find((name) => name !== 'parquet' && isWithin(parquetDir, join(dataDir, name)))
  if (within)
    problems.push(`PARQUET_DIR (${parquetDir}) lies in the pipeline's own folder ${within}; use a folder of its own`)
  if (isWithin(parquetDir, inboxDir) || isWithin(inboxDir, parquetDir))
    problems.push(
      `PARQUET_DIR (${parquetDir}) and INBOX_DIR (${inboxDir}) lie in one another; use folders side by side`,
    )
  return problems
}

function conflictsOfKafka(values: Settings): string[] {
  const { KAFKA_TLS_CERT: cert, KAFKA_TLS_KEY: key, KAFKA_SASL_MECHANISM: mechanism } = values
  const problems = []
  if (values.BUS === 'kafka' && values.KAFKA_BROKERS.length === 0)
    problems.push(
      'BUS is kafka, but KAFKA_BROKERS is not set: name the brokers, for example KAFKA_BROKERS=kafka-1:9092',
    )
  const files = (['KAFKA_TLS_CA', 'KAFKA_TLS_CERT', 'KAFKA_TLS_KEY'] as const).filter((name) => values[name] !== '')
  if (!values.KAFKA_TLS && files.length > 0)
    problems.push(`${files.join(' and ')} is set, but KAFKA_TLS is false: set KAFKA_TLS=true, or take it out`)
  if ((cert === '') !== (key === ''))
    problems.push(
      `KAFKA_TLS_CERT and KAFKA_TLS_KEY belong together: set ${cert === '' ? 'KAFKA_TLS_CERT' : 'KAFKA_TLS_KEY'} too`,
    )
  const credentials = (['KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD'] as const).filter((name) => values[name] === '')
  if (mechanism !== 'none' && credentials.length > 0)
    problems.push(`KAFKA_SASL_MECHANISM is ${mechanism}, which needs ${credentials.join(' and ')}`)
  if (mechanism === 'none' && credentials.length < 2)
    problems.push(
      'KAFKA_SASL_USERNAME or KAFKA_SASL_PASSWORD is set, but KAFKA_SASL_MECHANISM is none: say which it is',
    )
  return problems
}

/** Each topic has messages of one kind. */
function conflictsOfTopics(values: Settings): string[] {
  const uses: [string, string][] = [
    ...OWN_TOPICS.map((name): [string, string] => [`${values.KAFKA_TOPIC_PREFIX}${name}`, 'KAFKA_TOPIC_PREFIX']),
    ...values.KAFKA_TOPIC_RAW.map((name): [string, string] => [name, 'KAFKA_TOPIC_RAW']),
    [values.KAFKA_TOPIC_NORMALIZED, 'KAFKA_TOPIC_NORMALIZED'],
    [values.KAFKA_TOPIC_DEAD_LETTER, 'KAFKA_TOPIC_DEAD_LETTER'],
    [values.KAFKA_TOPIC_EMPLOYEES, 'KAFKA_TOPIC_EMPLOYEES'],
    [values.KAFKA_TOPIC_COMPUTERS, 'KAFKA_TOPIC_COMPUTERS'],
    [values.KAFKA_TOPIC_WATCHED, 'KAFKA_TOPIC_WATCHED'],
  ]
  const users = Map.groupBy(uses, ([topic]) => topic)
  return [...users].flatMap(([topic, by]) =>
    by.length === 1
      ? []
      : [`${by.map(([, name]) => name).join(' and ')} both lead to the topic ${topic}; each needs its own`],
  )
}

export function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path)
  return way !== '..' && !way.startsWith('../')
}

function conflictsOfElasticsearch(values: Settings): string[] {
  const problems = []
  const { ELASTICSEARCH_API_KEY: apiKey, ELASTICSEARCH_USERNAME: username, ELASTICSEARCH_PASSWORD: password } = values
  if (apiKey !== '' && username !== '')
    problems.push('ELASTICSEARCH_API_KEY and ELASTICSEARCH_USERNAME are both set; use one of them')
  if (password !== '' && username === '') problems.push('ELASTICSEARCH_PASSWORD is set without ELASTICSEARCH_USERNAME')
  return problems
}

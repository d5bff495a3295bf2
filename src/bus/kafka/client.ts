/**
 * What every connection to Kafka is made with: in, the settings of the bus; out, the client's options. And what may
 * go wrong on such a connection, as a `PipelineError` that says what to do about it.
 */

import { readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import type { BaseOptions, SASLOptions } from '@platformatic/kafka'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import type { Config } from '../../config.ts'

export type BusConfig = Config['bus']

export type ClientOptions = Pick<
  BaseOptions,
  | 'clientId'
  | 'connectTimeout'
  | 'requestTimeout'
  | 'timeout'
  | 'retries'
  | 'retryDelay'
  | 'autocreateTopics'
  | 'tls'
  | 'tlsServerName'
  | 'sasl'
> & { bootstrapBrokers: { host: string; port: number }[] }

const CONNECT_MS = 10_000
/** Above what a broker waits for on its own account: 30 s at most for a fetch or a rebalance that is under way. */
const REQUEST_MS = 60_000
/** Within a request, for the broker's own work. */
const BROKER_MS = 20_000
/** A broker that restarts hands its partitions over within seconds. */
const RETRIES = 5
const LONGEST_RETRY_MS = 2000
const LARGEST_PEM = 1024 * 1024

const MECHANISMS = {
  plain: 'PLAIN',
  'scram-sha-256': 'SCRAM-SHA-256',
  'scram-sha-512': 'SCRAM-SHA-512',
} as const satisfies Record<NonNullable<BusConfig['sasl']>['mechanism'], SASLOptions['mechanism']>

/** @throws PipelineError config_invalid when a file for TLS cannot be read. */
export function clientOptions({ brokers, clientId, tls, sasl }: BusConfig): ClientOptions {
  const bootstrapBrokers = brokers.map(brokerOf)
  return {
    clientId,
    bootstrapBrokers,
    connectTimeout: CONNECT_MS,
    requestTimeout: REQUEST_MS,
    timeout: BROKER_MS,
    retries: RETRIES,
    retryDelay: (_client, _operation, attempt) => Math.min(LONGEST_RETRY_MS, 100 * 2 ** attempt),
    autocreateTopics: false,
    ...(tls && {
      tls: {
        ca: readPem('KAFKA_TLS_CA', tls.caFile),
        cert: readPem('KAFKA_TLS_CERT', tls.certFile),
        key: readPem('KAFKA_TLS_KEY', tls.keyFile),
      },
      // Proxies before hosted brokers tell by this name which is meant; an address cannot be one.
      tlsServerName: bootstrapBrokers.every(({ host }) => isIP(host) === 0),
    }),
    ...(sasl && {
      sasl: { mechanism: MECHANISMS[sasl.mechanism], username: sasl.username, password: sasl.password },
    }),
  }
}

function brokerOf(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(':')
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) }
}

function readPem(setting: string, path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined
  try {
    if (statSync(path).size > LARGEST_PEM) throw new Error(`it is larger than ${LARGEST_PEM} bytes`)
    const pem = readFileSync(path)
    if (!pem.includes('-----BEGIN ')) throw new Error('it has no PEM block (-----BEGIN …)')
    return pem
  } catch (cause) {
    throw new PipelineError('config_invalid', `${setting} (${path}) cannot be used: ${messageOf(cause)}`, { cause })
  }
}

/** What an error of the client may have; its errors nest in one another. */
interface Failure {
  code?: string
  message?: string
  /** The protocol's own name for it, such as TOPIC_AUTHORIZATION_FAILED. */
  apiId?: string
  canRetry?: boolean
  serverErrorMessage?: string | null
  errors?: unknown[]
  cause?: unknown
  /** On an answer of the broker's that has errors, and on each of them. */
  response?: unknown
  path?: string
  /** The topic or group that it is about. */
  about?: string
}

const TLS_ADVICE =
  "the broker's certificate is not trusted; KAFKA_TLS_CA must name a PEM file with the authority that signed it"
const NO_TLS_THERE = 'the broker does not speak TLS on this port; take the port of its TLS listener, or KAFKA_TLS=false'
const WRONG_CREDENTIALS =
  'the broker does not accept the credentials; check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD'
const NO_MECHANISM = 'the broker does not offer this KAFKA_SASL_MECHANISM on this port'

const PASSES = { passes: true }

/** From the most telling to the least, for several may be found in one error; `passes` where waiting may help. */
const VERDICTS: readonly [(failure: Failure) => boolean, string, { passes: boolean }?][] = [
  [
    ({ apiId }) => apiId === 'TOPIC_AUTHORIZATION_FAILED',
    'this user is not authorised for the topic; it needs Read, Write, Describe and DescribeConfigs on it',
  ],
  [
    ({ apiId }) => apiId === 'GROUP_AUTHORIZATION_FAILED',
    'this user is not authorised for the consumer group; it needs Read on KAFKA_GROUP_ID and on what begins with KAFKA_TOPIC_PREFIX',
  ],
  [
    ({ apiId }) => apiId === 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
    'this user is not authorised for transactions; it needs Write and Describe on transactional ids that begin with KAFKA_TOPIC_PREFIX',
  ],
  [({ apiId }) => apiId === 'CLUSTER_AUTHORIZATION_FAILED', 'this user is not authorised for the cluster'],
  [({ apiId }) => apiId === 'UNSUPPORTED_SASL_MECHANISM', NO_MECHANISM],
  [({ message = '' }) => message.includes('suitable SASL mechanism'), NO_MECHANISM],
  [({ code, apiId }) => code === 'PLT_KFK_AUTHENTICATION' || apiId === 'SASL_AUTHENTICATION_FAILED', WRONG_CREDENTIALS],
  [
    ({ code }) => code === 'ERR_TLS_CERT_ALTNAME_INVALID',
    "the broker's certificate is for another name; use a name of the certificate in KAFKA_BROKERS and in the broker's advertised.listeners",
  ],
  [({ code }) => code === 'CERT_HAS_EXPIRED', "the broker's certificate has expired; it needs a new one"],
  [({ code = '' }) => /SELF_SIGNED|UNABLE_TO_(VERIFY|GET_ISSUER)|CERT_UNTRUSTED|CERT_SIGNATURE/.test(code), TLS_ADVICE],
  // A broker that is killed just then looks the same.
  [({ message = '' }) => message.includes('verify the broker supports TLS'), NO_TLS_THERE, PASSES],
  [({ code = '' }) => /^ERR_SSL_WRONG_VERSION_NUMBER$|^ERR_SSL_PACKET/.test(code), NO_TLS_THERE],
  [
    ({ code = '' }) => /^ERR_(SSL|OSSL)_/.test(code),
    'TLS could not be agreed on; check KAFKA_TLS_CERT and KAFKA_TLS_KEY, and what the broker asks for',
  ],
  [({ message = '' }) => message.includes('requires TLS'), 'the broker speaks TLS on this port; set KAFKA_TLS=true'],
  [
    ({ apiId }) => apiId === 'MESSAGE_TOO_LARGE' || apiId === 'RECORD_LIST_TOO_LARGE',
    "a message is larger than the topic allows; raise the topic's max.message.bytes",
  ],
  [
    ({ apiId }) => apiId === 'UNKNOWN_TOPIC_OR_PARTITION' || apiId === 'UNKNOWN_TOPIC_ID',
    'the topic does not exist; a restart creates it, or says how',
    PASSES,
  ],
  [
    ({ apiId }) => apiId === 'INVALID_SESSION_TIMEOUT',
    "KAFKA_SESSION_TIMEOUT_SECONDS is outside of what the broker's group.min/max.session.timeout.ms allow",
  ],
  [({ apiId, canRetry }) => apiId !== undefined && canRetry === false, 'the broker does not accept the request'],
  [
    ({ code }) => code === 'PLT_KFK_UNSUPPORTED_API' || code === 'PLT_KFK_UNSUPPORTED',
    'the broker is too old, or no Kafka broker at all; Kafka 3.5 or newer is needed',
  ],
]

/**
 * Any failure of the client, for the log and for the person who reads it. `doing` completes "Kafka failed while …".
 * What may pass by itself (no broker, no leader, a timeout) is `bus_unavailable`, which is tried again.
 */
export function kafkaError(error: unknown, { brokers }: Pick<BusConfig, 'brokers'>, doing?: string): PipelineError {
  if (error instanceof PipelineError) return error
  const failures = flatten(error)
  const what = doing === undefined ? 'Kafka' : `Kafka, while ${doing}`
  for (const [matches, advice, { passes } = { passes: false }] of VERDICTS) {
    const failure = failures.find(matches)
    if (!failure) continue
    const message = `${what}: ${advice} (${toldBy(failure)})`
    return new PipelineError(passes ? 'bus_unavailable' : 'bus_refused', message, { retryable: passes, cause: error })
  }
  const reasons = [...new Set(failures.filter(isLeaf).map(toldBy))].slice(0, 4).join('; ')
  if (failures.some(({ code = '', canRetry }) => canRetry === true || code === 'PLT_KFK_NETWORK' || isErrno(code))) {
    const doubts = `is the broker running, and is KAFKA_BROKERS right?${/closed/i.test(reasons) ? ' Or does it want a password (KAFKA_SASL_MECHANISM)?' : ''}`
    const message = `${what}: no answer from ${brokers.join(', ')}: ${reasons}; ${doubts}`
    return new PipelineError('bus_unavailable', message, { retryable: true, cause: error })
  }
  return new PipelineError('bus_refused', `${what}: ${reasons}`, { cause: error })
}

/** An error with all that it holds, from the outside in. Bounded: what a client nests, it nests by its retries. */
function flatten(error: unknown, depth = 0): Failure[] {
  if (typeof error !== 'object' || error === null || depth > 10) return []
  const { errors = [], cause, response } = error as Failure
  const failures = [...errors, cause].slice(0, 50).flatMap((each) => flatten(each, depth + 1))
  for (const failure of failures) failure.about ??= nameAt(response, failure.path)
  return [{ ...pick(error as Failure) }, ...failures]
}

/** The members of an error are getters or hidden; a copy has them plain. */
function pick({ code, message, apiId, canRetry, serverErrorMessage, path, errors, cause }: Failure): Failure {
  return { code, message, apiId, canRetry, serverErrorMessage, path, errors, cause }
}

/** A part of the answer is told by its place, as in `/topics/0`; there it has its name. */
function nameAt(response: unknown, path = ''): string | undefined {
  const [, list = '', index = ''] = path.split('/')
  const item = (response as Record<string, { name?: string; resourceName?: string }[]> | undefined)?.[list]?.[
    Number(index)
  ]
  return item?.name ?? item?.resourceName
}

function isLeaf({ errors, cause }: Failure): boolean {
  return cause === undefined && (errors ?? []).length === 0
}

function toldBy({ apiId, message = 'unknown error', serverErrorMessage, about }: Failure): string {
  const own = messageOf(serverErrorMessage || message).replace(/\.$/, '')
  return [apiId, about, own].filter(Boolean).join(': ')
}

function isErrno(code: string): boolean {
  return /^E[A-Z]+$/.test(code)
}

/**
 * The connection to the cluster, and what its failures mean.
 *
 * Only calls that every 8.x server has are made. Retries are ours (bulk.ts): the library's would repeat whole bodies.
 */

import { readFileSync } from 'node:fs'
import type { Client, ClientOptions } from '@elastic/elasticsearch'
import { messageOf, PipelineError } from '../../../state/errors.ts'

export interface Connection {
  nodes: readonly string[]
  apiKey?: string
  username?: string
  password?: string
  /** A file of certificates in PEM that are trusted besides none other. */
  caFile?: string
}

const REQUEST_TIMEOUT_MS = 60_000

/** Throws `config_invalid` on a file of certificates that cannot be read. */
export async function openClient({ nodes, apiKey, username, password, caFile }: Connection): Promise<Client> {
  const { Client } = await import('@elastic/elasticsearch')
  const options: ClientOptions = {
    nodes: [...nodes],
    maxRetries: 0,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // A node that failed is tried again with the next round; sniffing would leave the names that were configured.
    sniffOnStart: false,
    ...(apiKey !== undefined && { auth: { apiKey } }),
    ...(apiKey === undefined && username !== undefined && { auth: { username, password: password ?? '' } }),
    ...(caFile !== undefined && { tls: { ca: readCertificates(caFile) } }),
  }
  return new Client(options)
}

function readCertificates(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new PipelineError('config_invalid', `ELASTICSEARCH_CA: ${file} cannot be read: ${messageOf(cause)}`, {
      cause,
    })
  }
}

/** The HTTP status of an answer that was an error; undefined where there was no answer. */
export function statusOf(error: unknown): number | undefined {
  const { statusCode } = error as { statusCode?: unknown }
  return typeof statusCode === 'number' ? statusCode : undefined
}

/** Whatever was thrown by the library's transport, and nothing else. */
export function isFromServer(error: unknown): boolean {
  return (
    error instanceof Error &&
    /^(Response|Connection|Timeout|NoLivingConnections|RequestAborted|Deserialization|ProductNotSupported)Error$/.test(
      error.name,
    )
  )
}

/** The server cannot take anything now, or refuses us: nobody's fault, and worth waiting for. */
export function serverDown(error: unknown): PipelineError {
  const status = statusOf(error)
  const why =
    status === 401 || status === 403
      ? 'it refuses the credentials or what they allow; check ELASTICSEARCH_API_KEY, _USERNAME and _PASSWORD'
      : 'what is to be indexed waits, and goes on by itself'
  return new PipelineError('sink_down', `Elasticsearch: ${shortReason(error)}; ${why}`, {
    retryable: true,
    cause: error,
  })
}

const LONGEST_REASON = 300

/** The server's words, on one line and bounded; never a request's headers. */
export function shortReason(error: unknown): string {
  const text = messageOf(error) || (error as Error).name || 'no answer'
  return text.length > LONGEST_REASON ? `${text.slice(0, LONGEST_REASON)}…` : text
}

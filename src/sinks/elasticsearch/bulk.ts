/**
 * Sends documents in bulk bodies of bounded size, several at once, and accounts for each of them.
 *
 * In: documents, each with its id and index. Out: for every document exactly one of created, duplicate (it was there
 * already: 409), rejected (the server will never take it, with its words). Items of an answer that say 429 or 5xx are
 * sent again alone, after growing delays. Safe to repeat: the operation is `create` with an id of our own, or `index`,
 * which puts the document in the place of one that is there.
 */

import type { Client } from '@elastic/elasticsearch'
import { PipelineError } from '../../../state/errors.ts'
import { sleep } from '../../sleep.ts'
import { isFromServer, serverDown, shortReason, statusOf } from './client.ts'

export interface BulkDocument {
  index: string
  id: string
  /** JSON text. */
  text: string
}

export interface Refusal {
  status: number
  /** The server's name for it: `document_parsing_exception`. */
  type: string
  reason: string
}

export interface BulkOptions<D extends BulkDocument> {
  client: Client
  /** Of one body. */
  maxBytes: number
  /** Bodies under way at once. */
  concurrency: number
  signal: AbortSignal
  /** Default `create`. */
  operation?: 'create' | 'index'
  onDone(document: D, outcome: 'created' | 'duplicate'): void
  onRejected(document: D, refusal: Refusal): void
  /** First delay after a refusal that may pass; doubles each time. */
  backoffMs?: number
  /** How long a body is tried before the server counts as down. */
  patienceMs?: number
}

export interface Bulk<D extends BulkDocument> {
  /** Resolves when another may be added. Throws `sink_down`, and whatever stopped the sending. */
  add(document: D): Promise<void> | undefined
  /** Sends the rest and waits for all answers. */
  finish(): Promise<void>
  readonly stats: { requests: number; bytes: number; retried: number }
}

const MOST_DOCUMENTS = 10_000
const MAX_BACKOFF_MS = 5_000
/** The answer's parts that are read; whole items would be ten times as many bytes. */
const PARTS = [
  'errors',
  'items.*._id',
  'items.*.status',
  'items.*.error.type',
  'items.*.error.reason',
  'items.*.error.caused_by.reason',
]

export function openBulk<D extends BulkDocument>(options: BulkOptions<D>): Bulk<D> {
  const { client, maxBytes, concurrency, signal, onDone, onRejected, backoffMs = 100, patienceMs = 60_000 } = options
  const { operation = 'create' } = options
  const stats = { requests: 0, bytes: 0, retried: 0 }
  const inFlight = new Set<Promise<void>>()
  let body: D[] = []
  let bytes = 0
  let failure: unknown

  function add(document: D): Promise<void> | undefined {
    if (failure !== undefined) throw failure
    const size = sizeOf(document)
    if (body.length > 0 && (bytes + size > maxBytes || body.length >= MOST_DOCUMENTS)) {
      dispatch()
      body.push(document)
      bytes = size
      return inFlight.size >= concurrency ? Promise.race(inFlight) : undefined
    }
    body.push(document)
    bytes += size
    return undefined
  }

  function dispatch(): void {
    const mine = body
    body = []
    bytes = 0
    const sent: Promise<void> = send(mine, performance.now() + patienceMs)
      .catch((error) => {
        failure ??= error
      })
      .finally(() => inFlight.delete(sent))
    inFlight.add(sent)
  }

  async function finish(): Promise<void> {
    if (body.length > 0 && failure === undefined) dispatch()
    while (inFlight.size > 0) await Promise.race(inFlight)
    if (failure !== undefined) throw failure
  }

  async function send(documents: D[], deadline: number): Promise<void> {
    let pending = documents
    for (let round = 0; pending.length > 0; round++) {
      signal.throwIfAborted()
      if (round > 0) {
        stats.retried += pending.length
        await sleep(jittered(Math.min(MAX_BACKOFF_MS, backoffMs * 2 ** (round - 1))), signal)
      }
      try {
        pending = settle(pending, await request(pending))
      } catch (error) {
        if (!isFromServer(error)) throw error
        signal.throwIfAborted()
        const status = statusOf(error)
        if (status === 400 || status === 413) return await halve(pending, status, error, deadline)
        if (!mayPass(status) || performance.now() > deadline) throw serverDown(error)
      }
      if (pending.length > 0 && performance.now() > deadline) {
        const text = `Elasticsearch has refused ${pending.length} documents for ${patienceMs / 1000} s (429 or 5xx); they wait, and go on by themselves`
        throw new PipelineError('sink_down', text, { retryable: true })
      }
    }
  }

  /** A body that is refused as a whole is too large, or one document in it is to blame. */
  async function halve(documents: D[], status: number, error: unknown, deadline: number): Promise<void> {
    const [only] = documents
    if (documents.length === 1 && only !== undefined) {
      onRejected(only, {
        status,
        type: status === 413 ? 'request_too_large' : 'bad_request',
        reason: shortReason(error),
      })
      return
    }
    const middle = Math.ceil(documents.length / 2)
    await send(documents.slice(0, middle), deadline)
    await send(documents.slice(middle), deadline)
  }

  async function request(documents: readonly D[]): Promise<BulkAnswer> {
    const operations: string[] = []
    for (const { index, id, text } of documents) {
      operations.push(`{"${operation}":{"_index":${JSON.stringify(index)},"_id":${JSON.stringify(id)}}}`, text)
      stats.bytes += text.length
    }
    stats.requests++
    // The library takes lines that are JSON already as they are.
    return (await client.bulk(
      { operations: operations as never[], filter_path: PARTS },
      { signal },
    )) as unknown as BulkAnswer
  }

  /** Every item is looked at; answers those that are to be sent again. */
  function settle(documents: readonly D[], { items = [] }: BulkAnswer): D[] {
    if (items.length !== documents.length)
      throw new PipelineError('sink_down', `Elasticsearch answered ${items.length} of ${documents.length} documents`, {
        retryable: true,
      })
    const again: D[] = []
    for (const [i, document] of documents.entries()) {
      const { _id, status = 0, error } = items[i]?.[operation] ?? {}
      if (_id !== undefined && _id !== document.id)
        throw new PipelineError('sink_down', 'Elasticsearch answered in another order than it was asked', {
          retryable: true,
        })
      if (status === 201 || status === 200) onDone(document, 'created')
      else if (status === 409) onDone(document, 'duplicate')
      else if (status === 429 || status >= 500 || status === 0) again.push(document)
      else if (isClusterFault(status, error)) throw clusterFault(document, status, error)
      else onRejected(document, refusalOf(status, error))
    }
    return again
  }

  return { add, finish, stats }
}

interface ItemError {
  type?: string
  reason?: string
  caused_by?: { reason?: string }
}

interface BulkAnswer {
  errors?: boolean
  items?: Partial<Record<'create' | 'index', { _id?: string; status?: number; error?: ItemError }>>[]
}

/** No answer at all, or one that says later. */
function mayPass(status: number | undefined): boolean {
  return status === undefined || status === 429 || status === 408 || status >= 500
}

/** A refusal that says nothing of the document: rights, a missing index that may not be made, no room for shards. */
function isClusterFault(status: number, error: ItemError | undefined): boolean {
  if (status === 401 || status === 403 || status === 404) return true
  return error?.type === 'validation_exception' && /shards/.test(error.reason ?? '')
}

function clusterFault({ index }: BulkDocument, status: number, error: ItemError | undefined): PipelineError {
  const said = (error?.reason ?? `status ${status}`).slice(0, 300)
  return new PipelineError(
    'sink_down',
    `Elasticsearch takes nothing for ${index}: ${said}; what is to be indexed waits, and goes on once that is mended`,
    { retryable: true },
  )
}

function refusalOf(status: number, error: ItemError | undefined): Refusal {
  const cause = error?.caused_by?.reason
  const reason = [error?.reason, cause].filter(Boolean).join(': ') || `status ${status}`
  return { status, type: error?.type ?? `status ${status}`, reason: reason.slice(0, 2000) }
}

/** The action line has about a hundred bytes. */
function sizeOf({ text }: BulkDocument): number {
  return Buffer.byteLength(text) + 120
}

/** So that those who were refused together do not come again together. */
function jittered(ms: number): number {
  return ms / 2 + (Math.random() * ms) / 2
}

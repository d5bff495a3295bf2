/**
 * The Elasticsearch sink: chunk files of Zeek records in, documents in the cluster and an account of every line out.
 *
 * Every line is a document (made now, or there already) or a dead letter with its reason. Safe to repeat: a document's
 * id is the event's, and the operation is `create`. The templates are looked after before the first document.
 */

import { isUtf8 } from 'node:buffer'
import type { Client } from '@elastic/elasticsearch'
import type { EventFlags, Flags } from '../../../stages/event-flags.ts'
import { idPrefixOf } from '../../../stages/event-id.ts'
import type { EventChunk, EventIndex, IndexRequest, IndexResult, Log } from '../../../stages/ports.ts'
import type { Rules } from '../../../stages/upload/rules.ts'
import { PipelineError } from '../../../state/errors.ts'
import type { Ledger } from '../../../state/ledger.ts'
import { createScratch, readLines } from '../parquet/lines.ts'
import { createAvailability } from './availability.ts'
import { type BulkDocument, openBulk } from './bulk.ts'
import { type Connection, openClient } from './client.ts'
import { createDeadLetters, type DeadLetters } from './dead-letters.ts'
import { type MakeDocument, openDocuments } from './document.ts'
import type { Raw } from './mapping/rules.ts'
import { createPeriods, type Periods } from './periods.ts'
import { type SetupOptions, type SetupResult, setUp } from './setup.ts'

export interface ElasticsearchOptions extends SetupOptions {
  connection: Connection
  bulkBytes: number
  bulkConcurrency: number
  maxIndices: number
  localNetworks: readonly string[]
}

export interface ElasticsearchSink extends EventIndex {
  readonly client: Client
  /** False for a while after the server took nothing. */
  isReady(): boolean
  setUp(): Promise<SetupResult>
  /** Documents from records that come one by one; see backfill.ts. */
  openWriter(options: WriterOptions): Writer
  close(): Promise<void>
}

/** Where a line came from, in the library's own words to what is done with it. */
interface Line extends BulkDocument {
  account: Account
  chunk: NumberedChunk
  ordinal: number
  line: Buffer | string
}

interface Account {
  lines: number
  documents: number
  duplicates: number
  rejected: Record<string, number>
}

/** Chunks of live events carry their numbers, and have an id of their own. */
type NumberedChunk = Omit<EventChunk, 'captureId'> & { captureId?: string; numbering?: 'explicit'; idPrefix?: string }

export interface WriterOptions {
  signal: AbortSignal
  /** Documents that are there are replaced instead of left. */
  isReplacing?: boolean
  onDone(outcome: 'created' | 'duplicate'): void
  onRejected(eventId: string, why: { type: string; reason: string }): void
}

export interface Writer {
  add(
    logType: string,
    record: Raw,
    origin: { eventId: string; source: string; captureId?: string; flags?: Flags },
  ): Promise<void> | undefined
  finish(): Promise<void>
}

const MAX_LINE_BYTES = 8 * 2 ** 20
const NUMBER_FIELD = '#'

export interface SinkParts {
  options: ElasticsearchOptions
  rules: Rules
  ledger: Ledger
  log: Log
}

export async function openElasticsearchSink({ options, rules, ledger, log }: SinkParts): Promise<ElasticsearchSink> {
  const client = await openClient(options.connection)
  const availability = createAvailability(log)
  const documents = openDocuments({ rules, localNetworks: options.localNetworks })
  const periods = createPeriods({ prefix: options.prefix, limit: options.maxIndices, periods: ledger.sinks, log })
  const nameOf = (captureId: string) => ledger.captures.get(captureId)?.name
  let ready: Promise<SetupResult> | undefined

  /** Once, unless it fails: documents without templates would have fields of guessed types. */
  function setUpOnce(): Promise<SetupResult> {
    ready ??= setUp(client, rules, options)
      .then((result) => {
        for (const why of result.kept) log.warn('an index template is left as it is', { why })
        return result
      })
      .catch((error) => {
        ready = undefined
        throw error
      })
    return ready
  }

  async function index(request: IndexRequest): Promise<IndexResult> {
    const letters = createDeadLetters(request.deadLetterFile)
    try {
      return await availability.watch(async () => {
        await setUpOnce()
        return await indexChunks(request, letters)
      })
    } finally {
      await letters.close()
    }
  }

  async function indexChunks(
    { chunks, flags, signal, onProgress }: IndexRequest,
    letters: DeadLetters,
  ): Promise<IndexResult> {
    const accounts = chunks.map((): Account => ({ lines: 0, documents: 0, duplicates: 0, rejected: {} }))
    let done = 0
    const bulk = openBulk<Line>({
      client,
      maxBytes: options.bulkBytes,
      concurrency: options.bulkConcurrency,
      signal,
      onDone({ account }, outcome) {
        account.documents++
        if (outcome === 'duplicate') account.duplicates++
        if (++done % 1000 === 0) onProgress?.(done)
      },
      onRejected({ account, chunk, ordinal, line, id, index: name }, { type, reason, status }) {
        reject(account, letters, chunk, ordinal, line, { eventId: id, reason: type, said: reason, status, index: name })
      },
    })
    const scratch = createScratch()
    const ingested = new Date().toISOString()
    try {
      for (const [i, chunk] of chunks.entries())
        await sendChunk(chunk as NumberedChunk, accounts[i] as Account, {
          ...{ bulk, letters, scratch, ingested, flags, signal },
        })
    } catch (error) {
      await bulk.finish().catch(() => undefined)
      throw error
    }
    await bulk.finish()
    const deadLetters = await letters.finish()
    return { chunks: accounts, hasDeadLetters: deadLetters, ...bulk.stats }
  }

  interface Sending {
    bulk: ReturnType<typeof openBulk<Line>>
    letters: DeadLetters
    scratch: Buffer
    ingested: string
    flags: EventFlags | undefined
    signal: AbortSignal
  }

  async function sendChunk(
    chunk: NumberedChunk,
    account: Account,
    { bulk, letters, scratch, ingested, flags, signal }: Sending,
  ): Promise<void> {
    const { logType, captureId, source } = chunk
    const make: MakeDocument = documents.of(logType)
    const prefix = idPrefixOf(chunk)
    const flagged = flags?.of(chunk)
    const captureName = captureId === undefined ? undefined : nameOf(captureId)
    let number = 0
    const bytes = await readLines(chunk.path, MAX_LINE_BYTES, scratch, {
      async onLines(block, end) {
        signal.throwIfAborted()
        const allText = isUtf8(block.subarray(0, end))
        for (let at = 0; at < end; ) {
          const newline = block.indexOf(10, at)
          const raw = block.subarray(at, newline)
          at = newline + 1
          const wait = send(raw, allText || isUtf8(raw))
          if (wait !== undefined) await wait
        }
      },
      onLongLine({ head }) {
        reject(account, letters, chunk, nextOrdinal(), head, { eventId: '', reason: 'line too long' })
      },
    })
    if (account.lines !== chunk.lines || bytes !== chunk.bytes) {
      const text = `chunk file ${chunk.path} holds ${account.lines} lines in ${bytes} bytes where ${chunk.lines} lines in ${chunk.bytes} bytes were handed over`
      throw new PipelineError('artifact_damaged', text)
    }

    function nextOrdinal(): number {
      account.lines++
      return chunk.firstOrdinal + number++
    }

    function send(bytesOfLine: Buffer, isText: boolean): Promise<void> | undefined {
      const place = nextOrdinal()
      const text = bytesOfLine.toString('utf8')
      const parsed = isText ? parseRecord(text) : { reason: 'not UTF-8' }
      if ('reason' in parsed) {
        // The block is used again for what comes next.
        reject(account, letters, chunk, place, Buffer.from(bytesOfLine), {
          eventId: `${prefix}${place}`,
          reason: parsed.reason,
        })
        return undefined
      }
      const { record } = parsed
      const ordinal = chunk.numbering === 'explicit' ? takeNumber(record, place) : place
      const id = `${prefix}${ordinal}`
      const { text: body, period } = make(record, {
        ...{ eventId: id, source, captureId, captureName, ingested },
        flags: flagged?.get(ordinal),
      })
      return bulk.add({ index: periods.indexOf(logType, period), id, text: body, account, chunk, ordinal, line: text })
    }
  }

  return {
    client,
    isReady: availability.isReady,
    setUp: () => availability.watch(setUpOnce),
    index,
    openWriter: (writer) => openWriter({ client, documents, periods, nameOf, options }, writer),
    close: () => client.close(),
  }
}

function takeNumber(record: Record<string, unknown>, place: number): number {
  const number = record[NUMBER_FIELD]
  delete record[NUMBER_FIELD]
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : place
}

function parseRecord(text: string): { record: Record<string, unknown> } | { reason: string } {
  if (text.trim() === '') return { reason: 'empty line' }
  try {
    const record = JSON.parse(text)
    const isObject = typeof record === 'object' && record !== null && !Array.isArray(record)
    return isObject ? { record } : { reason: 'not an object' }
  } catch {
    return { reason: 'not JSON' }
  }
}

interface Reason {
  eventId: string
  reason: string
  said?: string
  status?: number
  index?: string
}

function reject(
  account: Account,
  letters: DeadLetters,
  chunk: NumberedChunk,
  ordinal: number,
  line: Buffer | string,
  why: Reason,
): void {
  account.rejected[why.reason] = (account.rejected[why.reason] ?? 0) + 1
  letters.add({ ...why, captureId: chunk.captureId, source: chunk.source, logType: chunk.logType, ordinal, line })
}

interface WriterParts {
  client: Client
  documents: ReturnType<typeof openDocuments>
  periods: Periods
  nameOf(captureId: string): string | undefined
  options: ElasticsearchOptions
}

function openWriter(
  { client, documents, periods, nameOf, options }: WriterParts,
  { signal, isReplacing = false, onDone, onRejected }: WriterOptions,
): Writer {
  const ingested = new Date().toISOString()
  const bulk = openBulk<BulkDocument>({
    client,
    maxBytes: options.bulkBytes,
    concurrency: options.bulkConcurrency,
    signal,
    operation: isReplacing ? 'index' : 'create',
    onDone: (_, outcome) => onDone(outcome),
    onRejected: ({ id }, why) => onRejected(id, why),
  })
  const names = new Map<string, string | undefined>()
  return {
    add(logType, record, { eventId, source, captureId, flags }) {
      if (captureId !== undefined && !names.has(captureId)) names.set(captureId, nameOf(captureId))
      const captureName = captureId === undefined ? undefined : names.get(captureId)
      const { text, period } = documents.of(logType)(record, {
        ...{ eventId, source, captureId, captureName, ingested, flags },
      })
      return bulk.add({ index: periods.indexOf(logType, period), id: eventId, text })
    },
    finish: () => bulk.finish(),
  }
}

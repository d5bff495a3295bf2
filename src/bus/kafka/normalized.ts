/**
 * Chunk files in, normalized messages out: `{source, log_type, raw, normalized, enriched}` for every line that became
 * a row, and for no other. The sink's account of each chunk is held against what was found: a line that is a row but no
 * message, or the other way round, is an error, and nothing of it is to be sent for good.
 *
 * The key is the flow id, else the capture. What watch lists say of an event stands among what is enriched; such an event
 * is told once more, with its id and the people's names, to whoever follows watched traffic alone. Memory is bounded: messages come some at a time, each time in a buffer of
 * their own, and the next are made when the last are taken.
 */

import { isUtf8 } from 'node:buffer'
import type { Flags } from '../../../stages/event-flags.ts'
import { idPrefixOf } from '../../../stages/event-id.ts'
import type { EventChunk, SinkResult } from '../../../stages/ports.ts'
import { createNormalizer } from '../../../stages/upload/normalize.ts'
import { parseNetwork } from '../../../stages/upload/rules/address.ts'
import { type Table, tableOf } from '../../../stages/upload/rules/table.ts'
import type { Rules } from '../../../stages/upload/rules.ts'
import { PipelineError } from '../../../state/errors.ts'
import { createScratch, readLines } from '../../sinks/parquet/lines.ts'
import { skipOrdinal, splitOrdinal } from '../../sinks/parquet/numbering.ts'
import { readRecord } from '../../sinks/parquet/rewrite.ts'
import { createRecordScan } from '../../sinks/parquet/scan.ts'
import { COMMA } from '../../sinks/parquet/tokens.ts'
import { createMessageWriter, type MessageSink } from './message-writer.ts'

export interface NormalizedMessage {
  key: Buffer | null
  value: Buffer
}

export interface NormalizedOptions {
  rules: Rules
  /** In CIDR notation. */
  localNetworks: readonly string[]
  /** A longer line is quarantined by the sink (default 8 MiB). */
  maxLineBytes?: number
}

export interface NormalizedRequest {
  chunks: readonly EventChunk[]
  /** Of the same chunks. */
  result: Pick<SinkResult, 'chunks' | 'flags'>
  /** As it was given to the sink. */
  ingestTimeMs: number
  signal?: AbortSignal
}

/** Takes messages, and comes back when the next may be made. */
export type SendMessages = (messages: NormalizedMessage[]) => Promise<void>

/** Whom to tell; whoever is absent is not told. */
export interface NormalizedReceivers {
  normalized?: SendMessages | undefined
  /** Of events that watch lists mean. */
  watched?: SendMessages | undefined
  /** Of an employee, for `watched`. */
  nameOf?(employee: string): string | undefined
}

const NEWLINE = 10
const OPEN = 123
/** `{"#":` */
const FRONT_BYTES = 5
const RETURN = 13
const BATCH_BYTES = 2 ** 20
const MAX_LINE_BYTES = 8 * 2 ** 20

/** Throws `config_invalid`; the function that it gives throws `events_unbalanced` and what `readLines` does. */
export function createNormalizedMessages({ rules, localNetworks, maxLineBytes = MAX_LINE_BYTES }: NormalizedOptions) {
  const networks = localNetworks.map(parseNetwork)
  const normalize = createNormalizer(rules, { localNetworks })
  return sendAll

  /** Gives the number of normalized messages. */
  async function sendAll(request: NormalizedRequest, to: NormalizedReceivers): Promise<number> {
    const { result, ingestTimeMs, signal } = request
    const scratch = createScratch()
    const batch = createBatch(to)
    let sent = 0
    for (const [index, chunk] of request.chunks.entries()) {
      signal?.throwIfAborted()
      const rows = result.chunks[index]?.rows
      const flagged = result.flags?.of(chunk)
      if (rows === 0 || (to.normalized === undefined && flagged === undefined)) continue
      const made = await sendChunk(chunk, { ingestTimeMs, flagged }, scratch, batch)
      if (made !== rows) throw unbalanced(chunk, made, rows)
      sent += made
    }
    await batch.flush()
    return sent
  }

  interface ChunkContext {
    ingestTimeMs: number
    flagged: ReadonlyMap<number, Flags> | undefined
  }

  async function sendChunk(chunk: EventChunk, context: ChunkContext, scratch: Buffer, batch: Batch): Promise<number> {
    const reader = readerOf(tableOf(rules, chunk.logType), chunk, context)
    let made = 0
    await readLines(chunk.path, maxLineBytes, scratch, {
      async onLines(bytes, end) {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
        const allUtf8 = isUtf8(bytes.subarray(0, end))
        for (let at = 0; at < end; ) {
          const { next, message } = reader.line(bytes, view, at, allUtf8, batch)
          if (message) made++
          at = next
          if (batch.isFull) await batch.flush()
        }
      },
      onLongLine: reader.skip,
    })
    return made
  }

  function readerOf(table: Table, chunk: EventChunk, { ingestTimeMs, flagged }: ChunkContext) {
    const { logType, numbering, captureId } = chunk
    const idPrefix = idPrefixOf(chunk)
    let nextOrdinal = chunk.firstOrdinal
    const scan = createRecordScan(table, numbering)
    const writer = createMessageWriter(table, scan, { localNetworks: networks, ingestTimeMs })
    const otherKey = captureId === undefined ? null : Buffer.from(captureId)

    return { line, skip }

    function skip(): void {
      nextOrdinal++
    }

    function line(bytes: Buffer, view: DataView, at: number, allUtf8: boolean, batch: Batch) {
      const place = nextOrdinal++
      const stop = scan.record(bytes, view, at)
      const newline = stop < 0 ? -1 : bytes[stop] === RETURN ? stop + 1 : stop
      if (newline < 0 || bytes[newline] !== NEWLINE || !(allUtf8 || isUtf8(bytes.subarray(at, newline)))) {
        const end = bytes.indexOf(NEWLINE, at)
        return { next: end + 1, message: carefully(bytes.subarray(at, end), place, batch) }
      }
      const out = batch.room(writer.mostBytes(stop - at))
      const start = out.at
      const ordinal = numbering ? skipOrdinal(bytes, at) : at
      const members = numbering ? (bytes[ordinal] === COMMA ? ordinal + 1 : ordinal) : at + 1
      writer.write(out, bytes, view, members, stop)
      const number = numbering && flagged ? Number(bytes.toString('latin1', at + FRONT_BYTES, ordinal)) : place
      tell(number, { key: out.key ?? otherKey, value: out.bytes.subarray(start, out.at) }, batch)
      return { next: newline + 1, message: true }
    }

    /** A line that is not clean, by way of the parser; false where it is no record. */
    function carefully(line: Buffer, place: number, batch: Batch): boolean {
      const split = numbering ? splitOrdinal(line) : undefined
      const read = readRecord(split?.record ?? line)
      if ('reason' in read) return false
      const { source, normalized, enriched } = normalize(logType, read.record, ingestTimeMs)
      const head = `{"source":${JSON.stringify(source)},"log_type":${JSON.stringify(logType)},"raw":`
      const tail = `,"normalized":${JSON.stringify(normalized)},"enriched":${JSON.stringify(enriched)}}`
      const flowId = normalized.flow_id
      const value = Buffer.from(`${head}${read.text}${tail}`)
      const key = typeof flowId === 'string' ? Buffer.from(flowId) : otherKey
      tell(split ? Number(split.ordinal) : place, { key, value }, batch)
      return true
    }

    function tell(ordinal: number, message: NormalizedMessage, batch: Batch): void {
      const flags = flagged?.get(ordinal)
      if (flags === undefined) batch.add(message)
      else batch.addWatched({ ...message, value: withFlags(message.value, flags) }, `${idPrefix}${ordinal}`, flags)
    }
  }
}

interface Batch {
  readonly isFull: boolean
  /** Where a message of at most so many bytes can be written. */
  room(bytes: number): MessageSink
  add(message: NormalizedMessage): void
  /** One that bears its flags already. */
  addWatched(message: NormalizedMessage, eventId: string, flags: Flags): void
  flush(): Promise<void>
}

/** `…}}`: the end of what is enriched, and of the message. */
function withFlags(value: Buffer, flags: Flags): Buffer {
  const inner = value.subarray(0, -2)
  const comma = inner.at(-1) === OPEN ? '' : ','
  const said = { ...flags, watch_employee: flags.watch_employee ?? undefined }
  return Buffer.concat([inner, Buffer.from(`${comma}${JSON.stringify(said).slice(1)}}`)])
}

function createBatch({ normalized, watched, nameOf }: NormalizedReceivers): Batch {
  let messages: NormalizedMessage[] = []
  let watchedMessages: NormalizedMessage[] = []
  let waiting = 0
  const out: MessageSink = { bytes: Buffer.alloc(0), at: 0, key: undefined }

  function add(message: NormalizedMessage): void {
    waiting += message.value.length
    if (normalized !== undefined) messages.push(message)
  }

  return {
    get isFull() {
      return waiting >= BATCH_BYTES
    },
    room(bytes) {
      if (out.bytes.length - out.at < bytes) {
        // What is taken keeps its buffer: it may be on its way still.
        out.bytes = Buffer.allocUnsafeSlow(Math.max(BATCH_BYTES, bytes))
        out.at = 0
      }
      return out
    },
    add,
    addWatched(message, eventId, { watch_employee }) {
      add(message)
      if (watched === undefined) return
      const employees = (watch_employee ?? []).map((key) => ({ key, name: nameOf?.(key) ?? key }))
      const head = Buffer.from(`{"event_id":${JSON.stringify(eventId)},"employees":${JSON.stringify(employees)},`)
      const value = Buffer.concat([head, message.value.subarray(1)])
      watchedMessages.push({ key: message.key, value })
      waiting += value.length
    },
    async flush() {
      const taken = { normalized: messages, watched: watchedMessages }
      messages = []
      watchedMessages = []
      waiting = 0
      if (taken.normalized.length > 0) await normalized?.(taken.normalized)
      if (taken.watched.length > 0) await watched?.(taken.watched)
    },
  }
}

function unbalanced({ path, logType }: EventChunk, made: number, rows = Number.NaN): PipelineError {
  return new PipelineError(
    'events_unbalanced',
    `${logType}: of chunk file ${path} ${rows} lines became rows, but ${made} would become normalized messages`,
    { details: { path, rows, made } },
  )
}

/**
 * Chunk files in, normalized messages out: `{source, log_type, raw, normalized, enriched}` for every line that became
 * a row, and for no other. The sink's account of each chunk is held against what was found: a line that is a row but no
 * message, or the other way round, is an error, and nothing of it is to be sent for good.
 *
 * The key is the flow id, else the capture. Memory is bounded: messages come some at a time, each time in a buffer of
 * their own, and the next are made when the last are taken.
 */

import { isUtf8 } from 'node:buffer'
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
  result: Pick<SinkResult, 'chunks'>
  /** As it was given to the sink. */
  ingestTimeMs: number
  signal?: AbortSignal
}

/** Takes messages, and comes back when the next may be made. */
export type SendMessages = (messages: NormalizedMessage[]) => Promise<void>

const NEWLINE = 10
const RETURN = 13
const BATCH_BYTES = 2 ** 20
const MAX_LINE_BYTES = 8 * 2 ** 20

/** Throws `config_invalid`; the function that it gives throws `events_unbalanced` and what `readLines` does. */
export function createNormalizedMessages({ rules, localNetworks, maxLineBytes = MAX_LINE_BYTES }: NormalizedOptions) {
  const networks = localNetworks.map(parseNetwork)
  const normalize = createNormalizer(rules, { localNetworks })
  return sendAll

  /** Gives the number of messages. */
  async function sendAll(request: NormalizedRequest, send: SendMessages): Promise<number> {
    const scratch = createScratch()
    const batch = createBatch(send)
    let sent = 0
    for (const [index, chunk] of request.chunks.entries()) {
      request.signal?.throwIfAborted()
      const rows = request.result.chunks[index]?.rows
      if (rows === 0) continue
      const made = await sendChunk(chunk, request.ingestTimeMs, scratch, batch)
      if (made !== rows) throw unbalanced(chunk, made, rows)
      sent += made
    }
    await batch.flush()
    return sent
  }

  async function sendChunk(chunk: EventChunk, ingestTimeMs: number, scratch: Buffer, batch: Batch): Promise<number> {
    const reader = readerOf(tableOf(rules, chunk.logType), chunk, ingestTimeMs)
    let made = 0
    await readLines(chunk.path, maxLineBytes, scratch, {
      async onLines(bytes, end) {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
        const allUtf8 = isUtf8(bytes.subarray(0, end))
        for (let at = 0; at < end; ) {
          const { next, message } = reader(bytes, view, at, allUtf8, batch)
          if (message) made++
          at = next
          if (batch.isFull) await batch.flush()
        }
      },
      onLongLine() {},
    })
    return made
  }

  function readerOf(table: Table, { logType, numbering, captureId }: EventChunk, ingestTimeMs: number) {
    const scan = createRecordScan(table, numbering)
    const writer = createMessageWriter(table, scan, { localNetworks: networks, ingestTimeMs })
    const otherKey = captureId === undefined ? null : Buffer.from(captureId)

    return (bytes: Buffer, view: DataView, at: number, allUtf8: boolean, batch: Batch) => {
      const stop = scan.record(bytes, view, at)
      const newline = stop < 0 ? -1 : bytes[stop] === RETURN ? stop + 1 : stop
      if (newline < 0 || bytes[newline] !== NEWLINE || !(allUtf8 || isUtf8(bytes.subarray(at, newline)))) {
        const end = bytes.indexOf(NEWLINE, at)
        return { next: end + 1, message: carefully(bytes.subarray(at, end), batch) }
      }
      const out = batch.room(writer.mostBytes(stop - at))
      const start = out.at
      const ordinal = numbering ? skipOrdinal(bytes, at) : at
      const members = numbering ? (bytes[ordinal] === COMMA ? ordinal + 1 : ordinal) : at + 1
      writer.write(out, bytes, view, members, stop)
      batch.add({ key: out.key ?? otherKey, value: out.bytes.subarray(start, out.at) })
      return { next: newline + 1, message: true }
    }

    /** A line that is not clean, by way of the parser; false where it is no record. */
    function carefully(line: Buffer, batch: Batch): boolean {
      const read = readRecord(numbering ? (splitOrdinal(line)?.record ?? line) : line)
      if ('reason' in read) return false
      const { source, normalized, enriched } = normalize(logType, read.record, ingestTimeMs)
      const head = `{"source":${JSON.stringify(source)},"log_type":${JSON.stringify(logType)},"raw":`
      const tail = `,"normalized":${JSON.stringify(normalized)},"enriched":${JSON.stringify(enriched)}}`
      const flowId = normalized.flow_id
      const value = Buffer.from(`${head}${read.text}${tail}`)
      batch.add({ key: typeof flowId === 'string' ? Buffer.from(flowId) : otherKey, value })
      return true
    }
  }
}

interface Batch {
  readonly isFull: boolean
  /** Where a message of at most so many bytes can be written. */
  room(bytes: number): MessageSink
  add(message: NormalizedMessage): void
  flush(): Promise<void>
}

function createBatch(send: SendMessages): Batch {
  let messages: NormalizedMessage[] = []
  let waiting = 0
  const out: MessageSink = { bytes: Buffer.alloc(0), at: 0, key: undefined }
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
    add(message) {
      messages.push(message)
      waiting += message.value.length
    },
    async flush() {
      if (messages.length === 0) return
      const taken = messages
      messages = []
      waiting = 0
      await send(taken)
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

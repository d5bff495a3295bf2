/**
 * What is no event, and what became no row, as messages for the topic of dead letters.
 *
 * In: refused messages, and the lines that the sink quarantined out of chunks of live events. Out: their bytes (the
 * first half megabyte of very long ones), with the headers `reason` and `topic`, `partition`, `offset`; of an event
 * out of a capture `capture`, `log`, `ordinal` instead. A quarantined line comes nested, `{"dns":…}`, so that it can be
 * sent again once it is repaired. However many there are, they wait in a file: in the directory of their batch, so that
 * whoever uploads the batch finds them there, be it after a `retry`.
 */

import { closeSync, existsSync, openSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import { readLines } from '../../sinks/parquet/lines.ts'
import type { CollectedChunk } from './collector.ts'
import type { RawMessage, Refusal } from './events.ts'

export interface DeadLetter {
  key: Buffer | null
  value: Buffer
  headers: Record<string, string>
}

/** What of a chunk tells where its lines came from. */
type Origin = Pick<CollectedChunk, 'captureId' | 'idPrefix' | 'numbering' | 'stream'>

export interface DeadLetters {
  readonly count: number
  add(message: RawMessage, reason: Refusal): void
  /** Of the sink's file; lines of chunks that are not numbered one by one are left out. Gives how many it added. */
  addQuarantined(quarantineFile: string, chunks: readonly Origin[]): Promise<number>
  flush(): void
}

/** Their file in the directory of a batch. */
export const DEAD_LETTERS_FILE = 'dead-letters'

const MAX_VALUE_BYTES = 512 * 1024
const MAX_KEY_BYTES = 4096
const PENDING_BYTES = 256 * 1024
const READ_BYTES = 2 ** 20
/** Of a quarantined line with each byte written as an escape. */
const MAX_ENTRY_BYTES = 64 * 2 ** 20
const NO_KEY = 0xffffffff

export function openDeadLetters(path: string): DeadLetters {
  let pending: Buffer[] = []
  let pendingBytes = 0
  let count = 0

  return {
    get count() {
      return count
    },
    add({ topic, partition, offset, key, value }, reason) {
      const headers = { reason, topic, partition: String(partition), offset: String(offset) }
      put({ key: key ?? null, value: value ?? Buffer.alloc(0), headers })
    },
    async addQuarantined(quarantineFile, chunks) {
      const before = count
      const numbered = chunks.filter(({ numbering }) => numbering === 'explicit')
      const streams = new Map(numbered.map(({ idPrefix, stream }) => [idPrefix, stream]))
      const captures = new Set(numbered.map(({ captureId }) => captureId))
      await readLines(quarantineFile, MAX_ENTRY_BYTES, Buffer.allocUnsafeSlow(READ_BYTES), {
        onLines(bytes, end) {
          for (let at = 0; at < end; ) {
            const newline = bytes.indexOf(10, at)
            const letter = letterOf(JSON.parse(bytes.toString('utf8', at, newline)), streams, captures)
            if (letter) put(letter)
            at = newline + 1
          }
        },
        onLongLine() {
          throw new PipelineError(
            'artifact_damaged',
            `${quarantineFile} has a line of more than ${MAX_ENTRY_BYTES} bytes`,
          )
        },
      })
      flush()
      return count - before
    },
    flush,
  }

  function put(letter: DeadLetter): void {
    const framed = frame(letter)
    pending.push(framed)
    pendingBytes += framed.length
    count++
    if (pendingBytes >= PENDING_BYTES) flush()
  }

  function flush(): void {
    if (pending.length === 0) return
    const bytes = Buffer.concat(pending)
    pending = []
    pendingBytes = 0
    try {
      const file = openSync(path, 'a')
      try {
        for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written)
      } finally {
        closeSync(file)
      }
    } catch (cause) {
      throw new PipelineError('io', `cannot write the dead letters to ${path}: ${messageOf(cause)}`, {
        ...{ retryable: true, cause },
      })
    }
  }
}

interface QuarantineEntry {
  event_id: string
  ordinal: number
  log_type: string
  reason: string
  source: string
  capture_id?: string
  line?: string
  line_base64?: string
}

function letterOf(
  entry: QuarantineEntry,
  streams: ReadonlyMap<string | undefined, Origin['stream']>,
  captures: ReadonlySet<string | undefined>,
): DeadLetter | undefined {
  const { event_id, ordinal, log_type, reason, source, capture_id, line, line_base64 } = entry
  const record = line === undefined ? Buffer.from(line_base64 ?? '', 'base64') : Buffer.from(line)
  const value = Buffer.concat([Buffer.from(`{"${log_type}":`), record, Buffer.from('}')])
  const common = { reason, log: log_type, source }
  const stream = streams.get(event_id.slice(0, event_id.length - String(ordinal).length))
  if (stream) {
    const headers = { ...common, topic: stream.topic, partition: String(stream.partition), offset: String(ordinal) }
    return { key: null, value, headers }
  }
  if (capture_id === undefined || !captures.has(capture_id)) return undefined
  return { key: null, value, headers: { ...common, capture: capture_id, ordinal: String(ordinal) } }
}

/** Lengths of headers, key and value, then these. */
function frame({ key, value, headers }: DeadLetter): Buffer {
  const isCut = value.length > MAX_VALUE_BYTES
  const text = Buffer.from(JSON.stringify(isCut ? { ...headers, bytes: String(value.length) } : headers))
  const [shortKey, shortValue] = [key?.subarray(0, MAX_KEY_BYTES), value.subarray(0, MAX_VALUE_BYTES)]
  const lengths = Buffer.alloc(12)
  lengths.writeUInt32LE(text.length, 0)
  lengths.writeUInt32LE(shortKey?.length ?? NO_KEY, 4)
  lengths.writeUInt32LE(shortValue.length, 8)
  return Buffer.concat([lengths, text, shortKey ?? Buffer.alloc(0), shortValue])
}

/** In their order, some at a time; each buffer is the caller's to keep. None where there is no file. */
export async function* readDeadLetters(path: string): AsyncGenerator<DeadLetter[]> {
  if (!existsSync(path)) return
  await using file = await open(path, 'r')
  let rest: Buffer = Buffer.alloc(0)
  for (;;) {
    const block = Buffer.allocUnsafe(READ_BYTES)
    const { bytesRead } = await file.read(block, 0, block.length, null)
    if (bytesRead === 0) break
    const bytes = rest.length === 0 ? block.subarray(0, bytesRead) : Buffer.concat([rest, block.subarray(0, bytesRead)])
    const letters: DeadLetter[] = []
    let at = 0
    for (let end = frameEnd(bytes, at); end > 0; end = frameEnd(bytes, at)) {
      letters.push(unframe(bytes, at))
      at = end
    }
    rest = bytes.subarray(at)
    if (letters.length > 0) yield letters
  }
  if (rest.length > 0) throw new PipelineError('artifact_damaged', `${path} ends in the middle of a dead letter`)
}

/** -1 where the frame is not there as a whole. */
function frameEnd(bytes: Buffer, at: number): number {
  if (bytes.length < at + 12) return -1
  const key = bytes.readUInt32LE(at + 4)
  const end = at + 12 + bytes.readUInt32LE(at) + (key === NO_KEY ? 0 : key) + bytes.readUInt32LE(at + 8)
  return end > bytes.length ? -1 : end
}

function unframe(bytes: Buffer, at: number): DeadLetter {
  const headersEnd = at + 12 + bytes.readUInt32LE(at)
  const keyLength = bytes.readUInt32LE(at + 4)
  const keyEnd = headersEnd + (keyLength === NO_KEY ? 0 : keyLength)
  return {
    headers: JSON.parse(bytes.toString('utf8', at + 12, headersEnd)),
    key: keyLength === NO_KEY ? null : bytes.subarray(headersEnd, keyEnd),
    value: bytes.subarray(keyEnd, keyEnd + bytes.readUInt32LE(at + 8)),
  }
}

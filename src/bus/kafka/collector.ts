/**
 * Messages of raw topics in, chunk files for the upload out: lines of one log type, one source and one origin (a
 * capture, or a partition) in each, and every line bears its number in front.
 *
 * What arrives goes into one buffer; when it is full, each chunk's part of it is appended to its file. Memory and open
 * files are bounded therefore, however many captures and log types come. A message that is no event becomes a dead
 * letter. Safe to repeat: ids follow from capture and ordinal, or from partition and offset, not from the files.
 */

import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Chunk } from '../../../stages/hand-offs.ts'
import { errnoOf, messageOf, PipelineError } from '../../../state/errors.ts'
import { DEAD_LETTERS_FILE, openDeadLetters } from './dead-letters.ts'
import { createEventReader, type RawEvent, type RawMessage, type Refusal } from './events.ts'

export interface CollectorOptions {
  /** An existing, empty directory. */
  dir: string
  /** The most lines in one file. */
  maxChunkLines: number
  /** Names a partition in event ids: `<topic>.<8 digits of the topic's id>-<partition>`, so that a topic of the same name that is made anew repeats none. */
  streamId(topic: string, partition: number): string
  /** Log types after which a topic may be named. */
  knownTypes: ReadonlySet<string>
  /** A larger message becomes a dead letter (default: just below what the sink takes as a line). */
  maxMessageBytes?: number
  /** Held in memory before it is written (default 4 MiB). */
  bufferBytes?: number
  /** Files beyond which it says that it is full (default 20,000). */
  maxChunks?: number
}

/** A chunk, and where its events came from if not from a capture. */
export interface CollectedChunk extends Chunk {
  stream?: { topic: string; partition: number }
}

export interface Collected {
  chunks: CollectedChunk[]
  events: number
  bytes: number
  /** What was no event, in the file of dead letters. */
  refused: number
}

export interface Collector {
  /** Keeps nothing of the message. Throws `disk_full` and `io`. */
  add(message: RawMessage): void
  /** What is no message at all becomes a dead letter. */
  refuse(message: RawMessage, reason: Refusal): void
  readonly events: number
  readonly bytes: number
  /** Some of them are of captures: somebody may wait for these. */
  readonly hasCaptures: boolean
  /** There are so many files that it is time to hand them over. */
  readonly isFull: boolean
  /** Everything is in the files. They are not flushed to the disk: after a crash the messages are fetched again. */
  finish(): Collected
}

const FRONT = Buffer.from('{"#":')
const COMMA = 44
const ZERO = 48
const CLOSE = 125
const NEWLINE = 10
/** `{"#":`, 16 digits, `,`, `}`, `\n`. */
const MOST_ADDED_BYTES = 24
const MAX_LINE_BYTES = 8 * 2 ** 20

export function openCollector(options: CollectorOptions): Collector {
  const { dir, maxChunkLines, maxChunks = 20_000, bufferBytes = 4 * 2 ** 20 } = options
  const maxBytes = options.maxMessageBytes ?? MAX_LINE_BYTES - MOST_ADDED_BYTES
  const read = createEventReader({ knownTypes: options.knownTypes, maxBytes })
  const deadLetters = openDeadLetters(join(dir, DEAD_LETTERS_FILE))
  const streams = new Map<string, ChunkOrigin[]>()
  const captures = new Map<string, ChunkOrigin>()
  const chunks: ChunkFile[] = []
  const spool = createSpool(dir, bufferBytes)
  let events = 0
  let bytes = 0

  return {
    add(message) {
      const event = read(message)
      if (typeof event === 'string') {
        deadLetters.add(message, event)
        return
      }
      const { captureId, ordinal, source = message.topic } = event
      const origin = captureId === undefined ? streamOf(message) : captureOf(captureId)
      const added = spool.add(chunkFor(origin, source, event.logType), ordinal ?? Number(message.offset), event)
      events++
      bytes += added
    },
    refuse: (message, reason) => deadLetters.add(message, reason),
    get events() {
      return events
    },
    get bytes() {
      return bytes
    },
    get hasCaptures() {
      return captures.size > 0
    },
    get isFull() {
      return chunks.length >= maxChunks
    },
    finish() {
      spool.flush()
      deadLetters.flush()
      return { chunks: chunks.map(({ chunk }) => chunk), events, bytes, refused: deadLetters.count }
    },
  }

  function streamOf({ topic, partition }: RawMessage): ChunkOrigin {
    const partitions = getOrMake(streams, topic, (): ChunkOrigin[] => [])
    const known = partitions[partition]
    if (known) return known
    const idPrefix = `${options.streamId(topic, partition)}-`
    const origin: ChunkOrigin = { facts: { idPrefix, stream: { topic, partition } }, open: new Map() }
    partitions[partition] = origin
    return origin
  }

  function captureOf(captureId: string): ChunkOrigin {
    return getOrMake(captures, captureId, () => ({ facts: { captureId }, open: new Map() }))
  }

  function chunkFor({ facts, open }: ChunkOrigin, source: string, logType: string): ChunkFile {
    const bySource = getOrMake(open, source, () => new Map<string, ChunkFile>())
    const current = bySource.get(logType)
    if (current && current.chunk.lines < maxChunkLines) return current
    const file = `${chunks.length}.ndjson`
    const chunk: CollectedChunk = {
      ...{ file, logType, source, ...facts },
      ...{ numbering: 'explicit', firstOrdinal: 0, lines: 0, bytes: 0 },
    }
    const made = { chunk, slot: -1 }
    chunks.push(made)
    bySource.set(logType, made)
    return made
  }
}

interface ChunkOrigin {
  facts: Pick<CollectedChunk, 'captureId' | 'idPrefix' | 'stream'>
  /** Source → log type → the chunk that is being filled. */
  open: Map<string, Map<string, ChunkFile>>
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}

interface ChunkFile {
  chunk: CollectedChunk
  /** Its place among the chunks that have lines in the buffer; -1 without any. */
  slot: number
}

interface Spool {
  /** Gives the bytes of the line. */
  add(file: ChunkFile, ordinal: number, event: RawEvent): number
  flush(): void
}

function createSpool(dir: string, bufferBytes: number): Spool {
  const buffer = Buffer.allocUnsafeSlow(bufferBytes)
  const sorted = Buffer.allocUnsafeSlow(bufferBytes)
  // Of each line in the buffer: where it ends, and whose it is.
  const mostLines = Math.ceil(bufferBytes / 64)
  const ends = new Int32Array(mostLines)
  const slots = new Int32Array(mostLines)
  let active: ChunkFile[] = []
  let sizes: number[] = []
  let lines = 0
  let used = 0

  return { add, flush }

  function add(file: ChunkFile, ordinal: number, event: RawEvent): number {
    const most = event.gapFrom - event.from + event.to - event.gapTo + MOST_ADDED_BYTES
    if (used + most > buffer.length || lines === mostLines) flush()
    const { chunk } = file
    chunk.lines++
    if (most > buffer.length) {
      const line = Buffer.allocUnsafe(most)
      const length = writeLine(line, 0, ordinal, event)
      append(chunk, line.subarray(0, length))
      chunk.bytes += length
      return length
    }
    const end = writeLine(buffer, used, ordinal, event)
    const length = end - used
    if (file.slot < 0) {
      file.slot = active.length
      active.push(file)
      sizes.push(0)
    }
    ends[lines] = end
    slots[lines++] = file.slot
    sizes[file.slot] = (sizes[file.slot] as number) + length
    used = end
    chunk.bytes += length
    return length
  }

  /** Sorts the lines by their chunks, each chunk's in their order, and appends to each file at once. */
  function flush(): void {
    const places: number[] = []
    let place = 0
    for (const size of sizes) {
      places.push(place)
      place += size
    }
    for (let line = 0, start = 0; line < lines; line++) {
      const end = ends[line] as number
      const slot = slots[line] as number
      buffer.copy(sorted, places[slot] as number, start, end)
      places[slot] = (places[slot] as number) + end - start
      start = end
    }
    for (const [slot, file] of active.entries()) {
      const end = places[slot] as number
      append(file.chunk, sorted.subarray(end - (sizes[slot] as number), end))
      file.slot = -1
    }
    active = []
    sizes = []
    lines = 0
    used = 0
  }

  function append({ file }: CollectedChunk, bytes: Buffer): void {
    appendTo(join(dir, file), bytes)
  }
}

/** Gives the place behind the line feed. */
function writeLine(
  target: Buffer,
  start: number,
  ordinal: number,
  { bytes, from, gapFrom, gapTo, to }: RawEvent,
): number {
  let at = start
  for (let i = 0; i < FRONT.length; i++) target[at++] = FRONT[i] as number
  at = writeDigits(target, at, ordinal)
  const members = at
  target[at++] = COMMA
  if (gapFrom > from) at += bytes.copy(target, at, from, gapFrom)
  if (to > gapTo) at += bytes.copy(target, at, gapTo, to)
  // An empty record has no comma either.
  if (isBlank(target, members + 1, at)) at = members
  target[at++] = CLOSE
  target[at++] = NEWLINE
  return at
}

function writeDigits(target: Buffer, start: number, value: number): number {
  let width = 1
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) width++
  let rest = value
  for (let at = start + width - 1; at >= start; at--) {
    const next = Math.floor(rest / 10)
    target[at] = ZERO + (rest - next * 10)
    rest = next
  }
  return start + width
}

function isBlank(bytes: Buffer, from: number, to: number): boolean {
  let at = from
  while (at < to && (bytes[at] === 32 || bytes[at] === 9 || bytes[at] === 13)) at++
  return at === to
}

function appendTo(path: string, bytes: Buffer): void {
  try {
    const file = openSync(path, 'a')
    try {
      for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written)
    } finally {
      closeSync(file)
    }
  } catch (cause) {
    const isFull = ['ENOSPC', 'EDQUOT'].includes(errnoOf(cause) ?? '')
    const text = `cannot write the chunk file ${path}: ${messageOf(cause)}`
    throw new PipelineError(isFull ? 'disk_full' : 'io', text, { retryable: true, cause })
  }
}

/**
 * What watch lists say of events, beside the events: whom each is about, by which list and why.
 *
 * Made once, while rows are loaded, for all who tell of the same events in other forms. In memory during a load, which
 * bounds it; as a file in the directory of a batch for the stage that comes after: NDJSON, a line for each distinct set
 * of flags (and each 10,000 events of it), `{"flags":{…},"prefix":"…","ordinals":[…]}`. Safe to repeat: the file is named
 * by its load, and it is on the disk when the call returns.
 */

import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { errnoOf, PipelineError } from '../state/errors.ts'
import { flush } from './durable.ts'
import { idPrefixOf } from './event-id.ts'
import type { EventChunk } from './ports.ts'

/** By the names of the columns. */
export interface Flags {
  /** Null where no person is meant, but an indicator. */
  watch_employee: readonly string[] | null
  watch_list: readonly string[]
  watch_reason: readonly string[]
}

type NumberedChunk = Pick<EventChunk, 'idPrefix' | 'captureId' | 'logType' | 'numbering' | 'firstOrdinal' | 'lines'>

export interface EventFlags {
  /** Flagged events. */
  readonly size: number
  add(eventId: string, flags: Flags): void
  /** By the event's number; undefined where no event of the chunk's prefix is flagged. */
  of(chunk: Pick<EventChunk, 'idPrefix' | 'captureId' | 'logType'>): ReadonlyMap<number, Flags> | undefined
}

const ORDINALS_A_LINE = 10_000

export function createEventFlags(): EventFlags {
  const byPrefix = new Map<string, Map<number, Flags>>()
  let size = 0
  return {
    get size() {
      return size
    },
    add(eventId, flags) {
      const at = eventId.lastIndexOf('-') + 1
      const prefix = eventId.slice(0, at)
      const known = byPrefix.get(prefix)
      const own = known ?? new Map<number, Flags>()
      if (known === undefined) byPrefix.set(prefix, own)
      own.set(Number(eventId.slice(at)), flags)
      size++
    },
    of: (chunk) => byPrefix.get(idPrefixOf(chunk)),
  }
}

/** Those of these chunks. Answers false, and writes nothing, where there are none. */
export async function writeEventFlags(
  path: string,
  all: EventFlags,
  chunks: readonly NumberedChunk[],
): Promise<boolean> {
  const lines = linesOf(all, chunks)
  if (lines.length === 0) return false
  await using file = await open(path, 'w')
  for (const line of lines) await file.write(line)
  await file.sync()
  await flush(dirname(path))
  return true
}

function linesOf(all: EventFlags, chunks: readonly NumberedChunk[]): string[] {
  const ordinals = new Map<string, Map<Flags, number[]>>()
  for (const chunk of chunks) {
    const prefix = idPrefixOf(chunk)
    for (const [ordinal, flags] of all.of(chunk) ?? []) {
      if (!isWithin(chunk, ordinal)) continue
      const groups = ordinals.get(prefix) ?? new Map<Flags, number[]>()
      ordinals.set(prefix, groups)
      const group = groups.get(flags)
      if (group === undefined) groups.set(flags, [ordinal])
      else group.push(ordinal)
    }
  }
  return [...ordinals].flatMap(([prefix, groups]) =>
    [...groups].flatMap(([flags, own]) =>
      Array.from(
        { length: Math.ceil(own.length / ORDINALS_A_LINE) },
        (_, i) =>
          `${JSON.stringify({ flags, prefix, ordinals: own.slice(i * ORDINALS_A_LINE, (i + 1) * ORDINALS_A_LINE) })}\n`,
      ),
    ),
  )
}

/** Chunks whose lines bear their numbers may hold any of their prefix. */
function isWithin({ numbering, firstOrdinal, lines }: NumberedChunk, ordinal: number): boolean {
  return numbering === 'explicit' || (ordinal >= firstOrdinal && ordinal < firstOrdinal + lines)
}

/** Throws `artifact_missing` and `artifact_damaged`. */
export async function readEventFlags(path: string): Promise<EventFlags> {
  const all = createEventFlags()
  try {
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      const { flags, prefix, ordinals } = JSON.parse(line) as { flags: Flags; prefix: string; ordinals: number[] }
      for (const ordinal of ordinals) all.add(`${prefix}${ordinal}`, flags)
    }
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT')
      throw new PipelineError('artifact_missing', `the flags of a batch, ${path}, are not there`, { cause })
    if (!(cause instanceof SyntaxError)) throw cause
    throw new PipelineError('artifact_damaged', `the flags of a batch, ${path}, cannot be read`, { cause })
  }
  return all
}

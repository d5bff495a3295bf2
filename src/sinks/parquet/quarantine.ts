/**
 * The lines that became no row, each with its reason, in one NDJSON file. It is made when the first one comes.
 *
 * A line that is valid UTF-8 is kept as text, any other as base64; of a line over the limit only the head is kept.
 */

import { isUtf8 } from 'node:buffer'
import { type FileHandle, open } from 'node:fs/promises'
import { idPrefixOf } from '../../../stages/event-id.ts'
import type { EventChunk, QuarantineReason } from './types.ts'

export interface Quarantine {
  add(
    chunk: EventChunk,
    /** In decimal digits. */
    ordinal: string,
    reason: QuarantineReason,
    line: Buffer,
    whole?: { bytes: number; sha256: string },
  ): void
  /** Writes what was added. */
  flush(): Promise<void>
  /** Flushes all of it to the disk; gives false when no line was added at all. */
  finish(): Promise<boolean>
  close(): Promise<void>
}

export function createQuarantine(path: string): Quarantine {
  let pending: string[] = []
  let handle: FileHandle | undefined
  // Several chunks are prepared side by side: their writes must not mingle.
  let last: Promise<void> = Promise.resolve()

  async function write(text: string): Promise<void> {
    handle ??= await open(path, 'a')
    await handle.appendFile(text)
  }

  function flush(): Promise<void> {
    if (pending.length === 0) return last
    const text = pending.join('')
    pending = []
    last = last.then(() => write(text))
    return last
  }

  return {
    flush,
    add(chunk, ordinal, reason, line, whole) {
      const { captureId, source, logType } = chunk
      const content = isUtf8(line) ? { line: line.toString('utf8') } : { line_base64: line.toString('base64') }
      const entry = {
        capture_id: captureId,
        event_id: idPrefixOf(chunk) + ordinal,
        source,
        log_type: logType,
        ordinal: Number(ordinal),
        reason,
        bytes: line.length,
        ...whole,
        ...content,
      }
      pending.push(`${JSON.stringify(entry)}\n`)
    },
    async finish() {
      await flush()
      await handle?.sync()
      return handle !== undefined
    },
    async close() {
      await last.catch(() => undefined)
      await handle?.close()
    },
  }
}

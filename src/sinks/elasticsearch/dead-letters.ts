/** The lines that became no document, each with the reason, in one NDJSON file. It is made when the first one comes. */

import { isUtf8 } from 'node:buffer'
import { type FileHandle, open } from 'node:fs/promises'

export interface DeadLetter {
  eventId: string
  captureId?: string
  source: string
  logType: string
  ordinal: number
  /** What kind of reason: what receipts count by. */
  reason: string
  /** The server's words, where it spoke. */
  said?: string
  status?: number
  index?: string
  line: Buffer | string
}

export interface DeadLetters {
  add(letter: DeadLetter): void
  readonly count: number
  /** All of it is on the disk afterwards; gives false when there was none. */
  finish(): Promise<boolean>
  close(): Promise<void>
}

/** Written once this much is pending. */
const PENDING_LINES = 500

export function createDeadLetters(path: string): DeadLetters {
  let pending: string[] = []
  let handle: FileHandle | undefined
  let count = 0
  let last: Promise<void> = Promise.resolve()

  async function write(text: string): Promise<void> {
    handle ??= await open(path, 'a')
    await handle.appendFile(text)
  }

  function flush(): void {
    if (pending.length === 0) return
    const text = pending.join('')
    pending = []
    last = last.then(() => write(text))
    // Told by `finish`.
    last.catch(() => undefined)
  }

  return {
    get count() {
      return count
    },
    add({ eventId, captureId, source, logType, ordinal, reason, said, status, index, line }) {
      count++
      const content =
        typeof line === 'string'
          ? { line }
          : isUtf8(line)
            ? { line: line.toString('utf8') }
            : { line_base64: line.toString('base64') }
      const entry = {
        sink: 'elasticsearch',
        event_id: eventId,
        capture_id: captureId,
        source,
        log_type: logType,
        ordinal,
        reason,
        said,
        status,
        index,
        ...content,
      }
      pending.push(`${JSON.stringify(entry)}\n`)
      if (pending.length >= PENDING_LINES) flush()
    },
    async finish() {
      flush()
      await last
      await handle?.sync()
      return handle !== undefined
    },
    async close() {
      await last.catch(() => undefined)
      await handle?.close()
    },
  }
}

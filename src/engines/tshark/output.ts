/**
 * The `<log>.ndjson` files of one conversion: records in, whole lines out, counted. Lines are gathered in
 * memory and written when `flush` is awaited, which the driver does every few megabytes of capture.
 */

import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf, PipelineError } from '../../../state/errors.ts'

export interface LogOutput {
  write(log: string, record: object): void
  /** A record that is JSON already, without line end. */
  writeLine(log: string, line: string): void
  /** Bytes that wait to be written. */
  readonly waiting: number
  flush(): Promise<void>
  /** Writes what is left and closes the files. */
  finish(): Promise<Record<string, { records: number; bytes: number }>>
  close(): Promise<void>
}

interface LogFile {
  lines: string[]
  records: number
  bytes: number
  handle?: FileHandle
}

export function createLogOutput(outDir: string): LogOutput {
  const files = new Map<string, LogFile>()
  let waiting = 0

  async function flush(): Promise<void> {
    waiting = 0
    for (const [log, file] of files) {
      if (file.lines.length === 0) continue
      const bytes = Buffer.from(file.lines.join(''))
      file.lines = []
      try {
        file.handle ??= await open(join(outDir, `${log}.ndjson`), 'w')
        await file.handle.appendFile(bytes)
      } catch (cause) {
        throw new PipelineError('io', `cannot write ${log}.ndjson: ${messageOf(cause)}`, { cause, retryable: true })
      }
      file.bytes += bytes.length
    }
  }

  async function close(): Promise<void> {
    for (const file of files.values()) {
      await file.handle?.close()
      file.handle = undefined
    }
  }

  function writeLine(log: string, line: string): void {
    let file = files.get(log)
    if (file === undefined) {
      file = { lines: [], records: 0, bytes: 0 }
      files.set(log, file)
    }
    file.lines.push(`${line}\n`)
    file.records++
    waiting += line.length
  }

  return {
    write: (log, record) => writeLine(log, JSON.stringify(record)),
    writeLine,
    get waiting() {
      return waiting
    },
    flush,
    async finish() {
      await flush()
      await close()
      const logs = [...files].filter(([, { records }]) => records > 0)
      return Object.fromEntries(logs.map(([log, { records, bytes }]) => [log, { records, bytes }]))
    },
    close,
  }
}

/**
 * An answer that is kept to be paged through while it still grows.
 *
 * In: the lines of `rowsFormat`, as a stream of bytes. Out: any run of rows, read from a file; memory holds where each
 * row begins and nothing else. Bytes beyond the limit end the answer, and the stream that writes it with it.
 */

import { type FileHandle, open, rm } from 'node:fs/promises'
import { Writable } from 'node:stream'
import type { AnswerColumn } from './formats.ts'

export interface StoredAnswer extends AsyncDisposable {
  /** Null until the first line has come. */
  readonly columns: readonly Pick<AnswerColumn, 'name' | 'type'>[] | null
  readonly rows: number
  /** The limit of bytes was reached. */
  readonly isFull: boolean
  /** To be written to; ending it ends nothing else. */
  readonly out: Writable
  read(offset: number, limit: number): Promise<unknown[][]>
  /** Resolves when there are more rows than this, or after the time, or when `wake` was called. */
  waitFor(rows: number, ms: number): Promise<void>
  wake(): void
}

export interface StoredAnswerOptions {
  path: string
  maxBytes: number
}

const NEWLINE = 10

export async function openStoredAnswer({ path, maxBytes }: StoredAnswerOptions): Promise<StoredAnswer> {
  const file = await open(path, 'w+', 0o600)
  /** Where each row ends, as far as it is in the file. */
  const ends = createNumbers()
  const waiting = new Set<() => void>()
  let columns: StoredAnswer['columns'] = null
  let head = Buffer.alloc(0)
  let written = 0
  let isFull = false

  const wake = () => {
    for (const resolve of waiting) resolve()
    waiting.clear()
  }

  async function take(bytes: Buffer): Promise<void> {
    let rest = bytes
    if (columns === null) {
      const newline = rest.indexOf(NEWLINE)
      head = Buffer.concat([head, newline < 0 ? rest : rest.subarray(0, newline)])
      if (newline < 0) return
      columns = JSON.parse(head.toString())
      rest = rest.subarray(newline + 1)
    }
    if (written + rest.length > maxBytes) isFull = true
    // Whoever writes sees a reader that went away.
    if (isFull) return void out.destroy()
    await writeAll(file, rest, written)
    for (let at = rest.indexOf(NEWLINE); at !== -1; at = rest.indexOf(NEWLINE, at + 1)) ends.push(written + at + 1)
    written += rest.length
    wake()
  }

  const out = new Writable({
    write(chunk: Buffer | string, _encoding, done) {
      take(typeof chunk === 'string' ? Buffer.from(chunk) : chunk).then(() => done(), done)
    },
  })
  out.on('error', () => {})

  return {
    get columns() {
      return columns
    },
    get rows() {
      return ends.length
    },
    get isFull() {
      return isFull
    },
    out,
    wake,
    async read(offset, limit) {
      const last = Math.min(ends.length, offset + limit)
      if (offset >= last) return []
      const from = offset === 0 ? 0 : ends.at(offset - 1)
      const buffer = Buffer.alloc(ends.at(last - 1) - from)
      await file.read(buffer, 0, buffer.length, from)
      return buffer
        .toString()
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
    },
    async waitFor(rows, ms) {
      if (ends.length > rows || ms <= 0) return
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        waiting.add(resolve)
        timer = setTimeout(resolve, ms)
      })
      clearTimeout(timer)
    },
    async [Symbol.asyncDispose]() {
      out.destroy()
      await file.close().catch(() => {})
      await rm(path, { force: true })
    },
  }
}

async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
  }
}

/** A list of numbers in eight bytes each. */
function createNumbers() {
  let numbers = new Float64Array(1024)
  let length = 0
  return {
    get length() {
      return length
    },
    push(n: number): void {
      if (length === numbers.length) {
        const larger = new Float64Array(length * 2)
        larger.set(numbers)
        numbers = larger
      }
      numbers[length++] = n
    },
    at: (index: number): number => numbers[index] as number,
  }
}

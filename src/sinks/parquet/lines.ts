/**
 * A file as runs of whole lines, in bounded memory whatever its size and whatever the length of its lines.
 *
 * A run is a stretch of one buffer that is used again for the next run: what is to be kept must be copied.
 */

import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { errnoOf, messageOf, PipelineError } from '../../../state/errors.ts'

const NEWLINE = 10
const BLOCK_BYTES = 4 * 2 ** 20
const HEAD_BYTES = 64 * 1024

export interface LineVisitor {
  /** `bytes[0..end)` holds whole lines, each ended by `\n`; the last line of the file is given one if it has none. */
  onLines(bytes: Buffer, end: number): Promise<void> | void
  /** A line longer than the limit: its first bytes, its length and the SHA-256 of all of it, without `\n`. */
  onLongLine(line: { head: Buffer; bytes: number; sha256: string }): Promise<void> | void
}

/** A buffer that one reader after the other uses. */
export function createScratch(): Buffer {
  // One byte beyond what is read, for the newline that the last line may lack.
  return Buffer.allocUnsafeSlow(BLOCK_BYTES + 1)
}

/** Gives the number of bytes read. Throws `artifact_missing` and `io`. */
export async function readLines(
  path: string,
  maxLineBytes: number,
  scratch: Buffer,
  visitor: LineVisitor,
): Promise<number> {
  const handle = await openChunk(path)
  try {
    return await visitLines(handle, maxLineBytes, scratch, visitor)
  } catch (cause) {
    if (cause instanceof PipelineError || errnoOf(cause) === undefined) throw cause
    throw new PipelineError('io', `cannot read ${path}: ${messageOf(cause)}`, { retryable: true, cause })
  } finally {
    await handle.close()
  }
}

async function visitLines(
  handle: FileHandle,
  maxLineBytes: number,
  scratch: Buffer,
  visitor: LineVisitor,
): Promise<number> {
  let buffer = scratch
  let filled = 0
  let total = 0
  let long: LongLine | undefined
  for (;;) {
    const { bytesRead } = await handle.read(buffer, filled, buffer.length - 1 - filled, null)
    total += bytesRead
    filled += bytesRead
    const isEnd = bytesRead === 0
    if (isEnd && filled > 0) buffer[filled++] = NEWLINE
    if (long && filled > 0) {
      const newline = buffer.subarray(0, filled).indexOf(NEWLINE)
      long.take(buffer.subarray(0, newline < 0 ? filled : newline))
      if (newline < 0) {
        filled = 0
        continue
      }
      await visitor.onLongLine(long.end())
      long = undefined
      buffer.copyWithin(0, newline + 1, filled)
      filled -= newline + 1
    } else if (long && isEnd) await visitor.onLongLine(long.end())
    const end = buffer.subarray(0, filled).lastIndexOf(NEWLINE) + 1
    if (end > 0) {
      await visitWithin(buffer, end, maxLineBytes, visitor)
      buffer.copyWithin(0, end, filled)
      filled -= end
    }
    if (isEnd) return total
    if (filled > maxLineBytes) {
      long = createLongLine()
      long.take(buffer.subarray(0, filled))
      filled = 0
    } else if (filled >= buffer.length - 1) {
      const larger = Buffer.allocUnsafe(Math.min(buffer.length * 2, maxLineBytes + BLOCK_BYTES) + 1)
      buffer.copy(larger, 0, 0, filled)
      buffer = larger
    }
  }
}

/** Whole lines that are in the buffer may be longer than the limit too. */
async function visitWithin(buffer: Buffer, end: number, maxLineBytes: number, visitor: LineVisitor): Promise<void> {
  if (end <= maxLineBytes) return visitor.onLines(buffer.subarray(0, end), end)
  let from = 0
  for (let at = 0; at < end; ) {
    const newline = buffer.indexOf(NEWLINE, at)
    if (newline - at > maxLineBytes) {
      if (at > from) await visitor.onLines(buffer.subarray(from, at), at - from)
      const long = createLongLine()
      long.take(buffer.subarray(at, newline))
      await visitor.onLongLine(long.end())
      from = newline + 1
    }
    at = newline + 1
  }
  if (end > from) await visitor.onLines(buffer.subarray(from, end), end - from)
}

interface LongLine {
  take(bytes: Buffer): void
  end(): { head: Buffer; bytes: number; sha256: string }
}

function createLongLine(): LongLine {
  const hash = createHash('sha256')
  let head = Buffer.alloc(0)
  let length = 0
  return {
    take(bytes) {
      hash.update(bytes)
      length += bytes.length
      if (head.length < HEAD_BYTES) head = Buffer.concat([head, bytes.subarray(0, HEAD_BYTES - head.length)])
    },
    end: () => ({ head, bytes: length, sha256: hash.digest('hex') }),
  }
}

async function openChunk(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT')
      throw new PipelineError('artifact_missing', `chunk file ${path} does not exist`, { cause })
    throw new PipelineError('io', `cannot open chunk file ${path}: ${messageOf(cause)}`, { retryable: true, cause })
  }
}

/**
 * Batches in, messages of `zeek-raw` out: `{"dns": {…}}`, keyed by flow, so that the records of a flow stay in order.
 */

import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Batch, Chunk } from '../../../stages/hand-offs.ts'
import { PipelineError } from '../../../state/errors.ts'
import type { OutMessage, Transaction } from './transaction.ts'

export interface PublishOptions {
  topic: string
  /** Where the batch's directory lies. */
  dataDir: string
  captureId: string
  signal: AbortSignal
}

const READ_BYTES = 1024 * 1024
const FEED = 0x0a
const UID = Buffer.from('"uid":"')
const QUOTE = 0x22
const LONGEST_UID = 64

/** @throws PipelineError artifact_damaged when a chunk has not the lines that it should have. */
export async function publishChunks(
  transaction: Transaction,
  { dir, source }: Batch,
  chunks: readonly Chunk[],
  { topic, dataDir, captureId, signal }: PublishOptions,
): Promise<void> {
  for (const { file, logType, firstOrdinal, lines } of chunks) {
    const head = Buffer.from(`{"${logType}":`)
    const tail = Buffer.from('}')
    let ordinal = firstOrdinal
    for await (const block of linesOf(join(dataDir, dir, file))) {
      signal.throwIfAborted()
      const messages = block.map(
        (line): OutMessage => ({
          topic,
          key: keyOf(line) ?? Buffer.from(captureId),
          value: Buffer.concat([head, line, tail]),
          headers: { capture: captureId, log: logType, ordinal: String(ordinal++), source },
        }),
      )
      await transaction.send(messages)
    }
    if (ordinal - firstOrdinal !== lines)
      throw new PipelineError('artifact_damaged', `${file} holds ${ordinal - firstOrdinal} lines, not ${lines}`)
  }
}

/** The flow's id, where a record has one. A quote within a string is escaped, so this can only be a member. */
function keyOf(line: Buffer): Buffer | undefined {
  const at = line.indexOf(UID)
  if (at === -1) return undefined
  const end = line.indexOf(QUOTE, at + UID.length)
  const length = end - at - UID.length
  return length > 0 && length <= LONGEST_UID ? line.subarray(at + UID.length, end) : undefined
}

/** Blocks of whole lines, without their ends. */
async function* linesOf(path: string): AsyncGenerator<Buffer[]> {
  const file = await open(path)
  try {
    let rest: Buffer<ArrayBufferLike> = Buffer.alloc(0)
    for (;;) {
      const chunk = Buffer.allocUnsafe(READ_BYTES)
      const { bytesRead } = await file.read(chunk, 0, READ_BYTES)
      const block = Buffer.concat([rest, chunk.subarray(0, bytesRead)])
      const lines: Buffer[] = []
      let at = 0
      for (let feed = block.indexOf(FEED); feed !== -1; feed = block.indexOf(FEED, at)) {
        lines.push(block.subarray(at, feed))
        at = feed + 1
      }
      rest = block.subarray(at)
      if (bytesRead === 0 && rest.length > 0) lines.push(rest)
      if (lines.length > 0) yield lines
      if (bytesRead === 0) return
    }
  } finally {
    await file.close()
  }
}

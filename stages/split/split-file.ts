/**
 * Cuts a file behind every n-th newline.
 *
 * In: a file of lines; the last may lack its newline. Out: files that together are the input, byte for byte,
 * each of exactly n lines but the last. Memory: one read buffer, whatever the length of a line.
 */

import { open } from 'node:fs/promises'

const READ_BYTES = 1 << 20
const NEWLINE = 0x0a

export interface Part {
  path: string
  lines: number
  bytes: number
}

export interface SplitFileOptions {
  path: string
  /** The path of the part with this number, from 0. */
  nameOf(index: number): string
  linesPerChunk: number
  signal: AbortSignal
  /** After each block, with its size. */
  onBytes?(bytes: number): void
}

export async function splitFile({ path, nameOf, linesPerChunk, signal, onBytes }: SplitFileOptions): Promise<Part[]> {
  const parts: Part[] = []
  const buffer = Buffer.allocUnsafe(READ_BYTES)
  await using input = await open(path, 'r')
  let current: { part: Part; file: Awaited<ReturnType<typeof open>>; midLine: boolean } | undefined

  try {
    for (;;) {
      signal.throwIfAborted()
      const { bytesRead } = await input.read(buffer, 0, READ_BYTES)
      if (bytesRead === 0) break
      let from = 0
      while (from < bytesRead) {
        current ??= await begin()
        const { end, lines } = cut(buffer, from, bytesRead, linesPerChunk - current.part.lines)
        await current.file.writev([buffer.subarray(from, end)])
        current.part.lines += lines
        current.part.bytes += end - from
        current.midLine = buffer[end - 1] !== NEWLINE
        from = end
        if (current.part.lines === linesPerChunk) await finish()
      }
      onBytes?.(bytesRead)
    }
    await finish()
  } finally {
    await current?.file.close()
  }
  return parts

  async function begin() {
    const part = { path: nameOf(parts.length), lines: 0, bytes: 0 }
    return { part, file: await open(part.path, 'wx'), midLine: false }
  }

  /** A last line without a newline is a line. */
  async function finish(): Promise<void> {
    if (current === undefined) return
    const { part, file, midLine } = current
    current = undefined
    await file.close()
    parts.push({ ...part, lines: part.lines + (midLine ? 1 : 0) })
  }
}

/** The end of the wanted number of lines, or of the buffer. */
function cut(buffer: Buffer, from: number, to: number, wanted: number): { end: number; lines: number } {
  let end = from
  for (let lines = 0; ; ) {
    const newline = buffer.indexOf(NEWLINE, end)
    if (newline === -1 || newline >= to) return { end: to, lines }
    end = newline + 1
    lines++
    if (lines === wanted) return { end, lines }
  }
}

import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createScratch, readLines } from '../../../../src/sinks/parquet/lines.ts'
import { scratchDir } from './harness.ts'

/** The lines of a file as the reader gives them; a long one as its length and hash. */
async function linesOf(
  content: string | Buffer,
  maxLineBytes = 100_000_000,
  scratch = createScratch(),
): Promise<string[]> {
  const path = join(await scratchDir(), 'x')
  await writeFile(path, content)
  const lines: string[] = []
  const read = await readLines(path, maxLineBytes, scratch, {
    onLines(bytes, end) {
      expect(bytes[end - 1]).toBe(10)
      lines.push(...bytes.toString('latin1', 0, end - 1).split('\n'))
    },
    onLongLine: ({ head, bytes, sha256 }) => void lines.push(`${head.length}/${bytes}:${sha256}`),
  })
  expect(read).toBe(Buffer.byteLength(content))
  return lines
}

const long = (text: string) =>
  `${Math.min(65536, text.length)}/${text.length}:${createHash('sha256').update(text).digest('hex')}`

describe('the lines of a file', () => {
  it.each([
    ['', []],
    ['\n', ['']],
    ['a', ['a']],
    ['a\n', ['a']],
    ['a\n\nb', ['a', '', 'b']],
  ])('of %j are %j', async (content, lines) => {
    expect(await linesOf(content)).toEqual(lines)
  })

  it('are whole across buffers, and longer than any buffer', async () => {
    const lines = Array.from({ length: 3000 }, (_, i) => `${i}:${'x'.repeat((i * 7919) % 5000)}`)
    const huge = ['y'.repeat(9_000_000), ...lines, 'z'.repeat(5_000_000)]
    expect(await linesOf(huge.join('\n'))).toEqual(huge)
    expect(await linesOf(`${huge.join('\n')}\n`)).toEqual(huge)
  })

  it.each([1, 7, 64, 1000])(
    'over a limit of %i bytes are told by their length and hash, wherever buffers end',
    async (limit) => {
      for (const length of [Math.max(1, limit - 1), limit, limit + 1, limit * 3]) {
        const lines = ['', 'b'.repeat(length), 'c', 'd'.repeat(length)]
        const expected = lines.map((line) => (line.length > limit ? long(line) : line))
        for (const room of [2, 3, limit + 1, 4096])
          expect(await linesOf(lines.join('\n'), limit, Buffer.alloc(room))).toEqual(expected)
      }
    },
  )

  it('over the limit are not held in memory', async () => {
    const text = 'x'.repeat(50_000_000)
    expect(await linesOf(`a\n${text}\nb`, 1_000_000)).toEqual(['a', long(text), 'b'])
  })
})

it('a file that is not there is a missing artifact', async () => {
  await expect(readLines('/nowhere/x', 10, createScratch(), { onLines() {}, onLongLine() {} })).rejects.toMatchObject({
    code: 'artifact_missing',
  })
})

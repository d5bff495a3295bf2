import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { splitFile } from '../../../stages/split/split-file.ts'

async function split(content: Buffer, linesPerChunk: number) {
  const dir = mkdtempSync(join(tmpdir(), 'split-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'input')
  writeFileSync(path, content)
  const parts = await splitFile({
    path,
    nameOf: (i) => join(dir, `part-${i}`),
    linesPerChunk,
    signal: new AbortController().signal,
  })
  return { parts, contents: parts.map((part) => readFileSync(part.path)) }
}

it.each([
  ['lines', 'a\nbb\nccc\ndddd\neeeee\n', 2, [2, 2, 1]],
  ['a last line without its newline', 'a\nbb\nccc', 2, [2, 1]],
  ['exactly full chunks', 'a\nb\nc\nd\n', 2, [2, 2]],
  ['empty lines', '\n\n\n', 2, [2, 1]],
  ['one line a chunk', 'a\nb\n', 1, [1, 1]],
  ['nothing', '', 2, []],
  ['bytes that are no text', '\xff\xfe\n\0\x01\n\r\n', 2, [2, 1]],
])('%s: the chunks, one after another, are the input', async (_what, text, n, lines) => {
  const input = Buffer.from(text, 'latin1')
  const { parts, contents } = await split(input, n)
  expect(parts.map((part) => part.lines)).toEqual(lines)
  expect(Buffer.concat(contents)).toEqual(input)
  expect(parts.map((part) => part.bytes)).toEqual(contents.map((content) => content.length))
})

it('lines longer than the read buffer stay whole', async () => {
  const long = 'x'.repeat(3_000_000)
  const { parts, contents } = await split(Buffer.from(`${long}\nb\n${long}\n`), 1)
  expect(parts.map((part) => part.lines)).toEqual([1, 1, 1])
  expect(contents.map((content) => content.length)).toEqual([3_000_001, 2, 3_000_001])
})

import { describe, expect, it } from 'vitest'
import { createLines } from '../../../../../src/engines/tshark/protocols/lines.ts'

function reader(maxBytes?: number) {
  const lines: string[] = []
  const tooLong: number[] = []
  const read = createLines(
    (line) => {
      lines.push(line.toString('latin1'))
      return line.toString('latin1') === 'STOP' ? false : undefined
    },
    { maxBytes, onTooLong: (length) => tooLong.push(length) },
  )
  return { lines, tooLong, read, feed: (text: string) => read.data(Buffer.from(text, 'latin1'), 0) }
}

describe('lines of a text protocol', () => {
  it('come whole however the bytes were cut, with either line end', () => {
    const { lines, feed } = reader()
    for (const char of 'one\r\ntwo\n\r\nthree\r\nunfinished') feed(char)
    expect(lines).toEqual(['one', 'two', '', 'three'])
  })

  it('stop where one is answered with false, and what follows is handed out untouched', () => {
    const { lines, read, feed } = reader()
    feed('first\r\nSTOP\r\n\x16\x03\x01\nrest')
    expect(lines).toEqual(['first', 'STOP'])
    expect(read.take().toString('latin1')).toBe('\x16\x03\x01\nrest')
    expect(read.take()).toHaveLength(0)
  })

  it('are dropped whole when they are longer than the bound, and the next is read again', () => {
    const { lines, tooLong, feed } = reader(8)
    feed('12345')
    feed('6789')
    feed('abc\r\nshort\r\n')
    expect(lines).toEqual(['short'])
    expect(tooLong).toEqual([13])
  })

  it('begin anew behind a gap', () => {
    const { lines, read, feed } = reader()
    feed('half a li')
    read.gap()
    feed('ne of another\r\nwhole\r\n')
    expect(lines).toEqual(['whole'])
  })
})

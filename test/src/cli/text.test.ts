import { expect, it } from 'vitest'
import { bytesText, durationText, printable, textTable, timeText } from '../../../src/cli/text.ts'

it('tables align text to the left and numbers to the right', () => {
  const table = textTable(
    ['name', 'rows'],
    [
      ['dns', 7],
      ['connections', 12345],
    ],
  )
  expect(table).toBe('name          rows\ndns              7\nconnections  12345')
})

it('a hostile name cannot steer the terminal or forge a line', () => {
  expect(printable('a\u001b[2Jb\nc\u202egnp.pcap')).toBe('a\\x1b[2Jb\\x0ac\\x202egnp.pcap')
  expect(printable('Büro – 東京.pcap')).toBe('Büro – 東京.pcap')
})

it('sizes, durations and times are told in units that people use', () => {
  expect([0, 999, 1000, 1_234_567, 5e9].map(bytesText)).toEqual(['0 B', '999 B', '1.0 kB', '1.2 MB', '5.0 GB'])
  expect([500, 61_000, 3_700_000].map(durationText)).toEqual(['0.5 s', '1 min', '1 h 1 min'])
  expect(timeText(0)).toBe('1970-01-01T00:00:00Z')
})

it('a time that no calendar holds is left out', () => {
  expect([null, undefined, Number.NaN, 1e18].map(timeText)).toEqual(['', '', '', ''])
})

import { expect, it } from 'vitest'
import { clockOffsetText, parseClockOffset } from '../../src/clock-offset.ts'

it.each([
  ['+3600s', 3_600_000_000],
  ['-1.5s', -1_500_000],
  ['+20d', 20 * 86_400_000_000],
  ['-2h', -7_200_000_000],
  ['+250ms', 250_000],
  ['-7us', -7],
  ['+0s', 0],
])('%s is that many microseconds', (text, us) => {
  expect(parseClockOffset(text)).toBe(us)
})

it.each(['3600s', '+3600', '+', '', '+1y', '+1e9s', '+99999999d', '- 1s', '+1.2.3s', '++1s'])('%j is none', (text) => {
  expect(parseClockOffset(text)).toBeUndefined()
})

it('is told in seconds, as it can be written again', () => {
  for (const us of [3_600_000_000, -1_500_000, 7]) expect(parseClockOffset(clockOffsetText(us))).toBe(us)
})

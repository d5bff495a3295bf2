import { expect, it } from 'vitest'
import { slices } from '../../src/slices.ts'

it('slices are whole but for the last, in their order, and none of nothing', () => {
  expect(slices([1, 2, 3, 4, 5], 2)).toEqual([[1, 2], [3, 4], [5]])
  expect(slices([1, 2, 3, 4], 2)).toEqual([
    [1, 2],
    [3, 4],
  ])
  expect(slices([], 2)).toEqual([])
})

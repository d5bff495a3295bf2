import { describe, expect, it } from 'vitest'
import { packEvenly } from '../../../stages/distribute/pack.ts'

const items = (...sizes: number[]) => sizes.map((bytes) => ({ bytes }))
const sizes = (runs: { bytes: number }[][]) => runs.map((run) => run.reduce((sum, { bytes }) => sum + bytes, 0))

describe('batches of even size', () => {
  it('equal items are shared out evenly', () => {
    expect(sizes(packEvenly(items(...Array(12).fill(10)), 4))).toEqual([30, 30, 30, 30])
  })

  it('no item is lost, doubled or moved out of order, and no run is empty', () => {
    for (let seed = 1; seed < 200; seed++) {
      const list = Array.from({ length: (seed * 7) % 40 }, (_, i) => ({ bytes: (seed * (i + 3) * 7919) % 1000, i }))
      const runs = packEvenly(list, 1 + (seed % 9))
      expect(runs.flat()).toEqual(list)
      expect(runs.every((run) => run.length > 0)).toBe(true)
      expect(runs.length).toBeLessThanOrEqual(1 + (seed % 9))
    }
  })

  it('no run is further from an even share than one item', () => {
    const list = items(...Array.from({ length: 100 }, (_, i) => 50 + ((i * 37) % 100)))
    const total = list.reduce((sum, { bytes }) => sum + bytes, 0)
    for (const size of sizes(packEvenly(list, 8))) expect(Math.abs(size - total / 8)).toBeLessThanOrEqual(150)
  })
})

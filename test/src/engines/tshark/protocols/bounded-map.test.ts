import { describe, expect, it } from 'vitest'
import { createBoundedMap } from '../../../../../src/engines/tshark/protocols/bounded-map.ts'

const make = (maxCount: number, maxWeight: number) => {
  const evicted: string[] = []
  const map = createBoundedMap<string, string>({
    maxCount,
    maxWeight,
    weigh: (value) => value.length,
    onEvict: (key) => evicted.push(key),
  })
  return { map, evicted }
}

describe('a bounded map', () => {
  it('gives up its oldest entries when there are too many', () => {
    const { map, evicted } = make(2, 100)
    for (const key of ['a', 'b', 'c']) map.set(key, 'x')
    expect([map.entries(), evicted]).toEqual([
      [
        ['b', 'x'],
        ['c', 'x'],
      ],
      ['a'],
    ])
  })

  it('gives up its oldest entries when there is too much in them, but keeps the last', () => {
    const { map, evicted } = make(10, 5)
    map.set('a', 'xxx')
    map.set('b', 'xxx')
    map.set('c', 'x'.repeat(50))
    expect([map.entries().map(([key]) => key), evicted]).toEqual([['c'], ['a', 'b']])
  })

  it('counts a replaced and a deleted entry no more', () => {
    const { map, evicted } = make(10, 6)
    map.set('a', 'xxxxx')
    map.set('a', 'x')
    map.set('b', 'xxxxx')
    map.delete('b')
    map.set('c', 'xxxxx')
    expect([map.get('a'), map.has('b'), evicted]).toEqual(['x', false, []])
  })
})

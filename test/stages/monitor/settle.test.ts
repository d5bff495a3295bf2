import { describe, expect, it } from 'vitest'
import { Settling } from '../../../stages/monitor/settle.ts'

const file = (key: string, bytes = 10, mtimeMs = 1) => ({ key, dev: 1, ino: 1, bytes, mtimeMs })

describe('a file is settled when it has been still for the interval', () => {
  it('not before, and from then on', () => {
    const settling = new Settling(2000)
    expect(settling.observe([file('a')], 0).size).toBe(0)
    expect(settling.observe([file('a')], 1999).size).toBe(0)
    expect(settling.observe([file('a')], 2000)).toEqual(new Set(['a']))
  })

  it.each([
    ['size', file('a', 11, 1)],
    ['modification time', file('a', 10, 2)],
  ])('a change of its %s starts the interval again', (_what, changed) => {
    const settling = new Settling(2000)
    settling.observe([file('a')], 0)
    expect(settling.observe([changed], 1900).size).toBe(0)
    expect(settling.observe([changed], 3800).size).toBe(0)
    expect(settling.observe([changed], 3900).size).toBe(1)
  })

  it('files dropped together settle together', () => {
    const settling = new Settling(2000)
    const files = ['a', 'b', 'c', 'd', 'e'].map((key) => file(key))
    settling.observe(files, 0)
    expect(settling.observe(files, 2000).size).toBe(5)
  })

  it('a file that went away and came back starts again', () => {
    const settling = new Settling(2000)
    settling.observe([file('a')], 0)
    settling.observe([], 1000)
    expect(settling.observe([file('a')], 2500).size).toBe(0)
  })
})

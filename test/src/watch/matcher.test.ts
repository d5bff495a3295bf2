import { describe, expect, it } from 'vitest'
import { createMatcher } from '../../../src/watch/matcher.ts'
import type { ComputerRow, IndicatorRow } from '../../../state/watch-lists.ts'

const computer = (row: Partial<ComputerRow>): ComputerRow => ({
  ...{ compId: '1', employee: 'a', mac: null, ip: null, hostname: null, validFrom: null, validTo: null },
  ...row,
})
const indicator = (kind: IndicatorRow['kind'], value: string): IndicatorRow => ({ list: 'bad', kind, value, note: '' })
const employees = [
  { key: 'a', watched: true },
  { key: 'b', watched: false },
]
const none = { employees, computers: [], indicators: [], leases: [] }

describe('the matcher', () => {
  it('knows only what belongs to watched employees', () => {
    const matcher = createMatcher({
      ...none,
      computers: [computer({ ip: '10.0.0.1' }), computer({ employee: 'b', ip: '10.0.0.2' })],
    })
    expect(matcher.match('ip', '10.0.0.1').map(({ employee }) => employee)).toEqual(['a'])
    expect(matcher.match('ip', '10.0.0.2')).toEqual([])
  })

  it('gives all who share a computer', () => {
    const both = [
      { key: 'a', watched: true },
      { key: 'b', watched: true },
    ]
    const mac = '00:11:22:33:44:55'
    const matcher = createMatcher({
      ...none,
      employees: both,
      computers: [computer({ mac }), computer({ mac, employee: 'b' })],
    })
    expect(matcher.match('mac', mac.toUpperCase()).map(({ employee }) => employee)).toEqual(['a', 'b'])
  })

  it('follows a lease of a watched card, for as long as both hold', () => {
    const mac = '00:11:22:33:44:55'
    const lease = { ip: '10.0.0.9', mac, validFrom: 1000, validTo: 5000, captureId: null }
    const matcher = createMatcher({
      ...none,
      computers: [computer({ mac, validFrom: 2000, validTo: 9000 })],
      leases: [lease],
    })
    expect(matcher.match('ip', '10.0.0.9')).toMatchObject([{ employee: 'a', from: 2000, to: 5000 }])
  })

  it('finds addresses in networks and names under domains, and not beside them', () => {
    const matcher = createMatcher({
      ...none,
      indicators: [indicator('cidr', '10.1.0.0/16'), indicator('domain', 'evil.example')],
    })
    expect(matcher.match('ip', '10.1.255.3')).toHaveLength(1)
    expect(matcher.match('ip', '10.2.0.1')).toEqual([])
    expect(matcher.match('ip', 'fe80::1')).toEqual([])
    for (const name of ['evil.example', 'www.EVIL.example', 'evil.example.', 'a.b.evil.example:443'])
      expect(matcher.match('name', name), name).toHaveLength(1)
    for (const name of ['notevil.example', 'example', 'evil.example.org', ''])
      expect(matcher.match('name', name), name).toEqual([])
  })
})

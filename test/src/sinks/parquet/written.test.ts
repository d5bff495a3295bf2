import { describe, expect, it } from 'vitest'
import { checkConserved, readStats, type StatsRow } from '../../../../src/sinks/parquet/written.ts'
import { tableOf } from '../../../../stages/upload/rules/table.ts'
import { defaultRules } from '../../../../stages/upload/rules.ts'

const table = tableOf(defaultRules(), 'dhcp')

const column = (name: string, values: number, nulls: number) => ({
  key: name,
  value: [
    { key: 'null_count', value: String(nulls) },
    { key: 'num_values', value: String(values) },
  ],
})

const stats: StatsRow[] = [
  {
    filename: '/s/_tmp/0/epoch_hour=490896/e_0.parquet',
    count: '3',
    file_size_bytes: '100',
    partition_keys: [{ key: 'epoch_hour', value: '490896' }],
    // flow_id may come from a list, event_type is ours: neither counts. A list counts by its elements.
    column_statistics: [
      column('"event_time"', 3, 0),
      column('"flow_id"', 3, 0),
      column('"event_type"', 3, 0),
      column('"uids"."element"', 4, 1),
      column('"extra"', 3, 2),
    ],
  },
]

describe('what was written', () => {
  it('lies in the partition of its hour', () => {
    expect(readStats(stats)[0]?.partition).toBe('year=2026/month=01/day=01/hour=00')
  })

  it('is accepted when each row, each value and each extra is found again', () => {
    expect(() => checkConserved(table, readStats(stats), { rows: 3, values: 6, rowsWithExtra: 1 })).not.toThrow()
  })

  it.each([
    ['a row', { rows: 4, values: 6, rowsWithExtra: 1 }],
    ['a value', { rows: 3, values: 7, rowsWithExtra: 1 }],
    ['a value that nobody wrote', { rows: 3, values: 5, rowsWithExtra: 1 }],
    ['an extra', { rows: 3, values: 6, rowsWithExtra: 2 }],
  ])('is refused for %s', (_, expected) => {
    expect(() => checkConserved(table, readStats(stats), expected)).toThrow(
      expect.objectContaining({ code: 'events_unbalanced' }),
    )
  })

  it('is refused when a file tells nothing of a column', () => {
    const silent = structuredClone(stats)
    silent[0]?.column_statistics[0]?.value.pop()
    expect(() => checkConserved(table, readStats(silent), { rows: 3, values: 6, rowsWithExtra: 1 })).toThrow(
      expect.objectContaining({ code: 'events_unbalanced' }),
    )
  })
})

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { applyWatchRecord, importWatchList, type WatchTable, watchRecordOf } from '../../../src/watch/import.ts'
import { testBench } from '../../support/pipeline.ts'

const SHARED = join(import.meta.dirname, '../../../../shared/reference/watchlist')

function taken(table: WatchTable, text: string, options = { replace: false, list: 'default' }) {
  const { ledger } = testBench()
  return { ledger, result: importWatchList(ledger, table, text, options) }
}

describe('a watch list in a file', () => {
  it.each([
    ['CSV', 'key,name,watch_flag\n7,"Doe, Ann",YES\n8,Bo,no\n'],
    ['CSV with semicolons', 'key;name;watch_flag\r\n7;Doe, Ann;YES\r\n8;Bo;no\r\n'],
    ['JSON lines', '{"key":"7","name":"Doe, Ann","watch_flag":"YES"}\n{"key":8,"name":"Bo","watch_flag":"NO"}\n'],
    ['an array', '[{"key":"7","name":"Doe, Ann","watch_flag":"YES"},{"key":"8","name":"Bo","watch_flag":"NO"}]'],
    ['key:{json} lines', '7:{"key":"7","name":"Doe, Ann","watch_flag":"YES"}\n8:{"name":"Bo","watch_flag":"NO"}  \n'],
  ])('is read as %s', (_, text) => {
    const { ledger, result } = taken('employees', text)
    expect(result).toMatchObject({ added: 2, problems: [] })
    expect(ledger.watch.employees().map(({ key, name, watched }) => [key, name, watched])).toEqual([
      ['8', 'Bo', false],
      ['7', 'Doe, Ann', true],
    ])
  })

  it.skipIf(!existsSync(SHARED))('is read as the example writes it (skipped where the example is not there)', () => {
    const { ledger } = taken('employees', readFileSync(join(SHARED, 'employees.json'), 'utf8'))
    const computers = readFileSync(join(SHARED, 'computers.json'), 'utf8')
    expect(importWatchList(ledger, 'computers', computers, { replace: false, list: '' }).added).toBe(3)
    expect(ledger.watch.computers()[0]).toMatchObject({ compId: '1', employee: '100', mac: 'e0:a1:d7:18:c2:72' })
  })

  it('takes the good lines and tells of the others', () => {
    const { result } = taken(
      'computers',
      'comp_id,empkey,macaddr\n1,100,E0-A1-D7-18-C2-72\n2,100,nonsense\n3,,e0a1.d718.c273\n',
    )
    expect(result.added).toBe(1)
    expect(result.problems).toEqual([
      { line: 3, reason: '"nonsense" is no MAC address' },
      { line: 4, reason: 'it has no empkey' },
    ])
  })

  it('changes nothing when it is taken in again, and with replace removes what it does not name', () => {
    const { ledger } = taken('employees', 'key,name\n1,A\n2,B\n')
    const again = importWatchList(ledger, 'employees', 'key,name\n1,A\n3,C\n', { replace: true, list: '' })
    expect(again).toMatchObject({ added: 1, unchanged: 1, removed: 1 })
    const nothing = importWatchList(ledger, 'employees', 'nonsense', { replace: true, list: '' })
    expect(nothing.removed).toBe(0)
    expect(ledger.watch.employees().map(({ key }) => key)).toEqual(['1', '3'])
  })

  it('tells what bare indicators are', () => {
    const lines = [
      '10.0.0.0/8',
      '192.0.2.1',
      'evil.example',
      'd41d8cd98f00b204e9800998ecf8427e',
      '00:11:22:33:44:55',
      't13d1516h2_8daaf6152771_02713d6af862',
    ]
    const { ledger } = taken('indicators', `${lines.join('\n')}\n`)
    expect(ledger.watch.indicators().map(({ kind }) => kind)).toEqual(['cidr', 'ip', 'domain', 'hash', 'mac', 'ja4'])
  })

  it('follows a topic: the next record of a key takes the place of the last, none takes the row away', () => {
    const { ledger } = testBench()
    const { watch } = ledger
    const apply = (list: 'employees' | 'computers', key: string, value: string | null) =>
      applyWatchRecord(ledger, watchRecordOf(list, key, value === null ? null : Buffer.from(value)))
    apply('employees', '1', '{"name":"A","watch_flag":"YES"}')
    apply('computers', '1', '{"comp_id":9,"empkey":"1","macaddr":"e0:a1:d7:18:c2:72"}')
    const before = watch.version()
    apply('computers', '1', '{"comp_id":9,"empkey":"1","macaddr":"e0-a1-d7-18-c2-73"}')
    expect(watch.version()).toBeGreaterThan(before)
    expect(watch.computers().map(({ mac }) => mac)).toEqual(['e0:a1:d7:18:c2:73'])
    apply('computers', '2', '{"comp_id":9,"empkey":"1","macaddr":"e0:a1:d7:18:c2:73"}')
    apply('computers', '1', null)
    expect(watch.computers()).toHaveLength(1)
    apply('computers', '2', null)
    apply('employees', '1', null)
    expect([watch.employees(), watch.computers()]).toEqual([[], []])
    for (const wrong of ['[]', '7', '{', '{"name":"A","watch_flag":"MAYBE"}'])
      expect(() => apply('employees', '1', wrong), wrong).toThrow()
  })
})

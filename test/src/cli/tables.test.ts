import { describe, expect, it } from 'vitest'
import { EXIT } from '../../../src/cli/exit-codes.ts'
import { makeHome } from '../../support/cli.ts'

describe('tables NAME', () => {
  it('tells the columns with their meaning, before there are any rows', async () => {
    using home = makeHome()
    const { code, stdout } = await home.run('tables', 'dns', '--json')
    expect(code).toBe(EXIT.ok)
    const { table, columns } = JSON.parse(stdout)
    expect(table).toBe('dns')
    const meaning = 'name that was asked for'
    expect(columns).toContainEqual({ name: 'query', type: 'VARCHAR', layer: 'raw', zeek: 'query', meaning })
    expect(columns.filter((column: { meaning: string | null }) => column.meaning === null)).toEqual([])
  })

  it('names the tables that there are when there is no such one', async () => {
    using home = makeHome()
    const { code, stderr } = await home.run('tables', 'dsn')
    expect(code).toBe(EXIT.query)
    expect(stderr).toMatch(/no such table.*dns/)
  })
})

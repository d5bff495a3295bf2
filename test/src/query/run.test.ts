import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Dataset } from '../../../src/query/dataset.ts'
import { ask, connRows, type Fixture, makeFixture } from './fixture.ts'

const HOUR = '2026-03-05 08'

let fixture: Fixture
let dataset: Dataset

beforeAll(async () => {
  fixture = await makeFixture()
  await fixture.write('conn', HOUR, 'a', connRows(HOUR, 3))
  dataset = await fixture.open()
})
afterAll(async () => {
  await dataset.close()
  await fixture[Symbol.asyncDispose]()
})

/** The JSON text of one value. */
async function jsonOf(expression: string): Promise<string> {
  const { text } = await ask(dataset, `SELECT ${expression} AS v`, { format: 'ndjson' })
  expect(() => JSON.parse(text)).not.toThrow()
  expect(text.indexOf('\n')).toBe(text.length - 1)
  return text.slice('{"v":'.length, -'}\n'.length)
}

describe('JSON', () => {
  it.each([
    ['NULL', 'null'],
    ['true', 'true'],
    ['1::UTINYINT', '1'],
    ['9007199254740993', '9007199254740993'],
    ['(-9223372036854775808)::BIGINT', '-9223372036854775808'],
    ['18446744073709551615::UBIGINT', '18446744073709551615'],
    ['170141183460469231731687303715884105727::HUGEINT', '170141183460469231731687303715884105727'],
    ['-0.05::DECIMAL(38, 10)', '-0.0500000000'],
    ['0.1::FLOAT', '0.1'],
    ['16777217::FLOAT', '16777216'],
    ['0.1::DOUBLE', '0.1'],
    ["'nan'::DOUBLE", 'null'],
    ["'-inf'::FLOAT", 'null'],
    ["TIMESTAMP '2026-03-05 08:09:10'", '"2026-03-05T08:09:10.000Z"'],
    ["TIMESTAMP '2026-03-05 08:09:10.123456'", '"2026-03-05T08:09:10.123456Z"'],
    ["TIMESTAMP '2026-03-05 08:09:10.12'", '"2026-03-05T08:09:10.120Z"'],
    ["TIMESTAMP '1969-12-31 23:59:59.9'", '"1969-12-31T23:59:59.900Z"'],
    ["TIMESTAMPTZ '2026-03-05 08:00:00+02'", '"2026-03-05T06:00:00.000Z"'],
    ["TIMESTAMP_NS '2026-03-05 08:00:00.123456789'", '"2026-03-05T08:00:00.123456789Z"'],
    ["TIMESTAMP_S '2026-03-05 08:00:00'", '"2026-03-05T08:00:00.000Z"'],
    ["TIMESTAMP_MS '2026-03-05 08:00:00.5'", '"2026-03-05T08:00:00.500Z"'],
    ["'infinity'::TIMESTAMP", 'null'],
    ["DATE '2026-03-05'", '"2026-03-05"'],
    ["TIME '01:02:03.5'", '"01:02:03.5"'],
    ["'\\xAA\\x00'::BLOB", '"aa00"'],
    ["'101'::BIT", '"101"'],
    ["'00000000-0000-4000-8000-000000000001'::UUID", '"00000000-0000-4000-8000-000000000001"'],
    ["'a'::ENUM ('a', 'b')", '"a"'],
    ["['a', NULL, 'b\"']", '["a",null,"b\\""]'],
    ['[1, 2]::INTEGER[2]', '[1,2]'],
    [
      "{'a': 9007199254740993, 'b': {'c': [TIMESTAMP '2026-01-01']}, 'q\"': NULL}",
      '{"a":9007199254740993,"b":{"c":["2026-01-01T00:00:00.000Z"]},"q\\"":null}',
    ],
    ["MAP {'k': 1, 'l': NULL}", '{"k":1,"l":null}'],
    ["MAP {1: 'x'}", '[{"key":1,"value":"x"}]'],
    ['1::UNION(n INTEGER, s VARCHAR)', '1'],
    [`'{"n":  12345678901234567890,\n "s": "x"}'::JSON`, '{"n":  12345678901234567890,  "s": "x"}'],
    ["[{'x': [NULL, {'y': 1}]}]", '[{"x":[null,{"y":1}]}]'],
    ["'line\nbreak\ttab'", '"line\\nbreak\\ttab"'],
    ["chr(27) || '[31m' || chr(155) || chr(8238) || chr(8232) || '😀'", '"\\u001b[31m\\u009b\\u202e\\u2028😀"'],
    ["'</script>'", '"</script>"'],
  ])('of %s is %s', async (expression, expected) => {
    expect(await jsonOf(expression)).toBe(expected)
  })

  it('is one array, whether it has rows or none', async () => {
    expect((await ask(dataset, 'SELECT 1 AS a UNION ALL SELECT 2 ORDER BY 1')).text).toBe('[\n{"a":1},\n{"a":2}\n]\n')
    expect((await ask(dataset, 'SELECT 1 AS a WHERE false')).text).toBe('[]\n')
    expect((await ask(dataset, 'SELECT 1 AS a WHERE false', { format: 'ndjson' })).text).toBe('')
  })

  it('keeps all columns when several have one name', async () => {
    expect(JSON.parse((await ask(dataset, 'SELECT 1 AS a, 2 AS a, 3 AS "a:1"')).text)).toEqual([
      expect.objectContaining({ a: 1 }),
    ])
    expect((await ask(dataset, 'SELECT 1 AS a, 2 AS a')).text).toMatch(/"a":1,"a.+":2/)
  })

  it('keeps a list of 5,000 rows in order', async () => {
    const { text } = await ask(dataset, 'SELECT range AS i FROM range(5000)', { format: 'ndjson' })
    expect(text.trim().split('\n')).toEqual(Array.from({ length: 5000 }, (_, i) => `{"i":${i}}`))
  })
})

describe('CSV', () => {
  const csv = async (sql: string, spreadsheetSafe = false) =>
    (await ask(dataset, sql, { format: 'csv', spreadsheetSafe })).text

  it('quotes what must be quoted and tells NULL from an empty text', async () => {
    expect(
      await csv(`SELECT 'a,b' AS "x,y", 'say "hi"' AS q, 'l1\r\nl2' AS n, NULL AS z, '' AS e, ' pad ' AS p, 1 AS i`),
    ).toBe('"x,y",q,n,z,e,p,i\r\n"a,b","say ""hi""","l1\r\nl2",,""," pad ",1\r\n')
  })

  it('writes times, numbers and nested values in full', async () => {
    expect(
      await csv(
        "SELECT TIMESTAMP '2026-03-05 08:00:00' AS t, 9007199254740993 AS n, ['a', 'b'] AS l, 'nan'::DOUBLE AS d, true AS b",
      ),
    ).toBe('t,n,l,d,b\r\n2026-03-05T08:00:00.000Z,9007199254740993,"[""a"",""b""]",NaN,true\r\n')
  })

  it('leaves texts as they are, and defuses formulas where asked to', async () => {
    const sql = `SELECT '=1+1' AS a, '@x' AS b, -5 AS c, '-5' AS d, '=a,"b"' AS e`
    expect(await csv(sql)).toBe('a,b,c,d,e\r\n=1+1,@x,-5,-5,"=a,""b"""\r\n')
    expect(await csv(sql, true)).toBe(`a,b,c,d,e\r\n'=1+1,'@x,-5,'-5,"'=a,""b"""\r\n`)
  })

  it('is read back by another reader as it was', async () => {
    const sql = `SELECT i, chr((i + 1)::INTEGER) || '"' || chr((i * 7 + 1)::INTEGER) AS s FROM range(300) t(i)`
    const path = join(fixture.dir, 'back.csv')
    writeFileSync(path, await csv(sql))
    const reader = await (await DuckDBInstance.create(':memory:')).connect()
    const options = `header = true, quote = '"', escape = '"', delim = ',', new_line = '\\r\\n', columns = {'i': 'BIGINT', 's': 'VARCHAR'}, parallel = false`
    const { length } = (await reader.runAndReadAll(`FROM read_csv('${path}', ${options}) EXCEPT (${sql})`)).getRows()
    expect(length).toBe(0)
    expect((await reader.runAndReadAll(`SELECT count(*)::INT FROM read_csv('${path}', ${options})`)).getRows()).toEqual(
      [[300]],
    )
    reader.closeSync()
  })
})

describe('the table', () => {
  const table = async (sql: string, width?: number, maxRows?: number) =>
    (await ask(dataset, sql, { format: 'table', width, maxRows })).text

  it('aligns numbers right and texts left and counts the rows', async () => {
    expect(
      await table("SELECT 'ab' AS name, 5 AS n UNION ALL SELECT 'c', 1000 UNION ALL SELECT NULL, NULL ORDER BY 2"),
    ).toBe(['name     n', '────  ────', 'ab       5', 'c     1000', 'NULL  NULL', '(3 rows)', ''].join('\n'))
    expect(await table('SELECT 1 AS a')).toMatch(/\(1 row\)\n$/)
  })

  it('shows what would act on the terminal as escapes, in headers too', async () => {
    const text = await table(
      `SELECT chr(27) || '[2J' || chr(10) || chr(155) || chr(8238) || chr(0) || chr(127) AS "h${'\x1b'}]0;x"`,
    )
    expect(text.split('\n').slice(0, 3)).toEqual(['h\\x1b]0;x', '─'.repeat(27), '\\x1b[2J\\n\\x9b\\u{202e}\\0\\x7f'])
    expect(text).not.toMatch(/[^\P{C}\n]/u)
  })

  it('fits the terminal: cuts long values, and says when columns find no place', async () => {
    const long = await table(`SELECT repeat('x', 500) AS a, 7 AS n, repeat('日本', 50) AS j`, 60)
    for (const line of long.split('\n').slice(0, -2)) expect(cells(line)).toBeLessThanOrEqual(60)
    expect(long).toContain('x…')
    expect(long).toContain('7')
    const many = await table(
      `SELECT ${Array.from({ length: 40 }, (_, i) => `'value ${i}' AS column_${i}`).join(', ')}`,
      80,
    )
    for (const line of many.split('\n').slice(0, -2)) expect(cells(line)).toBeLessThanOrEqual(80)
    expect(many).toMatch(/\(1 row, \d+ columns find no place here/)
  })

  it('cuts nothing where there is no terminal, even values that come late', async () => {
    const text = await table("SELECT CASE WHEN range = 2000 THEN repeat('y', 300) ELSE 'x' END AS v FROM range(2001)")
    expect(text).toContain('y'.repeat(300))
    expect(text.split('\n')).toHaveLength(2001 + 4)
  })

  it('says when there is more', async () => {
    expect(await table('FROM range(10)', undefined, 3)).toMatch(/\(3 rows, more were not asked for\)\n$/)
  })

  it('prints a plan as DuckDB draws it', async () => {
    const text = await table('EXPLAIN SELECT src_ip FROM conn')
    expect(text).toContain('READ_PARQUET')
    expect(text.startsWith('┌')).toBe(true)
  })
})

/** Cells of lines that hold ASCII, box lines, `…` and CJK only. */
function cells(line: string): number {
  return [...line].reduce((sum, character) => sum + (/[\u3000-\u9fff]/.test(character) ? 2 : 1), 0)
}

describe('Parquet', () => {
  it('is one file with the types of the answer, in its order', async () => {
    const sql =
      "SELECT range AS i, 'x' || range AS s, [range] AS l, TIMESTAMP '2026-01-01' AS t, 1 AS i FROM range(50000) ORDER BY range DESC; -- done;"
    const answer = await ask(dataset, sql, { format: 'parquet' })
    expect(answer.rows).toBe(50_000)
    const path = join(fixture.dir, 'answer.parquet')
    writeFileSync(path, answer.bytes)
    const reader = await (await DuckDBInstance.create(':memory:')).connect()
    const rows = await reader.runAndReadAll(`SELECT *, (SELECT count(*) FROM '${path}')::INT FROM '${path}' LIMIT 1`)
    expect(rows.getRowsJson()[0]).toEqual(['49999', 'x49999', ['49999'], '2026-01-01 00:00:00', 1, 50_000])
    reader.closeSync()
  })

  it('stops at maxRows and leaves no file behind', async () => {
    const answer = await ask(dataset, 'FROM range(1000)', { format: 'parquet', maxRows: 10 })
    expect(answer).toMatchObject({ rows: 10, truncated: true })
    await expect(ask(dataset, "SELECT error('no') FROM range(5)", { format: 'parquet' })).rejects.toMatchObject({
      code: 'query_failed',
    })
    expect(readdirSync(dataset.workDir).filter((name) => name !== 'spill')).toEqual([])
  })

  it('cannot be made of a plan', async () => {
    await expect(ask(dataset, 'EXPLAIN SELECT 1', { format: 'parquet' })).rejects.toMatchObject({ code: 'usage' })
  })
})

describe('maxRows', () => {
  it.each([
    [0, 0, true],
    [2, 2, true],
    [3, 3, false],
    [4, 3, false],
  ])('of %i writes %i of three rows', async (maxRows, rows, truncated) => {
    expect(await ask(dataset, 'FROM conn', { maxRows })).toMatchObject({ rows, truncated })
  })

  it('ends a query that would give far more', async () => {
    const answer = await ask(dataset, 'SELECT a.range FROM range(1000000) a, range(1000000) b', { maxRows: 5 })
    expect(answer).toMatchObject({ rows: 5, truncated: true })
    expect(answer.elapsedMs).toBeLessThan(5000)
  })
})

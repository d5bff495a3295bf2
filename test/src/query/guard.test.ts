import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Dataset } from '../../../src/query/dataset.ts'
import { QUERY_FORMATS } from '../../../src/query/run.ts'
import { ask, connRows, type Fixture, makeFixture } from './fixture.ts'

const HOUR = '2026-03-05 08'
const SECRET = 'the secret of the neighbour'

let fixture: Fixture
let dataset: Dataset

beforeAll(async () => {
  fixture = await makeFixture()
  await fixture.write('conn', HOUR, 'a', connRows(HOUR))
  writeFileSync(join(fixture.dir, 'secret.txt'), SECRET)
  mkdirSync(join(fixture.dir, 'outside'))
  writeFileSync(join(fixture.dir, 'outside', 'x.csv'), `a\n${SECRET}\n`)
  symlinkSync(join(fixture.dir, 'outside'), join(fixture.parquetDir, 'linked'))
  dataset = await fixture.open()
})
afterAll(async () => {
  await dataset.close()
  await fixture[Symbol.asyncDispose]()
})

const everything = () => readdirSync(fixture.dir, { recursive: true }).sort()

/** `PARQUET` and `DIR` stand for the dataset's root and the folder that it lies in. */
const REFUSED = [
  // reading files
  "SELECT * FROM read_text('/etc/passwd')",
  "SELECT * FROM READ_TEXT('/etc/passwd')",
  "SELECT * FROM read_blob('/etc/passwd')",
  "SELECT * FROM read_csv('/etc/passwd')",
  "SELECT * FROM read_csv_auto('/etc/passwd', delim = ':')",
  "SELECT * FROM read_json('/etc/passwd')",
  "SELECT * FROM read_parquet('PARQUET/conn/**/*.parquet')",
  "SELECT * FROM parquet_scan('x.parquet')",
  "SELECT * FROM parquet_metadata('x.parquet')",
  "SELECT * FROM sniff_csv('/etc/passwd')",
  "SELECT * FROM glob('/etc/*')",
  "FROM '/etc/passwd'",
  "FROM 'DIR/secret.txt'",
  'FROM "DIR/outside/x.csv"',
  "FROM 'x.csv'",
  "FROM 'PARQUET/../secret.txt'",
  "SELECT * FROM read_text('PARQUET/../secret.txt')",
  "SELECT * FROM read_text('PARQUET/linked/x.csv')",
  "FROM 'PARQUET/linked/x.csv'",
  "DESCRIBE '/etc/passwd'",
  "SUMMARIZE 'x.csv'",
  "SELECT (SELECT content FROM read_text('/etc/passwd'))",
  "SELECT * FROM conn WHERE EXISTS (FROM read_text('/etc/passwd'))",
  'SELECT * FROM conn, LATERAL (SELECT * FROM read_text(src_ip))',
  "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x",
  "WITH RECURSIVE x AS (SELECT content FROM read_text('/etc/passwd') UNION ALL SELECT content FROM x) FROM x",
  "SELECT 1 UNION ALL SELECT content FROM read_text('/etc/passwd')",
  "SELECT 1 ORDER BY (SELECT max(content) FROM read_text('/etc/passwd'))",
  "SELECT 1 LIMIT (SELECT count(*) FROM read_text('/etc/passwd'))",
  `WITH "x.csv" AS (SELECT 1) FROM "x.csv"`,
  "SELECT * FROM system.main.read_text('/etc/passwd')",
  "FROM 'https://example.com/x.parquet'",
  "FROM 's3://bucket/x.parquet'",
  "SELECT * FROM read_csv('https://example.com/x.csv')",
  "SELECT * FROM read_duckdb('x.db')",
  // writing
  "COPY (SELECT 1) TO 'DIR/out.csv'",
  "COPY (SELECT 1) TO 'PARQUET/out.parquet'",
  "COPY conn TO 'PARQUET/conn/events_conn_x.parquet' (FORMAT parquet)",
  "COPY conn FROM 'x.csv'",
  'COPY FROM DATABASE memory TO temp',
  "EXPORT DATABASE 'PARQUET/x'",
  "IMPORT DATABASE '/etc'",
  "ATTACH 'PARQUET/x.db'",
  "ATTACH ':memory:' AS x",
  'DETACH memory',
  'CREATE TABLE x AS SELECT 1',
  'CREATE TEMP TABLE x AS SELECT 1',
  "CREATE VIEW x AS SELECT * FROM read_text('/etc/passwd')",
  "CREATE MACRO f() AS TABLE SELECT * FROM read_text('/etc/passwd')",
  'CREATE SECRET x (TYPE s3)',
  'INSERT INTO conn VALUES (1)',
  'UPDATE conn SET src_ip = 1',
  'DELETE FROM conn',
  'MERGE INTO conn USING conn AS c ON true WHEN MATCHED THEN DELETE',
  'DROP VIEW conn',
  'ALTER VIEW conn RENAME TO x',
  'TRUNCATE conn',
  'SELECT 1 INTO x',
  "COMMENT ON VIEW conn IS 'x'",
  // settings, extensions, state
  'INSTALL httpfs',
  "FORCE INSTALL httpfs FROM 'http://example.com'",
  'LOAD httpfs',
  'UPDATE EXTENSIONS',
  'SET threads = 8',
  "SET SESSION search_path = 'x'",
  'SET VARIABLE x = 1',
  'RESET memory_limit',
  'PRAGMA database_list',
  'PRAGMA enable_profiling',
  "PRAGMA table_info('conn')",
  'CALL duckdb_settings()',
  'CALL enable_logging()',
  'CHECKPOINT',
  'VACUUM',
  'BEGIN',
  'USE temp',
  'PREPARE x AS SELECT 1',
  'EXECUTE x',
  'DEALLOCATE x',
  // EXPLAIN of what is refused
  "EXPLAIN COPY (SELECT 1) TO 'PARQUET/out.csv'",
  "EXPLAIN ANALYZE COPY (SELECT 1) TO 'PARQUET/out.csv'",
  "/* x */ EXPLAIN -- y\n ANALYZE /* z */ COPY (SELECT 1) TO 'PARQUET/out.csv'",
  'EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1',
  "EXPLAIN ANALYZE SELECT * FROM read_text('/etc/passwd')",
  "EXPLAIN (FORMAT json) COPY (SELECT 1) TO 'PARQUET/out.csv'",
  "EXPLAIN EXPLAIN ANALYZE COPY (SELECT 1) TO 'PARQUET/out.csv'",
  "EXPLAIN ANALYZE SELECT 1; COPY (SELECT 1) TO 'PARQUET/out.csv'",
  // more than one statement, or none
  'SELECT 1; SELECT 2',
  'SELECT 1; DROP VIEW conn',
  "SELECT ';'; SET threads = 8",
  '',
  ' ;; -- nothing',
  "SELECT 1\0; COPY (SELECT 1) TO 'PARQUET/out.csv'",
  // SQL within SQL, and DuckDB's inside
  "FROM query('SELECT 1')",
  "FROM query_table('conn')",
  "FROM query_table(['x.csv'])",
  "SELECT * FROM histogram_values('x.csv', a)",
  "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
  "SELECT json_serialize_plan('FROM ''x.csv''')",
  "SELECT getenv('HOME')",
  "SELECT current_setting('temp_directory')",
  "SELECT getvariable('x')",
  "SELECT nextval('x')",
  "SELECT write_log('x')",
  'SELECT sleep_ms(100000)',
  'SELECT pg_sleep(100)',
  "SELECT __internal_decompress_string('x'::BLOB)",
  'FROM duckdb_secrets()',
  'FROM duckdb_settings()',
  'FROM duckdb_views()',
  'FROM duckdb_temporary_files()',
  'FROM information_schema.tables',
  'FROM pg_catalog.pg_views',
  'FROM main.conn',
  'FROM memory.main.conn',
  'SHOW DATABASES',
  'SHOW VARIABLES',
  'FROM (SHOW DATABASES)',
  'SELECT * FROM conn WHERE src_ip = ?',
  'SELECT $1',
  'PIVOT conn ON src_ip',
]

describe('the guard', () => {
  it.each(REFUSED)('refuses %j', async (written) => {
    const sql = written.replaceAll('PARQUET', fixture.parquetDir).replaceAll('DIR', fixture.dir)
    const before = everything()
    const error: unknown = await ask(dataset, sql).then(
      (answer) => answer.text,
      (e: unknown) => e,
    )
    // A CTE or SELECT that DuckDB's parser does not know at all is a mistake rather than an attempt.
    expect(error).toMatchObject({
      code: expect.stringMatching(/^query_(refused|failed)$/),
      message: expect.any(String),
    })
    if (!/INTO x$|^FORCE|^DEALLOCATE|^COPY FROM DATABASE/.test(sql))
      expect(error).toMatchObject({
        code: 'query_refused',
        message: expect.stringContaining('Allowed is one statement'),
      })
    expect(String(error)).not.toContain(SECRET)
    expect(everything()).toEqual(before)
  })

  it.each(QUERY_FORMATS)('refuses the same when the answer is %s', async (format) => {
    const before = everything()
    for (const sql of [
      "COPY (SELECT 1) TO 'x.csv'",
      "FROM '/etc/passwd'",
      'SELECT 1; SELECT 2',
      "SELECT 1) TO '/tmp/x.csv' (FORMAT csv); --",
      "SELECT 1 FROM (VALUES (1)) t(a)) TO 'x'; SELECT (1",
    ])
      await expect(ask(dataset, sql, { format })).rejects.toMatchObject({
        code: expect.stringMatching(/^query_(refused|failed)$/),
      })
    expect(everything()).toEqual(before)
  })

  it.each([
    'SELECT 1',
    'SELECT 1;',
    ' ; SELECT 1 ; -- the end; really',
    '/* a */ SELECT 1 /* ; */ ;',
    'FROM conn',
    'TABLE conn',
    'VALUES (1), (2)',
    'WITH x AS (SELECT 1 AS a), y AS (FROM x) SELECT * FROM y, conn',
    'WITH conn AS (SELECT 5 AS five) SELECT five FROM conn',
    'WITH RECURSIVE t AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM t WHERE x < 3) FROM t',
    'WITH x AS MATERIALIZED (SELECT 1) FROM x',
    'SELECT src_ip, count(*) FROM conn GROUP BY src_ip HAVING count(*) > 0 QUALIFY row_number() OVER () = 1 ORDER BY ALL',
    "SELECT list_transform(['a'], lambda x: x || 'b')",
    'SELECT * EXCLUDE (hour) FROM conn c JOIN dns d USING (event_id)',
    'SELECT * FROM conn ASOF JOIN dns USING (event_id, event_time)',
    'SELECT * FROM (PIVOT conn ON dst_port IN (443) USING count(*))',
    'SELECT unnest([1, 2])',
    "SELECT * FROM range(3), unnest(['a']) AS u, generate_series(1, 2)",
    `SELECT * FROM json_each('{"a": 1}')`,
    "SELECT regexp_extract('a', 'a'), now() IS NOT NULL, current_date IS NOT NULL",
    "SELECT '/etc/passwd' AS text, 'read_text(1); DROP' AS more",
    'SELECT 1 AS "x.y/z"',
    'DESCRIBE conn',
    'DESCRIBE SELECT 1',
    'SHOW conn',
    'SHOW TABLES',
    'SHOW ALL TABLES',
    'SUMMARIZE conn',
    'FROM (DESCRIBE conn)',
  ])('lets %j run, in every format', async (sql) => {
    for (const format of QUERY_FORMATS)
      await expect(ask(dataset, sql, { format })).resolves.toMatchObject({ closed: false })
  })

  it.each([
    'EXPLAIN SELECT 1',
    'explain analyze FROM conn;',
    '-- c\nEXPLAIN /* x */ (SELECT 1)',
    'EXPLAIN DESCRIBE conn',
  ])('lets %j run', async (sql) => {
    await expect(ask(dataset, sql, { format: 'table' })).resolves.toMatchObject({ rows: 1 })
  })

  it('says where the refused part stands, in characters', async () => {
    await expect(ask(dataset, "SELECT 'äö€😀',\n  getenv('HOME')")).rejects.toMatchObject({
      message: expect.stringContaining('getenv() (line 2, column 3)'),
    })
  })

  it('says which tables there are when one does not exist', async () => {
    await expect(ask(dataset, 'FROM con')).rejects.toMatchObject({
      code: 'query_failed',
      message: expect.stringMatching(
        /no table "con" \(line 1, column 6\); the tables are: conn, dns, employees, computers, watched_traffic, events$/,
      ),
    })
  })

  it('passes on what DuckDB finds wrong, with its mark and without paths of this host', async () => {
    const syntax = ask(dataset, "SELECT 'äö€😀' src_ip FRM conn WHERE")
    await expect(syntax).rejects.toMatchObject({
      code: 'query_failed',
      message: expect.stringMatching(/not valid SQL: syntax error.*line 1, column 22/),
    })
    const binding = ask(dataset, 'SELECT nope FROM conn')
    await expect(binding).rejects.toMatchObject({
      code: 'query_failed',
      message: expect.stringMatching(/"nope" not found[\s\S]*LINE 1: SELECT nope FROM conn\n\s*\^/),
    })
    await expect(binding).rejects.not.toMatchObject({ message: expect.stringContaining(fixture.dir) })
  })

  it.each([
    ['parentheses', `SELECT ${'('.repeat(50_000)}1${')'.repeat(50_000)}`],
    ['terms', `SELECT ${'1+'.repeat(90_000)}1`],
    ['lists', `SELECT ${'['.repeat(50_000)}1${']'.repeat(50_000)}`],
    ['subqueries', `${'SELECT * FROM ('.repeat(9_000)}SELECT 1${')'.repeat(9_000)}`],
    ['SELECTs', `SELECT 1${' UNION SELECT 1'.repeat(10_000)}`],
    ['characters', `SELECT '${'x'.repeat(300_000)}'`],
  ])('survives a query of too many %s', async (_name, sql) => {
    await expect(ask(dataset, sql)).rejects.toMatchObject({ code: expect.stringMatching(/^query_(refused|failed)$/) })
  })

  it('takes a long list of values', async () => {
    const addresses = Array.from({ length: 5000 }, (_, i) => `'10.0.${i >> 8}.${i & 255}'`)
    await expect(ask(dataset, `SELECT * FROM conn WHERE src_ip IN (${addresses.join(', ')})`)).resolves.toMatchObject({
      rows: 2,
    })
  })
})

describe('the locked DuckDB, should the guard let something through,', () => {
  it.each([
    "FROM read_text('/etc/passwd')",
    "FROM read_text('DIR/secret.txt')",
    "FROM read_text('PARQUET/../secret.txt')",
    "FROM read_text('PARQUET/linked/x.csv')",
    "FROM glob('/etc/*')",
    "COPY (SELECT 1) TO 'DIR/out.csv'",
    "ATTACH 'DIR/x.db'",
    'INSTALL httpfs',
    'LOAD httpfs',
    'SET threads = 8',
    "SET allowed_directories = ['/']",
    'SET enable_external_access = true',
    'SET lock_configuration = false',
    'RESET memory_limit',
    "SET TimeZone = 'Asia/Tokyo'",
    "FROM 'https://example.com/x.csv'",
    "FROM 's3://bucket/x.parquet'",
  ])('refuses %j', async (written) => {
    const connection = await dataset.connect()
    const sql = written.replaceAll('PARQUET', fixture.parquetDir).replaceAll('DIR', fixture.dir)
    await expect(connection.runAndReadAll(sql)).rejects.toThrow(
      /Permission|Cannot change|locked|disabled|not allowed|Cannot access/i,
    )
    connection.closeSync()
  })
})

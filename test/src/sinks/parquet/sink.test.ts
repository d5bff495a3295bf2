import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { declaredTables } from '../../../../src/sinks/parquet/columns.ts'
import { openParquetSink } from '../../../../src/sinks/parquet/sink.ts'
import { expectedRow } from './agreement.ts'
import { CAPTURE, chunkOf, INGEST_MS, LOCAL_NETWORKS, query, readRows, scratchDir, writeChunks } from './harness.ts'

const HOUR = Date.UTC(2026, 0, 1) / 1000
const conn = (ts: number | string, n = 0) =>
  `{"ts":${ts},"uid":"C${n}","id.orig_h":"10.0.0.1","id.orig_p":${n % 65536},"id.resp_h":"8.8.8.8","id.resp_p":53,"proto":"udp","orig_bytes":${n}}`
const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => conn(HOUR + i / 1000, from + i))

async function treeOf(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .sort()
}

describe('the staged files', () => {
  it('lie in the hour of their events in UTC, under names that the commit id makes unique, and are all that is left', async () => {
    const dir = await scratchDir()
    const lines = [conn(HOUR + 3599.999999), conn(HOUR + 3600), conn(HOUR + 86400 * 31 + 3 * 3600)]
    const { result, stagingDir } = await writeChunks([await chunkOf(dir, 'conn', lines)])
    expect(result.files.map(({ path, rows, logType }) => [path, rows, logType])).toEqual([
      ['conn/year=2026/month=01/day=01/hour=00/events_conn_commit1-0_0.parquet', 1, 'conn'],
      ['conn/year=2026/month=01/day=01/hour=01/events_conn_commit1-0_0.parquet', 1, 'conn'],
      ['conn/year=2026/month=02/day=01/hour=03/events_conn_commit1-0_0.parquet', 1, 'conn'],
    ])
    expect(await treeOf(stagingDir)).toEqual(result.files.map(({ path }) => path))
    for (const { path, bytes } of result.files) expect((await readFile(join(stagingDir, path))).length).toBe(bytes)
  })

  it('begin with the prefix that is set', async () => {
    const chunks = [await chunkOf(await scratchDir(), 'conn', [conn(HOUR)])]
    const { result } = await writeChunks(chunks, { filePrefix: 'site-a' })
    expect(result.files[0]?.path).toMatch(
      /^conn\/year=2026\/month=01\/day=01\/hour=00\/site-a_conn_commit1-[\w-]+\.parquet$/,
    )
  })

  it('are Zstandard, and keep the partition out of their columns', async () => {
    const { result, stagingDir } = await writeChunks([await chunkOf(await scratchDir(), 'conn', numbered(10))])
    const file = join(stagingDir, result.files[0]?.path as string)
    expect(await query(`SELECT DISTINCT compression FROM parquet_metadata('${file}')`)).toEqual([
      { compression: 'ZSTD' },
    ])
    const columns = await query(`DESCRIBE SELECT * FROM read_parquet('${file}', hive_partitioning = false)`)
    expect(columns.map(({ column_name }) => column_name)).not.toContain('hour')
  })

  it('have the declared columns in their order for every log type', { timeout: 120_000 }, async () => {
    const tables = await declaredTables({})
    expect(tables.length).toBeGreaterThan(70)
    const dir = await scratchDir()
    const { result, stagingDir } = await writeChunks(
      await Promise.all(tables.map(({ name }) => chunkOf(dir, name, ['{}']))),
    )
    for (const { name, columns } of tables) {
      const path = result.files.find(({ logType }) => logType === name)?.path as string
      const found = await query(
        `DESCRIBE SELECT * FROM read_parquet('${join(stagingDir, path)}', hive_partitioning = false)`,
      )
      expect(
        found.map(({ column_name, column_type }) => ({ name: column_name, type: column_type })),
        name,
      ).toEqual(columns)
    }
  })

  it('hold rows without a usable time, and of hours beyond the fullest, in 1970-01-01 hour 00', async () => {
    const scattered = Array.from({ length: 200 }, (_, i) => conn(HOUR + 3600 * i, i))
    const lines = [...scattered, ...scattered.slice(0, 50), '{"uid":"CX"}', conn(-5), conn('"x"'), conn(9e9)]
    const { result, stagingDir } = await writeChunks([await chunkOf(await scratchDir(), 'conn', lines)], {
      maxHours: 50,
    })
    expect(result.files).toHaveLength(51)
    const first = result.files[0]
    expect(first?.path).toMatch(/^conn\/year=1970\/month=01\/day=01\/hour=00\//)
    expect(first?.rows).toBe(150 + 4)
    const rows = await readRows(stagingDir, result, 'conn')
    expect(rows.map(({ extra: _, ...row }) => row)).toEqual(
      lines.map((line, i) => expectedRow('conn', JSON.parse(line), i)),
    )
  })

  it('are as many as there are hours, within a small memory', { timeout: 120_000 }, async () => {
    const lines = Array.from({ length: 10_000 }, (_, i) => conn(HOUR + 3600 * (i % 150), i))
    const { result, stagingDir } = await writeChunks([await chunkOf(await scratchDir(), 'conn', lines)], {
      memoryLimit: '150MB',
    })
    expect(result.files).toHaveLength(150)
    expect((await readRows(stagingDir, result, 'conn')).map((row) => row.flow_id)).toEqual(lines.map((_, i) => `C${i}`))
  })
})

describe('event ids', () => {
  it('follow the order of the lines whatever the number of threads, over chunks, captures and buffers', {
    timeout: 120_000,
  }, async () => {
    const dir = await scratchDir()
    const other = 'beef'.padEnd(64, '0')
    // The second chunk is longer than any buffer that reads it; the third is of another capture, the fourth comes first.
    const chunks = [
      await chunkOf(dir, 'conn', numbered(3000, 5000), { firstOrdinal: 5000 }),
      await chunkOf(dir, 'conn', numbered(90_000, 8000), { firstOrdinal: 8000 }),
      await chunkOf(dir, 'conn', numbered(10, 0), { captureId: other, source: "it's another" }),
      await chunkOf(dir, 'conn', numbered(5000), { firstOrdinal: 0, lastNewline: false }),
    ]
    for (const threads of [1, 3]) {
      const { result, stagingDir } = await writeChunks(chunks, { threads, groupBytes: 2 ** 30 })
      expect(result.chunks.map(({ rows }) => rows)).toEqual([3000, 90_000, 10, 5000])
      const list = result.files.map(({ path }) => `'${join(stagingDir, path)}'`).join(', ')
      const rows = await query(`SELECT event_id, flow_id, capture_id, source FROM read_parquet([${list}])`)
      const wrong = rows.filter(({ event_id, flow_id, capture_id, source }) => {
        const isOther = capture_id === other
        return (
          event_id !== `${(isOther ? other : CAPTURE).slice(0, 24)}-conn-${String(flow_id).slice(1)}` ||
          source !== (isOther ? "it's another" : 'lab')
        )
      })
      expect(wrong).toEqual([])
      expect(rows).toHaveLength(98_010)
    }
  })

  it('are right where an hour is a statement of its own, over chunks that hold two hours and lines that are no record', async () => {
    const dir = await scratchDir()
    const lines = Array.from({ length: 100_000 }, (_, i) => (i % 1000 === 7 ? 'x' : conn(HOUR + i * 0.072, i)))
    const parts = [lines.slice(0, 30_000), lines.slice(30_000, 70_000), lines.slice(70_000)]
    const firsts = [0, 30_000, 70_000]
    const chunks = await Promise.all(
      parts.map((part, i) => chunkOf(dir, 'conn', part, { firstOrdinal: firsts[i] as number })),
    )
    const { result, stagingDir } = await writeChunks(chunks)
    expect(result.files.map(({ path, rows }) => [path.slice(5, 39), rows])).toEqual([
      ['year=2026/month=01/day=01/hour=00/', 49_950],
      ['year=2026/month=01/day=01/hour=01/', 49_950],
    ])
    const list = result.files.map(({ path }) => `'${join(stagingDir, path)}'`).join(', ')
    const [row] = await query(`SELECT count(*) AS n, count(DISTINCT event_id) AS ids,
      count(*) FILTER (event_id = 'c0ffee000000000000000000-conn-' || flow_id[2:]) AS right_ids FROM read_parquet([${list}])`)
    expect(row).toEqual({ n: 99_900, ids: 99_900, right_ids: 99_900 })
  })

  it('are the same when a request is repeated in other groups', async () => {
    const dir = await scratchDir()
    const chunks = await Promise.all(
      [0, 1, 2, 3].map((i) => chunkOf(dir, 'conn', numbered(100, i * 100), { firstOrdinal: i * 100 })),
    )
    const once = await writeChunks(chunks)
    const again = await writeChunks(chunks, { groupBytes: 1 })
    expect(once.result.files).toHaveLength(1)
    expect(again.result.files).toHaveLength(4)
    expect(await readRows(again.stagingDir, again.result, 'conn')).toEqual(
      await readRows(once.stagingDir, once.result, 'conn'),
    )
  })
})

describe('a log type', () => {
  it('that the rules do not know becomes a table with what is common to all', async () => {
    const line =
      '{"ts":1767225600.5,"uid":"C1","id.orig_h":"10.0.0.1","id.orig_p":1,"id.resp_h":"8.8.8.8","id.resp_p":2,"proto":"tcp","spell":"x","n":[1]}'
    const { result, stagingDir } = await writeChunks([await chunkOf(await scratchDir(), 'my_protocol', [line])])
    const [row] = await readRows(stagingDir, result, 'my_protocol')
    expect(row).toEqual({ ...expectedRow('my_protocol', JSON.parse(line), 0), extra: '{"spell":"x","n":[1]}' })
    expect(row).toMatchObject({ event_type: 'my_protocol', event_class: 'other', direction: 'outbound' })
  })

  it('whose raw names are taken keeps them with a prefix', async () => {
    const line = '{"ts":1,"fuid":"F1","source":"HTTP","conn_uids":["C1"]}'
    const { result, stagingDir } = await writeChunks([await chunkOf(await scratchDir(), 'files', [line])])
    expect(await readRows(stagingDir, result, 'files')).toMatchObject([
      { source: 'lab', zeek_source: 'HTTP', flow_id: 'F1' },
    ])
  })

  it('without a uid takes the flow id from its list, and keeps the list', async () => {
    const lines = [
      '{"ts":1,"uids":["C1","C2"]}',
      '{"ts":2,"uids":["C1"],"uid":"C9"}',
      '{"ts":3,"uids":[]}',
      '{"ts":4,"uids":[null]}',
    ]
    const { result, stagingDir } = await writeChunks([await chunkOf(await scratchDir(), 'dhcp', lines)])
    const rows = await readRows(stagingDir, result, 'dhcp')
    expect(rows.map((row) => [row.flow_id, row.uids])).toEqual([
      ['C1', ['C1', 'C2']],
      ['C9', ['C1']],
      [undefined, []],
      [undefined, [null]],
    ])
    expect(rows).toEqual(lines.map((line, i) => expectedRow('dhcp', JSON.parse(line), i)))
  })

  it('follows the rules of a site that has its own', async () => {
    const dir = await scratchDir()
    const normalizationFile = join(dir, 'rules.json')
    const schemaFile = join(dir, 'schema.json')
    await writeFile(schemaFile, '{"logs":{"door":{"when":"time","badge":"string","from":"addr"}}}')
    await writeFile(
      normalizationFile,
      '{"door":{"source":"doors","promote":{"when":"event_time","from":"src_ip","badge":"user_name"},"static":{"event_type":"entry","site":"it\'s here"},"enrich":{"time":false,"network":true}}}',
    )
    const { result, stagingDir } = await writeChunks(
      [await chunkOf(dir, 'door', ['{"when":7200,"badge":"b","from":"192.168.1.1"}'])],
      { normalizationFile, schemaFile },
    )
    const [{ event_id: _, ...row } = {}] = await readRows(stagingDir, result, 'door')
    expect(row).toEqual({
      ...{ capture_id: CAPTURE, source: 'lab', ingest_time: INGEST_MS * 1000 },
      ...{
        event_time: 7_200_000_000,
        src_ip: '192.168.1.1',
        user_name: 'b',
        event_type: 'entry',
        site: "it's here",
        src_ip_is_private: true,
      },
    })
  })
})

describe('a request', () => {
  it('is refused when a chunk file is not what was handed over', async () => {
    const chunk = await chunkOf(await scratchDir(), 'conn', numbered(3))
    await expect(writeChunks([{ ...chunk, lines: 4 }])).rejects.toMatchObject({
      code: 'artifact_damaged',
      retryable: false,
    })
    await expect(writeChunks([{ ...chunk, bytes: 4 }])).rejects.toMatchObject({ code: 'artifact_damaged' })
    await expect(writeChunks([{ ...chunk, path: `${chunk.path}x` }])).rejects.toMatchObject({
      code: 'artifact_missing',
    })
  })

  it('is refused when a name in it could leave its place', async () => {
    const chunk = await chunkOf(await scratchDir(), 'conn', numbered(1))
    await expect(writeChunks([{ ...chunk, logType: '../x' }])).rejects.toMatchObject({ code: 'sink_rejected' })
    await expect(writeChunks([{ ...chunk, captureId: "x'" }])).rejects.toMatchObject({ code: 'sink_rejected' })
  })

  it('ends early when it is aborted', async () => {
    const dir = await scratchDir()
    const sink = await openParquetSink({ localNetworks: LOCAL_NETWORKS, threads: 1, memoryLimit: '300MB' })
    const controller = new AbortController()
    const chunks = await Promise.all(
      Array.from({ length: 20 }, (_, i) => chunkOf(dir, 'conn', numbered(5000), { firstOrdinal: i * 5000 })),
    )
    const writing = sink.write({
      chunks,
      stagingDir: await scratchDir(),
      commitId: 'c',
      ingestTimeMs: 0,
      signal: controller.signal,
    })
    setTimeout(() => controller.abort(new Error('shutdown')), 50)
    await expect(writing).rejects.toThrow('shutdown')
  })

  it('of nothing gives nothing', async () => {
    const { result } = await writeChunks([])
    expect(result).toEqual({ files: [], chunks: [] })
  })

  it('reads chunk files whose paths have characters that mean something to DuckDB', async () => {
    const dir = join(await scratchDir(), "a [1] * ? it's {x} %20 é")
    await mkdir(dir)
    const { result, stagingDir } = await writeChunks([await chunkOf(dir, 'conn', numbered(2))])
    expect(await readRows(stagingDir, result, 'conn')).toHaveLength(2)
  })
})

it('networks that are none are refused when the sink is opened', async () => {
  await expect(
    openParquetSink({ localNetworks: ['10.0.0.0/33'], threads: 1, memoryLimit: '300MB' }),
  ).rejects.toMatchObject({ code: 'config_invalid' })
})

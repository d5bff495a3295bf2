import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type CompactParts, compact, groupsToJoin } from '../../../src/dataset/compact.ts'
import { type DatedFile, planJoins } from '../../../src/dataset/compaction-plan.ts'
import { openJoinTools } from '../../../src/dataset/join-files.ts'
import { writeNote } from '../../../src/dataset/join-swap.ts'
import { tryDatasetLock } from '../../../src/dataset/lock.ts'
import { removeCapture } from '../../../src/dataset/remove-capture.ts'
import { openDataset } from '../../../src/query/dataset.ts'
import { createCatalogue } from '../../../src/search/catalogue.ts'
import { readersLock } from '../../../state/shared-lock.ts'
import { openLoader } from '../../support/loaded.ts'
import { type TestBench, testBench } from '../../support/pipeline.ts'
import { rowsOf } from '../query/fixture.ts'

const partsOf = ({ ledger, layout, log }: TestBench): CompactParts => ({
  ...{ ledger, layout, log },
  afterMs: 60_000,
  hasSpace: () => true,
})

const openTables = ({ layout }: TestBench) =>
  openDataset({ parquetDir: layout.parquet, tempDir: layout.cache, memoryMb: 256, threads: 1, tables: [] })

const namesIn = (dir: string) => readdirSync(dir).sort()

type Step = 'begun' | 'noted' | 'renamed' | 'joined' | 'deleted'

/** What a process leaves that is killed behind this step. */
async function cutShortAfter(step: Step, bench: TestBench): Promise<void> {
  const { ledger, layout } = bench
  const sources = ledger.commits.published().map(({ path }) => path)
  const dir = dirname(sources[0] ?? '')
  const id = 'join-0123456789abcdef'
  const path = join(dir, `events_conn_${id}.parquet`)
  const begun = {
    id,
    path,
    staged: join(dir, `.events_conn_${id}.parquet.joining`),
    logType: 'conn',
    committedAt: 0,
    sources,
  }
  const full = (recorded: string) => join(layout.dataDir, recorded)
  ledger.joins.begin(begun)
  const tools = await openJoinTools({ tempDir: layout.cache, memoryLimit: '128MB' })
  const written = await tools.join(sources.map(full), full(begun.staged))
  tools.close()
  if (step === 'begun') return
  writeNote(bench, begun)
  ledger.joins.written(id, written)
  if (step === 'noted') return
  renameSync(full(begun.staged), full(path))
  if (step === 'renamed') return
  ledger.joins.join({ ...begun, ...written, state: 'written' })
  if (step === 'joined') return
  rmSync(full(sources[0] ?? ''))
}

describe('what is joined', () => {
  const file = (name: string, bytes: number, { hour = '08', committedAt = 0 } = {}): DatedFile => ({
    path: `parquet/conn/year=2026/month=03/day=05/hour=${hour}/events_conn_${name}.parquet`,
    ...{ logType: 'conn', rows: 1, bytes, committedAt },
  })
  const now = Date.UTC(2026, 2, 5, 10, 0)
  const plan = (files: DatedFile[], afterMs = 3_600_000) => planJoins(files, { afterMs, now })

  it('small files of one closed hour, in the order in which they were loaded', () => {
    const [group, ...others] = plan([
      file('b', 10, { committedAt: 2 }),
      file('a', 12, { committedAt: 3 }),
      file('c', 9),
    ])
    expect(others).toEqual([])
    expect(group?.files.map(({ path }) => path.slice(-9, -8))).toEqual(['c', 'b', 'a'])
  })

  it('no file of an hour that is open or was closed lately, and none that came lately', () => {
    expect(plan([file('a', 10, { hour: '09' }), file('b', 10, { hour: '09' })])).toEqual([])
    expect(plan([file('a', 10, { committedAt: now - 1000 }), file('b', 10)])).toEqual([])
  })

  it('no large file with small ones, so that its rows are not written anew for each of them', () => {
    const groups = plan([file('large', 5_000_000), file('a', 1000), file('b', 1000), file('c', 1000)])
    expect(groups.map(({ files }) => files.length)).toEqual([3])
    expect(plan([file('huge', 40 * 2 ** 20), file('a', 30 * 2 ** 20)])).toEqual([])
  })

  it('many small files one after another are written a few times each, not once for each that comes', () => {
    let [files, written] = [[] as DatedFile[], 0]
    for (let i = 0; i < 1000; i++) {
      files.push(file(`${i}`, 1000))
      for (const group of plan(files)) {
        const bytes = group.files.reduce((sum, each) => sum + each.bytes, 0)
        files = [...files.filter((each) => !group.files.includes(each)), file(`joined-${i}`, bytes)]
        written += bytes
      }
    }
    expect(files.length).toBeLessThan(12)
    expect(written).toBeLessThan(12 * 1000 * 1000)
  })
})

describe('compaction', () => {
  it('joins small files with their rows as they are; ids, order and columns stay', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    const ids = [
      await loader.load('a'),
      await loader.load('b', { rows: 5, column: 'more BIGINT' }),
      await loader.load('c'),
    ]
    await using dataset = await openTables(bench)
    const select = 'select capture_id, event_id, event_time, more from conn order by event_id'
    const before = await rowsOf(dataset, select)
    expect(await compact(partsOf(bench))).toMatchObject({ joined: 3, into: 1, rows: 11, postponed: 0 })
    expect(await rowsOf(dataset, select)).toEqual(before)
    const [file] = bench.ledger.commits.published()
    expect(bench.ledger.commits.published()).toHaveLength(1)
    expect(namesIn(join(bench.layout.dataDir, dirname(file?.path ?? '')))).toEqual([file?.path.split('/').at(-1)])
    for (const id of ids) expect(bench.ledger.receipt(id).balanced).toBe(true)
    expect(groupsToJoin(partsOf(bench))).toEqual([])
    expect(bench.ledger.joins.open()).toEqual([])
  })

  it('leaves columns of one name and two types in files of their own', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    for (const name of ['a', 'b']) await loader.load(name, { column: 'x BIGINT' })
    for (const name of ['c', 'd']) await loader.load(name, { column: 'x VARCHAR' })
    expect(await compact(partsOf(bench))).toMatchObject({ joined: 4, into: 2, postponed: 0 })
    expect(await loader.count()).toEqual({ rows: 12, ids: 12 })
  })

  it('a capture can be forgotten out of a joined file, and what was joined can be joined again', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    const [a, b] = [await loader.load('a'), await loader.load('b')]
    await compact(partsOf(bench))
    await loader.load('c', { rows: 40 })
    await loader.load('d', { rows: 40 })
    await compact(partsOf(bench))
    expect(bench.ledger.commits.published()).toHaveLength(1)
    const recover = async () => {}
    await removeCapture({ ...bench, recover }, bench.ledger.captures.resolve(a), 'forgetting')
    await using dataset = await openTables(bench)
    expect(
      await rowsOf(dataset, `select count(*)::int as n, count(*) filter (capture_id = '${a}')::int as gone from conn`),
    ).toEqual([{ n: 83, gone: 0 }])
    expect(bench.ledger.receipt(b).balanced).toBe(true)
    expect(bench.ledger.commits.published()[0]?.rows).toBe(83)
  })

  it('a file that cannot be read stays, and so do the others beside it', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    await loader.load('a')
    await loader.load('b')
    const [{ path } = { path: '' }] = bench.ledger.commits.published()
    writeFileSync(join(bench.layout.dataDir, path), 'PAR1 damaged PAR1')
    expect(await compact(partsOf(bench))).toMatchObject({ joined: 0, postponed: 1 })
    expect(bench.ledger.commits.published()).toHaveLength(2)
    expect(bench.ledger.joins.open()).toEqual([])
    expect(bench.log.lines.join()).toMatch(/could not be joined; they stay as they are/)
  })

  it('cut short at any step, it is finished or undone, and folder and books tell of every row once', async () => {
    for (const step of ['begun', 'noted', 'renamed', 'joined', 'deleted'] as const) {
      const bench = testBench()
      await using loader = await openLoader(bench)
      for (const name of ['a', 'b', 'c']) await loader.load(name)
      await using dataset = await openTables(bench)
      await cutShortAfter(step, bench)
      const look = async () => {
        const [row] = (await rowsOf(dataset, 'select count(*)::int as n from conn')) as [{ n: number }]
        const files = await createCatalogue(bench.ledger, bench.layout, dataset).files(['conn'], {})
        return [row.n, files.reduce((sum, { rows }) => sum + (rows ?? Number.NaN), 0)]
      }
      expect(await look(), step).toEqual([9, 9])
      using _lock = tryDatasetLock(bench)
      expect(await look(), step).toEqual([9, 9])
      expect(bench.ledger.joins.open()).toEqual([])
      const published = bench.ledger.commits.published().map(({ path }) => path)
      const dir = join(bench.layout.dataDir, dirname(published[0] ?? ''))
      expect(namesIn(dir), step).toEqual(published.map((path) => path.split('/').at(-1)).sort())
      expect(published).toHaveLength(step === 'begun' || step === 'noted' ? 3 : 1)
    }
  })

  it('waits for queries that run, and changes nothing when they leave it no moment', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    await loader.load('a')
    await loader.load('b')
    const before = bench.ledger.commits.published()
    const stop = new AbortController()
    {
      using _reading = readersLock(bench.layout.cache).share()
      setTimeout(() => stop.abort(), 1000)
      expect(await compact(partsOf(bench), stop.signal)).toMatchObject({ joined: 0, postponed: 1 })
    }
    expect(bench.ledger.commits.published()).toEqual(before)
    for (const { path } of before) expect(existsSync(join(bench.layout.dataDir, path))).toBe(true)
    expect(await loader.count()).toEqual({ rows: 6, ids: 6 })
  })
})

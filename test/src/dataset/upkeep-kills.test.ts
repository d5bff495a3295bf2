import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { planJoins } from '../../../src/dataset/compaction-plan.ts'
import { tryDatasetLock } from '../../../src/dataset/lock.ts'
import { finishLeaving } from '../../../src/dataset/retention.ts'
import { openDataset } from '../../../src/query/dataset.ts'
import { createCatalogue } from '../../../src/search/catalogue.ts'
import { openLoader } from '../../support/loaded.ts'
import { randomFrom } from '../../support/mutate.ts'
import { type TestBench, testBench } from '../../support/pipeline.ts'
import { rowsOf } from '../query/fixture.ts'

const PROCESS = join(import.meta.dirname, '../../support/upkeep-process.ts')
const HOURS = ['2026-03-01 08', '2026-03-01 09', '2026-03-02 00']

async function start({ layout }: TestBench, what: 'compact' | 'retain'): Promise<ChildProcess> {
  const child = spawn(process.execPath, [PROCESS, layout.dataDir, what], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout as NodeJS.ReadableStream, 'data')
  return child
}

async function load(bench: TestBench, captures: number) {
  const loader = await openLoader(bench)
  const ids: string[] = []
  for (let i = 0; i < captures; i++) {
    const type = i % 2 === 0 ? 'conn' : 'dns'
    ids.push(await loader.load(`capture-${i}`, { hour: HOURS[i % 3] as string, rows: 3 + (i % 5), type }))
  }
  return { loader, ids }
}

const openTables = ({ layout }: TestBench) =>
  openDataset({ parquetDir: layout.parquet, tempDir: layout.cache, memoryMb: 256, threads: 1, tables: [] })

/** As the folders have them, and as the books do. */
async function counts({ ledger, layout }: TestBench, dataset: Awaited<ReturnType<typeof openTables>>) {
  const [row] = (await rowsOf(
    dataset,
    'select count(*)::int as rows, count(distinct event_id)::int as ids from events',
  )) as [{ rows: number; ids: number }]
  const catalogue = createCatalogue(ledger, layout, dataset)
  const files = await catalogue.files(await catalogue.types(), {})
  return { ...row, inBooks: files.reduce((sum, { rows }) => sum + (rows ?? Number.NaN), 0) }
}

function filesBelow(dir: string): string[] {
  if (!existsSync(dir)) return []
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
}

it('compaction killed at random instants loses no row and doubles none, at no time', async () => {
  const bench = testBench()
  const { loader, ids } = await load(bench, 60)
  await using _loader = loader
  await using dataset = await openTables(bench)
  const before = await counts(bench, dataset)
  expect(before.rows).toBe(before.ids)
  expect(before.inBooks).toBe(before.rows)
  const random = randomFrom(11)
  for (let kill = 0; kill < 12; kill++) {
    const child = await start(bench, 'compact')
    await new Promise((resolve) => setTimeout(resolve, random(700)))
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    // Before anything has tidied up.
    expect(await counts(bench, dataset)).toEqual(before)
  }
  const last = await start(bench, 'compact')
  await once(last, 'exit')
  expect(await counts(bench, dataset)).toEqual(before)
  const published = bench.ledger.commits.publishedWithTime()
  expect(planJoins(published, { afterMs: 60_000, now: Date.now() })).toEqual([])
  expect(published).toHaveLength(6)
  expect(filesBelow(bench.layout.parquet).sort()).toEqual(published.map(({ path }) => path.split('/').at(-1)).sort())
  expect(bench.ledger.joins.open()).toEqual([])
  for (const id of ids) expect(bench.ledger.receipt(id).balanced).toBe(true)
}, 120_000)

it('queries that run all the time see the same rows while files are joined, and none fails', async () => {
  const bench = testBench()
  const { loader } = await load(bench, 60)
  await using _loader = loader
  await using dataset = await openTables(bench)
  const before = await counts(bench, dataset)
  const child = await start(bench, 'compact')
  let looks = 0
  while (child.exitCode === null) {
    expect(await counts(bench, dataset)).toEqual(before)
    looks++
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  expect(looks).toBeGreaterThan(3)
  expect(bench.ledger.commits.published()).toHaveLength(6)
  expect(await counts(bench, dataset)).toEqual(before)
}, 120_000)

it('retention killed at random instants leaves receipts that balance, and nothing that is in no book', async () => {
  const bench = testBench()
  const { loader, ids } = await load(bench, 60)
  await using _loader = loader
  const random = randomFrom(5)
  for (let kill = 0; kill < 12; kill++) {
    const child = await start(bench, 'retain')
    await new Promise((resolve) => setTimeout(resolve, random(150)))
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    for (const id of ids) expect(bench.ledger.receipt(id)).toMatchObject({ balanced: true })
  }
  using _lock = tryDatasetLock(bench)
  await finishLeaving(bench)
  const left = bench.ledger.commits.published()
  expect(filesBelow(bench.layout.parquet).sort()).toEqual(left.map(({ path }) => path.split('/').at(-1)).sort())
  const stored = bench.ledger.captures.list().filter(({ fileRemovedAt }) => fileRemovedAt === null)
  expect(filesBelow(bench.layout.captures).sort()).toEqual(stored.map(({ id }) => `${id}.pcap`).sort())
  const receipts = ids.map((id) => bench.ledger.receipt(id).total)
  const rows = receipts.reduce((sum, total) => sum + total.rows, 0)
  expect(rows).toBe(left.reduce((sum, file) => sum + file.rows, 0))
}, 120_000)

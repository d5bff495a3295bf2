import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { receiptText } from '../../../src/cli/receipt-text.ts'
import { checkRemoval, removeCapture } from '../../../src/dataset/remove-capture.ts'
import { applyRetention, finishLeaving } from '../../../src/dataset/retention.ts'
import { planRetention, type RetentionLimits } from '../../../src/dataset/retention-plan.ts'
import { openLoader } from '../../support/loaded.ts'
import { type TestBench, testBench } from '../../support/pipeline.ts'

const OFF = { maxBytes: 0, maxAgeMs: 0 }
const DAY = 86_400_000
const NOW = Date.UTC(2026, 2, 10)

function plan(bench: TestBench, limits: Partial<RetentionLimits>, budgetBytes = 0) {
  const all = { captures: OFF, parquet: OFF, quarantine: OFF, ...limits }
  return planRetention({ ...bench, limits: all }, { budgetBytes, now: NOW })
}

describe('captures', () => {
  it('older than the limit lose their file; their rows and a receipt that says so remain', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    const [old, fresh] = [await loader.load('old'), await loader.load('new', { at: NOW })]
    const chosen = await plan(bench, { captures: { maxBytes: 0, maxAgeMs: DAY } })
    expect(chosen).toMatchObject({ captures: [{ id: old, why: 'age' }], files: [], quarantine: [] })
    expect(await applyRetention(bench, chosen)).toMatchObject({ captures: 1, rows: 0 })
    expect(readdirSync(bench.layout.captures)).toEqual([`${fresh}.pcap`])
    expect(await loader.count()).toEqual({ rows: 6, ids: 6 })
    const receipt = bench.ledger.receipt(old)
    expect(receipt.balanced).toBe(true)
    expect(receiptText(receipt)).toMatch(/stored {4}no more: the file was removed by retention on/)
  })

  it('beyond the size go oldest first, those that failed last, and none that is in work', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    const ids: string[] = []
    for (const [at, name] of ['a', 'b', 'c', 'd'].entries()) ids.push(await loader.load(name, { at, fileBytes: 8192 }))
    bench.ledger.captures.setState(ids[0] as string, 'accepted')
    bench.ledger.captures.setState(ids[1] as string, 'failed')
    const { captures } = await plan(bench, { captures: { maxBytes: 16_384, maxAgeMs: 0 } })
    expect(captures.map(({ name, why }) => [name, why])).toEqual([
      ['c', 'size'],
      ['d', 'size'],
    ])
  })

  it('one that came into work since the plan keeps its file', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    const id = await loader.load('a')
    const chosen = await plan(bench, { captures: { maxBytes: 0, maxAgeMs: DAY } })
    bench.ledger.captures.setState(id, 'reprocessing')
    expect(await applyRetention(bench, chosen)).toMatchObject({ captures: 0 })
    expect(existsSync(join(bench.layout.captures, `${id}.pcap`))).toBe(true)
  })

  it('without its file a capture cannot be converted again, but forgotten; once it came again its time begins anew', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    const id = await loader.load('a')
    await applyRetention(bench, await plan(bench, { captures: { maxBytes: 0, maxAgeMs: DAY } }))
    const capture = bench.ledger.captures.resolve(id)
    expect(() => checkRemoval(capture, 'reprocessing')).toThrow(/removed by retention, so it cannot be converted again/)
    bench.ledger.captures.markFileStored(id, NOW)
    expect((await plan(bench, { captures: { maxBytes: 0, maxAgeMs: DAY } })).captures).toEqual([])
    await removeCapture({ ...bench, recover: async () => {} }, capture, 'forgetting')
    expect(bench.ledger.captures.get(id)).toBeUndefined()
  })
})

describe('rows', () => {
  it('of old hours go, and every receipt still balances and tells how many', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    const id = await loader.load('a', { hour: '2026-03-01 08', rows: 7 })
    await loader.load('a', { hour: '2026-03-09 23', rows: 2 })
    const chosen = await plan(bench, { parquet: { maxBytes: 0, maxAgeMs: 2 * DAY } })
    expect(await applyRetention(bench, chosen)).toMatchObject({ files: 1, rows: 7 })
    expect(await loader.count()).toEqual({ rows: 2, ids: 2 })
    const receipt = bench.ledger.receipt(id)
    expect(receipt).toMatchObject({ balanced: true, total: { records: 9, rows: 2, removed: 7 } })
    expect(receiptText(receipt)).toMatch(/9 made = 2 rows \+ 0 in quarantine \+ 7 removed by retention/)
    expect(bench.ledger.overview.rows([id]).get(id)).toEqual({ rows: 2, quarantined: 0 })
    expect(readdirSync(join(bench.layout.parquet, 'conn/year=2026/month=03'))).toEqual(['day=09'])
  })

  it('of an old capture that came lately stay as long as any', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    await loader.load('a', { hour: '2011-03-01 08', at: NOW - DAY })
    expect((await plan(bench, { parquet: { maxBytes: 0, maxAgeMs: 2 * DAY } })).files).toEqual([])
  })

  it('of a file that cannot be read stay, for nobody can tell whose they are', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    await loader.load('a')
    const [{ path } = { path: '' }] = bench.ledger.commits.published()
    writeFileSync(join(bench.layout.dataDir, path), 'PAR1 damaged PAR1')
    const chosen = await plan(bench, { parquet: { maxBytes: 0, maxAgeMs: DAY } })
    expect(await applyRetention(bench, chosen)).toMatchObject({ files: 0 })
    expect(bench.ledger.commits.published()).toHaveLength(1)
    expect(bench.log.lines.join()).toMatch(/it is not known whose rows are in it/)
  })
})

describe('the budget', () => {
  it('takes captures first, then quarantine, then rows of the oldest hours', async () => {
    const bench = testBench()
    await using loader = await openLoader(bench)
    await loader.load('a', { hour: '2026-03-02 08', fileBytes: 10_000 })
    await loader.load('b', { hour: '2026-03-01 08', fileBytes: 10_000, at: 1 })
    const refused = join(bench.layout.quarantine, 'refused')
    writeFileSync(refused, Buffer.alloc(8192, 1))
    const names = async (bytes: number) => {
      const { captures, quarantine, files } = await plan(bench, {}, bytes)
      return [captures.map(({ name }) => name), quarantine.length, files.map(({ path }) => path.slice(-22, -17))]
    }
    expect(await names(1)).toEqual([['a'], 0, []])
    expect(await names(20_000)).toEqual([['a', 'b'], 0, []])
    expect(await names(20_001)).toEqual([['a', 'b'], 1, []])
    const all = await plan(bench, {}, 30_000)
    expect(all.files[0]?.path).toMatch(/day=01/)
  })
})

describe('quarantine', () => {
  it('goes by age, and a dry run touches nothing', async () => {
    const bench = testBench()
    const old = join(bench.layout.quarantine, 'old')
    writeFileSync(old, 'x')
    utimesSync(old, new Date(0), new Date(0))
    const chosen = await plan(bench, { quarantine: { maxBytes: 0, maxAgeMs: DAY } })
    expect(chosen.quarantine).toMatchObject([{ path: 'quarantine/old', why: 'age' }])
    expect(readFileSync(old, 'utf8')).toBe('x')
    await applyRetention(bench, chosen)
    expect(existsSync(old)).toBe(false)
  })
})

it('a removal that was cut short is finished; another file that has come to the name since stays', async () => {
  const bench = testBench()
  await using loader = await openLoader(bench)
  const [a, b] = [await loader.load('a'), await loader.load('b')]
  const paths = [a, b].map((id) => join(bench.layout.captures, `${id}.pcap`)) as [string, string]
  const { ledger } = bench
  const { lstatSync } = await import('node:fs')
  for (const [i, id] of [a, b].entries()) {
    const { ino, size, mtimeMs } = lstatSync(paths[i] as string)
    ledger.transaction(() => {
      ledger.captures.markFileRemoved(id)
      ledger.retention.addLeaving({ path: `captures/${id}.pcap`, identity: `${ino} ${size} ${mtimeMs}` })
    })
  }
  writeFileSync(paths[1], 'it came again')
  await finishLeaving(bench)
  expect(paths.map((path) => existsSync(path))).toEqual([false, true])
  expect(ledger.retention.leaving()).toEqual([])
})

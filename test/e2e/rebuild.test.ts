/** A ledger that is lost, damaged, or put back to what it was: afterwards every event is there exactly once. */

import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { openLedger } from '../../state/ledger.ts'
import { type Home, makeHome } from '../support/cli.ts'
import { damageTables, ledgerPath, makeCaptures, parquetFiles, removeLedger } from '../support/damaged-ledger.ts'
import { describeHome, runWithKills } from '../support/kills.ts'
import { randomFrom } from '../support/mutate.ts'

const SETTINGS = { SPLIT_LINES: '50', FLUSH_BUFFER_MB: '0', FLUSH_EVENT_COUNT: '40' }

/** Five captures, all done, each event once. */
async function filledHome(settings: Record<string, string> = {}): Promise<Home> {
  const home = makeHome({ ...SETTINGS, ...settings })
  const { code, stderr } = await home.run('ingest', ...makeCaptures(join(home.dir, 'files')), '--source', 'site-a')
  if (code !== 0) throw new Error(stderr)
  return home
}

/** Everything that waits is done. */
async function finish(home: Home) {
  const { kills: _, ...rest } = await runWithKills(home, { captures: [], kills: 0, seed: 1, withinMs: 0 })
  return rest
}

/** Its exit code; null where the kill came first, as it mostly does. */
async function startAndKill(home: Home, args: string[], afterMs: number): Promise<number | null> {
  const child = home.start(...args)
  const exit = once(child, 'exit')
  child.stdout?.resume()
  child.stderr?.resume()
  await sleep(afterMs)
  child.kill('SIGKILL')
  await exit
  return child.exitCode
}

const states = (home: Awaited<ReturnType<typeof describeHome>>) => home.captures.map(({ state }) => state)

describe('a ledger that is lost', () => {
  it('is proven from the accounts and the rows: nothing is converted again, every receipt balances', async () => {
    using home = await filledHome()
    const before = await describeHome(home)
    const files = parquetFiles(home)
    removeLedger(home)
    const { code, stdout } = await home.run('rebuild')
    expect([code, stdout]).toEqual([0, expect.stringContaining('5  captures whole')])
    expect(stdout).toContain('watch lists and what they found, accounts')
    expect(await describeHome(home)).toEqual(before)
    expect(parquetFiles(home)).toEqual(files)
    const receipt = JSON.parse((await home.run('receipt', 'sample.pcap', '--json')).stdout)
    expect(receipt).toMatchObject({ balanced: true, capture: { source: 'site-a', engine: 'tshark' } })
    expect(JSON.parse((await home.run('status', '--json')).stdout).stages).toEqual(
      expect.not.arrayContaining([expect.objectContaining({ ready: expect.toSatisfy((n: number) => n > 0) })]),
    )
    expect((await home.run('ingest', join(home.dir, 'files', 'sample.pcap'))).code).toBe(0)
    expect(await describeHome(home)).toEqual(before)
  }, 120_000)

  it.each<[string, RegExp, (home: Home) => void]>([
    [
      'a file of the dataset is missing',
      /records were made of it, and there are/,
      (home) => rmSync(parquetFiles(home, 'dns')[0] as string),
    ],
    [
      'all files of a log are missing',
      /conn: \d+ records were made of it, and there are 0 rows/,
      (home) => rmSync(join(home.dataDir, 'parquet/conn'), { recursive: true }),
    ],
    [
      'a file of the dataset is cut',
      /Put into quarantine:\n {2}parquet\/dns/,
      (home) => truncateSync(parquetFiles(home, 'dns')[0] as string, 1000),
    ],
    [
      'no account was kept',
      /it is not known how many records were made of it/,
      (home) => {
        for (const name of readdirSync(join(home.dataDir, 'captures')))
          if (name.endsWith('.account.json')) rmSync(join(home.dataDir, 'captures', name))
      },
    ],
  ])(
    '%s: those captures are converted again, and every event is there once',
    async (_what, says, harm) => {
      using home = await filledHome()
      const before = await describeHome(home)
      removeLedger(home)
      harm(home)
      const { code, stdout } = await home.run('rebuild')
      expect([code, stdout]).toEqual([0, expect.stringMatching(says)])
      expect(stdout).toMatch(/captures not proven: their rows are removed/)
      expect(await finish(home)).toEqual(before)
    },
    120_000,
  )

  it('a file that holds nothing but copies of rows is put aside, and all captures are whole', async () => {
    using home = await filledHome()
    const before = await describeHome(home)
    const [first] = parquetFiles(home, 'conn') as [string]
    copyFileSync(first, first.replace(/-(\d+)(\.parquet)$/, '-again-$1$2'))
    removeLedger(home)
    const { stdout } = await home.run('rebuild')
    expect(stdout).toContain('every row of it is in other files as well')
    expect(stdout).toContain('5  captures whole')
    expect(await describeHome(home)).toEqual(before)
  }, 120_000)

  it('a capture whose file is gone is whole when its rows are; else its rows are kept, and it is said', async () => {
    using home = await filledHome()
    const before = await describeHome(home)
    for (const name of readdirSync(join(home.dataDir, 'captures')))
      if (/\.pcap(ng)?$/.test(name)) rmSync(join(home.dataDir, 'captures', name))
    removeLedger(home)
    expect((await home.run('rebuild')).stdout).toContain('5  captures whole')
    expect(await describeHome(home)).toEqual(before)
    removeLedger(home)
    rmSync(parquetFiles(home, 'ssl')[0] as string)
    const { code, stdout } = await home.run('rebuild')
    expect(code).toBe(3)
    expect(stdout).toMatch(/[1-5] {2}captures NOT PROVEN, and their files are gone or damaged: their rows are kept/)
    expect(states(await describeHome(home))).toContain('unbalanced')
  }, 120_000)

  it('captures that were in work when it was lost are finished, and files in the inbox are taken in', async () => {
    using home = await filledHome()
    using other = await filledHome()
    const expected = await describeHome(other)
    const captures = join(home.dataDir, 'captures')
    const [first] = readdirSync(captures).filter((name) => /\.pcap$/.test(name)) as [string]
    const id = first.slice(0, 64)
    await home.run('forget', id.slice(0, 16))
    expect(readdirSync(captures).filter((name) => name.startsWith(id))).toEqual([])
    // As the monitor leaves it when it is killed between moving a file and recording it.
    copyFileSync(join(other.dataDir, 'captures', first), join(captures, first))
    removeLedger(home)
    expect((await home.run('rebuild')).stdout).toMatch(/1 {2}captures without rows: they are queued/)
    expect(await finish(home)).toEqual(expected)
  }, 120_000)
})

describe('a ledger that is damaged', () => {
  it('gives what can be read of it: watch lists, accounts and names stay', async () => {
    using home = await filledHome()
    const before = await describeHome(home)
    writeFileSync(join(home.dir, 'list.csv'), 'kind,value\nip,192.0.2.1\n')
    expect((await home.run('watchlist', 'import', 'indicators', join(home.dir, 'list.csv'))).code).toBe(0)
    for (const name of readdirSync(join(home.dataDir, 'captures')))
      if (name.endsWith('.account.json')) rmSync(join(home.dataDir, 'captures', name))
    damageTables(ledgerPath(home), ['jobs', 'commit_files', 'commit_counts', 'query_history'])
    const { code, stdout } = await home.run('rebuild')
    expect([code, stdout]).toEqual([0, expect.stringContaining('5  captures whole')])
    expect(stdout).toMatch(/kept as .*pipeline\.db\.replaced-/)
    expect(stdout).toMatch(/of the former ledger: jobs: 0 rows could be read/)
    expect(await describeHome(home)).toEqual(before)
    expect((await home.run('watchlist', 'list', 'indicators')).stdout).toContain('192.0.2.1')
  }, 120_000)

  it('whose first page is nonsense is told by every command, and made anew', async () => {
    using home = await filledHome()
    const before = await describeHome(home)
    writeFileSync(ledgerPath(home), Buffer.alloc(8192, 0x42))
    const { code, stderr } = await home.run('status')
    expect([code, stderr]).toEqual([1, expect.stringContaining('`rebuild` makes it anew')])
    expect((await home.run('rebuild')).code).toBe(0)
    expect(await describeHome(home)).toEqual(before)
  }, 120_000)

  it('is not replaced while a process uses it', async () => {
    using home = await filledHome()
    const service = home.start('run')
    await once(service.stdout as NodeJS.ReadableStream, 'data')
    await sleep(500)
    for (const command of [['rebuild'], ['restore', ledgerPath(home)]]) {
      const { code, stderr } = await home.run(...command)
      expect([code, stderr]).toEqual([1, expect.stringMatching(new RegExp(`in use by process ${service.pid}; stop`))])
    }
    service.kill('SIGTERM')
    await once(service, 'exit')
    expect(readdirSync(home.dataDir).filter((name) => name.startsWith('pipeline.db.'))).toEqual([])
  }, 60_000)

  it('killed at random instants of its rebuilding, it is whole in the end, and every event is there once', async () => {
    using home = await filledHome()
    const before = await describeHome(home)
    const random = randomFrom(11)
    removeLedger(home)
    rmSync(parquetFiles(home, 'dns')[0] as string)
    truncateSync(parquetFiles(home, 'conn')[0] as string, 700)
    let ended = 0
    for (let kill = 0; kill < 14; kill++) {
      const code = await startAndKill(home, ['rebuild'], 200 + random(1500))
      if (code === 0) ended++
    }
    expect(ended).toBeLessThan(14)
    const { code, stderr } = await home.run('rebuild')
    expect([code, stderr]).toEqual([0, expect.any(String)])
    expect(await finish(home)).toEqual(before)
    const left = readdirSync(home.dataDir).filter((name) => /\.(building|next|replacing)/.test(name))
    expect(left).toEqual([])
  }, 300_000)
})

describe('a backup', () => {
  it('is taken while captures are being worked on, is one whole file, and is renewed under the same name', async () => {
    using home = makeHome(SETTINGS)
    const files = makeCaptures(join(home.dir, 'files'))
    const ingest = home.run('ingest', ...files)
    const target = join(home.dir, 'backups', 'ledger.db')
    while (!existsSync(ledgerPath(home))) await sleep(20)
    for (let i = 0; i < 3; i++) {
      const { code, stdout } = await home.run('backup', target)
      expect([code, stdout.trim()]).toEqual([0, target])
      expect(readdirSync(dirname(target))).toEqual(['ledger.db'])
    }
    expect((await ingest).code).toBe(0)
    const { stdout } = await home.run('backup', dirname(target))
    expect(stdout).toMatch(/backups\/pipeline-\d{8}T\d{6}Z\.db\n$/)
    using copy = openLedger(stdout.trim())
    expect(copy.captures.list({ state: 'done' })).toHaveLength(5)
  }, 120_000)

  it('does not write over what is no backup, nor over the ledger', async () => {
    using home = await filledHome()
    const other = join(home.dir, 'notes.txt')
    writeFileSync(other, 'mine')
    expect(await home.run('backup', other)).toMatchObject({ code: 2, stderr: expect.stringContaining('is no backup') })
    expect(await home.run('backup', ledgerPath(home))).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('the ledger itself'),
    })
    expect(await home.run('restore', other)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('nothing was changed'),
    })
  }, 60_000)

  it('that is restored knows nothing of what came since: it is found in the folders, and every event is there once', async () => {
    using home = makeHome(SETTINGS)
    const [first, second, third, ...rest] = makeCaptures(join(home.dir, 'files')) as [
      string,
      string,
      string,
      ...string[],
    ]
    await home.run('ingest', first, second)
    const backup = join(home.dir, 'backup.db')
    await home.run('backup', backup)
    await home.run('ingest', third, ...rest)
    await home.run('forget', 'nanos.pcap')
    await home.run('reprocess', 'sample.pcap')
    const service = home.start('run')
    await sleep(1500)
    service.kill('SIGKILL')
    await once(service, 'exit')
    const { code, stdout } = await home.run('restore', backup)
    expect([code, stdout]).toEqual([0, expect.stringContaining('Known before, and nothing is left of them')])
    const seen = await finish(home)
    expect(states(seen)).toEqual(Array(4).fill('done'))
    for (const { rows, ids } of Object.values(seen.tables)) expect(rows).toBe(ids)
    using other = makeHome(SETTINGS)
    await other.run('ingest', first, third, ...rest)
    expect(seen).toEqual(await describeHome(other))
  }, 180_000)

  it('killed at random instants of its restoring, again and again, nothing is lost or doubled', async () => {
    using home = await filledHome()
    const backup = join(home.dir, 'backup.db')
    await home.run('forget', 'half.pcap')
    await home.run('backup', backup)
    await home.run('ingest', join(home.dir, 'files', 'half.pcap'))
    const before = await describeHome(home)
    const random = randomFrom(5)
    renameSync(parquetFiles(home, 'dns')[0] as string, join(home.dir, 'taken-away'))
    for (let kill = 0; kill < 10; kill++) {
      await startAndKill(home, ['restore', backup], 200 + random(1500))
    }
    expect((await home.run('restore', backup)).code).toBe(0)
    expect(await finish(home)).toEqual(before)
  }, 300_000)
})

it('over Kafka a ledger is not rebuilt alone, and it is said', async () => {
  using home = makeHome({ BUS: 'kafka', KAFKA_BROKERS: '127.0.0.1:1' })
  mkdirSync(home.dataDir)
  const { code, stderr } = await home.run('rebuild')
  expect([code, stderr]).toEqual([2, expect.stringContaining('cannot be restored or rebuilt')])
  expect(readdirSync(home.dataDir)).not.toContain('pipeline.db')
})

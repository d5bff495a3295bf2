import { once } from 'node:events'
import { copyFileSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { makeHome } from '../support/cli.ts'
import { until } from '../support/pipeline.ts'

const SAMPLE = join(import.meta.dirname, '../fixtures/sample.pcap')

function filesBelow(dir: string): string[] {
  if (!existsSync(dir)) return []
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
}

describe('ingest', () => {
  it('takes a capture in, prints a receipt that balances, and its events are rows', async () => {
    using home = makeHome()
    const { code, stdout, stderr } = await home.run('ingest', SAMPLE, '--source', 'lab')
    expect({ code, stderr }).toMatchObject({ code: 0 })
    expect(stdout).toMatch(/balanced {2}every packet and every record is accounted for/)
    const dns = await home.rows('select query, source, src_ip, capture_id, event_id from dns')
    expect(dns.length).toBeGreaterThan(0)
    expect(new Set(dns.map(({ source }) => source))).toEqual(new Set(['lab']))
    const [count] = await home.rows('select count(*) as n, count(distinct event_id) as ids from conn')
    expect(count?.n).toBe(count?.ids)
    expect(readdirSync(join(home.dataDir, 'parquet/conn'))[0]).toMatch(/^year=\d{4}$/)
    expect(filesBelow(join(home.dataDir, 'spool'))).toEqual([])
  })

  it('the same capture again, compressed and under another name, adds no row and still answers with the receipt', async () => {
    using home = makeHome()
    await home.run('ingest', SAMPLE)
    const before = await home.rows('select count(*) as n from conn')
    const again = join(home.dir, 'again.pcap.gz')
    writeFileSync(again, gzipSync(readFileSync(SAMPLE)))
    const { code, stdout } = await home.run('ingest', again)
    expect(code).toBe(0)
    expect(stdout).toMatch(/came 1 more time/)
    expect(await home.rows('select count(*) as n from conn')).toEqual(before)
  })

  it('what is no capture is refused with the reason, stays where it is, and does not stop the others', async () => {
    using home = makeHome()
    const notes = join(home.dir, 'notes.pcap')
    writeFileSync(notes, 'not a capture at all')
    const { code, stdout, stderr } = await home.run('ingest', notes, SAMPLE)
    expect(code).toBe(3)
    expect(stderr).toMatch(/notes\.pcap: refused: not a capture/)
    expect(stdout).toMatch(/every packet and every record is accounted for/)
    expect(existsSync(notes)).toBe(true)
  })

  it('a capture that is cut is salvaged up to its last whole packet, and the receipt says so', async () => {
    using home = makeHome()
    const cut = join(home.dir, 'cut.pcap')
    const whole = readFileSync(SAMPLE)
    writeFileSync(cut, whole.subarray(0, whole.length - 5))
    const { code, stdout } = await home.run('ingest', cut)
    expect(code).toBe(0)
    expect(stdout).toMatch(/salvaged/)
  })

  it('a file that is not there is a mistake of the command line', async () => {
    using home = makeHome()
    const { code, stderr } = await home.run('ingest', 'nowhere.pcap')
    expect(code).toBe(2)
    expect(stderr).toMatch(/nowhere\.pcap cannot be read/)
  })
})

describe('the service', () => {
  it('takes in what is dropped, from subfolders and by hard link too, and ends in order on SIGTERM', async () => {
    using home = makeHome()
    mkdirSync(join(home.inbox, 'site-a'), { recursive: true })
    copyFileSync(SAMPLE, join(home.inbox, 'site-a/before.pcap'))
    const service = home.start('run')
    const log: string[] = []
    service.stdout?.on('data', (data: Buffer) => log.push(data.toString()))
    await until(() => log.join('').includes('flushed'), `the first capture; ${log.join('')}`)
    linkSync(SAMPLE, join(home.inbox, 'linked.pcap'))
    await until(() => log.join('').includes('linked to the first'), 'the second copy')
    service.kill('SIGTERM')
    const [code] = await once(service, 'exit')
    expect(code).toBe(0)
    expect(log.join('')).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \| INFO \| startup \| configuration loaded \| /m)
    const [first] = await home.rows('select distinct source from conn')
    expect(first).toEqual({ source: 'site-a' })
    expect(existsSync(SAMPLE)).toBe(true)
  })

  it('runs as one process a stage, over one data directory', async () => {
    using home = makeHome()
    mkdirSync(home.inbox, { recursive: true })
    const stages = ['monitor', 'convert', 'split', 'distribute', 'upload', 'upload'].map((name) =>
      home.start('stage', name),
    )
    copyFileSync(SAMPLE, join(home.inbox, 'a.pcap'))
    await until(async () => (await home.run('captures')).stdout.includes('done'), 'the capture', 60_000)
    for (const stage of stages) stage.kill('SIGTERM')
    const codes = await Promise.all(
      stages.map(async (stage) => (stage.exitCode ?? (await once(stage, 'exit'))[0]) as number),
    )
    expect(codes).toEqual([0, 0, 0, 0, 0, 0])
    const { code, stdout } = await home.run('receipt', 'a.pcap')
    expect(stdout).toMatch(/accounted for/)
    expect(code).toBe(0)
  })

  it('shares many small captures among processes that do the same, without one failing', async () => {
    using home = makeHome()
    mkdirSync(home.inbox, { recursive: true })
    const whole = readFileSync(SAMPLE)
    for (let i = 0; i < 40; i++) writeFileSync(join(home.inbox, `${i}.pcap`), whole.subarray(0, whole.length - i))
    const processes = [
      home.start('run'),
      home.start('run'),
      home.start('stage', 'split'),
      home.start('stage', 'upload'),
    ]
    for (const { stdout, stderr } of processes) {
      stdout?.resume()
      stderr?.resume()
    }
    const states = async () =>
      (JSON.parse((await home.run('captures', '--json')).stdout) as { state: string }[]).map(({ state }) => state)
    await until(
      async () => (await states()).filter((state) => state !== 'accepted').length === 40,
      'the captures',
      100_000,
    )
    expect(new Set(await states())).toEqual(new Set(['done']))
    for (const each of processes) each.kill('SIGTERM')
    await Promise.all(processes.map((each) => each.exitCode ?? once(each, 'exit')))
    const [count] = await home.rows('select count(*)::int as n, count(distinct event_id)::int as ids from conn')
    expect(count?.n).toBe(count?.ids)
    expect((await home.run('failed')).stdout).toBe('')
  }, 150_000)

  it('a setting that is misspelt stops the start with the right name', async () => {
    using home = makeHome({ SPLIT_LINE: '5' })
    const { code, stderr } = await home.run('run')
    expect(code).toBe(2)
    expect(stderr).toMatch(/SPLIT_LINES/)
  })
})

it('a mistake in rules of the site is told at the start, with its place', async () => {
  using home = makeHome({ NORMALIZATION_FILE: 'rules.json' })
  writeFileSync(
    join(home.dir, 'rules.json'),
    '{"dns":{"source":"zeek_dns","promote":{"ts":"Event Time"},"static":{},"enrich":{"time":true,"network":true}}}',
  )
  const { code, stderr } = await home.run('ingest', SAMPLE)
  expect(code).toBe(2)
  expect(stderr).toMatch(/rules\.json.*dns.*promote.*ts/s)
})

it('the dataset, its names and the ledger may be elsewhere, for queries and for forgetting too', async () => {
  using home = makeHome({ PARQUET_DIR: 'out/rows', PARQUET_FILE_PREFIX: 'site', STATE_DIR: 'own' })
  expect((await home.run('ingest', SAMPLE)).code).toBe(0)
  const [{ n = 0 } = {}] = await home.rows<{ n: number }>('select count(*)::int as n from conn')
  expect(n).toBeGreaterThan(0)
  const files = filesBelow(join(home.dir, 'out/rows'))
  expect(files.length).toBeGreaterThan(0)
  expect(files.filter((name) => !name.startsWith('site_'))).toEqual([])
  expect(readdirSync(join(home.dir, 'own')).sort()).toEqual(expect.arrayContaining(['log', 'pipeline.db']))
  expect(readdirSync(home.dataDir).sort()).toEqual(['captures', 'inbox', 'quarantine', 'spool'])
  expect((await home.run('forget', 'sample.pcap')).code).toBe(0)
  expect(filesBelow(join(home.dir, 'out/rows'))).toEqual([])
})

describe('changing what is known', () => {
  it('a forgotten capture is gone with its rows and files, and can come again', async () => {
    using home = makeHome()
    await home.run('ingest', SAMPLE)
    const [before] = await home.rows('select count(*) as n from conn')
    const { code, stderr } = await home.run('forget', 'sample.pcap')
    expect({ code, stderr }).toMatchObject({ code: 0 })
    expect(await home.rows('select count(*) as n from conn')).toEqual([{ n: 0 }])
    expect((await home.run('captures', '--json')).stdout.trim()).toBe('[]')
    expect(filesBelow(join(home.dataDir, 'parquet'))).toEqual([])
    expect(filesBelow(join(home.dataDir, 'captures'))).toEqual([])
    expect((await home.run('ingest', SAMPLE)).code).toBe(0)
    expect(await home.rows('select count(*) as n from conn')).toEqual([before])
  })

  it('a forgotten capture takes only its own rows out of shared files', async () => {
    using home = makeHome()
    const other = join(home.dir, 'other.pcap')
    const whole = readFileSync(SAMPLE)
    writeFileSync(other, whole.subarray(0, whole.length - 1))
    await home.run('ingest', SAMPLE, other)
    const kept = await home.rows(
      'select * from conn where capture_id in (select capture_id from conn group by 1 order by count(*) desc, 1 limit 1) order by event_id',
    )
    const gone = (await home.rows('select distinct capture_id from conn'))
      .map(({ capture_id }) => capture_id)
      .find((id) => id !== kept[0]?.capture_id)
    expect((await home.run('forget', String(gone))).code).toBe(0)
    expect(await home.rows('select * from conn order by event_id')).toEqual(kept)
  })

  it('reprocessing gives the same rows under the same ids', async () => {
    using home = makeHome()
    await home.run('ingest', SAMPLE)
    const select = 'select * exclude (ingest_time) from conn order by event_id'
    const before = await home.rows(select)
    expect((await home.run('reprocess', 'sample.pcap')).code).toBe(0)
    expect(await home.rows(select)).toEqual([])
    await home.run('ingest', SAMPLE)
    expect(await home.rows(select)).toEqual(before)
  })
})

describe('other commands', () => {
  it('convert writes just the logs and touches no state', async () => {
    using home = makeHome()
    const out = join(home.dir, 'logs')
    const { code, stderr } = await home.run('convert', SAMPLE, '--out', out)
    expect({ code, stderr }).toMatchObject({ code: 0 })
    const lines = readFileSync(join(out, 'sample.pcap/conn.ndjson'), 'utf8').trim().split('\n')
    expect(JSON.parse(lines[0] as string)).toHaveProperty(['id.orig_h'])
    expect(existsSync(home.dataDir)).toBe(false)
  })

  it('convert makes the packet log when it is asked for, into a folder that is named relatively', async () => {
    using home = makeHome({ PACKET_LOG: 'true' })
    const { code, stderr } = await home.run('convert', SAMPLE, '--out', 'logs')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const packets = readFileSync(join(home.dir, 'logs/sample.pcap/packet.ndjson'), 'utf8').trim().split('\n')
    expect(packets).toHaveLength(132)
    expect(packets.map((line) => JSON.parse(line)).some(({ dst_host }) => dst_host === 'www.sample.test')).toBe(true)
  })

  it('queries answer in every format, and only the answer goes to stdout', async () => {
    using home = makeHome()
    await home.run('ingest', SAMPLE)
    const csv = await home.run('query', 'select 1 as a, query from dns order by all limit 2', '--format', 'csv')
    expect(csv.stdout.split(/\r?\n/)[0]).toBe('a,query')
    const ndjson = await home.run('query', 'select 1 as a', '--format', 'ndjson')
    expect(ndjson.stdout).toBe('{"a":1}\n')
    const refused = await home.run('query', "select * from read_text('/etc/passwd')")
    expect(refused).toMatchObject({ code: 4, stdout: '' })
  })

  it('a query works before anything came', async () => {
    using home = makeHome()
    expect(await home.rows('select * from dns')).toEqual([])
    expect((await home.run('tables')).code).toBe(0)
    expect((await home.run('status')).code).toBe(0)
    expect((await home.run('failed')).code).toBe(0)
  })

  it('an unknown command, and a capture that is not known, say so', async () => {
    using home = makeHome()
    expect((await home.run('ingets')).code).toBe(2)
    const { code, stderr } = await home.run('receipt', 'nowhere')
    expect(code).toBe(1)
    expect(stderr).toMatch(/no capture is known as "nowhere"/)
  })
})

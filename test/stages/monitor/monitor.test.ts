import { createHash } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createInspector } from '../../../src/intake/inspector.ts'
import { createMonitor } from '../../../stages/monitor/monitor.ts'
import { watchInbox } from '../../../stages/monitor/watch.ts'
import { startRunner } from '../../../stages/runner.ts'
import type { Job } from '../../../state/job.ts'
import type { Ledger } from '../../../state/ledger.ts'
import { pcap } from '../../fixtures/handmade.ts'
import { storedZip } from '../../fixtures/zip.ts'
import { testBench, until } from '../../support/pipeline.ts'

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const capture = (text = 'packet') => pcap([Buffer.from(text), Buffer.from(`${text} again`)])

async function monitor({ stabilityMs = 100, cutGraceMs = 200, polling = false } = {}) {
  const bench = testBench()
  const { ledger, layout, log } = bench
  const stage = createMonitor({
    ...{ ledger, layout, cutGraceMs },
    clockOffsets: new Map(),
    inspector: createInspector({ maxBytes: 1e9 }),
  })
  const runner = startRunner(stage, {
    ...bench,
    concurrency: 2,
    leaseMs: 5000,
    maxAttempts: 2,
    backoffMs: 1,
    pollMs: 20,
  })
  const inbox = { stabilityMs, rescanMs: 250, polling }
  const watcher = await watchInbox({
    inbox: layout.inbox,
    ...inbox,
    ledger,
    log,
    onQueued: runner.wake,
    mayQueue: () => true,
  })
  onTestFinished(async () => {
    await watcher.close()
    await runner.stop(1000)
  })
  const drop = (name: string, content: Buffer) => {
    const path = join(layout.inbox, name)
    writeFileSync(path, content)
    return path
  }
  const stored = (content: Buffer) => join(layout.captures, `${sha256(content)}.pcap`)
  const arrived = (n: number) =>
    until(
      () => ledger.captures.arrivals().length >= n,
      `${n} arrivals, seen ${ledger.captures.arrivals().length}; ${log.lines.slice(-5).join('; ')}`,
    )
  return { ...bench, drop, stored, arrived }
}

describe('a capture that settles is accepted', () => {
  it('moved to its hash, queued for conversion, gone from the inbox', async () => {
    const { drop, stored, arrived, ledger, layout } = await monitor()
    drop('a.pcap', capture())
    await arrived(1)
    expect(readFileSync(stored(capture()))).toEqual(capture())
    expect(readdirSync(layout.inbox)).toEqual([])
    const id = sha256(capture())
    expect(ledger.captures.get(id)).toMatchObject({
      name: 'a.pcap',
      source: 'default',
      format: 'pcap',
      state: 'accepted',
    })
    expect(ledger.jobs.find('convert', id)?.status).toBe('ready')
  })

  it('by a rename, as a hard link, from a subfolder that names its source', async () => {
    const { layout, stored, arrived, ledger } = await monitor()
    const outside = join(layout.dataDir, 'outside.pcap')
    writeFileSync(outside, capture('renamed'))
    mkdirSync(join(layout.inbox, 'site-7/deeper'), { recursive: true })
    renameSync(outside, join(layout.inbox, 'site-7/deeper/renamed.pcap'))
    const original = join(layout.dataDir, 'original.pcap')
    writeFileSync(original, capture('linked'))
    linkSync(original, join(layout.inbox, 'linked.pcap'))
    await arrived(2)
    expect(ledger.captures.get(sha256(capture('renamed')))).toMatchObject({ source: 'site-7' })
    expect(existsSync(stored(capture('linked')))).toBe(true)
    appendFileSync(original, 'the owner of the other name goes on writing')
    expect(readFileSync(stored(capture('linked')))).toEqual(capture('linked'))
  })

  it('a slow copy is not taken before its end', async () => {
    const { drop, arrived, ledger } = await monitor({ stabilityMs: 200, cutGraceMs: 3000 })
    const content = capture('slow')
    const path = drop('slow.pcap', content.subarray(0, 30))
    for (let at = 30; at < content.length; at += 20) {
      await new Promise((resolve) => setTimeout(resolve, at === 30 ? 700 : 60))
      appendFileSync(path, content.subarray(at, at + 20))
    }
    await arrived(1)
    expect(ledger.captures.list().map(({ id }) => id)).toEqual([sha256(content)])
  })

  it('whatever bytes its name has', async () => {
    const { layout, arrived, ledger } = await monitor()
    const name = Buffer.from([0x61, 0xff, 0xfe, 0x0a, 0x27, 0x22, 0x24, 0x62])
    writeFileSync(Buffer.concat([Buffer.from(`${layout.inbox}/`), name]), capture('odd name'))
    writeFileSync(join(layout.inbox, `${'long-'.repeat(40)}.pcap`), capture('long name'))
    await arrived(2)
    expect(
      ledger.captures
        .list()
        .map(({ id }) => id)
        .sort(),
    ).toEqual([sha256(capture('odd name')), sha256(capture('long name'))].sort())
    expect(readdirSync(layout.inbox)).toEqual([])
  })

  it('when it was there before the start, and on mounts that send no events', async () => {
    const { drop, arrived } = await monitor({ polling: true })
    drop('a.pcap', capture())
    await arrived(1)
  })
})

describe('what is the same is not processed again', () => {
  it('a second copy, plain or compressed, is linked to the first', async () => {
    const { drop, arrived, ledger, layout } = await monitor()
    drop('first.pcap', capture())
    await arrived(1)
    drop('second.pcap', capture())
    drop('third.pcap.gz', gzipSync(capture()))
    await arrived(3)
    expect(ledger.captures.list()).toHaveLength(1)
    expect(ledger.captures.arrivals(sha256(capture())).map(({ outcome }) => outcome)).toEqual([
      'accepted',
      'duplicate',
      'duplicate',
    ])
    expect(ledger.jobs.list().filter(({ stage }) => stage === 'convert')).toHaveLength(1)
    expect(readdirSync(layout.captures)).toHaveLength(1)
    // It is taken away after it was recorded.
    await until(() => readdirSync(layout.inbox).length === 0, 'the inbox is empty')
  })

  it('of a known capture whose file retention removed, the file is stored again and nothing is converted', async () => {
    const { drop, stored, arrived, ledger, layout } = await monitor()
    const id = sha256(capture())
    drop('first.pcap', capture())
    await arrived(1)
    ledger.captures.setState(id, 'done')
    expect(ledger.captures.markFileRemoved(id)).toBe(true)
    rmSync(stored(capture()))
    drop('again.pcap', capture())
    await arrived(2)
    expect(readFileSync(stored(capture()))).toEqual(capture())
    expect(ledger.captures.get(id)).toMatchObject({ fileRemovedAt: null })
    expect(ledger.jobs.list().filter(({ stage }) => stage === 'convert')).toHaveLength(1)
    await until(() => readdirSync(layout.inbox).length === 0, 'the inbox is empty')
  })

  it('while retention removes the file of the same capture, it waits in the inbox', async () => {
    const { drop, stored, arrived, ledger, layout } = await monitor()
    const id = sha256(capture())
    drop('first.pcap', capture())
    await arrived(1)
    ledger.captures.setState(id, 'done')
    ledger.captures.markFileRemoved(id)
    const path = `captures/${id}.pcap`
    ledger.retention.addLeaving({ path, identity: '' })
    drop('again.pcap', capture())
    await new Promise((resolve) => setTimeout(resolve, 700))
    expect(readdirSync(layout.inbox)).toEqual(['again.pcap'])
    rmSync(stored(capture()))
    ledger.retention.hasLeft(path)
    await arrived(2)
    expect(readFileSync(stored(capture()))).toEqual(capture())
  })

  it('five copies dropped together are one capture', async () => {
    const { drop, arrived, ledger } = await monitor()
    for (const n of [1, 2, 3, 4, 5]) drop(`copy-${n}.pcap`, capture())
    await arrived(5)
    expect(ledger.captures.list()).toHaveLength(1)
  })
})

describe('what is no usable capture', () => {
  it('is empty when it has no packets, and said to be', async () => {
    const { drop, arrived, ledger, log } = await monitor()
    drop('header-only.pcap', pcap([]))
    drop('nothing.pcap', Buffer.alloc(0))
    await arrived(2)
    expect(ledger.captures.list().map(({ state }) => state)).toEqual(['empty', 'empty'])
    expect(ledger.jobs.list().filter(({ stage }) => stage === 'convert')).toEqual([])
    expect(log.lines.filter((line) => line.includes('no packets'))).toHaveLength(2)
  })

  it('goes to quarantine with the reason beside it, and the original bytes', async () => {
    const { drop, arrived, ledger, layout } = await monitor()
    drop('notes.pcap', Buffer.from('these are my notes'))
    await arrived(1)
    await until(() => readdirSync(layout.quarantine).length === 2, 'the quarantine')
    const [file, reason] = readdirSync(layout.quarantine).sort() as [string, string]
    expect(readFileSync(join(layout.quarantine, file), 'utf8')).toBe('these are my notes')
    expect(JSON.parse(readFileSync(join(layout.quarantine, reason), 'utf8'))).toMatchObject({
      file: 'notes.pcap',
      code: 'capture_not_recognized',
    })
    expect(ledger.captures.arrivals()[0]).toMatchObject({
      outcome: 'quarantined',
      reason: expect.stringContaining('not a capture'),
    })
    expect(readdirSync(layout.inbox)).toEqual([])
  })

  it('a symbolic link is not followed', async () => {
    const { layout, arrived, ledger } = await monitor()
    const outside = join(layout.dataDir, 'secret.pcap')
    writeFileSync(outside, capture())
    symlinkSync(outside, join(layout.inbox, 'link.pcap'))
    await arrived(1)
    expect(ledger.captures.list()).toEqual([])
    expect(existsSync(outside)).toBe(true)
  })

  it('names of unfinished files are left alone', async () => {
    const { drop, layout, arrived } = await monitor()
    const partial = [
      '.hidden.pcap',
      'a.pcap.part',
      'b.pcap.tmp',
      'c.pcap.filepart',
      'd.pcap~',
      '.e.pcap.Xy12Zq',
      'f.crdownload',
    ]
    for (const name of partial) drop(name, capture(name))
    drop('whole.pcap', capture())
    await arrived(1)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(readdirSync(layout.inbox).sort()).toEqual([...partial].sort())
  })

  it('a zip archive with other things in it is kept, and its captures are accepted', async () => {
    const { drop, arrived, ledger, layout } = await monitor()
    drop(
      'case.zip',
      storedZip({ 'a.pcap': capture('a'), 'b.pcap': capture('b'), 'notes.txt': Buffer.from('notes, notes') }),
    )
    await arrived(3)
    expect(ledger.captures.list().map(({ name }) => name)).toEqual(['a.pcap', 'b.pcap'])
    await until(
      () => readdirSync(layout.quarantine).some((name) => name.endsWith('case.zip')),
      'the archive to be kept',
    )
  })
})

it('a cut file is waited for, then accepted as it is', async () => {
  const { drop, arrived, ledger } = await monitor({ cutGraceMs: 1500 })
  const cut = capture().subarray(0, 60)
  const path = drop('cut.pcap', cut)
  await new Promise((resolve) => setTimeout(resolve, 700))
  expect(ledger.captures.list()).toEqual([])
  expect(existsSync(path)).toBe(true)
  await arrived(1)
  expect(ledger.captures.list()[0]).toMatchObject({ id: sha256(cut), state: 'accepted' })
})

it('a file that never stops changing does not keep the others waiting', async () => {
  const { drop, layout, arrived } = await monitor()
  const writer = setInterval(() => appendFileSync(join(layout.inbox, 'endless.pcap'), 'more'), 20)
  onTestFinished(() => clearInterval(writer))
  drop('a.pcap', capture())
  await arrived(1)
})

it('a capture whose rows are being removed is left in the inbox until that is done', async () => {
  const { drop, arrived, ledger } = await monitor()
  const content = capture()
  drop('first.pcap', content)
  await arrived(1)
  ledger.captures.setState(sha256(content), 'forgetting')
  const path = drop('second.pcap', content)
  await new Promise((resolve) => setTimeout(resolve, 700))
  expect(readFileSync(path)).toEqual(content)
  ledger.captures.setState(sha256(content), 'done')
  await arrived(2)
  await until(() => !existsSync(path), 'the file to be taken away')
})

it('two archives of one name are both kept beside each other', async () => {
  const { drop, layout, arrived } = await monitor()
  drop('case.zip', storedZip({ 'a.pcap': capture('a'), 'notes.txt': Buffer.from('first notes') }))
  await arrived(2)
  const zips = () => readdirSync(layout.quarantine).filter((name) => name.endsWith('case.zip'))
  await until(() => zips().length === 1, 'the first archive to be put aside')
  drop('case.zip', storedZip({ 'b.pcap': capture('b'), 'notes.txt': Buffer.from('other notes') }))
  await arrived(4)
  await until(() => zips().length === 2, 'both archives')
})

/** What an attempt leaves that was killed between moving the file and recording it; its job is still leased. */
function cutShort(ledger: Ledger, path: string, content: Buffer, target: string): Job {
  const file = { dev: 1, ino: 1, bytes: content.length, mtimeMs: 1000 }
  ledger.jobs.add(
    { stage: 'monitor', key: 'k', input: { path, name: 'a.pcap', source: 's', ...file } },
    { notBefore: Date.now() + 400 },
  )
  const [job] = ledger.jobs.claim({ stage: 'monitor', leaseMs: 60_000, now: Date.now() + 1000 })
  const found = { sha256: sha256(content), bytes: content.length, format: 'pcap', packets: 2, complete: true }
  const inspection = { container: 'none', fileSha256: sha256(content), captures: [found], ignored: [] }
  ledger.jobs.note(job as Job, { file, inspection })
  renameSync(path, target)
  return job as Job
}

it('an attempt that was cut short after the move is finished, even when another file has taken the name', async () => {
  const { ledger, drop, stored } = await monitor({ stabilityMs: 60_000 })
  const content = capture()
  const path = drop('a.pcap', content)
  const job = cutShort(ledger, path, content, stored(content))
  drop('a.pcap', capture('another'))
  ledger.jobs.release(job)
  await until(() => ledger.captures.get(sha256(content)) !== undefined, 'the capture')
  expect(readFileSync(path)).toEqual(capture('another'))
})

it('an attempt that was cut short after the move is finished by the next', async () => {
  const { ledger, drop, stored } = await monitor({ stabilityMs: 60_000 })
  const content = capture()
  const path = drop('a.pcap', content)
  utimesSync(path, 1, 1)
  const job = cutShort(ledger, path, content, stored(content))
  ledger.jobs.release(job)
  await until(() => ledger.captures.get(sha256(content)) !== undefined, 'the capture')
  expect(ledger.jobs.find('convert', sha256(content))?.status).toBe('ready')
})

describe('key logs of TLS', () => {
  const secret = (n: number, label = 'CLIENT_RANDOM') =>
    `${label} ${String(n).padStart(2, '0').repeat(32)} ${'5e'.repeat(48)}\n`
  const keysOf = ({ captures }: { captures: string }, content: Buffer) => join(captures, `${sha256(content)}.keys`)
  const gone = (path: string) => until(() => !existsSync(path), `${path} is gone`)

  it('settle together with their capture, are stored for their owner alone, and leave the inbox with it', async () => {
    const { drop, arrived, ledger, layout } = await monitor({ stabilityMs: 300 })
    const content = capture()
    const keyLog = drop('x.keys', Buffer.from(secret(1)))
    const path = drop('x.pcap', content)
    for (let n = 2; n < 7; n++) {
      await new Promise((resolve) => setTimeout(resolve, 150))
      appendFileSync(keyLog, secret(n))
      expect(ledger.captures.arrivals()).toEqual([])
    }
    await arrived(1)
    await gone(keyLog)
    expect(existsSync(path)).toBe(false)
    const stored = keysOf(layout, content)
    expect(readFileSync(stored, 'utf8')).toBe([1, 2, 3, 4, 5, 6].map((n) => secret(n)).join(''))
    expect(statSync(stored).mode & 0o777).toBe(0o600)
    expect(ledger.captures.get(sha256(content))?.keyLog).toMatchObject({ secrets: 6, badLines: 0, isCut: false })
  })

  it('of several names and with other lines in them become one, without what is no secret', async () => {
    const { drop, arrived, ledger, layout } = await monitor()
    const content = capture()
    drop('x.pcap.keylog', Buffer.from(`# mine\n${secret(1)}root:x:0:0\n`))
    drop('x.sslkeylogfile', Buffer.concat([Buffer.from(secret(1) + secret(2)), Buffer.alloc(100_000, 7)]))
    drop('x.pcap', content)
    await arrived(1)
    expect(readFileSync(keysOf(layout, content), 'utf8')).toBe(secret(1) + secret(2))
    expect(ledger.captures.get(sha256(content))?.keyLog).toMatchObject({ secrets: 2, badLines: 2 })
  })

  it('that come later are added to the capture that is there, a line once, and the receipt says so', async () => {
    const { drop, arrived, ledger, layout } = await monitor({ stabilityMs: 50 })
    const content = capture()
    const id = sha256(content)
    drop('x.pcap', content)
    await arrived(1)
    expect(ledger.captures.get(id)?.keyLog).toBeNull()
    await gone(drop('x.keys', Buffer.from(secret(1))))
    await gone(drop('x.keys', Buffer.from(secret(2) + secret(1))))
    expect(readFileSync(keysOf(layout, content), 'utf8')).toBe(secret(2) + secret(1))
    expect(ledger.captures.get(id)?.keyLog).toMatchObject({ secrets: 2 })
  })

  it('without a capture wait for it, and those of another source are not taken for it', async () => {
    const { drop, arrived, layout, log } = await monitor({ stabilityMs: 50 })
    mkdirSync(join(layout.inbox, 'elsewhere'))
    drop('elsewhere/x.pcap', capture('elsewhere'))
    await arrived(1)
    const keyLog = drop('x.keys', Buffer.from(secret(1)))
    await until(() => log.lines.some((line) => line.includes('TLS keys wait')), 'it is said')
    expect(existsSync(keyLog)).toBe(true)
    drop('x.pcap', capture('here'))
    await gone(keyLog)
    expect(existsSync(keysOf(layout, capture('here')))).toBe(true)
    expect(existsSync(keysOf(layout, capture('elsewhere')))).toBe(false)
  })

  it('are not followed where they are links', async () => {
    const { drop, arrived, layout } = await monitor()
    const content = capture()
    const target = join(layout.dataDir, 'others.keys')
    writeFileSync(target, secret(1))
    symlinkSync(target, join(layout.inbox, 'x.keys'))
    drop('x.pcap', content)
    await arrived(1)
    expect(existsSync(keysOf(layout, content))).toBe(false)
    expect(readFileSync(target, 'utf8')).toBe(secret(1))
  })
})

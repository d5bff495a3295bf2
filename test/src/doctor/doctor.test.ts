/** Hosts that are broken on purpose: the doctor names what is wrong with each, and what to do. */

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import BetterSqlite3 from 'better-sqlite3'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { loadConfig } from '../../../src/config.ts'
import { type Examined, examine } from '../../../src/doctor/doctor.ts'
import { openHost } from '../../../src/doctor/host.ts'
import { layoutFrom } from '../../../src/parts.ts'
import { samplePath } from '../../fixtures/variants.ts'
import { type Home, makeHome } from '../../support/cli.ts'
import { damageTables, ledgerPath, parquetFiles, removeLedger } from '../../support/damaged-ledger.ts'
import {
  cleanUp,
  uniquePrefix as indexPrefix,
  nodeForTests,
  skipReason as noElasticsearch,
} from '../../support/elasticsearch.ts'
import { brokerForTests, skipReason as noKafka, uniquePrefix } from '../../support/kafka.ts'

const template = mkdtempSync(join(tmpdir(), 'doctor-'))
const isRoot = process.getuid?.() === 0
const canMount = isRoot && spawnSync('unshare', ['-m', 'true']).status === 0
const NOBODY = 65_534
const asNobody = ['setpriv', '--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups']

beforeAll(async () => {
  using home = makeHome()
  const { code, stderr } = await home.run('ingest', samplePath)
  if (code !== 0) throw new Error(stderr)
  cpSync(home.dataDir, join(template, 'data'), { recursive: true })
}, 60_000)

afterAll(() => rmSync(template, { recursive: true, force: true }))

/** A host with one capture, whose rows and receipt are whole. */
function filled(settings: Record<string, string> = {}, options: { through?: readonly string[] } = {}): Home {
  const home = makeHome(settings, options)
  cpSync(join(template, 'data'), home.dataDir, { recursive: true })
  return home
}

async function examined(home: Home, ...args: string[]) {
  const { code, stdout, stderr } = await home.run('doctor', '--json', ...args)
  const { findings, verdict } = JSON.parse(stdout || '{}') as { findings: Examined[]; verdict: string }
  if (findings === undefined) throw new Error(`doctor ended with ${code}: ${stderr}`)
  return { code, verdict, findings, bad: findings.filter((finding) => finding.verdict !== 'ok') }
}

/** The only fault, with its remedy; all else is well. */
async function onlyError(home: Home, check: string, text: RegExp, todo: RegExp, ...args: string[]): Promise<void> {
  const { code, bad } = await examined(home, ...args)
  expect(bad).toEqual([
    { check, verdict: 'error', text: expect.stringMatching(text), todo: expect.stringMatching(todo) },
  ])
  expect(code).toBe(5)
}

function snapshot(dir: string): Record<string, string> {
  const entries = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return Object.fromEntries(
    entries.map(({ parentPath, name }) => {
      const path = join(parentPath, name)
      return [relative(dir, path), createHash('sha256').update(readFileSync(path)).digest('hex')]
    }),
  )
}

describe('a host that is well', () => {
  it('has nothing to be told, before its first start as after it, and is not changed', async () => {
    using empty = makeHome()
    expect(await examined(empty)).toMatchObject({ code: 0, verdict: 'ok', bad: [] })
    expect(existsSync(empty.dataDir)).toBe(false)
    using home = filled()
    const before = snapshot(home.dataDir)
    for (const args of [[], ['--deep']]) expect(await examined(home, ...args)).toMatchObject({ code: 0, bad: [] })
    expect(snapshot(home.dataDir)).toEqual(before)
  }, 60_000)

  it('may be looked at while it works: its own port is no fault', async () => {
    using home = filled({ HTTP_ENABLED: 'true', HTTP_PORT: '18432' })
    const service = home.start('run')
    let said = ''
    service.stderr?.on('data', (data: Buffer) => (said += data))
    while (!said.includes('The pages:')) await sleep(50)
    const { code, bad, findings } = await examined(home, '--deep')
    expect([code, bad]).toEqual([0, []])
    expect(findings.find(({ check }) => check === 'port')?.text).toMatch(/is served by a running pipeline/)
    service.kill('SIGTERM')
    await once(service, 'exit')
  }, 60_000)

  it('is told so in words', async () => {
    using home = filled()
    const { stdout } = await home.run('doctor')
    expect(stdout).toMatch(/^ok {7}ledger {9}.*whole \(quick_check\)/m)
    expect(stdout).toMatch(/Nothing is wrong\.\n$/)
  }, 60_000)
})

describe('folders', () => {
  it.skipIf(!canMount)(
    `an inbox that is mounted read-only${canMount ? '' : ' (skipped: no right to mount)'}`,
    async () => {
      const script = 'mount --bind "$INBOX" "$INBOX" && mount -o remount,ro,bind "$INBOX" && exec "$@"'
      const inbox = join(template, 'read-only')
      mkdirSync(inbox)
      const through = ['unshare', '-m', 'env', `INBOX=${inbox}`, 'sh', '-c', script, 'sh']
      using home = filled({ INBOX_DIR: inbox }, { through })
      await onlyError(
        home,
        'folders',
        /read-only, files cannot be read.*EROFS/,
        /mounted read-only: mount it for writing/,
      )
    },
    60_000,
  )

  it.skipIf(!isRoot)(
    `an inbox of another user${isRoot ? '' : ' (skipped: not root)'}`,
    async () => {
      using home = filled({}, { through: asNobody })
      for (const entry of ['', ...readdirSync(home.dir, { recursive: true, encoding: 'utf8' })])
        chownSync(join(home.dir, entry), NOBODY, NOBODY)
      chownSync(home.inbox, 0, 0)
      chmodSync(home.inbox, 0o755)
      await onlyError(
        home,
        'folders',
        /inbox, files cannot be read, written.*EACCES/,
        /chown -R nobody .*inbox, or run as root/,
      )
    },
    60_000,
  )

  it.skipIf(!isRoot)(
    `a data directory that cannot be entered: no check crashes${isRoot ? '' : ' (skipped: not root)'}`,
    async () => {
      using home = filled({}, { through: asNobody })
      chmodSync(home.dir, 0o755)
      chmodSync(home.dataDir, 0o700)
      const { code, bad } = await examined(home)
      expect(code).toBe(5)
      expect(bad.find(({ check }) => check === 'folders')?.todo).toMatch(/give this user the right/)
      for (const { todo } of bad) expect(todo).toBeTruthy()
    },
    60_000,
  )

  it.skipIf(!isRoot)(
    `root over the folders of another user is warned${isRoot ? '' : ' (skipped: not root)'}`,
    async () => {
      using home = filled()
      chownSync(home.inbox, NOBODY, NOBODY)
      const { code, bad } = await examined(home)
      expect(code).toBe(0)
      expect(bad).toMatchObject([
        { check: 'folders', verdict: 'warning', text: expect.stringContaining('belongs to nobody') },
      ])
    },
    60_000,
  )
})

describe('the ledger', () => {
  it('with pages of nonsense', async () => {
    using home = filled()
    damageTables(ledgerPath(home), ['audit'])
    await onlyError(home, 'ledger', /is damaged: /, /`restore` a backup, or `rebuild`/)
  }, 60_000)

  it('that is no database: every check that needs it says so, and none crashes', async () => {
    using home = filled()
    writeFileSync(ledgerPath(home), Buffer.alloc(9000, 0x41))
    const { code, bad } = await examined(home)
    expect(code).toBe(5)
    expect(bad.find(({ check }) => check === 'ledger')).toMatchObject({
      text: expect.stringContaining('file is not a database'),
      todo: expect.stringContaining('rebuild'),
    })
  }, 60_000)

  it('that is lost while there is a dataset', async () => {
    using home = filled()
    removeLedger(home)
    await onlyError(
      home,
      'ledger',
      /there is no ledger .*, but there is a dataset/,
      /do not start the pipeline; `restore`/,
    )
  }, 60_000)

  it('of a newer version', async () => {
    using home = filled()
    const db = new BetterSqlite3(ledgerPath(home))
    db.pragma('user_version = 999')
    db.close()
    await onlyError(home, 'ledger', /written by a newer version \(schema 999/, /start that version; or `restore`/)
  }, 60_000)

  it('that another host works on', async () => {
    using home = filled()
    const db = new BetterSqlite3(ledgerPath(home))
    db.prepare(
      `INSERT INTO jobs (stage, key, input, status, lease, lease_owner, lease_until, created_at, updated_at)
       VALUES ('convert', 'k', '{}', 'running', 'l', 'another-boot/1/2/3', ?, 0, 0)`,
    ).run(Date.now() + 60_000)
    db.close()
    await onlyError(
      home,
      'work',
      /another host, or this one before its restart, holds 1 leases/,
      /set STATE_DIR to a folder of each/,
    )
  }, 60_000)

  it('with work that was given up and receipts that do not balance', async () => {
    using home = filled()
    const db = new BetterSqlite3(ledgerPath(home))
    db.exec(`UPDATE captures SET state = 'unbalanced'`)
    db.exec(
      `INSERT INTO jobs (stage, key, input, status, error, created_at, updated_at) VALUES ('convert', 'k', '{}', 'failed', 'too hot', 0, 0)`,
    )
    db.close()
    const { code, bad } = await examined(home)
    expect(code).toBe(5)
    expect(bad).toMatchObject([
      {
        check: 'work',
        verdict: 'warning',
        text: expect.stringContaining('too hot'),
        todo: expect.stringContaining('retry'),
      },
      {
        check: 'work',
        verdict: 'error',
        text: expect.stringContaining('1 receipts do not balance'),
        todo: expect.stringContaining('reprocess'),
      },
    ])
  }, 60_000)
})

describe('the dataset', () => {
  it('without one of its files', async () => {
    using home = filled()
    rmSync(parquetFiles(home, 'dns')[0] as string)
    await onlyError(home, 'dataset', /1 files of the dataset are missing: parquet\/dns/, /`reprocess [0-9a-f]{16}`/)
  }, 60_000)

  it('with a file that was cut', async () => {
    using home = filled()
    const [file] = parquetFiles(home, 'conn') as [string]
    truncateSync(file, statSync(file).size - 100)
    await onlyError(
      home,
      'dataset',
      /have not the size that they were written in: parquet\/conn/,
      /move them out.*reprocess/,
    )
  }, 60_000)

  it('with a file that nobody recorded', async () => {
    using home = filled()
    const [file] = parquetFiles(home, 'conn') as [string]
    copyFileSync(file, file.replace('.parquet', '-copy.parquet'))
    await onlyError(home, 'dataset', /1 files of the dataset are in no receipt/, /`rebuild`/)
  }, 60_000)

  it('with bytes that turned, in a file of the right size: --deep finds it', async () => {
    using home = filled()
    const [path] = parquetFiles(home, 'conn') as [string]
    const file = openSync(path, 'r+')
    writeSync(file, Buffer.alloc(2000, 0xff), 0, 2000, 100)
    closeSync(file)
    expect((await examined(home)).bad).toEqual([])
    const { code, bad } = await examined(home, '--deep')
    expect(code).toBe(5)
    expect(bad.map(({ text }) => text)).toEqual([
      expect.stringMatching(/^parquet\/conn.* is damaged: /),
      expect.stringMatching(/conn: 0 rows where its receipt has \d+/),
    ])
  }, 60_000)
})

describe('what is around it', () => {
  it('a broker that is down', async () => {
    using home = filled({ BUS: 'kafka', KAFKA_BROKERS: '127.0.0.1:1' })
    await onlyError(home, 'broker', /no answer from 127\.0\.0\.1:1/, /start the broker, or correct KAFKA_BROKERS/)
  }, 60_000)

  it('an Elasticsearch that is down', async () => {
    using home = filled({ ELASTICSEARCH_NODE: 'http://127.0.0.1:1' })
    await onlyError(
      home,
      'elasticsearch',
      /127\.0\.0\.1:1 does not answer as Elasticsearch does/,
      /start it, or correct ELASTICSEARCH_NODE/,
    )
  }, 60_000)

  it('a port that somebody else has', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    using home = filled({ HTTP_ENABLED: 'true', HTTP_PORT: String(port) })
    await onlyError(
      home,
      'port',
      new RegExp(`:${port} is taken by process ${process.pid} `),
      /set HTTP_PORT to a port that is free/,
    )
    server.close()
  }, 60_000)

  it('a tshark that crashes', async () => {
    using home = filled({ PACKET_LOG: 'true', PATH: `${template}:${process.env.PATH}` })
    writeFileSync(join(template, 'tshark'), '#!/bin/sh\nkill -SEGV $$\n', { mode: 0o755 })
    await onlyError(
      home,
      'engines',
      /tshark \(.*\) does not read a tiny capture: it was ended by SIGSEGV/,
      /reinstall tshark/,
    )
  }, 60_000)

  it('a disk below its floor', async () => {
    using home = filled({ DISK_FLOOR_MB: '1048576' })
    await onlyError(
      home,
      'disk',
      /the floor \(DISK_FLOOR_MB\) is 1\.1 TB: nothing is taken in/,
      /free some space there/,
    )
  }, 60_000)

  it('a setting that is wrong', async () => {
    using home = filled({ SPLIT_LINES: 'many' })
    await onlyError(home, 'settings', /SPLIT_LINES in the environment is "many"; it must be/, /correct them in \.env/)
  }, 60_000)

  it('settings that take more memory than there is', async () => {
    using home = filled({ QUERY_MEMORY_MB: '1048576' })
    await onlyError(
      home,
      'memory',
      /the settings let the pipeline take 1\.1 TB at once/,
      /lower UPLOAD_MEMORY_MB, QUERY_MEMORY_MB/,
    )
  }, 60_000)

  it.each([
    ['stands at 1970', 0, /it is 1970-01-01T00:00:00Z, which cannot be/],
    ['went back', Date.now() - 86_400_000, /but the ledger was last written at .*: the clock went back/],
  ])(
    'a clock that %s',
    async (_what, time, text) => {
      using home = filled()
      const config = loadConfig({ env: { DATA_DIR: home.dataDir, PATH: process.env.PATH }, cwd: home.dir })
      using host = openHost({ config, layout: layoutFrom(config), deep: false, now: () => time })
      const found = (await examine(host)).filter(({ check }) => check === 'clock')
      expect(found).toEqual([
        {
          check: 'clock',
          verdict: 'error',
          text: expect.stringMatching(text),
          todo: expect.stringContaining('timedatectl set-ntp true'),
        },
      ])
    },
    60_000,
  )
})

const kafka = await noKafka()
describe.skipIf(kafka)(`over a broker that answers${kafka}`, () => {
  it('what is missing there is told, and that it will be made', async () => {
    const { bootstrap } = await brokerForTests()
    const settings = { BUS: 'kafka', KAFKA_BROKERS: bootstrap, KAFKA_TOPIC_PREFIX: uniquePrefix() }
    using home = filled(settings)
    const { code, findings } = await examined(home)
    expect(code).toBe(0)
    expect(findings.find(({ check }) => check === 'broker')?.text).toMatch(
      /answers; the first start creates \d+ topics/,
    )
    using strict = filled({ ...settings, KAFKA_CREATE_TOPICS: 'false' })
    await onlyError(strict, 'broker', /has no topic .*, and KAFKA_CREATE_TOPICS is false/, /create them/)
  }, 90_000)
})

const server = await noElasticsearch()
describe.skipIf(server)(`with an Elasticsearch that answers${server}`, () => {
  it('templates that are missing are a warning until they are installed', async () => {
    const [url, prefix] = [await nodeForTests(), indexPrefix()]
    onTestFinished(() => cleanUp(url, prefix))
    using home = filled({ ELASTICSEARCH_NODE: url, ELASTICSEARCH_INDEX_PREFIX: prefix })
    const before = await examined(home)
    expect(before).toMatchObject({
      code: 0,
      bad: [{ check: 'elasticsearch', text: expect.stringContaining('are not there') }],
    })
    expect((await home.run('elasticsearch', 'setup')).code).toBe(0)
    expect(await examined(home)).toMatchObject({ code: 0, bad: [] })
  }, 120_000)
})

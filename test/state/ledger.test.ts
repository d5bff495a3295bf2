import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Job } from '../../state/job.ts'
import { openLedger } from '../../state/ledger.ts'
import { processIdentity, stateOf } from '../../state/process-identity.ts'
import { testBench, testLayout } from '../support/pipeline.ts'

const ID = 'ab'.repeat(32)
const OTHER = 'ac'.repeat(32)
const PACKETS = { inFile: 10, decoded: 9, skipped: { 'corrupt record': 1 }, lostBytes: 0 }

function accept(bench: ReturnType<typeof testBench>, id = ID, name = 'office.pcap') {
  bench.ledger.captures.add({
    id,
    name,
    source: 'lab',
    format: 'pcap',
    bytes: 100,
    path: `captures/${id}.pcap`,
    state: 'accepted',
  })
  bench.ledger.captures.addArrival({
    name,
    source: 'lab',
    container: 'gzip',
    bytes: 50,
    fileSha256: `ff${id.slice(2)}`,
    captureId: id,
    outcome: 'accepted',
  })
}

function convert(bench: ReturnType<typeof testBench>, records: number, packets = PACKETS) {
  bench.ledger.captures.recordConversion(ID, {
    engine: 'tshark',
    engineVersion: '4',
    packets,
    warnings: [],
    logs: { dns: { records } },
  })
}

function commit(bench: ReturnType<typeof testBench>, rows: number, quarantined = 0) {
  const counts = [
    {
      captureId: ID,
      logType: 'dns',
      rows,
      quarantined,
      reasons: (quarantined ? { 'not JSON': quarantined } : {}) as Record<string, number>,
    },
  ]
  bench.ledger.commits.add({ id: `c${rows}-${quarantined}-${Math.random()}`, files: [], counts })
}

describe('receipts', () => {
  it('balances when packets and records are all accounted for', () => {
    const bench = testBench()
    accept(bench)
    convert(bench, 12)
    commit(bench, 7)
    commit(bench, 4, 1)
    for (const id of bench.ledger.commits.abandoned()) bench.ledger.commits.markPublished(id)
    const receipt = bench.ledger.receipt(ID)
    expect(receipt.problems).toEqual([])
    expect(receipt.balanced).toBe(true)
    expect(receipt.logs).toEqual([
      { logType: 'dns', records: 12, rows: 11, quarantined: 1, removed: 0, reasons: { 'not JSON': 1 }, balanced: true },
    ])
    bench.ledger.settle(ID)
    expect(bench.ledger.captures.get(ID)?.state).toBe('done')
  })

  it.each([
    ['a row too few', 11, PACKETS, /dns: 12 records made, but 11 rows/],
    ['a row too many', 13, PACKETS, /dns: 12 records made, but 13 rows/],
    ['a packet lost', 12, { ...PACKETS, decoded: 8 }, /10 packets in the file, but 8 decoded and 1 skipped/],
  ])('does not balance with %s, and says so', (_what, rows, packets, problem) => {
    const bench = testBench()
    accept(bench)
    convert(bench, 12, packets)
    commit(bench, rows)
    for (const id of bench.ledger.commits.abandoned()) bench.ledger.commits.markPublished(id)
    expect(bench.ledger.receipt(ID).problems.join()).toMatch(problem)
    bench.ledger.settle(ID)
    expect(bench.ledger.captures.get(ID)?.state).toBe('unbalanced')
  })

  it('a capture is not finished while rows are recorded but not in their place', () => {
    const bench = testBench()
    accept(bench)
    convert(bench, 5)
    commit(bench, 5)
    bench.ledger.settle(ID)
    expect(bench.ledger.captures.get(ID)?.state).toBe('accepted')
    expect(bench.ledger.receipt(ID).balanced).toBe(false)
  })

  it('a failed job is named with its reason', () => {
    const bench = testBench()
    accept(bench)
    bench.ledger.jobs.add({ stage: 'convert', key: ID, captureId: ID, input: {} })
    const [job] = bench.ledger.jobs.claim({ stage: 'convert', leaseMs: 1000 })
    bench.ledger.jobs.fail(job as Job, { code: 'engine_failed', message: 'the engine crashed' })
    bench.ledger.settle(ID)
    expect(bench.ledger.captures.get(ID)?.state).toBe('failed')
    expect(bench.ledger.receipt(ID).problems.join()).toContain('convert gave up: the engine crashed')
  })
})

describe('finding a capture', () => {
  it('by the beginning of either hash, or by a file name', () => {
    const bench = testBench()
    accept(bench)
    for (const text of [ID, ID.slice(0, 6), ID.slice(0, 6).toUpperCase(), `ff${ID.slice(2, 10)}`, 'office.pcap']) {
      expect(bench.ledger.captures.resolve(text).id).toBe(ID)
    }
  })

  it('says when nothing fits, and when several do', () => {
    const bench = testBench()
    accept(bench)
    accept(bench, OTHER, 'home.pcap')
    expect(() => bench.ledger.captures.resolve('nowhere.pcap')).toThrow(/no capture is known as "nowhere.pcap"/)
    expect(bench.ledger.captures.resolve('abab').id).toBe(ID)
    accept(bench, 'abab'.padEnd(64, '0'), 'third.pcap')
    expect(() => bench.ledger.captures.resolve('abab')).toThrow(/fits 2 captures/)
    expect(() => bench.ledger.captures.resolve('a%')).toThrow(/no capture is known/)
  })
})

describe('the file', () => {
  it('keeps what was recorded, and is migrated once', () => {
    const layout = testLayout()
    using first = openLedger(layout.ledger)
    first.jobs.add({ stage: 'convert', key: 'a', input: {} })
    using second = openLedger(layout.ledger)
    expect(second.jobs.list()).toHaveLength(1)
  })

  it('a file that is no ledger is refused with what to do', () => {
    const path = join(testLayout().dataDir, 'broken.db')
    writeFileSync(path, 'no database at all, '.repeat(100))
    expect(() => openLedger(path)).toThrow(/cannot be opened.*restore/)
  })
})

/** As another user whose /proc shows that user's processes alone; what the command says. */
function asStranger(command: string[]): string {
  const hide =
    'mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"'
  return spawnSync('unshare', ['--mount', '--', 'sh', '-c', hide, 'sh', ...command], { encoding: 'utf8' }).stdout.trim()
}

const readsThis = `process.stdout.write(String(require('node:fs').statSync(process.argv[1]).isFile()))`
const canHide =
  process.getuid?.() === 0 && asStranger([process.execPath, '-e', readsThis, import.meta.filename]) === 'true'

describe('process identities', () => {
  it('tell the living from the dead, even when the process id is used again', async () => {
    expect(stateOf(processIdentity())).toBe('alive')
    const [boot, namespace, , started] = processIdentity().split('/')
    expect(stateOf(`${boot}/${namespace}/${process.pid}/1`)).toBe('dead')
    expect(stateOf(`${boot}/${namespace}/99999999/${started}`)).toBe('dead')
    expect(stateOf(`another-boot/${namespace}/${process.pid}/${started}`)).toBe('dead')
    expect(stateOf(`${boot}/1/${process.pid}/${started}`)).toBe('unknown')
  })

  it.skipIf(!canHide)(
    `leave it open where the system hides a process${canHide ? '' : ' (skipped: only root can hide one)'}`,
    () => {
      const module = JSON.stringify(join(import.meta.dirname, '../../state/process-identity.ts'))
      const script = `const { stateOf } = await import(${module}); console.log(stateOf(process.argv[1]))`
      const node = [process.execPath, '--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script]
      const identity = processIdentity()
      const gone = identity.replace(/\/\d+\/\d+$/, '/99999999/1')
      expect([identity, gone].map((each) => asStranger([...node, each]))).toEqual(['unknown', 'dead'])
    },
  )

  it('a lease of a killed process is free at once', async () => {
    const layout = testLayout()
    using ledger = openLedger(layout.ledger)
    ledger.jobs.add({ stage: 'convert', key: 'a', input: {} })
    const worker = fork(join(import.meta.dirname, '../support/claim-and-hang.ts'), [layout.ledger])
    await once(worker, 'message')
    expect(ledger.jobs.reclaim()).toBe(0)
    worker.kill('SIGKILL')
    await once(worker, 'exit')
    expect(ledger.jobs.reclaim()).toBe(1)
    expect(ledger.jobs.claim({ stage: 'convert', leaseMs: 1000 })).toHaveLength(1)
  })
})

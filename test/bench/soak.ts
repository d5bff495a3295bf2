/**
 * `npm run bench -- soak [--minutes 45] [--budget-gb 2] [--capture FILE] [--keep DIR]`: captures are dropped at twice the
 * rate at which they become rows, into a data directory with a budget. Memory of all processes and the use of the disk are
 * looked at all the time. In the end intake stops and what was taken in drains: every capture that was accepted must have
 * a receipt that balances, with as many rows as its copies, less those that retention removed; every other one must still
 * lie in the inbox. Exit code 1 when one of these does not hold.
 */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bytesBelow } from '../../src/disk/use.ts'
import { layoutOf } from '../../state/layout.ts'
import { openLedger } from '../../state/ledger.ts'
import { makeBigCapture } from '../support/big-capture.ts'
import { makeHome } from '../support/cli.ts'
import { rssOfTree } from '../support/measure.ts'
import { openCaptureMaker } from '../support/shifted-captures.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '45' },
    'budget-gb': { type: 'string', default: '2' },
    capture: { type: 'string' },
    keep: { type: 'string' },
  },
})

const MB = 2 ** 20
const SAMPLE = join(import.meta.dirname, '../fixtures/sample.pcap')
const SHARED = join(import.meta.dirname, '../../../shared/tools/make_big.py')
const minutes = Number(values.minutes)
const budget = Number(values['budget-gb']) * 1024 * MB
/** What may lie beyond the budget for a moment: see docs/operating.md. */
const SLACK = 64 * MB
/** Files in the inbox take disk as well: no more are dropped while so much waits there. */
const INBOX_MOST = 1024 * MB
const SAMPLE_EVERY_MS = 2_000
const MEASURED_SHARE = 0.15

const home = makeHome({
  DISK_BUDGET_MB: String(Math.round(budget / MB)),
  DISK_FLOOR_MB: '256',
  COMPACT_AFTER_MINUTES: '1',
  HEALTH_INTERVAL_SECONDS: '60',
})
process.on('exit', () => home[Symbol.dispose]())
const scratch = mkdtempSync(join(tmpdir(), 'soak-'))
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }))
const layout = layoutOf(home.dataDir)
const base = values.capture ?? (existsSync(SHARED) ? makeBigCapture(join(scratch, 'base.pcap'), '4MB') : SAMPLE)
const maker = openCaptureMaker(base, base === SAMPLE ? 40 : 1)
mkdirSync(home.inbox, { recursive: true })

let dropped = 0
/**
 * Each begins some seconds after the last, from six hours ago on, in hours that are closed; 7 and 14,400 have no factor in
 * common, so that so many are distinct.
 */
const firstHour = Math.floor(Date.now() / 3_600_000) * 3600 - 6 * 3600
function drop(): void {
  const name = `capture-${String(dropped).padStart(6, '0')}.pcap`
  const part = join(home.inbox, `.${name}.part`)
  writeFileSync(part, maker.at(firstHour + ((dropped * 7) % 14_400)))
  renameSync(part, join(home.inbox, name))
  dropped++
}

interface Sample {
  minute: number
  rssMb: number
  diskMb: number
  waiting: number
  done: number
}

const samples: Sample[] = []
const began = performance.now()
const elapsed = () => (performance.now() - began) / 60_000

function look(service: ChildProcess, done: number): void {
  const diskMb = (bytesBelow(home.dataDir) - bytesBelow(home.inbox)) / MB
  const rssMb = rssOfTree(service.pid ?? 0)
  samples.push({ minute: elapsed(), rssMb, diskMb, waiting: inboxFiles().length, done })
}

function inboxFiles(): string[] {
  return readdirSync(home.inbox).filter((name) => !name.startsWith('.'))
}

const service = startService('run')
await until(() => existsSync(layout.ledger), 60_000)
await sleep(2_000)
using ledger = openLedger(layout.ledger)
const doneNow = () => ledger.captures.summary().states.done ?? 0

// First as many as are taken: the inbox is never empty and never full.
console.log(`captures of ${(maker.bytes / MB).toFixed(1)} MB; first the rate at which they become rows`)
let nextLook = 0
const warmUp = minutes * MEASURED_SHARE * 0.3
let from = { minute: 0, done: 0 }
while (elapsed() < minutes * MEASURED_SHARE) {
  while (inboxFiles().length < 8) drop()
  if (from.minute === 0 && elapsed() > warmUp) from = { minute: elapsed(), done: doneNow() }
  lookWhenDue()
  await sleep(100)
}
const perMinute = Math.max(1, (doneNow() - from.done) / (elapsed() - from.minute))
console.log(
  `${perMinute.toFixed(0)} captures a minute (${((perMinute * maker.bytes) / MB / 60).toFixed(2)} MB/s); now twice as many are dropped`,
)

const feedingFrom = elapsed()
let fed = 0
let skipped = 0
while (elapsed() < minutes) {
  const due = Math.floor((elapsed() - feedingFrom) * 2 * perMinute)
  for (; fed < due; fed++) {
    if (inboxFiles().length * maker.bytes < INBOX_MOST) drop()
    else skipped++
  }
  lookWhenDue()
  await sleep(100)
}

console.log('intake stops; what was taken in drains')
await stop(service)
const drainers = ['convert', 'split', 'distribute', 'upload'].map((stage) => startService('stage', stage))
const busy = () => ledger.jobs.depths().some(({ stage, status }) => stage !== 'monitor' && status !== 'failed')
await until(() => !busy() && ledger.captures.list({ state: 'accepted' }).length === 0, 600_000)
for (const drainer of drainers) await stop(drainer)
report()

function report(): void {
  console.log('\nminute    RSS MB   disk MB   in the inbox   done')
  const every = Math.max(1, Math.floor(samples.length / 24))
  for (const { minute, rssMb, diskMb, waiting, done } of samples.filter((_, i) => i % every === 0))
    console.log(
      [
        minute.toFixed(1).padStart(6),
        rssMb.toFixed(0).padStart(9),
        diskMb.toFixed(0).padStart(9),
        String(waiting).padStart(14),
        String(done).padStart(6),
      ].join(' '),
    )
  const half = samples.slice(Math.floor(samples.length / 2))
  const peakDisk = Math.max(...samples.map(({ diskMb }) => diskMb))
  const peakRss = Math.max(...samples.map(({ rssMb }) => rssMb))
  console.log(
    `\nRSS: peak ${peakRss.toFixed(0)} MB, ${slope(half, 'rssMb').toFixed(1)} MB an hour over the second half`,
  )
  console.log(`disk: peak ${peakDisk.toFixed(0)} MB of a budget of ${(budget / MB).toFixed(0)} MB`)

  const captures = ledger.captures.list()
  const receipts = captures.map(({ id }) => ledger.receipt(id))
  const expected = receipts[0]?.total.records ?? 0
  const removed = receipts.reduce((sum, { total }) => sum + total.removed, 0)
  const rows = receipts.reduce((sum, { total }) => sum + total.rows, 0)
  const inTables = ledger.commits.publishedTotals()
  const known = new Set([...ledger.captures.arrivals().map(({ name }) => name), ...inboxFiles()])
  const lost = Array.from({ length: dropped }, (_, i) => `capture-${String(i).padStart(6, '0')}.pcap`).filter(
    (name) => !known.has(name),
  )
  const filesGone = captures.filter(({ fileRemovedAt }) => fileRemovedAt !== null).length
  console.log(
    `captures: ${dropped} dropped (${skipped} more held back), ${captures.length} taken in, ${inboxFiles().length} in the inbox; the files of ${filesGone} removed by retention`,
  )
  console.log(
    `rows: ${rows} of ${captures.length} × ${expected}, ${removed} removed by retention; ${inTables.files} files of the dataset`,
  )
  const checks: [string, boolean][] = [
    ['every receipt balances', receipts.every(({ balanced }) => balanced)],
    ['every capture made as many records', receipts.every(({ total }) => total.records === expected)],
    [
      'all rows are there, or removed by retention',
      rows + removed === expected * captures.length && rows === inTables.rows,
    ],
    ['every capture is taken in or in the inbox', lost.length === 0],
    ['the budget was kept', peakDisk * MB <= budget + SLACK],
    ['intake and retention had something to do', filesGone > 0 && inboxFiles().length > 0],
  ]
  for (const [what, holds] of checks) console.log(`${holds ? 'yes' : 'NO '}  ${what}`)
  if (checks.slice(0, -1).some(([, holds]) => !holds)) process.exitCode = 1
  if (values.keep !== undefined) renameSync(home.dataDir, values.keep)
}

/** Least squares, by the hour. */
function slope(of: readonly Sample[], column: 'rssMb' | 'diskMb'): number {
  const mean = (numbers: number[]) => numbers.reduce((sum, n) => sum + n, 0) / Math.max(1, numbers.length)
  const [x, y] = [mean(of.map(({ minute }) => minute)), mean(of.map((each) => each[column]))]
  const over = of.reduce((sum, each) => sum + (each.minute - x) * (each[column] - y), 0)
  return (
    (60 * over) /
    Math.max(
      1e-9,
      of.reduce((sum, { minute }) => sum + (minute - x) ** 2, 0),
    )
  )
}

function lookWhenDue(): void {
  if (performance.now() < nextLook) return
  nextLook = performance.now() + SAMPLE_EVERY_MS
  look(service, doneNow())
}

function startService(...args: string[]): ChildProcess {
  const child = home.start(...args)
  child.stdout?.resume()
  child.stderr?.resume()
  return child
}

async function stop(child: ChildProcess): Promise<void> {
  child.kill('SIGTERM')
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

async function sleep(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

async function until(condition: () => boolean, limitMs: number): Promise<void> {
  const deadline = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('it does not come to an end')
    await sleep(250)
  }
}

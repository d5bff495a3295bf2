/** A process whose only worker stands still, for tests of what becomes of the worker. Tells the worker's id. */

import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPool } from '../../src/engines/tshark/pool.ts'

const capturePath = process.argv[2] as string
const pool = createPool({
  workers: 1,
  memoryBytes: 512 << 20,
  silenceMs: 600_000,
  worker: new URL('poisoned-worker.ts', import.meta.url),
})
const outPath = join(mkdtempSync(join(tmpdir(), 'hangs-')), 'lines')
const pass = { captureId: 'c'.repeat(64), source: { capturePath }, outPath }
pool.pass(pass, { signal: new AbortController().signal }).catch(() => {})

const looking = setInterval(() => {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1').trim().split(' ')
  const worker = children.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('poisoned-worker'))
  if (worker === undefined) return
  clearInterval(looking)
  // By then it has its task.
  setTimeout(() => process.send?.(Number(worker)), 1000)
}, 100)

/** A worker that takes a job and never ends, for tests of what happens when it is killed. */

import { openLedger } from '../../state/ledger.ts'

const ledger = openLedger(process.argv[2] as string)
const jobs = ledger.jobs.claim({ stage: 'convert', leaseMs: 3_600_000 })
process.send?.(jobs.length)
setInterval(() => {}, 1000)

/**
 * The bus that needs no server: the ledger itself. A hand-off is the next stage's row, and completing a job is one
 * SQLite transaction.
 */

import type { Bus } from '../../stages/bus.ts'
import type { Ledger } from '../../state/ledger.ts'

export function createEmbeddedBus(ledger: Ledger): Bus {
  return {
    claim: (request) => ledger.jobs.claim(request),
    expects: (stages) => ledger.jobs.busy(stages),
    async complete(completion, { guard }) {
      ledger.transaction(() => {
        guard?.()
        ledger.record(completion)
      })
    },
    async fail(job, failure) {
      ledger.transaction(() => {
        ledger.jobs.fail(job, failure)
        if (job.captureId !== undefined) ledger.settle(job.captureId)
      })
    },
    // There are none.
    announce: async () => {},
    // Its commits have no moment in between.
    recover: async () => {},
    // Runners look at the queue by themselves.
    join: async () => {},
    counters: () => ({}),
    close: async () => {},
  }
}

/** `node upkeep-process.ts DATA_DIR compact|retain`: does it once over a data directory, in a process that may be killed. */

import { compact } from '../../src/dataset/compact.ts'
import { applyRetention } from '../../src/dataset/retention.ts'
import { planRetention } from '../../src/dataset/retention-plan.ts'
import { layoutOf } from '../../state/layout.ts'
import { openLedger } from '../../state/ledger.ts'

const [dataDir, what] = process.argv.slice(2) as [string, string]
const layout = layoutOf(dataDir)
const quiet = () => {}
const log = { debug: quiet, info: quiet, warn: quiet, error: quiet, child: () => log }
using ledger = openLedger(layout.ledger)
process.stdout.write('ready\n')
if (what === 'compact') await compact({ ledger, layout, log, afterMs: 60_000, hasSpace: () => true })
else {
  const old = { maxBytes: 0, maxAgeMs: 86_400_000 }
  const limits = { captures: old, parquet: old, quarantine: old }
  await applyRetention({ ledger, layout, log }, await planRetention({ ledger, layout, limits }, { budgetBytes: 0 }))
}

import { createEmbeddedBus } from '../../../src/bus/embedded.ts'
import { describeBus } from '../../contracts/bus.ts'
import { testBench } from '../../support/pipeline.ts'

describeBus('the embedded bus', async () => {
  const { ledger, layout } = testBench()
  return { hasLedgers: false, host: async () => ({ ledger, layout, bus: createEmbeddedBus(ledger) }) }
})

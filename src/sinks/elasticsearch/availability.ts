/**
 * Whether the server is worth asking: after a failure not for a while, which grows up to half a minute. That it is down
 * is said once, and once that it is back.
 */

import type { Log } from '../../../stages/ports.ts'
import { PipelineError } from '../../../state/errors.ts'

export interface Availability {
  isReady(): boolean
  /** Runs a call of the server and learns from how it ends. */
  watch<T>(call: () => Promise<T>): Promise<T>
}

const FIRST_MS = 1_000
const LONGEST_MS = 30_000

export function createAvailability(log: Log): Availability {
  let failures = 0
  let notBefore = 0
  let said = ''

  function failed(error: PipelineError): void {
    failures++
    notBefore = performance.now() + Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1))
    if (said === error.message) return
    said = error.message
    log.error('nothing is indexed until Elasticsearch takes it; everything else goes on', { error: error.message })
  }

  function worked(): void {
    if (failures === 0) return
    failures = 0
    notBefore = 0
    said = ''
    log.info('Elasticsearch takes documents again')
  }

  return {
    isReady: () => performance.now() >= notBefore,
    async watch(call) {
      try {
        const result = await call()
        worked()
        return result
      } catch (error) {
        if (error instanceof PipelineError && error.code === 'sink_down') failed(error)
        throw error
      }
    },
  }
}

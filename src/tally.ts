/**
 * What the runners of this process have done since it started: counters that only grow. In: the runners' events. Out: a
 * count for each stage.
 */

import type { Observer } from '../stages/runner.ts'
import { STAGE_NAMES, type StageName } from '../state/job.ts'

export interface StageTally {
  done: number
  events: number
  bytes: number
  /** Of finished calls, and how many there were: a call may take several jobs. */
  seconds: number
  calls: number
  givenUp: number
  /** Attempts that failed, by the code of the error. */
  failures: Map<string, number>
}

export interface Tally {
  observer: Observer
  stages: ReadonlyMap<StageName, StageTally>
}

export function createTally(): Tally {
  const stages = new Map(STAGE_NAMES.map((stage) => [stage, emptyTally()]))
  const of = (stage: StageName) => stages.get(stage) as StageTally
  return {
    stages,
    observer: {
      done(stage, jobs, elapsedMs) {
        const tally = of(stage)
        tally.calls++
        tally.done += jobs.length
        tally.seconds += elapsedMs / 1000
        for (const { events, bytes } of jobs) {
          tally.events += events
          tally.bytes += bytes
        }
      },
      failed(stage, _job, { code }, final) {
        const { failures } = of(stage)
        failures.set(code, (failures.get(code) ?? 0) + 1)
        if (final) of(stage).givenUp++
      },
    },
  }
}

function emptyTally(): StageTally {
  return { done: 0, events: 0, bytes: 0, seconds: 0, calls: 0, givenUp: 0, failures: new Map() }
}

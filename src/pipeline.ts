/**
 * A running pipeline: some or all of the stages, the inbox's watcher, the sweeper and the health line, over one
 * data directory. Several of them, in one process or many, share it.
 */

import type { Bus } from '../stages/bus.ts'
import { probeInbox, type Watcher, watchInbox } from '../stages/monitor/watch.ts'
import type { Log } from '../stages/ports.ts'
import { type Observer, type Runner, type RunnerOptions, type Signs, startRunner } from '../stages/runner.ts'
import type { Stage } from '../stages/stage.ts'
import { sweep } from '../stages/sweep.ts'
import { messageOf } from '../state/errors.ts'
import type { StageName } from '../state/job.ts'
import type { Layout } from '../state/layout.ts'
import type { Ledger } from '../state/ledger.ts'
import { resumeRemovals } from './dataset/remove-capture.ts'
import type { Upkeep } from './dataset/upkeep.ts'
import type { DiskGuard } from './disk/guard.ts'
import { startHealth } from './health.ts'
import type { Indexing } from './indexing.ts'

export interface PipelineOptions {
  ledger: Ledger
  bus: Bus
  layout: Layout
  log: Log
  /** All of them, in order: recovery needs each of them, whichever run here. */
  stages: readonly Stage[]
  run: readonly StageName[]
  /** Watch the inbox; needs the monitor to run here. */
  watch: boolean
  inbox: { stabilityMs: number; rescanMs: number; polling: boolean }
  concurrency: Record<StageName, number>
  jobs: Pick<RunnerOptions, 'leaseMs' | 'maxAttempts' | 'backoffMs'>
  /** Absent where no Elasticsearch is set. */
  indexing?: Indexing
  /** Is told what the runners do. */
  observer?: Observer
  disk: DiskGuard
  /** Retention, compaction and pruning; absent where this process does not do them. */
  upkeep?: Upkeep
  health: { intervalMs: number; bufferBytes: number }
}

export interface Pipeline {
  /** What tells whether it moves, by stage. */
  signs(): ReadonlyMap<StageName, Signs>
  /** Looks at the queues and the inbox now. */
  wake(): void
  /** Ends or gives back what is in hand within the limit. */
  stop(limitMs: number): Promise<void>
}

const SWEEP_EVERY_MS = 30_000
const PROBE_AGAIN_MS = 10_000

export async function startPipeline(options: PipelineOptions): Promise<Pipeline> {
  const { ledger, bus, layout, log, stages, run, watch, inbox, concurrency, jobs, indexing, disk, upkeep, health } =
    options
  const also = options.observer
  const component = (name: string) => log.child({ component: name })
  const mayClaim = (stage: StageName) => disk.mayClaim(stage) && (indexing?.mayClaim(stage) ?? true)
  const healthLine = startHealth({ ledger, bus, log: component('health'), ...health })
  const runners = new Map<StageName, Runner>()
  let isSweeping = false
  const wake = () => {
    for (const runner of runners.values()) runner.wake()
  }

  await sweepNow()
  for (const stage of stages.filter(({ name }) => run.includes(name))) {
    const observer = {
      ...healthLine.observer,
      done: (...done: Parameters<NonNullable<typeof healthLine.observer.done>>) => {
        healthLine.observer.done?.(...done)
        also?.done?.(...done)
        wake()
      },
      failed: (...failed: Parameters<NonNullable<typeof healthLine.observer.failed>>) => {
        healthLine.observer.failed?.(...failed)
        also?.failed?.(...failed)
      },
    }
    const { name } = stage
    runners.set(
      name,
      startRunner(stage, {
        ledger,
        bus,
        layout,
        log: component(name),
        concurrency: concurrency[name],
        ...jobs,
        mayClaim,
        reserve: disk.reserve,
        observer,
      }),
    )
  }
  await bus.join({ stages: run, onWork: wake, mayClaim: disk.mayClaim })
  let watcher: Watcher | undefined
  let probing: NodeJS.Timeout | undefined
  if (watch) await startWatcher()
  if (run.includes('index')) indexing?.startUpkeep()
  upkeep?.start(wake)
  const sweeping = setInterval(() => void sweepNow(), SWEEP_EVERY_MS)

  /** An inbox that cannot be used is an alarm, not an end: what is in work goes on. */
  async function startWatcher(): Promise<void> {
    try {
      await probeInbox(layout.inbox)
      watcher = await watchInbox({
        inbox: layout.inbox,
        ...inbox,
        ledger,
        log: component('monitor'),
        onQueued: wake,
        mayQueue: () => mayClaim('monitor'),
      })
    } catch (error) {
      component('monitor').error(
        `files in the inbox ${layout.inbox} cannot be read, renamed or deleted, so nothing comes in; give this user the right to, it is tried again every ${PROBE_AGAIN_MS / 1000} s`,
        { error: messageOf(error) },
      )
      probing = setTimeout(() => void startWatcher(), PROBE_AGAIN_MS)
    }
  }

  async function sweepNow(): Promise<void> {
    if (isSweeping) return
    isSweeping = true
    try {
      await sweep({ stages, bus, ledger, layout, log: component('recovery') })
      await resumeRemovals({
        ...{ ledger, bus, layout, indexing },
        recover: () => recoverAll(stages, component('recovery')),
      })
    } catch (error) {
      component('recovery').error('recovery failed; it is tried again', { error: messageOf(error) })
    } finally {
      isSweeping = false
    }
    wake()
  }

  return {
    wake() {
      watcher?.rescan()
      wake()
    },
    signs: () => new Map([...runners].map(([name, runner]) => [name, runner.signs()])),
    async stop(limitMs) {
      clearInterval(sweeping)
      clearTimeout(probing)
      await watcher?.close()
      await Promise.all([...runners.values()].map((runner) => runner.stop(limitMs)))
      await upkeep?.stop()
      disk.close()
      await bus.close()
      healthLine.close()
    },
  }
}

export async function recoverAll(stages: readonly Stage[], log: Log): Promise<void> {
  for (const stage of stages) await stage.recover?.(log)
}

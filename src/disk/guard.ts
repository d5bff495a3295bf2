/**
 * Keeps the pipeline from filling the disk: intake and conversions wait while the free space would fall below the floor,
 * or the budget be crossed, and go on by themselves. What turns work space into rows goes on, since it frees some.
 *
 * Work space is promised before it is used: in one transaction of the ledger the sum of what is used, of what is promised
 * and of what a job needs is held against the limits. So two processes cannot be promised the same space.
 */

import type { Log } from '../../stages/ports.ts'
import type { Job, StageName } from '../../state/job.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { WaitReason } from '../../state/space.ts'
import { type DiskLimits, type DiskMeter, type DiskUse, leftOf, needOf } from './use.ts'

const MB = 1024 * 1024
const LOOK_EVERY_MS = 1000
const PAUSED: readonly StageName[] = ['monitor', 'convert']
/** Captures that wait to be converted take no more than this part of the budget: the others wait in the inbox. */
const BACKLOG_SHARE = 0.1
/** While a job waits nothing overtakes it; then others may, if they fit. */
const PATIENCE_MS = 60_000
const RENEW_EVERY_MS = 5_000

export interface DiskGuard {
  /** No while there is no space for more work of this stage. */
  mayClaim(stage: StageName): boolean
  /** Promises the space that these jobs need to their lease; false when there is none now. */
  reserve(stage: StageName, jobs: readonly Job[]): boolean
  /** How much an intake may still write; negative when it must stop. */
  leftBytes(): number
  /** Ends a wait that this process has told of. */
  close(): void
}

export interface DiskGuardOptions {
  ledger: Ledger
  meter: DiskMeter
  limits: DiskLimits
  log: Log
}

interface Block {
  stage: StageName
  wanted: number
  why: WaitReason
  /** `performance.now()`, and the same by the clock. */
  from: number
  since: number
  toldAt: number
}

export function createDiskGuard({ ledger, meter, limits, log }: DiskGuardOptions): DiskGuard {
  const isOn = limits.budgetBytes > 0 || limits.floorBytes > 0
  let lookedAt = Number.NEGATIVE_INFINITY
  let block: Block | undefined

  /**
   * What keeps so many bytes from being promised; nothing when they may be. A file that is taken in is renamed most
   * often: it counts for the budget, while a copy looks at the free space itself.
   */
  function obstacle(stage: StageName, bytes: number, use: DiskUse): WaitReason | undefined {
    const left = leftOf(use, limits)
    const need = needOf(stage, bytes, use.logsRatio)
    if (stage === 'convert') return left.floor < need ? 'floor' : left.budget < need ? 'budget' : undefined
    const isBacklog = use.backlogBytes > 0 && use.backlogBytes + bytes > limits.budgetBytes * BACKLOG_SHARE
    if (limits.budgetBytes > 0 && isBacklog) return 'backlog'
    // What is taken in must be convertible afterwards, beside whatever else waits for it.
    const room = Math.max(use.largestWaitingNeed, needOf('convert', bytes, use.logsRatio))
    return left.floor < room ? 'floor' : left.budget < need + room ? 'budget' : undefined
  }

  /** The free space has fallen below the floor by whatever: nothing is begun, whether or not a job has asked. */
  function look(): void {
    if (!isOn || performance.now() - lookedAt < LOOK_EVERY_MS) return
    lookedAt = performance.now()
    const use = meter.measure()
    if (block === undefined) {
      if (use.freeBytes < limits.floorBytes) begin('monitor', 0, 'floor', use)
      return
    }
    if (obstacleOf(block, use) === undefined) end(use)
    else if (performance.now() - block.toldAt > RENEW_EVERY_MS) tell(block)
  }

  function obstacleOf({ stage, wanted }: Block, use: DiskUse): WaitReason | undefined {
    return use.freeBytes < limits.floorBytes ? 'floor' : wanted === 0 ? undefined : obstacle(stage, wanted, use)
  }

  function begin(stage: StageName, wanted: number, why: WaitReason, use: DiskUse): void {
    const isNews = block === undefined
    block ??= { stage, wanted, why, from: performance.now(), since: Date.now(), toldAt: 0 }
    if (block.stage !== stage || block.wanted !== wanted || block.why !== why)
      Object.assign(block, { stage, wanted, why })
    tell(block)
    if (!isNews) return
    const values = {
      stage,
      needs_mb: Math.ceil(needOf(stage, wanted, use.logsRatio) / MB),
      used_mb: Math.round(use.usedBytes / MB),
      promised_mb: Math.round(use.promisedBytes / MB),
      free_mb: Math.round(use.freeBytes / MB),
      floor_mb: Math.round(limits.floorBytes / MB),
      ...(limits.budgetBytes > 0 && { budget_mb: Math.round(limits.budgetBytes / MB) }),
    }
    if (why === 'floor') log.error(MESSAGES.floor, values)
    else log.warn(MESSAGES[why], values)
  }

  function tell(told: Block): void {
    told.toldAt = performance.now()
    // The bytes that retention is to make room for.
    const use = meter.measure()
    const need = needOf(told.stage, told.wanted, use.logsRatio)
    const room = told.stage === 'monitor' ? needOf('convert', told.wanted, use.logsRatio) : 0
    ledger.space.wait({ stage: told.stage, wanted: need + room, why: told.why, since: told.since })
  }

  function end(use: DiskUse): void {
    block = undefined
    ledger.space.endWait()
    log.info('there is disk space again: intake goes on', {
      free_mb: Math.round(use.freeBytes / MB),
      used_mb: Math.round(use.usedBytes / MB),
    })
  }

  return {
    mayClaim(stage) {
      look()
      if (block === undefined || !PAUSED.includes(stage)) return true
      // A conversion may go on while intake waits; the other way round it would take the space away.
      if (block.why !== 'floor' && block.stage === 'monitor' && stage === 'convert') return true
      const isPatient = performance.now() - block.from < PATIENCE_MS || block.wanted === 0 || block.why === 'backlog'
      return !isPatient
    },
    reserve(stage, jobs) {
      if (!isOn || !PAUSED.includes(stage)) return true
      // Folders that are due are walked here, not while others wait for the ledger.
      meter.measure()
      return ledger.transaction(() => {
        const use = meter.measure()
        const bytes = jobs.reduce((sum, job) => sum + job.bytes, 0)
        const others = stage === 'convert' ? { ...use, largestWaitingNeed: 0 } : use
        const why = obstacle(stage, bytes, others)
        if (why !== undefined) {
          begin(stage, bytes, why, use)
          return false
        }
        const [job] = jobs
        if (job !== undefined) ledger.space.reserve(job.lease, needOf(stage, bytes, use.logsRatio))
        return true
      })
    },
    leftBytes() {
      if (!isOn) return Number.POSITIVE_INFINITY
      const { budget, floor } = leftOf(meter.measure(), limits)
      return Math.min(budget, floor)
    },
    close() {
      if (block !== undefined) ledger.space.endWait()
    },
  }
}

const MESSAGES: Record<WaitReason, string> = {
  floor: 'the disk is nearly full: intake is paused until there is space again (DISK_FLOOR_MB)',
  budget: 'the budget is used up: intake is paused until there is space again (DISK_BUDGET_MB)',
  backlog: 'intake waits until what was taken in is converted: it takes a tenth of the budget (DISK_BUDGET_MB)',
}

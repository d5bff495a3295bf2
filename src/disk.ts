/**
 * Keeps the pipeline from filling the disk: intake and everything that makes work bigger pause while free space
 * is below the floor, and go on by themselves. What turns work space into rows goes on, since it frees some.
 */

import { statfsSync } from 'node:fs'
import type { Log } from '../stages/ports.ts'
import type { StageName } from '../state/job.ts'

const MB = 1024 * 1024
const LOOK_EVERY_MS = 1000
const PAUSED: readonly StageName[] = ['monitor', 'convert', 'split']

export interface DiskGuard {
  mayClaim(stage: StageName): boolean
}

export function createDiskGuard({
  dirs,
  floorBytes,
  log,
}: {
  /** They may lie on several disks; the fullest counts. */
  dirs: readonly string[]
  floorBytes: number
  log: Log
}): DiskGuard {
  let lookedAt = Number.NEGATIVE_INFINITY
  let paused = false

  function look(): void {
    if (performance.now() - lookedAt < LOOK_EVERY_MS) return
    lookedAt = performance.now()
    const free = Math.min(...dirs.map(freeBytes))
    if (free < floorBytes === paused) return
    paused = !paused
    const values = { free_mb: Math.round(free / MB), floor_mb: Math.round(floorBytes / MB) }
    if (paused)
      log.error('the disk is nearly full: intake is paused until there is space again (DISK_FLOOR_MB)', values)
    else log.info('there is disk space again: intake goes on', values)
  }

  return {
    mayClaim(stage) {
      look()
      return !(paused && PAUSED.includes(stage))
    },
  }
}

function freeBytes(dir: string): number {
  const { bavail, bsize } = statfsSync(dir)
  return bavail * bsize
}

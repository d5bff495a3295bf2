/**
 * The directories in which attempts work. Each is named after its job and its lease, so that no two attempts ever
 * meet in one, and a sweep can tell to whom it belongs.
 */

import { mkdir, rm, rmdir } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { messageOf } from '../state/errors.ts'
import type { Job, StageName } from '../state/job.ts'
import { type Layout, spoolOf } from '../state/layout.ts'
import type { Ledger } from '../state/ledger.ts'
import type { Log } from './ports.ts'

export function openWorkSpaces(stage: StageName, ledger: Ledger, layout: Layout, log: Log) {
  function workDir(job: Job): string {
    const name = (job.captureId ?? job.key).slice(0, 12).replace(/[^\w-]/g, '_')
    return join(spoolOf(layout, stage), `${name}.${job.lease}`)
  }

  async function make(dir: string): Promise<void> {
    await mkdir(dir, { recursive: true })
  }

  /** Never throws: what cannot be removed now is swept later. */
  async function remove(dir: string): Promise<void> {
    await rm(dir, { recursive: true, force: true }).catch(putOff)
  }

  /** What later stages have taken over, whichever stage made it. */
  async function removeReleased(): Promise<void> {
    try {
      for (const path of ledger.artifacts.released()) {
        await remove(join(layout.dataDir, path))
        await removeEmptyParents(join(layout.dataDir, path))
        ledger.artifacts.remove(path)
      }
    } catch (error) {
      putOff(error)
    }
  }

  /** Up to the stage's own folder of the spool; one that is not empty yet stays. */
  async function removeEmptyParents(path: string): Promise<void> {
    for (let dir = dirname(path); relative(layout.spool, dir).split(sep).length > 1; dir = dirname(dir)) {
      try {
        await rmdir(dir)
      } catch {
        return
      }
    }
  }

  function putOff(error: unknown): void {
    log.debug('clean-up is put off', { error: messageOf(error) })
  }

  return { workDir, make, remove, removeReleased }
}

/**
 * What lies in the spool on purpose: directories that a finished job made for the next one.
 *
 * A path is added in the transaction that records its maker as done, and released in the one that records
 * its taker as done. Whatever else lies in the spool belongs to a living lease or to nobody.
 */

import type { Database } from './database.ts'
import type { StageName } from './job.ts'

export type Artifacts = ReturnType<typeof createArtifacts>

export function createArtifacts(db: Database) {
  function add(path: string, stage: StageName, captureId: string | undefined): void {
    db.prepare(`INSERT INTO artifacts (path, stage, capture_id) VALUES (?, ?, ?)`).run(path, stage, captureId ?? null)
  }

  function release(path: string): void {
    db.prepare(`UPDATE artifacts SET released = 1 WHERE path = ?`).run(path)
  }

  /** What an attempt kept under its lease, by which work spaces are named. */
  function releaseLease(lease: string): void {
    db.prepare(`UPDATE artifacts SET released = 1 WHERE path GLOB '*.' || ?`).run(lease)
  }

  /** All that was handed on of a capture. What upload keeps belongs to a recorded commit, of other captures too. */
  function releaseOf(captureId: string): void {
    db.prepare(`UPDATE artifacts SET released = 1 WHERE capture_id = ? AND stage <> 'upload'`).run(captureId)
  }

  /** Released and not yet removed from the disk. */
  function released(): string[] {
    return db.prepare(`SELECT path FROM artifacts WHERE released = 1`).pluck().all() as string[]
  }

  /** Whether it, or something below it, is still to be taken over. */
  function isKept(path: string): boolean {
    const query = `SELECT 1 FROM artifacts WHERE released = 0 AND (path = @path OR substr(path, 1, length(@path) + 1) = @path || '/')`
    return db.prepare(query).get({ path }) !== undefined
  }

  function remove(path: string): void {
    db.prepare(`DELETE FROM artifacts WHERE path = ? AND released = 1`).run(path)
  }

  return { add, release, releaseLease, releaseOf, released, isKept, remove }
}

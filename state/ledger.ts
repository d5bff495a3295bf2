/**
 * The ledger: everything that must survive a power cut, in one SQLite file.
 *
 * Its parts share one connection, so that `transaction` makes several of their changes one.
 */

import { type Artifacts, createArtifacts } from './artifacts.ts'
import { type Captures, createCaptures, isBeingRemoved } from './captures.ts'
import { type Commits, createCommits } from './commits.ts'
import { type Database, openDatabase } from './database.ts'
import type { JobRow } from './job.ts'
import { createJobs, type Jobs } from './jobs.ts'
import { processIdentity, stateOf } from './process-identity.ts'
import { makeReceipt, type Receipt } from './receipt.ts'
import { createSinks, type Sinks } from './sinks.ts'

export interface Ledger extends Disposable {
  readonly jobs: Jobs
  readonly captures: Captures
  readonly commits: Commits
  readonly artifacts: Artifacts
  readonly sinks: Sinks
  /** All of it or none of it; one writer at a time over all processes. */
  transaction<T>(change: () => T): T
  receipt(captureId: string): Receipt
  /** Stores how a capture ended, once nothing of it is in work any more. Part of the caller's transaction. */
  settle(captureId: string): void
  /** Takes a named lock; false when a living process holds it. */
  tryLock(name: string, ms: number): boolean
  unlock(name: string): void
  close(): void
}

export function openLedger(path: string): Ledger {
  const db = openDatabase(path)
  const jobs = createJobs(db)
  const captures = createCaptures(db)
  const commits = createCommits(db)
  const artifacts = createArtifacts(db)
  const sinks = createSinks(db)

  function receipt(captureId: string): Receipt {
    return db.transaction(() => {
      const capture = captures.get(captureId)
      if (capture === undefined) throw new Error(`capture ${captureId} is not in the ledger`)
      return makeReceipt({
        capture,
        arrivals: captures.arrivals(captureId),
        records: captures.records(captureId),
        counts: commits.countsOf(captureId),
        jobs: jobs.list({ captureId }),
        unpublished: commits.pending(captureId),
        documents: sinks.countsOf('elasticsearch', captureId),
      })
    })()
  }

  function settle(captureId: string): void {
    const capture = captures.get(captureId)
    if (capture === undefined || capture.state === 'empty' || isBeingRemoved(capture.state)) return
    const open = jobs.list({ captureId })
    // What waits for a server that is down does not keep a capture from being done: its receipt tells of it.
    const isOpen = ({ stage, status }: JobRow) => stage !== 'index' && (status === 'ready' || status === 'running')
    const busy = open.some(isOpen) || commits.pending(captureId)
    if (busy) {
      if (capture.state !== 'accepted') captures.setState(captureId, 'accepted')
      return
    }
    const isFailed = open.some(({ status }) => status === 'failed')
    const state = isFailed ? 'failed' : receipt(captureId).balanced ? 'done' : 'unbalanced'
    if (state !== capture.state) captures.setState(captureId, state)
  }

  return {
    jobs,
    captures,
    commits,
    artifacts,
    sinks,
    transaction: (change) => db.transaction(change).immediate(),
    receipt,
    settle,
    ...createLocks(db),
    close: () => void db.close(),
    [Symbol.dispose]: () => void db.close(),
  }
}

function createLocks(db: Database) {
  const tryLock = db.transaction((name: string, ms: number): boolean => {
    const now = Date.now()
    const held = db.prepare(`SELECT owner, until FROM locks WHERE name = ?`).get(name) as
      | { owner: string; until: number }
      | undefined
    const isOther = held !== undefined && held.owner !== processIdentity()
    const owner = held === undefined ? 'dead' : stateOf(held.owner)
    // The time counts only for a holder that cannot be seen from here (another container).
    if (isOther && (owner === 'alive' || (owner === 'unknown' && held.until > now))) return false
    db.prepare(
      `INSERT INTO locks (name, owner, until) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until`,
    ).run(name, processIdentity(), now + ms)
    return true
  })
  function unlock(name: string): void {
    db.prepare(`DELETE FROM locks WHERE name = ? AND owner = ?`).run(name, processIdentity())
  }
  return { tryLock: (name: string, ms: number) => tryLock.immediate(name, ms), unlock }
}

/**
 * The ledger: everything that must survive a power cut, in one SQLite file.
 *
 * Its parts share one connection, so that `transaction` makes several of their changes one.
 */

import { type Accounts, createAccounts } from './accounts.ts'
import { createApplication } from './application.ts'
import { type Artifacts, createArtifacts } from './artifacts.ts'
import { type Captures, createCaptures, isBeingRemoved } from './captures.ts'
import { type Commits, createCommits } from './commits.ts'
import type { Completion } from './completion.ts'
import { type Database, openDatabase } from './database.ts'
import { createDesk, type Desk } from './desk.ts'
import { isOpen, type StageName } from './job.ts'
import { createJobs, type Jobs } from './jobs.ts'
import { createJoins, type Joins } from './joins.ts'
import { createOverview, type Overview } from './overview.ts'
import { createPrepared, type Prepared } from './prepared.ts'
import { processIdentity, stateOf } from './process-identity.ts'
import { createPruning, type Pruning } from './pruning.ts'
import { createPublished, type Published } from './published.ts'
import { makeReceipt, type Receipt } from './receipt.ts'
import { createRetention, type Retention } from './retention.ts'
import { createSinks, type Sinks } from './sinks.ts'
import { createSpace, type Space } from './space.ts'
import { createWatchLists, type WatchLists } from './watch-lists.ts'

export interface Ledger extends Disposable {
  /** Which ledger this is, among those that share a bus. */
  readonly id: string
  readonly jobs: Jobs
  readonly captures: Captures
  readonly commits: Commits
  readonly artifacts: Artifacts
  readonly published: Published
  readonly prepared: Prepared
  readonly watch: WatchLists
  readonly accounts: Accounts
  readonly desk: Desk
  readonly overview: Overview
  readonly sinks: Sinks
  readonly space: Space
  readonly retention: Retention
  readonly joins: Joins
  readonly pruning: Pruning
  /** All of it or none of it; one writer at a time over all processes. */
  transaction<T>(change: () => T): T
  /**
   * Work that was done here, with all that follows from it. Throws `lease_lost`, and so undoes the caller's
   * transaction, unless its attempt still owns its jobs.
   */
  record(completion: Completion): void
  /**
   * The same once a bus has committed it: whoever holds the jobs now, it is done. `isLocal` tells of a stage that its
   * jobs stay with this ledger; the others were sent. Answers false when it was applied before.
   */
  applyPrepared(lease: string, isLocal: (stage: StageName) => boolean): boolean
  /** What a bus tells of work that another ledger has done. */
  applyElsewhere(completion: Completion, ledgerId: string): void
  /** Of a topic that all ledgers share, the next offset to read; 0 when it was never read. */
  position(topic: string): number
  setPosition(topic: string, position: number): void
  receipt(captureId: string): Receipt
  /** Differs from an earlier answer when anything in the ledger has changed, by this process or another. */
  changes(): string
  sqliteVersion(): string
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
  const published = createPublished(db)
  const prepared = createPrepared(db)
  const ownChanges = db.prepare(`SELECT total_changes()`).pluck()
  const sinks = createSinks(db)
  const retention = createRetention(db)

  function position(topic: string): number {
    const query = db.prepare(`SELECT position FROM bus_positions WHERE topic = ?`).pluck()
    return (query.get(topic) as number | undefined) ?? 0
  }

  function setPosition(topic: string, next: number): void {
    db.prepare(
      `INSERT INTO bus_positions VALUES (?, ?) ON CONFLICT (topic) DO UPDATE SET position = excluded.position`,
    ).run(topic, next)
  }

  function receipt(captureId: string): Receipt {
    return db.transaction(() => {
      const capture = captures.get(captureId)
      if (capture === undefined) throw new Error(`capture ${captureId} is not in the ledger`)
      return makeReceipt({
        capture,
        arrivals: captures.arrivals(captureId),
        records: captures.records(captureId),
        counts: commits.countsOf(captureId),
        removed: retention.removedRows(captureId),
        jobs: jobs.list({ captureId }),
        unpublished: commits.pending(captureId),
        onTheBus: published.open(captureId),
        documents: sinks.countsOf('elasticsearch', captureId),
      })
    })()
  }

  function settle(captureId: string): void {
    const capture = captures.get(captureId)
    if (capture === undefined || capture.state === 'empty' || isBeingRemoved(capture.state)) return
    const open = jobs.list({ captureId })
    // What waits for a server that is down does not keep a capture from being done: its receipt tells of it.
    const isBusy = open.some(({ stage, status }) => stage !== 'index' && isOpen(status))
    const busy = isBusy || commits.pending(captureId) || published.open(captureId) > 0
    if (busy) {
      if (capture.state !== 'accepted') captures.setState(captureId, 'accepted')
      return
    }
    published.removeOf(captureId)
    const isFailed = open.some(({ status }) => status === 'failed')
    const state = isFailed ? 'failed' : receipt(captureId).balanced ? 'done' : 'unbalanced'
    if (state !== capture.state) captures.setState(captureId, state)
  }

  return {
    id: db.prepare(`SELECT id FROM identity`).pluck().get() as string,
    jobs,
    captures,
    commits,
    artifacts,
    published,
    prepared,
    watch: createWatchLists(db),
    accounts: createAccounts(db),
    desk: createDesk(db),
    overview: createOverview(db),
    sqliteVersion: () => db.prepare(`SELECT sqlite_version()`).pluck().get() as string,
    changes: () => `${db.pragma('data_version', { simple: true })}.${ownChanges.get()}`,
    sinks,
    space: createSpace(db),
    retention,
    joins: createJoins(db),
    pruning: createPruning(db),
    ...createApplication({ jobs, captures, commits, artifacts, published, prepared, sinks, settle }),
    position,
    setPosition,
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

/**
 * Work that is finished and whose commit lies with the bus.
 *
 * A row is written before the commit is asked for. Once it is known how that went, the row goes in the transaction
 * that applies the completion, or alone. A process that dies in between leaves a row that says whom to ask.
 *
 * Whoever finds such a row makes it its own first, and then makes an end of the producer's transaction. The process that
 * wrote it may live after all (stopped, or not to be seen from here): it asks `isOurs` each time after its producer was
 * registered and before it sends, so that either it sees that the row is gone, or its producer is the one that was ended.
 */

import type { Completion } from './completion.ts'
import type { Database } from './database.ts'
import { processIdentity, stateOf } from './process-identity.ts'

export interface PreparedRow {
  completion: Completion
  transactionId: string
}

/** For a commit that is asked for: twice the limit of a transaction. One that is late all the same finds out. */
const UNSEEN_MS = 2 * 60_000
const TOLD_MS = 24 * 3600_000

export type Prepared = ReturnType<typeof createPrepared>

export function createPrepared(db: Database) {
  function add(completion: Completion, transactionId: string, now = Date.now()): void {
    db.prepare(`INSERT INTO prepared VALUES (?, ?, ?, ?, ?)`).run(
      completion.lease,
      transactionId,
      processIdentity(),
      JSON.stringify(completion),
      now,
    )
  }

  /** What is still open. */
  function get(lease: string): PreparedRow | undefined {
    const row = db
      .prepare(`SELECT completion, transaction_id AS transactionId FROM prepared WHERE lease = ? AND owner <> ''`)
      .get(lease)
    return row === undefined ? undefined : toPrepared(row)
  }

  /** Answers whether it was there: whoever takes it away is the one who applies it. */
  function remove(lease: string): boolean {
    return db.prepare(`DELETE FROM prepared WHERE lease = ?`).run(lease).changes === 1
  }

  /** It was not committed, and will not be. Told for a while to the process that wrote it, in case that lives. */
  function takeBack(lease: string): void {
    db.prepare(`UPDATE prepared SET owner = '', completion = 'null' WHERE lease = ?`).run(lease)
  }

  /** What was not taken back and is not there any more was applied. */
  function isApplied(lease: string): boolean {
    return ownerOf(lease) === undefined
  }

  /** False once another process decides about it, or has. */
  function isOurs(lease: string): boolean {
    return ownerOf(lease) === processIdentity()
  }

  function ownerOf(lease: string): string | undefined {
    return db.prepare(`SELECT owner FROM prepared WHERE lease = ?`).pluck().get(lease) as string | undefined
  }

  /**
   * Rows whose process does not decide about them any more, which this one does from now on: of processes that are gone,
   * of those that cannot be seen and have had time enough, and our own that are not `underWay`.
   */
  function takeAbandoned(underWay: ReadonlySet<string>, now = Date.now()): PreparedRow[] {
    db.prepare(`DELETE FROM prepared WHERE owner = '' AND prepared_at < ?`).run(now - TOLD_MS)
    const rows = db
      .prepare(
        `SELECT lease, completion, transaction_id AS transactionId, owner, prepared_at AS at FROM prepared WHERE owner <> ''`,
      )
      .all() as { lease: string; owner: string; at: number }[]
    const own = processIdentity()
    const left = rows.filter(({ lease, owner, at }) => {
      if (owner === own) return !underWay.has(lease)
      const state = stateOf(owner)
      return state === 'dead' || (state === 'unknown' && now - at > UNSEEN_MS)
    })
    const take = db.prepare(`UPDATE prepared SET owner = ? WHERE lease = ?`)
    for (const { lease } of left) take.run(own, lease)
    return left.map(toPrepared)
  }

  return { add, get, remove, takeBack, isApplied, isOurs, takeAbandoned }
}

function toPrepared(row: unknown): PreparedRow {
  const { completion, transactionId } = row as { completion: string; transactionId: string }
  return { completion: JSON.parse(completion), transactionId }
}

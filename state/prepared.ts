/**
 * Work that is finished and whose commit lies with the bus.
 *
 * A row is written before the commit is asked for. Once it is known how that went, the row goes in the transaction
 * that applies the completion, or alone. A process that dies in between leaves a row that says whom to ask.
 */

import type { Completion } from './completion.ts'
import type { Database } from './database.ts'
import { processIdentity, stateOf } from './process-identity.ts'

export interface PreparedRow {
  completion: Completion
  transactionId: string
}

export type Prepared = ReturnType<typeof createPrepared>

export function createPrepared(db: Database) {
  function add(completion: Completion, transactionId: string, now = Date.now()): void {
    db.prepare(`INSERT OR REPLACE INTO prepared VALUES (?, ?, ?, ?, ?)`).run(
      completion.lease,
      transactionId,
      processIdentity(),
      JSON.stringify(completion),
      now,
    )
  }

  function get(lease: string): PreparedRow | undefined {
    const row = db
      .prepare(`SELECT completion, transaction_id AS transactionId FROM prepared WHERE lease = ?`)
      .get(lease)
    return row === undefined ? undefined : toPrepared(row)
  }

  /** Answers whether it was there: whoever takes it away is the one who applies it. */
  function remove(lease: string): boolean {
    return db.prepare(`DELETE FROM prepared WHERE lease = ?`).run(lease).changes === 1
  }

  /** Of processes that this one can see to be gone. */
  function abandoned(): PreparedRow[] {
    const rows = db.prepare(`SELECT completion, transaction_id AS transactionId, owner FROM prepared`).all() as {
      owner: string
    }[]
    return rows.filter(({ owner }) => owner !== processIdentity() && stateOf(owner) !== 'alive').map(toPrepared)
  }

  return { add, get, remove, abandoned }
}

function toPrepared(row: unknown): PreparedRow {
  const { completion, transactionId } = row as { completion: string; transactionId: string }
  return { completion: JSON.parse(completion), transactionId }
}

/** The work in the ledger: who holds it, what waits and what was given up, receipts that do not balance. */

import type { Database } from '../../../state/database.ts'
import { processIdentity, stateOf } from '../../../state/process-identity.ts'
import { countBy } from '../../count-by.ts'
import { type Check, error, type Finding, ok, some, warning } from '../check.ts'
import type { Host } from '../host.ts'

const STUCK_MS = 3600_000
const LOST_LEASE_MS = 2 * 60_000

export const work: Check<Host> = {
  name: 'work',
  look({ ledger, now }) {
    const db = ledger()
    if (db === undefined) return [ok('none yet')]
    const findings = [...leases(db, now()), ...failures(db), ...stuck(db, now()), ...receipts(db)]
    if (findings.length > 0) return findings
    const captures = db.prepare(`SELECT count(*) FROM captures`).pluck().get()
    const open = db.prepare(`SELECT count(*) FROM jobs WHERE status IN ('ready', 'running', 'sent')`).pluck().get()
    return [ok(`${captures} captures, ${open} jobs wait or are under way, none was given up, every receipt balances`)]
  },
}

function leases(db: Database, now: number): Finding[] {
  const running = db
    .prepare(`SELECT lease_owner AS owner, lease_until AS until FROM jobs WHERE status = 'running' GROUP BY 1, 2`)
    .all() as { owner: string; until: number }[]
  const [ourBoot] = processIdentity().split('/')
  const elsewhere = running.filter(({ owner, until }) => !owner.startsWith(`${ourBoot}/`) && until > now)
  if (elsewhere.length > 0)
    return [
      error(
        `another host, or this one before its restart, holds ${elsewhere.length} leases of this ledger: a ledger is of one host alone`,
        'if this is not just after a restart: stop all but one, and set STATE_DIR to a folder of each host’s own (docs/kafka.md)',
      ),
    ]
  const stale = running.filter(({ owner, until }) => stateOf(owner) === 'dead' || until < now - LOST_LEASE_MS)
  if (stale.length === 0) return []
  return [
    warning(
      `${stale.length} leases are held by processes that have ended`,
      'start the pipeline: it takes the work over at once; if it runs, look for "recovery failed" in its log',
    ),
  ]
}

function failures(db: Database): Finding[] {
  const failed = db.prepare(`SELECT stage, error FROM jobs WHERE status = 'failed'`).all() as {
    stage: string
    error: string | null
  }[]
  if (failed.length === 0) return []
  const stages = Object.entries(countBy(failed.map(({ stage }) => stage))).map(([stage, n]) => `${n} of ${stage}`)
  return [
    warning(
      `${failed.length} jobs were given up (${stages.join(', ')}), for example: ${failed[0]?.error ?? ''}`,
      '`failed` tells what and why; `retry --all` tries again',
    ),
  ]
}

function stuck(db: Database, now: number): Finding[] {
  const waiting = db
    .prepare(
      `SELECT stage, count(*) AS jobs, min(created_at) AS oldest FROM jobs j WHERE status = 'ready' AND not_before <= @now
       AND NOT EXISTS (SELECT 1 FROM jobs r WHERE r.stage = j.stage AND r.status = 'running')
       GROUP BY stage HAVING min(created_at) < @since`,
    )
    .all({ now, since: now - STUCK_MS }) as { stage: string; jobs: number; oldest: number }[]
  return waiting.map(({ stage, jobs, oldest }) =>
    warning(
      `${jobs} jobs of ${stage} wait, the oldest for ${Math.round((now - oldest) / 60_000)} minutes, and nobody works on them`,
      stage === 'index'
        ? 'see elasticsearch above; or start the pipeline'
        : 'start the pipeline; if it runs, see disk above',
    ),
  )
}

function receipts(db: Database): Finding[] {
  const names = db
    .prepare(`SELECT substr(id, 1, 16) FROM captures WHERE state = 'unbalanced'`)
    .pluck()
    .all() as string[]
  if (names.length === 0) return []
  return [
    error(
      `${names.length} receipts do not balance: ${some(names)}`,
      '`receipt <capture>` tells what is missing; `reprocess <capture>` converts it again',
    ),
  ]
}

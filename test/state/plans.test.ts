/** The ledger keeps years of work: what is asked for each job must not read all of it. */

import BetterSqlite3 from 'better-sqlite3'
import { describe, expect, it, vi } from 'vitest'
import { testBench } from '../support/pipeline.ts'

const ID = 'ab'.repeat(32)
/** Tables that grow with each capture and are never emptied. */
const GROWING = /^SCAN (jobs|captures|arrivals|records|commits|commit_files|commit_counts|sink_counts)\b/
/** An index that holds only what is in work, whatever is finished. */
const SMALL_INDEX = /USING (COVERING )?INDEX (jobs_running|jobs_by_lease|jobs_with_errors|commits_open)\b/

/** The statements that were prepared, each once, whose plan goes through a growing table from end to end. */
function watchPlans(): { scans(): string[] } {
  const statements = new Set<string>()
  const databases = new Set<BetterSqlite3.Database>()
  const prepare = BetterSqlite3.prototype.prepare
  vi.spyOn(BetterSqlite3.prototype, 'prepare').mockImplementation(function (this: BetterSqlite3.Database, sql: string) {
    statements.add(sql)
    databases.add(this)
    return prepare.call(this, sql)
  })
  const planOf = (db: BetterSqlite3.Database, sql: string): { detail: string }[] => {
    const names = [...sql.matchAll(/[@:$]([a-zA-Z_]\w*)/g)].map(([, name]) => name)
    const marks = sql.split('?').length - 1
    const statement = prepare.call(db, `EXPLAIN QUERY PLAN ${sql}`)
    const values = names.length > 0 ? Object.fromEntries(names.map((name) => [name, null])) : Array(marks).fill(null)
    return statement.all(values) as { detail: string }[]
  }
  return {
    scans: () =>
      [...databases].flatMap((db) =>
        [...statements]
          .filter((sql) => /^\s*(SELECT|UPDATE|DELETE)/.test(sql))
          .flatMap((sql) => {
            const bad = planOf(db, sql).filter(({ detail }) => GROWING.test(detail) && !SMALL_INDEX.test(detail))
            return bad.map(({ detail }) => `${detail}: ${sql.replaceAll(/\s+/g, ' ')}`)
          }),
      ),
  }
}

describe('what is asked of the ledger for each job', () => {
  it('goes through no table that only grows', async () => {
    const plans = watchPlans()
    const { ledger, bus } = testBench()
    const capture = {
      id: ID,
      name: 'a.pcap',
      source: 'lab',
      format: 'pcap',
      bytes: 1,
      path: 'captures/a.pcap',
    } as const
    ledger.captures.add({ ...capture, state: 'accepted' })
    ledger.jobs.add({ stage: 'convert', key: ID, captureId: ID, input: {}, bytes: 1 })
    const [job] = bus.claim({ stage: 'convert', leaseMs: 1000 })
    expect(job?.key).toBe(ID)
    ledger.jobs.renew(job?.lease ?? '', 1000)
    expect(ledger.jobs.list({ captureId: ID })).toHaveLength(1)
    expect(ledger.jobs.list({ status: 'failed' })).toEqual([])
    expect(ledger.jobs.depths()).toMatchObject([{ stage: 'convert', status: 'running', jobs: 1 }])
    expect(ledger.receipt(ID).balanced).toBe(false)
    ledger.settle(ID)
    ledger.jobs.busy(['convert', 'upload'])
    ledger.jobs.openKeys('convert')
    ledger.jobs.openBytes('upload')
    ledger.overview.errorsSince(0)
    ledger.overview.lastErrors()
    ledger.overview.activity(0)
    ledger.overview.sums([ID])
    ledger.overview.rows([ID])
    ledger.overview.duplicates([ID])
    expect(plans.scans()).toEqual([])
  })
})

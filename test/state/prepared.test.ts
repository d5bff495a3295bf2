import { describe, expect, it } from 'vitest'
import type { Completion } from '../../state/completion.ts'
import { openDatabase } from '../../state/database.ts'
import { processIdentity } from '../../state/process-identity.ts'
import { testBench } from '../support/pipeline.ts'

const LONG = 3600_000
const [boot, namespace] = processIdentity().split('/') as [string, string]
/** A process id that is never given out, and one that cannot be seen from here. */
const GONE = `${boot}/${namespace}/4194305/1`
const UNSEEN = `${boot}/${namespace}0/17/1`

const completionOf = (lease: string): Completion => ({
  ...{ lease, stage: 'convert', jobs: [], keep: [], consumed: [], handOffs: [], facts: [] },
})

function bench(owner?: string) {
  const { ledger, layout } = testBench()
  ledger.prepared.add(completionOf('l1'), 'tx')
  if (owner !== undefined) {
    const db = openDatabase(layout.ledger)
    db.prepare(`UPDATE prepared SET owner = ?`).run(owner)
    db.close()
  }
  return ledger
}

describe('finished work whose commit is not known', () => {
  it('of a process that ended is taken over at once, and is that of the taker from then on', () => {
    const { prepared } = bench(GONE)
    expect(prepared.isOurs('l1')).toBe(false)
    expect(prepared.takeAbandoned(new Set()).map(({ completion }) => completion.lease)).toEqual(['l1'])
    expect(prepared.isOurs('l1')).toBe(true)
  })

  it('of a process that cannot be seen is left alone until it has had time enough', () => {
    const { prepared } = bench(UNSEEN)
    expect(prepared.takeAbandoned(new Set())).toEqual([])
    expect(prepared.takeAbandoned(new Set(), Date.now() + LONG)).toHaveLength(1)
  })

  it('of this process is taken up again once nobody is at it', () => {
    const { prepared } = bench()
    expect(prepared.takeAbandoned(new Set(['l1']))).toEqual([])
    expect(prepared.takeAbandoned(new Set())).toHaveLength(1)
  })

  it('that was taken back is neither open nor applied, whoever asks', () => {
    const { prepared } = bench()
    prepared.takeBack('l1')
    expect([prepared.isOurs('l1'), prepared.isApplied('l1'), prepared.get('l1')]).toEqual([false, false, undefined])
    expect(prepared.takeAbandoned(new Set())).toEqual([])
    prepared.remove('l1')
    expect(prepared.isApplied('l1')).toBe(true)
  })

  it.each([
    ['as a whole', 'x'],
    ['in steps', 'x-3'],
  ])('keeps its job with its worker, %s, however late it is', (_, suffix) => {
    const { ledger } = testBench()
    ledger.jobs.add({ stage: 'convert', key: 'a', input: {} })
    const [job] = ledger.jobs.claim({ stage: 'convert', leaseMs: 1 })
    const lease = `${job?.lease}${suffix.slice(1)}`
    ledger.prepared.add(completionOf(lease), 'tx')
    expect(ledger.jobs.reclaim(Date.now() + LONG)).toBe(0)
    ledger.prepared.takeBack(lease)
    expect(ledger.jobs.reclaim(Date.now() + LONG)).toBe(1)
  })
})

describe('work that a bus gave to a process', () => {
  const job = { stage: 'convert' as const, key: 'a', input: { n: 1 } }

  it('is given back as it was on the bus: open, and nobody here may have it', () => {
    const { ledger } = testBench()
    ledger.jobs.receive(job, 'o1')
    ledger.jobs.claimReceived('convert', 'a', 'o1', 1000)
    ledger.jobs.giveBack('convert', 'a', 'o1')
    expect(ledger.jobs.find('convert', 'a')?.status).toBe('sent')
    expect(ledger.jobs.claimReceived('convert', 'a', 'o1', 1000)).toBeUndefined()
  })

  it('is not given back by whoever had it before', () => {
    const { ledger } = testBench()
    ledger.jobs.receive(job, 'o1')
    ledger.jobs.receive(job, 'o2')
    const now = ledger.jobs.claimReceived('convert', 'a', 'o2', 1000)
    ledger.jobs.giveBack('convert', 'a', 'o1')
    expect(ledger.jobs.isHeld(now?.lease ?? '')).toBe(true)
    expect([ledger.jobs.isReceived('convert', 'a', 'o1'), ledger.jobs.isReceived('convert', 'a', 'o2')]).toEqual([
      false,
      true,
    ])
  })

  it('and that was made of it is dropped when its process is gone, or unseen for long', () => {
    const { ledger } = testBench()
    ledger.jobs.receive({ ...job, key: 'gone' }, `stream ${GONE}`)
    ledger.jobs.receive({ ...job, key: 'unseen' }, `stream ${UNSEEN}`)
    ledger.jobs.receive({ ...job, key: 'ours' }, `stream ${processIdentity()}`)
    expect(ledger.jobs.dropOrphans('stream').map(({ key }) => key)).toEqual(['gone'])
    expect(ledger.jobs.dropOrphans('stream', Date.now() + 2 * LONG).map(({ key }) => key)).toEqual(['unseen'])
    expect(ledger.jobs.find('convert', 'ours')?.status).toBe('ready')
  })
})

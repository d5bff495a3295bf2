import { describe, expect, it } from 'vitest'
import type { LogEvidence } from '../../../src/rebuild/dataset-evidence.ts'
import type { FormerCapture } from '../../../src/rebuild/salvage.ts'
import { type Evidence, type Verdict, verdictsOf } from '../../../src/rebuild/verdicts.ts'

const ID = 'ab'.repeat(32)
const packets = { inFile: 9, decoded: 9, skipped: {}, lostBytes: 0 }
const capture = {
  id: ID,
  name: 'a.pcap',
  source: 'site',
  format: 'pcap',
  bytes: 100,
  acceptedAt: 1,
  clockOffsetUs: 0,
  keyLog: null,
} as const
const made = { engine: 'tshark', engineVersion: '1', packets, warnings: [] }

const log = (facts: Partial<LogEvidence> = {}): LogEvidence => {
  const rows = facts.rows ?? 5
  return { captureId: ID, logType: 'dns', rows, ids: rows, strange: 0, lastOrdinal: rows - 1, ...facts }
}

interface Given {
  logs?: LogEvidence[]
  records?: Record<string, number>
  lines?: number[]
  isStored?: boolean
  isEmpty?: boolean
  former?: Partial<FormerCapture>
}

function verdict({ logs = [], records, lines = [], isStored = true, isEmpty = false, former }: Given) {
  const evidence: Evidence = {
    dataset: { files: [], logs, damaged: [], foreign: [], redundant: [] },
    quarantine: { files: [], damaged: [], ordinals: new Map(lines.length > 0 ? [[`${ID}/dns`, new Set(lines)]] : []) },
    captures: {
      stored: new Map(isStored ? [[ID, { id: ID, format: 'pcap', bytes: 100, isEmpty }]] : []),
      accounts: new Map(records ? [[ID, { version: 1, capture, ...made, records }]] : []),
      damaged: new Map(),
    },
    former: new Map(
      former
        ? [[ID, { ...capture, ...made, state: 'done', records: {}, removed: {}, ...former } as FormerCapture]]
        : [],
    ),
  }
  const { verdicts, gone } = verdictsOf(evidence)
  return gone.length > 0 ? 'gone' : verdicts[0]
}

describe('a capture is whole when each of its events is there once', () => {
  it.each<[string, Given]>([
    ['as rows', { logs: [log()], records: { dns: 5 } }],
    [
      'as rows and lines in quarantine',
      { logs: [log({ rows: 3, lastOrdinal: 4 })], lines: [1, 2], records: { dns: 5 } },
    ],
    ['or there are none', { records: {} }],
    ['when its file is gone, too', { logs: [log()], records: { dns: 5 }, isStored: false }],
    ['by what the former ledger said, where no account was kept', { logs: [log()], former: { records: { dns: 5 } } }],
    [
      'or was removed by age',
      { logs: [log({ rows: 2, lastOrdinal: 4 })], former: { records: { dns: 5 }, removed: { dns: 3 } } },
    ],
  ])('%s', (_how, given) => {
    expect(verdict(given)).toMatchObject({ outcome: 'whole', account: made })
  })
})

describe('else it is converted again, with the reason', () => {
  it.each<[string, Given, RegExp]>([
    [
      'a row is missing',
      { logs: [log({ rows: 4, lastOrdinal: 4 })], records: { dns: 5 } },
      /5 records were made of it, and there are 4 rows and 0/,
    ],
    ['a log is missing', { logs: [log()], records: { dns: 5, conn: 1 } }, /conn: 1 records .* 0 rows/],
    ['a log is there that was not made', { logs: [log()], records: {} }, /dns: 0 records/],
    ['an event is there twice', { logs: [log({ ids: 4 })], records: { dns: 5 } }, /1 events are there twice/],
    [
      'a row is of another event',
      { logs: [log({ strange: 1 })], records: { dns: 5 } },
      /1 rows are of no event of this capture/,
    ],
    [
      'an event is numbered beyond the last',
      { logs: [log({ lastOrdinal: 5 })], records: { dns: 5 } },
      /numbered beyond the 5/,
    ],
    [
      'a line is numbered beyond the last',
      { logs: [log({ rows: 4 })], lines: [7], records: { dns: 5 } },
      /numbered beyond/,
    ],
    ['nothing tells what was made', { logs: [log()] }, /it is not known how many/],
  ])('%s', (_why, given, why) => {
    expect(verdict(given)).toMatchObject({ outcome: 'again', why: expect.stringMatching(why) })
    expect(verdict({ ...given, isStored: false })).toMatchObject({ outcome: 'unproven' })
  })
})

it.each<[Given, Verdict['outcome'] | 'gone']>([
  [{}, 'convert'],
  [{ isEmpty: true }, 'empty'],
  [{ logs: [log()], records: { dns: 5 }, former: { state: 'forgetting' } }, 'removal'],
  [{ former: { state: 'forgetting' }, isStored: false }, 'gone'],
  [{ former: { records: { dns: 5 } }, isStored: false }, 'gone'],
])('%j: %s', (given, outcome) => {
  const found = verdict(given)
  expect(found === 'gone' ? found : found?.outcome).toBe(outcome)
})

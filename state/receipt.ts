/**
 * The receipt of a capture: the proof that nothing was lost and nothing doubled.
 *
 * It balances when packets in the file = packets decoded + packets skipped, and, for every log type, records
 * that the engine made = rows in the dataset + lines in quarantine + rows that retention removed since.
 */

import { accountBalances, type PacketAccount } from './capture.ts'
import type { ArrivalRow, CaptureRow } from './captures.ts'
import type { CommitCount } from './commits.ts'
import { isOpen, type JobRow } from './job.ts'
import type { RemovedRows } from './retention.ts'
import type { SinkCount } from './sinks.ts'

export interface ReceiptLine {
  logType: string
  records: number
  /** In the dataset now. */
  rows: number
  quarantined: number
  /** Rows that were there until retention removed them. */
  removed: number
  reasons: Record<string, number>
  balanced: boolean
}

/** What of a capture is in Elasticsearch. */
export interface IndexAccount {
  documents: number
  /** Records that the server refused; they are in the dead-letter file. */
  rejected: number
  /** Rejected records by reason. */
  reasons: Record<string, number>
  /** Records that are still to be sent. */
  waiting: number
  /** Records that were made while no Elasticsearch was set; `elasticsearch backfill` loads them. */
  notSent: number
}

export interface Receipt {
  capture: CaptureRow
  arrivals: ArrivalRow[]
  packets: PacketAccount | null
  /** What an analyst should know, a sentence each. */
  warnings: string[]
  logs: ReceiptLine[]
  total: { records: number; rows: number; quarantined: number; removed: number }
  /** When retention removed the last of them; milliseconds since the epoch, null where it has not. */
  removedAt: number | null
  /** Absent when nothing of the capture was meant for it. */
  elasticsearch?: IndexAccount
  /** Everything that was asked for is done, and both equations hold. */
  balanced: boolean
  /** Why it does not balance, a sentence each. */
  problems: string[]
}

export interface ReceiptFacts {
  capture: CaptureRow
  arrivals: ArrivalRow[]
  records: { logType: string; records: number }[]
  counts: CommitCount[]
  removed: RemovedRows[]
  jobs: JobRow[]
  /** Rows are recorded but not yet in their place. */
  unpublished: boolean
  /** Events that lie on the bus and are not rows yet. */
  onTheBus: number
  /** What Elasticsearch has of it. */
  documents?: SinkCount[]
}

export function makeReceipt(facts: ReceiptFacts): Receipt {
  const { capture, arrivals, records, counts, removed } = facts
  const logs = linesOf(records, counts, removed)
  const index = indexAccount(facts)
  const problems = [
    ...jobProblems(facts),
    ...packetProblems(capture),
    ...logs.flatMap(lineProblems),
    ...indexProblems(facts, index),
  ]
  return {
    capture,
    arrivals,
    packets: capture.packets,
    warnings: warningsOf(capture),
    logs,
    total: {
      records: sum(logs, 'records'),
      rows: sum(logs, 'rows'),
      quarantined: sum(logs, 'quarantined'),
      removed: sum(logs, 'removed'),
    },
    removedAt: removed.length === 0 ? null : Math.max(...removed.map(({ removedAt }) => removedAt)),
    ...(index !== undefined && { elasticsearch: index }),
    balanced: problems.length === 0,
    problems,
  }
}

/** Those of its conversion, and what is to be said of the TLS keys that came with it. */
export function warningsOf({ warnings, keyLog, keysConverted, engine }: CaptureRow): string[] {
  if (keyLog === null) return warnings
  const { badLines, isCut, sha256 } = keyLog
  const lines = `${badLines} ${badLines === 1 ? 'line' : 'lines'}`
  return [
    ...warnings,
    ...(badLines > 0 ? [`${lines} of the file of TLS keys ${badLines === 1 ? 'is no key' : 'are no keys'}.`] : []),
    ...(isCut ? ['The file of TLS keys is too large; its beginning alone is kept.'] : []),
    ...(engine !== null && keysConverted !== sha256
      ? ['TLS keys came after it was converted; `reprocess` makes use of them.']
      : []),
  ]
}

function linesOf(records: ReceiptFacts['records'], counts: CommitCount[], gone: RemovedRows[]): ReceiptLine[] {
  const made = new Map(records.map(({ logType, records: n }) => [logType, n]))
  const counted = new Map(counts.map((count) => [count.logType, count]))
  const removedOf = new Map(gone.map((each) => [each.logType, each.rows]))
  const types = [...new Set([...made.keys(), ...counted.keys()])].sort()
  return types.map((logType) => {
    const { rows: loaded = 0, quarantined = 0, reasons = {} } = counted.get(logType) ?? {}
    const n = made.get(logType) ?? 0
    const removed = removedOf.get(logType) ?? 0
    const rows = loaded - removed
    return {
      logType,
      records: n,
      rows,
      quarantined,
      removed,
      reasons,
      balanced: n === loaded + quarantined && rows >= 0,
    }
  })
}

/** Batches of live events hold several captures: then it is not known by capture what waits. */
function indexAccount({ records, jobs, documents = [] }: ReceiptFacts): IndexAccount | undefined {
  const batches = jobs.filter(({ stage }) => stage === 'index')
  if (batches.length === 0 && documents.length === 0) return undefined
  const events = (of: JobRow[]) => of.reduce((sum, job) => sum + job.events, 0)
  const reasons: Record<string, number> = {}
  for (const count of documents)
    for (const [reason, n] of Object.entries(count.reasons)) reasons[reason] = (reasons[reason] ?? 0) + n
  const isWholeUploaded = !jobs.some(({ stage, status }) => stage !== 'index' && isOpen(status))
  const made = records.reduce((sum, { records: n }) => sum + n, 0)
  const indexed = documents.reduce((sum, count) => sum + count.documents, 0)
  const rejected = documents.reduce((sum, count) => sum + count.rejected, 0)
  const handed = batches.length > 0 ? events(batches) : indexed + rejected
  return {
    ...{ documents: indexed, rejected, reasons },
    waiting: events(batches.filter(({ status }) => isOpen(status))),
    notSent: isWholeUploaded ? Math.max(0, made - handed) : 0,
  }
}

/** Of what was handed to it and is done, every record is a document or a rejected one. */
function indexProblems({ records, jobs, documents = [] }: ReceiptFacts, account: IndexAccount | undefined): string[] {
  if (account === undefined) return []
  const batches = jobs.filter(({ stage }) => stage === 'index')
  const handed = batches.filter(({ status }) => status === 'done')
  const expected = handed.reduce((sum, job) => sum + job.events, 0)
  const found = account.documents + account.rejected
  if (batches.length > 0 && expected !== found)
    return [
      `Elasticsearch: ${expected} records sent, but ${account.documents} documents and ${account.rejected} refused`,
    ]
  if (account.waiting > 0 || account.notSent > 0 || jobs.some(({ status }) => isOpen(status))) return []
  const counted = new Map(documents.map((count) => [count.logType, count.documents + count.rejected]))
  return records
    .filter(({ logType, records: n }) => (counted.get(logType) ?? 0) !== n)
    .map(
      ({ logType, records: n }) =>
        `Elasticsearch: ${n} records of ${logType} made, but ${counted.get(logType) ?? 0} accounted for`,
    )
}

function jobProblems({ jobs, unpublished, onTheBus }: ReceiptFacts): string[] {
  const open = jobs.filter(({ stage, status }) => isOpen(status) && stage !== 'index')
  const failed = jobs.filter(({ status }) => status === 'failed')
  const problems = failed.map(({ stage, error }) => `${stage} gave up: ${error}`)
  if (open.length > 0) problems.push(`still in work: ${[...new Set(open.map(({ stage }) => stage))].join(', ')}`)
  else if (onTheBus > 0) problems.push(`still in work: ${onTheBus} events are on the bus and not in the dataset yet`)
  else if (unpublished) problems.push('still in work: the last files are being put in their place')
  return problems
}

function packetProblems({ packets, state }: CaptureRow): string[] {
  if (packets === null) return state === 'empty' ? [] : ['no engine has read it yet']
  if (accountBalances(packets)) return []
  const skipped = Object.values(packets.skipped).reduce((a, b) => a + b, 0)
  return [`${packets.inFile} packets in the file, but ${packets.decoded} decoded and ${skipped} skipped`]
}

function lineProblems({ logType, records, rows, quarantined, removed, balanced }: ReceiptLine): string[] {
  const gone = removed > 0 ? `, ${removed} rows removed by retention` : ''
  return balanced
    ? []
    : [`${logType}: ${records} records made, but ${rows} rows and ${quarantined} lines in quarantine${gone}`]
}

function sum(lines: ReceiptLine[], column: 'records' | 'rows' | 'quarantined' | 'removed'): number {
  return lines.reduce((total, line) => total + line[column], 0)
}

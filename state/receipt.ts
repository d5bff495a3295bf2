/**
 * The receipt of a capture: the proof that nothing was lost and nothing doubled.
 *
 * It balances when packets in the file = packets decoded + packets skipped, and, for every log type, records
 * that the engine made = rows in the dataset + lines in quarantine.
 */

import { accountBalances, type PacketAccount } from './capture.ts'
import type { ArrivalRow, CaptureRow } from './captures.ts'
import type { CommitCount } from './commits.ts'
import { isOpen, type JobRow } from './job.ts'

export interface ReceiptLine {
  logType: string
  records: number
  rows: number
  quarantined: number
  reasons: Record<string, number>
  balanced: boolean
}

export interface Receipt {
  capture: CaptureRow
  arrivals: ArrivalRow[]
  packets: PacketAccount | null
  logs: ReceiptLine[]
  total: { records: number; rows: number; quarantined: number }
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
  jobs: JobRow[]
  /** Rows are recorded but not yet in their place. */
  unpublished: boolean
  /** Events that lie on the bus and are not rows yet. */
  onTheBus: number
}

export function makeReceipt({
  capture,
  arrivals,
  records,
  counts,
  jobs,
  unpublished,
  onTheBus,
}: ReceiptFacts): Receipt {
  const logs = linesOf(records, counts)
  const problems = [
    ...jobProblems(jobs, unpublished, onTheBus),
    ...packetProblems(capture),
    ...logs.flatMap(lineProblems),
  ]
  return {
    capture,
    arrivals,
    packets: capture.packets,
    logs,
    total: {
      records: sum(logs, 'records'),
      rows: sum(logs, 'rows'),
      quarantined: sum(logs, 'quarantined'),
    },
    balanced: problems.length === 0,
    problems,
  }
}

function linesOf(records: ReceiptFacts['records'], counts: CommitCount[]): ReceiptLine[] {
  const made = new Map(records.map(({ logType, records: n }) => [logType, n]))
  const counted = new Map(counts.map((count) => [count.logType, count]))
  const types = [...new Set([...made.keys(), ...counted.keys()])].sort()
  return types.map((logType) => {
    const { rows = 0, quarantined = 0, reasons = {} } = counted.get(logType) ?? {}
    const n = made.get(logType) ?? 0
    return { logType, records: n, rows, quarantined, reasons, balanced: n === rows + quarantined }
  })
}

function jobProblems(jobs: JobRow[], unpublished: boolean, onTheBus: number): string[] {
  const open = jobs.filter(({ status }) => isOpen(status))
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

function lineProblems({ logType, records, rows, quarantined, balanced }: ReceiptLine): string[] {
  return balanced
    ? []
    : [`${logType}: ${records} records made, but ${rows} rows and ${quarantined} lines in quarantine`]
}

function sum(lines: ReceiptLine[], column: 'records' | 'rows' | 'quarantined'): number {
  return lines.reduce((total, line) => total + line[column], 0)
}

/**
 * What is to become of each capture: proven whole, to be converted again, or kept as it is.
 *
 * A capture is whole when, of every log that an engine made of it, each event is there exactly once: as many different
 * ids in rows and lines in quarantine as there are records, each numbered within the log. Pure.
 */

import type { AccountFile } from '../../state/account-file.ts'
import { NO_CAPTURE } from '../../state/capture.ts'
import { isBeingRemoved } from '../../state/captures.ts'
import type { CaptureEvidence } from './capture-evidence.ts'
import type { DatasetEvidence, LogEvidence } from './dataset-evidence.ts'
import { logKey, type QuarantineEvidence } from './quarantine-evidence.ts'
import type { FormerCapture } from './salvage.ts'

/**
 * `whole`: proven. `again`: its rows go and it is converted again. `convert`: it has no rows and is converted. `empty`: no
 * packets. `removal`: it was being removed, which goes on. `unproven`: its file is gone, so its rows stay as they are.
 */
export type Outcome = 'whole' | 'again' | 'convert' | 'empty' | 'removal' | 'unproven'

export interface Verdict {
  captureId: string
  outcome: Outcome
  /** Absent where nothing tells what an engine made of it. */
  account?: Account
  /** Why it is not whole. */
  why?: string
}

export type Account = Pick<
  AccountFile,
  'engine' | 'engineVersion' | 'packets' | 'warnings' | 'tls' | 'keysConverted' | 'records'
>

export interface Evidence {
  dataset: DatasetEvidence
  quarantine: QuarantineEvidence
  captures: CaptureEvidence
  former: ReadonlyMap<string, FormerCapture>
}

export function verdictsOf(evidence: Evidence): { verdicts: Verdict[]; gone: string[] } {
  const { dataset, quarantine, captures, former } = evidence
  const logs = Map.groupBy(dataset.logs, ({ captureId }) => captureId)
  const lines = Map.groupBy(quarantine.ordinals.keys(), (key) => key.split('/')[0] as string)
  const ids = new Set([
    ...logs.keys(),
    ...lines.keys(),
    ...captures.stored.keys(),
    ...captures.damaged.keys(),
    ...former.keys(),
  ])
  ids.delete(NO_CAPTURE)
  const verdicts: Verdict[] = []
  const gone: string[] = []
  for (const captureId of [...ids].sort()) {
    const found = { logs: logs.get(captureId) ?? [], lines: lines.get(captureId) ?? [] }
    const verdict = verdictOf(captureId, found, evidence)
    if (verdict === undefined) gone.push(captureId)
    else verdicts.push(verdict)
  }
  return { verdicts, gone }
}

/** Of one capture. */
interface Found {
  logs: readonly LogEvidence[]
  /** Keys of its logs that have lines in quarantine. */
  lines: readonly string[]
}

/** Undefined for one of which nothing is left but its name: it was forgotten after the former ledger was written. */
function verdictOf(captureId: string, found: Found, { quarantine, captures, former }: Evidence): Verdict | undefined {
  const hasRows = found.logs.length + found.lines.length > 0
  const before = former.get(captureId)
  const stored = captures.stored.get(captureId)
  const isLeft = stored !== undefined || captures.damaged.has(captureId) || hasRows
  if (before !== undefined && isBeingRemoved(before.state) && isLeft) return { captureId, outcome: 'removal' }
  if (!isLeft) return undefined
  const account = captures.accounts.get(captureId) ?? accountOf(before)
  const why = account === undefined ? NO_ACCOUNT : missingIn(captureId, account, found, quarantine, before?.removed)
  if (why === undefined) return { captureId, outcome: 'whole', account }
  if (stored === undefined) return { captureId, outcome: 'unproven', account, why }
  if (stored.isEmpty && !hasRows) return { captureId, outcome: 'empty' }
  return { captureId, outcome: hasRows ? 'again' : 'convert', why }
}

const NO_ACCOUNT = 'it is not known how many records were made of it'

function accountOf(before: FormerCapture | undefined): Account | undefined {
  if (before?.engine == null || before.packets === null) return undefined
  const { engine, engineVersion, packets, warnings, tls, keysConverted, records } = before
  return {
    ...{ engine, engineVersion: engineVersion ?? '', packets, warnings, records },
    ...{ tls: tls ?? undefined, keysConverted: keysConverted ?? undefined },
  }
}

/** What keeps it from being whole; undefined when it is. */
function missingIn(
  captureId: string,
  { records }: Account,
  { logs, lines: keys }: Found,
  { ordinals }: QuarantineEvidence,
  removed: Record<string, number> = {},
): string | undefined {
  const found = new Map(logs.map((log) => [log.logType, log]))
  const inQuarantine = keys.map((key) => key.slice(captureId.length + 1))
  const types = new Set([...Object.keys(records), ...found.keys(), ...inQuarantine])
  for (const logType of types) {
    const made = records[logType] ?? 0
    const { rows = 0, ids = 0, strange = 0, lastOrdinal = -1 } = found.get(logType) ?? {}
    const lines = ordinals.get(logKey({ captureId, logType })) ?? new Set()
    if (ids < rows) return `${logType}: ${rows - ids} events are there twice`
    if (strange > 0) return `${logType}: ${strange} rows are of no event of this capture`
    const past = removed[logType] ?? 0
    if (rows + lines.size + past !== made)
      return `${logType}: ${made} records were made of it, and there are ${rows} rows and ${lines.size} lines in quarantine${past > 0 ? `, ${past} rows were removed by age` : ''}`
    if (Math.max(lastOrdinal, ...lines) >= made)
      return `${logType}: events are numbered beyond the ${made} that were made`
  }
  return undefined
}

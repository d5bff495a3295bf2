/**
 * A new ledger of what was found: in, the evidence and a verdict for each capture; out, a whole SQLite file. Nothing
 * but that file is written.
 */

import { relative } from 'node:path'
import type { CommitCount, CommitFile } from '../../state/commits.ts'
import { openDatabase } from '../../state/database.ts'
import { PipelineError } from '../../state/errors.ts'
import { flushSync } from '../../state/flush.ts'
import type { Layout } from '../../state/layout.ts'
import { type Ledger, openLedger } from '../../state/ledger.ts'
import type { Salvage } from './salvage.ts'
import type { Evidence, Verdict } from './verdicts.ts'

export interface BuildInput {
  /** Does not exist yet. */
  path: string
  layout: Layout
  evidence: Evidence
  verdicts: readonly Verdict[]
  salvage?: Salvage
}

/** Answers the rows that were taken over from the former ledger, by table. Throws `ledger_damaged` when it is not whole. */
export function buildLedger(input: BuildInput): Record<string, number> {
  const { path, evidence, verdicts, salvage } = input
  const copied = copyFormer(path, salvage)
  {
    using ledger = openLedger(path)
    ledger.transaction(() => {
      addCommits(ledger, input)
      const sources = sourcesIn(evidence.dataset)
      addRemoved(ledger, input)
      for (const verdict of verdicts) addCapture(ledger, verdict, { ...evidence, sources }, input.layout)
    })
  }
  seal(path)
  return copied
}

function copyFormer(path: string, salvage: Salvage | undefined): Record<string, number> {
  const db = openDatabase(path)
  try {
    return db.transaction(() => salvage?.copyTo(db) ?? {})()
  } finally {
    db.close()
  }
}

/** A commit a file: which of them were one, is not known any more, and does not matter. */
function addCommits(ledger: Ledger, { layout, evidence }: BuildInput): void {
  const { dataset, quarantine } = evidence
  let number = 0
  const add = (path: string, file: Omit<CommitFile, 'path' | 'staged'>, counts: CommitCount[]) => {
    const id = `rebuilt-${++number}`
    const below = relative(layout.dataDir, path)
    ledger.commits.add({ id, files: [{ ...file, path: below, staged: below }], counts })
    ledger.commits.markPublished(id)
  }
  for (const { path, logType, rows, bytes, captures } of dataset.files) {
    const counts = captures.map(({ captureId, rows: n }) => ({
      captureId,
      logType,
      rows: n,
      quarantined: 0,
      reasons: {},
    }))
    add(path, { logType, rows, bytes }, counts)
  }
  for (const { path, counts } of quarantine.files) add(path, { rows: 0, bytes: 0 }, counts)
}

/** Rows that are past their time were loaded once: the receipts of whole captures count them. */
function addRemoved(ledger: Ledger, { evidence, verdicts }: BuildInput): void {
  const whole = verdicts.filter(({ outcome }) => outcome === 'whole')
  const counts = whole.flatMap(({ captureId }) =>
    Object.entries(evidence.former.get(captureId)?.removed ?? {}).map(
      ([logType, rows]): CommitCount => ({ captureId, logType, rows, quarantined: 0, reasons: {} }),
    ),
  )
  if (counts.length === 0) return
  ledger.commits.add({ id: 'rebuilt-removed', files: [], counts })
  ledger.commits.markPublished('rebuilt-removed')
}

type Known = Evidence & { sources: ReadonlyMap<string, string> }

function addCapture(ledger: Ledger, verdict: Verdict, evidence: Known, layout: Layout): void {
  const { captureId: id, outcome, account } = verdict
  const { name, source, format, bytes, acceptedAt, clockOffsetUs, keyLog } = describe(id, evidence)
  const path = `${relative(layout.dataDir, layout.captures)}/${id}.${format}`
  const state = outcome === 'empty' ? 'empty' : 'accepted'
  ledger.captures.add({ id, name, source, format, bytes, path, state, clockOffsetUs }, acceptedAt)
  if (keyLog !== null) ledger.captures.setKeyLog(id, keyLog)
  if (ledger.captures.arrivals(id).length === 0)
    ledger.captures.addArrival({ name, source, container: 'none', bytes, captureId: id, outcome: state }, acceptedAt)
  if (account !== undefined) {
    const { records, tls, keysConverted, ...rest } = account
    const logs = Object.fromEntries(Object.entries(records).map(([logType, n]) => [logType, { records: n }]))
    const keys = { ...(tls && { tls }), ...(keysConverted && { keysConverted }) }
    ledger.captures.recordConversion(id, { ...rest, ...keys, logs })
  }
  if (outcome === 'removal') ledger.captures.setState(id, evidence.former.get(id)?.state ?? 'reprocessing')
  else if (outcome === 'again') ledger.captures.setState(id, 'reprocessing')
  else if (outcome === 'convert') ledger.jobs.add({ stage: 'convert', key: id, captureId: id, input: {}, bytes })
  else ledger.settle(id)
  // Retention took it; its rows and its receipt stay.
  if (!evidence.captures.stored.has(id) && !evidence.captures.damaged.has(id)) ledger.captures.markFileRemoved(id)
}

function describe(id: string, { captures, former, sources }: Known) {
  const known = captures.accounts.get(id)?.capture ?? former.get(id)
  const stored = captures.stored.get(id)
  const { format = 'pcap', bytes = 0 } = stored ?? known ?? {}
  return {
    ...{ format, bytes },
    name: former.get(id)?.name ?? known?.name ?? `${id.slice(0, 16)}.${format}`,
    source: former.get(id)?.source ?? known?.source ?? sources.get(id) ?? 'default',
    acceptedAt: known?.acceptedAt ?? Date.now(),
    clockOffsetUs: former.get(id)?.clockOffsetUs ?? known?.clockOffsetUs ?? 0,
    keyLog: former.get(id)?.keyLog ?? known?.keyLog ?? null,
  }
}

function sourcesIn({ files }: Evidence['dataset']): Map<string, string> {
  const rows = files.flatMap(({ captures }) => captures)
  return new Map(rows.map(({ captureId, source }) => [captureId, source]))
}

/** One file without anything beside it, proven whole, on the disk. */
function seal(path: string): void {
  const db = openDatabase(path)
  try {
    db.pragma('wal_checkpoint(TRUNCATE)')
    db.pragma('journal_mode = DELETE')
    const verdict = db.pragma('integrity_check', { simple: true })
    if (verdict !== 'ok')
      throw new PipelineError('ledger_damaged', `the new ledger ${path} is damaged (${verdict}); check the disk`)
  } finally {
    db.close()
  }
  flushSync(path)
}

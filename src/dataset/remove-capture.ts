/**
 * Takes a capture out of the dataset: `forget` (as if it had never come) and `reprocess` (convert it again).
 *
 * In: a capture's id. Out: no row, no quarantined line and no job of it. Safe to repeat: the capture is marked
 * first, every step bears being done twice, and a removal that was cut short is taken up at the next start.
 * Files are rewritten beside the old ones and renamed over them, so that readers see one or the other.
 */

import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bus } from '../../stages/bus.ts'
import { flush } from '../../stages/durable.ts'
import { accountPath } from '../../state/account-file.ts'
import type { CaptureRow } from '../../state/captures.ts'
import type { CommitFile } from '../../state/commits.ts'
import { PipelineError } from '../../state/errors.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { Indexing } from '../indexing.ts'
import { datasetLock, tryDatasetLock } from './lock.ts'
import { withoutCapture } from './rewrite.ts'

/** What the conversion that follows a `reprocessing` is to do otherwise. */
export interface Changes {
  clockOffsetUs?: number
}

export type Removal = 'forgetting' | 'reprocessing' | 'forgotten'

export interface RemovalParts {
  ledger: Ledger
  bus: Pick<Bus, 'announce'>
  layout: Layout
  /** Puts the files of recorded commits in place, so that nothing of the capture appears afterwards. */
  recover(): Promise<void>
  /** Absent where no Elasticsearch is set. */
  indexing?: Pick<Indexing, 'removeDocuments'>
}

const PATIENCE_MS = 60_000
/** Whoever is indexing the capture notices within a second that it must not, and ends. */
const LOSES_LEASE_MS = 2_500

/** Throws `usage` for rows that could not be made again. */
export function checkRemoval({ name, fileRemovedAt }: CaptureRow, removal: Removal): void {
  if (removal !== 'reprocessing' || fileRemovedAt === null) return
  throw new PipelineError(
    'usage',
    `the stored file of ${name} was removed by retention, so it cannot be converted again; drop the file into the inbox first: it is stored again`,
  )
}

export async function removeCapture(
  parts: RemovalParts,
  capture: CaptureRow,
  removal: Removal,
  changes: Changes = {},
): Promise<void> {
  const { id } = capture
  checkRemoval(capture, removal)
  using _lock = await datasetLock(parts, PATIENCE_MS)
  checkRemoval(parts.ledger.captures.get(id) ?? capture, removal)
  await removeLocked(parts, id, removal, changes)
}

async function removeLocked(parts: RemovalParts, id: string, removal: Removal, changes: Changes = {}): Promise<void> {
  const { ledger, layout, indexing } = parts
  checkSettled(ledger, id)
  if (removal !== 'forgotten') await parts.bus.announce([{ kind: 'forgotten', captureId: id }])
  const isIndexing = ledger.jobs.list({ captureId: id, status: 'running' }).some(({ stage }) => stage === 'index')
  const quietAt = Date.now() + (isIndexing ? LOSES_LEASE_MS : 0)
  ledger.transaction(() => {
    ledger.captures.setState(id, removal)
    if (changes.clockOffsetUs !== undefined) ledger.captures.setClockOffset(id, changes.clockOffsetUs)
    ledger.jobs.removeOf(id)
    ledger.artifacts.releaseOf(id)
  })
  await parts.recover()
  await untilTrue(() => !ledger.commits.pending(id), 'rows of the capture are still being put in place')
  for (const file of ledger.commits.filesOf(id)) await rewrite(file, id, parts)
  await indexing?.removeDocuments(id, quietAt)
  await removeDeadLetters(id, layout)
  if (removal === 'forgetting') await removeFiles(id, layout)
  const capture = ledger.captures.get(id)
  if (removal === 'reprocessing' && capture !== undefined)
    await parts.bus.announce([{ kind: 'capture', capture: { ...capture, state: 'accepted' } }])
  ledger.transaction(() => finish(ledger, id, removal))
}

/** Events that are on a bus cannot be called back: they would become rows afterwards. */
function checkSettled(ledger: Ledger, id: string): void {
  const isOut =
    ledger.published.open(id) > 0 || ledger.jobs.list({ captureId: id }).some(({ status }) => status === 'sent')
  if (!isOut) return
  throw new PipelineError('io', 'the capture is still in work on other hosts; try again when its receipt is there', {
    retryable: true,
  })
}

/** Takes up what was cut short; what another process is at work on is left to it. */
export async function resumeRemovals(parts: RemovalParts): Promise<void> {
  const { ledger } = parts
  for (const state of ['forgetting', 'reprocessing', 'forgotten'] as const) {
    for (const { id } of ledger.captures.list({ state })) {
      using lock = tryDatasetLock(parts)
      if (lock === undefined) return
      await removeLocked(parts, id, state)
    }
  }
}

function finish(ledger: Ledger, id: string, removal: Removal): void {
  const capture = ledger.captures.get(id)
  ledger.commits.removeOf(id)
  ledger.sinks.removeOf(id)
  if (removal !== 'reprocessing' || capture === undefined) {
    ledger.captures.remove(id)
    return
  }
  ledger.captures.removeConversion(id)
  ledger.captures.setState(id, 'accepted')
  ledger.jobs.add({ stage: 'convert', key: id, captureId: id, input: {}, bytes: capture.bytes })
}

async function rewrite(file: CommitFile, captureId: string, { ledger, layout }: RemovalParts): Promise<void> {
  const path = join(layout.dataDir, file.path)
  if ((await stat(path).catch(() => undefined)) === undefined) return
  const left = await withoutCapture(path, captureId, file.logType === undefined ? 'lines' : 'rows')
  await flush(join(path, '..'))
  ledger.transaction(() => ledger.commits.replaceFile(file.path, left))
}

async function removeDeadLetters(id: string, { quarantine }: Layout): Promise<void> {
  for (const name of await readdir(quarantine))
    if (name.startsWith(`${id.slice(0, 12)}-elasticsearch-`)) await rm(join(quarantine, name), { force: true })
}

async function removeFiles(id: string, layout: Layout): Promise<void> {
  for (const format of ['pcap', 'pcapng', 'keys']) await rm(join(layout.captures, `${id}.${format}`), { force: true })
  await rm(accountPath(layout, id), { force: true })
  for (const name of await readdir(layout.quarantine)) {
    if (name.startsWith(`${id.slice(0, 12)}-`)) await rm(join(layout.quarantine, name), { force: true })
  }
}

async function untilTrue(condition: () => boolean, whatWeWaitFor: string): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS
  while (!condition()) {
    if (Date.now() > deadline) throw new PipelineError('io', `${whatWeWaitFor}; try again later`, { retryable: true })
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

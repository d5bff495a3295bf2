/** The lines that became no row, as the files in `quarantine/lines/` have them: counted by capture and log. */

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { NO_CAPTURE } from '../../state/capture.ts'
import type { CommitCount } from '../../state/commits.ts'
import { errnoOf, messageOf } from '../../state/errors.ts'
import { linesOf } from '../dataset/rewrite.ts'

export interface QuarantineFile {
  /** Absolute. */
  path: string
  bytes: number
  /** Without rows. */
  counts: CommitCount[]
}

export interface QuarantineEvidence {
  files: QuarantineFile[]
  /** `<capture>/<log type>` → the numbers of the events that are there. */
  ordinals: Map<string, Set<number>>
  damaged: { path: string; reason: string }[]
}

export const logKey = ({ captureId, logType }: { captureId: string; logType: string }) => `${captureId}/${logType}`

export async function readQuarantine(dir: string): Promise<QuarantineEvidence> {
  const evidence: QuarantineEvidence = { files: [], ordinals: new Map(), damaged: [] }
  for (const name of await namesIn(dir)) {
    const path = join(dir, name)
    try {
      const entries = await entriesOf(path)
      for (const { captureId, logType, ordinal } of entries) {
        const key = logKey({ captureId, logType })
        evidence.ordinals.set(key, (evidence.ordinals.get(key) ?? new Set()).add(ordinal))
      }
      evidence.files.push({ path, bytes: (await stat(path)).size, counts: countsOf(entries) })
    } catch (error) {
      evidence.damaged.push({ path, reason: messageOf(error) })
    }
  }
  return evidence
}

interface Entry {
  captureId: string
  logType: string
  ordinal: number
  reason: string
}

async function entriesOf(path: string): Promise<Entry[]> {
  const entries: Entry[] = []
  for await (const line of linesOf(path)) {
    const { capture_id: captureId = NO_CAPTURE, log_type: logType, ordinal, reason } = JSON.parse(line.toString())
    if (typeof logType !== 'string' || typeof captureId !== 'string' || !Number.isSafeInteger(ordinal))
      throw new Error('a line of it is not one of ours')
    entries.push({ captureId, logType, ordinal, reason: String(reason) })
  }
  return entries
}

function countsOf(entries: readonly Entry[]): CommitCount[] {
  return [...Map.groupBy(entries, logKey).values()].map((same) => {
    const [{ captureId, logType }] = same as [Entry]
    const reasons: Record<string, number> = {}
    for (const { reason } of same) reasons[reason] = (reasons[reason] ?? 0) + 1
    return { captureId, logType, rows: 0, quarantined: same.length, reasons }
  })
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return (await readdir(dir)).filter((name) => name.endsWith('.ndjson') && !name.startsWith('.')).sort()
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

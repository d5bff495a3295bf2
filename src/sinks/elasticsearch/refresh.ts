/**
 * Documents of files whose rows have changed since they were indexed (a rescan of the watch lists), made anew of the rows.
 *
 * In: what the ledger has noted; out: every document of these files as its row is now. Safe to repeat and to break off:
 * a file's note goes when all of its documents are there. What is being removed from the dataset meanwhile waits.
 */

import { join } from 'node:path'
import { SINK } from '../../../stages/index-events/index-events.ts'
import type { Log } from '../../../stages/ports.ts'
import type { Rules } from '../../../stages/upload/rules.ts'
import type { Layout } from '../../../state/layout.ts'
import type { Ledger } from '../../../state/ledger.ts'
import { tryDatasetLock } from '../../dataset/lock.ts'
import { sendRows } from './backfill.ts'
import type { ElasticsearchSink } from './sink.ts'

export interface RefreshParts {
  sink: ElasticsearchSink
  rules: Rules
  ledger: Ledger
  layout: Layout
  log: Log
  signal: AbortSignal
}

const AT_ONCE = 100

/** Gives the number of documents. Throws `sink_down`. */
export async function refreshDocuments(parts: RefreshParts): Promise<number> {
  const { ledger, layout, log } = parts
  let documents = 0
  let refused = 0
  for (;;) {
    const changed = ledger.sinks.changedFiles(SINK, AT_ONCE)
    if (changed.length === 0) break
    const files = ledger.commits.publishedWithTime(changed.map(({ path }) => path))
    const types = new Map(files.map(({ path, logType }) => [path, logType]))
    for (const { path, mark } of changed) {
      using lock = tryDatasetLock({ ledger, layout })
      if (lock === undefined) return documents
      const logType = types.get(path)
      if (logType !== undefined) {
        const sent = await sendFile(parts, join(layout.dataDir, path), logType)
        documents += sent.documents
        refused += sent.refused
      }
      ledger.sinks.noteTold(SINK, path, mark)
    }
  }
  if (documents + refused > 0) log.info('documents follow their rows', { documents, refused: refused || undefined })
  return documents
}

async function sendFile({ sink, rules, signal }: RefreshParts, path: string, logType: string) {
  const count = { documents: 0, refused: 0 }
  const writer = sink.openWriter({
    signal,
    isReplacing: true,
    onDone: () => void count.documents++,
    onRejected: () => void count.refused++,
  })
  await sendRows(logType, [path], writer, { rules, signal })
  await writer.finish()
  return count
}

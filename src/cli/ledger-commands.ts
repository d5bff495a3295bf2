/** The commands that keep the ledger safe: `backup`, `restore`, `rebuild`. */

import { relative } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { backupLedger } from '../../state/backup.ts'
import { versionOf } from '../../state/database.ts'
import { messageOf, PipelineError } from '../../state/errors.ts'
import { migrations } from '../../state/migrations.ts'
import { countBy } from '../count-by.ts'
import { resumeRemovals } from '../dataset/remove-capture.ts'
import { inspectorFrom, layoutFrom } from '../parts.ts'
import { recoverAll } from '../pipeline.ts'
import { type Rebuilt, rebuild } from '../rebuild/rebuild.ts'
import type { Outcome } from '../rebuild/verdicts.ts'
import { type Context, openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { bytesText, printable } from './text.ts'

export async function backup(target: string): Promise<number> {
  await using context = openContext({ stateless: true })
  const { path, bytes } = await backupLedger(layoutFrom(context.config).ledger, target)
  context.print(path)
  context.tell(`${bytesText(bytes)}, checked; the dataset and the captures are not in it`)
  return EXIT.ok
}

export async function restore(file: string): Promise<number> {
  checkBackup(file)
  return await renew(file)
}

export async function rebuildLedger(): Promise<number> {
  return await renew()
}

/** Throws `ledger_damaged` for what is no whole ledger that this version can read. */
function checkBackup(file: string): void {
  const refuse = (why: string) =>
    new PipelineError('ledger_damaged', `${printable(file)} cannot be restored: ${why}; nothing was changed`)
  try {
    const db = new BetterSqlite3(file, { readonly: true, fileMustExist: true })
    try {
      const version = versionOf(db)
      if (version > migrations.length)
        throw refuse(`it is of a newer version (schema ${version}, this version knows ${migrations.length})`)
      const verdict = db.pragma('integrity_check', { simple: true })
      if (verdict !== 'ok') throw refuse(`it is damaged (${verdict})`)
      if (version === 0) throw refuse('it is no ledger')
      db.prepare('SELECT count(*) FROM captures').get()
    } finally {
      db.close()
    }
  } catch (error) {
    throw error instanceof PipelineError ? error : refuse(messageOf(error))
  }
}

async function renew(from?: string): Promise<number> {
  await using context = openContext()
  const { config, tell } = context
  const layout = layoutFrom(config)
  const done = await rebuild({ config, layout, inspector: inspectorFrom(config), from, say: tell })
  await removeUnproven(context)
  if (done.wasFinished) {
    context.print(`A replacement of the ledger that was cut short is finished.${keptText(done)}`)
    return EXIT.ok
  }
  context.print(textOf(done, layout.dataDir, config.elasticsearch.connection.nodes.length > 0))
  const isProven = !done.verdicts.some(({ outcome }) => outcome === 'unproven')
  return isProven ? EXIT.ok : EXIT.unbalanced
}

/** What the next start would do as well. */
async function removeUnproven(context: Context): Promise<void> {
  const { ledger, layout, stages, indexing, bus: open } = context.parts()
  const bus = await open()
  try {
    await resumeRemovals({ ledger, bus, layout, indexing, recover: () => recoverAll(stages, context.log) })
  } finally {
    await bus.close()
  }
}

const OUTCOMES: Record<Outcome, string> = {
  whole: 'whole: every event is there once, and the receipt says so',
  again: 'not proven: their rows are removed, and they are queued to be converted again',
  convert: 'without rows: they are queued to be converted',
  empty: 'empty: there is no packet in them',
  removal: 'were being removed, which goes on',
  unproven: 'NOT PROVEN, and their files are gone or damaged: their rows are kept as they are',
}

function textOf(done: Rebuilt, dataDir: string, isIndexed: boolean): string {
  const counts = countBy(done.verdicts.map(({ outcome }) => outcome))
  const lines = [`The ledger is new.${keptText(done)}`, '']
  for (const [outcome, text] of Object.entries(OUTCOMES))
    if (counts[outcome]) lines.push(`${String(counts[outcome]).padStart(8)}  captures ${text}`)
  if (done.streamed > 0) lines.push(`${String(done.streamed).padStart(8)}  events that came without a capture: kept`)
  const named = (title: string, items: string[]) => {
    if (items.length > 0) lines.push('', title, ...items.map((item) => `  ${printable(item)}`))
  }
  const files = (list: Rebuilt['aside']) => list.map(({ path, reason }) => `${relative(dataDir, path)}: ${reason}`)
  const notWhole = done.verdicts.filter(({ outcome }) => outcome === 'again' || outcome === 'unproven')
  named(
    'Captures that are not whole:',
    notWhole.map(({ captureId, why }) => `${captureId.slice(0, 16)}: ${why}`),
  )
  named('Put into quarantine:', files(done.aside))
  named('Left alone:', files(done.leftAlone))
  named(
    'Known before, and nothing is left of them (forgotten since, or lost):',
    done.gone.map((id) => id.slice(0, 16)),
  )
  named('Could not be restored:', lostText(done, isIndexed))
  return lines.join('\n')
}

function lostText({ copied, unread }: Rebuilt, isIndexed: boolean): string[] {
  const lost = unread.map((problem) => `of the former ledger: ${problem}`)
  if (copied === undefined)
    lost.push(
      'the names and times of files that came again, and of those that were refused (the files are in quarantine)',
      'names and times of captures that were converted by a version that kept no account beside them',
      'watch lists and what they found, accounts of the pages, the audit, saved queries: import and add them again',
    )
  if (isIndexed) lost.push('which events wait for Elasticsearch: `elasticsearch backfill` sends those that it has not')
  return lost
}

function keptText({ kept }: Rebuilt): string {
  return kept === undefined ? '' : ` The former one is kept as ${kept}.`
}

/** The commands that keep the data directory in order: `retention`, `compact`. A running pipeline does both by itself. */

import { join } from 'node:path'
import { PipelineError } from '../../state/errors.ts'
import { bytesToFree, mayRowsGo } from '../dataset/budget.ts'
import { compact as compactFiles, groupsToJoin, spaceFor } from '../dataset/compact.ts'
import { applyRetention } from '../dataset/retention.ts'
import { planRetention, type RetentionPlan } from '../dataset/retention-plan.ts'
import { upkeepLock } from '../dataset/upkeep.ts'
import { upkeepOptions } from '../parts.ts'
import { type Context, openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { untilSignal } from './run.ts'
import { bytesText, printable, textTable } from './text.ts'

interface Options {
  dryRun: boolean
  json: boolean
}

const LINES = 20

export async function retention({ dryRun, json }: Options): Promise<number> {
  await using context = openContext()
  const { ledger, layout, meter } = context.parts()
  const { disk, retention: limits } = upkeepOptions(context.config)
  const budget = { budgetBytes: bytesToFree({ ledger, meter, disk }), keepsRows: !mayRowsGo({ ledger }) }
  const plan = await planRetention({ ledger, layout, limits }, budget)
  if (dryRun) {
    if (json) context.print(JSON.stringify(plan, null, 2))
    else if (plan.captures.length + plan.quarantine.length + plan.files.length === 0) context.print('nothing would go')
    else show(context, plan)
    return EXIT.ok
  }
  using _lock = await upkeepLock(ledger)
  const removed = await applyRetention({ ledger, layout, log: context.log }, plan, stopSignal())
  if (json) context.print(JSON.stringify(removed, null, 2))
  else
    context.print(
      `removed ${bytesText(removed.bytes)}: ${removed.captures} stored captures, ${removed.quarantine} files in quarantine, ${removed.files} files of the dataset with ${removed.rows} rows`,
    )
  return EXIT.ok
}

function show({ print }: Context, plan: RetentionPlan): void {
  const lines = [
    ...plan.captures.map(({ name, bytes, why }) => ['capture', bytesText(bytes), why, printable(name)]),
    ...plan.quarantine.map(({ path, bytes, why }) => ['quarantine', bytesText(bytes), why, printable(path)]),
    ...plan.files.map(({ path, rows, bytes, why }) => [`${rows} rows`, bytesText(bytes), why, printable(path)]),
  ]
  print(textTable(['what', 'size', 'for its', ''], lines.slice(0, LINES)))
  if (lines.length > LINES) print(`… and ${lines.length - LINES} more; --json lists all`)
  const all = [...plan.captures, ...plan.quarantine, ...plan.files]
  const rows = plan.files.reduce((sum, file) => sum + file.rows, 0)
  print(
    `\n${bytesText(all.reduce((sum, { bytes }) => sum + bytes, 0))} would go: ${plan.captures.length} stored captures, ${plan.quarantine.length} files in quarantine, ${plan.files.length} files of the dataset with ${rows} rows`,
  )
}

export async function compact({ dryRun, json }: Options): Promise<number> {
  await using context = openContext()
  const { config, log, print } = context
  const { ledger, layout, meter } = context.parts()
  const afterMs = config.compactAfterMs
  if (afterMs === 0)
    throw new PipelineError(
      'usage',
      'COMPACT_AFTER_MINUTES is 0, so no files are joined; set it to a number of minutes',
    )
  if (dryRun) {
    const groups = groupsToJoin({ ledger, afterMs })
    const found = groups.map(({ dir, files }) => ({
      folder: join(layout.dataDir, dir),
      files: files.length,
      rows: files.reduce((sum, file) => sum + file.rows, 0),
      bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    }))
    if (json) print(JSON.stringify(found, null, 2))
    else print(found.length === 0 ? 'nothing would be joined' : planText(found))
    return EXIT.ok
  }
  const done = await compactFiles(
    { ledger, layout, log, afterMs, hasSpace: spaceFor(meter, config.disk) },
    stopSignal(),
  )
  if (json) print(JSON.stringify(done, null, 2))
  else
    print(
      `joined ${done.joined} files into ${done.into}, ${done.rows} rows, ${bytesText(done.bytesBefore)} to ${bytesText(done.bytesAfter)}${done.postponed > 0 ? `; ${done.postponed} groups could not be joined now` : ''}`,
    )
  return EXIT.ok
}

function planText(found: readonly { folder: string; files: number; rows: number; bytes: number }[]): string {
  const files = found.reduce((sum, group) => sum + group.files, 0)
  const rows = found
    .slice(0, LINES)
    .map(({ folder, files: n, rows: count, bytes }) => [n, count, bytesText(bytes), folder])
  const more = found.length > LINES ? `\n… and ${found.length - LINES} more folders; --json lists all` : ''
  return `${textTable(['files', 'rows', 'size', 'folder'], rows)}${more}\n\n${files} files would become ${found.length}`
}

function stopSignal(): AbortSignal {
  const stop = new AbortController()
  void untilSignal().then(() => stop.abort(new PipelineError('stopped', 'stopped; the same command goes on')))
  return stop.signal
}

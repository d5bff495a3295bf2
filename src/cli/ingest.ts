/**
 * `ingest FILE…`: takes files in, waits until every event in them is a row, and prints the receipts.
 *
 * The files stay where they are. What a stop leaves undone is in the ledger and goes on at the next start.
 */

import { readdir, realpath, stat } from 'node:fs/promises'
import { constants } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { isKeyLogName } from '../../stages/key-log.ts'
import { arrivalJob, capturesOf, encodePath } from '../../stages/monitor/arrival.ts'
import { keyLogsBeside } from '../../stages/monitor/keys.ts'
import { isPartialName } from '../../stages/monitor/scan.ts'
import { messageOf, PipelineError } from '../../state/errors.ts'
import { type JobRow, STAGE_NAMES } from '../../state/job.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { Receipt } from '../../state/receipt.ts'
import type { Indexing } from '../indexing.ts'
import { checkRules } from '../parts.ts'
import { type Context, openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { startProgress } from './progress.ts'
import { receiptText } from './receipt-text.ts'
import { untilSignal } from './run.ts'
import { printable } from './text.ts'

export interface IngestOptions {
  source: string
  json: boolean
}

interface Wanted {
  file: string
  key: string
}

export async function ingest(files: readonly string[], { source, json }: IngestOptions): Promise<number> {
  await using context = openContext()
  await checkRules(context.config)
  const { ledger, start, indexing } = context.parts()
  const wanted = await queue(await expand(files), source, ledger)
  const pipeline = await start(STAGE_NAMES, { watch: false })
  const progress = startProgress(ledger, wanted, process.stderr)
  const interrupted = untilSignal().then((signal) => ({ signal }))
  const ended = await Promise.race([
    untilEnded(ledger, wanted).then(() => untilIndexed(ledger, wanted, indexing)),
    interrupted,
  ])
  progress.stop()
  await pipeline.stop(context.config.stopTimeoutMs)
  if (ended !== undefined) {
    context.tell(`stopped by ${ended.signal}; what is not finished goes on at the next start`)
    return 128 + constants.signals[ended.signal]
  }
  return answer(context, ledger, wanted, json)
}

/** Folders stand for the files in them. */
async function expand(paths: readonly string[]): Promise<string[]> {
  const files: string[] = []
  for (const path of paths) {
    const stats = await stat(path).catch((error) => {
      throw new PipelineError('usage', `${printable(path)} cannot be read: ${messageOf(error)}`)
    })
    if (!stats.isDirectory()) files.push(path)
    else
      for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
        if (entry.isFile() && !isPartialName(entry.name)) files.push(join(entry.parentPath, entry.name))
      }
  }
  if (files.length === 0) throw new PipelineError('usage', 'there is no file in the folders that were named')
  return await withoutKeyLogs(files.sort())
}

/** Key logs of TLS go with the captures that they lie beside. */
async function withoutKeyLogs(files: readonly string[]): Promise<string[]> {
  const captures = files.filter((file) => !isKeyLogName(basename(file)))
  const theirs = new Set((await Promise.all(captures.map((file) => keyLogsBeside(resolve(file))))).flat())
  const left = files.find((file) => isKeyLogName(basename(file)) && !theirs.has(resolve(file)))
  if (left !== undefined)
    throw new PipelineError(
      'usage',
      `${printable(left)} is a file of TLS keys; name the capture that it belongs to, which lies beside it under the same name`,
    )
  return captures
}

async function queue(files: readonly string[], source: string, ledger: Ledger): Promise<Wanted[]> {
  const wanted: Wanted[] = []
  for (const [index, file] of files.entries()) {
    const { dev, ino, size, mtimeMs } = await stat(file)
    // Who names a link means the file behind it.
    const path = encodePath(await realpath(file, { encoding: 'buffer' }))
    const keys = (await keyLogsBeside(resolve(file))).map((each) => encodePath(Buffer.from(each)))
    const job = arrivalJob(
      {
        path,
        name: basename(file),
        source,
        dev,
        ino,
        bytes: size,
        mtimeMs,
        keep: true,
        ...(keys.length > 0 && { keys }),
      },
      Date.now() * 1000 + index,
    )
    ledger.jobs.add(job)
    wanted.push({ file, key: job.key })
  }
  return wanted
}

async function untilEnded(ledger: Ledger, wanted: readonly Wanted[]): Promise<undefined> {
  while (!wanted.every(({ key }) => hasEnded(ledger, key))) await new Promise((done) => setTimeout(done, 100))
  return undefined
}

/** Not for a server that takes nothing: what waits for it goes on at the next start, and the receipt says so. */
async function untilIndexed(
  ledger: Ledger,
  wanted: readonly Wanted[],
  indexing: Indexing | undefined,
): Promise<undefined> {
  if (indexing === undefined) return undefined
  const isOpen = ({ stage, status }: JobRow) => stage === 'index' && (status === 'ready' || status === 'running')
  const ids = wanted.flatMap(({ key }) => {
    const arrival = ledger.jobs.find('monitor', key)
    return arrival === undefined ? [] : capturesOf(arrival)
  })
  while (ids.some((captureId) => ledger.jobs.list({ captureId }).some(isOpen)) && indexing.mayClaim('index'))
    await new Promise((done) => setTimeout(done, 100))
  // One that is under way may have begun before the last of it was there.
  await indexing.lookAfter()
  await indexing.lookAfter()
  return undefined
}

function hasEnded(ledger: Ledger, key: string): boolean {
  const arrival = ledger.jobs.find('monitor', key)
  if (arrival?.status === 'failed') return true
  return arrival?.status === 'done' && capturesOf(arrival).every((id) => isFinished(ledger, id))
}

function isFinished(ledger: Ledger, id: string): boolean {
  const state = ledger.captures.get(id)?.state
  return state === undefined || state === 'done' || state === 'empty' || state === 'failed' || state === 'unbalanced'
}

function answer({ print, tell }: Context, ledger: Ledger, wanted: readonly Wanted[], json: boolean): number {
  const receipts: Receipt[] = []
  let refused = 0
  for (const { file, key } of wanted) {
    const arrival = ledger.jobs.find('monitor', key)
    const ids = arrival === undefined ? [] : capturesOf(arrival)
    if (arrival?.status === 'failed' || ids.length === 0) {
      refused++
      tell(`${printable(file)}: refused: ${printable(arrival?.error ?? 'it went away before it was read')}`)
    }
    receipts.push(...ids.map((id) => ledger.receipt(id)))
  }
  if (json) print(JSON.stringify(receipts, null, 2))
  else if (receipts.length > 0) print(receipts.map(receiptText).join('\n\n'))
  const unbalanced = receipts.filter(({ balanced }) => !balanced).length
  if (receipts.length + refused > 1)
    tell(`${receipts.length - unbalanced} balanced, ${unbalanced} not, ${refused} refused`)
  return unbalanced + refused === 0 ? EXIT.ok : EXIT.unbalanced
}

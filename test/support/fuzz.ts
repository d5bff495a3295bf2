/**
 * Damaged captures through an engine, and through the whole pipeline. Out: what went wrong, a sentence each; nothing
 * is expected of the records but that they are there, whole, and counted.
 */

import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Engine, Log } from '../../stages/ports.ts'
import { accountBalances } from '../../state/capture.ts'
import { PipelineError } from '../../state/errors.ts'
import type { Receipt } from '../../state/receipt.ts'
import type { Home } from './cli.ts'

export interface Tried {
  problems: string[]
  ms: number
  packets: number
  records: number
  /** Why the file is no capture. */
  refused?: string
}

/** Converts the bytes in `dir`, which is emptied. */
export async function tryConvert(engine: Engine, data: Buffer, dir: string): Promise<Tried> {
  const [outDir, workDir, capturePath] = [join(dir, 'out'), join(dir, 'work'), join(dir, 'capture')]
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(outDir, { recursive: true })
  mkdirSync(workDir)
  writeFileSync(capturePath, data)
  const captureId = createHash('sha256').update(data).digest('hex')
  const problems: string[] = []
  const log = logTo(problems)
  const signal = new AbortController().signal
  const start = performance.now()
  try {
    const result = await engine.convert({ capturePath, captureId, outDir, workDir, signal, log })
    const ms = performance.now() - start
    if (!accountBalances(result.packets))
      problems.push(`the account does not balance: ${JSON.stringify(result.packets)}`)
    if (result.packets.skipped.poison !== undefined) problems.push(`poison: ${result.warnings.join(' ')}`)
    problems.push(...result.warnings.filter((warning) => warning.includes('wholly dissected')))
    let records = 0
    for (const name of readdirSync(outDir)) records += checkLog(join(outDir, name), result.logs, problems)
    const named = Object.values(result.logs).reduce((sum, each) => sum + each.records, 0)
    if (named !== records) problems.push(`${named} records are named, ${records} written`)
    return { problems, ms, packets: result.packets.inFile, records }
  } catch (error) {
    const ms = performance.now() - start
    if (error instanceof PipelineError && error.code === 'capture_not_recognized')
      return { problems, ms, packets: 0, records: 0, refused: error.message }
    problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
    return { problems, ms, packets: 0, records: 0 }
  }
}

/** @returns its lines. */
function checkLog(path: string, logs: Record<string, { bytes: number }>, problems: string[]): number {
  const name = path.slice(path.lastIndexOf('/') + 1, -'.ndjson'.length)
  const text = readFileSync(path, 'utf8')
  const lines = text.split('\n')
  if (lines.pop() !== '') problems.push(`${name}: the last line has no end`)
  if (logs[name]?.bytes !== Buffer.byteLength(text)) problems.push(`${name}: its size is not what the result says`)
  const uids = new Set<unknown>()
  for (const line of lines) {
    try {
      const record = JSON.parse(line)
      if (typeof record.ts !== 'number') problems.push(`${name}: a record without a time: ${line.slice(0, 200)}`)
      if (name !== 'conn') continue
      if (uids.has(record.uid)) problems.push(`conn: the uid ${record.uid} twice`)
      uids.add(record.uid)
    } catch {
      problems.push(`${name}: not JSON: ${line.slice(0, 200)}`)
    }
  }
  return lines.length
}

/** What the engine reports as an error is a defect. */
function logTo(problems: string[]): Log {
  const none = () => {}
  return {
    debug: none,
    info: none,
    warn: none,
    error: (message, values) => problems.push(`${message}: ${values?.protocol ?? ''} ${values?.error ?? ''}`),
    child: () => logTo(problems),
  }
}

export interface Ingested {
  problems: string[]
  balanced: number
  refused: number
}

/** Takes the files in, all at once, as `ingest` does. */
export async function tryIngest(home: Home, files: readonly string[]): Promise<Ingested> {
  const { code, signal, stdout, stderr } = await home.run('ingest', '--json', ...files)
  const reasons = new Map(
    [...stderr.matchAll(/^(\S+): refused: (.+)$/gm)].map(([, file, reason]) => [file as string, reason as string]),
  )
  let receipts: Receipt[]
  try {
    receipts = JSON.parse(stdout)
  } catch {
    return { problems: [`no answer (${signal ?? code}): ${stderr.slice(0, 2000)}`], balanced: 0, refused: 0 }
  }
  const problems: string[] = []
  for (const { capture, balanced, problems: why } of receipts)
    if (!balanced) problems.push(`${capture.name}: ${why.join('; ')}`)
  if (receipts.length + reasons.size !== files.length)
    problems.push(`${files.length} files, ${receipts.length} receipts, ${reasons.size} refused: ${stderr.slice(-500)}`)
  if (signal !== null || ![0, 3].includes(code ?? -1)) problems.push(`it ended with ${signal ?? code}`)
  problems.push(...[...stderr.matchAll(/.*\ba bug\b.*/g)].map(([line]) => line))
  return { problems, balanced: receipts.filter(({ balanced }) => balanced).length, refused: reasons.size }
}

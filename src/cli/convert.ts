/**
 * `convert FILE… --out DIR`: just the logs, `DIR/<file name>/<log>.ndjson`. Reads no state and changes none.
 */

import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { basename, join, relative, resolve } from 'node:path'
import { safeName } from '../../stages/durable.ts'
import { keyLogsBeside, storeKeys } from '../../stages/monitor/keys.ts'
import type { ConvertRequest, Engine } from '../../stages/ports.ts'
import { messageOf, PipelineError } from '../../state/errors.ts'
import { inspectorFrom, openEngineFrom } from '../parts.ts'
import { openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { untilSignal } from './run.ts'
import { printable } from './text.ts'

export interface ConvertCommandOptions {
  out: string
  engine?: 'auto' | 'zeek' | 'tshark'
}

export async function convertFiles(files: readonly string[], options: ConvertCommandOptions): Promise<number> {
  const { engine } = options
  // Engines work in folders of their own: relative paths would mean something else there.
  const out = resolve(options.out)
  await using context = openContext({ stateless: true })
  const { config, log, tell, print } = context
  const stop = new AbortController()
  void untilSignal().then(() => stop.abort(new PipelineError('stopped', 'stopped')))
  const opened = await openEngineFrom(
    engine === undefined ? config : { ...config, convert: { ...config.convert, engine } },
    log,
  )
  await mkdir(out, { recursive: true })
  let failures = 0
  for (const file of files) {
    const scratch = await mkdtemp(join(out, '.convert-'))
    try {
      const { captures } = await inspectorFrom(config).inspect(file, {
        copyDir: scratch,
        copy: false,
        signal: stop.signal,
      })
      for (const capture of captures) {
        const target =
          captures.length === 1
            ? join(out, safeName(file))
            : join(out, safeName(file), safeName(capture.member ?? basename(file)))
        const keysPath = await keysFor(file, scratch)
        const request = { captureId: capture.sha256, keysPath, signal: stop.signal, log }
        const { summary, warnings } = await convertOne(opened, request, capture.copy ?? resolve(file), target, scratch)
        print(summary)
        for (const warning of warnings) tell(printable(`${file}: ${warning}`))
      }
    } catch (error) {
      if (stop.signal.aborted) throw error
      failures++
      tell(`${printable(file)}: ${printable(messageOf(error))}`)
    } finally {
      await rm(scratch, { recursive: true, force: true })
    }
  }
  return failures === 0 ? EXIT.ok : EXIT.failed
}

/** The keys beside a file, as one key log. */
async function keysFor(file: string, scratch: string): Promise<string | undefined> {
  const beside = await keyLogsBeside(resolve(file))
  if (beside.length === 0) return undefined
  const path = join(scratch, 'keys')
  await storeKeys(beside, path, join(scratch, 'keys.new'))
  return path
}

async function convertOne(
  engine: Engine,
  request: Pick<ConvertRequest, 'captureId' | 'keysPath' | 'signal' | 'log'>,
  capturePath: string,
  target: string,
  scratch: string,
): Promise<{ summary: string; warnings: string[] }> {
  const outDir = await mkdtemp(join(scratch, 'logs-'))
  const workDir = await mkdtemp(join(scratch, 'work-'))
  const result = await engine.convert({ ...request, capturePath, outDir, workDir })
  await mkdir(target, { recursive: true })
  for (const name of await readdir(target)) if (name.endsWith('.ndjson')) await rm(join(target, name))
  for (const name of await readdir(outDir)) await rename(join(outDir, name), join(target, name))
  const logs = Object.entries(result.logs).map(([type, { records }]) => `${type} ${records}`)
  const salvaged = result.packets.salvaged ? `; salvaged: ${result.packets.salvaged}` : ''
  const shown = relative(process.cwd(), target)
  const summary = printable(`${shown}: ${result.packets.inFile} packets; ${logs.join(', ') || 'no records'}${salvaged}`)
  return { summary, warnings: result.warnings }
}

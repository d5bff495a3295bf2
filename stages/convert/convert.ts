/**
 * Convert: one accepted capture in, one NDJSON file of Zeek records a log type out.
 *
 * Safe to repeat: every attempt writes into a work space of its own, which becomes the hand-off only in the
 * transaction that records the job as done; what an attempt that was cut short left is removed.
 */

import { mkdir, rm, stat, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { accountPath, accountText } from '../../state/account-file.ts'
import type { CaptureRow, Conversion } from '../../state/captures.ts'
import { PipelineError } from '../../state/errors.ts'
import { keysPathOf, type Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { flush, flushAll, linkOrCopy, move, safeName } from '../durable.ts'
import type { LogFile, SplitInput } from '../hand-offs.ts'
import type { Engine } from '../ports.ts'
import { oneJob, type Stage } from '../stage.ts'
import { clockWarnings } from './clock.ts'

export interface ConvertOptions {
  ledger: Ledger
  layout: Layout
  /** Opened when first needed, so that a host without an engine can do everything else. */
  engine: () => Promise<Engine>
  timeoutMs: number
}

export function createConvert({ ledger, layout, engine, timeoutMs }: ConvertOptions): Stage {
  /** Beside the capture, for the day that the ledger is lost. An attempt that is repeated writes the same again. */
  async function keepAccount(capture: CaptureRow, conversion: Conversion, workDir: string): Promise<void> {
    const written = join(workDir, 'account.json')
    await writeFile(written, accountText(capture, conversion))
    await flush(written)
    await move(written, accountPath(layout, capture.id))
  }

  return {
    name: 'convert',

    handle: oneJob(async (job, { workDir, signal, progress, log }) => {
      const capture = ledger.captures.get(job.captureId ?? '')
      if (capture === undefined) throw new PipelineError('capture_unknown', 'the capture is not in the ledger any more')
      const capturePath = join(layout.dataDir, capture.path)
      if (!(await exists(capturePath))) {
        throw new PipelineError(
          'artifact_missing',
          `the stored capture ${capture.path} is gone; drop the file again, after \`forget ${capture.id.slice(0, 16)}\``,
        )
      }
      await checkUnchanged(capturePath, capture.bytes)
      const keysPath = keysPathOf(layout, capture.id)
      const hasKeys = await exists(keysPath)
      const outDir = join(workDir, 'logs')
      const scratch = join(workDir, 'scratch')
      await mkdir(outDir)
      await mkdir(scratch)
      const started = Date.now()
      const result = await (await engine()).convert({
        capturePath,
        captureId: capture.id,
        clockOffsetUs: capture.clockOffsetUs,
        ...(hasKeys ? { keysPath } : {}),
        outDir,
        workDir: scratch,
        signal: AbortSignal.any([signal, timeLimit(timeoutMs)]),
        log,
        onProgress: progress,
      })
      await rm(scratch, { recursive: true, force: true })
      await flushAll(outDir)
      await checkUnchanged(capturePath, capture.bytes)
      await keepAccount(capture, result, workDir)

      const logs = Object.entries(result.logs).map(
        ([logType, { records, bytes }]): LogFile => ({ logType, records, bytes }),
      )
      const records = logs.reduce((sum, each) => sum + each.records, 0)
      const bytes = logs.reduce((sum, each) => sum + each.bytes, 0)
      const { packets } = result
      log.info('converted', {
        capture: capture.id.slice(0, 16),
        engine: result.engine,
        packets: packets.inFile,
        records,
        log_types: logs.length,
        ms: Date.now() - started,
        salvaged: packets.salvaged,
      })
      const path = relative(layout.dataDir, workDir)
      const input: SplitInput = { artifact: path, dir: relative(layout.dataDir, outDir), logs }
      return {
        keep: logs.length > 0 ? [workDir] : [],
        handOffs:
          logs.length > 0
            ? [{ stage: 'split', key: capture.id, captureId: capture.id, input, bytes, events: records }]
            : [],
        facts: [
          {
            kind: 'conversion',
            captureId: capture.id,
            conversion: {
              ...result,
              keysConverted: hasKeys ? capture.keyLog?.sha256 : undefined,
              warnings: [...clockWarnings(packets, capture), ...result.warnings],
            },
          },
        ],
        outputs: { engine: result.engine, version: result.engineVersion, records },
      }
    }),

    /** The capture itself stays where it is, so that a retry finds it; quarantine gets a second name for it. */
    async giveUp(job, { code, message }) {
      const capture = ledger.captures.get(job.captureId ?? '')
      if (capture === undefined) return
      const target = join(layout.quarantine, `${capture.id.slice(0, 12)}-${safeName(capture.name)}`)
      await linkOrCopy(join(layout.dataDir, capture.path), target)
      const reason = {
        capture: capture.id,
        file: capture.name,
        source: capture.source,
        code,
        reason: message,
        at: new Date().toISOString(),
      }
      await writeFile(`${target}.reason.json`, `${JSON.stringify(reason, null, 2)}\n`)
    },
  }
}

function timeLimit(timeoutMs: number): AbortSignal {
  const controller = new AbortController()
  const error = new PipelineError(
    'engine_timeout',
    `the conversion took longer than ${Math.round(timeoutMs / 1000)} s (CONVERT_TIMEOUT_SECONDS)`,
    { retryable: true },
  )
  setTimeout(() => controller.abort(error), timeoutMs).unref()
  return controller.signal
}

/** A writer that was out of our sight may have gone on writing into the file after it was accepted. */
async function checkUnchanged(path: string, bytes: number): Promise<void> {
  const { size } = await stat(path)
  if (size === bytes) return
  throw new PipelineError(
    'capture_changed',
    `the stored capture has ${size} bytes, but ${bytes} were accepted; \`forget\` it and drop the file again when it is written`,
  )
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}

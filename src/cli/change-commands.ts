/** The commands that change what is known: `retry`, `forget`, `reprocess`. A running pipeline sees the change at once. */

import { PipelineError } from '../../state/errors.ts'
import { parseClockOffset } from '../clock-offset.ts'
import { type Changes, removeCapture } from '../dataset/remove-capture.ts'
import { recoverAll } from '../pipeline.ts'
import { openContext } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { printable } from './text.ts'

export async function retry(what: string | undefined, { all }: { all: boolean }): Promise<number> {
  await using context = openContext()
  const { ledger } = context.parts()
  if (what === undefined && !all)
    throw new PipelineError(
      'usage',
      'name what to try again (a key that `failed` shows, a capture, a file name), or say --all',
    )
  const retried = ledger.transaction(() => {
    const failed = ledger.jobs.list({ status: 'failed' })
    const chosen = all
      ? failed
      : failed.filter(
          ({ key, captureId }) => key === what || (captureId !== null && captureId === idOf(what as string)),
        )
    for (const { stage, key, captureId } of chosen) {
      ledger.jobs.retry({ stage, key })
      if (captureId) ledger.settle(captureId)
    }
    return chosen.length
  })
  context.tell(
    retried === 0 ? 'nothing that failed fits' : `${retried} put back into the queue; a running pipeline takes them up`,
  )
  return retried === 0 && !all ? EXIT.failed : EXIT.ok

  function idOf(text: string): string | undefined {
    try {
      return ledger.captures.resolve(text).id
    } catch {
      return undefined
    }
  }
}

/** Its rows, files and jobs are gone, so that it can come again. */
export async function forget(text: string): Promise<number> {
  return await remove(text, 'forgetting')
}

/** Its rows go, and it is converted again from the stored file. */
export async function reprocess(text: string, { clockOffset }: { clockOffset?: string } = {}): Promise<number> {
  if (clockOffset === undefined) return await remove(text, 'reprocessing')
  const clockOffsetUs = parseClockOffset(clockOffset)
  if (clockOffsetUs === undefined)
    throw new PipelineError(
      'usage',
      `${JSON.stringify(clockOffset)} is no offset of a clock; write it with a sign and a unit, as in +3600s or -1.5s`,
    )
  return await remove(text, 'reprocessing', { clockOffsetUs })
}

async function remove(text: string, removal: 'forgetting' | 'reprocessing', changes: Changes = {}): Promise<number> {
  await using context = openContext()
  const { ledger, layout, stages, indexing, bus: open } = context.parts()
  const capture = ledger.captures.resolve(text)
  const recover = () => recoverAll(stages, context.log)
  const bus = await open()
  try {
    await removeCapture({ ledger, bus, layout, recover, indexing }, capture, removal, changes)
  } finally {
    await bus.close()
  }
  const name = `${printable(capture.name)} (${capture.id.slice(0, 16)})`
  context.tell(removal === 'forgetting' ? `${name} is forgotten` : `${name} is queued to be converted again`)
  return EXIT.ok
}

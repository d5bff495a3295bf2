/**
 * The inside of a worker process: tasks come over the IPC channel, one at a time, and their results go back.
 *
 * What is thrown inside a task is a reply. What ends the process (a crash, the limit of the heap, a signal) is seen
 * by pool.ts, which has also started it.
 */

import { errnoOf, messageOf, PipelineError } from '../../../state/errors.ts'
import type { OnProgress, PassRequest, PassResult, runPass } from './pass.ts'
import type { runSplit, SplitRequest, SplitResult } from './split.ts'

export type Task = { split: SplitRequest } | { pass: PassRequest }

export type Reply =
  /** It has started. */
  | { ready: true }
  | { progress: Parameters<OnProgress>[0] }
  | { result: SplitResult | PassResult }
  | { failure: { code: PipelineError['code'] | undefined; errno?: string; message: string; retryable: boolean } }

export interface Handlers {
  split: typeof runSplit
  pass: (request: PassRequest, options: Parameters<typeof runPass>[1]) => Promise<PassResult>
}

/** What a task leaves behind is given back before the next one, where it is more than this. */
const GARBAGE_BYTES = 20 << 20

export function serve(handlers: Handlers): void {
  // Small buffers are slices of a shared block, and one that lives long keeps its whole block alive: with Node's
  // blocks of 64 KiB, flows that wait for a few bytes cost gigabytes.
  Buffer.poolSize = 1024
  process.on('disconnect', () => process.exit())
  process.on('message', async (task: Task) => {
    send(await answer(task, handlers))
    collect()
  })
  send({ ready: true })
}

async function answer(task: Task, { split, pass }: Handlers): Promise<Reply> {
  const onProgress: OnProgress = (progress) => send({ progress })
  try {
    return { result: 'split' in task ? await split(task.split, onProgress) : await pass(task.pass, { onProgress }) }
  } catch (error) {
    const foreseen = error instanceof PipelineError ? error : undefined
    const errno = foreseen === undefined ? errnoOf(error) : undefined
    const isBug = foreseen === undefined && errno === undefined && error instanceof Error
    const message = isBug ? (error.stack ?? error.message) : messageOf(error)
    return { failure: { code: foreseen?.code, errno, message, retryable: foreseen?.retryable ?? false } }
  }
}

function send(reply: Reply): void {
  // Nobody may be there any more: then the process ends with its channel.
  process.send?.(reply, () => {})
}

/** Between two tasks hardly anything is alive: collecting is cheap, and the process stays as small as it can be. */
function collect(): void {
  const { heapUsed, external } = process.memoryUsage()
  if (heapUsed + external > GARBAGE_BYTES) globalThis.gc?.()
}

/** A worker thread that runs passes, one at a time, for pool.ts. */

import { parentPort } from 'node:worker_threads'
import { errnoOf, messageOf, PipelineError } from '../../../state/errors.ts'
import { type PassRequest, type PassResult, runPass } from './pass.ts'

export type WorkerReply =
  | { progress: { bytes: number; packets: number } }
  | { result: PassResult }
  | { failure: { code: PipelineError['code'] | undefined; errno?: string; message: string; retryable: boolean } }

// Small buffers are slices of a shared block, and one that lives long keeps its whole block alive: with Node's
// blocks of 64 KiB, flows that wait for a few bytes cost gigabytes.
Buffer.poolSize = 1024

parentPort?.on('message', async (request: PassRequest) => {
  const reply = (message: WorkerReply) => parentPort?.postMessage(message)
  try {
    reply({ result: await runPass(request, { onProgress: (progress) => reply({ progress }) }) })
  } catch (error) {
    const foreseen = error instanceof PipelineError ? error : undefined
    const errno = foreseen === undefined ? errnoOf(error) : undefined
    const isBug = foreseen === undefined && errno === undefined && error instanceof Error
    const message = isBug ? (error.stack ?? error.message) : messageOf(error)
    reply({ failure: { code: foreseen?.code, errno, message, retryable: foreseen?.retryable ?? false } })
  }
})

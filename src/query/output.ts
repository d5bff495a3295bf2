/**
 * Writes an answer to a stream that someone else owns.
 *
 * In: pieces of text or bytes. Out: the same, never faster than the reader takes them. A
 * reader that goes away (`| head`, a closed connection) is no failure: `write` says so and nothing more is written.
 */

import type { Writable } from 'node:stream'
import { errnoOf, messageOf, PipelineError } from '../../state/errors.ts'
import type { Deadline } from './deadline.ts'

export interface Output extends Disposable {
  /** False once the reader is gone. Throws `io` when the stream fails otherwise. */
  write(piece: string | Uint8Array): Promise<boolean>
  /** Waits until all is handed over; the stream stays open. False if the reader is gone. */
  flush(): Promise<boolean>
}

const GONE = new Set([
  'EPIPE',
  'ECONNRESET',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_WRITE_AFTER_END',
  'ERR_STREAM_PREMATURE_CLOSE',
])

export function openOutput(out: Writable, deadline: Pick<Deadline, 'check' | 'paused'>, signal?: AbortSignal): Output {
  let failure: Error | undefined
  let closed = out.destroyed || out.writableEnded
  let wake = () => {}

  const onError = (error: Error) => {
    failure ??= error
    wake()
  }
  const onClose = () => {
    closed = true
    wake()
  }
  const onEvent = () => wake()
  out.on('error', onError)
  out.on('close', onClose)
  out.on('drain', onEvent)
  signal?.addEventListener('abort', onEvent)

  const isOpen = () => {
    if (failure && !GONE.has(errnoOf(failure) ?? ''))
      throw new PipelineError('io', `the answer cannot be written: ${messageOf(failure)}`, { cause: failure })
    return !failure && !closed && !out.destroyed
  }
  const wait = (start: () => void) =>
    deadline.paused(() => {
      return new Promise<void>((resolve) => {
        wake = resolve
        start()
        if (failure || closed || signal?.aborted) resolve()
      })
    })
  return {
    async write(piece) {
      if (!isOpen()) return false
      if (piece.length > 0 && !out.write(piece) && out.writableNeedDrain) await wait(() => {})
      deadline.check()
      return isOpen()
    },
    async flush() {
      if (!isOpen()) return false
      // An error of the last piece comes later than `write` returns; it must find a listener.
      await wait(() => out.write('', () => wake()))
      deadline.check()
      return isOpen()
    },
    [Symbol.dispose]() {
      out.off('close', onClose)
      out.off('drain', onEvent)
      signal?.removeEventListener('abort', onEvent)
      // A pipe may still report the end of its reader after the last write.
      if (failure === undefined && !closed) out.off('error', onError)
    },
  }
}

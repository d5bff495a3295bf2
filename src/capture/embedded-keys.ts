/**
 * The key logs of TLS that a pcapng has in it (Decryption Secrets Blocks of the type "TLSK"), on their way to a file beside
 * the work: parts of the capture, and tshark, have the capture's blocks no more. In: blocks. Out: a key log.
 */

import { appendFileSync } from 'node:fs'
import { MAX_KEY_LOG_BYTES } from '../../stages/key-log.ts'
import type { OnSecrets } from './packet.ts'

/** draft-ietf-opsawg-pcapng, 4.7: "TLSK". */
const TLS_KEY_LOG = 0x544c534b
const LINE_END = Buffer.from('\n')

export interface EmbeddedKeys {
  onSecrets: OnSecrets
  /** Blocks of key logs so far. */
  readonly blocks: number
}

/** @param path where they are appended; without it they are counted alone. */
export function createEmbeddedKeys(path: string | undefined, onKeys?: (keyLog: Buffer) => void): EmbeddedKeys {
  let [blocks, bytes] = [0, 0]
  return {
    onSecrets(type, data) {
      if (type !== TLS_KEY_LOG) return
      blocks++
      bytes += data?.length ?? 0
      if (data === undefined || path === undefined || bytes > MAX_KEY_LOG_BYTES) return
      appendFileSync(path, data, { mode: 0o600 })
      appendFileSync(path, LINE_END)
      onKeys?.(data)
    },
    get blocks() {
      return blocks
    },
  }
}

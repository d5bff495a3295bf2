/**
 * The uid of each packet of a capture, on disk: a file of places of `UID_BYTES` each, in the capture's order, that
 * several passes write into. A place is blank, or never written, where the packet is in no flow.
 */

import { closeSync, existsSync, constants as fs, openSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'

const UID_BYTES = 18

export interface UidWriter {
  add(number: number, uid: string | undefined): void
  flush(): void
  /** Flushes and closes. */
  close(): void
}

/** Throws what opening and writing throw. */
export function createUidWriter(path: string): UidWriter {
  const file = openSync(path, fs.O_WRONLY | fs.O_CREAT)
  /** Uids of packets that follow one another. */
  let run: string[] = []
  let first = 0

  function flush(): void {
    if (run.length > 0) writeSync(file, run.join(''), (first - 1) * UID_BYTES, 'latin1')
    run = []
  }

  return {
    add(number, uid) {
      if (uid === undefined) return
      if (number !== first + run.length) flush()
      if (run.length === 0) first = number
      run.push(uid.padEnd(UID_BYTES).slice(0, UID_BYTES))
    },
    flush,
    close() {
      flush()
      closeSync(file)
    },
  }
}

/** Of `count` packets from the capture's number `first` on; '' for none, and for all when there is no list. */
export async function readUids(path: string, first: number, count: number): Promise<string[]> {
  if (!existsSync(path)) return Array.from({ length: count }, () => '')
  await using file = await open(path)
  const bytes = Buffer.alloc(count * UID_BYTES)
  await file.read(bytes, 0, bytes.length, (first - 1) * UID_BYTES)
  const text = bytes.toString('latin1')
  return Array.from({ length: count }, (_, i) => text.slice(i * UID_BYTES, (i + 1) * UID_BYTES).replace(/[\0 ]+$/, ''))
}

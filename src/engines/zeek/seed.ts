/**
 * The seeds that make a Zeek run repeatable: 21 unsigned 32-bit numbers, one a line in decimal, as
 * `zeek --save-seeds` writes them and `--load-seeds` (`ZEEK_SEED_FILE`) reads them. From the capture's id, so that
 * the same capture gives the same uids and another capture gives others.
 */

import { createHash } from 'node:crypto'

const COUNT = 21

export function seedText(captureId: string): string {
  const lines: number[] = []
  for (let block = 0; lines.length < COUNT; block++) {
    const digest = createHash('sha256').update(`zeek seed ${block} ${captureId}`).digest()
    for (let at = 0; at + 4 <= digest.length && lines.length < COUNT; at += 4) lines.push(digest.readUInt32LE(at))
  }
  return `${lines.join('\n')}\n`
}

/**
 * Flow uids in Zeek's form: `C` and 17 characters of base 62.
 *
 * They follow from the capture, the flow's key, the time of its first packet, and how many flows with that
 * key began at that very time before, and of the tunnel in which it began; so they are the same however often a
 * capture is converted, and in whatever parts (only where packets come seconds late, or their times go to and fro,
 * they also depend on their place in the file).
 */

import { createHash, hash } from 'node:crypto'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** As long as a uid. */
const TUNNEL_BYTES = 18

export type UidMaker = (key: Int32Array, seconds: number, nanos: number, occurrence: number, tunnel: string) => string

export function createUidMaker(captureId: string): UidMaker {
  const prefix = createHash('sha256').update(captureId).digest()
  const plainBytes = prefix.length + 40 + 16
  const input = Buffer.alloc(plainBytes + TUNNEL_BYTES)
  const plain = input.subarray(0, plainBytes)
  prefix.copy(input)
  return (key, seconds, nanos, occurrence, tunnel) => {
    let at = prefix.length
    for (let i = 0; i < 10; i++) at = input.writeInt32LE(key[i] as number, at)
    at = input.writeDoubleLE(seconds, at)
    at = input.writeUInt32LE(nanos >>> 0, at)
    at = input.writeUInt32LE(occurrence >>> 0, at)
    if (tunnel !== '') input.fill(0, at).write(tunnel, at, 'latin1')
    // As text: many times faster than a buffer a flow.
    return uidOf(hash('sha256', tunnel === '' ? plain : input, 'binary'))
  }
}

/** A uid of anything that is named by a text: tunnels without a flow of their own. */
export function textUid(captureId: string, text: string): string {
  return uidOf(hash('sha256', `${captureId}\0${text}`, 'binary'))
}

/** 53 and 47 bits of the digest, in 9 and 8 digits. */
function uidOf(digest: string): string {
  const upper = word(digest, 0) * 0x20_0000 + (word(digest, 4) >>> 11)
  const lower = word(digest, 8) * 0x8000 + (word(digest, 12) >>> 17)
  return `C${base62(upper, 9)}${base62(lower, 8)}`
}

function word(text: string, at: number): number {
  return (
    ((text.charCodeAt(at) << 24) |
      (text.charCodeAt(at + 1) << 16) |
      (text.charCodeAt(at + 2) << 8) |
      text.charCodeAt(at + 3)) >>>
    0
  )
}

function base62(value: number, digits: number): string {
  let text = ''
  let rest = value
  for (let i = 0; i < digits; i++) {
    const next = Math.floor(rest / 62)
    text += ALPHABET[rest - next * 62]
    rest = next
  }
  return text
}

/** A seed for hashing that an author of captures cannot choose freely. */
export function seedOf(captureId: string): number {
  return createHash('sha256').update('seed').update(captureId).digest().readInt32LE(0)
}

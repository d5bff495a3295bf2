/** The keys that a log's records may have, found in bytes: four at a time, for keys are most of a record. */

import { COLON, QUOTE } from './tokens.ts'

const MAX_KEY_BYTES = 128

export interface Keys {
  readonly slots: ReadonlyMap<string, number>
  /** Bytes of `key":`. */
  readonly lengths: Int32Array
  /** The words of all patterns; the last of each ends where the pattern ends, over part of the one before. */
  readonly words: Int32Array
  readonly firstWord: Int32Array
}

export function createKeys(names: readonly string[]): Keys {
  const words = names.map((name) => wordsOf(Buffer.from(`${name}":`)))
  const firstWord = new Int32Array(names.length)
  for (let slot = 1; slot < names.length; slot++)
    firstWord[slot] = (firstWord[slot - 1] as number) + (words[slot - 1] as number[]).length
  return {
    slots: new Map(names.map((name, slot) => [name, slot])),
    lengths: Int32Array.from(names, (name) => Buffer.byteLength(name) + 2),
    words: Int32Array.from(words.flat()),
    firstWord,
  }
}

/** Whether `key":` of the slot is at `at`, which is the place behind the opening quote. False proves nothing: see `findKey`. */
export function isKeyAt({ lengths, words, firstWord }: Keys, view: DataView, at: number, slot: number): boolean {
  const length = lengths[slot] as number
  const last = at + length - 4
  // Short keys, and keys where the bytes end, are left to `findKey`.
  if (length < 4 || last + 4 > view.byteLength) return false
  let word = firstWord[slot] as number
  for (let place = at; place < last; place += 4) if (view.getInt32(place, true) !== words[word++]) return false
  return view.getInt32(last, true) === words[word]
}

/** The slot whose `key":` is at `at`, or -1. */
export function findKey({ slots }: Keys, bytes: Buffer, at: number): number {
  const name = keyAt(bytes, at)
  return name === undefined ? -1 : (slots.get(name) ?? -1)
}

/** The key at `at` as it is written, escapes and all; undefined for one that is very long, or no key. */
export function keyAt(bytes: Buffer, at: number): string | undefined {
  const end = bytes.indexOf(QUOTE, at)
  if (end < 0 || end - at > MAX_KEY_BYTES || bytes[end + 1] !== COLON) return undefined
  return bytes.toString('latin1', at, end)
}

function wordsOf(pattern: Buffer): number[] {
  if (pattern.length < 4) return []
  const words: number[] = []
  for (let place = 0; place < pattern.length - 4; place += 4) words.push(pattern.readInt32LE(place))
  return [...words, pattern.readInt32LE(pattern.length - 4)]
}

/**
 * DEFLATE (RFC 1951), bare or in a gzip (RFC 1952) or zlib (RFC 1950) wrapping, undone piece by piece and
 * synchronously: Node's zlib offers only one of the two, and what a cut stream holds must still be seen.
 * In: pieces of the coded body. Out: pieces of the plain one, at most 64 KiB each. Memory: 32 KiB of window.
 */

import { crc32 } from 'node:zlib'

export interface Inflater {
  /** Gives plain bytes to `out`; they are valid during the call. false: the data is damaged, or over. */
  write(bytes: Buffer): boolean
  readonly damaged: boolean
}

const WINDOW = 32768
const OUT_BYTES = 65536
const UNDERFLOW = Symbol('more input is needed')
const DAMAGED = Symbol('damaged')

const LENGTH_BASE = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
]
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0]
const DISTANCE_BASE = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
  8193, 12289, 16385, 24577,
]
const DISTANCE_EXTRA = [
  0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
]
const CODE_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

/** Canonical Huffman code: how many codes there are of each length, and the symbols in code order. */
interface Huffman {
  counts: Uint16Array
  symbols: Uint16Array
}

function huffman(lengths: ArrayLike<number>): Huffman {
  const counts = new Uint16Array(16)
  for (let i = 0; i < lengths.length; i++) counts[lengths[i] as number] = (counts[lengths[i] as number] as number) + 1
  counts[0] = 0
  const offsets = new Uint16Array(17)
  for (let length = 1; length < 16; length++)
    offsets[length + 1] = (offsets[length] as number) + (counts[length] as number)
  const symbols = new Uint16Array(lengths.length)
  for (let symbol = 0; symbol < lengths.length; symbol++) {
    const length = lengths[symbol] as number
    if (length === 0) continue
    const at = offsets[length] as number
    symbols[at] = symbol
    offsets[length] = at + 1
  }
  return { counts, symbols }
}

/** RFC 1951, 3.2.2: a code that leaves no bit pattern unused and uses none twice; a lone code may be incomplete. */
function isCode({ counts }: Huffman, mayBeLone: boolean): boolean {
  let left = 1
  let codes = 0
  for (let length = 1; length < 16; length++) {
    left = 2 * left - (counts[length] as number)
    codes += counts[length] as number
    if (left < 0) return false
  }
  return left === 0 || (mayBeLone && codes <= 1)
}

const END_OF_BLOCK = 256
const MAX_LITERALS = 286
const MAX_DISTANCES = 30
const GZIP_TRAILER_BYTES = 8

const FIXED_LITERALS = huffman(Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8)))
const FIXED_DISTANCES = huffman(new Array(30).fill(5))

export function createInflater(out: (bytes: Buffer) => void): Inflater {
  const window = Buffer.alloc(WINDOW)
  const output = Buffer.alloc(OUT_BYTES)
  let [windowAt, outputAt] = [0, 0]
  let input: Buffer = Buffer.alloc(0)
  let [at, bits, bitCount] = [0, 0, 0]
  let step: 'wrapping' | 'block' | 'stored' | 'symbols' | 'trailer' | 'over' = 'wrapping'
  let lastBlock = false
  let storedLeft = 0
  let literals = FIXED_LITERALS
  let distances = FIXED_DISTANCES
  let damaged = false
  let isGzip = false
  let [checkSum, total] = [0, 0]

  function take(count: number): number {
    while (bitCount < count) {
      if (at >= input.length) throw UNDERFLOW
      bits |= (input[at++] as number) << bitCount
      bitCount += 8
    }
    const value = bits & ((1 << count) - 1)
    bits >>>= count
    bitCount -= count
    return value
  }

  function symbol(code: Huffman): number {
    let [value, first, index] = [0, 0, 0]
    for (let length = 1; length < 16; length++) {
      value |= take(1)
      const count = code.counts[length] as number
      if (value - count < first) return code.symbols[index + (value - first)] as number
      index += count
      first = (first + count) << 1
      value <<= 1
    }
    throw DAMAGED
  }

  function put(byte: number): void {
    window[windowAt] = byte
    windowAt = (windowAt + 1) & (WINDOW - 1)
    output[outputAt++] = byte
    if (outputAt === OUT_BYTES) flush()
  }

  function flush(): void {
    if (outputAt > 0) {
      const plain = output.subarray(0, outputAt)
      if (isGzip) checkSum = crc32(plain, checkSum)
      total += outputAt
      out(plain)
    }
    outputAt = 0
  }

  function wrapping(): void {
    const head = input.subarray(at)
    if (head.length < 2) throw UNDERFLOW
    if (head[0] === 0x1f && head[1] === 0x8b) {
      isGzip = true
      if (head.length < 10) throw UNDERFLOW
      const flags = head[3] as number
      let skip = 10
      if (flags & 4) {
        if (head.length < skip + 2) throw UNDERFLOW
        skip += 2 + head.readUInt16LE(skip)
      }
      for (const flag of [8, 16]) if (flags & flag) skip = afterNul(head, skip)
      if (flags & 2) skip += 2
      if (head.length < skip) throw UNDERFLOW
      at += skip
    } else if (((head[0] as number) & 0x0f) === 8 && head.readUInt16BE(0) % 31 === 0) at += 2
    step = 'block'
  }

  function afterNul(head: Buffer, from: number): number {
    const nul = head.indexOf(0, from)
    if (nul < 0) throw UNDERFLOW
    return nul + 1
  }

  function block(): void {
    lastBlock = take(1) === 1
    const kind = take(2)
    if (kind === 0) {
      bits = 0
      bitCount = 0
      if (at + 4 > input.length) throw UNDERFLOW
      storedLeft = input.readUInt16LE(at)
      if (storedLeft !== (~input.readUInt16LE(at + 2) & 0xffff)) throw DAMAGED
      at += 4
      step = 'stored'
    } else if (kind === 1) {
      literals = FIXED_LITERALS
      distances = FIXED_DISTANCES
      step = 'symbols'
    } else if (kind === 2) {
      dynamicCodes()
      step = 'symbols'
    } else throw DAMAGED
  }

  function dynamicCodes(): void {
    const [literalCount, distanceCount, lengthCount] = [take(5) + 257, take(5) + 1, take(4) + 4]
    if (literalCount > MAX_LITERALS || distanceCount > MAX_DISTANCES) throw DAMAGED
    const codeLengths = new Uint8Array(19)
    for (let i = 0; i < lengthCount; i++) codeLengths[CODE_LENGTH_ORDER[i] as number] = take(3)
    const code = huffman(codeLengths)
    if (!isCode(code, false)) throw DAMAGED
    const lengths = new Uint8Array(literalCount + distanceCount)
    for (let i = 0; i < lengths.length; ) {
      const next = symbol(code)
      if (next < 16) {
        lengths[i++] = next
        continue
      }
      if (next === 16 && i === 0) throw DAMAGED
      const value = next === 16 ? (lengths[i - 1] as number) : 0
      let repeat = next === 16 ? 3 + take(2) : next === 17 ? 3 + take(3) : 11 + take(7)
      if (i + repeat > lengths.length) throw DAMAGED
      while (repeat-- > 0) lengths[i++] = value
    }
    literals = huffman(lengths.subarray(0, literalCount))
    distances = huffman(lengths.subarray(literalCount))
    if (lengths[END_OF_BLOCK] === 0 || !isCode(literals, true) || !isCode(distances, true)) throw DAMAGED
  }

  function stored(): void {
    const length = Math.min(storedLeft, input.length - at)
    if (length === 0 && storedLeft > 0) throw UNDERFLOW
    for (let i = 0; i < length; i++) put(input[at + i] as number)
    at += length
    storedLeft -= length
    if (storedLeft === 0) step = lastBlock ? 'trailer' : 'block'
  }

  function oneSymbol(): void {
    const value = symbol(literals)
    if (value < 256) put(value)
    else if (value === END_OF_BLOCK) step = lastBlock ? 'trailer' : 'block'
    else {
      const base = LENGTH_BASE[value - 257]
      if (base === undefined) throw DAMAGED
      const length = base + take(LENGTH_EXTRA[value - 257] as number)
      const far = symbol(distances)
      const distanceBase = DISTANCE_BASE[far]
      if (distanceBase === undefined) throw DAMAGED
      const distance = distanceBase + take(DISTANCE_EXTRA[far] as number)
      if (distance > total + outputAt) throw DAMAGED
      for (let i = 0; i < length; i++) put(window[(windowAt - distance + WINDOW) & (WINDOW - 1)] as number)
    }
  }

  const STEPS = { wrapping, block, stored, symbols: oneSymbol, trailer }

  /** gzip's check sum (RFC 1952, 2.3.1) stands behind the last block, at a whole byte. */
  function trailer(): void {
    flush()
    bits = 0
    bitCount = 0
    if (!isGzip) step = 'over'
    else if (at + GZIP_TRAILER_BYTES > input.length) throw UNDERFLOW
    else {
      step = 'over'
      if (input.readUInt32LE(at) !== checkSum) throw DAMAGED
      at += GZIP_TRAILER_BYTES
    }
  }

  function write(bytes: Buffer): boolean {
    if (damaged || step === 'over') return false
    input = at < input.length ? Buffer.concat([input.subarray(at), bytes]) : bytes
    at = 0
    // A step that runs out of input is taken back as a whole and begun again with the next piece.
    let [savedAt, savedBits, savedCount] = [at, bits, bitCount]
    try {
      while ((step as string) !== 'over') {
        ;[savedAt, savedBits, savedCount] = [at, bits, bitCount]
        STEPS[step as keyof typeof STEPS]()
      }
    } catch (stop) {
      if (stop === DAMAGED) damaged = true
      else if (stop !== UNDERFLOW) throw stop
      ;[at, bits, bitCount] = [savedAt, savedBits, savedCount]
    }
    flush()
    input = Buffer.from(input.subarray(at))
    at = 0
    return !damaged
  }

  return {
    write,
    get damaged() {
      return damaged
    },
  }
}

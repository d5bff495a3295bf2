/** Addresses as text. */

const DECIMAL = Array.from({ length: 256 }, (_, n) => String(n))
const HEX = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, '0'))

/** Of one 32-bit word, signed or not. */
export function ip4Text(word: number): string {
  return `${DECIMAL[word >>> 24]}.${DECIMAL[(word >>> 16) & 255]}.${DECIMAL[(word >>> 8) & 255]}.${DECIMAL[word & 255]}`
}

/** Of four 32-bit words, in the form of RFC 5952. IPv4-mapped addresses come out as IPv4, as Zeek has them. */
export function ip6Text(w0: number, w1: number, w2: number, w3: number): string {
  if (w0 === 0 && w1 === 0) {
    if (w2 === 0xffff) return ip4Text(w3)
    if (w2 === 0 && w3 >>> 16 !== 0) return `::${ip4Text(w3)}`
  }
  const groups = [w0 >>> 16, w0 & 0xffff, w1 >>> 16, w1 & 0xffff, w2 >>> 16, w2 & 0xffff, w3 >>> 16, w3 & 0xffff]
  const { start, length } = longestZeros(groups)
  if (length < 2) return groups.map(hex).join(':')
  return `${groups.slice(0, start).map(hex).join(':')}::${groups
    .slice(start + length)
    .map(hex)
    .join(':')}`
}

function hex(group: number): string {
  return group.toString(16)
}

function longestZeros(groups: number[]): { start: number; length: number } {
  let best = { start: -1, length: 0 }
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (start + length < 8 && groups[start + length] === 0) length++
    if (length > best.length) best = { start, length }
    start += length
  }
  return best
}

/** MAC addresses are few: their texts are kept. */
const macs = new Map<number, string>()
const MAX_MACS = 4096

/** Of six bytes given as two numbers: the upper two bytes, the lower four. */
export function macText(high: number, low: number): string {
  const key = high * 2 ** 32 + (low >>> 0)
  const known = macs.get(key)
  if (known !== undefined) return known
  const bytes = [high >>> 8, high & 255, low >>> 24, (low >>> 16) & 255, (low >>> 8) & 255, low & 255]
  const text = bytes.map((byte) => HEX[byte & 255]).join(':')
  if (macs.size >= MAX_MACS) macs.clear()
  macs.set(key, text)
  return text
}

export function be32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  )
}

export function be16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
}

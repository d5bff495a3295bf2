/** ASN.1 BER/DER, read only (X.690): bounds are checked, indefinite lengths are understood, nothing throws. */

export interface Der {
  /** Class and constructed bit and number, as the first byte has them (0x30 SEQUENCE, 0xa0 [0], …). */
  tag: number
  bytes: Buffer
  /** Start of the header, of the content, and behind the content. */
  start: number
  from: number
  to: number
}

const MAX_DEPTH = 32

/** The element at `at`, or undefined where there is none whole before `end`. */
export function derAt(bytes: Buffer, at = 0, end = bytes.length, depth = 0): Der | undefined {
  const tag = bytes[at]
  const first = bytes[at + 1]
  if (tag === undefined || first === undefined || at + 2 > end || (tag & 0x1f) === 0x1f) return undefined
  let from = at + 2
  let length = first
  if (first === 0x80) return (tag & 0x20) !== 0 ? indefinite(bytes, tag, at, from, end, depth) : undefined
  if (first > 0x80) {
    const count = first & 0x7f
    if (count > 4 || from + count > end) return undefined
    length = bytes.readUIntBE(from, count)
    from += count
  }
  if (from + length > end) return undefined
  return { tag, bytes, start: at, from, to: from + length }
}

function indefinite(
  bytes: Buffer,
  tag: number,
  start: number,
  from: number,
  end: number,
  depth: number,
): Der | undefined {
  if (depth > MAX_DEPTH) return undefined
  let at = from
  while (at + 2 <= end) {
    if (bytes[at] === 0 && bytes[at + 1] === 0) return { tag, bytes, start, from, to: at }
    const element = derAt(bytes, at, end, depth + 1)
    if (element === undefined) return undefined
    at = nextAt(element)
  }
  return undefined
}

/** Where the element after this one begins. */
export function nextAt(element: Der): number {
  return element.bytes[element.start + 1] === 0x80 ? element.to + 2 : element.to
}

/** The elements inside; ends at the first that is not whole. */
export function children(parent: Der | undefined): Der[] {
  if (parent === undefined) return []
  const list: Der[] = []
  for (let at = parent.from; at < parent.to; ) {
    const element = derAt(parent.bytes, at, parent.to)
    if (element === undefined) break
    list.push(element)
    at = nextAt(element)
  }
  return list
}

export const content = (element: Der): Buffer => element.bytes.subarray(element.from, element.to)

/** A small INTEGER or ENUMERATED; undefined when it does not fit. */
export function derNumber(element: Der | undefined): number | undefined {
  if (element === undefined) return undefined
  const length = element.to - element.from
  return length < 1 || length > 6 ? undefined : element.bytes.readIntBE(element.from, length)
}

/** Dotted text of an OBJECT IDENTIFIER. */
export function oidText(element: Der | undefined): string {
  if (element === undefined || element.tag !== 6) return ''
  const arcs: bigint[] = []
  let value = 0n
  let bytesOfArc = 0
  for (const byte of content(element)) {
    if (++bytesOfArc > 20) return ''
    value = (value << 7n) | BigInt(byte & 0x7f)
    if ((byte & 0x80) !== 0) continue
    if (arcs.length === 0) {
      const top = value < 80n ? value / 40n : 2n
      arcs.push(top, value - top * 40n)
    } else arcs.push(value)
    value = 0n
    bytesOfArc = 0
  }
  return arcs.join('.')
}

/** UTCTime or GeneralizedTime (RFC 5280, 4.1.2.5) in seconds since the epoch. */
export function derTime(element: Der | undefined): number | undefined {
  if (element === undefined) return undefined
  const text = content(element).toString('latin1')
  const pattern =
    element.tag === 0x17 ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?/ : /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?/
  const match = pattern.exec(text)
  if (match === null) return undefined
  const [year, month, day, hour, minute, second] = match.slice(1).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const fullYear = element.tag === 0x17 ? year + (year < 50 ? 2000 : 1900) : year
  const ms = Date.UTC(2000, month - 1, day, hour, minute, second)
  const date = new Date(ms)
  date.setUTCFullYear(fullYear, month - 1, day)
  const zone = /([+-])(\d\d)(\d\d)$/.exec(text)
  const offset = zone === null ? 0 : (zone[1] === '-' ? 1 : -1) * (Number(zone[2]) * 3600 + Number(zone[3]) * 60)
  return date.getTime() / 1000 + offset
}

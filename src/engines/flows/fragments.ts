/**
 * IP fragments in, whole datagrams out (RFC 791, RFC 8200).
 *
 * Memory is bounded: the oldest incomplete datagrams go when too many bytes or datagrams wait. Where
 * fragments overlap, the bytes that came first stay.
 */

import type { Ip } from './network.ts'

const MAX_WAITING_BYTES = 32 * 1024 * 1024
const MAX_WAITING = 50_000
const MAX_DATAGRAM = 65_535
/** A fragment that ends behind this is told, and kept all the same (Zeek's limit). */
const LARGE_FRAGMENT = 64_000
/** IPv6's fragment header, which is not in the datagram put together. */
const FRAGMENT_HEADER = 8
/** A first or middle fragment with less than this is meant to hide something (Zeek's limit). */
const SMALL_FRAGMENT = 64

interface Waiting {
  /** Header of the first fragment, in front of the payload of all. */
  header: Buffer | undefined
  payload: Buffer
  /** [from, to) pairs in order, not touching one another. */
  have: number[]
  /** Payload length of the datagram once the last fragment has come, -1 before. */
  size: number
  protocol: number
  bytes: number
}

type FragmentWeird = (name: string, source?: string) => void

export interface Reassembler {
  /** A whole datagram, header included, or undefined while parts lack. */
  add(ip: Ip, weird: FragmentWeird): Buffer | undefined
  readonly waiting: number
}

export function createReassembler(): Reassembler {
  const table = new Map<string, Waiting>()
  let bytes = 0

  function drop(key: string, waiting: Waiting): void {
    table.delete(key)
    bytes -= waiting.bytes
  }

  function makeRoom(): void {
    for (const [key, waiting] of table) {
      if (table.size < MAX_WAITING && bytes < MAX_WAITING_BYTES) return
      drop(key, waiting)
    }
  }

  function add(ip: Ip, weird: FragmentWeird): Buffer | undefined {
    const { buffer, payload, payloadLength: length, fragmentOffset: from } = ip
    const to = from + length
    if (ip.dontFragment) weird('fragment_with_DF')
    if (to > LARGE_FRAGMENT) weird('excessively_large_fragment')
    if (ip.moreFragments && length < SMALL_FRAGMENT) weird('excessively_small_fragment')
    // What was not captured whole can never be put together.
    if (payload + length > ip.end) {
      weird('incompletely_captured_fragment')
      return undefined
    }
    const key = keyOf(ip)
    let waiting = table.get(key)
    if (!waiting) {
      makeRoom()
      waiting = { header: undefined, payload: Buffer.alloc(0), have: [], size: -1, protocol: ip.protocol, bytes: 256 }
      table.set(key, waiting)
      bytes += waiting.bytes
    }
    const contradicts = waiting.size >= 0 && (ip.moreFragments ? to > waiting.size : to !== waiting.size)
    if (contradicts) weird('fragment_size_inconsistency')
    if (contradicts || !ip.moreFragments) waiting.size = Math.max(waiting.size, to)
    if (from === 0 && waiting.header === undefined) {
      waiting.header = Buffer.from(buffer.subarray(ip.at, payload))
      waiting.protocol = ip.protocol
    }
    bytes += grow(waiting, to)
    if (!store(waiting, buffer.subarray(payload, payload + length), from)) weird('fragment_inconsistency')
    if (!isWhole(waiting)) return undefined
    drop(key, waiting)
    if (waiting.size + (waiting.header?.length ?? 0) - (ip.version === 4 ? 0 : FRAGMENT_HEADER) > MAX_DATAGRAM) {
      weird('invalid_IP_header_size', 'IP')
      return undefined
    }
    return assemble(waiting, ip)
  }

  return {
    add,
    get waiting() {
      return table.size
    },
  }
}

function keyOf(ip: Ip): string {
  const { buffer, src, dst, version, fragmentId } = ip
  const bytes = version === 4 ? 4 : 16
  return `${fragmentId}/${buffer.toString('latin1', src, src + bytes)}${buffer.toString('latin1', dst, dst + bytes)}`
}

function grow(waiting: Waiting, size: number): number {
  if (size <= waiting.payload.length) return 0
  const larger = Buffer.alloc(Math.max(size, Math.min(MAX_DATAGRAM, waiting.payload.length * 2)))
  waiting.payload.copy(larger)
  const more = larger.length - waiting.payload.length
  waiting.payload = larger
  waiting.bytes += more
  return more
}

/** Writes what is new of `data`. False when it contradicts what was there. */
function store(waiting: Waiting, data: Buffer, from: number): boolean {
  const to = from + data.length
  let consistent = true
  let cursor = from
  const merged: number[] = []
  let start = from
  let end = to
  for (let i = 0; i < waiting.have.length; i += 2) {
    const a = waiting.have[i] as number
    const b = waiting.have[i + 1] as number
    if (b < from || a > to) {
      merged.push(a, b)
      continue
    }
    if (cursor < a) data.copy(waiting.payload, cursor, cursor - from, Math.min(a, to) - from)
    const low = Math.max(a, from)
    const high = Math.min(b, to)
    if (low < high && waiting.payload.compare(data, low - from, high - from, low, high) !== 0) consistent = false
    cursor = Math.max(cursor, b)
    start = Math.min(start, a)
    end = Math.max(end, b)
  }
  if (cursor < to) data.copy(waiting.payload, cursor, cursor - from, data.length)
  merged.push(start, end)
  waiting.have = sortPairs(merged)
  return consistent
}

function sortPairs(pairs: number[]): number[] {
  const sorted: [number, number][] = []
  for (let i = 0; i < pairs.length; i += 2) sorted.push([pairs[i] as number, pairs[i + 1] as number])
  return sorted.sort((a, b) => a[0] - b[0]).flat()
}

function isWhole({ header, have, size }: Waiting): boolean {
  return header !== undefined && size >= 0 && have.length >= 2 && have[0] === 0 && (have[1] as number) >= size
}

/** A datagram without traces of fragmentation: lengths set, fragment fields cleared. */
function assemble(waiting: Waiting, ip: Ip): Buffer {
  const header = waiting.header as Buffer
  if (ip.version === 6) {
    // The fragment header is the last one of the unfragmentable part: cut it out, and link past it.
    const kept = header.subarray(0, header.length - FRAGMENT_HEADER)
    const whole = Buffer.concat([kept, waiting.payload.subarray(0, waiting.size)])
    whole.writeUInt16BE(Math.min(0xffff, whole.length - 40), 4)
    whole[ip.nextHeaderAt] = waiting.protocol
    return whole
  }
  const whole = Buffer.concat([header, waiting.payload.subarray(0, waiting.size)])
  whole.writeUInt16BE(Math.min(0xffff, whole.length), 2)
  whole.writeUInt16BE(0, 6)
  return whole
}

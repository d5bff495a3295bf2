/**
 * Clean lines of one log type as normalized messages, byte by byte: `stages/upload/normalize.ts` compiled for the
 * table. In: a line, and where its values lie. Out: the message's bytes, in which the raw record and every promoted
 * value are copies of the line's; only times, addresses and what follows from them are computed.
 *
 * It holds for lines that the scan finds clean: no key twice, values that fit, in the plainest spelling.
 */

import {
  type Address,
  isIn,
  type Network,
  networkAddress,
  PRIVATE_NETWORKS,
  parseAddress,
} from '../../../stages/upload/rules/address.ts'
import { communityId, communityIdOfIpv4, protocolNumber } from '../../../stages/upload/rules/community-id.ts'
import type { Table, TableField } from '../../../stages/upload/rules/table.ts'
import { toMicros } from '../../../stages/upload/rules/values.ts'
import type { RecordScan } from '../../sinks/parquet/scan.ts'
import { BACKSLASH, COMMA, QUOTE, skipString, wholeNumber } from '../../sinks/parquet/tokens.ts'

/** Messages one behind the other. The writer trusts that there is room: see `MessageWriter.mostBytes`. */
export interface MessageSink {
  bytes: Buffer
  at: number
  /** The flow id of the last message; it may lie in `bytes`. */
  key: Buffer | undefined
}

export interface MessageWriter {
  /** A message of a record of so many bytes is no longer than this. */
  mostBytes(recordBytes: number): number
  /** `line[members..end)` is the record behind its `{`; its values lie where the scan last found them. */
  write(out: MessageSink, line: Buffer, view: DataView, members: number, end: number): void
}

export interface WriterOptions {
  localNetworks: readonly Network[]
  ingestTimeMs: number
}

const OPEN_LIST = 91
const CLOSE = 125
const MINUS = 45
const DOT = 46
const ZERO = 48
const NINE = 57

const MINUTE_MS = 60_000
/** Below this a double holds a time with six digits behind the point so well that its own digits are its milliseconds. */
const PLAIN_SECONDS = 2 ** 31
const ADDRESSES_KEPT = 10_000

/** Where a field is among those of the scan; -1 where the log has none. */
type Slot = number

interface Promoted {
  slot: Slot
  /** `"src_ip":` */
  name: Buffer
  isTime: boolean
  isFlowId: boolean
}

export function createMessageWriter(table: Table, scan: RecordScan, options: WriterOptions): MessageWriter {
  const { rules, tuple } = table
  const { starts, ends } = scan
  const slotOf = (field: TableField | undefined): Slot => (field ? table.fields.indexOf(field) : -1)
  const head = Buffer.from(
    `{"source":${JSON.stringify(rules.source)},"log_type":${JSON.stringify(table.logType)},"raw":{`,
  )
  const middle = Buffer.from(',"normalized":{')
  const enriched = Buffer.from('},"enriched":{')
  const promoted = table.fields
    .filter((field) => field.promoted)
    .map((field): Promoted => {
      const name = Buffer.from(`${JSON.stringify(field.column)}:`)
      return { slot: slotOf(field), name, isTime: field.type === 'time', isFlowId: field === table.flowId }
    })
  const constant = Buffer.from(JSON.stringify({ ...rules.static, ingest_time: options.ingestTimeMs }).slice(1, -1))
  const listSlot = table.flowId ? slotOf(table.flowIdList) : -1
  const flowIdName = promoted.find(({ isFlowId }) => isFlowId)?.name
  const timeSlot = rules.enrich.time ? slotOf(table.time) : -1
  const slots = {
    ...{ srcPort: slotOf(tuple.srcPort), dstPort: slotOf(tuple.dstPort), proto: slotOf(tuple.proto) },
    ...{ ipProto: slotOf(tuple.ipProto), communityId: slotOf(tuple.communityId) },
  }
  const transportSlot = typeof rules.transport === 'object' ? slotOf(table.byRaw.get(rules.transport.field)) : -1
  const src = createEnd(slotOf(tuple.srcIp), options.localNetworks)
  const dst = createEnd(slotOf(tuple.dstIp), options.localNetworks)
  const minute = createMinute()
  const fixedBytes =
    head.length +
    middle.length +
    enriched.length +
    constant.length +
    1024 +
    promoted.reduce((sum, { name }) => sum + name.length + 20, 0)

  return { mostBytes: (recordBytes) => fixedBytes + 3 * recordBytes, write }

  function write(out: MessageSink, line: Buffer, view: DataView, members: number, end: number): void {
    out.key = undefined
    put(out, head)
    out.at += line.copy(out.bytes, out.at, members, end)
    put(out, middle)
    for (const field of promoted) {
      if (!scan.has(field.slot)) continue
      put(out, field.name)
      const from = starts[field.slot] as number
      const to = ends[field.slot] as number
      if (field.isTime) putNumber(out, millisOf(line, from, to))
      else if (field.isFlowId) putKey(out, line, from, to)
      else putBytes(out, line, from, to)
      out.bytes[out.at++] = COMMA
    }
    if (listSlot >= 0 && flowIdName !== undefined) putListedFlowId(out, line, view)
    put(out, constant)
    put(out, enriched)
    const first = out.at
    if (timeSlot >= 0 && scan.has(timeSlot))
      put(out, minute(millisOf(line, starts[timeSlot] as number, ends[timeSlot] as number)))
    if (rules.enrich.network) putNetwork(out, line)
    // Each part ends in a comma.
    if (out.at > first) out.at--
    out.bytes[out.at++] = CLOSE
    out.bytes[out.at++] = CLOSE
  }

  /** Where a record has a list of ids instead of one, the first of them counts, if it is a string. */
  function putListedFlowId(out: MessageSink, line: Buffer, view: DataView): void {
    if (out.key !== undefined || !scan.has(listSlot)) return
    const first = (starts[listSlot] as number) + 1
    if (line[first - 1] !== OPEN_LIST || line[first] !== QUOTE) return
    put(out, flowIdName as Buffer)
    putKey(out, line, first, skipString(line, view, first))
    out.bytes[out.at++] = COMMA
  }

  function putNetwork(out: MessageSink, line: Buffer): void {
    const hasSrc = src.read(line, scan)
    const hasDst = dst.read(line, scan)
    if (hasSrc) put(out, src.isPrivate ? SRC_IS_PRIVATE : SRC_IS_PUBLIC)
    if (hasDst) put(out, dst.isPrivate ? DST_IS_PRIVATE : DST_IS_PUBLIC)
    if (hasSrc && hasDst) put(out, (src.isLocal ? FROM_INSIDE : FROM_OUTSIDE)[dst.isLocal ? 0 : 1] as Buffer)
    if (scan.has(slots.communityId)) {
      put(out, COMMUNITY_ID)
      putBytes(out, line, starts[slots.communityId] as number, ends[slots.communityId] as number)
      out.bytes[out.at++] = COMMA
      return
    }
    const id = hasSrc && hasDst ? computedId(line) : undefined
    if (id === undefined) return
    put(out, COMMUNITY_ID)
    out.at += out.bytes.write(`"${id}",`, out.at, 'latin1')
  }

  function computedId(line: Buffer): string | undefined {
    const name = scan.has(slots.proto) ? textAt(line, slots.proto) : transport(line)
    const protocol = protocolNumber(name, numberAt(line, slots.ipProto), src.version)
    if (protocol === undefined || src.version !== dst.version) return undefined
    const srcPort = numberAt(line, slots.srcPort)
    const dstPort = numberAt(line, slots.dstPort)
    if (src.version === 4) return communityIdOfIpv4(src.ipv4, dst.ipv4, protocol, srcPort, dstPort)
    return communityId({ src: src.other as Address, dst: dst.other as Address, protocol, srcPort, dstPort })
  }

  function transport(line: Buffer): string | undefined {
    if (typeof rules.transport !== 'object') return rules.transport
    const key = scan.has(transportSlot) ? textAt(line, transportSlot) : ''
    return Object.hasOwn(rules.transport.values, key) ? rules.transport.values[key] : undefined
  }

  function numberAt(line: Buffer, slot: Slot): number | undefined {
    return scan.has(slot) ? wholeNumber(line, starts[slot] as number, ends[slot] as number) : undefined
  }

  function textAt(line: Buffer, slot: Slot): string {
    const from = (starts[slot] as number) + 1
    const to = (ends[slot] as number) - 1
    for (let at = from; at < to; at++)
      if (line[at] === BACKSLASH) return JSON.parse(line.toString('utf8', from - 1, to + 1))
    return line.toString('utf8', from, to)
  }
}

const SRC_IS_PRIVATE = Buffer.from('"src_ip_is_private":true,')
const SRC_IS_PUBLIC = Buffer.from('"src_ip_is_private":false,')
const DST_IS_PRIVATE = Buffer.from('"dst_ip_is_private":true,')
const DST_IS_PUBLIC = Buffer.from('"dst_ip_is_private":false,')
const directions = (...names: string[]) => names.map((name) => Buffer.from(`"direction":"${name}",`))
const FROM_INSIDE = directions('internal', 'outbound')
const FROM_OUTSIDE = directions('inbound', 'external')
const COMMUNITY_ID = Buffer.from('"community_id":')

/** One end of a flow: what the last record says of its address. */
interface FlowEnd {
  version: 4 | 6
  ipv4: number
  /** An address of version 6. */
  other?: Address
  isPrivate: boolean
  isLocal: boolean
  read(line: Buffer, scan: RecordScan): boolean
}

interface AddressFacts {
  address: Address
  isPrivate: boolean
  isLocal: boolean
}

function createEnd(slot: Slot, local: readonly Network[]): FlowEnd {
  const privateRanges = ipv4Ranges(PRIVATE_NETWORKS)
  const localRanges = ipv4Ranges(local)
  const known = new Map<string, AddressFacts>()
  const end: FlowEnd = { version: 4, ipv4: 0, isPrivate: false, isLocal: false, read }
  return end

  function read(line: Buffer, { has, starts, ends }: RecordScan): boolean {
    if (!has(slot)) return false
    const from = (starts[slot] as number) + 1
    const to = (ends[slot] as number) - 1
    const bits = ipv4Of(line, from, to)
    if (bits >= 0) {
      end.version = 4
      end.ipv4 = bits
      end.isPrivate = isWithin(privateRanges, bits)
      end.isLocal = isWithin(localRanges, bits)
      return true
    }
    const { address, isPrivate, isLocal } = factsOf(line.toString('latin1', from, to))
    end.version = address.version
    end.other = address
    end.isPrivate = isPrivate
    end.isLocal = isLocal
    return true
  }

  function factsOf(text: string): AddressFacts {
    const found = known.get(text)
    if (found) return found
    const address = parseAddress(text) as Address
    const counted = networkAddress(address)
    const facts = { address, isPrivate: isIn(counted, PRIVATE_NETWORKS), isLocal: isIn(counted, local) }
    if (known.size >= ADDRESSES_KEPT) known.clear()
    known.set(text, facts)
    return facts
  }
}

/** Of an address that is known to be one: its 32 bits, or -1 where it is of version 6. */
function ipv4Of(bytes: Buffer, from: number, to: number): number {
  let bits = 0
  let octet = 0
  for (let at = from; at < to; at++) {
    const byte = bytes[at] as number
    if (byte === DOT) {
      bits = bits * 256 + octet
      octet = 0
    } else if (byte >= ZERO && byte <= NINE) octet = octet * 10 + byte - ZERO
    else return -1
  }
  return bits * 256 + octet
}

function ipv4Ranges(networks: readonly Network[]): Float64Array {
  const ranges = networks.filter(({ version }) => version === 4)
  return Float64Array.from(ranges.flatMap(({ first, last }) => [Number(first), Number(last)]))
}

function isWithin(ranges: Float64Array, bits: number): boolean {
  for (let i = 0; i < ranges.length; i += 2)
    if (bits >= (ranges[i] as number) && bits <= (ranges[i + 1] as number)) return true
  return false
}

/** The parts of a time, for one minute after the other: events of one time come together. */
function createMinute(): (ms: number) => Buffer {
  let minute = Number.NaN
  let text = Buffer.alloc(0)
  return (ms) => {
    const next = Math.floor(ms / MINUTE_MS)
    if (next === minute) return text
    minute = next
    const date = new Date(ms)
    const parts = {
      event_year: date.getUTCFullYear(),
      event_month: date.getUTCMonth() + 1,
      event_day: date.getUTCDate(),
      event_hour: date.getUTCHours(),
      event_minute: date.getUTCMinutes(),
      event_weekday: date.getUTCDay(),
    }
    text = Buffer.from(`${JSON.stringify(parts).slice(1, -1)},`)
    return text
  }
}

/** Milliseconds since the epoch, as `toMicros` gives them, rounded down. */
function millisOf(line: Buffer, from: number, to: number): number {
  if (line[from] === QUOTE) return Math.floor((toMicros(line.toString('latin1', from + 1, to - 1)) as number) / 1000)
  const whole = wholeNumber(line, from, to)
  const digits = line.indexOf(DOT, from) - from
  const dot = digits > 0 && from + digits < to ? from + digits : to
  if (line[from] === MINUS || whole >= PLAIN_SECONDS || to - dot > 7)
    return Math.floor((toMicros(Number(line.toString('latin1', from, to))) as number) / 1000)
  let ms = whole
  for (let at = dot + 1; at <= dot + 3; at++) ms = ms * 10 + (at < to ? (line[at] as number) - ZERO : 0)
  return ms
}

function put(out: MessageSink, bytes: Buffer): void {
  putBytes(out, bytes, 0, bytes.length)
}

/** Most pieces are short: for these a call into native code takes longer than the bytes. */
function putBytes(out: MessageSink, from: Buffer, start: number, end: number): void {
  const { bytes } = out
  let to = out.at
  if (end - start > 64) out.at = to + from.copy(bytes, to, start, end)
  else {
    for (let at = start; at < end; at++) bytes[to++] = from[at] as number
    out.at = to
  }
}

function putKey(out: MessageSink, line: Buffer, from: number, to: number): void {
  const start = out.at
  putBytes(out, line, from, to)
  out.key = out.bytes.subarray(start + 1, out.at - 1)
  if (out.key.includes(BACKSLASH)) out.key = Buffer.from(JSON.parse(line.toString('utf8', from, to)))
}

function putNumber(out: MessageSink, value: number): void {
  out.at += out.bytes.write(String(value), out.at, 'latin1')
}

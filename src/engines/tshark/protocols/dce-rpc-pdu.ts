/**
 * DCE/RPC PDUs from a byte stream (C706, 12.6; MS-RPCE 2.2.2). In: bytes of both directions. Out: PDUs; a call
 * in fragments is one PDU that comes with its last. Memory: one PDU a direction, at most 64 KiB.
 */

import { guidText } from './little-endian.ts'
import type { Session } from './protocol.ts'
import { textOf } from './text.ts'

export interface Pdu {
  type: number
  callId: number
  /** Of a bind: what the client offers, one interface a context. */
  contexts?: { id: number; uuid: string }[]
  /** Of a bind's answer: the pipe or the port that serves. */
  secondaryAddress?: string
  /** Of a request. */
  contextId?: number
  operation?: number
  authType?: number
  auth?: Buffer
}

const HEADER_BYTES = 16
const FIRST_FRAGMENT = 1
const LAST_FRAGMENT = 2
const OBJECT_UUID = 0x80
/** Calls in fragments that are not complete, and bytes of one: Zeek's own bounds. */
const MAX_CALLS_IN_FRAGMENTS = 20
const MAX_FRAGMENT_BYTES = 30_000

type Endian = { u16(at: number): number; u32(at: number): number }

interface Side {
  rest: Buffer
  /** After a hole: wait for a segment that begins with a header. */
  searching: boolean
  /** Call id → its first fragment and the bytes so far. */
  calls: Map<number, { pdu: Pdu; bytes: number }>
}

export interface Pdus {
  data(fromOriginator: boolean, bytes: Buffer, ts: number): void
  gap(fromOriginator: boolean): void
}

export function createPdus(session: Session, take: (fromOriginator: boolean, pdu: Pdu, ts: number) => void): Pdus {
  const sides: [Side, Side] = [
    { rest: Buffer.alloc(0), searching: session.flow.partial, calls: new Map() },
    { rest: Buffer.alloc(0), searching: session.flow.partial, calls: new Map() },
  ]
  let over = false

  function fragment(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    const pdu = parsePdu(bytes)
    const flags = bytes[3] as number
    const [first, last] = [(flags & FIRST_FRAGMENT) !== 0, (flags & LAST_FRAGMENT) !== 0]
    if (first && last) take(fromOriginator, pdu, ts)
    else if (!gather(sides[fromOriginator ? 0 : 1].calls, pdu, bytes.length - HEADER_BYTES, first, ts)) over = true
    else if (last) complete(fromOriginator, pdu.callId, ts)
    // After what it carries: that is confirmed first.
    session.confirm('dce_rpc')
  }

  /** @returns false where there is too much of it. */
  function gather(calls: Side['calls'], pdu: Pdu, bytes: number, first: boolean, ts: number): boolean {
    const call = calls.get(pdu.callId)
    if (call !== undefined) {
      call.bytes += bytes
      if (call.bytes > MAX_FRAGMENT_BYTES) session.weird(ts, 'too_much_dce_rpc_fragment_data', 'DCE_RPC')
      return call.bytes <= MAX_FRAGMENT_BYTES
    }
    if (calls.size >= MAX_CALLS_IN_FRAGMENTS) {
      session.weird(ts, 'too_many_dce_rpc_msgs_in_reassembly', 'DCE_RPC')
      return false
    }
    if (first) calls.set(pdu.callId, { pdu, bytes })
    return true
  }

  function complete(fromOriginator: boolean, callId: number, ts: number): void {
    const { calls } = sides[fromOriginator ? 0 : 1]
    const call = calls.get(callId)
    calls.delete(callId)
    if (call !== undefined) take(fromOriginator, call.pdu, ts)
  }

  return {
    data(fromOriginator, bytes, ts) {
      if (over) return
      const side = sides[fromOriginator ? 0 : 1]
      if (side.searching) side.searching = bytes.length < HEADER_BYTES || lengthOf(bytes) === undefined
      if (side.searching) return
      let buffer: Buffer = side.rest.length > 0 ? Buffer.concat([side.rest, bytes]) : bytes
      while (buffer.length >= HEADER_BYTES && !over) {
        const length = lengthOf(buffer)
        if (length === undefined) {
          over = true
          break
        }
        if (buffer.length < length) break
        fragment(fromOriginator, buffer.subarray(0, length), ts)
        buffer = buffer.subarray(length)
      }
      side.rest = over ? Buffer.alloc(0) : Buffer.from(buffer)
    },
    gap(fromOriginator) {
      const side = sides[fromOriginator ? 0 : 1]
      side.rest = Buffer.alloc(0)
      side.searching = true
    },
  }
}

/** Of the fragment that begins here; undefined: this is no DCE/RPC of version 5. */
function lengthOf(buffer: Buffer): number | undefined {
  if (buffer[0] !== 5 || (buffer[1] as number) > 1) return undefined
  const length = endianOf(buffer).u16(8)
  return length < HEADER_BYTES ? undefined : length
}

function endianOf(bytes: Buffer): Endian {
  const little = ((bytes[4] as number) & 0xf0) !== 0
  return {
    u16: (at) => (little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at)),
    u32: (at) => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)),
  }
}

function parsePdu(bytes: Buffer): Pdu {
  const endian = endianOf(bytes)
  const pdu: Pdu = { type: bytes[2] as number, callId: endian.u32(12), ...authOf(bytes, endian) }
  return Object.assign(pdu, BODIES[pdu.type]?.(bytes, endian))
}

const BODIES: Record<number, (bytes: Buffer, endian: Endian) => Partial<Pdu>> = {
  0: request,
  11: bind,
  12: bindAck,
  14: bind,
  15: bindAck,
}

function request(bytes: Buffer, endian: Endian): Partial<Pdu> {
  const flags = bytes[3] as number
  const wanted = (flags & OBJECT_UUID) !== 0 ? HEADER_BYTES + 24 : HEADER_BYTES + 8
  return bytes.length < wanted ? {} : { contextId: endian.u16(20), operation: endian.u16(22) }
}

/** Fragment sizes, group, then contexts: id, count of transfer syntaxes, interface, transfer syntaxes. */
function bind(bytes: Buffer, endian: Endian): Partial<Pdu> {
  const contexts: { id: number; uuid: string }[] = []
  const count = bytes[24] ?? 0
  for (let at = 28, i = 0; i < count && at + 24 <= bytes.length; i++) {
    const uuid = guidOf(bytes, at + 4)
    contexts.push({ id: endian.u16(at), uuid })
    at += 24 + 20 * (bytes[at + 2] as number)
  }
  return { contexts }
}

/** The first bytes of a UUID follow the PDU's byte order. */
function guidOf(bytes: Buffer, at: number): string {
  if (((bytes[4] as number) & 0xf0) !== 0) return guidText(bytes, at)
  const hex = bytes.subarray(at, at + 16).toString('hex')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

function bindAck(bytes: Buffer, endian: Endian): Partial<Pdu> {
  if (bytes.length < 26) return {}
  const address = bytes.subarray(26, 26 + endian.u16(24))
  const end = address.indexOf(0)
  return { secondaryAddress: textOf(end < 0 ? address : address.subarray(0, end)) }
}

/** The verifier stands at the fragment's end, behind eight bytes that say what it is. */
function authOf(bytes: Buffer, endian: Endian): Partial<Pdu> {
  const length = endian.u16(10)
  const at = bytes.length - length - 8
  if (length === 0 || at < HEADER_BYTES) return {}
  return { authType: bytes[at], auth: bytes.subarray(bytes.length - length) }
}

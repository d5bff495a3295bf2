/**
 * Classic pcap: a file header, then records of 16 bytes (24 in Kuznetzov's variant) and the packet.
 * Format: draft-ietf-opsawg-pcap.
 *
 * Damage: a record header that cannot be true ends the trust in record boundaries; packets begin again
 * where several plausible headers follow one another. What lies between is counted as lost.
 */

import type { CaptureParser, Damage, OnPacket, Packet, Window } from './packet.ts'
import { emptyPacket, MAX_PACKET_BYTES, noDamage, recordDamage } from './packet.ts'

export const PCAP_HEADER_BYTES = 24

interface Layout {
  little: boolean
  /** Nanoseconds in one unit of the record's fraction of a second. */
  unit: number
  recordBytes: number
  linkType: number
}

const LAYOUTS = new Map<number, { unit: number; recordBytes: number }>([
  [0xa1b2c3d4, { unit: 1000, recordBytes: 16 }],
  [0xa1b23c4d, { unit: 1, recordBytes: 16 }],
  [0xa1b2cd34, { unit: 1000, recordBytes: 24 }],
])

/** This many plausible headers in a row are believed, fewer only where they end exactly at the end of the file. */
const CHAIN = 4
/** A time further than this from the last good one is no sign of a record when boundaries are sought. */
const NEAR_SECONDS = 30 * 86_400

/** The layout that a file header tells; undefined when it is none. */
function readLayout(view: DataView): Layout | undefined {
  for (const little of [true, false]) {
    const found = LAYOUTS.get(view.getUint32(0, little))
    // The upper bits of the link type word tell about frame check sequences.
    if (found) return { ...found, little, linkType: view.getUint32(20, little) & 0xffff }
  }
  return undefined
}

/** `header`: the first 24 bytes of the file. Undefined when they are no pcap header. */
export function createPcapParser(header: Buffer, onPacket: OnPacket): CaptureParser | undefined {
  const layout = readLayout(new DataView(header.buffer, header.byteOffset, header.length))
  if (!layout) return undefined
  const damage = noDamage()
  const state: State = {
    layout,
    damage,
    packets: 0,
    packet: emptyPacket(layout.linkType),
    onPacket,
    lastSeconds: -1,
    lostFrom: -1,
    lostOnlyZeros: false,
  }
  return {
    parse: (window, max) => parse(state, window, max),
    get packets() {
      return state.packets
    },
    damage,
    linkTypes: new Set([layout.linkType]),
  }
}

interface State {
  readonly layout: Layout
  readonly damage: Damage
  packets: number
  readonly packet: Packet
  readonly onPacket: OnPacket
  lastSeconds: number
  /** File offset where the present damaged stretch began, -1 outside of one. */
  lostFrom: number
  lostOnlyZeros: boolean
}

function parse(state: State, window: Window, max: number): boolean {
  if (state.lostFrom >= 0 && !resync(state, window)) return false
  const { little, unit, recordBytes } = state.layout
  const { buffer, view, to, atEnd } = window
  const packet = state.packet
  packet.buffer = buffer
  let at = window.from
  for (let left = max; left > 0; left--) {
    if (at + recordBytes > to) {
      window.from = at
      return atEnd ? endOfFile(state, window) : false
    }
    const capLen = view.getUint32(at + 8, little)
    const next = at + recordBytes + capLen
    if (next + 16 > to || capLen === 0 || capLen > MAX_PACKET_BYTES || !believable(view, next, little)) {
      window.from = at
      const verdict = judge(state, window, at, next)
      if (verdict === 'more') return false
      if (verdict === 'lost') return true
    }
    packet.seconds = view.getUint32(at, little)
    packet.nanos = view.getUint32(at + 4, little) * unit
    if (packet.nanos >= 1e9) normalize(packet)
    packet.capLen = capLen
    packet.origLen = view.getUint32(at + 12, little)
    packet.offset = at + recordBytes
    packet.number = ++state.packets
    state.lastSeconds = packet.seconds
    state.onPacket(packet)
    at = next
  }
  window.from = at
  return true
}

/** Some writers put whole seconds into the fraction. */
function normalize(packet: Packet): void {
  packet.seconds += Math.floor(packet.nanos / 1e9)
  packet.nanos %= 1e9
}

/** A header that may stand in a good file. */
function believable(view: DataView, at: number, little: boolean): boolean {
  const capLen = view.getUint32(at + 8, little)
  if (capLen > MAX_PACKET_BYTES) return false
  return capLen !== 0 || view.getUint32(at, little) !== 0 || view.getUint32(at + 12, little) !== 0
}

/**
 * The record at `at` is not followed by a believable one within the window. It is good when it is whole and
 * either the file ends behind it or no better boundary lies within what it claims to be.
 */
function judge(state: State, window: Window, at: number, next: number): 'good' | 'more' | 'lost' {
  const { little, recordBytes } = state.layout
  const { view, to, atEnd, fileOffset } = window
  if (believable(view, at, little)) {
    if (next + recordBytes > to && !atEnd) return 'more'
    if (next <= to && (next + 16 > to || believable(view, next, little))) return 'good'
    const { found } = findChain(state, window, at + 1, Math.min(next, to))
    if (found === 'more') return 'more'
    if (found === 'no' && next <= to) return 'good'
    if (found === 'no') {
      const sentence = `the last record, at offset ${fileOffset + at}, is cut off: ${to - at} bytes lost`
      recordDamage(state.damage, 'cut record', to - at, sentence)
      window.from = to
      return 'lost'
    }
  }
  state.lostFrom = fileOffset + at
  state.lostOnlyZeros = true
  return 'lost'
}

/** Looks for the end of a damaged stretch. True when packets can be read again. */
function resync(state: State, window: Window): boolean {
  // The header that the stretch begins with is known to be bad.
  const from = window.fileOffset + window.from === state.lostFrom ? window.from + 1 : window.from
  const { found, at } = findChain(state, window, from, window.to)
  for (let i = window.from; i < at && state.lostOnlyZeros; i++) state.lostOnlyZeros = window.buffer[i] === 0
  window.from = at
  if (found === 'yes' || (found === 'no' && window.atEnd)) closeStretch(state, window.fileOffset + at)
  return found === 'yes'
}

function closeStretch(state: State, end: number): void {
  const lost = end - state.lostFrom
  const reason = state.lostOnlyZeros ? undefined : 'corrupt record'
  const what = state.lostOnlyZeros ? 'the file is filled with zeros from' : 'a record is damaged at'
  recordDamage(state.damage, reason, lost, `${what} offset ${state.lostFrom}: ${lost} bytes lost`)
  state.lostFrom = -1
}

/** The first offset in [from, to) where a chain of plausible headers begins, or how far the search got. */
function findChain(
  state: State,
  window: Window,
  from: number,
  to: number,
): { found: 'yes' | 'no' | 'more'; at: number } {
  for (let at = from; at < to; at++) {
    const found = isChain(state, window, at)
    if (found !== 'no') return { found, at }
  }
  return { found: 'no', at: Math.max(from, to) }
}

function isChain(state: State, window: Window, start: number): 'yes' | 'no' | 'more' {
  const { recordBytes } = state.layout
  const { view, to, atEnd } = window
  let at = start
  for (let links = 0; links < CHAIN; links++) {
    if (at === to && atEnd) return links > 0 ? 'yes' : 'no'
    if (at + recordBytes > to) return atEnd ? 'no' : 'more'
    if (!plausible(state, view, at)) return 'no'
    at += recordBytes + view.getUint32(at + 8, state.layout.little)
  }
  return 'yes'
}

/** Stricter than `believable`: for places where nothing says that a record begins. */
function plausible(state: State, view: DataView, at: number): boolean {
  const { little, unit } = state.layout
  const capLen = view.getUint32(at + 8, little)
  if (capLen === 0 || capLen > MAX_PACKET_BYTES) return false
  const origLen = view.getUint32(at + 12, little)
  if (origLen < capLen || origLen > 0xff_ffff) return false
  if (view.getUint32(at + 4, little) * unit >= 1e9) return false
  return state.lastSeconds < 0 || Math.abs(view.getUint32(at, little) - state.lastSeconds) < NEAR_SECONDS
}

/** Fewer bytes than a record header are left. */
function endOfFile(state: State, window: Window): boolean {
  const lost = window.to - window.from
  if (lost > 0) {
    const where = window.fileOffset + window.from
    recordDamage(
      state.damage,
      undefined,
      lost,
      `the file ends within a record header, at offset ${where}: ${lost} bytes lost`,
    )
  }
  window.from = window.to
  return false
}

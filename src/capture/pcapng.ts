/**
 * pcapng: blocks, each with its length at both ends; sections, each with its own byte order and interfaces.
 * Read: section header, interface, enhanced, simple and (obsolete) packet blocks, and secrets where they are asked for.
 * All others are skipped.
 * Format: draft-ietf-opsawg-pcapng.
 *
 * Damage: a block whose two lengths disagree is skipped up to the next block that is consistent.
 */

import type { CaptureParser, Damage, OnPacket, OnSecrets, Packet, Window } from './packet.ts'
import { emptyPacket, MAX_PACKET_BYTES, noDamage, recordDamage } from './packet.ts'
import { MICROSECONDS, type Resolution, splitTime, unitsPerSecond } from './pcapng-time.ts'

const SECTION = 0x0a0d0d0a
const INTERFACE = 1
const PACKET = 2
const SIMPLE = 3
const ENHANCED = 6
const SECRETS = 10
/** Blocks that a search for the next good one accepts: the above, names, statistics, secrets. */
const KNOWN = new Set([SECTION, INTERFACE, PACKET, SIMPLE, 4, 5, ENHANCED, SECRETS])

/** Wireshark's limit; what claims more is damage. */
const MAX_BLOCK_BYTES = 16 * 1024 * 1024
/** Blocks that are looked into have to fit the window. */
const MAX_READ_BYTES = MAX_PACKET_BYTES + 65_536 * 8
const MAX_INTERFACES = 65_536

interface Interface {
  linkType: number
  snapLen: number
  resolution: Resolution
}

interface State {
  readonly packet: Packet
  readonly onPacket: OnPacket
  readonly onSecrets: OnSecrets | undefined
  readonly damage: Damage
  readonly linkTypes: Set<number>
  packets: number
  little: boolean
  interfaces: Interface[]
  lostFrom: number
}

export function createPcapngParser(onPacket: OnPacket, onSecrets?: OnSecrets): CaptureParser {
  const state: State = {
    packet: emptyPacket(),
    onPacket,
    onSecrets,
    damage: noDamage(),
    linkTypes: new Set(),
    packets: 0,
    little: true,
    interfaces: [],
    lostFrom: -1,
  }
  return {
    parse: (window, max) => parse(state, window, max),
    get packets() {
      return state.packets
    },
    damage: state.damage,
    linkTypes: state.linkTypes,
  }
}

function parse(state: State, window: Window, max: number): boolean {
  if (state.lostFrom >= 0 && !resync(state, window)) return false
  state.packet.buffer = window.buffer
  for (let left = max; left > 0; left--) {
    const length = blockLength(state, window, window.from)
    if (length === 'more' && !window.atEnd) return false
    if (length === 'more' && findBlock(state, window, window.from + 1).found !== 'yes') return cutTail(state, window)
    if (typeof length === 'string') {
      state.lostFrom = window.fileOffset + window.from
      return true
    }
    readBlock(state, window, window.from, length)
    window.from += length
    // A long block that nobody looks into is skipped, also past the window.
    if (window.from > window.to) return false
  }
  return true
}

/** The length of the block at `at`, once all of it that is needed is in the window. */
function blockLength(state: State, { view, to }: Window, at: number): number | 'more' | 'bad' {
  if (at + 12 > to) return 'more'
  const type = view.getUint32(at, state.little)
  const little = type === SECTION ? sectionOrder(view, at) : state.little
  if (little === undefined) return 'bad'
  const length = view.getUint32(at + 4, little)
  if (length < 12 || length % 4 !== 0 || length > MAX_BLOCK_BYTES) return 'bad'
  if (length > MAX_READ_BYTES) return isRead(type) ? 'bad' : length
  if (at + length > to) return 'more'
  return view.getUint32(at + length - 4, little) === length ? length : 'bad'
}

function isRead(type: number): boolean {
  return type === SECTION || (type >= INTERFACE && type <= SIMPLE) || type === ENHANCED
}

function sectionOrder(view: DataView, at: number): boolean | undefined {
  const magic = view.getUint32(at + 8, true)
  if (magic === 0x1a2b3c4d) return true
  return magic === 0x4d3c2b1a ? false : undefined
}

type BlockReader = (state: State, window: Window, at: number, length: number) => boolean

const READERS = new Map<number, BlockReader>([
  [ENHANCED, readEnhanced],
  [SECTION, readSection],
  [INTERFACE, readInterface],
  [SIMPLE, readSimple],
  [PACKET, readObsolete],
  [SECRETS, readSecrets],
])

function readBlock(state: State, window: Window, at: number, length: number): void {
  const read = READERS.get(window.view.getUint32(at, state.little))
  if (read === undefined || read(state, window, at, length)) return
  const sentence = `the block at offset ${window.fileOffset + at} contradicts itself: ${length} bytes lost`
  recordDamage(state.damage, 'corrupt record', length, sentence)
}

function readSection(state: State, { view }: Window, at: number): boolean {
  state.little = sectionOrder(view, at) ?? true
  state.interfaces = []
  return true
}

function readInterface(state: State, { view }: Window, at: number, length: number): boolean {
  if (length < 20 || state.interfaces.length >= MAX_INTERFACES) return true
  const { little } = state
  const linkType = view.getUint16(at + 8, little)
  state.interfaces.push({
    linkType,
    snapLen: view.getUint32(at + 12, little),
    resolution: readResolution(view, at + 16, at + length - 4, little),
  })
  return true
}

const IF_TSRESOL = 9
const IF_TSOFFSET = 14

function readResolution(view: DataView, from: number, to: number, little: boolean): Resolution {
  let { perSecond, offset } = MICROSECONDS
  for (let at = from; at + 4 <= to; ) {
    const code = view.getUint16(at, little)
    const length = view.getUint16(at + 2, little)
    const value = at + 4
    if (code === 0 || value + length > to) break
    if (code === IF_TSRESOL && length >= 1) perSecond = unitsPerSecond(view.getUint8(value))
    if (code === IF_TSOFFSET && length >= 8) offset = Number(view.getBigInt64(value, little))
    at = value + ((length + 3) & ~3)
  }
  return { perSecond, offset }
}

function readEnhanced(state: State, window: Window, at: number, length: number): boolean {
  const { view } = window
  const { little, packet } = state
  if (length < 32) return false
  const source = state.interfaces[view.getUint32(at + 8, little)]
  const capLen = view.getUint32(at + 20, little)
  if (!source || capLen > length - 32 || capLen > MAX_PACKET_BYTES) return false
  splitTime(view.getUint32(at + 12, little), view.getUint32(at + 16, little), source.resolution, packet)
  return handOut(state, source, at + 28, capLen, view.getUint32(at + 24, little))
}

function readObsolete(state: State, window: Window, at: number, length: number): boolean {
  const { view } = window
  const { little, packet } = state
  if (length < 32) return false
  const source = state.interfaces[view.getUint16(at + 8, little)]
  const capLen = view.getUint32(at + 20, little)
  if (!source || capLen > length - 32 || capLen > MAX_PACKET_BYTES) return false
  splitTime(view.getUint32(at + 12, little), view.getUint32(at + 16, little), source.resolution, packet)
  return handOut(state, source, at + 28, capLen, view.getUint32(at + 24, little))
}

/** Its length is counted without what fills it up; it may be larger than the window. */
function readSecrets(state: State, { buffer, view, to }: Window, at: number, length: number): boolean {
  if (state.onSecrets === undefined) return true
  const bytes = length >= 20 ? view.getUint32(at + 12, state.little) : 0
  const isWhole = bytes <= length - 20 && at + length <= to
  const data = isWhole ? buffer.subarray(at + 16, at + 16 + bytes) : undefined
  state.onSecrets(length >= 20 ? view.getUint32(at + 8, state.little) : 0, data)
  return true
}

/** A simple packet has no time: it gets that of the packet before it. */
function readSimple(state: State, window: Window, at: number, length: number): boolean {
  const source = state.interfaces[0]
  if (!source || length < 16) return false
  const origLen = window.view.getUint32(at + 8, state.little)
  const capLen = Math.min(origLen, source.snapLen || origLen, length - 16, MAX_PACKET_BYTES)
  return handOut(state, source, at + 12, capLen, origLen)
}

function handOut(state: State, source: Interface, offset: number, capLen: number, origLen: number): boolean {
  const { packet } = state
  packet.linkType = source.linkType
  if (!state.linkTypes.has(source.linkType)) state.linkTypes.add(source.linkType)
  packet.offset = offset
  packet.capLen = capLen
  packet.origLen = origLen
  packet.number = ++state.packets
  state.onPacket(packet)
  return true
}

/** Looks for the end of a damaged stretch. True when blocks can be read again. */
function resync(state: State, window: Window): boolean {
  const atStart = window.fileOffset + window.from === state.lostFrom
  const { found, at } = findBlock(state, window, atStart ? window.from + 1 : window.from)
  window.from = at
  if (found === 'yes' || (found === 'no' && window.atEnd)) closeStretch(state, window.fileOffset + at)
  return found === 'yes'
}

/** The first offset from `from` on where a consistent block of a known type lies, or how far the search got. */
function findBlock(state: State, window: Window, from: number): { found: 'yes' | 'no' | 'more'; at: number } {
  const { view, to, atEnd } = window
  for (let at = from; at + 12 <= to; at++) {
    if (!KNOWN.has(view.getUint32(at, state.little))) continue
    const length = blockLength(state, window, at)
    if (length === 'more' && !atEnd) return { found: 'more', at }
    if (typeof length === 'number' && length <= MAX_READ_BYTES) return { found: 'yes', at }
  }
  return atEnd ? { found: 'no', at: to } : { found: 'more', at: Math.max(from, to - 11) }
}

function closeStretch(state: State, end: number): void {
  const lost = end - state.lostFrom
  recordDamage(
    state.damage,
    'corrupt record',
    lost,
    `a block is damaged at offset ${state.lostFrom}: ${lost} bytes lost`,
  )
  state.lostFrom = -1
}

/** The file ends within a block. */
function cutTail(state: State, window: Window): boolean {
  const { view, from, to, fileOffset } = window
  const lost = to - from
  window.from = to
  if (lost === 0) return false
  const isPacket = lost >= 8 && [ENHANCED, SIMPLE, PACKET].includes(view.getUint32(from, state.little))
  const sentence = `the last block, at offset ${fileOffset + from}, is cut off: ${lost} bytes lost`
  recordDamage(state.damage, isPacket ? 'cut record' : undefined, lost, sentence)
  return false
}

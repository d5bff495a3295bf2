/**
 * NTP (RFC 5905): one ntp record a datagram of the time-keeping modes (1 to 5). Control and private messages
 * (modes 6 and 7) only tell that the flow speaks NTP.
 */

import type { Fields, Protocol } from './protocol.ts'
import { ipv4Text, textOf } from './text.ts'

const HEADER_BYTES = 48
/** Key id and digest of 16 or 20 bytes; what is longer begins with extension fields (RFC 7822, 3). */
const MAX_MAC_BYTES = 24
const MIN_EXTENSION_BYTES = 16
/** From NTP's epoch, 1900, to 1970. */
const EPOCH_OFFSET = 2_208_988_800
const CONTROL = 6
const PRIVATE = 7

export const ntp: Protocol = {
  name: 'ntp',
  logs: ['ntp'],
  udpPorts: [123],
  dissect: (session) => ({
    data(_fromOriginator, bytes, ts) {
      const mode = (bytes[0] ?? 0) & 7
      if ((mode === CONTROL && bytes.length >= 12) || (mode === PRIVATE && bytes.length >= 4)) session.confirm('ntp')
      const fields = mode >= 1 && mode <= 5 ? readNtp(bytes) : undefined
      if (fields === undefined) return
      session.confirm('ntp')
      session.emit('ntp', ts, fields)
    },
  }),
}

/** undefined: cut, or with extension fields that do not add up. */
function readNtp(bytes: Buffer): Fields | undefined {
  const extensions = bytes.length < HEADER_BYTES ? undefined : countExtensions(bytes)
  if (extensions === undefined) return undefined
  const first = bytes[0] as number
  const stratum = bytes[1] as number
  return {
    version: (first >> 3) & 7,
    mode: first & 7,
    stratum,
    poll: 2 ** bytes.readInt8(2),
    precision: 2 ** bytes.readInt8(3),
    root_delay: shortTime(bytes, 4),
    root_disp: shortTime(bytes, 8),
    // Letters up to stratum 1: a kiss code, the kind of a reference clock. Else the address of the server's server.
    ref_id: stratum > 1 ? ipv4Text(bytes, 12) : textOf(bytes.subarray(12, 16)),
    ref_time: time(bytes, 16),
    org_time: time(bytes, 24),
    rec_time: time(bytes, 32),
    xmt_time: time(bytes, 40),
    num_exts: extensions,
  }
}

function countExtensions(bytes: Buffer): number | undefined {
  let at = HEADER_BYTES
  let count = 0
  while (bytes.length - at > MAX_MAC_BYTES) {
    const length = bytes.readUInt16BE(at + 2)
    if (length < MIN_EXTENSION_BYTES || at + length > bytes.length) return undefined
    at += length
    count++
  }
  return count
}

const shortTime = (bytes: Buffer, at: number) => bytes.readUInt16BE(at) + bytes.readUInt16BE(at + 2) / 0x10000

/** Seconds since 1970; 0 stays 0: not known. */
function time(bytes: Buffer, at: number): number {
  const [seconds, fraction] = [bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4)]
  if (seconds === 0 && fraction === 0) return 0
  // Era 1 begins in 2036 (RFC 5905, 6); nothing was sent before 1970.
  return seconds - EPOCH_OFFSET + fraction / 0x1_0000_0000
}

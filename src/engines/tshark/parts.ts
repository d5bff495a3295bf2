/**
 * A large capture falls into parts, by pairs of hosts. Each part is dissected as if it were a capture of its own, so
 * that parts can be worked on side by side and memory does not follow the capture's size. How many there are follows
 * from the size alone: the logs, one part after another, are the same lines in the same order on every host. A small
 * capture is one part: it is done before a second worker has started.
 *
 * All packets between two hosts are in one part: both directions, fragments, whatever VLAN or tunnel they come
 * through (the OUTERMOST addresses decide). DHCP is in one part too: its transactions go over several addresses.
 */

import type { Packet } from '../../capture/packet.ts'
import { bucketOf } from '../flows/buckets.ts'

/** Enough to share out evenly among the cores of a large host. Numbers of parts are powers of two. */
export const MIN_PARTS = 16
export const MAX_PARTS = 1024
/** What a part holds of a capture of evenly busy hosts, at most. */
const PART_BYTES = 2 << 20

/** From this size on a capture is worth sharing out. */
export const PARTS_FROM_BYTES = 8 << 20

export function partsOf(captureBytes: number, fromBytes = PARTS_FROM_BYTES): number {
  if (captureBytes < fromBytes) return 1
  const wanted = 2 ** Math.ceil(Math.log2(Math.max(1, captureBytes / PART_BYTES)))
  return Math.min(MAX_PARTS, Math.max(MIN_PARTS, wanted))
}

const DHCP_BUCKET = 0

/** The finest division: a part is a number of buckets, `bucket & (parts - 1)`. */
export function finestOf(packet: Packet): number {
  return isDhcp(packet) ? DHCP_BUCKET : bucketOf(packet)
}

/** Ethernet, IPv4 without options, UDP, ports 67 and 68: the only way in which DHCP meets several hosts. */
function isDhcp({ buffer, offset, capLen, linkType }: Packet): boolean {
  if (linkType !== 1 || capLen < 42) return false
  let at = offset + 12
  if (buffer[at] === 0x81 && buffer[at + 1] === 0) at += 4
  if (buffer[at] !== 8 || buffer[at + 1] !== 0 || buffer[at + 2] !== 0x45 || buffer[at + 11] !== 17) return false
  const [source, target] = [at + 22, at + 24]
  return isDhcpPort(buffer, source) && isDhcpPort(buffer, target)
}

function isDhcpPort(buffer: Buffer, at: number): boolean {
  return buffer[at] === 0 && (buffer[at + 1] === 67 || buffer[at + 1] === 68)
}

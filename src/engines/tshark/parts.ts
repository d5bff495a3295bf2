/**
 * A large capture falls into a fixed number of parts, by pairs of hosts. Each part is dissected as if it were a
 * capture of its own, so that parts can be worked on side by side, and the logs, one part after another, are the
 * same lines in the same order however many workers there were. A small capture is one part: it is done before a
 * second worker has started.
 *
 * All packets between two hosts are in one part: both directions, fragments, whatever VLAN or tunnel they come
 * through (the OUTERMOST addresses decide). DHCP is in one part too: its transactions go over several addresses.
 */

import type { Packet } from '../../capture/packet.ts'
import { bucketOf } from '../flows/buckets.ts'
import { pack } from '../flows/shard.ts'

/** A power of two; enough to share out evenly among the cores of a large host. */
export const PARTS = 64

/** From this size on a capture is worth sharing out. It does not depend on the host, since the lines' order does. */
export const PARTS_FROM_BYTES = 8 * 1024 * 1024

export function partsOf(captureBytes: number, fromBytes = PARTS_FROM_BYTES): number {
  return captureBytes < fromBytes ? 1 : PARTS
}

const DHCP_PART = 0
/** What a packet costs, in bytes of payload. */
const PACKET_WEIGHT = 600

export function partOf(packet: Packet): number {
  return isDhcp(packet) ? DHCP_PART : bucketOf(packet) & (PARTS - 1)
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

/** How heavy each part is. */
export function createScales(): { weigh(packet: Packet): void; share(workers: number): number[][] } {
  const weights = new Float64Array(PARTS)
  return {
    weigh(packet) {
      const part = partOf(packet)
      weights[part] = (weights[part] as number) + packet.capLen + PACKET_WEIGHT
    },
    /** The parts of each worker, none of them empty: the heaviest part first, to the worker with the least. */
    share(workers) {
      const owner = pack(weights, workers)
      const shares = Array.from({ length: workers }, (): number[] => [])
      for (let part = 0; part < PARTS; part++) shares[owner[part] as number]?.push(part)
      return shares.filter((parts) => parts.length > 0)
    },
  }
}

export function allParts(count: number): number[] {
  return Array.from({ length: count }, (_, part) => part)
}

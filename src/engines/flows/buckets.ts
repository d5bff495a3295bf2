/** Which bucket a packet falls into: the same for all packets between two hosts, whichever sent. */

import type { Packet } from '../../capture/packet.ts'
import { be16, be32 } from './address.ts'
import { decodeLink, emptyLink, NET_IP4, NET_IP6 } from './link.ts'

/** A power of two. */
export const BUCKETS = 4096

const link = emptyLink()

/** By the outermost IP addresses; by the MAC addresses where there are none; else bucket 0. */
export function bucketOf({ buffer, offset, capLen, linkType }: Packet): number {
  const end = offset + capLen
  decodeLink(link, linkType, buffer, offset, end)
  if (link.net === NET_IP4 && end - link.at >= 20)
    return fold(scramble(be32(buffer, link.at + 12)) + scramble(be32(buffer, link.at + 16)))
  if (link.net === NET_IP6 && end - link.at >= 40)
    return fold(hash16(buffer, link.at + 8) + hash16(buffer, link.at + 24))
  if (link.srcMac >= 0 && link.dstMac >= 0) return fold(hashMac(buffer, link.srcMac) + hashMac(buffer, link.dstMac))
  return 0
}

function hash16(bytes: Buffer, at: number): number {
  let hash = 0
  for (let i = 0; i < 16; i += 4) hash = scramble(hash ^ be32(bytes, at + i))
  return hash
}

function hashMac(bytes: Buffer, at: number): number {
  return scramble(scramble(be16(bytes, at)) ^ be32(bytes, at + 2))
}

function fold(sum: number): number {
  return scramble(sum | 0) & (BUCKETS - 1)
}

/** The finalizer of MurmurHash3. */
function scramble(word: number): number {
  let h = word | 0
  h ^= h >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return h ^ (h >>> 16)
}

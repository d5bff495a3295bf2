/** What a file is by its first bytes, whatever its name says. */

export type CaptureContainer = 'pcap' | 'pcapng' | 'gzip' | 'zstd' | 'zip'

/** `sniffContainer` needs no more than this. */
export const SNIFF_BYTES = 12

/** By the first four bytes. pcap: draft-ietf-opsawg-pcap, pcapng: draft-ietf-opsawg-pcapng. */
const BY_MAGIC = new Map<number, CaptureContainer>([
  [0xa1b2c3d4, 'pcap'],
  [0xd4c3b2a1, 'pcap'],
  [0xa1b23c4d, 'pcap'], // nanoseconds
  [0x4d3cb2a1, 'pcap'],
  [0xa1b2cd34, 'pcap'], // Kuznetzov's longer records
  [0x34cdb2a1, 'pcap'],
  [0x0a0d0d0a, 'pcapng'],
  [0x28b52ffd, 'zstd'],
  [0x504b0304, 'zip'],
  [0x504b0506, 'zip'], // an empty archive
])

const PCAPNG_BYTE_ORDER = [0x1a2b3c4d, 0x4d3c2b1a]

/** The container, or undefined for anything else (an empty file too). */
export function sniffContainer(head: Uint8Array): CaptureContainer | undefined {
  if (head.length >= 2 && head[0] === 0x1f && head[1] === 0x8b) return 'gzip'
  if (head.length < 4) return undefined
  const found = BY_MAGIC.get(be32(head, 0))
  if (found !== 'pcapng' || head.length < 12) return found
  // 0a0d0d0a alone is also a text file that begins with line ends.
  return PCAPNG_BYTE_ORDER.includes(be32(head, 8)) ? 'pcapng' : undefined
}

function be32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
  )
}

/**
 * Follows the records of a capture as its bytes go by: how many there are, and whether the last one is whole.
 *
 * In: the content, in pieces of any size. Out: counts. Nothing is decoded and nothing is kept but the header
 * that is being put together, so that this costs next to nothing beside the hashing of the same bytes.
 * Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
 */

import type { CaptureFormat } from '../../state/capture.ts'

const PCAP_HEADER_BYTES = 24
const KUZNETZOV_MAGIC = 0xa1b2cd34
const SECTION_HEADER = 0x0a0d0d0a
const BYTE_ORDER_MAGIC = 0x1a2b3c4d
/** Obsolete, simple and enhanced packet blocks. */
const PACKET_BLOCKS = new Set([2, 3, 6])
/** More than any link carries; a record that claims more is damage. */
const MAX_RECORD_BYTES = 256 * 1024 * 1024
/** A section header is understood at its twelfth byte; no other header here is longer than a record's 24. */
const HEADER_BYTES = 24

export interface Walk {
  /** Whole packet records; when the structure is damaged, those before the damage. */
  packets: number
  /** The last record ends where the content ends. */
  complete: boolean
}

export interface RecordWalker {
  feed(bytes: Buffer): void
  end(): Walk
}

/** What a header says: how many bytes of the record follow it, and whether it is a packet's; undefined for damage. */
type Parse = (header: DataView) => { follow: number; isPacket: boolean } | undefined

interface Structure {
  /** Bytes at the start of the content that belong to no record. */
  preamble: number
  headerBytes: number
  parse: Parse
}

export function createRecordWalker(format: CaptureFormat, head: Buffer): RecordWalker {
  const { preamble, headerBytes, parse } = format === 'pcap' ? pcapStructure(head) : pcapngStructure()
  const header = new DataView(new ArrayBuffer(HEADER_BYTES))
  let have = 0
  let skip = preamble
  let inPacket = false
  let packets = 0
  let damaged = false

  function feed(bytes: Buffer): void {
    let at = 0
    while (!damaged && at < bytes.length) {
      const skipped = Math.min(skip, bytes.length - at)
      skip -= skipped
      at += skipped
      if (skip > 0) return
      countPacket()
      while (have < headerBytes && at < bytes.length) header.setUint8(have++, bytes[at++] as number)
      if (have < headerBytes) return
      const record = parse(header)
      if (record === undefined) damaged = true
      else {
        skip = record.follow
        inPacket = record.isPacket
        have = 0
      }
    }
  }

  function countPacket(): void {
    if (!inPacket) return
    inPacket = false
    packets++
  }

  function end(): Walk {
    if (skip === 0) countPacket()
    return { packets, complete: !damaged && skip === 0 && have === 0 }
  }

  return { feed, end }
}

function pcapStructure(head: Buffer): Structure {
  const magic = head.readUInt32BE(0)
  const little = (magic & 0xff) === 0xa1
  const value = little ? head.readUInt32LE(0) : magic
  const headerBytes = value === KUZNETZOV_MAGIC ? 24 : 16
  const parse: Parse = (header) => {
    const follow = header.getUint32(8, little)
    return follow > MAX_RECORD_BYTES ? undefined : { follow, isPacket: true }
  }
  return { preamble: PCAP_HEADER_BYTES, headerBytes, parse }
}

/** Blocks: type, total length, body, total length again. The byte order is the section's. */
function pcapngStructure(): Structure {
  let little = true
  const headerBytes = 12
  const parse: Parse = (header) => {
    const isSection = header.getUint32(0) === SECTION_HEADER
    if (isSection) {
      little = header.getUint32(8, true) === BYTE_ORDER_MAGIC
      if (!little && header.getUint32(8) !== BYTE_ORDER_MAGIC) return undefined
    }
    const type = header.getUint32(0, little)
    const length = header.getUint32(4, little)
    if (length < 12 || length % 4 !== 0 || length > MAX_RECORD_BYTES) return undefined
    return { follow: length - headerBytes, isPacket: !isSection && PACKET_BLOCKS.has(type) }
  }
  return { preamble: 0, headerBytes, parse }
}

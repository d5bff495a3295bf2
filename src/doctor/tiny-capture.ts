/**
 * A capture of two packets, made in memory: a DNS question and its answer over UDP, as every engine must read them.
 * Formats: draft-ietf-opsawg-pcap; RFC 791, 768, 1035.
 */

export interface TinyCapture {
  bytes: Buffer
  packets: number
  /** What Zeek's logs of it hold. */
  records: Record<string, number>
}

const LINK_ETHERNET = 1
const START_SECONDS = 1_767_225_600

export function tinyCapture(): TinyCapture {
  const name = Buffer.from('\x07example\x03org\x00', 'latin1')
  const question = Buffer.concat([name, Buffer.from('00010001', 'hex')])
  const answer = Buffer.from('c00c000100010000003c0004c0000201', 'hex')
  const header = (flags: number, answers: number) => words(0x1234, flags, 1, answers, 0, 0)
  const query = udp([10, 0, 0, 1], [10, 0, 0, 2], 40_000, 53, Buffer.concat([header(0x0100, 0), question]))
  const reply = udp([10, 0, 0, 2], [10, 0, 0, 1], 53, 40_000, Buffer.concat([header(0x8180, 1), question, answer]))
  const packets = [query, reply]
  return {
    bytes: Buffer.concat([fileHeader(), ...packets.flatMap((packet, i) => [recordHeader(i, packet.length), packet])]),
    packets: packets.length,
    records: { conn: 1, dns: 1 },
  }
}

function udp(from: number[], to: number[], sourcePort: number, port: number, payload: Buffer): Buffer {
  const length = 8 + payload.length
  const ethernet = Buffer.from('0200000000020200000000010800', 'hex')
  const ip = Buffer.concat([words(0x4500, 20 + length, 1, 0, 0x4011, 0), Buffer.from([...from, ...to])])
  ip.writeUInt16BE(checksum(ip), 10)
  // Without a checksum: RFC 768 allows it over IPv4.
  return Buffer.concat([ethernet, ip, words(sourcePort, port, length, 0), payload])
}

function checksum(header: Buffer): number {
  let sum = 0
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2)
  for (const [i, value] of values.entries()) bytes.writeUInt16BE(value, i * 2)
  return bytes
}

function fileHeader(): Buffer {
  const bytes = Buffer.alloc(24)
  bytes.writeUInt32LE(0xa1b2c3d4, 0)
  bytes.writeUInt16LE(2, 4)
  bytes.writeUInt16LE(4, 6)
  bytes.writeUInt32LE(65_535, 16)
  bytes.writeUInt32LE(LINK_ETHERNET, 20)
  return bytes
}

function recordHeader(index: number, length: number): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt32LE(START_SECONDS, 0)
  bytes.writeUInt32LE(index * 1000, 4)
  bytes.writeUInt32LE(length, 8)
  bytes.writeUInt32LE(length, 12)
  return bytes
}

/**
 * A flow's packets, out of a stored capture.
 *
 * In: the capture, a five-tuple in either direction, and a time range. Out: the packets as a capture of their own, or
 * a line each. A packet belongs to the flow when it, or a packet that it carries through tunnels, has its ends;
 * VLANs do not matter. Later fragments follow their first one. The capture is read once, from its start to its end.
 */

import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { parseNetwork } from '../../stages/upload/rules/address.ts'
import { PipelineError } from '../../state/errors.ts'
import type { FiveTuple, Packet as PacketLine } from '../api/contract.ts'
import type { Packet } from '../capture/packet.ts'
import { readCapture } from '../capture/reader.ts'
import { openCaptureWriter } from '../capture/writer.ts'
import { be32, ip4Text, ip6Text, macText } from '../engines/flows/address.ts'
import type { Ip } from '../engines/flows/network.ts'
import { createLayerWalk, ICMP, ICMP6, type Layer, type LayerWalk, SCTP, TCP, UDP } from './layers.ts'

export interface FlowPacketsRequest {
  capturePath: string
  /** As the events of the capture have it: times are found, and told, with it. */
  clockOffsetUs?: number
  tuple: FiveTuple
  /** Milliseconds since the epoch; both ends count. */
  from: number
  to: number
  signal?: AbortSignal
}

export interface PacketLines {
  packets: PacketLine[]
  matched: number
  bytes: number
}

const PROTOCOLS: Record<string, readonly number[]> = { tcp: [TCP], udp: [UDP], icmp: [ICMP, ICMP6], sctp: [SCTP] }
const NAMES = new Map([
  [TCP, 'tcp'],
  [UDP, 'udp'],
  [ICMP, 'icmp'],
  [ICMP6, 'icmp6'],
  [SCTP, 'sctp'],
  [47, 'gre'],
  [4, 'ipip'],
  [41, 'ip6ip'],
  [50, 'esp'],
])
/** Fragmented datagrams whose first part matched. */
const MOST_FRAGMENTS = 10_000
const MOST_BYTES = 4 * 2 ** 30

/** At most `limit` lines, in the capture's order; counted are all. */
export async function listFlowPackets(request: FlowPacketsRequest, limit: number): Promise<PacketLines> {
  const lines: PacketLines = { packets: [], matched: 0, bytes: 0 }
  const walk = createLayerWalk()
  await select(request, walk, (packet, layer) => {
    lines.matched++
    lines.bytes += packet.capLen
    if (lines.packets.length < limit) lines.packets.push(lineOf(packet, layer, walk))
  })
  return lines
}

export interface Cut extends AsyncDisposable {
  path: string
  format: 'pcap' | 'pcapng'
  packets: number
  bytes: number
  /** Writes it out and waits for the reader. */
  pipe(out: Writable): Promise<void>
}

/** A capture of these packets in a temporary file below `tempDir`, which goes with it. */
export async function cutFlowPackets(request: FlowPacketsRequest, tempDir: string): Promise<Cut> {
  const path = join(tempDir, `packets-${randomUUID()}`)
  // Any link types, and nanoseconds: readers of either format are everywhere.
  const format = await formatOf(request)
  const writer = await openCaptureWriter(path, { format: format.kind, linkType: format.linkType })
  try {
    await select(
      request,
      createLayerWalk(),
      (packet) => {
        if (writer.bytes > MOST_BYTES)
          throw new PipelineError('usage', 'these are more than 4 GB of packets: narrow the time')
        writer.packet(packet)
      },
      () => writer.flush(),
    )
    await writer.close()
  } catch (error) {
    await writer.close().catch(() => {})
    await rm(path, { force: true })
    throw error
  }
  return {
    path,
    format: format.kind,
    packets: writer.packets,
    bytes: writer.bytes,
    async pipe(out) {
      createReadStream(path).pipe(out)
      await finished(out)
    },
    [Symbol.asyncDispose]: () => rm(path, { force: true }),
  }
}

/** A pcap where the flow has one link type, which the first packets that match tell. */
async function formatOf(
  request: FlowPacketsRequest,
): Promise<{ kind: 'pcap' | 'pcapng'; linkType: number | undefined }> {
  const types = new Set<number>()
  await select(request, createLayerWalk(), ({ linkType }) => types.add(linkType))
  const [linkType] = types
  return types.size > 1 ? { kind: 'pcapng', linkType: undefined } : { kind: 'pcap', linkType }
}

async function select(
  { capturePath, clockOffsetUs = 0, tuple, from, to, signal }: FlowPacketsRequest,
  walk: LayerWalk,
  onMatch: (packet: Packet, layer: Layer) => void,
  onWindow?: () => Promise<void>,
): Promise<void> {
  const matches = createMatcher(tuple)
  let found: Layer | undefined
  const visit = (layer: Layer): boolean => {
    if (!matches(layer)) return false
    found = layer
    return true
  }
  await readCapture(capturePath, {
    clockOffsetUs,
    ...(signal && { signal }),
    ...(onWindow && { onWindow }),
    onPacket(packet) {
      const ms = packet.seconds * 1000 + packet.nanos / 1e6
      if (ms < from || ms > to) return
      if (walk.walk(packet, visit)) onMatch(packet, found as Layer)
    },
  })
}

/** Throws `usage` for addresses that are none. */
function createMatcher({ src, dst, srcPort, dstPort, protocol }: FiveTuple): (layer: Layer) => boolean {
  const a = formsOf(src)
  const b = formsOf(dst)
  const numbers = protocol === undefined ? undefined : PROTOCOLS[protocol]
  const fragments = new Set<string>()

  const isPort = (wanted: number | undefined, found: number) => wanted === undefined || wanted === found
  return ({ ip, srcPort: from, dstPort: to }) => {
    if (numbers !== undefined && !numbers.includes(ip.protocol)) return false
    const forth = isAddress(ip, ip.src, a) && isAddress(ip, ip.dst, b)
    const back = isAddress(ip, ip.src, b) && isAddress(ip, ip.dst, a)
    if (!forth && !back) return false
    if (ip.fragment && ip.fragmentOffset > 0) return fragments.has(fragmentKey(ip))
    const withPorts = ip.protocol === TCP || ip.protocol === UDP || ip.protocol === SCTP
    const fits =
      !withPorts ||
      (forth && isPort(srcPort, from) && isPort(dstPort, to)) ||
      (back && isPort(srcPort, to) && isPort(dstPort, from))
    if (fits && ip.fragment && fragments.size < MOST_FRAGMENTS) fragments.add(fragmentKey(ip))
    return fits
  }
}

function fragmentKey({ buffer, src, version, fragmentId, protocol }: Ip): string {
  const bytes = version === 4 ? 8 : 32
  return `${buffer.toString('latin1', src, src + bytes)} ${fragmentId} ${protocol}`
}

interface Forms {
  four: Buffer | undefined
  six: Buffer | undefined
}

/** IPv4 addresses are also written as mapped IPv6 ones in packets. */
function formsOf(text: string): Forms {
  const network = attempt(() => parseNetwork(text))
  if (network === undefined || network.first !== network.last) {
    throw new PipelineError('usage', `${JSON.stringify(text)} is no address`)
  }
  const { version, first } = network
  const bytes = Buffer.from(first.toString(16).padStart(version === 4 ? 8 : 32, '0'), 'hex')
  if (version === 6) return { four: undefined, six: bytes }
  return { four: bytes, six: Buffer.concat([Buffer.from('00000000000000000000ffff', 'hex'), bytes]) }
}

function isAddress(ip: Ip, at: number, { four, six }: Forms): boolean {
  const wanted = ip.version === 4 ? four : six
  return wanted !== undefined && ip.buffer.compare(wanted, 0, wanted.length, at, at + wanted.length) === 0
}

const FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR']

function lineOf(
  packet: Packet,
  { ip, srcPort, dstPort, flags, payload, depth }: Layer,
  { link }: LayerWalk,
): PacketLine {
  const text = (at: number) =>
    ip.version === 4
      ? ip4Text(be32(ip.buffer, at))
      : ip6Text(be32(ip.buffer, at), be32(ip.buffer, at + 4), be32(ip.buffer, at + 8), be32(ip.buffer, at + 12))
  const mac = (at: number) =>
    at < 0 ? null : macText(packet.buffer.readUInt16BE(at), packet.buffer.readUInt32BE(at + 2))
  const port = (number: number) => (number < 0 ? null : number)
  const names = FLAGS.filter((_, bit) => flags & (1 << bit))
  return {
    number: packet.number,
    time: timeOf(packet),
    length: packet.origLen,
    captured: packet.capLen,
    srcMac: mac(link.srcMac),
    dstMac: mac(link.dstMac),
    vlans: [link.vlan, link.innerVlan].filter((vlan) => vlan >= 0),
    src: text(ip.src),
    dst: text(ip.dst),
    srcPort: port(srcPort),
    dstPort: port(dstPort),
    protocol: NAMES.get(ip.protocol) ?? String(ip.protocol),
    flags: ip.protocol === TCP && srcPort >= 0 ? names.join(', ') : null,
    payload,
    depth,
  }
}

/** With microseconds; a capture may claim a time that no date has. */
function timeOf({ seconds, nanos }: Packet): string {
  const date = new Date(seconds * 1000)
  if (Number.isNaN(date.getTime())) return new Date(0).toISOString()
  return `${date.toISOString().slice(0, 19)}.${String(Math.floor(nanos / 1000)).padStart(6, '0')}Z`
}

function attempt<T>(make: () => T): T | undefined {
  try {
    return make()
  } catch {
    return undefined
  }
}

/** Packets made by hand, and flow tables fed with them. */

import { emptyPacket } from '../../../../src/capture/packet.ts'
import { createFlowTable } from '../../../../src/engines/flows/table.ts'
import type { Flow, FlowTableOptions, TunnelEvent, WeirdEvent } from '../../../../src/engines/flows/types.ts'

export const FIN = 1
export const SYN = 2
export const RST = 4
export const ACK = 16

function ip4Bytes(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number))
}

export interface Ip4 {
  src: string
  dst: string
  protocol: number
  payload: Buffer
  id?: number
  /** Flags and offset, as they stand in the header. */
  fragment?: number
}

export function ip4({ src, dst, protocol, payload, id = 1, fragment = 0 }: Ip4): Buffer {
  const header = Buffer.alloc(20)
  header[0] = 0x45
  header.writeUInt16BE(20 + payload.length, 2)
  header.writeUInt16BE(id, 4)
  header.writeUInt16BE(fragment, 6)
  header[8] = 64
  header[9] = protocol
  return Buffer.concat([header.subarray(0, 12), ip4Bytes(src), ip4Bytes(dst), payload])
}

/** `src` and `dst`: 16 bytes as hex. */
export function ip6(src: string, dst: string, protocol: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8)
  header[0] = 0x60
  header.writeUInt16BE(payload.length, 4)
  header[6] = protocol
  header[7] = 64
  return Buffer.concat([header, Buffer.from(src, 'hex'), Buffer.from(dst, 'hex'), payload])
}

export function udp(srcPort: number, dstPort: number, payload: Buffer | string = 'data'): Buffer {
  const body = Buffer.from(payload)
  const header = Buffer.alloc(8)
  header.writeUInt16BE(srcPort, 0)
  header.writeUInt16BE(dstPort, 2)
  header.writeUInt16BE(8 + body.length, 4)
  return Buffer.concat([header, body])
}

export interface Tcp {
  srcPort: number
  dstPort: number
  flags: number
  seq: number
  ack?: number
  payload?: string
  window?: number
}

export function tcp({ srcPort, dstPort, flags, seq, ack = 0, payload = '', window = 1000 }: Tcp): Buffer {
  const header = Buffer.alloc(20)
  header.writeUInt16BE(srcPort, 0)
  header.writeUInt16BE(dstPort, 2)
  header.writeUInt32BE(seq >>> 0, 4)
  header.writeUInt32BE(ack >>> 0, 8)
  header[12] = 0x50
  header[13] = flags
  header.writeUInt16BE(window, 14)
  return Buffer.concat([header, Buffer.from(payload)])
}

export function ethernet(type: number, payload: Buffer): Buffer {
  const macs = Buffer.from('0200000000aa0200000000bb', 'hex')
  return Buffer.concat([macs, Buffer.from([type >> 8, type & 255]), payload])
}

export interface Sent {
  at: number
  data: Buffer
  linkType?: number
  origLen?: number
}

export interface Outcome {
  flows: Flow[]
  tunnels: TunnelEvent[]
  weirds: WeirdEvent[]
  entries: number[]
  counts: ReturnType<typeof createFlowTable>['counts']
}

export const T = 1_700_000_000

/** Feeds the packets (raw IP unless told otherwise, `at` seconds after `T`) and ends all flows. */
export function run(sent: Sent[], options: Partial<FlowTableOptions> = {}): Outcome {
  const flows: Flow[] = []
  const tunnels: TunnelEvent[] = []
  const weirds: WeirdEvent[] = []
  const table = createFlowTable({
    captureId: 'test',
    onFlow: (flow) => flows.push(flow),
    onTunnel: (event) => tunnels.push(event),
    onWeird: (event) => weirds.push(event),
    ...options,
  })
  const entries = sent.map(({ at, data, linkType = 101, origLen }, n) => {
    const seconds = T + Math.floor(at)
    const nanos = Math.round((at % 1) * 1e6) * 1000
    const frame = { buffer: data, offset: 0, capLen: data.length, origLen: origLen ?? data.length }
    return table.packet({ ...emptyPacket(linkType), ...frame, seconds, nanos, number: n + 1 })
  })
  table.finish()
  return { flows: flows.sort((a, b) => a.index - b.index), tunnels, weirds, entries, counts: table.counts }
}

const CLIENT = '10.0.0.1'
const SERVER = '93.184.216.34'

export interface Step {
  /** 'c' is sent by the client, 's' by the server. */
  by: 'c' | 's'
  flags: number
  payload?: string
  at?: number
  /** Overrides of the numbers that follow from what was sent before. */
  seq?: number
  ack?: number
  /** The packet was sent but is not in the capture. */
  lost?: boolean
  window?: number
}

/** A TCP conversation, sequence numbers kept; a packet a millisecond. */
export function conversation(steps: Step[], ports: [number, number] = [40_000, 8080]): Sent[] {
  const next = { c: 1000, s: 0xffff_fff0 }
  const sent: Sent[] = []
  let at = 0
  for (const { by, flags, payload = '', at: time, seq, ack, lost, window = 1000 } of steps) {
    at = time ?? at + 0.001
    const other = by === 'c' ? 's' : 'c'
    const [srcPort, dstPort] = by === 'c' ? ports : [ports[1], ports[0]]
    const acked = (flags & ACK) !== 0 ? (ack ?? next[other]) : 0
    const segment = tcp({ srcPort, dstPort, flags, seq: seq ?? next[by], ack: acked, payload, window })
    if (seq === undefined) next[by] = (next[by] + payload.length + (flags & (SYN | FIN) ? 1 : 0)) >>> 0
    const [src, dst] = by === 'c' ? [CLIENT, SERVER] : [SERVER, CLIENT]
    if (!lost) sent.push({ at, data: ip4({ src, dst, protocol: 6, payload: segment }) })
  }
  return sent
}

/** Three-way handshake. */
export const OPEN: Step[] = [
  { by: 'c', flags: SYN },
  { by: 's', flags: SYN | ACK },
  { by: 'c', flags: ACK },
]
/** Both sides close. */
export const SHUT: Step[] = [
  { by: 'c', flags: FIN | ACK },
  { by: 's', flags: FIN | ACK },
  { by: 'c', flags: ACK },
]

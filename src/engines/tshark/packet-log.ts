/**
 * The `packet` log: one row a frame, as tshark dissects it. In: the capture and the uid of each of its packets.
 * Out: rows in the capture's order.
 *
 * tshark's memory grows with what it has read, so it is given the capture in pieces, several at a time. A piece
 * on which it crashes, hangs or takes too much memory is halved until the packets that do it stand alone: these
 * are handed out, and the rest goes on.
 */

import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { PipelineError } from '../../../state/errors.ts'
import { readCapture } from '../../capture/reader.ts'
import { type CaptureWriter, openCaptureWriter } from '../../capture/writer.ts'
import { runTshark, type TsharkFrame, type TsharkOutcome } from './run.ts'
import { readUids } from './uid-list.ts'

export interface PacketLogOptions {
  tshark: string
  capturePath: string
  clockOffsetUs?: number
  workDir: string
  /** tsharks at the same time. */
  parallel: number
  timeoutMs: number
  maxRssBytes: number
  signal: AbortSignal
  /** See uid-list.ts. */
  uidPath: string
  /** Of TLS, to decrypt with. */
  keyLog?: string | undefined
  /** A row as JSON, without line end. */
  writeLine(line: string): void
  flush(): Promise<void>
  /** A capture of packets that tshark cannot take, and what happened. It is removed afterwards. */
  onPoison?: (file: string, reason: string) => void | Promise<void>
  onPartial(said: string): void
  pieceBytes?: number
  piecePackets?: number
}

const PIECE_BYTES = 64 << 20
const PIECE_PACKETS = 50_000
/** Runs of tshark that one piece may fail before what is left of it counts as poison as a whole. */
const MAX_FAILURES = 64

const FIELDS = {
  text: {
    protocols: 'frame.protocols',
    eth_src: 'eth.src',
    eth_dst: 'eth.dst',
    info: '_ws.col.Info',
    interface: 'frame.interface_name',
  },
  number: {
    frame_len: 'frame.len',
    cap_len: 'frame.cap_len',
    eth_type: 'eth.type',
    vlan: 'vlan.id',
    ip_version: 'ip.version',
    ip_proto: 'ip.proto',
    ip_len: 'ip.len',
    ip_id: 'ip.id',
    ttl: 'ip.ttl',
    dscp: 'ip.dsfield.dscp',
    frag_offset: 'ip.frag_offset',
    tcp_seq: 'tcp.seq_raw',
    tcp_ack: 'tcp.ack_raw',
    tcp_window: 'tcp.window_size_value',
    icmp_type: 'icmp.type',
    icmp_code: 'icmp.code',
  },
} as const

const OTHER_FIELDS = [
  'frame.time_epoch',
  'ip.src',
  'ip.src_host',
  'ip.dst_host',
  'ipv6.src_host',
  'ipv6.dst_host',
  'ip.dst',
  'ipv6.src',
  'ipv6.dst',
  'ipv6.nxt',
  'ipv6.plen',
  'ipv6.hlim',
  'ip.flags.mf',
  'tcp.srcport',
  'tcp.dstport',
  'tcp.flags.str',
  'tcp.len',
  'udp.srcport',
  'udp.dstport',
  'udp.length',
  'icmpv6.type',
  'icmpv6.code',
]

const ALL_FIELDS = [...Object.values(FIELDS.text), ...Object.values(FIELDS.number), ...OTHER_FIELDS]

interface Piece {
  file: string
  /** The capture's number of its first packet, and how many there are. */
  first: number
  packets: number
}

/** @returns how many packets were poison. */
export async function writePacketLog(options: PacketLogOptions): Promise<number> {
  const { workDir, parallel, signal } = options
  const home = join(workDir, 'home')
  await mkdir(home, { recursive: true })
  let poison = 0
  let running: Promise<{ rows: string[]; poison: number }>[] = []

  /** Rows are written in the order of the pieces, whichever is done first. */
  async function settle(): Promise<void> {
    const batch = running
    running = []
    for (const { rows, poison: bad } of await Promise.all(batch)) {
      poison += bad
      for (const row of rows) options.writeLine(row)
      await options.flush()
    }
  }

  await cutIntoPieces(options, async (piece) => {
    const task = dissectPiece(options, home, piece)
    // It may fail before it is waited for.
    task.catch(() => {})
    running.push(task)
    if (running.length >= parallel) await settle()
  }).catch(async (error) => {
    await Promise.allSettled(running)
    throw error
  })
  await settle()
  signal.throwIfAborted()
  return poison
}

async function cutIntoPieces(
  {
    capturePath,
    clockOffsetUs,
    workDir,
    signal,
    pieceBytes = PIECE_BYTES,
    piecePackets = PIECE_PACKETS,
  }: PacketLogOptions,
  onPiece: (piece: Piece) => Promise<void>,
): Promise<void> {
  let [count, number, first] = [0, 0, 1]
  let writer: CaptureWriter | undefined
  const open = () => openCaptureWriter(join(workDir, `packets-${count++}.pcapng`), { format: 'pcapng' })

  async function close(done: CaptureWriter): Promise<void> {
    await done.close()
    await onPiece({ file: done.path, first, packets: done.packets })
    first = number + 1
  }

  writer = await open()
  let failed: unknown
  try {
    await readCapture(capturePath, {
      signal,
      clockOffsetUs,
      onPacket(packet) {
        number = packet.number
        writer?.packet(packet)
      },
      async onWindow() {
        if (writer === undefined) return
        await writer.flush()
        if (writer.bytes < pieceBytes && writer.packets < piecePackets) return
        const full = writer
        writer = undefined
        await close(full)
        writer = await open()
      },
    })
    if (writer !== undefined && writer.packets > 0) {
      const last = writer
      writer = undefined
      await close(last)
    }
  } catch (error) {
    failed = error
  }
  await writer?.close()
  if (failed !== undefined) throw failed
}

async function dissectPiece(
  options: PacketLogOptions,
  home: string,
  piece: Piece,
): Promise<{ rows: string[]; poison: number }> {
  const uids = await readUids(options.uidPath, piece.first, piece.packets)
  const rows: string[] = []
  let [poison, failures] = [0, 0]

  /** `at`: the piece's packet that is the file's first. */
  async function dissect(file: string, at: number, packets: number): Promise<void> {
    const fresh: string[] = []
    try {
      const outcome = await run(options, home, file, packets, (frame) => {
        const position = at + frame.number - 1
        fresh.push(JSON.stringify(packetRow(frame, piece.first + position, uids[position])))
      })
      if (outcome.partial !== undefined) options.onPartial(outcome.partial)
      for (const row of fresh) rows.push(row)
    } catch (error) {
      if (!isPoison(error)) throw error
      failures++
      if (packets === 1 || failures > MAX_FAILURES) {
        poison += packets
        await options.onPoison?.(file, error.message)
      } else {
        const middle = Math.ceil(packets / 2)
        for (const [from, to] of [
          [0, middle],
          [middle, packets],
        ] as const) {
          const half = join(options.workDir, `half-${piece.first}-${at + from}-${to - from}.pcapng`)
          await copyPackets(file, half, from, to, options.signal)
          await dissect(half, at + from, to - from)
        }
      }
    } finally {
      await rm(file, { force: true })
    }
  }

  await dissect(piece.file, 0, piece.packets)
  return { rows, poison }
}

function run(
  { tshark, timeoutMs, maxRssBytes, keyLog, signal }: PacketLogOptions,
  home: string,
  file: string,
  packets: number,
  onFrame: (frame: TsharkFrame) => void,
): Promise<TsharkOutcome> {
  // A hang must show soon when the piece is small.
  const limit = Math.min(timeoutMs, 30_000 + packets * 5)
  return runTshark({
    tshark,
    file,
    filter: 'frame',
    fields: ALL_FIELDS,
    decodeAs: [],
    keyLog,
    home,
    timeoutMs: limit,
    maxRssBytes,
    signal,
    onFrame,
  })
}

function isPoison(error: unknown): error is PipelineError {
  return error instanceof PipelineError && ['engine_failed', 'engine_timeout', 'engine_memory'].includes(error.code)
}

async function copyPackets(from: string, to: string, first: number, end: number, signal: AbortSignal): Promise<void> {
  const writer = await openCaptureWriter(to, { format: 'pcapng' })
  try {
    let position = 0
    await readCapture(from, {
      signal,
      onPacket(packet) {
        if (position >= first && position < end) writer.packet(packet)
        position++
      },
      onWindow: () => writer.flush(),
    })
  } finally {
    await writer.close()
  }
}

/** Where a frame has several headers of a kind (tunnels), the innermost is meant, as in the flow's record. */
const last = (fields: Record<string, string[]>, name: string) => fields[name]?.at(-1)

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined
  const value = Number(text)
  return Number.isFinite(value) ? value : undefined
}

function packetRow({ fields }: TsharkFrame, number: number, uid: string | undefined): object {
  const text = (name: keyof typeof FIELDS.text) => last(fields, FIELDS.text[name])
  const value = (name: keyof typeof FIELDS.number) => numberOf(last(fields, FIELDS.number[name]))
  const has = (name: string) => fields[name] !== undefined
  const v6 = has('ipv6.src') && !has('ip.src')
  const transport = has('tcp.srcport') ? 'tcp' : has('udp.srcport') ? 'udp' : undefined
  const icmp = value('icmp_type') ?? numberOf(last(fields, 'icmpv6.type'))
  const udpLength = numberOf(last(fields, 'udp.length'))
  const vlans = fields['vlan.id'] ?? []
  return {
    ts: Math.floor(Number(last(fields, 'frame.time_epoch')) * 1e6) / 1e6,
    uid: uid === '' ? undefined : uid,
    frame_number: number,
    frame_len: value('frame_len'),
    cap_len: value('cap_len'),
    interface: text('interface') === 'unknown' ? undefined : text('interface'),
    protocols: text('protocols'),
    eth_src: text('eth_src'),
    eth_dst: text('eth_dst'),
    eth_type: value('eth_type'),
    vlan: numberOf(vlans[0]),
    inner_vlan: numberOf(vlans[1]),
    ip_src: last(fields, v6 ? 'ipv6.src' : 'ip.src'),
    ip_dst: last(fields, v6 ? 'ipv6.dst' : 'ip.dst'),
    src_host: hostName(fields, v6 ? 'ipv6.src' : 'ip.src'),
    dst_host: hostName(fields, v6 ? 'ipv6.dst' : 'ip.dst'),
    ip_version: v6 ? 6 : value('ip_version'),
    ip_proto: v6 ? numberOf(last(fields, 'ipv6.nxt')) : value('ip_proto'),
    ip_len: v6 ? plus(numberOf(last(fields, 'ipv6.plen')), 40) : value('ip_len'),
    ip_id: value('ip_id'),
    ttl: v6 ? numberOf(last(fields, 'ipv6.hlim')) : value('ttl'),
    dscp: value('dscp'),
    frag_offset: value('frag_offset'),
    more_fragments: has('ip.flags.mf') ? /^(?:1|true)$/i.test(last(fields, 'ip.flags.mf') ?? '') : undefined,
    proto: transport ?? (icmp === undefined ? undefined : 'icmp'),
    src_port: transport === undefined ? undefined : numberOf(last(fields, `${transport}.srcport`)),
    dst_port: transport === undefined ? undefined : numberOf(last(fields, `${transport}.dstport`)),
    payload_len: transport === 'tcp' ? numberOf(last(fields, 'tcp.len')) : plus(udpLength, -8),
    tcp_flags: last(fields, 'tcp.flags.str')?.replace(/[^A-Z]/g, ''),
    tcp_seq: value('tcp_seq'),
    tcp_ack: value('tcp_ack'),
    tcp_window: value('tcp_window'),
    icmp_type: icmp,
    icmp_code: value('icmp_code') ?? numberOf(last(fields, 'icmpv6.code')),
    info: text('info'),
  }
}

/** As the DNS answers in the piece tell; tshark gives the address where they tell nothing. */
function hostName(fields: TsharkFrame['fields'], field: string): string | undefined {
  const name = last(fields, `${field}_host`)
  return name === last(fields, field) ? undefined : name
}

const plus = (value: number | undefined, more: number) => (value === undefined ? undefined : Math.max(0, value + more))

/**
 * QUIC (RFC 9000, 9001, 9369): one quic record a connection, from the headers of its packets and the TLS hello
 * messages in its Initial packets, which are decrypted; what these say goes to TLS as well.
 */

import type { Dissector, Protocol, Session } from './protocol.ts'
import { type InitialKeys, initialKeys, openInitial } from './quic-crypto.ts'
import { assembleHello, firstProtocol, type HelloAssembly } from './quic-hello.ts'
import {
  hasFixedBit,
  initialFrames,
  isKnownVersion,
  isLong,
  type LongPacket,
  longPacket,
  type PacketKind,
} from './quic-packet.ts'
import { hex } from './text.ts'
import { clientHello } from './tls-handshake.ts'

const MAX_HISTORY = 100
const MAX_DISCARDED = 100
const MIN_CLIENT_ID_BYTES = 8
const HANDSHAKE_RECORD = [22, 3, 3]
/** How much of a message one TLS record takes. */
const MAX_RECORD_BYTES = 1 << 14

const LETTERS: Record<PacketKind, string> = { initial: 'i', zeroRtt: 'z', handshake: 'h', retry: 'r' }

const MVFST = [0xfaceb001, 0xfaceb002, 0xfaceb00e, 0xfaceb011, 0xfaceb012, 0xfaceb013]

function versionName(version: number): string {
  if (version === 1) return '1'
  if (version === 0x6b3343cf) return 'quicv2'
  // Draft 31 goes by the name of draft 30 in Zeek's table.
  if (isKnownVersion(version)) return `draft-${(version & 0xff) === 31 ? 30 : version & 0xff}`
  return MVFST.includes(version) ? `mvfst (${version.toString(16)})` : `unknown-${version.toString(16)}`
}

export const quic: Protocol = {
  name: 'quic',
  logs: ['quic', 'ssl'],
  udpPorts: [443, 853],
  recognize: (originator, _responder, transport) => transport === 'udp' && isClientInitial(originator),
  dissect: createQuic,
}

function isClientInitial(bytes: Buffer): boolean {
  if (!isLong(bytes[0] ?? 0) || !hasFixedBit(bytes[0] ?? 0)) return false
  const packet = longPacket(bytes)
  return packet?.kind === 'initial' && packet.destination.length >= MIN_CLIENT_ID_BYTES
}

interface Connection {
  ts: number
  version: string
  clientInitialId?: string
  clientId?: string
  serverId?: string
  serverName?: string
  protocol?: string
  history: string
  keys?: { client: InitialKeys; server: InitialKeys }
  hellos: { client: HelloAssembly; server: HelloAssembly }
  short: { client: number; server: number }
  discarded: number
}

function createQuic(session: Session): Dissector {
  let connection: Connection | undefined
  let over = false
  let tls: Dissector | undefined

  function mark(to: Connection, fromClient: boolean, letter: string, ts: number): void {
    if (to.history.length >= MAX_HISTORY) return
    to.history += fromClient ? letter.toUpperCase() : letter
    if (to.history.length === MAX_HISTORY) session.weird(ts, 'QUIC_max_history_length_reached')
  }

  function write(): void {
    if (connection === undefined) return
    session.emit('quic', connection.ts, {
      version: connection.version,
      client_initial_dcid: connection.clientInitialId,
      client_scid: connection.clientId,
      server_scid: connection.serverId,
      server_name: connection.serverName,
      client_protocol: connection.protocol,
      history: connection.history,
    })
    connection = undefined
  }

  /** @returns behind the packet, or the datagram's end. */
  function takeLong(fromClient: boolean, bytes: Buffer, ts: number): number {
    const packet = longPacket(bytes)
    if (packet === undefined) return bytes.length
    if (connection === undefined) connection = open(packet, fromClient, ts)
    if (packet.kind === undefined) {
      mark(connection, fromClient, 'u', ts)
      // Version negotiation (0) is an answer, what follows it may well be of a known version.
      over = packet.version !== 0
      return bytes.length
    }
    mark(connection, fromClient, LETTERS[packet.kind], ts)
    if (packet.kind === 'initial') takeInitial(connection, fromClient, packet, bytes.subarray(0, packet.end), ts)
    // The client begins anew, with other keys.
    else if (packet.kind === 'retry') write()
    return packet.end
  }

  function takeInitial(to: Connection, fromClient: boolean, packet: LongPacket, bytes: Buffer, ts: number): void {
    if (fromClient) {
      to.clientInitialId ??= hex(packet.destination)
      to.clientId ??= hex(packet.source)
      to.keys ??= initialKeys(packet.version, packet.destination)
    } else to.serverId ??= hex(packet.source)
    const side = fromClient ? 'client' : 'server'
    const hello = to.hellos[side]
    if (hello.done || to.keys === undefined) return
    const frames = openInitial(bytes, packet.numberAt, to.keys[side])
    if (frames === undefined) return
    session.confirm('quic')
    for (const frame of initialFrames(frames)) {
      if (frame.type === 'close') {
        mark(to, fromClient, 'c', ts)
        write()
        over = true
        return
      }
      hello.add(frame.offset, frame.data)
    }
    const message = hello.message()
    if (message !== undefined) takeHello(to, fromClient, message, ts)
  }

  function takeHello(to: Connection, fromClient: boolean, message: Buffer, ts: number): void {
    mark(to, fromClient, 's', ts)
    if (fromClient) {
      to.serverName = clientHello(message.subarray(4), false)?.serverName
      to.protocol = firstProtocol(message.subarray(4))
      session.confirm('ssl')
    }
    tls ??= session.handOver('ssl', ts)
    for (let at = 0; at < message.length; at += MAX_RECORD_BYTES) {
      const part = message.subarray(at, at + MAX_RECORD_BYTES)
      tls?.data(
        fromClient,
        Buffer.concat([Buffer.from([...HANDSHAKE_RECORD, part.length >> 8, part.length & 0xff]), part]),
        ts,
      )
    }
  }

  function takeShort(to: Connection, fromClient: boolean, ts: number): void {
    const side = fromClient ? 'client' : 'server'
    const count = ++to.short[side]
    // Powers of two only.
    if ((count & (count - 1)) === 0) mark(to, fromClient, 'o', ts)
  }

  return {
    data(fromOriginator, bytes, ts) {
      for (let at = 0; at < bytes.length && !over; ) {
        const first = bytes[at] as number
        if (isLong(first) && (hasFixedBit(first) || isVersionNegotiation(bytes, at))) {
          at += takeLong(fromOriginator, bytes.subarray(at), ts)
          continue
        }
        // Neither has a length: it goes on to the datagram's end.
        if (connection === undefined) return
        if (hasFixedBit(first)) takeShort(connection, fromOriginator, ts)
        else if (connection.discarded++ < MAX_DISCARDED) mark(connection, fromOriginator, 'x', ts)
        return
      }
    },
    end(ts) {
      write()
      tls?.end?.(ts)
    },
  }
}

/** Its other bits are anything (RFC 9000, 17.2.1). */
const isVersionNegotiation = (bytes: Buffer, at: number) => bytes.length >= at + 5 && bytes.readUInt32BE(at + 1) === 0

function open(packet: LongPacket, fromClient: boolean, ts: number): Connection {
  return {
    ts,
    version: versionName(packet.version),
    clientInitialId: fromClient ? hex(packet.destination) : undefined,
    clientId: fromClient ? hex(packet.source) : undefined,
    history: '',
    hellos: { client: assembleHello(), server: assembleHello() },
    short: { client: 0, server: 0 },
    discarded: 0,
  }
}

/**
 * RDP (MS-RDPBCGR): one rdp record a connection: what client and server negotiate in the clear. Where they
 * agree on TLS or CredSSP, the rest of the flow goes to TLS. And RDP's transport over UDP (MS-RDPEUDP), which
 * is only recognized.
 */

import { createFramedReader } from './framed.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'
import { type ClientData, parseRdp, type RdpPacket, type ServerData } from './rdp-message.ts'
import {
  BUILDS,
  CERTIFICATE_TYPES,
  ENCRYPTION_LEVELS,
  ENCRYPTION_METHODS,
  FAILURES,
  HIGH_COLOR_DEPTHS,
  LANGUAGES,
  RESULTS,
  SECURITY_PROTOCOLS,
} from './rdp-names.ts'

const TPKT_VERSION = 3
const TPKT_BYTES = 4
const MAX_PACKET_BYTES = 65_535
const SYN = 1
const SYN_ACK = 5

export const rdp: Protocol = {
  name: 'rdp',
  logs: ['rdp', 'ssl'],
  tcpPorts: [3389],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const [asks, answers] = [isX224(originator, 0xe0), isX224(responder, 0xd0)]
    return asks === false || answers === false ? false : asks && answers
  },
  dissect: createRdp,
}

export const rdpeudp: Protocol = {
  name: 'rdpeudp',
  logs: [],
  udpPorts: [3389],
  dissect: createRdpUdp,
}

/** A TPKT packet that holds that X.224 PDU, and it alone. */
function isX224(bytes: Buffer, type: number): boolean | undefined {
  if (bytes.length < 6) return bytes.length === 0 || bytes[0] === TPKT_VERSION ? undefined : false
  const length = bytes.readUInt16BE(2)
  return bytes[0] === TPKT_VERSION && bytes[1] === 0 && bytes[5] === type && bytes[4] === length - 5
}

function createRdp(session: Session): Dissector {
  let start: number | undefined
  let cookie: string | undefined
  let protocol: number | undefined
  let result: string | undefined
  let client: ClientData | undefined
  let server: ServerData | undefined
  let tls: Dissector | undefined
  let [written, over] = [false, false]

  function write(): void {
    if (written || start === undefined) return
    written = true
    session.emit('rdp', start, {
      cookie,
      result,
      security_protocol: nameOf(SECURITY_PROTOCOLS, protocol, 'security_protocol'),
      client_channels: client?.channels,
      keyboard_layout: nameOf(LANGUAGES, client?.keyboardLayout, 'keyboard'),
      client_build: nameOf(BUILDS, client?.build, 'client_build'),
      client_name: client?.name,
      client_dig_product_id: client?.digProductId,
      desktop_width: client?.width,
      desktop_height: client?.height,
      requested_color_depth:
        client?.wants32Bit === true ? '32bit' : nameOf(HIGH_COLOR_DEPTHS, client?.highColorDepth, 'high_color_depth'),
      cert_type: nameOf(CERTIFICATE_TYPES, server?.certificateType, 'cert_type'),
      cert_count: server?.certificateCount ?? 0,
      cert_permanent: server?.certificatePermanent,
      encryption_level: nameOf(ENCRYPTION_LEVELS, server?.encryptionLevel, 'encryption_level'),
      encryption_method: nameOf(ENCRYPTION_METHODS, server?.encryptionMethod, 'encryption_method'),
    })
  }

  function take(packet: Exclude<RdpPacket, { kind: 'nonsense' }>, ts: number): void {
    start ??= ts
    if (packet.kind === 'request') cookie = packet.cookie
    else if (packet.kind === 'confirm') {
      protocol = packet.selectedProtocol
      if (packet.failure !== undefined) result = nameOf(FAILURES, packet.failure, 'failure_code')
    } else if (packet.kind === 'client') client = packet
    else {
      session.confirm('rdp')
      server = packet
      result = nameOf(RESULTS, packet.result, 'result')
    }
  }

  const reader = (fromOriginator: boolean) =>
    createFramedReader({
      headerBytes: () => TPKT_BYTES,
      bodyLength: (header) =>
        header[0] === TPKT_VERSION && header.readUInt16BE(2) >= TPKT_BYTES
          ? header.readUInt16BE(2) - TPKT_BYTES
          : undefined,
      onFrame({ body, length }, ts) {
        const packet = body.length < length ? undefined : parseRdp(body)
        const expected = fromOriginator ? ['request', 'client'] : ['confirm', 'server']
        if (packet?.kind === 'nonsense') over = true
        else if (packet !== undefined && expected.includes(packet.kind)) take(packet, ts)
        // What follows the server's answer says nothing more, or is TLS.
        return packet?.kind !== 'server' && packet?.kind !== 'client' && !usesTls()
      },
      onNonsense() {
        over = true
      },
      maxKept: MAX_PACKET_BYTES,
    })
  const usesTls = () => protocol !== undefined && protocol !== 0
  const sides = [reader(true), reader(false)] as const

  /** The client's first bytes after the answer are a ClientHello. */
  function beginTls(ts: number): void {
    result = 'encrypted'
    write()
    tls = session.handOver('ssl', ts)
    over = tls === undefined
  }

  return {
    data(fromOriginator, bytes, ts) {
      if (over) return
      if (tls === undefined && usesTls() && fromOriginator) beginTls(ts)
      if (tls !== undefined) tls.data(fromOriginator, bytes, ts)
      else sides[fromOriginator ? 0 : 1].data(bytes, ts)
    },
    gap(fromOriginator, length, ts) {
      if (tls !== undefined) tls.gap?.(fromOriginator, length, ts)
      else sides[fromOriginator ? 0 : 1].lost(length)
    },
    finished: (fromOriginator, ts) => tls?.finished?.(fromOriginator, ts),
    end(ts) {
      tls?.end?.(ts)
      write()
    },
  }
}

function nameOf(names: Record<number, string>, value: number | undefined, kind: string): string | undefined {
  return value === undefined ? undefined : (names[value] ?? `${kind}-${value}`)
}

/** MS-RDPEUDP 2.2.2.1: acknowledged number, window, flags. Confirmed by an answered SYN. */
function createRdpUdp(session: Session): Dissector {
  let asked = false
  let over = false
  return {
    data(fromOriginator, bytes) {
      if (over || bytes.length < 8) return
      const flags = bytes.readUInt16BE(6)
      if (fromOriginator) asked ||= (flags & SYN_ACK) === SYN && bytes.readUInt32BE(0) === 0xffff_ffff
      else {
        if (asked && (flags & SYN_ACK) === SYN_ACK) session.confirm('rdpeudp')
        over = true
      }
    },
  }
}

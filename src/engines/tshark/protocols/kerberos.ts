/**
 * Kerberos 5 (RFC 4120) over UDP, TCP and inside GSS-API: one kerberos record a flow, of its first exchange;
 * written with the reply or the error, or at the flow's end where none came.
 */

import { type KerberosMessage, parseKerberos } from './kerberos-message.ts'
import { CIPHER_NAMES, ERROR_NAMES } from './kerberos-names.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'

const AS_REQ = 0x6a
const TGS_REQ = 0x6c
const FORWARDABLE = 0x4000_0000
const RENEWABLE = 0x0080_0000
const MAX_MESSAGE_BYTES = 1 << 20
/** Errors that only ask for the next request, in two servers' words: not logged. */
const NO_ERRORS = new Set(['NEEDED_PREAUTH', 'Need to use PA-ENC-TIMESTAMP/PA-PK-AS-REQ'])

export const krb: Protocol = {
  name: 'krb',
  logs: ['kerberos'],
  udpPorts: [88],
  recognize: (originator, _responder, transport) => (transport === 'udp' ? isRequest(originator) : false),
  dissect: overUdp,
}

export const krbTcp: Protocol = {
  name: 'krb_tcp',
  logs: ['kerberos'],
  tcpPorts: [88],
  recognize(originator, _responder, transport) {
    if (transport !== 'tcp' || (originator[0] ?? 0) !== 0) return false
    return isRequest(originator.subarray(4))
  },
  dissect: overTcp,
}

export interface Kerberos {
  /** @returns false: this is no Kerberos message. */
  message(bytes: Buffer, ts: number): boolean
  end(): void
}

interface Info {
  ts: number
  requestType?: string
  client?: string
  service?: string
  success?: boolean
  errorMsg?: string
  from?: number
  till?: number
  cipher?: string
  forwardable?: boolean
  renewable?: boolean
}

/** `service` is the name that goes into conn's `service`; tickets that are shown to a server are told only where `tellsTickets`. */
export function createKerberos(session: Session, service: string, tellsTickets = false): Kerberos {
  let info: Info | undefined
  let written = false

  function write(): void {
    if (written || info === undefined) return
    written = true
    session.emit('kerberos', info.ts, {
      request_type: info.requestType,
      client: info.client,
      service: info.service,
      success: info.success,
      error_msg: info.errorMsg,
      from: info.from,
      till: info.till,
      cipher: info.cipher,
      forwardable: info.forwardable,
      renewable: info.renewable,
    })
  }

  function request(info: Info, message: KerberosMessage, type: string): void {
    info.requestType = type
    // Who asks for a service ticket is inside what is encrypted; the reply tells.
    if (type === 'AS') info.client = `${message.clientName ?? ''}/${message.clientRealm ?? ''}`
    info.service = message.serviceName
    info.from = message.from
    info.till = message.till
    if (message.options === undefined) return
    info.forwardable = (message.options & FORWARDABLE) !== 0
    info.renewable = (message.options & RENEWABLE) !== 0
  }

  function reply(info: Info, message: KerberosMessage, type: string): void {
    info.requestType ??= type
    info.client ??= `${message.clientName ?? ''}/${message.clientRealm ?? ''}`
    info.service = message.serviceName ?? info.service
    info.cipher = nameOf(CIPHER_NAMES, message.ticketCipher)
    info.success = true
    write()
  }

  function ticket(info: Info, message: KerberosMessage): void {
    info.requestType = 'AP'
    info.client = `/${message.clientRealm ?? ''}`
    info.service = message.serviceName
    info.cipher = nameOf(CIPHER_NAMES, message.ticketCipher)
  }

  function accepted(info: Info): void {
    info.success = true
    write()
  }

  function error(into: Info, message: KerberosMessage): void {
    if (message.errorText !== undefined && NO_ERRORS.has(message.errorText)) {
      info = undefined
      return
    }
    if (message.clientName !== undefined) into.client ??= `${message.clientName}/${message.clientRealm ?? ''}`
    else into.client ??= message.clientRealm
    into.service = message.serviceName ?? into.service
    into.success = false
    into.errorMsg = message.errorText ?? ERROR_NAMES[message.errorCode ?? -1]
    write()
  }

  return {
    message(bytes, ts) {
      const message = parseKerberos(bytes)
      if (message === undefined) return false
      if (message.kind !== 'AS-REQ' && message.kind !== 'TGS-REQ') session.confirm(service)
      if (written) return true
      info ??= { ts }
      if (message.kind === 'AS-REQ' || message.kind === 'TGS-REQ') request(info, message, message.kind.slice(0, -4))
      else if (message.kind === 'AS-REP' || message.kind === 'TGS-REP') reply(info, message, message.kind.slice(0, -4))
      else if (message.kind === 'ERROR') error(info, message)
      else if (message.kind === 'AP-REQ' && tellsTickets) ticket(info, message)
      else if (message.kind === 'AP-REP' && tellsTickets) accepted(info)
      return true
    },
    end: write,
  }
}

function nameOf(names: Record<number, string>, code: number | undefined): string | undefined {
  return code === undefined ? undefined : (names[code] ?? `unknown-${code}`)
}

function overUdp(session: Session): Dissector {
  const kerberos = createKerberos(session, 'krb')
  return { data: (_fromOriginator, bytes, ts) => kerberos.message(bytes, ts), end: kerberos.end }
}

/** A KDC-REQ: its tag, a SEQUENCE, and in it version 5 and the type that goes with the tag (RFC 4120, 5.4.1). */
function isRequest(bytes: Buffer): boolean | undefined {
  const tag = bytes[0]
  if (tag !== undefined && tag !== AS_REQ && tag !== TGS_REQ) return false
  if (bytes.length < 24) return undefined
  const from = (bytes[1] as number) < 0x80 ? 2 : 2 + ((bytes[1] as number) & 0x7f)
  const at = from + ((bytes[from + 1] ?? 0) < 0x80 ? 2 : 2 + ((bytes[from + 1] as number) & 0x7f))
  const known = Buffer.from([0xa1, 3, 2, 1, 5, 0xa2, 3, 2, 1, (tag as number) & 0x1f])
  return bytes[from] === 0x30 && bytes.subarray(at, at + known.length).equals(known)
}

/** RFC 4120, 7.2.2: four bytes of length before each message. */
function overTcp(session: Session): Dissector {
  const kerberos = createKerberos(session, 'krb_tcp')
  const rest: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)]
  const lost = [false, false]
  return {
    data(fromOriginator, bytes, ts) {
      const side = fromOriginator ? 0 : 1
      if (lost[side]) return
      let buffer: Buffer = rest[side].length > 0 ? Buffer.concat([rest[side], bytes]) : bytes
      while (buffer.length >= 4) {
        const length = buffer.readUInt32BE(0)
        if (length > MAX_MESSAGE_BYTES) lost[side] = true
        if (length > MAX_MESSAGE_BYTES || buffer.length < 4 + length) break
        if (!kerberos.message(buffer.subarray(4, 4 + length), ts)) lost[side] = true
        if (lost[side]) break
        buffer = buffer.subarray(4 + length)
      }
      rest[side] = lost[side] ? Buffer.alloc(0) : Buffer.from(buffer)
    },
    gap(fromOriginator) {
      lost[fromOriginator ? 0 : 1] = true
    },
    end: kerberos.end,
  }
}

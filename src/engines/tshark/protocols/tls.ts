/**
 * TLS and DTLS: one ssl record a connection, written when the handshake is complete or when the flow ends,
 * and an x509 record for each certificate that was sent in the clear.
 *
 * Reads records up to the end of the handshake; what comes after is ciphertext and is skipped. Where the secrets of a
 * session over TCP are known, it is decrypted: its certificates are found in TLS 1.3 as well, and what it carries is handed
 * to the protocol that recognizes it, as if the flow had begun there.
 */

import type { Dissector, Protocol, Session } from './protocol.ts'
import { cipherName } from './tls-ciphers.ts'
import { createDecryption, type Plain } from './tls-decryption.ts'
import {
  certificates,
  certificates13,
  clientHello,
  encryptedExtensions,
  type Hello,
  namedCurve,
  serverHello,
  stapledResponse,
} from './tls-handshake.ts'
import { alertName, curveName, HANDSHAKE_LETTERS, isTls13, versionName } from './tls-names.ts'
import { reportViolation } from './violation.ts'
import { type Certificate, matchesHost, parseCertificate } from './x509.ts'

const CHANGE_CIPHER_SPEC = 20
const ALERT = 21
const HANDSHAKE = 22
const APPLICATION_DATA = 23
const HEARTBEAT = 24
const MAX_HISTORY = 100
const MAX_HANDSHAKE_BYTES = 1 << 20
const MAX_RECORD_BYTES = 18432
const RECORD_HEADER_BYTES = 5
const DTLS_HEADER_BYTES = 13

/** What TLS carries on ports of its own; elsewhere, and on others, what it carries is recognized. */
const CARRIED: Record<number, string> = { 636: 'ldap_tcp', 993: 'imap', 995: 'pop3', 5223: 'xmpp' }

export const ssl: Protocol = {
  name: 'ssl',
  logs: ['ssl', 'x509', 'analyzer'],
  tcpPorts: [443, 563, 585, 614, 636, 989, 990, 992, 993, 995, 5223],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const first = isClientHello(originator)
    return first === false ? isClientHello(responder) : first
  },
  dissect: (session) => overTcp(session),
}

export const dtls: Protocol = {
  name: 'dtls',
  logs: ['ssl', 'x509'],
  recognize(originator, responder, transport) {
    if (transport !== 'udp') return false
    const isDtls = (bytes: Buffer) =>
      bytes.length >= 25 && bytes[0] === HANDSHAKE && bytes[1] === 0xfe && bytes[13] === 1
    // STUN may come first, on the same ports.
    return isDtls(originator) || isDtls(responder) ? true : undefined
  },
  dissect: (session) => overUdp(session),
}

function isClientHello(bytes: Buffer): boolean | undefined {
  if (bytes.length < 6)
    return bytes.length === 0 ? undefined : bytes[0] === HANDSHAKE || (bytes[0] ?? 0) >= 0x80 ? undefined : false
  if (bytes[0] === HANDSHAKE && bytes[1] === 3) return bytes[5] === 1
  return isSsl2Hello(bytes)
}

/** CLIENT-HELLO of SSL 2, or in its form of SSL 3 and TLS (RFC 5246, appendix E.2). */
function isSsl2Hello(bytes: Buffer): boolean {
  const version = bytes.length >= 5 ? bytes.readUInt16BE(3) : 0
  return (bytes[0] ?? 0) >= 0x80 && bytes[2] === 1 && (version === 2 || (version >= 0x0300 && version <= 0x0303))
}

interface Handshake {
  /** @param header the bytes before it, of TLS over TCP */
  record(fromOriginator: boolean, type: number, body: Buffer, ts: number, encrypted?: boolean, header?: Buffer): void
  message(fromOriginator: boolean, type: number, body: Buffer, ts: number): void
  version(): number
  done(): boolean
  /** The client's hello is there. */
  begun(): boolean
  lost(): void
  finished(fromOriginator: boolean, ts: number): void
  end(ts: number): void
  mark(fromClient: boolean, letter: string): void
  ssl2(kind: 'client' | 'server', values: { cipher?: number; certificate?: Buffer }, ts: number): void
}

function createHandshake(session: Session, isDtls: boolean): Handshake {
  const start: { ts?: number } = {}
  let history = ''
  let flipped = false
  let [client, server]: (Hello | undefined)[] = [undefined, undefined]
  let version: number | undefined
  let cipher: number | undefined
  let curve: number | undefined
  let lastAlert: string | undefined
  let nextProtocol: string | undefined
  let [logged, established, keyExchanged] = [false, false, false]
  /** [client, server] */
  const changed = [false, false]
  const encryptedSeen = [false, false]
  const chains: Certificate[][] = [[], []]
  let certificatesSeen = false
  const buffers: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)]
  const secretBuffers: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)]
  const decryption = isDtls || session.tlsKeys === undefined ? undefined : createDecryption(session.tlsKeys)
  let tunnel: Dissector | undefined
  let isTunnel = false

  const fromClient = (fromOriginator: boolean) => fromOriginator !== flipped

  function mark(isClient: boolean, letter: string): void {
    if (!logged && history.length < MAX_HISTORY) history += isClient ? letter.toUpperCase() : letter
  }

  function write(ts: number): void {
    if (logged) return
    logged = true
    const leaf = chains[1]?.[0]
    const fps = (chain: Certificate[] | undefined) =>
      certificatesSeen ? (chain ?? []).map((c) => c.fingerprint) : undefined
    session.emit('ssl', start.ts ?? ts, {
      version: version === undefined ? undefined : versionName(version),
      cipher: cipher === undefined ? undefined : cipherName(cipher),
      curve: curve === undefined ? undefined : curveName(curve),
      server_name: client?.serverName,
      resumed: resumed(),
      last_alert: lastAlert,
      next_protocol: nextProtocol,
      established,
      ssl_history: history,
      cert_chain_fps: fps(chains[1]),
      client_cert_chain_fps: fps(chains[0]),
      sni_matches_cert:
        client?.serverName === undefined || leaf === undefined ? undefined : matchesHost(leaf, client.serverName),
    })
  }

  function resumed(): boolean {
    if (server === undefined || version === undefined) return false
    if (isTls13(version)) return server.psk
    const sameId = server.sessionId.length > 0 && client !== undefined && server.sessionId.equals(client.sessionId)
    return sameId || (established && client?.ticket === true && !keyExchanged && !certificatesSeen)
  }

  function checkEstablished(ts: number): void {
    if (established || server === undefined) return
    const both = version !== undefined && isTls13(version) ? encryptedSeen : changed
    if (!both[0] || !both[1]) return
    established = true
    writeOnce(ts)
  }

  /** Not before the certificates that can still be seen. */
  function writeOnce(ts: number): void {
    if (established && decryption?.isInHandshake !== true) write(ts)
  }

  function record(
    fromOriginator: boolean,
    type: number,
    body: Buffer,
    ts: number,
    encrypted = false,
    header?: Buffer,
  ): void {
    const isClient = fromClient(fromOriginator)
    const side = isClient ? 0 : 1
    if (client !== undefined && !isClient) session.confirm(isDtls ? 'dtls' : 'ssl')
    const tls13 = version !== undefined && isTls13(version)
    if (encrypted || type === APPLICATION_DATA || (changed[side] && !tls13)) {
      encryptedSeen[side] = true
      if (header !== undefined) decrypt(fromOriginator, header, body, ts)
      checkEstablished(ts)
      return
    }
    if (type === HANDSHAKE) handshakeBytes(fromOriginator, body, ts)
    else if (type === CHANGE_CIPHER_SPEC) {
      start.ts ??= ts
      mark(isClient, 'i')
      changed[side] = true
      decryption?.changed(isClient)
      checkEstablished(ts)
    } else if (type === ALERT && body.length === 2) {
      start.ts ??= ts
      lastAlert = alertName(body[1] ?? 255)
      mark(isClient, 'l')
    } else if (type === HEARTBEAT) mark(isClient, 'b')
  }

  function decrypt(fromOriginator: boolean, header: Buffer, body: Buffer, ts: number): void {
    const plain = decryption?.open(fromClient(fromOriginator), header, body)
    if (plain !== undefined) takePlain(fromOriginator, plain, ts)
    writeOnce(ts)
  }

  function takePlain(fromOriginator: boolean, { type, content }: Plain, ts: number): void {
    const isClient = fromClient(fromOriginator)
    if (type === APPLICATION_DATA) carry(fromOriginator, content, ts)
    else if (type === HANDSHAKE)
      cutMessages(secretBuffers, fromOriginator, content, (kind, body) => secretMessage(fromOriginator, kind, body, ts))
    else if (type === CHANGE_CIPHER_SPEC) decryption?.changed(isClient)
    else if (type === ALERT && content.length === 2 && !logged) lastAlert = alertName(content[1] ?? 255)
  }

  /** What anybody can see stays as it is in the record; certificates and the protocol are added. */
  function secretMessage(fromOriginator: boolean, type: number, body: Buffer, ts: number): void {
    const isClient = fromClient(fromOriginator)
    if (version !== undefined && isTls13(version)) {
      if (type === 8) nextProtocol = encryptedExtensions(body).protocol ?? nextProtocol
      else if (type === 11 && !logged) takeCertificates13(fromOriginator, body, ts)
      decryption?.message(isClient, type)
      return
    }
    // A handshake within the session: of its own keys alone is it told.
    const hello = type === 1 ? clientHello(body, false) : type === 2 ? serverHello(body) : undefined
    if (hello !== undefined && type === 1) decryption?.clientHello(hello)
    else if (hello !== undefined) decryption?.serverHello(hello)
  }

  function carry(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    if (!isTunnel) {
      isTunnel = true
      // HTTP/2 is no protocol of ours, nor of Zeek's.
      if (nextProtocol !== 'h2') tunnel = session.handOver(CARRIED[session.flow.respPort] ?? 'any', ts)
    }
    tunnel?.data(fromOriginator, bytes, ts)
  }

  function handshakeBytes(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    cutMessages(buffers, fromOriginator, bytes, (type, body) => message(fromOriginator, type, body, ts))
  }

  function cutMessages(
    kept: [Buffer, Buffer],
    fromOriginator: boolean,
    bytes: Buffer,
    onMessage: (type: number, body: Buffer) => void,
  ): void {
    const side = fromOriginator ? 0 : 1
    let buffer: Buffer = kept[side].length > 0 ? Buffer.concat([kept[side], bytes]) : bytes
    while (buffer.length >= 4) {
      const length = buffer.readUIntBE(1, 3)
      if (length > MAX_HANDSHAKE_BYTES) {
        buffer = buffer.subarray(buffer.length)
        break
      }
      if (buffer.length < 4 + length) break
      onMessage(buffer[0] as number, buffer.subarray(4, 4 + length))
      buffer = buffer.subarray(4 + length)
    }
    kept[side] = Buffer.from(buffer)
  }

  function message(fromOriginator: boolean, type: number, body: Buffer, ts: number): void {
    start.ts ??= ts
    if (type === 1 && client === undefined && !fromOriginator && !flipped) {
      flipped = true
      if (!logged) history += '^'
    }
    const isClient = fromClient(fromOriginator)
    if (type === 2) takeServerHello(fromOriginator, body, ts)
    else mark(isClient, HANDSHAKE_LETTERS[type] ?? 'z')
    if (type === 1) {
      const hello = clientHello(body, isDtls)
      client = hello ?? client
      if (hello !== undefined) decryption?.clientHello(hello)
      if (client !== undefined) session.confirm(isDtls ? 'dtls' : 'ssl')
    }
    if (type === 12) curve = namedCurve(body) ?? curve
    else if (type === 16) keyExchanged = true
    else if (type === 11 && !(version !== undefined && isTls13(version))) takeCertificates(isClient, body, ts)
    else if (type === 22) takeStaple(fromOriginator, body, ts)
  }

  function takeServerHello(fromOriginator: boolean, body: Buffer, ts: number): void {
    const hello = serverHello(body)
    mark(fromClient(fromOriginator), hello?.retry === true ? 'j' : 's')
    if (hello === undefined) return
    session.confirm(isDtls ? 'dtls' : 'ssl')
    server = hello
    version = hello.selectedVersion ?? hello.version
    cipher = hello.cipher
    curve = hello.keyShareGroup ?? curve
    nextProtocol = hello.protocol ?? nextProtocol
    for (const plain of decryption?.serverHello(hello) ?? []) takePlain(!fromOriginator, plain, ts)
  }

  function takeCertificates(isClient: boolean, body: Buffer, ts: number): void {
    certificatesSeen = true
    const chain = chains[isClient ? 0 : 1] as Certificate[]
    for (const der of certificates(body)) takeCertificate(chain, isClient, der, ts)
  }

  function takeCertificates13(fromOriginator: boolean, body: Buffer, ts: number): void {
    certificatesSeen = true
    const isClient = fromClient(fromOriginator)
    const chain = chains[isClient ? 0 : 1] as Certificate[]
    for (const { der, status } of certificates13(body)) {
      takeCertificate(chain, isClient, der, ts)
      if (status !== undefined) takeStaple(fromOriginator, status, ts)
    }
  }

  function takeCertificate(chain: Certificate[], isClient: boolean, der: Buffer, ts: number): void {
    const certificate = parseCertificate(der)
    if (certificate === undefined || chain.length >= 100) return
    const { fingerprint, fields } = certificate
    session.emitBare('x509', ts, { fingerprint, ...fields, host_cert: chain.length === 0, client_cert: isClient })
    chain.push(certificate)
  }

  function takeStaple(fromOriginator: boolean, body: Buffer, ts: number): void {
    const response = stapledResponse(body)
    if (response === undefined) return
    const file = session.file('SSL', fromOriginator, ts)
    file.knownMime = 'application/ocsp-response'
    file.data(response, ts)
    file.end(ts)
  }

  function ssl2(kind: 'client' | 'server', values: { cipher?: number; certificate?: Buffer }, ts: number): void {
    start.ts ??= ts
    mark(kind === 'client', kind === 'client' ? 'c' : 's')
    if (kind === 'client') return
    session.confirm('ssl')
    version = 2
    cipher = values.cipher
    if (values.certificate !== undefined) {
      certificatesSeen = true
      takeCertificate(chains[1] as Certificate[], false, values.certificate, ts)
    }
    established = true
    write(ts)
  }

  return {
    record,
    message,
    mark,
    ssl2,
    version: () => version ?? 0,
    done: () => logged && decryption?.isActive !== true,
    begun: () => client !== undefined,
    lost: () => decryption?.lost(),
    finished: (fromOriginator, ts) => tunnel?.finished?.(fromOriginator, ts),
    end: (ts) => {
      if (start.ts !== undefined) write(ts)
      tunnel?.end?.(ts)
    },
  }
}

interface Progress {
  lost: boolean
  first: boolean
}

function overTcp(session: Session): Dissector {
  const handshake = createHandshake(session, false)
  const rest: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)]
  const state: [Progress, Progress] = [
    { lost: false, first: true },
    { lost: false, first: true },
  ]
  let ssl2 = false

  /** @returns bytes used, 0: more is needed, -1: this is no TLS. */
  function take(fromOriginator: boolean, buffer: Buffer, first: boolean, ts: number): number {
    if (ssl2) return takeSsl2(fromOriginator, buffer, ts)
    if (first && buffer.length >= 5 && isSsl2Hello(buffer)) {
      const length = 2 + (buffer.readUInt16BE(0) & 0x7fff)
      if (buffer.length < length) return length > 4096 ? -1 : 0
      handshake.ssl2('client', {}, ts)
      ssl2 = buffer.readUInt16BE(3) === 2
      return length
    }
    if (buffer.length < 5) return 0
    const [type, length] = [buffer[0] as number, buffer.readUInt16BE(3)]
    if (handshake.begun() && buffer[1] !== 3 && buffer[1] !== 0x7f) {
      const reason = `Invalid version late in TLS connection. Packet reported version: ${buffer.readUInt16BE(1)}`
      reportViolation(session, ts, { analyzer: 'SSL', service: 'ssl', reason })
      return -1
    }
    const known = type >= CHANGE_CIPHER_SPEC && type <= HEARTBEAT
    if (!known || (buffer[1] !== 3 && buffer[1] !== 0x7f) || length > MAX_RECORD_BYTES) return -1
    if (buffer.length < 5 + length) return 0
    const [header, body] = [buffer.subarray(0, RECORD_HEADER_BYTES), buffer.subarray(5, 5 + length)]
    handshake.record(fromOriginator, type, body, ts, false, header)
    return 5 + length
  }

  /** SERVER-HELLO of SSL 2: certificate and the ciphers that both know. */
  function takeSsl2(fromOriginator: boolean, buffer: Buffer, ts: number): number {
    if (fromOriginator) return buffer.length
    if (buffer.length < 13) return 0
    const length = 2 + (buffer.readUInt16BE(0) & 0x7fff)
    if (buffer[2] !== 4) return -1
    if (buffer.length < length) return 0
    const [certificateBytes, cipherBytes] = [buffer.readUInt16BE(7), buffer.readUInt16BE(9)]
    const certificate = buffer.subarray(13, 13 + certificateBytes)
    const ciphers = buffer.subarray(13 + certificateBytes, 13 + certificateBytes + cipherBytes)
    handshake.ssl2('server', { certificate, cipher: ciphers.length >= 3 ? ciphers.readUIntBE(0, 3) : undefined }, ts)
    return length
  }

  function lose(): void {
    for (const each of state) each.lost = true
    handshake.lost()
  }

  return {
    data(fromOriginator, bytes, ts) {
      const side = fromOriginator ? 0 : 1
      if (state[side].lost || handshake.done()) return
      let buffer: Buffer = rest[side].length > 0 ? Buffer.concat([rest[side], bytes]) : bytes
      while (buffer.length > 0) {
        const used = take(fromOriginator, buffer, state[side].first, ts)
        if (used < 0) {
          lose()
          return
        }
        if (used === 0) break
        state[side].first = false
        buffer = buffer.subarray(used)
      }
      rest[side] = Buffer.from(buffer)
    },
    gap: lose,
    finished: handshake.finished,
    end: handshake.end,
    // What is encrypted says nothing more.
    isDone: () => handshake.done() || (state[0].lost && state[1].lost),
  }
}

interface Fragments {
  type: number
  length: number
  body: Buffer
  have: number
}

/** RFC 6347: records in datagrams; handshake messages in numbered fragments. */
function overUdp(session: Session): Dissector {
  const handshake = createHandshake(session, true)
  const pending: [Map<number, Fragments>, Map<number, Fragments>] = [new Map(), new Map()]
  const seen: [Set<number>, Set<number>] = [new Set(), new Set()]

  function record(fromOriginator: boolean, type: number, epoch: number, body: Buffer, ts: number): void {
    if (epoch > 0) handshake.record(fromOriginator, type, body, ts, true)
    else if (type === HANDSHAKE) fragments(fromOriginator, body, ts)
    else handshake.record(fromOriginator, type, body, ts)
  }

  function fragments(fromOriginator: boolean, body: Buffer, ts: number): void {
    for (let at = 0; at + 12 <= body.length; ) {
      const [type, length, number] = [body[at] as number, body.readUIntBE(at + 1, 3), body.readUInt16BE(at + 4)]
      const [offset, size] = [body.readUIntBE(at + 6, 3), body.readUIntBE(at + 9, 3)]
      const part = body.subarray(at + 12, at + 12 + size)
      if (part.length < size || offset + size > length || length > MAX_RECORD_BYTES * 8) return
      at += 12 + size
      assemble(fromOriginator, number, type, length, offset, part, ts)
    }
  }

  function assemble(
    fromOriginator: boolean,
    number: number,
    type: number,
    length: number,
    offset: number,
    part: Buffer,
    ts: number,
  ): void {
    const side = fromOriginator ? 0 : 1
    if (seen[side].has(number)) return
    let whole = pending[side].get(number)
    if (whole === undefined) {
      if (pending[side].size > 50) return
      whole = { type, length, body: Buffer.alloc(length), have: 0 }
      pending[side].set(number, whole)
    }
    if (whole.length !== length) return
    part.copy(whole.body, offset)
    whole.have += part.length
    if (whole.have < length) return
    pending[side].delete(number)
    if (seen[side].size < 1000) seen[side].add(number)
    handshake.message(fromOriginator, whole.type, whole.body, ts)
  }

  return {
    data(fromOriginator, bytes, ts) {
      for (let at = 0; at < bytes.length && !handshake.done(); ) {
        // DTLS 1.3's short header of ciphertext (RFC 9147, 4).
        if (((bytes[at] as number) & 0xe0) === 0x20) {
          handshake.record(fromOriginator, APPLICATION_DATA, bytes.subarray(at), ts, true)
          return
        }
        if (at + DTLS_HEADER_BYTES > bytes.length || bytes[at + 1] !== 0xfe) return
        const length = bytes.readUInt16BE(at + 11)
        const body = bytes.subarray(at + DTLS_HEADER_BYTES, at + DTLS_HEADER_BYTES + length)
        if (body.length < length) return
        record(fromOriginator, bytes[at] as number, bytes.readUInt16BE(at + 3), body, ts)
        at += DTLS_HEADER_BYTES + length
      }
    },
    end: handshake.end,
    isDone: handshake.done,
  }
}

/**
 * The handshake messages of TLS and DTLS that the ssl log tells of (RFC 5246, 8446, 6347, 9147): bodies
 * without their headers in, plain values out; what is cut or wrong reads as far as it goes.
 */

import { textOf } from './text.ts'

export interface Hello {
  version: number
  /** The downgrade-safe record of TLS 1.3's HelloRetryRequest. */
  retry: boolean
  random: Buffer
  sessionId: Buffer
  cipher?: number
  serverName?: string
  /** What supported_versions of a ServerHello chose. */
  selectedVersion?: number
  keyShareGroup?: number
  protocol?: string
  /** A session ticket with content. */
  ticket: boolean
  psk: boolean
  /** The client sends before it has an answer (RFC 8446, 4.2.10). */
  earlyData: boolean
  /** RFC 7366. */
  encryptThenMac: boolean
}

/** SHA-256 of "HelloRetryRequest" (RFC 8446, 4.1.3). */
const RETRY_RANDOM = 'cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c'

const SERVER_NAME = 0
const STATUS_REQUEST = 5
const ALPN = 16
const SESSION_TICKET = 35
const ENCRYPT_THEN_MAC = 22
const PRE_SHARED_KEY = 41
const EARLY_DATA = 42
const SUPPORTED_VERSIONS = 43
const KEY_SHARE = 51
const KEY_SHARE_OLD = 40

/** Version and random are where they are in every version's hello. */
function emptyHello(body: Buffer): Hello {
  return {
    ...{ version: body.readUInt16BE(0), random: Buffer.from(body.subarray(2, 34)), sessionId: Buffer.alloc(0) },
    ...{ retry: false, ticket: false, psk: false, earlyData: false, encryptThenMac: false },
  }
}

export function clientHello(body: Buffer, isDtls: boolean): Hello | undefined {
  if (body.length < 35) return undefined
  const hello = emptyHello(body)
  let at = readSessionId(body, hello)
  if (isDtls) at += 1 + (body[at] ?? 0)
  if (at + 2 > body.length) return hello
  at += 2 + body.readUInt16BE(at)
  at += 1 + (body[at] ?? 0)
  for (const [type, data] of extensions(body, at)) {
    if (type === SERVER_NAME) hello.serverName ??= hostName(data)
    else if (type === SESSION_TICKET) hello.ticket = data.length > 0
    else if (type === PRE_SHARED_KEY) hello.psk = true
    else if (type === EARLY_DATA) hello.earlyData = true
  }
  return hello
}

export function serverHello(body: Buffer): Hello | undefined {
  if (body.length < 34) return undefined
  const hello = emptyHello(body)
  hello.retry = hello.random.toString('hex') === RETRY_RANDOM
  // The drafts up to 21 have neither a session id nor a compression method here.
  const draft = hello.version >>> 8 === 0x7f
  const experimental = hello.version >>> 8 >= 0x7e
  let at = draft ? 34 : readSessionId(body, hello)
  if (at + 2 > body.length) return hello
  hello.cipher = body.readUInt16BE(at)
  at += draft ? 2 : 3
  for (const [type, data] of extensions(body, at)) {
    if (type === SUPPORTED_VERSIONS && data.length === 2) hello.selectedVersion = data.readUInt16BE(0)
    else if ((type === KEY_SHARE || (type === KEY_SHARE_OLD && experimental)) && data.length >= 2)
      hello.keyShareGroup = data.readUInt16BE(0)
    else if (type === ALPN) hello.protocol = chosenProtocol(data)
    else if (type === ENCRYPT_THEN_MAC) hello.encryptThenMac = true
    else if (type === PRE_SHARED_KEY) hello.psk = true
  }
  return hello
}

/** RFC 7301, 3.1: a list of one. */
function chosenProtocol(data: Buffer): string | undefined {
  return data.length > 3 ? textOf(data.subarray(3, 3 + (data[2] ?? 0))) : undefined
}

/** What of TLS 1.3's EncryptedExtensions is logged. */
export function encryptedExtensions(body: Buffer): Pick<Hello, 'protocol'> {
  for (const [type, data] of extensions(body, 0)) {
    const protocol = type === ALPN ? chosenProtocol(data) : undefined
    if (protocol !== undefined) return { protocol }
  }
  return {}
}

function readSessionId(body: Buffer, hello: Hello): number {
  const length = body[34] ?? 0
  hello.sessionId = Buffer.from(body.subarray(35, 35 + length))
  return 35 + length
}

function* extensions(body: Buffer, at: number): Generator<[number, Buffer]> {
  if (at + 2 > body.length) return
  const end = Math.min(body.length, at + 2 + body.readUInt16BE(at))
  let next = at + 2
  while (next + 4 <= end) {
    const length = body.readUInt16BE(next + 2)
    if (next + 4 + length > end) return
    yield [body.readUInt16BE(next), body.subarray(next + 4, next + 4 + length)]
    next += 4 + length
  }
}

/** RFC 6066, 3: a list of which only the first host name counts. */
function hostName(data: Buffer): string | undefined {
  if (data.length < 5 || data[2] !== 0) return undefined
  const length = data.readUInt16BE(3)
  return length === 0 ? undefined : textOf(data.subarray(5, 5 + length))
}

/** The named curve of an ECDHE ServerKeyExchange (RFC 8422, 5.4). */
export function namedCurve(body: Buffer): number | undefined {
  return body.length >= 3 && body[0] === 3 ? body.readUInt16BE(1) : undefined
}

/** The certificates of a Certificate message up to TLS 1.2. */
export function* certificates(body: Buffer): Generator<Buffer> {
  if (body.length < 3) return
  const end = Math.min(body.length, 3 + body.readUIntBE(0, 3))
  for (let at = 3; at + 3 <= end; ) {
    const length = body.readUIntBE(at, 3)
    if (length === 0 || at + 3 + length > end) return
    yield body.subarray(at + 3, at + 3 + length)
    at += 3 + length
  }
}

/** Those of TLS 1.3 (RFC 8446, 4.4.2), each with the CertificateStatus beside it, if any. */
export function* certificates13(body: Buffer): Generator<{ der: Buffer; status?: Buffer }> {
  let at = 1 + (body[0] ?? 0) + 3
  const end = at > body.length ? 0 : Math.min(body.length, at + body.readUIntBE(at - 3, 3))
  while (at + 3 <= end) {
    const length = body.readUIntBE(at, 3)
    const next = at + 3 + length
    if (length === 0 || next + 2 > end) return
    const [status] = [...extensions(body.subarray(0, end), next)].filter(([type]) => type === STATUS_REQUEST)
    yield { der: body.subarray(at + 3, next), ...(status ? { status: status[1] } : {}) }
    at = next + 2 + body.readUInt16BE(next)
  }
}

/** The OCSP response of a CertificateStatus message (RFC 6066, 8). */
export function stapledResponse(body: Buffer): Buffer | undefined {
  if (body.length < 4 || body[0] !== 1) return undefined
  const length = body.readUIntBE(1, 3)
  return length > 0 && 4 + length <= body.length ? body.subarray(4, 4 + length) : undefined
}

/**
 * RDP's connection sequence from its bytes (MS-RDPBCGR 2.2.1): X.224 connection PDUs with the negotiation, and
 * what client and server put into T.125's Connect-Initial and Connect-Response (GCC user data). In: one TPKT
 * packet without its header.
 */

import { textOf, textOfUtf16 } from './text.ts'

export interface ConnectionRequest {
  kind: 'request'
  cookie: string
}

/** What breaks the negotiation. */
export interface Nonsense {
  kind: 'nonsense'
}

export interface ConnectionConfirm {
  kind: 'confirm'
  selectedProtocol?: number
  failure?: number
}

export interface ClientData {
  kind: 'client'
  width?: number
  height?: number
  keyboardLayout?: number
  build?: number
  name?: string
  digProductId?: string
  highColorDepth?: number
  wants32Bit?: boolean
  channels?: string[]
}

export interface ServerData {
  kind: 'server'
  result?: number
  encryptionMethod?: number
  encryptionLevel?: number
  certificateType?: number
  certificateCount: number
  certificatePermanent?: boolean
}

export type RdpPacket = ConnectionRequest | ConnectionConfirm | ClientData | ServerData | Nonsense

const CONNECTION_REQUEST = 0xe0
const CONNECTION_CONFIRM = 0xd0
const DATA = 0xf0
const CONNECT_INITIAL = 0x7f65
const CONNECT_RESPONSE = 0x7f66
const NEGOTIATION_RESPONSE = 2
const NEGOTIATION_FAILURE = 3
const NEGOTIATION_BYTES = 8
const WANT_32_BIT = 2
const MAX_CHANNELS = 31
const MAX_BLOCKS = 20
const MAX_CERTIFICATES = 100
const COOKIE = 'Cookie: mstshash='

/** undefined: nothing that the log wants. */
export function parseRdp(bytes: Buffer): RdpPacket | undefined {
  const type = bytes[1]
  if (type === CONNECTION_REQUEST) return { kind: 'request', cookie: cookieOf(bytes.subarray(7)) }
  if (type === CONNECTION_CONFIRM) return confirmOf(bytes.subarray(7))
  if (type !== DATA || bytes.length < 5) return undefined
  const tag = bytes.readUInt16BE(3)
  if (tag === CONNECT_INITIAL) return clientOf(bytes)
  return tag === CONNECT_RESPONSE ? serverOf(bytes) : undefined
}

function cookieOf(variable: Buffer): string {
  const start = variable.indexOf(COOKIE)
  if (start < 0) return ''
  const end = variable.indexOf('\r\n', start)
  return textOf(variable.subarray(start + COOKIE.length, end < 0 ? undefined : end))
}

function confirmOf(variable: Buffer): ConnectionConfirm | Nonsense {
  if (variable.length < 8) return { kind: 'confirm' }
  if (variable.readUInt16LE(2) !== NEGOTIATION_BYTES) return { kind: 'nonsense' }
  const [type, value] = [variable[0], variable.readUInt32LE(4)]
  return {
    kind: 'confirm',
    selectedProtocol: type === NEGOTIATION_RESPONSE ? value : undefined,
    failure: type === NEGOTIATION_FAILURE ? value : undefined,
  }
}

/** GCC user data: behind the key (H.221), a PER length, then blocks of type, length, content. */
function blocksOf(bytes: Buffer, key: string): { type: number; body: Buffer }[] {
  const at = bytes.indexOf(key, 0, 'latin1')
  if (at < 0) return []
  let from = at + key.length
  from += ((bytes[from] ?? 0) & 0x80) !== 0 ? 2 : 1
  const blocks: { type: number; body: Buffer }[] = []
  while (from + 4 <= bytes.length && blocks.length < MAX_BLOCKS) {
    const length = bytes.readUInt16LE(from + 2)
    if (length < 4 || from + length > bytes.length) break
    blocks.push({ type: bytes.readUInt16LE(from), body: bytes.subarray(from + 4, from + length) })
    from += length
  }
  return blocks
}

/** Numbers are left out where a block is too short for them: older clients send less. */
const u16 = (body: Buffer, at: number) => (at + 2 <= body.length ? body.readUInt16LE(at) : undefined)
const u32 = (body: Buffer, at: number) => (at + 4 <= body.length ? body.readUInt32LE(at) : undefined)

function clientOf(bytes: Buffer): ClientData {
  const data: ClientData = { kind: 'client' }
  for (const { type, body } of blocksOf(bytes, 'Duca')) {
    if (type === 0xc001) Object.assign(data, coreOf(body))
    else if (type === 0xc003) data.channels = channelsOf(body)
  }
  return data
}

function coreOf(body: Buffer): Partial<ClientData> {
  const flags = u16(body, 140)
  return {
    width: u16(body, 4),
    height: u16(body, 6),
    keyboardLayout: u32(body, 12),
    build: u32(body, 16),
    name: body.length >= 52 ? zeroEnded(body.subarray(20, 52)) : undefined,
    highColorDepth: u16(body, 136),
    wants32Bit: flags === undefined ? undefined : (flags & WANT_32_BIT) !== 0,
    digProductId: body.length >= 206 ? zeroEnded(body.subarray(142, 206)) : undefined,
  }
}

function zeroEnded(utf16: Buffer): string {
  let end = 0
  while (end + 1 < utf16.length && (utf16[end] !== 0 || utf16[end + 1] !== 0)) end += 2
  return textOfUtf16(utf16.subarray(0, end))
}

/** Channel definitions: eight bytes of name, four of options. */
function channelsOf(body: Buffer): string[] {
  const names: string[] = []
  const count = Math.min(u32(body, 0) ?? 0, MAX_CHANNELS)
  for (let at = 4; names.length < count && at + 12 <= body.length; at += 12) {
    const name = body.subarray(at, at + 8)
    const end = name.indexOf(0)
    names.push(textOf(end < 0 ? name : name.subarray(0, end)))
  }
  return names
}

function serverOf(bytes: Buffer): ServerData {
  const data: ServerData = { kind: 'server', result: resultOf(bytes), certificateCount: 0 }
  const security = blocksOf(bytes, 'McDn').find(({ type }) => type === 0x0c02)
  if (security === undefined) return data
  const { body } = security
  data.encryptionMethod = u32(body, 0)
  data.encryptionLevel = u32(body, 4)
  const randomBytes = u32(body, 8)
  const certificateBytes = u32(body, 12)
  if (randomBytes === undefined || certificateBytes === undefined) return data
  const certificate = body.subarray(16 + randomBytes, 16 + randomBytes + certificateBytes)
  return Object.assign(data, certificateOf(certificate))
}

/** The first element inside Connect-Response: ENUMERATED result. */
function resultOf(bytes: Buffer): number | undefined {
  const length = bytes[5] ?? 0
  const at = length < 0x80 ? 6 : 6 + (length & 0x7f)
  return bytes[at] === 0x0a && bytes[at + 1] === 1 ? bytes[at + 2] : undefined
}

/** SERVER_CERTIFICATE: version with a bit for temporary ones; a chain tells how many there are. */
function certificateOf(bytes: Buffer): Partial<ServerData> {
  const version = u32(bytes, 0)
  if (version === undefined) return {}
  const type = version & 0x7fff_ffff
  const count = type === 2 ? Math.min(u32(bytes, 4) ?? 0, MAX_CERTIFICATES) : 1
  return { certificateType: type, certificateCount: count, certificatePermanent: version >>> 31 === 0 }
}

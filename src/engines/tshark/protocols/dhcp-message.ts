/**
 * DHCP messages from their bytes (RFC 2131, 2132): the fixed part and the options that the dhcp log tells of.
 * What is cut reads as far as it goes.
 */

import { ipv4Text, textOf } from './text.ts'

export interface DhcpMessage {
  fromServer: boolean
  /** Undefined in plain BOOTP. */
  type?: number
  transaction: number
  clientMac: string
  assignedAddr?: string
  requestedAddr?: string
  leaseSeconds?: number
  hostName?: string
  domain?: string
  clientFqdn?: string
  message?: string
}

const FIXED_BYTES = 236
const COOKIE = 0x63825363
const PAD = 0
const END = 255
const NO_ADDRESS = '0.0.0.0'

/** Is there the fixed part, and behind it the cookie that options begin with? */
export const isDhcp = (bytes: Buffer) => bytes.length >= FIXED_BYTES + 4 && bytes.readUInt32BE(FIXED_BYTES) === COOKIE

type Reader = (value: Buffer) => Partial<DhcpMessage>

const number = (value: Buffer, bytes: number) => (value.length >= bytes ? value.readUIntBE(0, bytes) : undefined)

/** Option number → what it tells (RFC 2132; 81: RFC 4702). */
const OPTIONS: Record<number, Reader> = {
  12: (value) => ({ hostName: textOf(value) }),
  15: (value) => ({ domain: textOf(withoutNuls(value)) }),
  50: (value) => (value.length >= 4 ? { requestedAddr: ipv4Text(value, 0) } : {}),
  51: (value) => ({ leaseSeconds: number(value, 4) }),
  53: (value) => ({ type: number(value, 1) }),
  56: (value) => ({ message: textOf(value) }),
  81: (value) => (value.length >= 3 ? { clientFqdn: textOf(value.subarray(3)) } : {}),
}

/** undefined: this is no BOOTP message. */
export function parseDhcp(bytes: Buffer): DhcpMessage | undefined {
  const op = bytes[0]
  if (bytes.length < FIXED_BYTES || (op !== 1 && op !== 2)) return undefined
  const assigned = ipv4Text(bytes, 16)
  const message: DhcpMessage = {
    fromServer: op === 2,
    transaction: bytes.readUInt32BE(4),
    clientMac: macText(bytes.subarray(28, 34)),
    assignedAddr: assigned === NO_ADDRESS ? undefined : assigned,
  }
  if (!isDhcp(bytes)) return message
  for (let at = FIXED_BYTES + 4; at < bytes.length; ) {
    const option = bytes[at++] as number
    if (option === PAD) continue
    if (option === END) break
    const length = bytes[at++] ?? 0
    if (at + length > bytes.length) break
    Object.assign(message, OPTIONS[option]?.(bytes.subarray(at, at + length)))
    at += length
  }
  return message
}

const macText = (bytes: Buffer) => bytes.toString('hex').replace(/..(?=.)/g, '$&:')

function withoutNuls(value: Buffer): Buffer {
  let end = value.length
  while (end > 0 && value[end - 1] === 0) end--
  return value.subarray(0, end)
}

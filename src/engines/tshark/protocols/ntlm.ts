/**
 * NTLM (MS-NLMP), wherever it is carried: SMB, DCE/RPC, LDAP, alone or in SPNEGO. In: its three messages.
 * Out: one ntlm record a flow, written when SPNEGO tells the result, else at the flow's end.
 */

import type { Session } from './protocol.ts'
import { textOf, textOfUtf16 } from './text.ts'

const NEGOTIATE = 1
const CHALLENGE = 2
const AUTHENTICATE = 3
const UNICODE = 1
const SIGNATURE = Buffer.from('NTLMSSP\0', 'latin1')
const MAX_AV_PAIRS = 64

/** MS-NLMP 2.2.2.1: AV_PAIR ids → our fields. */
const AV_FIELDS: Record<number, 'serverName' | 'serverDnsName' | 'serverTree'> = {
  1: 'serverName',
  3: 'serverDnsName',
  5: 'serverTree',
}

export interface NtlmMessage {
  type: number
  user?: string
  domain?: string
  workstation?: string
  serverName?: string
  serverDnsName?: string
  serverTree?: string
}

export const isNtlm = (bytes: Buffer) => bytes.length >= 12 && bytes.subarray(0, 8).equals(SIGNATURE)

/** undefined: no NTLM message. Parts that point outside of it are left out. */
export function parseNtlm(bytes: Buffer): NtlmMessage | undefined {
  if (!isNtlm(bytes)) return undefined
  const type = bytes.readUInt32LE(8)
  if (type === NEGOTIATE) return { type }
  if (type === CHALLENGE) return bytes.length < 32 ? undefined : { type, ...targetInfo(part(bytes, 40)) }
  if (type !== AUTHENTICATE || bytes.length < 52) return undefined
  const flags = bytes.length >= 64 ? bytes.readUInt32LE(60) : UNICODE
  const text = (at: number) => {
    const value = part(bytes, at)
    if (value.length === 0) return undefined
    return (flags & UNICODE) !== 0 ? textOfUtf16(value) : textOf(value)
  }
  return { type, domain: text(28), user: text(36), workstation: text(44) }
}

/** Length, room, offset: 2, 2 and 4 bytes. */
function part(bytes: Buffer, at: number): Buffer {
  if (at + 8 > bytes.length) return Buffer.alloc(0)
  const [length, offset] = [bytes.readUInt16LE(at), bytes.readUInt32LE(at + 4)]
  return offset + length > bytes.length ? Buffer.alloc(0) : bytes.subarray(offset, offset + length)
}

function targetInfo(bytes: Buffer): Partial<NtlmMessage> {
  const found: Partial<NtlmMessage> = {}
  for (let at = 0, pairs = 0; at + 4 <= bytes.length && pairs < MAX_AV_PAIRS; pairs++) {
    const [id, length] = [bytes.readUInt16LE(at), bytes.readUInt16LE(at + 2)]
    if (id === 0 || at + 4 + length > bytes.length) break
    const field = AV_FIELDS[id]
    if (field !== undefined) found[field] = textOfUtf16(bytes.subarray(at + 4, at + 4 + length))
    at += 4 + length
  }
  return found
}

export interface Ntlm {
  message(bytes: Buffer, ts: number): void
  /** SPNEGO's verdict on what was authenticated. */
  result(accepted: boolean): void
  end(): void
}

export function createNtlm(session: Session): Ntlm {
  const seen: Omit<NtlmMessage, 'type'> = {}
  let start: number | undefined
  let authenticated = false
  let success: boolean | undefined
  let written = false

  function write(): void {
    if (written || start === undefined) return
    written = true
    session.emit('ntlm', start, {
      username: seen.user,
      hostname: seen.workstation,
      domainname: seen.domain,
      server_nb_computer_name: seen.serverName,
      server_dns_computer_name: seen.serverDnsName,
      server_tree_name: seen.serverTree,
      success,
    })
  }

  return {
    message(bytes, ts) {
      const message = parseNtlm(bytes)
      if (message === undefined || written) return
      start ??= ts
      const { type, ...fields } = message
      session.confirm('ntlm')
      if (type === AUTHENTICATE) authenticated = true
      for (const [name, value] of Object.entries(fields)) {
        if (value !== undefined) seen[name as keyof typeof seen] = value
      }
    },
    result(accepted) {
      if (!authenticated || written) return
      success = accepted
      write()
    },
    end: write,
  }
}

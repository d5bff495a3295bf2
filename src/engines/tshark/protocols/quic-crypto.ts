/**
 * What of QUIC anyone can read: Initial packets, whose keys follow from the client's first connection id
 * (RFC 9001, 5; RFC 9369 for version 2; the drafts before them by their own salts).
 */

import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto'
import { expandLabel } from './tls-crypto.ts'

export interface InitialKeys {
  key: Buffer
  iv: Buffer
  headerKey: Buffer
}

export const VERSION_1 = 1
export const VERSION_2 = 0x6b3343cf

const SALT_1 = '38762cf7f55934b34d179ae6a4c80cadccbb7f0a'
const SALT_2 = '0dede3def700a6db819381be6e269dcbf9bd2ed9'
const SALT_DRAFT_29 = 'afbfec289993d24c9e9786f19c6111e04390a899'
const SALT_DRAFT_23 = 'c3eef712c72ebb5a11a7d2432bb46365bef9f502'
const DRAFT = 0xff000000
const TAG_BYTES = 16
const SAMPLE_BYTES = 16

function saltOf(version: number): string | undefined {
  if (version === VERSION_1) return SALT_1
  if (version === VERSION_2) return SALT_2
  const draft = version - DRAFT
  if (draft >= 33 && draft <= 34) return SALT_1
  if (draft >= 29 && draft <= 32) return SALT_DRAFT_29
  return draft >= 23 && draft <= 28 ? SALT_DRAFT_23 : undefined
}

/** Keys of both sides; undefined for a version whose salt is not known. */
export function initialKeys(
  version: number,
  connectionId: Buffer,
): { client: InitialKeys; server: InitialKeys } | undefined {
  const salt = saltOf(version)
  if (salt === undefined) return undefined
  const secret = createHmac('sha256', Buffer.from(salt, 'hex')).update(connectionId).digest()
  const prefix = version === VERSION_2 ? 'quicv2' : 'quic'
  const keysOf = (label: string): InitialKeys => {
    const side = expandLabel(secret, label, 32)
    return {
      key: expandLabel(side, `${prefix} key`, 16),
      iv: expandLabel(side, `${prefix} iv`, 12),
      headerKey: expandLabel(side, `${prefix} hp`, 16),
    }
  }
  return { client: keysOf('client in'), server: keysOf('server in') }
}

/**
 * @param packet one Initial packet, from its first byte to the end that its length names
 * @param numberAt where its packet number begins
 * @returns its frames, or undefined when the keys do not fit
 */
export function openInitial(packet: Buffer, numberAt: number, keys: InitialKeys): Buffer | undefined {
  const sample = packet.subarray(numberAt + 4, numberAt + 4 + SAMPLE_BYTES)
  if (sample.length < SAMPLE_BYTES) return undefined
  const mask = createCipheriv('aes-128-ecb', keys.headerKey, null).update(sample)
  const first = (packet[0] as number) ^ ((mask[0] as number) & 0x0f)
  const numberBytes = (first & 3) + 1
  const header = Buffer.from(packet.subarray(0, numberAt + numberBytes))
  header[0] = first
  const nonce = Buffer.from(keys.iv)
  for (let i = 0; i < numberBytes; i++) {
    const byte = (header[numberAt + i] as number) ^ (mask[1 + i] as number)
    header[numberAt + i] = byte
    const at = nonce.length - numberBytes + i
    nonce[at] = (nonce[at] as number) ^ byte
  }
  const end = packet.length - TAG_BYTES
  if (end < header.length) return undefined
  const decipher = createDecipheriv('aes-128-gcm', keys.key, nonce, { authTagLength: TAG_BYTES })
  decipher.setAAD(header)
  decipher.setAuthTag(packet.subarray(end))
  try {
    return Buffer.concat([decipher.update(packet.subarray(header.length, end)), decipher.final()])
  } catch {
    return undefined
  }
}

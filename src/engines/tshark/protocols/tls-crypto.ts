/**
 * What protects the records of TLS 1.2 (RFC 5246, 5288, 6655, 7366, 7905) and 1.3 (RFC 8446): keys out of secrets, and
 * records with them. In: secrets, randoms, the cipher suite's name; ciphertext. Out: plaintext, or undefined where it
 * does not fit its key. Nothing is kept but the count of records.
 */

import { createDecipheriv, createHmac, type DecipherGCM } from 'node:crypto'

export interface Suite {
  kind: 'gcm' | 'ccm' | 'chacha' | 'cbc'
  /** As OpenSSL calls it. */
  algorithm: string
  keyBytes: number
  tagBytes: number
  /** Of the key derivation. */
  hash: 'sha256' | 'sha384'
  /** Of CBC suites. */
  mac?: { hash: string; bytes: number }
  blockBytes: number
}

const NAME = /_(?:AES_(128|256)_(GCM|CBC|CCM_8|CCM)|(CHACHA20_POLY1305)|(3DES_EDE_CBC))(?:_(SHA|SHA256|SHA384))?$/
const MACS: Record<string, Suite['mac']> = {
  SHA: { hash: 'sha1', bytes: 20 },
  SHA256: { hash: 'sha256', bytes: 32 },
  SHA384: { hash: 'sha384', bytes: 48 },
}
const NONCE_BYTES = 12
const EXPLICIT_NONCE_BYTES = 8

/** undefined for a suite that is none of these: AES (GCM, CCM, CBC), ChaCha20-Poly1305, 3DES. */
export function suiteOf(name: string): Suite | undefined {
  const [, bits, mode, chacha, triple, digest] = NAME.exec(name) ?? []
  const hash = digest === 'SHA384' ? 'sha384' : 'sha256'
  const common = { hash, tagBytes: 16, blockBytes: 16 } as const
  if (chacha !== undefined) return { ...common, kind: 'chacha', algorithm: 'chacha20-poly1305', keyBytes: 32 }
  const mac = MACS[digest ?? '']
  if (triple !== undefined)
    return mac && { ...common, kind: 'cbc', algorithm: 'des-ede3-cbc', keyBytes: 24, blockBytes: 8, mac }
  if (bits === undefined || mode === undefined) return undefined
  const keyBytes = Number(bits) / 8
  if (mode === 'CBC') return mac && { ...common, kind: 'cbc', algorithm: `aes-${bits}-cbc`, keyBytes, mac }
  if (mode === 'GCM') return { ...common, kind: 'gcm', algorithm: `aes-${bits}-gcm`, keyBytes }
  const tagBytes = mode === 'CCM_8' ? 8 : 16
  return { ...common, kind: 'ccm', algorithm: `aes-${bits}-ccm`, keyBytes, tagBytes }
}

/** Opens the records of one direction, in their order; one that does not fit is not counted. */
export interface RecordOpener {
  /** @param header the five bytes before it, as they were sent */
  open(header: Buffer, body: Buffer): Buffer | undefined
  /** Records that were opened. */
  readonly opened: number
}

/** Both directions of TLS 1.2. */
export function openersOf(
  suite: Suite,
  { master, clientRandom, serverRandom }: { master: Buffer; clientRandom: Buffer; serverRandom: Buffer },
  encryptThenMac: boolean,
): { client: RecordOpener; server: RecordOpener } {
  const { kind, keyBytes, mac, hash } = suite
  const macBytes = mac?.bytes ?? 0
  const ivBytes = kind === 'chacha' ? NONCE_BYTES : kind === 'cbc' ? 0 : NONCE_BYTES - EXPLICIT_NONCE_BYTES
  const seed = Buffer.concat([Buffer.from('key expansion'), serverRandom, clientRandom])
  const block = expand(hash, master, seed, 2 * (macBytes + keyBytes + ivBytes))
  let at = 0
  const both = (bytes: number): [Buffer, Buffer] => {
    at += 2 * bytes
    return [block.subarray(at - 2 * bytes, at - bytes), block.subarray(at - bytes, at)]
  }
  const [macs, keys, ivs] = [both(macBytes), both(keyBytes), both(ivBytes)]
  const opener = (side: 0 | 1) =>
    kind === 'cbc'
      ? blockOpener(suite, keys[side], macs[side], encryptThenMac)
      : sealedOpener(suite, keys[side], ivs[side])
  return { client: opener(0), server: opener(1) }
}

/** P_hash (RFC 5246, 5). */
function expand(hash: string, secret: Buffer, seed: Buffer, bytes: number): Buffer {
  const digest = (...parts: Buffer[]) => createHmac(hash, secret).update(Buffer.concat(parts)).digest()
  const blocks: Buffer[] = []
  let link = seed
  for (let have = 0; have < bytes; have += blocks.at(-1)?.length ?? bytes) {
    link = digest(link)
    blocks.push(digest(link, seed))
  }
  return Buffer.concat(blocks).subarray(0, bytes)
}

function sealedOpener(suite: Suite, key: Buffer, iv: Buffer): RecordOpener {
  const explicitBytes = suite.kind === 'chacha' ? 0 : EXPLICIT_NONCE_BYTES
  let opened = 0
  return {
    open(header, body) {
      const textBytes = body.length - explicitBytes - suite.tagBytes
      if (textBytes < 0) return undefined
      const nonce = explicitBytes > 0 ? Buffer.concat([iv, body.subarray(0, explicitBytes)]) : numberedNonce(iv, opened)
      const plain = unseal(suite, key, nonce, macHeader(opened, header, textBytes), body.subarray(explicitBytes))
      if (plain !== undefined) opened++
      return plain
    },
    get opened() {
      return opened
    },
  }
}

/** One direction of TLS 1.3 under one secret; plaintexts end in their type and zeros. */
export function openerOf(suite: Suite, secret: Buffer): RecordOpener {
  const key = expandLabel(secret, 'key', suite.keyBytes, suite.hash)
  const iv = expandLabel(secret, 'iv', NONCE_BYTES, suite.hash)
  let opened = 0
  return {
    open(header, body) {
      if (body.length < suite.tagBytes) return undefined
      const plain = unseal(suite, key, numberedNonce(iv, opened), header, body)
      if (plain !== undefined) opened++
      return plain
    },
    get opened() {
      return opened
    },
  }
}

/** What follows after a KeyUpdate (RFC 8446, 7.2). */
export function nextSecret({ hash }: Suite, secret: Buffer): Buffer {
  return expandLabel(secret, 'traffic upd', secret.length, hash)
}

/** HKDF-Expand-Label with an empty context (RFC 8446, 7.1), of at most one hash's length. */
export function expandLabel(secret: Buffer, label: string, length: number, hash = 'sha256'): Buffer {
  const full = Buffer.from(`tls13 ${label}`)
  const info = Buffer.concat([Buffer.from([length >> 8, length & 0xff, full.length]), full, Buffer.from([0, 1])])
  return createHmac(hash, secret).update(info).digest().subarray(0, length)
}

function unseal(suite: Suite, key: Buffer, nonce: Buffer, header: Buffer, sealed: Buffer): Buffer | undefined {
  const { algorithm, tagBytes: authTagLength } = suite
  const end = sealed.length - authTagLength
  try {
    // Of these three the options and methods are those of GCM.
    const decipher = createDecipheriv(algorithm as 'aes-128-gcm', key, nonce, { authTagLength }) as DecipherGCM
    decipher.setAuthTag(sealed.subarray(end))
    decipher.setAAD(header, { plaintextLength: end })
    const plain = decipher.update(sealed.subarray(0, end))
    decipher.final()
    return plain
  } catch {
    return undefined
  }
}

function blockOpener(suite: Suite, key: Buffer, macKey: Buffer, encryptThenMac: boolean): RecordOpener {
  const { algorithm, blockBytes, mac } = suite
  const { hash, bytes: macBytes } = mac as NonNullable<Suite['mac']>
  let opened = 0
  const macOf = (header: Buffer, text: Buffer) =>
    createHmac(hash, macKey)
      .update(macHeader(opened, header, text.length))
      .update(text)
      .digest()

  /** The IV, then ciphertext; undefined where the padding is none. */
  function decrypt(body: Buffer): Buffer | undefined {
    const text = body.subarray(blockBytes)
    if (text.length === 0 || text.length % blockBytes !== 0) return undefined
    const plain = createDecipheriv(algorithm, key, body.subarray(0, blockBytes)).setAutoPadding(false).update(text)
    const padding = plain[plain.length - 1] as number
    return padding < plain.length ? plain.subarray(0, plain.length - 1 - padding) : undefined
  }

  function open(header: Buffer, body: Buffer): Buffer | undefined {
    if (encryptThenMac) {
      const sealed = body.subarray(0, Math.max(0, body.length - macBytes))
      return macOf(header, sealed).equals(body.subarray(sealed.length)) ? decrypt(sealed) : undefined
    }
    const plain = decrypt(body)
    if (plain === undefined || plain.length < macBytes) return undefined
    const text = plain.subarray(0, plain.length - macBytes)
    return macOf(header, text).equals(plain.subarray(text.length)) ? text : undefined
  }

  return {
    open(header, body) {
      const plain = open(header, body)
      if (plain !== undefined) opened++
      return plain
    },
    get opened() {
      return opened
    },
  }
}

/** The record's number, its type and version, and the length of what it holds. */
function macHeader(number: number, header: Buffer, textBytes: number): Buffer {
  const bytes = Buffer.alloc(13)
  bytes.writeUInt32BE(Math.floor(number / 2 ** 32), 0)
  bytes.writeUInt32BE(number % 2 ** 32, 4)
  header.copy(bytes, 8, 0, 3)
  bytes.writeUInt16BE(textBytes, 11)
  return bytes
}

function numberedNonce(iv: Buffer, number: number): Buffer {
  const nonce = Buffer.from(iv)
  nonce.writeUInt32BE((nonce.readUInt32BE(4) ^ Math.floor(number / 2 ** 32)) >>> 0, 4)
  nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ (number % 2 ** 32)) >>> 0, 8)
  return nonce
}

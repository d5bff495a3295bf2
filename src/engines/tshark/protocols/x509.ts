/**
 * X.509 certificates (RFC 5280) from their DER to the columns of Zeek's x509 log: names in RFC 2253 order with
 * OpenSSL's short names, algorithms by OpenSSL's names, times in seconds since the epoch.
 */

import { createHash } from 'node:crypto'
import { children, content, type Der, derAt, derNumber, derTime, oidText } from './der.ts'
import type { Fields } from './protocol.ts'
import { ipv4Text, ipv6Text, textOf, textOfLatin1 } from './text.ts'

export interface Certificate {
  fingerprint: string
  /** Columns `certificate.*`, `san.*` and `basic_constraints.*`. */
  fields: Fields
  /** Names that the certificate is for: DNS names, or the common name where there are none. */
  hostNames: string[]
}

const NAME_PARTS: Record<string, string> = {
  '2.5.4.3': 'CN',
  '2.5.4.4': 'SN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.9': 'street',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.12': 'title',
  '2.5.4.13': 'description',
  '2.5.4.15': 'businessCategory',
  '2.5.4.16': 'postalAddress',
  '2.5.4.17': 'postalCode',
  '2.5.4.18': 'postOfficeBox',
  '2.5.4.20': 'telephoneNumber',
  '2.5.4.41': 'name',
  '2.5.4.42': 'GN',
  '2.5.4.43': 'initials',
  '2.5.4.44': 'generationQualifier',
  '2.5.4.45': 'x500UniqueIdentifier',
  '2.5.4.46': 'dnQualifier',
  '2.5.4.65': 'pseudonym',
  '2.5.4.72': 'role',
  '2.5.4.97': 'organizationIdentifier',
  '1.2.840.113549.1.9.1': 'emailAddress',
  '1.2.840.113549.1.9.2': 'unstructuredName',
  '1.2.840.113549.1.9.8': 'unstructuredAddress',
  '0.9.2342.19200300.100.1.1': 'UID',
  '0.9.2342.19200300.100.1.25': 'DC',
  '1.3.6.1.4.1.311.60.2.1.1': 'jurisdictionL',
  '1.3.6.1.4.1.311.60.2.1.2': 'jurisdictionST',
  '1.3.6.1.4.1.311.60.2.1.3': 'jurisdictionC',
}

const KEY_ALGORITHMS: Record<string, { name: string; type?: string }> = {
  '1.2.840.113549.1.1.1': { name: 'rsaEncryption', type: 'rsa' },
  '1.2.840.113549.1.1.10': { name: 'rsassaPss' },
  '1.2.840.10040.4.1': { name: 'dsaEncryption', type: 'dsa' },
  '1.2.840.10045.2.1': { name: 'id-ecPublicKey', type: 'ecdsa' },
  '1.3.101.110': { name: 'X25519' },
  '1.3.101.111': { name: 'X448' },
  '1.3.101.112': { name: 'ED25519' },
  '1.3.101.113': { name: 'ED448' },
}

const SIGNATURE_ALGORITHMS: Record<string, string> = {
  '1.2.840.113549.1.1.2': 'md2WithRSAEncryption',
  '1.2.840.113549.1.1.3': 'md4WithRSAEncryption',
  '1.2.840.113549.1.1.4': 'md5WithRSAEncryption',
  '1.2.840.113549.1.1.5': 'sha1WithRSAEncryption',
  '1.2.840.113549.1.1.10': 'rsassaPss',
  '1.2.840.113549.1.1.11': 'sha256WithRSAEncryption',
  '1.2.840.113549.1.1.12': 'sha384WithRSAEncryption',
  '1.2.840.113549.1.1.13': 'sha512WithRSAEncryption',
  '1.2.840.113549.1.1.14': 'sha224WithRSAEncryption',
  '1.2.840.10040.4.3': 'dsaWithSHA1',
  '2.16.840.1.101.3.4.3.1': 'dsa_with_SHA224',
  '2.16.840.1.101.3.4.3.2': 'dsa_with_SHA256',
  '1.2.840.10045.4.1': 'ecdsa-with-SHA1',
  '1.2.840.10045.4.3.1': 'ecdsa-with-SHA224',
  '1.2.840.10045.4.3.2': 'ecdsa-with-SHA256',
  '1.2.840.10045.4.3.3': 'ecdsa-with-SHA384',
  '1.2.840.10045.4.3.4': 'ecdsa-with-SHA512',
  '1.3.101.112': 'ED25519',
  '1.3.101.113': 'ED448',
  '1.3.14.3.2.29': 'sha1WithRSA',
}

const CURVES: Record<string, { name: string; bits: number }> = {
  '1.2.840.10045.3.1.1': { name: 'prime192v1', bits: 192 },
  '1.2.840.10045.3.1.7': { name: 'prime256v1', bits: 256 },
  '1.3.132.0.10': { name: 'secp256k1', bits: 256 },
  '1.3.132.0.33': { name: 'secp224r1', bits: 224 },
  '1.3.132.0.34': { name: 'secp384r1', bits: 384 },
  '1.3.132.0.35': { name: 'secp521r1', bits: 521 },
  '1.3.36.3.3.2.8.1.1.7': { name: 'brainpoolP256r1', bits: 256 },
  '1.3.36.3.3.2.8.1.1.11': { name: 'brainpoolP384r1', bits: 384 },
  '1.3.36.3.3.2.8.1.1.13': { name: 'brainpoolP512r1', bits: 512 },
}

/** undefined: these bytes are no certificate. */
export function parseCertificate(der: Buffer): Certificate | undefined {
  const outer = derAt(der)
  const parts = children(outer)
  const body = parts[0]
  if (outer?.tag !== 0x30 || body?.tag !== 0x30 || parts.length < 3) return undefined
  const fields = children(body)
  const versioned = fields[0]?.tag === 0xa0
  const at = versioned ? 1 : 0
  const [serial, , issuer, validity, subject, key] = fields.slice(at)
  if (serial === undefined || issuer === undefined || subject === undefined || key === undefined) return undefined
  const [notBefore, notAfter] = children(validity).map(derTime)
  const subjectParts = nameParts(subject)
  const extensions = extensionsOf(fields.find((field) => field.tag === 0xa3))
  const san = subjectAltNames(extensions.get('2.5.29.17'))
  return {
    fingerprint: createHash('sha256').update(der.subarray(outer.start, outer.to)).digest('hex'),
    fields: {
      'certificate.version': versioned ? (derNumber(children(fields[0])[0]) ?? 0) + 1 : 1,
      'certificate.serial': serialText(content(serial)),
      'certificate.subject': nameText(subjectParts),
      'certificate.issuer': nameText(nameParts(issuer)),
      'certificate.not_valid_before': notBefore,
      'certificate.not_valid_after': notAfter,
      ...publicKey(key),
      ...san.fields,
      ...basicConstraints(extensions.get('2.5.29.19')),
    },
    hostNames:
      san.dns.length > 0 ? san.dns : subjectParts.flat().flatMap((part) => (part.name === 'CN' ? part.text : [])),
  }

  function publicKey(info: Der): Fields {
    const [algorithm, bits] = children(info)
    const [oid, parameters] = children(algorithm)
    const dotted = oidText(oid)
    const known = KEY_ALGORITHMS[dotted]
    const signature = SIGNATURE_ALGORITHMS[oidText(children(parts[1])[0])]
    const common = { 'certificate.key_alg': known?.name ?? dotted, 'certificate.sig_alg': signature ?? '' }
    if (known?.type === undefined) return common
    const typed = { ...common, 'certificate.key_type': known.type }
    if (known.type === 'ecdsa') {
      const curve = CURVES[oidText(parameters)]
      return { ...typed, 'certificate.key_length': curve?.bits, 'certificate.curve': curve?.name }
    }
    if (known.type === 'dsa') return { ...typed, 'certificate.key_length': bitLength(children(parameters)[0]) }
    // BIT STRING: a count of unused bits, then the key's own DER.
    const [modulus, exponent] = bits === undefined ? [] : children(derAt(bits.bytes, bits.from + 1, bits.to))
    return {
      ...typed,
      'certificate.key_length': bitLength(modulus),
      'certificate.exponent': exponent === undefined ? undefined : unsigned(exponent).toString(),
    }
  }
}

function unsigned(element: Der): bigint {
  const digits = content(element).toString('hex').slice(0, 4096)
  return digits === '' ? 0n : BigInt(`0x${digits}`)
}

function bitLength(element: Der | undefined): number | undefined {
  if (element === undefined) return undefined
  const bytes = content(element)
  let first = 0
  while (first < bytes.length && bytes[first] === 0) first++
  return first === bytes.length ? 0 : (bytes.length - first) * 8 - Math.clz32(bytes[first] as number) + 24
}

function serialText(bytes: Buffer): string {
  const negative = ((bytes[0] ?? 0) & 0x80) !== 0
  let digits = bytes.toString('hex').slice(0, 4096)
  if (negative) digits = ((1n << BigInt(digits.length * 4)) - BigInt(`0x${digits}`)).toString(16)
  digits = digits.replace(/^(?:00)+(?=..)/, '').toUpperCase()
  if (digits.length % 2 === 1) digits = `0${digits}`
  return negative ? `-${digits}` : digits
}

interface NamePart {
  name: string
  text: string
}

/** The RDNSequence: each RDN may hold several attributes. */
function nameParts(name: Der): NamePart[][] {
  return children(name).map((rdn) =>
    children(rdn).flatMap((attribute) => {
      const [type, value] = children(attribute)
      if (type === undefined || value === undefined) return []
      const oid = oidText(type)
      const known = NAME_PARTS[oid]
      if (known === undefined)
        return { name: oid, text: `#${value.bytes.subarray(value.start, value.to).toString('hex').toUpperCase()}` }
      return { name: known, text: stringText(value) }
    }),
  )
}

/** RFC 2253: last first, `+` within an RDN. */
function nameText(parts: NamePart[][]): string {
  return parts
    .toReversed()
    .map((rdn) =>
      rdn
        .map(({ name, text }) => `${name}=${text.startsWith('#') && /^\d/.test(name) ? text : escapeName(text)}`)
        .join('+'),
    )
    .join(',')
}

/** The text of a string type as one byte a character of its UTF-8. */
function stringText(value: Der): string {
  const bytes = content(value)
  switch (value.tag) {
    case 0x1e:
      return Buffer.from(
        Buffer.from(bytes.subarray(0, bytes.length & ~1))
          .swap16()
          .toString('utf16le'),
      ).toString('latin1')
    case 0x14:
    case 0x13:
    case 0x16:
      return Buffer.from(bytes.toString('latin1')).toString('latin1')
    default:
      return bytes.toString('latin1')
  }
}

/** RFC 2253, 2.4, and bytes above 0x7e as `\C3\A9`. */
function escapeName(text: string): string {
  const upperHex = (char: string) => `\\${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
  return text
    .replace(/[,+"\\<>;]/g, '\\$&')
    .replace(/^[# ]/, '\\$&')
    .replace(/ $/, '\\ ')
    .replace(/[^\x20-\x7e]/g, upperHex)
}

function extensionsOf(wrapper: Der | undefined): Map<string, Der> {
  const found = new Map<string, Der>()
  for (const extension of children(children(wrapper)[0])) {
    const parts = children(extension)
    const value = parts.at(-1)
    if (value?.tag !== 0x04) continue
    const inner = derAt(value.bytes, value.from, value.to)
    if (inner !== undefined) found.set(oidText(parts[0]), inner)
  }
  return found
}

/** GeneralNames (RFC 5280, 4.2.1.6). */
function subjectAltNames(names: Der | undefined): { fields: Fields; dns: string[] } {
  const lists: Record<'dns' | 'uri' | 'email' | 'ip', string[]> = { dns: [], uri: [], email: [], ip: [] }
  for (const name of children(names)) {
    const bytes = content(name)
    if (name.tag === 0x82) lists.dns.push(textOf(bytes))
    else if (name.tag === 0x86) lists.uri.push(textOf(bytes))
    else if (name.tag === 0x81) lists.email.push(textOf(bytes))
    else if (name.tag === 0x87 && bytes.length === 4) lists.ip.push(ipv4Text(bytes, 0))
    else if (name.tag === 0x87 && bytes.length === 16) lists.ip.push(ipv6Text(bytes, 0))
  }
  const set = (list: string[]) => (list.length > 0 ? list : undefined)
  return {
    fields: {
      'san.dns': set(lists.dns),
      'san.uri': set(lists.uri),
      'san.email': set(lists.email),
      'san.ip': set(lists.ip),
    },
    dns: lists.dns,
  }
}

function basicConstraints(extension: Der | undefined): Fields {
  if (extension === undefined) return {}
  const parts = children(extension)
  const ca = parts.find((part) => part.tag === 0x01)
  return {
    'basic_constraints.ca': ca !== undefined && ca.bytes[ca.from] !== 0,
    'basic_constraints.path_len': derNumber(parts.find((part) => part.tag === 0x02)),
  }
}

/** RFC 6125: a `*` stands for the leftmost label alone. */
export function matchesHost(certificate: Certificate, host: string): boolean {
  const wanted = host.toLowerCase()
  return certificate.hostNames.some((name) => {
    const pattern = textOfLatin1(name).toLowerCase()
    if (pattern === wanted) return true
    return pattern.startsWith('*.') && wanted.includes('.') && wanted.slice(wanted.indexOf('.')) === pattern.slice(1)
  })
}

/** OCSP responses (RFC 6960, 4.2.1): the file's bytes in, records of Zeek's ocsp log out. */

import { children, content, type Der, derAt, derTime, nextAt, oidText } from './der.ts'
import type { Fields } from './protocol.ts'

const MAX_BYTES = 1 << 20
const HASHES: Record<string, string> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
}
const STATUS: Record<number, string> = { 128: 'good', 161: 'revoked', 130: 'unknown' }
const REASONS = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  '(UNKNOWN)',
  'removeFromCRL',
  'privilegeWithdrawn',
  'aACompromise',
]

export function createOcspReader(head: Buffer): { data(bytes: Buffer): void; records(): Fields[] } {
  let bytes: Buffer = head
  return {
    data(more) {
      if (bytes.length < MAX_BYTES) bytes = Buffer.concat([bytes, more])
    },
    records: () => responsesOf(bytes),
  }
}

const upperHex = (element: Der | undefined) =>
  element === undefined ? undefined : content(element).toString('hex').toUpperCase()

function responsesOf(bytes: Buffer): Fields[] {
  // OCSPResponse > [0] responseBytes > BasicOCSPResponse in an OCTET STRING > ResponseData.
  const octets = children(children(children(derAt(bytes))[1])[0])[1]
  if (octets === undefined) return []
  const data = children(derAt(octets.bytes, octets.from, octets.to))[0]
  const list = children(data).findLast((part) => part.tag === 0x30)
  return children(list).map(responseOf)
}

function responseOf(single: Der): Fields {
  const [id, status, thisUpdate, next] = children(single)
  const [algorithm, name, key, serial] = children(id)
  const hash = oidText(children(algorithm)[0])
  const revoked = status?.tag === 0xa1 ? derAt(status.bytes, status.from, status.to) : undefined
  const reason =
    status === undefined || revoked === undefined ? undefined : derAt(status.bytes, nextAt(revoked), status.to)
  const code = reason === undefined ? undefined : children(reason)[0]
  return {
    hashAlgorithm: HASHES[hash] ?? hash,
    issuerNameHash: upperHex(name),
    issuerKeyHash: upperHex(key),
    serialNumber: upperHex(serial)?.replace(/^(?:00)+(?=..)/, ''),
    certStatus: status === undefined ? undefined : STATUS[status.tag],
    revoketime: derTime(revoked),
    revokereason: code === undefined ? undefined : REASONS[code.bytes[code.from] ?? 7],
    thisUpdate: derTime(thisUpdate),
    nextUpdate: next?.tag === 0xa0 ? derTime(children(next)[0]) : undefined,
  }
}

/**
 * What a SASL layer protects, where it is only signed: Kerberos' wrap tokens (RFC 4121, 4.2.6.2) and NTLM's
 * (MS-NLMP 2.2.2.9). In: a SASL buffer without its length. Out: the plain bytes, none where it is encrypted.
 */

const WRAP_TOKEN = 0x0504
const HEADER_BYTES = 16
const SEALED = 2
const NTLM_SIGNATURE_BYTES = 16
const SEQUENCE = 0x30

export function unwrapSasl(bytes: Buffer): Buffer {
  if (bytes.length < HEADER_BYTES) return bytes[0] === SEQUENCE ? bytes : Buffer.alloc(0)
  if (bytes.readUInt16BE(0) === WRAP_TOKEN) return kerberosWrap(bytes)
  if (bytes.readUInt32LE(0) === 1 && bytes[NTLM_SIGNATURE_BYTES] === SEQUENCE)
    return bytes.subarray(NTLM_SIGNATURE_BYTES)
  return bytes[0] === SEQUENCE ? bytes : Buffer.alloc(0)
}

/** The checksum stands behind the data, rotated to the front by the right rotation count. */
function kerberosWrap(bytes: Buffer): Buffer {
  if (((bytes[2] as number) & SEALED) !== 0) return Buffer.alloc(0)
  const [checksum, rotation] = [bytes.readUInt16BE(4), bytes.readUInt16BE(6)]
  const body = bytes.subarray(HEADER_BYTES)
  if (body.length === 0 || checksum > body.length) return Buffer.alloc(0)
  const start = rotation % body.length
  const plain = start === 0 ? body : Buffer.concat([body.subarray(start), body.subarray(0, start)])
  return plain.subarray(0, plain.length - checksum)
}

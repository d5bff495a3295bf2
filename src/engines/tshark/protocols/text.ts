/**
 * Bytes to text as Zeek's JSON logs show them: UTF-8 where the whole string is UTF-8, else every byte above
 * 0x7e as `\xNN`; control bytes as `\xNN` but for \b \t \n \f \r.
 */

const PLAIN = /^[\x20-\x7e]*$/
const CONTROLS = /[\x00-\x07\x0b\x0e-\x1f\x7f]/g
const NOT_PRINTABLE = /[\x00-\x07\x0b\x0e-\x1f\x7f-\xff]/g

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const hexEscape = (char: string) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`

export function textOf(bytes: Uint8Array): string {
  const latin1 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
  if (PLAIN.test(latin1)) return latin1
  try {
    return strictUtf8.decode(bytes).replace(CONTROLS, hexEscape)
  } catch {
    return latin1.replace(NOT_PRINTABLE, hexEscape)
  }
}

/** The same for text that holds one byte a character (`latin1`). */
export function textOfLatin1(latin1: string): string {
  return PLAIN.test(latin1) ? latin1 : textOf(Buffer.from(latin1, 'latin1'))
}

/** UTF-16LE (SMB, NTLM, Kerberos on Windows) as UTF-8 text; a cut last character is left out. */
export function textOfUtf16(bytes: Buffer): string {
  return bytes
    .subarray(0, bytes.length & ~1)
    .toString('utf16le')
    .replace(CONTROLS, hexEscape)
}

export const hex = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')

export const ipv4Text = (bytes: Buffer, at: number) => `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`

/** IPv6 text as inet_ntop writes it: the longest run of zero groups (two or more) shortened, mapped IPv4 dotted. */
export function ipv6Text(bytes: Buffer, at: number): string {
  const groups: number[] = []
  for (let i = 0; i < 8; i++) groups.push(bytes.readUInt16BE(at + 2 * i))
  let best = -1
  let bestLength = 1
  for (let i = 0; i < 8; ) {
    let j = i
    while (j < 8 && groups[j] === 0) j++
    if (j - i > bestLength) {
      best = i
      bestLength = j - i
    }
    i = Math.max(j, i + 1)
  }
  const mapped = best === 0 && ((bestLength === 5 && groups[5] === 0xffff) || bestLength === 6)
  if (mapped) return `::${bestLength === 5 ? 'ffff:' : ''}${ipv4Text(bytes, at + 12)}`
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(':')
  return best < 0 ? text(groups) : `${text(groups.slice(0, best))}::${text(groups.slice(best + bestLength))}`
}

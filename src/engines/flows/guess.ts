/**
 * What a payload looks like, by its first bytes: a guess that is cheap enough for every flow. It serves to
 * know which protocols a capture holds and where they run on ports that nobody would look at.
 */

type Test = (bytes: Uint8Array, at: number, length: number) => boolean

/** By the first byte, so that most payloads meet few tests. The first that holds wins. */
const TCP_TESTS = new Map<number, [string, Test][]>()
const UDP_TESTS: [string, Test][] = []

function text(service: string, ...starts: string[]): void {
  for (const start of starts) {
    const codes = [...start].map((char) => char.charCodeAt(0))
    add(codes[0] as number, service, (bytes, at, length) => {
      if (length < codes.length) return false
      for (let i = 0; i < codes.length; i++) if (bytes[at + i] !== codes[i]) return false
      return true
    })
  }
}

function add(first: number, service: string, test: Test): void {
  const tests = TCP_TESTS.get(first)
  if (tests) tests.push([service, test])
  else TCP_TESTS.set(first, [[service, test]])
}

const u16 = (bytes: Uint8Array, at: number): number => ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
const u32le = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16)) +
  (bytes[at + 3] as number) * 0x100_0000

function has(bytes: Uint8Array, at: number, length: number, word: string, within: number): boolean {
  const end = at + Math.min(length, within) - word.length
  for (let i = at; i <= end; i++) {
    let j = 0
    while (j < word.length && ((bytes[i + j] as number) & 0xdf) === (word.charCodeAt(j) & 0xdf)) j++
    if (j === word.length) return true
  }
  return false
}

text('ssh', 'SSH-')
text('http', 'GET ', 'POST ', 'HEAD ', 'PUT ', 'DELETE ', 'CONNECT ', 'PATCH ', 'TRACE ', 'PROPFIND ', 'HTTP/1.')
text('sip', 'INVITE ', 'REGISTER ', 'SUBSCRIBE ', 'NOTIFY ', 'SIP/2.0 ')
add(0x4f, 'sip', (bytes, at, length) => has(bytes, at, length, 'SIP/2.0', 200)) // OPTIONS sip:…
text('http', 'OPTIONS ')
text('smtp', 'EHLO ', 'HELO ', 'ehlo ', 'helo ', 'LHLO ')
text('ftp', 'USER ', 'FEAT\r\n', 'AUTH TLS')
text('irc', 'NICK ', 'CAP LS', 'PASS ')
text('irc', ':')
text('pop3', '+OK')
text('imap', '* OK')
text('rfb', 'RFB 00')
text('xmpp', '<?xml', '<stream:')
text('bittorrent', '\x13BitTorrent protocol')
text('redis', '*1\r\n$', '*2\r\n$', '*3\r\n$', '*4\r\n$')
text('smb', '\xffSMB')

// A server that greets with 220: FTP and SMTP say which they are.
add(0x32, 'smtp', (bytes, at, length) => is220(bytes, at, length) && has(bytes, at, length, 'SMTP', 200))
add(0x32, 'ftp', is220)

function is220(bytes: Uint8Array, at: number, length: number): boolean {
  return (
    length >= 4 &&
    u16(bytes, at) === 0x3232 &&
    bytes[at + 2] === 0x30 &&
    (bytes[at + 3] === 0x20 || bytes[at + 3] === 0x2d)
  )
}

// A TLS record: handshake, version 3.x, a length, then a hello.
add(0x16, 'ssl', (bytes, at, length) => {
  if (length < 6 || bytes[at + 1] !== 3 || (bytes[at + 2] as number) > 4) return false
  return (bytes[at + 5] === 1 || bytes[at + 5] === 2) && u16(bytes, at + 3) <= 0x4100
})

// NetBIOS session or direct hosting: SMB1 or SMB2 behind the four bytes of length.
add(0x00, 'smb', (bytes, at, length) => {
  return (
    length >= 8 &&
    u16(bytes, at + 6) === 0x4d42 &&
    bytes[at + 5] === 0x53 &&
    (bytes[at + 4] === 0xff || bytes[at + 4] === 0xfe)
  )
})
// Modbus: transaction, protocol 0, a length that fits, a function code.
add(0x00, 'modbus', (bytes, at, length) => {
  if (length < 8 || u16(bytes, at + 2) !== 0) return false
  const body = u16(bytes, at + 4)
  return (
    body >= 2 && body <= 254 && length === 6 + body && ((bytes[at + 7] as number) & 0x7f) <= 43 && bytes[at + 7] !== 0
  )
})
// PostgreSQL start-up: length, protocol 3.0, or the request for TLS.
add(0x00, 'postgresql', (bytes, at, length) => {
  if (length < 8 || u16(bytes, at) !== 0 || u16(bytes, at + 2) !== length) return false
  return (
    (u16(bytes, at + 4) === 3 && u16(bytes, at + 6) === 0) ||
    (u16(bytes, at + 4) === 1234 && u16(bytes, at + 6) === 5679)
  )
})
// Kerberos over TCP: a length, then an application tag.
add(0x00, 'krb_tcp', (bytes, at, length) => {
  return length >= 6 && u16(bytes, at) === 0 && u16(bytes, at + 2) === length - 4 && isKerberos(bytes[at + 4] as number)
})
// DNS over TCP: a length, then a header.
add(
  0x00,
  'dns',
  (bytes, at, length) => length >= 14 && u16(bytes, at) === length - 2 && isDns(bytes, at + 2, length - 2),
)
add(
  0x01,
  'dns',
  (bytes, at, length) => length >= 14 && u16(bytes, at) === length - 2 && isDns(bytes, at + 2, length - 2),
)

// TPKT with an X.224 connection request or confirmation that RDP begins with.
add(0x03, 'rdp', (bytes, at, length) => {
  return (
    length >= 11 &&
    bytes[at + 1] === 0 &&
    u16(bytes, at + 2) === length &&
    (bytes[at + 5] === 0xe0 || bytes[at + 5] === 0xd0)
  )
})
add(0x05, 'dnp3_tcp', (bytes, at, length) => length >= 10 && bytes[at + 1] === 0x64)
// DCE/RPC 5.0: a bind, a request and so on, with a data representation.
add(0x05, 'dce_rpc', (bytes, at, length) => {
  return (
    length >= 16 &&
    bytes[at + 1] === 0 &&
    (bytes[at + 2] as number) <= 19 &&
    (bytes[at + 4] === 0x10 || bytes[at + 4] === 0)
  )
})
// SOCKS 5: a greeting with a list of methods that fills it.
add(0x05, 'socks', (bytes, at, length) => length >= 3 && length === 2 + (bytes[at + 1] as number))
add(
  0x04,
  'socks',
  (bytes, at, length) => length >= 9 && (bytes[at + 1] === 1 || bytes[at + 1] === 2) && bytes[at + length - 1] === 0,
)
// MQTT CONNECT.
add(
  0x10,
  'mqtt',
  (bytes, at, length) => length >= 8 && (has(bytes, at, length, 'MQTT', 12) || has(bytes, at, length, 'MQIsdp', 14)),
)
// LDAP: a sequence, a message id, an operation.
add(0x30, 'ldap_tcp', isLdap)

function isLdap(bytes: Uint8Array, at: number, length: number): boolean {
  if (length < 7) return false
  const short = (bytes[at + 1] as number) < 0x80
  const body = at + (short ? 2 : 2 + ((bytes[at + 1] as number) & 0x7f))
  if (body + 4 > at + length || bytes[body] !== 2) return false
  const idLength = bytes[body + 1] as number
  const operation = body + 2 + idLength
  return idLength <= 4 && operation < at + length && ((bytes[operation] as number) & 0xc0) === 0x40
}

function isKerberos(tag: number): boolean {
  return tag === 0x6a || tag === 0x6b || tag === 0x6c || tag === 0x6d || tag === 0x6e || tag === 0x7e
}

/** A MySQL server greets: a length, packet 0, protocol 10 (or 9), a version that begins with a digit. */
function isMysql(bytes: Uint8Array, at: number, length: number): boolean {
  if (length < 8 || bytes[at + 3] !== 0 || (bytes[at + 4] !== 10 && bytes[at + 4] !== 9)) return false
  const digit = bytes[at + 5] as number
  return digit >= 0x30 && digit <= 0x39 && u32le(bytes, at) === length - 4
}

/** A header with sane counts and an operation code that exists. */
export function isDns(bytes: Uint8Array, at: number, length: number): boolean {
  if (length < 12) return false
  const opcode = ((bytes[at + 2] as number) >> 3) & 15
  const questions = u16(bytes, at + 4)
  if (opcode > 5 || questions !== 1 || u16(bytes, at + 6) > 255) return false
  const response = ((bytes[at + 2] as number) & 0x80) !== 0
  if (!response && u16(bytes, at + 6) !== 0) return false
  // A name of labels that ends within the payload.
  let cursor = at + 12
  for (let label = bytes[cursor] as number; label !== 0; label = bytes[cursor] as number) {
    if (label > 63) return false
    cursor += label + 1
    if (cursor >= at + length) return false
  }
  return cursor + 5 <= at + length
}

function udp(service: string, test: Test): void {
  UDP_TESTS.push([service, test])
}

udp('dns', isDns)
// QUIC long header of a version that exists.
udp('quic', (bytes, at, length) => {
  if (length < 20 || ((bytes[at] as number) & 0xc0) !== 0xc0) return false
  const upper = u16(bytes, at + 1)
  const lower = u16(bytes, at + 3)
  return (upper === 0 && lower === 1) || upper === 0x6b33 || upper === 0xff00
})
udp(
  'ssl',
  (bytes, at, length) =>
    length >= 14 && bytes[at] === 22 && bytes[at + 1] === 0xfe && (bytes[at + 2] as number) >= 0xfc,
)
udp('dhcp', (bytes, at, length) => length >= 240 && u16(bytes, at + 236) === 0x6382 && u16(bytes, at + 238) === 0x5363)
udp('snmp', (bytes, at, length) => {
  if (length < 10 || bytes[at] !== 0x30) return false
  const body = at + ((bytes[at + 1] as number) < 0x80 ? 2 : 2 + ((bytes[at + 1] as number) & 0x7f))
  return body + 3 < at + length && bytes[body] === 2 && bytes[body + 1] === 1 && (bytes[body + 2] as number) <= 3
})
udp('ldap_udp', (bytes, at, length) => bytes[at] === 0x30 && isLdap(bytes, at, length))
udp(
  'sip',
  (bytes, at, length) => length > 16 && has(bytes, at, length, 'SIP/2.0', 200) && (bytes[at] as number) >= 0x41,
)
udp(
  'krb',
  (bytes, at, length) => length >= 16 && isKerberos(bytes[at] as number) && ((bytes[at + 1] as number) & 0x80) !== 0,
)
udp('ntp', (bytes, at, length) => {
  const version = ((bytes[at] as number) >> 3) & 7
  const mode = (bytes[at] as number) & 7
  return length === 48 && version >= 1 && version <= 4 && mode >= 1 && mode <= 5
})
udp('syslog', (bytes, at, length) => length >= 4 && bytes[at] === 0x3c && isPriority(bytes, at + 1))

function isPriority(bytes: Uint8Array, at: number): boolean {
  for (let i = at; i < at + 4; i++) {
    if (bytes[i] === 0x3e) return i > at
    if ((bytes[i] as number) < 0x30 || (bytes[i] as number) > 0x39) return false
  }
  return false
}

/** Zeek's name of the protocol, '' when nothing fits. */
export function guessTcp(bytes: Uint8Array, at: number, length: number): string {
  if (length === 0) return ''
  for (const [service, test] of TCP_TESTS.get(bytes[at] as number) ?? []) if (test(bytes, at, length)) return service
  return isMysql(bytes, at, length) ? 'mysql' : ''
}

export function guessUdp(bytes: Uint8Array, at: number, length: number): string {
  if (length === 0) return ''
  for (const [service, test] of UDP_TESTS) if (test(bytes, at, length)) return service
  return ''
}

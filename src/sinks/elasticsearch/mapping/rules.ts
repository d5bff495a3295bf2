/**
 * The values that need a rule: small functions that mapping.json names.
 *
 * Each gets the field's value and the whole record, and answers the value for the target, or undefined where it has
 * none. A rule in `derive` gets no value. An object is merged into what is at the target. They never throw: records
 * are hostile.
 */

import { parseAddress } from '../../../../stages/upload/rules/address.ts'
import { toMicros } from '../../../../stages/upload/rules/values.ts'
import { domainParts, hostName, hostOfHeader, mailAddress, parseDistinguishedName, parsePrincipal } from './names.ts'

// biome-ignore lint/suspicious/noExplicitAny: JSON from outside; each rule looks before it believes
export type Value = any
export type Raw = Readonly<Record<string, Value>>
export type Rule = (value: Value, record: Raw) => unknown

const isText = (value: Value): value is string => typeof value === 'string' && value !== ''
const isNumber = (value: Value): value is number => typeof value === 'number' && Number.isFinite(value)
const onText =
  (rule: (text: string, record: Raw) => unknown): Rule =>
  (value, record) =>
    isText(value) ? rule(value, record) : undefined
const texts = (value: Value): string[] => (Array.isArray(value) ? value.filter(isText) : isText(value) ? [value] : [])
const someOf = <T>(list: T[]): T[] | undefined => (list.length > 0 ? list : undefined)
const isAddress = (text: string) => parseAddress(text) !== undefined

/** ISO 8601 in UTC with microseconds, of anything that `time` fields hold. */
export function isoTime(value: Value): string | undefined {
  const micros = toMicros(value)
  if (micros === undefined) return undefined
  const seconds = Math.floor(micros / 1e6)
  const rest = micros - seconds * 1e6
  const whole = new Date(seconds * 1000).toISOString()
  // Years beyond 9999 are written with a sign, which the server's date format does not read.
  return whole.length === 24 ? `${whole.slice(0, 19)}.${String(rest).padStart(6, '0')}Z` : undefined
}

/** https://docs.zeek.org/en/master/scripts/base/protocols/conn/main.zeek.html, `conn_state`. */
const CONN_STATES: Readonly<Record<string, string>> = {
  S0: 'Connection attempt seen, no reply.',
  S1: 'Connection established, not terminated.',
  SF: 'Normal establishment and termination.',
  REJ: 'Connection attempt rejected.',
  S2: 'Connection established and close attempt by originator seen (but no reply from responder).',
  S3: 'Connection established and close attempt by responder seen (but no reply from originator).',
  RSTO: 'Connection established, originator aborted (sent a RST).',
  RSTR: 'Responder sent a RST.',
  RSTOS0: 'Originator sent a SYN followed by a RST, no SYN-ACK from the responder seen.',
  RSTRH: 'Responder sent a SYN ACK followed by a RST, no SYN from the originator seen.',
  SH: 'Originator sent a SYN followed by a FIN, no SYN ACK from the responder seen.',
  SHR: 'Responder sent a SYN ACK followed by a FIN, no SYN from the originator seen.',
  OTH: 'No SYN seen, midstream traffic.',
}

const CONN_TYPES: Readonly<Record<string, readonly string[]>> = {
  S0: ['connection', 'start'],
  S1: ['connection', 'start'],
  SF: ['connection', 'start', 'end'],
  REJ: ['connection', 'start', 'denied'],
}

const DNS_CLASSES: Readonly<Record<number, string>> = { 1: 'IN', 3: 'CH', 4: 'HS', 254: 'NONE', 255: 'ANY' }

const TLS_VERSION = /^(D?TLS|SSL)v(\d)(\d)?$/

const SIGNATURES: readonly (readonly [RegExp, (digits: string) => string])[] = [
  [/^sha(\d+)WithRSAEncryption$/i, (bits) => `SHA${bits}-RSA`],
  [/^ecdsa-with-SHA(\d+)$/i, (bits) => `ECDSA-SHA${bits}`],
  [/^dsa[-_]with[-_]SHA(\d+)$/i, (bits) => `DSA-SHA${bits}`],
  [/^md5WithRSAEncryption$/i, () => 'MD5-RSA'],
]

const SMB_TYPES: Readonly<Record<string, string>> = {
  FILE_DELETE: 'deletion',
  FILE_RENAME: 'change',
  FILE_SET_ATTRIBUTE: 'change',
  FILE_WRITE: 'change',
  PRINT_WRITE: 'change',
  FILE_OPEN: 'access',
  FILE_READ: 'access',
}

const successIf = (good: boolean) => (good ? 'success' : 'failure')
const baseOf = (path: string) => path.slice(Math.max(path.lastIndexOf('\\'), path.lastIndexOf('/')) + 1)

export const rules: Readonly<Record<string, Rule>> = {
  // any log
  text: (value) => (isText(value) || isNumber(value) ? String(value) : undefined),
  first: (value) => texts(value)[0],
  last: (value) => texts(value).at(-1),
  enumWord: onText((text) => text.slice(text.lastIndexOf(':') + 1).toLowerCase()),
  mac: onText((text) =>
    /^[0-9a-f]{2}([:-][0-9a-f]{2}){5,7}$/i.test(text) ? text.toUpperCase().replaceAll(':', '-') : undefined,
  ),
  nanoseconds: (value) => (isNumber(value) && Math.abs(value) < 9e9 ? Math.round(value * 1e9) : undefined),
  startTime: (_, { ts }) => isoTime(ts),
  endTime: (duration, { ts }) => (isNumber(duration) && isNumber(ts) ? isoTime(ts + duration) : undefined),
  success: (value) => (typeof value === 'boolean' ? successIf(value) : undefined),
  successWord: onText((text) => successIf(text.toLowerCase() === 'success')),
  unknownOutcome: (_, { success, auth_success }) =>
    typeof (success ?? auth_success) === 'boolean' ? undefined : 'unknown',
  address: onText((text) => (isAddress(text) ? text : undefined)),
  addresses: (value) => someOf(texts(value).filter(isAddress)),
  hostName: onText(hostName),
  hostNames: (value) => someOf(texts(value).flatMap((text) => hostName(text) ?? [])),
  domain: onText((text) => (isAddress(text) ? undefined : hostName(text))),
  distinguishedName: onText(parseDistinguishedName),
  baseName: onText((path) => baseOf(path) || undefined),
  extension: onText((path) => /\.([^.\\/]{1,32})$/.exec(baseOf(path))?.[1]?.toLowerCase()),
  wholeNumber: (value) => (/^\d{1,15}$/.test(String(value)) ? Number(value) : undefined),
  sha256: onText((text) => (/^[0-9a-f]{64}$/i.test(text) ? text.toLowerCase() : undefined)),
  firstSha256: (value) => rules.sha256?.(texts(value)[0], {}),
  watchTag: (value) => (isText(value) || texts(value).length > 0 ? 'watchlist' : undefined),

  // conn
  tokens: onText((text) => someOf(text.toLowerCase().split(',').filter(Boolean))),
  stateMessage: onText((state) => CONN_STATES[state]),
  connectionTypes: onText((state) => CONN_TYPES[state] ?? ['connection', 'info']),
  localOrigTag: (value) => (value === true ? 'local_orig' : undefined),
  localRespTag: (value) => (value === true ? 'local_resp' : undefined),
  allBytes: (_, { orig_ip_bytes: a, resp_ip_bytes: b }) => (isNumber(a) && isNumber(b) ? a + b : undefined),
  allPackets: (_, { orig_pkts: a, resp_pkts: b }) => (isNumber(a) && isNumber(b) ? a + b : undefined),

  // dns
  registeredDomain: onText((text) => domainParts(hostName(text) ?? '').registered),
  subdomain: onText((text) => domainParts(hostName(text) ?? '').subdomain),
  topLevelDomain: onText((text) => domainParts(hostName(text) ?? '').top),
  dnsClass: (value) => (isNumber(value) ? (DNS_CLASSES[value] ?? String(value)) : undefined),
  dnsAnswers: (value, { TTLs }) =>
    someOf(
      texts(value).map((data, i) => {
        const ttl = Array.isArray(TTLs) ? TTLs[i] : undefined
        return isNumber(ttl) ? { data, ttl: Math.round(ttl) } : { data }
      }),
    ),
  dnsType: (_, { rcode }) => (isNumber(rcode) ? 'answer' : 'query'),
  headerFlags: (_, record) => someOf(['AA', 'TC', 'RD', 'RA'].filter((flag) => record[flag] === true)),
  dnsOutcome: (_, { rcode_name, rejected }) => {
    if (rejected === true) return 'failure'
    return isText(rcode_name) ? successIf(rcode_name === 'NOERROR') : 'unknown'
  },
  dnsFlavour: (_, record) => (record['id.resp_p'] === 5353 || record['id.orig_p'] === 5353 ? 'mdns' : undefined),

  // http
  hostOfHeader: onText(hostOfHeader),
  nameOfHeader: onText((text) => {
    const host = hostOfHeader(text)
    return host === undefined || isAddress(host) ? undefined : host
  }),
  httpUrl: (_, { host, uri, 'id.resp_p': port }) => (isText(uri) ? urlParts(uri, host, port) : undefined),
  statusOutcome: (_, { status_code }) => (isNumber(status_code) ? successIf(status_code < 400) : 'unknown'),

  // ssl
  tlsVersion: onText((text) => {
    const [, , major, minor = '0'] = TLS_VERSION.exec(text) ?? []
    return major === undefined ? undefined : `${major}.${minor}`
  }),
  tlsProtocol: onText((text) => TLS_VERSION.exec(text)?.[1]?.toLowerCase()),
  tlsName: (_, { version }) => (isText(version) && version.startsWith('DTLS') ? 'dtls' : 'tls'),

  // x509
  signatureAlgorithm: onText((text) => {
    for (const [form, name] of SIGNATURES) {
      const match = form.exec(text)
      if (match) return name(match[1] ?? '')
    }
    return text
  }),
  alternativeNames: (_, record) =>
    someOf(['san.dns', 'san.uri', 'san.email', 'san.ip'].flatMap((field) => texts(record[field]))),

  // files
  protocolName: onText((source) => (source === 'SSL' ? 'tls' : source.toLowerCase())),
  fileSize: (_, { total_bytes, seen_bytes }) =>
    isNumber(total_bytes) ? total_bytes : isNumber(seen_bytes) ? seen_bytes : undefined,
  fileSizeTag: (_, { total_bytes, seen_bytes }) =>
    !isNumber(total_bytes) && isNumber(seen_bytes) ? 'file_size_seen' : undefined,
  fileOutcome: (_, { timedout, missing_bytes, overflow_bytes }) =>
    timedout === true || missing_bytes > 0 || overflow_bytes > 0 ? 'failure' : undefined,
  fileSender: (_, record) => endpoint(record, record.is_orig === true),
  fileReceiver: (_, record) => endpoint(record, record.is_orig !== true),

  // smb
  smbTypes: onText((action) => [
    'connection',
    'protocol',
    SMB_TYPES[action.slice(action.lastIndexOf(':') + 1)] ?? 'info',
  ]),
  smbPath: (_, { path, name }) => {
    if (!isText(name)) return isText(path) ? path : undefined
    return isText(path) ? `${path.replace(/\\$/, '')}\\${name}` : name
  },
  statusWord: onText((status) => successIf(status === 'SUCCESS' || status === 'STATUS_SUCCESS')),

  // kerberos
  principalName: onText((text) => parsePrincipal(text).name || undefined),
  realm: onText((text) => parsePrincipal(text).realm),
  machineName: onText((text) => {
    const { name } = parsePrincipal(text)
    return name.endsWith('$') ? hostName(name.slice(0, -1)) : undefined
  }),
  serviceHost: onText((text) => {
    const [kind, host, realm] = text.split('/')
    // The ticket-granting service has a realm where others have a host.
    if (kind?.toLowerCase() === 'krbtgt' || !isText(host) || isAddress(host)) return undefined
    return realm === undefined && host === host.toUpperCase() ? undefined : hostName(host)
  }),

  // mail
  mailAddress: onText(mailAddress),
  mailAddresses: (value) => someOf(texts(value).flatMap((text) => mailAddress(text) ?? [])),
  mailDate: onText((text) => {
    const ms = Date.parse(text)
    return Number.isNaN(ms) || Math.abs(ms) > 2.5e14 ? undefined : isoTime(ms / 1000)
  }),
  replyOutcome: onText((reply) => (/^\d{3}/.test(reply) ? successIf(Number(reply.slice(0, 3)) < 400) : undefined)),

  // others
  dhcpClient: (_, { assigned_addr, assigned_ip, client_addr }) =>
    [assigned_addr, assigned_ip, client_addr].find((value) => isText(value) && isAddress(value)),
  replyCodeOutcome: (code) => (isNumber(code) ? successIf(code < 400) : undefined),
  ftpUrl: onText((text) => (/^ftp:\/\//i.test(text) ? text : undefined)),
  ftpFile: onText((text) => (/^ftp:\/\//i.test(text) ? baseOf(text) || undefined : undefined)),
  cookieTag: (value) => (isText(value) ? 'user_from_cookie' : undefined),
  rdpOutcome: onText((result) =>
    /success/i.test(result) ? 'success' : /fail|error/i.test(result) ? 'failure' : 'unknown',
  ),
  mqttOutcome: onText((status) => successIf(/accepted/i.test(status))),
  modbusOutcome: (_, { exception }) => (isText(exception) ? 'failure' : undefined),
  socksOutcome: onText((status) => successIf(/^succeeded$/i.test(status))),
  lastProtocol: onText((path) => someOf([path.slice(path.lastIndexOf(':') + 1).toLowerCase()].filter(Boolean))),
}

function endpoint(record: Raw, originator: boolean): string | undefined {
  const value = record[originator ? 'id.orig_h' : 'id.resp_h']
  return isText(value) && typeof record.is_orig === 'boolean' && isAddress(value) ? value : undefined
}

/** Taken apart by RFC 3986's own expression; what is not there stays absent. Requests may be anything: no URL is made valid. */
function urlParts(uri: string, host: Value, port: Value): Record<string, unknown> {
  const match = /^(?:([a-z][a-z0-9+.-]*):\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/is.exec(uri)
  const [, scheme, authority, path, query, fragment] = match ?? []
  const name = isText(host) ? host : authority
  const withPort = isNumber(port) && port !== 80 && isText(name) && !/:\d+$/.test(name) ? `${name}:${port}` : name
  const full =
    scheme !== undefined ? uri : isText(withPort) && uri.startsWith('/') ? `http://${withPort}${uri}` : undefined
  return {
    original: uri,
    ...(path && { path }),
    ...(query && { query }),
    ...(fragment && { fragment }),
    ...(path && { extension: rules.extension?.(path, {}) }),
    ...(full && { full }),
    scheme: scheme?.toLowerCase() ?? 'http',
    ...(isNumber(port) && { port }),
  }
}

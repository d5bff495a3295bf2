/**
 * SIP over UDP (RFC 3261): one sip record for each response, with what the request said; requests that got
 * none are written at the flow's end.
 *
 * A record goes on until its final response: a request that comes before that (a retransmission, a CANCEL)
 * is taken into the same record, whose Via paths grow.
 */

import type { Dissector, Protocol, Session } from './protocol.ts'
import { textOfLatin1 } from './text.ts'

const REQUEST = /^([A-Za-z]{1,64})[ \t]+(\S.*)$/
const VERSION_AT_END = /[ \t]SIP\/\d{1,3}\.\d{1,3}$/
const RESPONSE = /^SIP\/\d{1,3}\.\d{1,3}[ \t]+(\d{1,3})(?:[ \t]+(.*))?$/
const MAX_MESSAGE_BYTES = 65536
const MAX_HEADERS = 1000
const MAX_PATH = 500
const MAX_JUNK_BYTES = 1024

interface Transaction {
  ts: number
  method?: string
  uri?: string
  date?: string
  requestFrom?: string
  requestTo?: string
  responseFrom?: string
  responseTo?: string
  replyTo?: string
  callId?: string
  seq?: string
  subject?: string
  requestPath: string[]
  responsePath: string[]
  userAgent?: string
  statusCode?: number
  statusMsg?: string
  warning?: string
  requestBodyLen?: number
  responseBodyLen?: number
  contentType?: string
}

type Take = (t: Transaction, value: string) => void

/** The tag tells dialogs apart, the branch transactions: neither is the sender's identity. */
const withoutTag = (value: string) => value.split(/; ?tag=/)[0] ?? ''
const withoutBranch = (value: string) => value.split(/; ?branch/)[0] ?? ''
const lengthOf = (value: string) => (/^\d{1,10}$/.test(value) ? Number(value) : 0)
const addHop = (path: string[], value: string) => {
  if (path.length < MAX_PATH) path.push(textOfLatin1(withoutBranch(value)))
}

const METHODS = new Set('REGISTER INVITE ACK CANCEL BYE OPTIONS NOTIFY SUBSCRIBE'.split(' '))

const REQUEST_HEADERS: Record<string, Take> = {
  date: (t, value) => (t.date = textOfLatin1(value)),
  from: (t, value) => (t.requestFrom = textOfLatin1(withoutTag(value))),
  to: (t, value) => (t.requestTo = textOfLatin1(value)),
  'reply-to': (t, value) => (t.replyTo = textOfLatin1(value)),
  'call-id': (t, value) => (t.callId = textOfLatin1(value)),
  cseq: (t, value) => (t.seq = textOfLatin1(value)),
  subject: (t, value) => (t.subject = textOfLatin1(value)),
  'user-agent': (t, value) => (t.userAgent = textOfLatin1(value)),
  via: (t, value) => addHop(t.requestPath, value),
  'content-length': (t, value) => (t.requestBodyLen = lengthOf(value)),
}

const RESPONSE_HEADERS: Record<string, Take> = {
  from: (t, value) => (t.responseFrom = textOfLatin1(withoutTag(value))),
  to: (t, value) => (t.responseTo = textOfLatin1(value)),
  warning: (t, value) => (t.warning = textOfLatin1(value)),
  'content-type': (t, value) => (t.contentType = textOfLatin1(value)),
  via: (t, value) => addHop(t.responsePath, value),
  'content-length': (t, value) => (t.responseBodyLen = lengthOf(value)),
}

/** RFC 3261, 7.3.3, as far as Zeek reads them: a Call-ID's `i` it does not. */
const COMPACT: Record<string, string> = {
  c: 'content-type',
  f: 'from',
  l: 'content-length',
  s: 'subject',
  t: 'to',
  v: 'via',
}

export const sip: Protocol = {
  name: 'sip',
  logs: ['sip'],
  udpPorts: [5060],
  recognize(originator, responder, transport) {
    if (transport !== 'udp') return false
    const firstLine = (bytes: Buffer) => bytes.subarray(0, 512).toString('latin1').split('\r\n', 2)
    const [request, ...more] = firstLine(originator)
    if (more.length > 0 && parseRequestLine(request ?? '') !== undefined) return true
    return RESPONSE.test(firstLine(responder)[0] ?? '') ? true : undefined
  },
  dissect: createSip,
}

function createSip(session: Session): Dissector {
  let current: Transaction | undefined
  let junk = Buffer.alloc(0)

  function transaction(ts: number): Transaction {
    current ??= { ts, requestPath: [], responsePath: [] }
    return current
  }

  function write(t: Transaction): void {
    session.emit('sip', t.ts, {
      trans_depth: 0,
      method: t.method,
      uri: t.uri,
      date: t.date,
      request_from: t.requestFrom,
      request_to: t.requestTo,
      response_from: t.responseFrom,
      response_to: t.responseTo,
      reply_to: t.replyTo,
      call_id: t.callId,
      seq: t.seq,
      subject: t.subject,
      request_path: [...t.requestPath],
      response_path: [...t.responsePath],
      user_agent: t.userAgent,
      status_code: t.statusCode,
      status_msg: t.statusMsg,
      warning: t.warning,
      request_body_len: t.requestBodyLen,
      response_body_len: t.responseBodyLen,
      content_type: t.contentType,
    })
  }

  function request(bytes: Buffer, ts: number): void {
    const text = messageText(bytes)
    const found = findRequest(text)
    if (found === undefined) {
      if (text.trim() !== '') junk = Buffer.concat([junk, bytes]).subarray(0, MAX_JUNK_BYTES)
      return
    }
    const before = junk.toString('latin1') + text.slice(0, found.at)
    junk = Buffer.alloc(0)
    if (before.trim() !== '')
      session.weird(ts, 'sip_junk_before_request', 'SIP', textOfLatin1(before.slice(0, MAX_JUNK_BYTES)))
    const [, ...headers] = linesOf(text.slice(found.at))
    const t = transaction(ts)
    t.method = textOfLatin1(found.method)
    t.uri = textOfLatin1(found.uri)
    if (!METHODS.has(t.method)) session.weird(ts, 'unknown_SIP_method', undefined, t.method)
    takeHeaders(t, headers, REQUEST_HEADERS)
  }

  function response(bytes: Buffer, ts: number): void {
    const [line = '', ...headers] = linesOf(messageText(bytes).trimStart())
    const match = RESPONSE.exec(line)
    if (match === null) return
    session.confirm('sip')
    const t = transaction(ts)
    t.statusCode = Number(match[1])
    t.statusMsg = textOfLatin1((match[2] ?? '').trimEnd())
    takeHeaders(t, headers, RESPONSE_HEADERS)
    write(t)
    if (t.statusCode >= 200) current = undefined
  }

  return {
    data(fromOriginator, bytes, ts) {
      if (fromOriginator) request(bytes, ts)
      else response(bytes, ts)
    },
    end() {
      if (current !== undefined) write(current)
      current = undefined
    },
  }
}

function parseRequestLine(line: string): { method: string; uri: string } | undefined {
  const trimmed = line.trimEnd()
  const version = VERSION_AT_END.exec(trimmed.slice(-16))?.[0]
  const match = version === undefined ? null : REQUEST.exec(trimmed.slice(0, -version.length).trimEnd())
  return match?.[1] === undefined ? undefined : { method: match[1], uri: match[2] ?? '' }
}

/** The first line that is a request's, with whatever stands in front of its method. */
function findRequest(text: string): { at: number; method: string; uri: string } | undefined {
  let at = 0
  for (const line of text.split('\n', MAX_HEADERS)) {
    const junkBytes = line.search(/[A-Za-z]{3,64}[ \t]/)
    const request = junkBytes < 0 ? undefined : parseRequestLine(line.slice(junkBytes))
    if (request !== undefined) return { at: at + junkBytes, ...request }
    at += line.length + 1
  }
  return undefined
}

const messageText = (bytes: Buffer) => bytes.subarray(0, MAX_MESSAGE_BYTES).toString('latin1')

/** The start line and the headers; a continuation belongs to the line before it. */
function linesOf(text: string): string[] {
  const end = /\r?\n\r?\n/.exec(text)?.index
  return text
    .slice(0, end)
    .replace(/\r?\n[ \t]+/g, ' ')
    .split(/\r?\n/, MAX_HEADERS)
}

function takeHeaders(t: Transaction, lines: string[], table: Record<string, Take>): void {
  for (const line of lines) {
    const colon = line.indexOf(':')
    if (colon <= 0) continue
    const said = line.slice(0, colon).trim().toLowerCase()
    const name = COMPACT[said] ?? said
    if (Object.hasOwn(table, name)) table[name]?.(t, line.slice(colon + 1).trim())
  }
}

/**
 * HTTP/1: one http record for a request with its response, and a files record for each body or form part.
 *
 * Requests and responses pair in order. A record is written when the response's last byte has been seen
 * (not that of a 1xx, whose final response is still to come), or at the flow's end.
 */

import { type BodyPlan, createHttpReader, type HttpHandler, type HttpReader, OLD_STYLE } from './http-reader.ts'
import { createInflater } from './inflate.ts'
import { createEntity, type Entity, filenameOf } from './mime-entity.ts'
import type { Dissector, FileSink, Protocol, Session } from './protocol.ts'
import { textOfLatin1 } from './text.ts'
import { reportViolation } from './violation.ts'

/** A token (RFC 9110, 5.6.2), then the rest. */
const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]+(.*?)[ \t]*$/
const VERSION_AT_END = /^(.*?)[ \t]*HTTP\/([^ \t]*)[ \t]*$/is
const STATUS_LINE = /^HTTP\/(\S*)[ \t]+(\d{1,5})(?:[ \t]+(.*?))?[ \t]*$/i
const KNOWN_METHODS = new Set(
  `GET POST HEAD OPTIONS PUT DELETE TRACE CONNECT PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK POLL REPORT
   SUBSCRIBE BMOVE SEARCH BCOPY BPROPFIND BPROPPATCH BDELETE BITS_POST CCM_POST NOTIFY UNSUBSCRIBE X-MS-ENUMATTS
   RPC_OUT_DATA RPC_IN_DATA PATCH M-SEARCH VERSION-CONTROL CHECKOUT CHECKIN MERGE MKACTIVITY`.split(/\s+/),
)
/** What Zeek takes for a request on any port. */
const REQUEST_START = new RegExp(
  `^\\s*(?:${`
    ACL BASELINE-CONTROL BCOPY BDELETE BIND BMOVE BPROPFIND BPROPPATCH CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD
    LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE NOTIFY OPTIONS ORDERPATCH PATCH
    POLL POST PROPFIND PROPPATCH PUT REBIND REPORT RPC_IN_DATA RPC_OUT_DATA SEARCH SUBSCRIBE TRACE UNBIND UNCHECKOUT
    UNLINK UNLOCK UNSUBSCRIBE UPDATE VERSION-CONTROL X-MS-ENUMATTS`
    .trim()
    .split(/\s+/)
    .join('|')})`,
)
const PROXY_HEADERS = new Set(
  'forwarded x-forwarded-for x-forwarded-from client-ip via xroxy-connection proxy-connection'.split(' '),
)
const PARTIAL_CONTENT = 206
const CRLF = 0x0d0a
const MAX_PENDING = 100
const MAX_FILES_PER_SIDE = 15

interface Transaction {
  ts: number
  depth: number
  method?: string
  host?: string
  uri?: string
  referrer?: string
  version?: string
  userAgent?: string
  origin?: string
  requestBody: number
  responseBody: number
  statusCode?: number
  statusMsg?: string
  infoCode?: number
  infoMsg?: string
  username?: string
  proxied?: string[]
  files: [Carried[], Carried[]]
  filenames: [string[], string[]]
}

interface Carried {
  file: FileSink
  /** What it is was known before: the transaction that showed it is another. */
  known: boolean
}

/** What one side's headers say about its body. */
interface Head {
  contentLength?: number
  badLength?: string
  badRange?: string
  chunked: boolean
  coding?: 'gzip' | 'deflate'
  contentType: string
  disposition: string
  contentRange?: ContentRange
  expectsContinue: boolean
  upgrade?: string
  close: boolean
  keepAlive: boolean
}

export const http: Protocol = {
  name: 'http',
  logs: ['http', 'files'],
  tcpPorts: [80, 81, 631, 1080, 3128, 8000, 8080, 8888],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    if (REQUEST_START.test(originator.toString('latin1'))) return true
    return responder.length < 6 ? undefined : /^HTTP\/\d/i.test(responder.toString('latin1', 0, 6))
  },
  dissect: (session) => (session.flow.partial ? watchLines(session) : createHttp(session)),
}

/** In the middle of a stream nothing is known of messages; how its lines end is still told. */
function watchLines(session: Session): Dissector {
  const weird: HttpHandler['weird'] = (name, ts, addl, source = 'HTTP') => session.weird(ts, name, source, addl)
  const nothing = () => {}
  const none = { kind: 'none' as const }
  const handler = { startLine: () => false, header: nothing, headersDone: () => none, body: nothing }
  const ignored = { bodyGap: nothing, messageDone: nothing, foreign: nothing }
  const open = () => createHttpReader({ ...handler, ...ignored, weird }, { partial: true })
  const [originator, responder] = [open(), open()]
  return {
    data: (fromOriginator, bytes, ts) => (fromOriginator ? originator : responder).data(bytes, ts),
    gap: (fromOriginator, length, ts) => (fromOriginator ? originator : responder).gap(length, ts),
  }
}

/** What all HTTP of a flow shares: a WebSocket may carry HTTP, whose requests are counted on. */
interface Exchange {
  pending: Map<number, Transaction>
  requests: number
  responses: number
  depth: number
  confirmed: boolean
  /** A message has begun and no other has ended since. */
  inMessage: boolean
}

const exchanges = new WeakMap<Session, Exchange>()

function exchangeOf(session: Session): Exchange {
  const known = exchanges.get(session)
  if (known !== undefined) return known
  const fresh = { pending: new Map(), requests: 0, responses: 0, depth: 0, confirmed: false, inMessage: false }
  exchanges.set(session, fresh)
  return fresh
}

function createHttp(session: Session): Dissector {
  const exchange = exchangeOf(session)
  const { pending } = exchange
  /** Requests whose responses have not begun: their methods decide on the responses' bodies. */
  const methods: string[] = []
  let tunnel: Dissector | undefined
  let responseMethod = ''
  /** Of the last response. */
  let version: string | undefined
  let requestVersion: string | undefined
  /** The request of HTTP/0.9, which has no end but the end of its side. */
  let oldStyle: number | undefined

  function transaction(number: number, ts: number): Transaction {
    const known = pending.get(number)
    if (known !== undefined) return known
    const fresh: Transaction = {
      ts,
      depth: ++exchange.depth,
      requestBody: 0,
      responseBody: 0,
      files: [[], []],
      filenames: [[], []],
    }
    pending.set(number, fresh)
    if (pending.size > MAX_PENDING) {
      session.weird(ts, 'HTTP_excessive_pipelining')
      for (const waiting of [...pending.keys()].filter((key) => key !== number)) write(waiting)
      exchange.responses = exchange.requests
    }
    return fresh
  }

  function write(number: number): void {
    const t = pending.get(number)
    if (t === undefined) return
    pending.delete(number)
    const [orig, resp] = t.files
    const list = (values: string[]) => (values.length > 0 ? values : undefined)
    const mimes = (files: Carried[]) => list(files.flatMap(({ file, known }) => (known ? [] : (file.mime() ?? []))))
    session.emit('http', t.ts, {
      trans_depth: t.depth,
      method: t.method,
      host: t.host,
      uri: t.uri,
      referrer: t.referrer,
      version: t.version,
      user_agent: t.userAgent,
      origin: t.origin,
      request_body_len: t.requestBody,
      response_body_len: t.responseBody,
      status_code: t.statusCode,
      status_msg: t.statusMsg,
      info_code: t.infoCode,
      info_msg: t.infoMsg,
      tags: [],
      username: t.username,
      proxied: t.proxied,
      orig_fuids: list(orig.map(({ file }) => file.fuid)),
      orig_filenames: list(t.filenames[0]),
      orig_mime_types: mimes(orig),
      resp_fuids: list(resp.map(({ file }) => file.fuid)),
      resp_filenames: list(t.filenames[1]),
      resp_mime_types: mimes(resp),
    })
  }

  /** What both directions do with a body. */
  function side(fromOriginator: boolean, own: Pick<HttpHandler, 'startLine'> & SideParts): HttpReader {
    let head = newHead()
    let body: Body | undefined
    const index = fromOriginator ? 0 : 1
    const current = (ts: number) => transaction(fromOriginator ? exchange.requests : exchange.responses, ts)
    return createHttpReader({
      startLine(line, ts) {
        head = newHead()
        exchange.inMessage = true
        return own.startLine(line, ts)
      },
      header(name, value, ts) {
        if (name.toLowerCase() === 'content-disposition' && !exchange.inMessage) {
          session.weird(ts, 'missing_HTTP_entity', 'HTTP')
          return
        }
        readHead(head, name.toLowerCase(), value)
        own.header(name.toLowerCase(), value, current(ts))
      },
      headersDone(ts) {
        if (head.badLength !== undefined)
          session.weird(ts, 'HTTP_bad_content_length', 'HTTP', textOfLatin1(head.badLength))
        if (head.badRange !== undefined && !fromOriginator) {
          const range = textOfLatin1(head.badRange.replace(/^bytes\s+/i, ''))
          session.weird(ts, 'HTTP_content_range_cannot_parse', 'HTTP', range)
        }
        for (const name of oddHeads(head)) session.weird(ts, name, 'HTTP')
        const plan = own.plan(head, ts)
        if (plan.kind === 'none' || plan.kind === 'handed over') return plan
        const files = current(ts)
        const shared =
          !fromOriginator && files.statusCode === PARTIAL_CONTENT
            ? `${session.flow.origAddr} ${files.host} ${files.uri}`
            : undefined
        body = createBody(session, fromOriginator, head, {
          shared,
          onFile(file, filename) {
            const carried = files.files[index]
            if (carried.length >= MAX_FILES_PER_SIDE || carried.some((each) => each.file === file)) return
            carried.push({ file, known: file.mime() !== undefined })
            if (filename !== undefined) files.filenames[index].push(textOfLatin1(filename))
          },
        })
        return plan
      },
      body: (bytes, ts) => body?.data(bytes, ts),
      bodyGap: (length, ts) => body?.gap(length, ts),
      messageDone(ts) {
        body?.end(ts)
        exchange.inMessage = false
        own.done(body?.length() ?? 0, ts)
        body = undefined
      },
      foreign: (bytes, ts) => tunnel?.data(fromOriginator, bytes, ts),
      weird: (name, ts, addl, source = 'HTTP') => session.weird(ts, name, source, addl),
    })
  }

  /** One side speaks one version. */
  function sameVersion(known: string | undefined, text: string, ts: number): string {
    const said = /^\d+\.\d+/.exec(text)?.[0] ?? '0.0'
    if (known !== undefined && known !== said) session.weird(ts, 'HTTP_version_mismatch', 'HTTP')
    return said
  }

  /** This is no HTTP, or none any longer. */
  function giveUp(ts: number, reason: string): false {
    if (exchange.confirmed) {
      reportViolation(session, ts, { analyzer: 'HTTP', service: 'http', reason })
      request.skip()
      response.skip()
    }
    session.reject('http')
    return false
  }

  const request = side(true, {
    startLine(line, ts) {
      const parsed = parseRequestLine(line.trimStart())
      if (parsed === undefined) {
        session.weird(ts, /HTTP\/\d/.test(line) ? 'bad_HTTP_request_with_version' : 'bad_HTTP_request', 'HTTP')
        return giveUp(ts, 'not a http request line')
      }
      // After responses that nobody asked for, the two sides are in step again.
      if (exchange.responses > exchange.requests) session.weird(ts, 'HTTP_response_before_request')
      exchange.requests = Math.max(exchange.requests, exchange.responses) + 1
      const t = transaction(exchange.requests, ts)
      t.method = textOfLatin1(parsed.method)
      t.uri = textOfLatin1(unescapeUri(parsed.uri, (name) => session.weird(ts, name, 'HTTP')))
      if (parsed.uri === '') session.weird(ts, 'missing_HTTP_uri', 'HTTP')
      if (/http\/[\d.]+[ \t]*$/.test(line)) session.weird(ts, 'lowercase_HTTP_keyword', 'HTTP')
      methods.push(parsed.method.toUpperCase())
      if (methods.length > 10 * MAX_PENDING) methods.shift()
      if (!KNOWN_METHODS.has(parsed.method)) session.weird(ts, 'unknown_HTTP_method', undefined, t.method)
      requestVersion = sameVersion(requestVersion, parsed.version ?? '0.9', ts)
      session.confirm('http')
      exchange.confirmed = true
      if (parsed.version !== undefined) return true
      if (parsed.method !== 'GET') session.weird(ts, 'invalid_http_09_request_method', 'HTTP', t.method)
      oldStyle = exchange.requests
      response.oldStyle(ts)
      return false
    },
    header: requestHeader,
    plan(head) {
      if (head.chunked) return { kind: 'chunked' }
      return head.contentLength === undefined ? { kind: 'none' } : { kind: 'length', length: head.contentLength }
    },
    done(length, ts) {
      transaction(exchange.requests, ts).requestBody = length
    },
  })

  const response = side(false, {
    startLine(line, ts) {
      // The answer to HTTP/0.9 is nothing but a body.
      const match = line === OLD_STYLE ? ['', '0.9', '0', '<empty>'] : STATUS_LINE.exec(line)
      if (match === null) {
        // A server that speaks first, and not HTTP: nor does the client.
        request.skip()
        return giveUp(ts, 'not a http reply line')
      }
      const last = pending.get(exchange.responses)
      const afterInfo = last?.statusCode !== undefined && last.statusCode >= 100 && last.statusCode < 200
      if (!afterInfo) {
        exchange.responses++
        responseMethod = methods.shift() ?? ''
      }
      const t = transaction(exchange.responses, ts)
      if (/^http/.test(line)) session.weird(ts, 'lowercase_HTTP_keyword', 'HTTP')
      version = sameVersion(version, match[1] ?? '', ts)
      t.version = version
      t.statusCode = Number(match[2])
      t.statusMsg = textOfLatin1(match[3] ?? '')
      if (t.statusCode >= 100 && t.statusCode < 200) {
        t.infoCode = t.statusCode
        t.infoMsg = t.statusMsg
      }
      return true
    },
    header: () => {},
    plan: responsePlan,
    done(length, ts) {
      const t = transaction(exchange.responses, ts)
      t.responseBody = length
      const informational = t.statusCode !== undefined && t.statusCode >= 100 && t.statusCode < 200
      if (!informational) write(exchange.responses)
    },
  })

  function responsePlan(head: Head, ts: number): BodyPlan {
    const status = pending.get(exchange.responses)?.statusCode ?? 0
    if (status === 101 && head.upgrade !== undefined) {
      tunnel = session.handOver(head.upgrade, ts)
      request.skip()
      return { kind: 'handed over' }
    }
    if (responseMethod === 'CONNECT' && status >= 200 && status < 300) {
      tunnel = session.handOver('any', ts)
      return { kind: 'handed over' }
    }
    if (responseMethod === 'HEAD' || (status >= 100 && status < 200) || status === 204 || status === 304)
      return { kind: 'none' }
    if (head.chunked) return { kind: 'chunked' }
    if (head.contentLength !== undefined) return { kind: 'length', length: head.contentLength }
    return { kind: 'close' }
  }

  return {
    data(fromOriginator, bytes, ts) {
      if (tunnel !== undefined && fromOriginator) tunnel.data(true, bytes, ts)
      else (fromOriginator ? request : response).data(bytes, ts)
    },
    gap(fromOriginator, length, ts) {
      if (tunnel !== undefined) tunnel.gap?.(fromOriginator, length, ts)
      else (fromOriginator ? request : response).gap(length, ts)
    },
    finished(fromOriginator, ts) {
      if (tunnel !== undefined) tunnel.finished?.(fromOriginator, ts)
      else (fromOriginator ? request : response).end(ts, true)
      // Its answer is logged already: what ends here stands alone.
      if (fromOriginator && oldStyle !== undefined && !pending.has(oldStyle)) transaction(oldStyle, ts)
      if (fromOriginator) oldStyle = undefined
    },
    end(ts) {
      request.end(ts)
      response.end(ts)
      tunnel?.end?.(ts)
      for (const number of [...pending.keys()]) write(number)
    },
  }
}

/** What is odd about a message's headers as a whole. */
function oddHeads({ contentLength, contentRange, expectsContinue }: Head): string[] {
  const odd: string[] = []
  if (contentLength === 0 && expectsContinue) odd.push('HTTP_content_length_0_and_expect_100_cont')
  if (contentRange !== undefined && contentLength !== undefined) {
    if (contentRange.last - contentRange.first + 1 !== contentLength) odd.push('HTTP_range_not_matching_len')
  }
  return odd
}

interface SideParts {
  header(name: string, value: string, t: Transaction): void
  plan(head: Head, ts: number): BodyPlan
  done(bodyLength: number, ts: number): void
}

function parseRequestLine(line: string): { method: string; uri: string; version?: string } | undefined {
  const match = REQUEST_LINE.exec(line)
  if (match?.[1] === undefined) return undefined
  const rest = match[2] ?? ''
  const versioned = VERSION_AT_END.exec(rest)
  if (versioned !== null) return { method: match[1], uri: versioned[1] ?? '', version: versioned[2] }
  // HTTP/0.9 has no version, and any method for Zeek that is long enough for its GET.
  return match[1].length >= 3 && rest !== '' ? { method: match[1], uri: rest } : undefined
}

const HEX2 = '([0-9A-Fa-f]{2})'
const URI_ESCAPE = new RegExp(`%$|%[^]$|%(?=%)|%${HEX2}|%u${HEX2}${HEX2}|%[^]`, 'g')

/** `%41` → `A`, `%u0041` → `A`; one byte a character in and out. An escape that is none stays as it stands. */
function unescapeUri(uri: string, weird: (name: string) => void): string {
  if (!uri.includes('%')) return uri
  return uri.replace(URI_ESCAPE, (all: string, byte?: string, high?: string, low = '', at = 0) => {
    if (byte !== undefined) return byteOf(byte)
    if (high !== undefined) return (high === '00' ? '' : byteOf(high)) + byteOf(low)
    if (at + all.length < uri.length) {
      weird(all === '%' ? 'double_%_in_URI' : 'unescaped_%_in_URI')
      return all === '%' ? '' : all
    }
    weird(all === '%' ? 'illegal_%_at_end_of_URI' : 'partial_escape_at_end_of_URI')
    return all
  })
}

const byteOf = (digits: string) => String.fromCharCode(Number.parseInt(digits, 16))

function requestHeader(name: string, value: string, t: Transaction): void {
  if (name === 'host') t.host = textOfLatin1(value)
  else if (name === 'user-agent') t.userAgent = textOfLatin1(value)
  else if (name === 'referer') t.referrer = textOfLatin1(value)
  else if (name === 'origin') t.origin = textOfLatin1(value)
  else if (name === 'authorization' || name === 'proxy-authorization') t.username ??= basicUser(value)
  else if (PROXY_HEADERS.has(name)) {
    t.proxied ??= []
    t.proxied.push(`${name.toUpperCase()} -> ${textOfLatin1(value)}`)
  }
}

function basicUser(value: string): string | undefined {
  const match = /^basic\s+(\S+)/i.exec(value)
  if (match?.[1] === undefined) return undefined
  const plain = Buffer.from(match[1], 'base64').toString('latin1')
  const colon = plain.indexOf(':')
  return colon < 0 ? '<problem-decoding>' : textOfLatin1(plain.slice(0, colon))
}

const newHead = (): Head => ({
  chunked: false,
  contentType: '',
  disposition: '',
  expectsContinue: false,
  close: false,
  keepAlive: false,
})

function readHead(head: Head, name: string, value: string): void {
  switch (name) {
    case 'content-length':
      if (/^\d{1,18}$/.test(value)) head.contentLength = Number.parseInt(value, 10)
      else head.badLength = value
      break
    case 'transfer-encoding':
      if (/\bchunked\b/i.test(value)) head.chunked = true
      break
    case 'content-encoding':
      if (/gzip/i.test(value)) head.coding = 'gzip'
      else if (/deflate/i.test(value)) head.coding = 'deflate'
      break
    case 'content-type':
      head.contentType = value
      break
    case 'content-disposition':
      head.disposition = value
      break
    case 'content-range':
      head.contentRange = parseRange(value)
      if (head.contentRange === undefined) head.badRange = value
      break
    case 'expect':
      if (/100-continue/i.test(value)) head.expectsContinue = true
      break
    case 'upgrade':
      head.upgrade = value.toLowerCase().trim()
      break
    case 'connection':
      if (/close/i.test(value)) head.close = true
      if (/keep-alive/i.test(value)) head.keepAlive = true
      break
    default:
  }
}

interface ContentRange {
  first: number
  last: number
  total?: number
}

function parseRange(value: string): ContentRange | undefined {
  const range = /^bytes\s+(\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)/i.exec(value)
  if (range === null) return undefined
  const [first, last] = [Number(range[1]), Number(range[2])]
  return { first, last, total: range[3] === '*' ? undefined : Number(range[3]) }
}

interface Body {
  data(bytes: Buffer, ts: number): void
  gap(length: number, ts: number): void
  end(ts: number): void
  /** Bytes of the body with its coding undone, gaps included. */
  length(): number
}

/** Undoes the content coding, takes a multipart apart, and makes files of what comes out. */
function createBody(
  session: Session,
  fromOriginator: boolean,
  head: Head,
  { shared, onFile }: { shared: string | undefined; onFile(file: FileSink, filename?: string): void },
): Body {
  let length = 0
  let file: FileSink | undefined
  let broken = false
  /** A multipart body is read in lines; its last one should end like the others. */
  let lastBytes = 0
  const isMultipart = /^\s*multipart\//i.test(head.contentType) && head.coding === undefined
  const entity = /^\s*(?:multipart\/|message\/rfc822)/i.test(head.contentType) ? createParts() : undefined

  function createParts(): Entity {
    return createEntity(
      {
        openLeaf({ filename, contentRange }) {
          const range = contentRange === undefined ? undefined : parseRange(contentRange)
          let leaf: FileSink | undefined
          return {
            data(bytes, ts) {
              if (leaf === undefined) {
                leaf = newFile(ts, filename)
                if (shared !== undefined && range !== undefined) {
                  leaf.seek(range.first)
                  leaf.totalBytes ??= range.total
                }
              }
              leaf.data(bytes, ts)
            },
            end(ts) {
              if (shared === undefined) leaf?.end(ts)
            },
          }
        },
        onNoHeader: (ts) => session.weird(ts, 'http_no_crlf_in_header_list', 'HTTP'),
        onHeader(name, _value, _depth, ts) {
          if (name === 'transfer-encoding') session.weird(ts, 'HTTP_nested_transfer_encoding_header', 'HTTP')
        },
        onTooDeep: (ts) => session.weird(ts, 'exceeded_mime_max_depth', 'HTTP', '100'),
      },
      { contentType: head.contentType },
    )
  }

  function newFile(ts: number, filename?: string): FileSink {
    const fresh =
      shared === undefined
        ? session.file('HTTP', fromOriginator, ts)
        : session.sharedFile(shared, 'HTTP', fromOriginator, ts)
    if (filename !== undefined) fresh.filename = textOfLatin1(filename)
    onFile(fresh, filename)
    return fresh
  }

  function whole(ts: number): FileSink {
    if (file !== undefined) return file
    file = newFile(ts, filenameOf(head.disposition, ''))
    if (shared !== undefined) file.seek(head.contentRange?.first ?? 0)
    if (head.coding === undefined)
      file.totalBytes = head.contentRange?.total ?? (head.chunked ? undefined : head.contentLength)
    return file
  }

  /** The parts of a multipart/byteranges are ranges of one resource. */
  function plain(bytes: Buffer, ts: number): void {
    length += bytes.length
    if (entity !== undefined) entity.data(bytes, ts)
    else whole(ts).data(bytes, ts)
  }

  let now = 0
  const inflater = head.coding === undefined ? undefined : createInflater((bytes) => plain(bytes, now))
  return {
    data(bytes, ts) {
      now = ts
      for (const byte of bytes.subarray(-2)) lastBytes = ((lastBytes << 8) | byte) & 0xffff
      if (inflater === undefined) plain(bytes, ts)
      else if (!broken && !inflater.write(bytes) && inflater.damaged) {
        broken = true
        session.weird(ts, 'inflate_failed', 'ZIP')
      }
    },
    gap(lost, ts) {
      // What comes after a hole is decoded on, as far as that goes.
      length += lost
      if (entity === undefined) whole(ts).gap(lost, ts)
    },
    end(ts) {
      entity?.end(ts)
      if (isMultipart && head.contentLength === length && length > 0 && lastBytes !== CRLF) {
        // Zeek counts the line end that is not there.
        session.weird(ts, 'line_terminated_without_CRLF', 'CONTENTLINE')
        length += 2
      }
      if (shared === undefined) file?.end(ts)
      else session.pieceEnd(shared, ts)
    },
    length: () => length,
  }
}

/**
 * PostgreSQL (https://www.postgresql.org/docs/current/protocol.html): one postgresql record for the request of
 * TLS, for the start-up with its authentication, for each simple query, and for the end of the session.
 */

import { createFramedReader, type FramedReader } from './framed.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'
import { textOf } from './text.ts'

const PROTOCOL_MAJOR = 3
const CANCEL_REQUEST = 80877102
const SSL_REQUEST = 80877103
const GSS_ENCRYPTION_REQUEST = 80877104
const MAX_STARTUP_BYTES = 65536
/** Transaction states. */
const IDLE = 0x49
const IN_TRANSACTION = 0x54
const MAX_FIELDS = 100

const AUTHENTICATIONS: Record<number, string> = {
  2: 'KerberosV5',
  3: 'CleartextPassword',
  5: 'MD5Password',
  7: 'GSSAPI',
  8: 'GSSAPIContinue',
  9: 'SSPI',
  10: 'SASL',
  11: 'SASLContinue',
  12: 'SASLFinal',
}

/** Fields of ErrorResponse and NoticeResponse. */
const ERROR_FIELDS: Record<string, string> = {
  S: 'SeverityLocalized',
  V: 'Severity',
  C: 'Code',
  M: 'Message',
  D: 'Detail',
  H: 'Hint',
  P: 'Position',
  p: 'InternalPosition',
  q: 'InternalQuery',
  W: 'Where',
  s: 'Schema',
  t: 'Table',
  c: 'Column',
  d: 'Data',
  n: 'Constraint',
  F: 'File',
  L: 'Line',
  R: 'Routine',
}

export const postgresql: Protocol = {
  name: 'postgresql',
  logs: ['postgresql'],
  tcpPorts: [5432],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    if (originator.length < 8) return undefined
    const [length, code] = [originator.readUInt32BE(0), originator.readUInt32BE(4)]
    const reply = responder.subarray(0, 1).toString('latin1')
    if (code === SSL_REQUEST && length === 8) return reply === '' ? undefined : reply === 'S' || reply === 'N'
    if (code >>> 16 !== PROTOCOL_MAJOR || length > MAX_STARTUP_BYTES || length < 9) return false
    return responder.length < 5 ? undefined : reply === 'R' && responder.readUInt32BE(1) < MAX_STARTUP_BYTES
  },
  dissect: (session) => (session.flow.partial ? { data: () => {} } : createPostgresql(session)),
}

interface Exchange {
  ts: number
  /** undefined: the server answers something that is not read (an extended query). */
  frontend?: string
  argument?: string
  backend: string[]
  backendArguments: string[]
  success?: boolean
}

function createPostgresql(session: Session): Dissector {
  let startedUp = false
  /** The server answers with one byte, which is no message. */
  let encryptionAsked: 'ssl' | 'gss' | undefined
  let who: { user?: string; database?: string; application_name?: string } = {}
  let current: Exchange | undefined
  /** Of the query that runs. */
  let rows: number | undefined
  let confirmed = false
  let tunnel: Dissector | undefined

  function confirm(): void {
    confirmed = true
    session.confirm('postgresql')
  }

  function open(ts: number, frontend?: string, argument?: string): Exchange {
    write()
    current = { ts, frontend, argument, backend: [], backendArguments: [] }
    return current
  }

  function write(rowsReturned?: number): void {
    if (current === undefined) return
    const { ts, frontend, argument, backend, backendArguments, success } = current
    current = undefined
    const list = (values: string[]) => (values.length > 0 ? values.join(',') : undefined)
    session.emit('postgresql', ts, {
      ...who,
      frontend,
      frontend_arg: argument,
      backend: list(backend),
      backend_arg: list(backendArguments),
      success,
      rows: rowsReturned,
    })
  }

  function startUp(body: Buffer, ts: number): boolean | undefined {
    const code = body.length >= 4 ? body.readUInt32BE(0) : 0
    if (code === SSL_REQUEST) {
      encryptionAsked = 'ssl'
      open(ts, 'ssl_request')
    } else if (code === GSS_ENCRYPTION_REQUEST) encryptionAsked = 'gss'
    else if (code === CANCEL_REQUEST || code >>> 16 !== PROTOCOL_MAJOR) return false
    else {
      startedUp = true
      who = parametersOf(body.subarray(4))
      open(ts, 'startup')
    }
    return undefined
  }

  function fromClient(type: string, body: Buffer, ts: number): void {
    if (type === 'Q') {
      open(ts, 'simple_query', textOf(withoutNul(body)))
      rows = 0
    } else if (type === 'X') {
      open(ts, 'terminate')
      write()
    }
  }

  const messages: Record<string, (body: Buffer, ts: number) => void> = {
    R(body, ts) {
      confirm()
      if (body.length < 4) return
      current ??= open(ts)
      const kind = body.readUInt32BE(0)
      if (kind === 0) {
        current.backend = ['auth_ok']
        current.success = true
      } else if (current.backend.length < MAX_FIELDS) {
        current.backend.push('auth_request')
        current.backendArguments.push(AUTHENTICATIONS[kind] ?? `unknown (${kind})`)
      }
    },
    D(_body, ts) {
      current ??= open(ts)
      rows = (rows ?? 0) + 1
    },
    N(body, ts) {
      current ??= open(ts)
      if (current.backendArguments.length < MAX_FIELDS) current.backendArguments.push(...noticeFields(body))
    },
    E(body, ts) {
      confirm()
      current ??= open(ts)
      current.backend.push('error')
      current.backendArguments.push(...noticeFields(body))
      current.success = false
      write()
    },
    Z(body) {
      if (current === undefined) return
      // In a transaction that has failed nothing succeeds.
      current.success ??= body[0] === IDLE || body[0] === IN_TRANSACTION
      const returned = rows
      rows = undefined
      write(returned)
    },
  }

  function encryptionReply(bytes: Buffer, ts: number): Buffer {
    const answer = bytes.subarray(0, 1).toString('latin1')
    const asked = encryptionAsked
    encryptionAsked = undefined
    confirm()
    if (asked === 'ssl' && current !== undefined) {
      current.backend.push('ssl_reply')
      current.backendArguments.push(textOf(bytes.subarray(0, 1)))
      current.success = answer === 'S'
      write()
    }
    if (answer === 'S') tunnel = session.handOver('ssl', ts)
    else if (answer === 'G') give()
    return bytes.subarray(1)
  }

  function give(): void {
    client.lost()
    server.lost()
    if (confirmed) write()
    current = undefined
  }

  const typed = (header: Buffer) => {
    const length = header.readUInt32BE(1)
    return length >= 4 ? length - 4 : undefined
  }
  const client: FramedReader = createFramedReader({
    headerBytes: () => (startedUp ? 5 : 4),
    bodyLength(header) {
      if (startedUp) return typed(header)
      const length = header.readUInt32BE(0)
      return length >= 8 && length <= MAX_STARTUP_BYTES ? length - 4 : undefined
    },
    onFrame({ header, body }, ts) {
      if (!startedUp) return startUp(body, ts)
      fromClient(header.subarray(0, 1).toString('latin1'), body, ts)
      return undefined
    },
    onNonsense: () => give(),
  })
  const server: FramedReader = createFramedReader({
    headerBytes: () => 5,
    bodyLength: typed,
    onFrame({ header, body }, ts) {
      const type = header.subarray(0, 1).toString('latin1')
      if (Object.hasOwn(messages, type)) messages[type]?.(body, ts)
      return undefined
    },
    onNonsense: () => give(),
    maxKept: 65536,
  })

  return {
    data(fromOriginator, bytes, ts) {
      if (tunnel !== undefined) tunnel.data(fromOriginator, bytes, ts)
      else if (fromOriginator) client.data(bytes, ts)
      else {
        const rest = encryptionAsked === undefined ? bytes : encryptionReply(bytes, ts)
        if (tunnel === undefined) server.data(rest, ts)
        else if (rest.length > 0) (tunnel as Dissector).data(false, rest, ts)
      }
    },
    gap(fromOriginator, length, ts) {
      if (tunnel !== undefined) tunnel.gap?.(fromOriginator, length, ts)
      else (fromOriginator ? client : server).lost(length)
    },
    finished: (fromOriginator, ts) => tunnel?.finished?.(fromOriginator, ts),
    end(ts) {
      tunnel?.end?.(ts)
      write()
    },
  }
}

const withoutNul = (bytes: Buffer) => (bytes[bytes.length - 1] === 0 ? bytes.subarray(0, -1) : bytes)

/** Name and value in turn, each ended by a NUL. */
function parametersOf(bytes: Buffer): { user?: string; database?: string; application_name?: string } {
  const words = bytes.toString('latin1').split('\0', 2 * MAX_FIELDS)
  const values = new Map<string, string>()
  for (let i = 0; i + 1 < words.length && words[i] !== ''; i += 2)
    values.set(words[i] as string, words[i + 1] as string)
  const text = (name: string) => {
    const value = values.get(name)
    return value === undefined ? undefined : textOf(Buffer.from(value, 'latin1'))
  }
  return { user: text('user'), database: text('database'), application_name: text('application_name') }
}

/** A byte that tells the field, then its text up to a NUL; a NUL byte ends the list. */
function noticeFields(body: Buffer): string[] {
  const fields: string[] = []
  for (let at = 0; at < body.length && body[at] !== 0 && fields.length < MAX_FIELDS; ) {
    const end = body.indexOf(0, at + 1)
    const stop = end < 0 ? body.length : end
    const code = body.subarray(at, at + 1).toString('latin1')
    fields.push(`${ERROR_FIELDS[code] ?? `unknown (${code})`}=${textOf(body.subarray(at + 1, stop))}`)
    at = stop + 1
  }
  return fields
}

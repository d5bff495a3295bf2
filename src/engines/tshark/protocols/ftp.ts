/**
 * FTP (RFC 959, 2428): one ftp record for each command that moves a file or opens a data channel, written
 * when the next command comes or the flow ends, with the last reply until then. Data channels that the
 * control flow announces are followed as `ftp-data`.
 */

import { createLines } from './lines.ts'
import type { Dissector, Fields, Protocol, Session } from './protocol.ts'
import { textOf } from './text.ts'
import { reportViolation } from './violation.ts'

const LOGGED = new Set(['APPE', 'DELE', 'RETR', 'STOR', 'STOU', 'ACCT', 'PORT', 'PASV', 'EPRT', 'EPSV'])
const WITH_FILE = new Set(['APPE', 'DELE', 'RETR', 'STOR', 'STOU'])
/** For these the password is an address at best, and shown. */
const GUESTS = new Set(['anonymous', 'ftp', 'ftpuser', 'guest'])

const TLS_HANDSHAKE = 22
const GREETINGS = new Set([120, 220, 421])
const AUTHENTICATED = 235
const MAX_COMMAND_BYTES = 100
/** A short file is known to be whole, and what it is, only some time after its channel was closed. */
const CLOSE_DELAY_SECONDS = 1

export const ftp: Protocol = {
  name: 'ftp',
  logs: ['ftp', 'analyzer'],
  tcpPorts: [21, 2811],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const [request, reply] = [originator.toString('latin1'), responder.toString('latin1')]
    if (reply.length >= 3 && !/^\s*[12]20/.test(reply)) return false
    return /(?:^|[\r\n]) *(?:user|auth) /i.test(request) &&
      /^\s*(?:120|220)\D[\s\S]*[\r\n] *(?:230|331|234|334)\D/.test(reply)
      ? true
      : undefined
  },
  dissect: createFtp,
}

export const ftpData: Protocol = {
  name: 'ftp-data',
  logs: ['files'],
  dissect(session) {
    session.confirm('ftp-data')
    const files = new Map<boolean, ReturnType<Session['file']>>()
    const fileOf = (fromOriginator: boolean, ts: number) => {
      const known = files.get(fromOriginator)
      if (known !== undefined) return known
      const file = session.file('FTP_DATA', fromOriginator, ts)
      files.set(fromOriginator, file)
      session.announcer?.({ fuid: file.fuid })
      return file
    }
    const finished = new Set<boolean>()
    const typed = new Set<string>()
    const tellType = (file: ReturnType<Session['file']>, since: number) => {
      if (file.mime() === undefined || typed.has(file.fuid)) return
      typed.add(file.fuid)
      session.announcer?.({ fuid: file.fuid, mime_type: file.mime(), since })
    }
    const done = (since: number) => {
      for (const file of files.values()) {
        file.end(since)
        tellType(file, since)
      }
    }
    return {
      data(fromOriginator, bytes, ts) {
        const file = fileOf(fromOriginator, ts)
        file.data(bytes, ts)
        tellType(file, ts)
      },
      gap: (fromOriginator, length, ts) => fileOf(fromOriginator, ts).gap(length, ts),
      finished(fromOriginator, ts) {
        finished.add(fromOriginator)
        if (finished.size === 2) done(ts + CLOSE_DELAY_SECONDS)
      },
      end: done,
    }
  },
}

interface Command {
  ts: number
  name: string
  arg: string
}

interface Channel {
  passive: boolean
  orig: string
  resp: string
  port: number
}

function createFtp(session: Session): Dissector {
  const { flow } = session
  let user = '<unknown>'
  let password: string | undefined
  let cwd = '.'
  /** The greeting is a reply, too: to no command. */
  let command: Command | undefined = { ts: 0, name: '<init>', arg: '' }
  const queued: Command[] = []
  let reply: { code: number; text: string } | undefined
  /** The last reply to anything. */
  let last: typeof reply
  let confirmed = false
  let over = false
  let channel: Channel | undefined
  let fileSize: number | undefined
  let file: Fields = {}
  let tunnel: Dissector | undefined
  let wantsTls = false
  let multiline: string | undefined
  let gssapi: Dissector | undefined

  /** At the end a command without reply is written too; it shows the last reply that there was. */
  function log(ts: number, atEnd = false): void {
    const said = reply ?? (atEnd ? last : undefined)
    if (command === undefined || (said === undefined && !atEnd)) return
    if (LOGGED.has(command.name)) {
      const moves = WITH_FILE.has(command.name)
      const isTyped = moves && typeof file.since === 'number' && file.since <= ts
      session.emit('ftp', command.ts, {
        user,
        password,
        command: command.name,
        arg: argument(command),
        mime_type: isTyped ? file.mime_type : undefined,
        file_size: moves ? fileSize : undefined,
        reply_code: said?.code,
        reply_msg: said?.text === '' ? undefined : said?.text,
        'data_channel.passive': channel?.passive,
        'data_channel.orig_h': channel?.orig,
        'data_channel.resp_h': channel?.resp,
        'data_channel.resp_p': channel?.port,
        fuid: moves ? file.fuid : undefined,
      })
    }
    // What belongs to one command must not show up with the next.
    channel = undefined
    file = {}
    fileSize = undefined
    command = undefined
    reply = undefined
  }

  function argument({ name, arg }: Command): string | undefined {
    if (!WITH_FILE.has(name)) return arg === '' ? undefined : arg
    const host = flow.respAddr.includes(':') ? `[${flow.respAddr}]` : flow.respAddr
    return `ftp://${host}${absolute(joinPath(cwd, arg))}`
  }

  function request(line: Buffer, ts: number): void {
    if (over) return
    const match = /^\s*([A-Za-z]+)[ \t]*(.*)$/s.exec(line.toString('latin1'))
    if (match?.[1] === undefined) return
    const name = match[1].toUpperCase()
    if (name.length > MAX_COMMAND_BYTES) {
      session.weird(ts, 'FTP_max_command_length_exceeded', 'FTP', String(name.length))
      return
    }
    const arg = textOf(Buffer.from(match[2] ?? '', 'latin1'))
    if (reply !== undefined) log(ts)
    const next: Command = { ts, name, arg }
    if (command === undefined) command = next
    else if (queued.length < 100) queued.push(next)
    if (name === 'USER') user = arg
    else if (name === 'PASS') password = GUESTS.has(user.toLowerCase()) ? arg : '<hidden>'
    else if (name === 'AUTH') wantsTls = /^(?:TLS|SSL)/i.test(arg)
    else if (name === 'PORT' || name === 'EPRT') active(name, arg)
    else if (name === 'ADAT') secured(true, arg, ts)
  }

  function active(name: string, arg: string): void {
    const target = name === 'PORT' ? sixNumbers(arg) : extended(arg)
    if (target === undefined) return
    expectChannel({ passive: false, orig: flow.respAddr, resp: target.host, port: target.port })
  }

  /** AUTH GSSAPI over TLS (RFC 2228): its records travel in base64. */
  function secured(fromOriginator: boolean, token: string, ts: number): void {
    const illegal = /[^A-Za-z0-9+/=]/.exec(token)?.[0]
    if (illegal !== undefined) {
      const addl = `character ${illegal.charCodeAt(0)} ignored by Base64 decoding`
      session.weird(ts, 'base64_illegal_encoding', undefined, addl)
      if (gssapi === undefined) session.weird(ts, 'ftp_adat_bad_first_token_encoding', 'FTP_ADAT')
      return
    }
    const bytes = Buffer.from(token, 'base64')
    if (gssapi === undefined && bytes[0] !== TLS_HANDSHAKE) return
    gssapi ??= session.handOver('ssl', ts)
    gssapi?.data(fromOriginator, bytes, ts)
  }

  function expectChannel(next: Channel): void {
    channel = next
    session.expect(next.resp, next.port, 'ftp-data', (values) => {
      file = { ...file, ...values }
    })
  }

  function response(line: Buffer, ts: number): boolean | undefined {
    const text = line.toString('latin1')
    if (text.includes('\0')) session.weird(ts, 'NUL_in_line', 'NVT')
    if (over) return undefined
    const match = /^(\d{3})([ -]|$)(.*)$/s.exec(text)
    if (match?.[1] === undefined) {
      if (multiline === undefined && line.length > 0) violate(text, ts)
      return undefined
    }
    if (multiline !== undefined && (match[1] !== multiline || match[2] === '-')) return undefined
    if (match[2] === '-') {
      multiline = match[1]
      return undefined
    }
    multiline = undefined
    const code = Number(match[1])
    const midStream = command?.name === '<init>' && reply === undefined && !GREETINGS.has(code)
    if (midStream && queued.length > 0) command = queued.shift()
    if (command === undefined || reply !== undefined) advance(ts)
    session.confirm('ftp')
    confirmed = true
    last = reply = { code, text: textOf(Buffer.from(match[3] ?? '', 'latin1')) }
    return followUp(code, reply.text, ts)
  }

  function violate(line: string, ts: number): void {
    over = true
    const reason = /^\d{3}/.test(line) ? 'invalid reply line' : 'non-numeric reply code'
    const data = textOf(Buffer.from(line, 'latin1'))
    if (confirmed) reportViolation(session, ts, { analyzer: 'FTP', service: 'ftp', reason, data })
    else session.reject('ftp')
  }

  /** A final reply has been seen and commands wait: the next reply is to the next of them. */
  function advance(ts: number): void {
    if (reply !== undefined && (reply.code < 200 || queued.length === 0)) return
    log(ts)
    command ??= queued.shift()
  }

  function followUp(code: number, text: string, ts: number): boolean | undefined {
    const name = command?.name
    const adat = /^ADAT=(\S+)/.exec(text)?.[1]
    if (adat !== undefined) secured(false, adat, ts)
    if (code === 227 || code === 228 || code === 229) {
      const target = code === 229 ? extended(text) : sixNumbers(text)
      if (target !== undefined)
        expectChannel({
          passive: true,
          orig: flow.origAddr,
          resp: code === 229 ? flow.respAddr : target.host,
          port: target.port,
        })
    } else if (name === 'CWD' && code === 250) cwd = joinPath(cwd, command?.arg ?? '')
    else if (name === 'CDUP' && code >= 200 && code < 300) cwd = joinPath(cwd, '..')
    else if (name === 'PWD' && code === 257) cwd = /"([^"]*)"/.exec(text)?.[1] ?? cwd
    else if (code === 150 && name === 'RETR') fileSize = lastNumber(text)
    else if (code === AUTHENTICATED && gssapi !== undefined) session.confirm('gridftp')
    else if (wantsTls && code === 234) {
      tunnel = session.handOver('ssl', ts)
      return false
    }
    return undefined
  }

  const requests = createLines((line, ts) => {
    request(line, ts)
    return undefined
  })
  const responses = createLines((line, ts) => response(line, ts))
  return {
    data(fromOriginator, bytes, ts) {
      if (tunnel !== undefined) {
        tunnel.data(fromOriginator, bytes, ts)
        return
      }
      ;(fromOriginator ? requests : responses).data(bytes, ts)
      const rest = tunnel === undefined ? undefined : responses.take()
      if (rest !== undefined && rest.length > 0) (tunnel as Dissector | undefined)?.data(false, rest, ts)
    },
    gap: (fromOriginator, length, ts) => tunnel?.gap?.(fromOriginator, length, ts),
    end(ts) {
      tunnel?.end?.(ts)
      gssapi?.end?.(ts)
      const closed = ts + CLOSE_DELAY_SECONDS
      log(closed, true)
      for (const waiting of queued.splice(0)) {
        command = waiting
        log(closed, true)
      }
    },
  }
}

/** Zeek takes the last number in the reply for the file's size, and none for 0. */
function lastNumber(text: string): number {
  return Number(text.match(/\d{1,15}/g)?.at(-1) ?? 0)
}

/** `h1,h2,h3,h4,p1,p2` of PORT and 227. */
function sixNumbers(text: string): { host: string; port: number } | undefined {
  const match = /(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})/.exec(text)
  if (match === null) return undefined
  const numbers = match.slice(1).map(Number)
  if (numbers.some((n) => n > 255)) return undefined
  return { host: numbers.slice(0, 4).join('.'), port: (numbers[4] as number) * 256 + (numbers[5] as number) }
}

/** `|2|address|port|` of EPRT and `(|||port|)` of 229 (RFC 2428). */
function extended(text: string): { host: string; port: number } | undefined {
  const start = text.search(/[|!]/)
  const [, , host = '', port = ''] = text.slice(start, start + 100).split(text[start] ?? '|')
  return start < 0 || !/^\d{1,5}$/.test(port) || Number(port) > 65535 ? undefined : { host, port: Number(port) }
}

function joinPath(base: string, path: string): string {
  if (path.startsWith('/')) return path
  if (path === '') return base
  if (base === '.' || base === '') return path.startsWith('./') ? path : `./${path}`
  return normalize(`${base}/${path}`)
}

function normalize(path: string): string {
  const parts: string[] = []
  for (const part of path.split('/').slice(0, 200)) {
    if (part === '' || (part === '.' && parts.length > 0)) continue
    if (part === '..' && parts.length > 0 && parts.at(-1) !== '..') parts.pop()
    else parts.push(part)
  }
  return `${path.startsWith('/') ? '/' : ''}${parts.join('/')}`
}

const absolute = (path: string) => (path.startsWith('/') ? path : `/${path}`)

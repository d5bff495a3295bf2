/**
 * POP3 (RFC 1939, 2449, 2595, 5034): Zeek has no log of it by default. It counts as the flow's service once a
 * login or STLS has succeeded; what follows STLS is followed as TLS. Words that are no commands or no replies
 * are told.
 */

import { createLines } from './lines.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'
import { textOfLatin1 } from './text.ts'
import { reportViolation } from './violation.ts'

const COMMANDS = new Set(
  'USER PASS APOP AUTH STAT LIST RETR DELE RSET NOOP LAST QUIT TOP CAPA UIDL STLS UTF8 LANG XSND XTND XSENDER'.split(
    ' ',
  ),
)
/** Their replies go on to a line with a dot; some only where the command has no argument. */
const LISTS = new Set(['RETR', 'TOP', 'CAPA'])
const LISTS_OF_ALL = new Set(['LIST', 'UIDL', 'AUTH'])
const MECHANISMS =
  /^(?:PLAIN|LOGIN|EXTERNAL|ANONYMOUS|GSSAPI|GSS-SPNEGO|NTLM|KERBEROS_V4|XOAUTH2?|OAUTHBEARER|(?:CRAM|DIGEST)-MD5|SCRAM-[\w-]+)$/i
const LOGINS = new Set(['PASS', 'APOP', 'AUTH'])
const MAX_WAITING = 1000

export const pop3: Protocol = {
  name: 'pop3',
  logs: ['analyzer'],
  tcpPorts: [110],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const [request, reply] = [originator.toString('latin1'), responder.toString('latin1')]
    if (reply.length >= 4 && !/^\+OK\b/.test(reply)) return false
    return /^(?:USER|APOP|CAPA|AUTH|STLS)\b/im.test(request) && /^\+OK\b/.test(reply) ? true : undefined
  },
  dissect: (session) => (session.flow.partial ? { data: () => {} } : createPop3(session)),
}

function createPop3(session: Session): Dissector {
  /** Commands whose replies have not come; the greeting answers none. */
  const waiting: string[] = []
  let greeted = false
  /** A reply of many lines is due or under way. */
  let list = false
  /** A SASL exchange: the client's lines are no commands. */
  let exchanging = false
  let confirmed = false
  let over = false
  let tunnel: Dissector | undefined

  /** A bare CR ends a line, too, and is told; the rest is of no interest then. */
  function firstWord(line: Buffer, ts: number): string {
    const text = line.toString('latin1')
    if (text.includes('\r')) session.weird(ts, 'line_terminated_with_single_CR', 'CONTENTLINE')
    return /^[^\s]*/.exec(text)?.[0] ?? ''
  }

  function command(line: Buffer, ts: number): void {
    if (over || exchanging) return
    const word = firstWord(line, ts)
    const name = word.toUpperCase()
    const arg = line.toString('latin1').slice(word.length).trim()
    if (word !== '' && !COMMANDS.has(name)) session.weird(ts, 'pop3_client_command_unknown', 'POP3', textOfLatin1(word))
    if (waiting.length < MAX_WAITING) waiting.push(name)
    if (LISTS.has(name) || (LISTS_OF_ALL.has(name) && arg === '')) list = true
    if (name === 'AUTH') exchanging = MECHANISMS.test(arg.split(/\s/)[0] ?? '')
  }

  function reply(line: Buffer, ts: number): boolean | undefined {
    if (over) return undefined
    const word = firstWord(line, ts)
    if (list && word !== '+OK' && word !== '-ERR') {
      if (word === '.') list = false
      return undefined
    }
    if (word === '+OK' || word === '-ERR') return answered(word === '+OK', ts)
    if (word === '' || (word === '+' && exchanging)) return undefined
    session.weird(ts, 'pop3_server_command_unknown', 'POP3', textOfLatin1(word))
    over = true
    const data = textOfLatin1(word)
    const reason = `unknown server command (${data})`
    if (confirmed) reportViolation(session, ts, { analyzer: 'POP3', service: 'pop3', reason, data })
    else session.reject('pop3')
    return undefined
  }

  function answered(isGood: boolean, ts: number): boolean | undefined {
    if (!greeted) {
      greeted = true
      return undefined
    }
    const name = waiting.shift() ?? ''
    if (!isGood) list = false
    if (name === 'AUTH') exchanging = false
    if (!isGood) return undefined
    if (LOGINS.has(name) || name === 'STLS') {
      confirmed = true
      session.confirm('pop3')
    }
    if (name !== 'STLS') return undefined
    tunnel = session.handOver('ssl', ts)
    return false
  }

  const commands = createLines((line, ts) => {
    command(line, ts)
    return undefined
  })
  const replies = createLines(reply)

  return {
    data(fromOriginator, bytes, ts) {
      if (tunnel !== undefined) {
        tunnel.data(fromOriginator, bytes, ts)
        return
      }
      ;(fromOriginator ? commands : replies).data(bytes, ts)
      const rest = tunnel === undefined ? undefined : replies.take()
      if (rest !== undefined && rest.length > 0) (tunnel as Dissector | undefined)?.data(false, rest, ts)
    },
    gap(fromOriginator, length, ts) {
      if (tunnel === undefined) over = true
      else tunnel.gap?.(fromOriginator, length, ts)
    },
    finished: (fromOriginator, ts) => tunnel?.finished?.(fromOriginator, ts),
    end: (ts) => tunnel?.end?.(ts),
  }
}

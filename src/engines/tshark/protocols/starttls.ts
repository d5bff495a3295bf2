/**
 * IMAP (RFC 3501) and XMPP (RFC 6120): Zeek has no log of them by default. They count as the flow's service, and
 * what follows their STARTTLS is followed as TLS.
 */

import type { Dissector, Protocol, Session } from './protocol.ts'

interface Kind {
  service: string
  /** What the client asks with, and what the server agrees with. */
  ask: RegExp
  agree: RegExp
  /** The server's first words. */
  greeting: RegExp
}

const KINDS = {
  imap: { service: 'imap', ask: /^\S+ STARTTLS\s*$/im, agree: /^\S+ OK\b[^\n]*\n/im, greeting: /^\* OK\b/ },
  xmpp: {
    service: 'xmpp',
    ask: /<starttls\b[^>]*xmpp-tls/i,
    agree: /<proceed\b[^>]*xmpp-tls[^>]*>/i,
    greeting: /<stream:stream\b/,
  },
} satisfies Record<string, Kind>

/** What is kept of either side while waiting for the question and its answer. */
const MAX_KEPT = 8192

export const imap: Protocol = {
  name: 'imap',
  logs: [],
  tcpPorts: [143],
  dissect: (session) => follow(session, KINDS.imap),
}
export const xmpp: Protocol = {
  name: 'xmpp',
  logs: [],
  tcpPorts: [5222, 5269],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const isStream = (bytes: Buffer) => /^(?:<\?xml[^>]*\?>\s*)?<stream:[^>]*\bjabber:/.test(bytes.toString('latin1'))
    return isStream(originator) && isStream(responder) ? true : undefined
  },
  dissect: (session) => follow(session, KINDS.xmpp),
}

function follow(session: Session, { service, ask, agree, greeting }: Kind): Dissector {
  let tunnel: Dissector | undefined
  let [requests, replies] = ['', '']
  let [asked, greeted] = [false, false]
  const keep = (text: string) => text.slice(-MAX_KEPT)

  function request(bytes: Buffer): void {
    requests = keep(requests + bytes.toString('latin1'))
    if (asked || !ask.test(requests)) return
    asked = true
    replies = ''
  }

  function reply(bytes: Buffer, ts: number): void {
    replies = keep(replies + bytes.toString('latin1'))
    if (!greeted && greeting.test(replies)) {
      greeted = true
      session.confirm(service)
    }
    const answer = asked ? agree.exec(replies) : null
    if (answer === null) return
    tunnel = session.handOver('ssl', ts)
    const rest = replies.slice(answer.index + answer[0].length).replace(/^\r?\n/, '')
    if (rest !== '') tunnel?.data(false, Buffer.from(rest, 'latin1'), ts)
  }

  return {
    data(fromOriginator, bytes, ts) {
      if (tunnel !== undefined) tunnel.data(fromOriginator, bytes, ts)
      else if (fromOriginator) request(bytes)
      else reply(bytes, ts)
    },
    gap: (fromOriginator, length, ts) => tunnel?.gap?.(fromOriginator, length, ts),
    finished: (fromOriginator, ts) => tunnel?.finished?.(fromOriginator, ts),
    end: (ts) => tunnel?.end?.(ts),
  }
}

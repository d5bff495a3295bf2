/**
 * SMTP (RFC 5321): one smtp record a message, written when the server has answered its end, when the next
 * begins, or at the flow's end; a files record for each part of it.
 */

import { createLines } from './lines.ts'
import { createEntity, type Entity } from './mime-entity.ts'
import type { Dissector, FileSink, Protocol, Session } from './protocol.ts'
import { textOf, textOfLatin1 } from './text.ts'

export const smtp: Protocol = {
  name: 'smtp',
  logs: ['smtp', 'files'],
  tcpPorts: [25, 587],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const [request, reply] = [originator.toString('latin1'), responder.toString('latin1')]
    if (reply.length >= 3 && !/^\s*220/.test(reply)) return false
    return /(?:^|[\r\n])\s*(?:x?ehlo|helo)\b/i.test(request) && reply.length >= 3 ? true : undefined
  },
  dissect: (session) => (session.flow.partial ? { data: () => {} } : createSmtp(session)),
}

interface Message {
  ts: number
  active: boolean
  mailfrom?: string
  rcptto: string[]
  headers: Record<string, string>
  received: string[]
  to?: string[]
  cc?: string[]
  lastReply?: string
  fuids: string[]
}

const MAX_LIST = 1000
const WANTED_HEADERS = new Set(
  'date from reply-to message-id in-reply-to subject x-originating-ip user-agent x-mailer'.split(' '),
)
/** Stands for the end of a message among the commands that wait for replies. */
const END = '<end>'
const MAX_INT64 = 2n ** 63n - 1n
const MAX_UINT64 = 2n ** 64n - 1n

/** What is wrong with BDAT's argument. */
function badChunk(arg: string): string {
  if (arg === '' || /^\d+(?:\s+LAST)?$/i.test(arg)) return 'BDAT argument bad length'
  return /^\d+\s/.test(arg) ? 'BDAT chunk-size followed by junk' : 'BDAT not followed by a valid chunk-size'
}

function createSmtp(session: Session): Dissector {
  const { flow } = session
  let state: 'commands' | 'data' | 'chunk' = 'commands'
  let helo: string | undefined
  let transferred = 0
  let [tls, startTls] = [false, false]
  let message: Message | undefined
  let entity: Entity | undefined
  let chunkLeft = 0
  let chunkLast = false
  /** Commands whose replies have not come, and the ends of messages. */
  const waiting: string[] = []
  let tunnel: Dissector | undefined

  function current(ts: number): Message {
    message ??= { ts, active: false, rcptto: [], headers: {}, received: [], fuids: [] }
    return message
  }

  function log(): void {
    const m = message
    message = undefined
    if (m === undefined || !m.active) return
    const { headers } = m
    session.emit('smtp', m.ts, {
      trans_depth: transferred + 1,
      helo,
      mailfrom: m.mailfrom,
      rcptto: m.rcptto.length > 0 ? m.rcptto : undefined,
      date: headers.date,
      from: headers.from,
      to: m.to,
      cc: m.cc,
      reply_to: headers['reply-to'],
      msg_id: headers['message-id'],
      in_reply_to: headers['in-reply-to'],
      subject: headers.subject,
      x_originating_ip: /[0-9a-f:.]{3,}/i.exec(headers['x-originating-ip'] ?? '')?.[0],
      first_received: m.received[0],
      second_received: m.received[1],
      last_reply: m.lastReply,
      path: [flow.respAddr, flow.origAddr, ...m.received.toReversed().flatMap((line) => addressIn(line) ?? [])],
      user_agent: headers['user-agent'] ?? headers['x-mailer'],
      tls,
      fuids: m.fuids,
    })
  }

  function command(line: Buffer, ts: number): void {
    const text = line.toString('latin1')
    const match = /^\s*(\S+)[ \t]*(.*)$/s.exec(text)
    if (match?.[1] === undefined) return
    const name = match[1].toUpperCase()
    const arg = (match[2] ?? '').trimEnd()
    if (waiting.length < 1000) waiting.push(name)
    switch (name) {
      case 'HELO':
      case 'EHLO':
      case 'XEHLO':
        if (helo !== undefined) log()
        helo = textOfLatin1(arg)
        if (arg === '') break
        current(ts).active = true
        session.confirm('smtp')
        break
      case 'MAIL':
        if (message?.mailfrom !== undefined || (message?.rcptto.length ?? 0) > 0) log()
        if (message !== undefined && !message.active) message.ts = ts
        mark(ts).mailfrom = mailbox(arg)
        break
      case 'RCPT': {
        if (message?.mailfrom === undefined)
          session.weird(ts, 'smtp_mail_transaction_invalid', 'SMTP', 'rcpt to missing mail from')
        const { rcptto } = mark(ts)
        const address = mailbox(arg)
        if (!rcptto.includes(address) && rcptto.length < MAX_LIST) rcptto.push(address)
        break
      }
      case 'DATA':
        current(ts)
        state = 'data'
        openEntity(ts)
        break
      case 'BDAT':
        chunk(arg, ts)
        break
      case 'STARTTLS':
        startTls = true
        break
      default:
    }
  }

  function mark(ts: number): Message {
    const m = current(ts)
    m.active = true
    return m
  }

  function chunk(arg: string, ts: number): void {
    const match = /^(\d+)(?:\s+(LAST))?$/i.exec(arg)
    const size = BigInt(match?.[1]?.slice(0, 21) ?? 0)
    if (match === null || size > MAX_UINT64) {
      session.weird(ts, 'smtp_invalid_bdat_command', 'SMTP', badChunk(arg))
      return
    }
    if (size > MAX_INT64) {
      session.weird(ts, 'smtp_huge_bdat_chunk', 'SMTP', match[1])
      return
    }
    mark(ts)
    if (entity === undefined) openEntity(ts)
    chunkLeft = Number(match[1])
    chunkLast = match[2] !== undefined
    if (chunkLast) waiting[waiting.length - 1] = END
    if (chunkLeft > 0) state = 'chunk'
    else if (chunkLast) closeEntity(ts)
  }

  function openEntity(ts: number): void {
    const owner = current(ts)
    entity = createEntity({
      openLeaf({ filename }, ordinal) {
        let file: FileSink | undefined
        return {
          data(bytes, now) {
            if (file === undefined) {
              file = session.file('SMTP', true, now)
              file.depth = ordinal
              if (filename !== undefined) file.filename = textOfLatin1(filename)
              if (owner.fuids.length < MAX_LIST) owner.fuids.push(file.fuid)
            }
            file.data(bytes, now)
          },
          end: (now) => file?.end(now),
        }
      },
      onHeader(name, value, depth) {
        // Those of the parts and of attached messages are not the message's.
        if (depth === 1) header(owner, name, value)
      },
    })
  }

  function closeEntity(ts: number): void {
    entity?.end(ts)
    entity = undefined
  }

  function header(m: Message, name: string, raw: string): void {
    const value = textOfLatin1(raw)
    if (name === 'received') {
      if (m.received.length >= MAX_LIST) m.received.splice(2, 1)
      m.received.unshift(value)
    } else if (name === 'to' || name === 'cc') m[name] = [...(m[name] ?? []), ...addressList(value)].slice(0, MAX_LIST)
    else if (WANTED_HEADERS.has(name)) m.headers[name] = value
  }

  function mailLine(line: Buffer, ts: number): void {
    if (line.length === 1 && line[0] === 0x2e) {
      state = 'commands'
      closeEntity(ts)
      waiting.push(END)
      return
    }
    // A leading dot was doubled by the sender (RFC 5321, 4.5.2).
    entity?.data(line[0] === 0x2e ? line.subarray(1) : line, ts)
    entity?.data(CRLF, ts)
  }

  function reply(line: Buffer, ts: number): boolean | undefined {
    const match = /^(\d{3})([ -]|$)(.*)$/s.exec(line.toString('latin1'))
    if (match?.[1] === undefined) return undefined
    session.confirm('smtp')
    const code = Number(match[1])
    current(ts).lastReply = `${code} ${textOf(Buffer.from(match[3] ?? '', 'latin1'))}`
    if (match[2] === '-') return undefined
    const answered = waiting.shift()
    if (answered === END) {
      log()
      if (code < 400) transferred++
      current(ts)
    } else if (answered === 'DATA' && code >= 400) {
      state = 'commands'
      entity = undefined
    } else if (answered === 'STARTTLS' && code === 220 && startTls) {
      tls = true
      log()
      tunnel = session.handOver('ssl', ts)
      return false
    }
    return undefined
  }

  const requests = createLines((line, ts) => {
    if (state === 'data') mailLine(line, ts)
    else command(line, ts)
    return state === 'chunk' ? false : undefined
  })
  let greeted = false
  const replies = createLines((line, ts) => {
    // The greeting answers no command.
    if (!greeted) {
      greeted = true
      waiting.unshift('')
    }
    return reply(line, ts)
  })

  function fromClient(bytes: Buffer, ts: number): void {
    let rest: Buffer = bytes
    while (rest.length > 0) {
      if (state === 'chunk') {
        const part = rest.subarray(0, Math.min(chunkLeft, rest.length))
        entity?.data(part, ts)
        chunkLeft -= part.length
        rest = rest.subarray(part.length)
        if (chunkLeft > 0) return
        state = 'commands'
        if (chunkLast) closeEntity(ts)
        continue
      }
      requests.data(rest, ts)
      rest = (state as string) === 'chunk' ? requests.take() : Buffer.alloc(0)
    }
  }

  /** Commands may be among what is missing: who waits for which reply is unknown from here on. */
  function lost(length: number, ts: number): void {
    requests.gap()
    waiting.length = 0
    if (state !== 'chunk') return
    chunkLeft -= length
    if (chunkLeft > 0) return
    state = 'commands'
    if (chunkLast || chunkLeft < 0) closeEntity(ts)
  }

  return {
    data(fromOriginator, bytes, ts) {
      if (tunnel !== undefined) tunnel.data(fromOriginator, bytes, ts)
      else if (fromOriginator) fromClient(bytes, ts)
      else {
        replies.data(bytes, ts)
        const rest = tunnel === undefined ? undefined : replies.take()
        if (rest !== undefined && rest.length > 0) (tunnel as Dissector | undefined)?.data(false, rest, ts)
      }
    },
    gap(fromOriginator, length, ts) {
      if (tunnel !== undefined) tunnel.gap?.(fromOriginator, length, ts)
      else if (fromOriginator) lost(length, ts)
      else {
        replies.gap()
        waiting.length = 0
      }
    },
    end(ts) {
      tunnel?.end?.(ts)
      closeEntity(ts)
      log()
    },
  }
}

const CRLF = Buffer.from('\r\n')

/** `FROM:<a@b> SIZE=1` → `a@b` */
function mailbox(arg: string): string {
  const rest = arg.replace(/^(?:from|to)\s*:\s*/i, '')
  return textOfLatin1(/^<([^>]*)>/.exec(rest)?.[1] ?? rest.split(/\s/)[0] ?? '')
}

/** Commas within quotes part nothing. */
function addressList(value: string): string[] {
  return (value.match(/(?:"(?:[^"\\]|\\.)*"|[^,"])+/g) ?? []).map((part) => part.trim()).filter((part) => part !== '')
}

function addressIn(received: string): string | undefined {
  return /^from\b.*?\[((?:\d{1,3}\.){3}\d{1,3}|(?:ipv6:)?[0-9a-f]{0,4}:[0-9a-f:.]{1,41})\]/i
    .exec(received)?.[1]
    ?.replace(/^ipv6:/i, '')
}

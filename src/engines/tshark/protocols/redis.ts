/**
 * Redis: one redis record a command, with its reply; for a reply that answers no command a record of its own.
 * Commands that get no reply (CLIENT REPLY OFF and SKIP, subscriptions) are written without one.
 */

import type { Dissector, Protocol, Session } from './protocol.ts'
import { createRespReader, type RespValue, renderResp } from './resp.ts'
import { textOfLatin1 } from './text.ts'

const REQUEST = /^\*\d{1,5}\r\n\$\d{1,9}\r\n/
/** Whole, and as far as it may have come. */
const REQUEST_BEGUN = /^(?:\*(?:\d{1,5}(?:\r(?:\n(?:\$(?:\d{1,9}\r?)?)?)?)?)?)?$/
const REPLY_BEGUN = /^[+\-:$*_#,(!=%~>|][^\r\n]*\r?$/
const REPLY = /^[+\-:$*_#,(!=%~>|][^\r\n]*\r\n/
/** Zeek's `Redis::max_pending_commands`. */
const MAX_PENDING = 10_000
/** Values are cut to this many bytes. */
const MAX_VALUE_BYTES = 250
const SUBSCRIPTIONS = new Set('SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE'.split(' '))
/** What such an array begins with is no reply, but news for a subscriber. */
const NEWS = new Set(
  'message pmessage smessage subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe'.split(' '),
)

export const redis: Protocol = {
  name: 'redis',
  logs: ['redis'],
  tcpPorts: [6379],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const [request, reply] = [originator, responder].map((bytes) => bytes.subarray(0, 512).toString('latin1'))
    if (request === undefined || reply === undefined) return false
    if (!REQUEST.test(request)) return REQUEST_BEGUN.test(request) ? undefined : false
    return REPLY.test(reply)
      ? true
      : reply === '' || (REPLY_BEGUN.test(reply) && reply.length < 512)
        ? undefined
        : false
  },
  dissect: createRedis,
}

interface Command {
  ts: number
  name: string
  key?: string
  value?: string
}

function createRedis(session: Session): Dissector {
  const pending: Command[] = []
  /** What CLIENT REPLY has set. */
  let replies: 'on' | 'off' | 'skip next' = 'on'
  let subscribed = false
  let full = false

  function write(
    command: Command | undefined,
    ts: number,
    answer: { success?: boolean; 'reply.value'?: string },
  ): void {
    session.emit('redis', command?.ts ?? ts, {
      'cmd.name': command?.name,
      'cmd.key': command?.key,
      'cmd.value': command?.value,
      ...answer,
    })
  }

  function command({ items = [] }: RespValue, ts: number): void {
    const words = items.map((item) => item.text)
    if (words[0] === undefined || full) return
    const name = words[0].toUpperCase()
    const entry: Command = { ts, name: textOfLatin1(name) }
    if (name === 'SET' && words.length >= 3) entry.value = valueText(words[2] ?? '')
    if ((name === 'SET' && words.length >= 3) || (name === 'GET' && words.length >= 2))
      entry.key = textOfLatin1(words[1] ?? '')
    if (SUBSCRIPTIONS.has(name)) subscribed = true
    const answered = isAnswered(name, words)
    if (!answered || SUBSCRIPTIONS.has(name)) {
      write(entry, ts, {})
      return
    }
    pending.push(entry)
    if (pending.length <= MAX_PENDING) return
    session.weird(ts, 'Redis_excessive_pipelining', 'REDIS', `${pending.length} > ${MAX_PENDING}`)
    pending.pop()
    full = true
  }

  /** CLIENT REPLY changes what comes back from itself on. */
  function isAnswered(name: string, [, first, second]: string[]): boolean {
    const mode = name === 'CLIENT' && first?.toUpperCase() === 'REPLY' ? second?.toUpperCase() : undefined
    if (mode === 'ON') replies = 'on'
    else if (mode === 'OFF') replies = 'off'
    else if (mode === 'SKIP' && replies !== 'off') {
      replies = 'skip next'
      return false
    }
    if (replies === 'on') return true
    if (replies === 'skip next') replies = 'on'
    return false
  }

  function reply(value: RespValue, ts: number): void {
    if (value.type === '>' || (subscribed && value.type === '*' && NEWS.has(value.items?.[0]?.text ?? ''))) return
    session.confirm('redis')
    const isError = value.type === '-' || value.type === '!'
    write(pending.shift(), ts, { success: !isError, 'reply.value': valueText(renderResp(value)) })
  }

  const client = createRespReader({ onValue: command, onNonsense: () => server.stop(), inline: true })
  const server = createRespReader({ onValue: reply, onNonsense: () => client.stop() })
  return {
    data(fromOriginator, bytes, ts) {
      if (fromOriginator) client.data(bytes, ts)
      else server.data(bytes, ts)
    },
    gap() {
      client.stop()
      server.stop()
    },
    end(ts) {
      for (const each of pending) write(each, ts, {})
      pending.length = 0
    },
  }
}

const valueText = (latin1: string) => textOfLatin1(latin1.slice(0, MAX_VALUE_BYTES))

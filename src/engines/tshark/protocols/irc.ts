/**
 * IRC (RFC 1459, 2812): an irc record for each NICK, USER and JOIN of the client, and for each file that DCC
 * sends: the data channel that either side announces is followed as `irc-dcc-data`.
 */

import { createLines } from './lines.ts'
import type { Dissector, Fields, FileSink, Protocol, Session } from './protocol.ts'
import { textOfLatin1 } from './text.ts'

const SERVER_LINE = /(?:^|[\r\n])(?:@\S{1,512} )?:\S{1,255} (?:\d{3}|[A-Za-z]{1,32}) [^\r\n]{1,512}[\r\n]/
const STARTTLS_SUCCESSFUL = '670'
const MAX_CHANNELS = 100

export const irc: Protocol = {
  name: 'irc',
  logs: ['irc'],
  tcpPorts: [6666, 6667, 6668, 6669],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    // The last piece is no whole line yet.
    const lines = originator
      .toString('latin1')
      .split(/[\r\n]/)
      .slice(0, -1)
    const registers = ['nick', 'user'].every((word) => lines.some((line) => isCommand(line, word)))
    return registers && SERVER_LINE.test(responder.toString('latin1')) ? true : undefined
  },
  dissect: createIrc,
}

/** A file over a connection that a DCC SEND has announced; what the receiver sends back counts bytes, no more. */
export const ircData: Protocol = {
  name: 'irc-dcc-data',
  logs: ['files'],
  dissect(session) {
    session.confirm('irc-dcc-data')
    let file: FileSink | undefined
    let told = false

    function tell(): void {
      if (file === undefined || told) return
      told = true
      session.announcer?.({ fuid: file.fuid, dcc_mime_type: file.mime() })
    }

    function open(ts: number): FileSink {
      if (file !== undefined) return file
      file = session.file('IRC_DATA', false, ts)
      // The announcer fills in what it knows of the file.
      const known: Fields = { filename: undefined }
      session.announcer?.(known)
      if (typeof known.filename === 'string') file.filename = known.filename
      return file
    }

    function done(ts: number): void {
      file?.end(ts)
      tell()
    }

    return {
      data(fromOriginator, bytes, ts) {
        if (fromOriginator) return
        const sink = open(ts)
        sink.data(bytes, ts)
        if (sink.mime() !== undefined) tell()
      },
      gap(fromOriginator, length, ts) {
        if (!fromOriginator) open(ts).gap(length, ts)
      },
      finished: (fromOriginator, ts) => (fromOriginator ? undefined : done(ts)),
      end: done,
    }
  },
}

interface Message {
  command: string
  /** The middle parameters, then what follows ` :`. */
  words: string[]
  /** All that follows the command, as sent. */
  rest: string
}

const isCommand = (line: string, word: string) => new RegExp(`^ *${word} +\\S`, 'i').test(line)

/** `@tags :prefix command parameters`; tags and prefix may be absent. */
function parseMessage(line: string): Message | undefined {
  let rest = line.trim()
  for (const mark of ['@', ':']) {
    if (!rest.startsWith(mark)) continue
    const space = rest.indexOf(' ')
    if (space < 0) return undefined
    rest = rest.slice(space).trimStart()
  }
  if (rest === '') return undefined
  const [command = ''] = rest.split(' ', 1)
  const parameters = rest.slice(command.length).trimStart()
  return {
    command: command.toUpperCase(),
    rest: parameters,
    words: parameters.split(/ +/).filter((word) => word !== ''),
  }
}

const withoutColon = (word: string) => (word.startsWith(':') ? word.slice(1) : word)

function createIrc(session: Session): Dissector {
  let ts = 0
  let nick: string | undefined
  let user: string | undefined
  /** They stay in later records of the session, where those have none of their own. */
  let value: string | undefined
  let addl: string | undefined
  let tunnel: Dissector | undefined
  let startTls = false

  function emit(command: string, dcc: Fields = {}): void {
    session.emit('irc', ts, { nick, user, command, value, addl, ...dcc })
  }

  const commands: Record<string, (message: Message) => void> = {
    NICK({ words }) {
      if (words[0] === undefined) return
      value = textOfLatin1(withoutColon(words[0]))
      emit('NICK')
      nick = value
    },
    USER({ words: [name, host, server, real = '', ...more] }) {
      if (name === undefined) return
      value = textOfLatin1(name)
      const realName = withoutColon(real) + more.map((word) => `${word} `).join('')
      addl = textOfLatin1(`${host ?? ''} ${server ?? ''} ${realName}`)
      emit('USER')
      user = value
    },
    JOIN({ words }) {
      const [channels, keys] = words.map((word) => withoutColon(word).split(','))
      if (channels === undefined || (channels.length === 1 && channels[0] === '')) {
        session.weird(ts, 'irc_invalid_join_line', 'IRC')
        return
      }
      for (const [i, channel] of channels.slice(0, MAX_CHANNELS).entries()) {
        value = textOfLatin1(channel)
        const key = keys?.[i] ?? ''
        addl = key === '' ? '' : textOfLatin1(` with channel key: '${key}'`)
        emit('JOIN')
      }
    },
    STARTTLS() {
      startTls = true
    },
  }

  function fromClient(line: Buffer, now: number): undefined {
    const message = parseMessage(line.toString('latin1'))
    if (message === undefined) return
    if (/^[A-Z]+$/.test(message.command)) session.confirm('irc')
    if (Object.hasOwn(commands, message.command)) {
      ts = now
      commands[message.command]?.(message)
    } else if (message.command === 'PRIVMSG') directConnection(message.rest, now)
  }

  function fromServer(line: Buffer, now: number): boolean | undefined {
    const message = parseMessage(line.toString('latin1'))
    if (message?.command === 'PRIVMSG') directConnection(message.rest, now)
    if (message?.command !== STARTTLS_SUCCESSFUL || !startTls) return undefined
    tunnel = session.handOver('ssl', now)
    return false
  }

  /** `\x01DCC SEND name host port size\x01`, the host as one number. */
  function directConnection(rest: string, now: number): void {
    const dcc = /^\S+ +:?\x01?DCC +(\S+) +("[^"]*"|\S+) +(\S+) +(\d+)(?: +(\d+))?/.exec(rest)
    if (dcc === null) return
    const [, type = '', name = '', hostText = '', portText, sizeText] = dcc
    const host = addressOfNumber(hostText)
    if (host === undefined) {
      session.weird(now, 'irc_invalid_dcc_host', 'IRC')
      return
    }
    const port = Number(portText)
    if (type.toUpperCase() !== 'SEND' || port === 0 || port > 65535) return
    ts = now
    const filename = textOfLatin1(name.replace(/^"|"$/g, ''))
    const size = Number(sizeText ?? 0)
    session.expect(host, port, 'irc-dcc-data', (values) => {
      if ('filename' in values) values.filename = filename
      else
        emit('DCC', {
          dcc_file_name: filename,
          dcc_file_size: size,
          dcc_mime_type: values.dcc_mime_type,
          fuid: values.fuid,
        })
    })
  }

  const sides = { client: createLines(fromClient), server: createLines(fromServer) }
  return {
    data(fromOriginator, bytes, now) {
      if (tunnel !== undefined) {
        tunnel.data(fromOriginator, bytes, now)
        return
      }
      const side = fromOriginator ? sides.client : sides.server
      side.data(bytes, now)
      const rest = side.take()
      if (rest.length > 0) (tunnel as Dissector | undefined)?.data(fromOriginator, rest, now)
    },
    gap(fromOriginator, length, now) {
      if (tunnel !== undefined) tunnel.gap?.(fromOriginator, length, now)
      else (fromOriginator ? sides.client : sides.server).gap()
    },
    finished: (fromOriginator, now) => tunnel?.finished?.(fromOriginator, now),
    end: (now) => tunnel?.end?.(now),
  }
}

/** An IPv4 address as DCC writes it: one decimal number; some clients write it dotted, or IPv6. */
function addressOfNumber(text: string): string | undefined {
  if (/^\d{1,10}$/.test(text) && Number(text) <= 0xffffffff) {
    const word = Number(text)
    return [24, 16, 8, 0].map((shift) => (word >>> shift) & 255).join('.')
  }
  return undefined
}

/**
 * MySQL (https://dev.mysql.com/doc/dev/mysql-server/latest/): one mysql record for the login and for each
 * command, written when its answer is complete, when the next command comes, or at the flow's end.
 */

import type { FramedReader } from './framed.ts'
import { createPacketReader, lengthEncoded, type MysqlPacket, statementAt, untilNul } from './mysql-packets.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'
import { textOf } from './text.ts'

const COMMANDS = `sleep quit init_db query field_list create_db drop_db refresh shutdown statistics process_info
  connect process_kill debug ping time delayed_insert change_user binlog_dump table_dump connect_out
  register_slave stmt_prepare stmt_execute stmt_send_long_data stmt_close stmt_reset set_option stmt_fetch
  daemon binlog_dump_gtid reset_connection`.split(/\s+/)

/** How an answer goes: a plain OK; a result set; column definitions alone; text; nothing at all. */
type Answer = 'status' | 'result' | 'columns' | 'text' | 'none' | 'login'

const ANSWERS: Record<string, Answer> = {
  quit: 'none',
  query: 'result',
  field_list: 'columns',
  statistics: 'text',
  process_info: 'result',
  change_user: 'login',
  stmt_execute: 'result',
  stmt_fetch: 'columns',
  stmt_send_long_data: 'none',
  stmt_close: 'none',
}

const CLIENT_COMPRESS = 0x20
const CLIENT_PROTOCOL_41 = 0x200
const CLIENT_SSL = 0x800
const CLIENT_DEPRECATE_EOF = 0x0100_0000
const CLIENT_QUERY_ATTRIBUTES = 0x0800_0000
const SSL_REQUEST_BYTES = 32
const MAX_VERSION_BYTES = 100

const OK = 0
const INFILE = 0xfb
const EOF = 0xfe
const ERROR = 0xff
/** A packet that begins like EOF but is longer is a row. */
const MAX_EOF_BYTES = 8

export const mysql: Protocol = {
  name: 'mysql',
  logs: ['mysql'],
  tcpPorts: [1434, 3306],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    if (responder.length >= 5 && (responder[3] !== 0 || responder[4] !== 10)) return false
    const version = responder.subarray(5, 5 + MAX_VERSION_BYTES).toString('latin1')
    if (!version.includes('\0')) return version.length < MAX_VERSION_BYTES ? undefined : false
    if (!/^\d+\.\d[\x20-\x7e]*$/.test(version.slice(0, version.indexOf('\0')))) return false
    return originator.length < 4 ? undefined : originator[3] === 1
  },
  dissect: (session) => (session.flow.partial ? { data: () => {} } : createMysql(session)),
}

interface Command {
  ts: number
  name: string
  arg: string
  answer: Answer
  /** Result sets: behind the number of columns; the columns' own EOF has been seen. */
  inResult: boolean
  columnsDone: boolean
}

function createMysql(session: Session): Dissector {
  let phase: 'greeting' | 'login' | 'commands' = 'greeting'
  let serverCapabilities = 0
  let capabilities = 0
  let pending: Command | undefined
  let tunnel: Dissector | undefined

  function write(result: { success?: boolean; rows?: number; response?: string } = {}): void {
    if (pending === undefined) return
    const { ts, name, arg } = pending
    pending = undefined
    session.emit('mysql', ts, { cmd: name, arg, ...result })
  }

  function begin(ts: number, name: string, arg: Buffer, answer: Answer): void {
    write()
    pending = { ts, name, arg: textOf(arg), answer, inResult: false, columnsDone: false }
    if (answer === 'none') write()
  }

  function fromClient({ sequence, length, payload }: MysqlPacket, ts: number): boolean | undefined {
    if (phase === 'login' && pending === undefined) return handshake(length, payload, ts)
    if (phase !== 'commands' || sequence !== 0 || payload.length === 0) return undefined
    const code = payload[0] as number
    const name = COMMANDS[code] ?? `unknown-${code}`
    let arg = payload.subarray(1)
    if (name === 'query' && (capabilities & serverCapabilities & CLIENT_QUERY_ATTRIBUTES) !== 0)
      arg = payload.subarray(statementAt(payload, 1) ?? 1)
    if (name === 'change_user') arg = untilNul(payload, 1)
    if (arg[arg.length - 1] === 0) arg = arg.subarray(0, -1)
    begin(ts, name, arg, ANSWERS[name] ?? 'status')
    if (name === 'change_user') phase = 'login'
    return undefined
  }

  function handshake(length: number, payload: Buffer, ts: number): boolean | undefined {
    if (payload.length < 5) return give()
    const short = payload.readUInt16LE(0)
    capabilities = (short & CLIENT_PROTOCOL_41) !== 0 ? payload.readUInt32LE(0) : short
    session.confirm('mysql')
    if (length === SSL_REQUEST_BYTES && (capabilities & CLIENT_SSL) !== 0) {
      tunnel = session.handOver('ssl', ts)
      return false
    }
    begin(ts, 'login', untilNul(payload, (capabilities & CLIENT_PROTOCOL_41) !== 0 ? SSL_REQUEST_BYTES : 5), 'login')
    return undefined
  }

  function fromServer({ payload }: MysqlPacket, _ts: number): boolean | undefined {
    if (phase === 'greeting') return greeting(payload)
    if (pending === undefined || payload.length === 0) return undefined
    if (payload[0] === ERROR && !(pending.inResult && payload.length < 3)) {
      write({ success: false, response: errorText(payload) })
      phase = 'commands'
    } else answers[pending.answer](payload, pending)
    return undefined
  }

  function greeting(payload: Buffer): boolean | undefined {
    phase = 'login'
    const version = payload[0]
    if (version !== 9 && version !== 10) return give()
    // Behind the version's text: thread id, 8 bytes of data, a filler, the lower capabilities; then charset, status, the upper.
    const at = payload.indexOf(0, 1) + 14
    if (version === 10 && at >= 14 && payload.length >= at + 7)
      serverCapabilities = (payload.readUInt16LE(at) | (payload.readUInt16LE(at + 5) << 16)) >>> 0
    return undefined
  }

  const succeed = (payload: Buffer) => write({ success: true, rows: lengthEncoded(payload, 1)?.value ?? 0 })
  const isEof = (payload: Buffer) => payload[0] === EOF && payload.length <= MAX_EOF_BYTES
  const noMoreRows = () => write({ success: true, rows: 0 })

  const answers: Record<Answer, (payload: Buffer, command: Command) => void> = {
    login(payload) {
      // 0xfe asks for another way of authentication, 1 has more of it to say.
      if (payload[0] !== OK) return
      succeed(payload)
      phase = 'commands'
      if ((capabilities & serverCapabilities & CLIENT_COMPRESS) !== 0) give()
    },
    status(payload, { name }) {
      if (payload[0] === OK && name === 'stmt_prepare') noMoreRows()
      else if (payload[0] === OK) succeed(payload)
      else if (isEof(payload)) noMoreRows()
    },
    result(payload, command) {
      if (!command.inResult) {
        if (payload[0] === OK) succeed(payload)
        else if (payload[0] !== INFILE) command.inResult = true
      } else if ((capabilities & serverCapabilities & CLIENT_DEPRECATE_EOF) !== 0) {
        // Here an OK that begins with 0xfe ends the rows; a row that begins with it is 16 MiB long.
        if (payload[0] === EOF && payload.length < 0xff_ffff) noMoreRows()
      } else if (isEof(payload)) {
        if (command.columnsDone) noMoreRows()
        command.columnsDone = true
      }
    },
    columns(payload) {
      if (payload[0] === EOF) noMoreRows()
    },
    text() {},
    none() {},
  }

  /** @returns false: this is no MySQL, or none that can be read. */
  function give(): false {
    client.lost()
    server.lost()
    write()
    return false
  }

  const client: FramedReader = createPacketReader(fromClient)
  const server: FramedReader = createPacketReader(fromServer)
  return {
    data(fromOriginator, bytes, ts) {
      if (tunnel !== undefined) {
        tunnel.data(fromOriginator, bytes, ts)
        return
      }
      const side = fromOriginator ? client : server
      side.data(bytes, ts)
      const rest = side.take()
      if (rest.length > 0) (tunnel as Dissector | undefined)?.data(fromOriginator, rest, ts)
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

/** Code, then `#` and five characters of SQL state, then what people read. */
function errorText(payload: Buffer): string {
  const text = payload.subarray(3)
  return textOf(text[0] === 0x23 ? text.subarray(6) : text)
}

/**
 * SMB 1 messages (MS-CIFS, MS-SMB): from their bytes to what the connection's state needs of them.
 */

import { createBoundedMap } from './bounded-map.ts'
import { authenticationOf } from './gssapi.ts'
import { fileTime, uint64 } from './little-endian.ts'
import type { Session } from './protocol.ts'
import { createCommandLog, type ReferencedFile, SMB1_COMMANDS, TRANSACTION2_COMMANDS } from './smb-commands.ts'
import type { FileTimes, ShareType, SmbState } from './smb-state.ts'
import { textOf, textOfUtf16 } from './text.ts'

const HEADER_BYTES = 32
const REPLY = 0x80
const UNICODE = 0x8000
const NO_MORE = 0xff
const STATUS_BUFFER_OVERFLOW = 0x8000_0005
const MORE_PROCESSING_REQUIRED = 0xc000_0016
/** A transaction on an open pipe; mailslots and the LANMAN calls have other names. */
const PIPES = '\\PIPE\\'
const EXTENDED_SECURITY = 0x8000_0000
const MAX_PENDING = 1000
const MAX_PENDING_NAMES = 1 << 20
const MAX_CHAIN = 20

const CLOSE = 0x04
const TRANSACTION = 0x25
const LOCKING_ANDX = 0x24
const OPEN_ANDX = 0x2d
const READ_ANDX = 0x2e
const WRITE_ANDX = 0x2f
const TRANSACTION2 = 0x32
const TREE_DISCONNECT = 0x71
const NEGOTIATE = 0x72
const SESSION_SETUP_ANDX = 0x73
const LOGOFF_ANDX = 0x74
const TREE_CONNECT_ANDX = 0x75
const NT_CREATE_ANDX = 0xa2
const ANDX = new Set([
  LOCKING_ANDX,
  OPEN_ANDX,
  READ_ANDX,
  WRITE_ANDX,
  SESSION_SETUP_ANDX,
  LOGOFF_ANDX,
  TREE_CONNECT_ANDX,
  NT_CREATE_ANDX,
])

/** What a response needs to know of its request. */
interface Pending {
  ts: number
  command: number
  subCommand?: string
  path?: string
  fileId?: string
  offset?: number
}

interface Message {
  /** From the header on: offsets in messages count from there. */
  bytes: Buffer
  /** First parameter word, their bytes, and the data behind them. */
  words: number
  wordBytes: number
  data: Buffer
  dataAt: number
  treeId: number
  unicode: boolean
  ts: number
}

type Handlers = Record<number, { least: number; handle(message: Message, request: Pending): void }>

export interface Smb1 {
  message(fromOriginator: boolean, bytes: Buffer, ts: number): void
}

export function createSmb1(session: Session, state: SmbState): Smb1 {
  /** By multiplex id and command, as a chain of commands shares the id. */
  const pending = createBoundedMap<number, Pending>({
    maxCount: MAX_PENDING,
    maxWeight: MAX_PENDING_NAMES,
    weigh: ({ path }) => path?.length ?? 0,
  })

  const commandLog = createCommandLog(session)

  function tellCommand(request: Pending, status: number, answered: number): void {
    if (commandLog === undefined) return
    const { command, subCommand, ts: asked } = request
    const file = referencedFile(request)
    commandLog({ version: 'SMB1', command: SMB1_COMMANDS[command], subCommand, status, asked, answered, file })
  }

  function referencedFile({ command, fileId, path }: Pending): ReferencedFile | undefined {
    if (command === NT_CREATE_ANDX) return { action: 'FILE_OPEN', name: path }
    const action = FILE_ACTIONS[command]
    const file = fileId === undefined ? undefined : state.file(fileId)
    return action === undefined || file === undefined ? undefined : { action, ...file }
  }

  function token(blob: Buffer, ts: number): void {
    if (blob.length > 0) authenticationOf(session).token(blob, ts)
  }

  /** By command; `least` is in bytes of parameter words. */
  const requests: Handlers = {
    [SESSION_SETUP_ANDX]: {
      least: 24,
      // 13 words: a login without GSS-API.
      handle: (message) => {
        if (message.wordBytes === 24) token(message.data.subarray(0, u16(message, 14)), message.ts)
      },
    },
    [TREE_CONNECT_ANDX]: {
      least: 8,
      handle: (message, request) => {
        request.path = stringAt(message, u16(message, 6))
      },
    },
    [NT_CREATE_ANDX]: {
      least: 48,
      handle: (message, request) => {
        request.path = stringAt(message, 0, u16(message, 5))
      },
    },
    [CLOSE]: {
      least: 2,
      handle: (message, request) => {
        request.fileId = String(u16(message, 0))
      },
    },
    [READ_ANDX]: {
      least: 20,
      handle: (message, request) => {
        request.fileId = String(u16(message, 4))
        request.offset = offset64(message, 6, 20)
      },
    },
    [WRITE_ANDX]: { least: 24, handle: writeRequest },
    [TRANSACTION2]: {
      least: 30,
      handle: (message, request) => {
        request.subCommand = TRANSACTION2_COMMANDS[u16(message, 28)]
      },
    },
    [TRANSACTION]: { least: 28, handle: transactionRequest },
    [TREE_DISCONNECT]: { least: 0, handle: (message) => state.treeDisconnected(message.treeId) },
  }

  const responses: Handlers = {
    [NEGOTIATE]: {
      least: 34,
      handle: (message) => {
        if ((u32(message, 19) & EXTENDED_SECURITY) !== 0) token(message.data.subarray(16), message.ts)
      },
    },
    [SESSION_SETUP_ANDX]: {
      least: 8,
      handle: (message) => token(message.data.subarray(0, u16(message, 6)), message.ts),
    },
    [TREE_CONNECT_ANDX]: { least: 4, handle: treeConnectResponse },
    [NT_CREATE_ANDX]: { least: 67, handle: createResponse },
    [CLOSE]: {
      least: 0,
      handle: ({ ts }, { fileId }) => {
        if (fileId !== undefined) state.closed(fileId, ts)
      },
    },
    [READ_ANDX]: {
      least: 24,
      handle: (message, request) => {
        if (request.fileId === undefined) return
        const data = area(message, u16(message, 12), u16(message, 10) + u16(message, 14) * 65_536)
        content(message, request.fileId, false, request.offset ?? 0, data)
      },
    },
    [TRANSACTION]: {
      least: 20,
      handle: (message, { fileId }) => {
        if (fileId === undefined) return
        state.pipe(fileId, false, area(message, u16(message, 14), u16(message, 12)), message.ts)
      },
    },
  }

  function writeRequest(message: Message, request: Pending): void {
    request.fileId = String(u16(message, 4))
    const data = area(message, u16(message, 22), u16(message, 20) + u16(message, 18) * 65_536)
    content(message, request.fileId, true, offset64(message, 6, 24), data)
  }

  function content(message: Message, fileId: string, fromOriginator: boolean, offset: number, data: Buffer): void {
    const file = state.file(fileId)
    // The share was connected before the capture began: what is said tells a pipe.
    const isPipe = file?.isPipe === true || (state.tree(message.treeId) === undefined && looksLikeRpc(data))
    if (isPipe) state.pipe(fileId, fromOriginator, data, message.ts)
    else state.content(fileId, fromOriginator, offset, data, message.ts)
  }

  function transactionRequest(message: Message, request: Pending): void {
    if (stringAt(message, 0) !== PIPES) return
    const setupCount = u8(message, 26)
    request.fileId = setupCount >= 2 && message.wordBytes >= 32 ? String(u16(message, 30)) : '0'
    state.pipe(request.fileId, true, area(message, u16(message, 24), u16(message, 22)), message.ts)
  }

  function treeConnectResponse(message: Message, request: Pending): void {
    if (request.path === undefined) return
    const end = message.data.indexOf(0)
    const service = textOf(end < 0 ? message.data : message.data.subarray(0, end))
    const native = end < 0 ? '' : stringAt(message, end + 1)
    const tree = {
      path: request.path,
      service: service === '' ? undefined : service,
      nativeFileSystem: native === '' ? undefined : native,
      shareType: SHARE_TYPES[service] ?? 'DISK',
    }
    state.treeConnected(message.treeId, tree, request.ts)
  }

  function createResponse(message: Message, request: Pending): void {
    const tree = state.tree(message.treeId)
    const file = {
      name: request.path ?? '',
      size: u64(message, 55),
      times: timesAt(message.bytes, message.words + 11),
      shareType: tree?.shareType,
      isPipe: tree?.shareType === 'PIPE',
      logsPipe: true,
    }
    state.opened(String(u16(message, 5)), file, request.ts)
  }

  function request(command: number, multiplexId: number, message: Message): void {
    const wait: Pending = { ts: message.ts, command }
    run(requests, command, message, wait)
    pending.set(multiplexId * 256 + command, wait)
  }

  function response(command: number, multiplexId: number, status: number, message: Message): void {
    const key = multiplexId * 256 + command
    const asked = pending.get(key)
    if (command !== TRANSACTION) pending.delete(key)
    if (asked !== undefined) tellCommand(asked, status, message.ts)
    if (!isGood(command, status)) return
    run(responses, command, message, asked ?? { ts: message.ts, command })
  }

  return {
    message(fromOriginator, bytes, ts) {
      if (bytes.length < HEADER_BYTES + 3) return
      const isReply = ((bytes[9] as number) & REPLY) !== 0
      if (isReply === fromOriginator) return
      const status = bytes.readUInt32LE(5)
      const multiplexId = bytes.readUInt16LE(30)
      let [command, at] = [bytes[4] as number, HEADER_BYTES]
      for (let i = 0; i < MAX_CHAIN; i++) {
        const message = blockAt(bytes, at, ts)
        if (message === undefined) return
        const chained = ANDX.has(command) && message.wordBytes >= 4 && u8(message, 0) !== NO_MORE
        const next = chained ? u16(message, 2) : 0
        if (chained && next <= at) {
          session.weird(ts, 'smb_andx_offset_not_advancing', 'SMB')
          return
        }
        if (isReply) response(command, multiplexId, status, message)
        else request(command, multiplexId, message)
        if (!chained) return
        command = u8(message, 0)
        at = next
      }
    },
  }
}

/** DCE/RPC's version, a type that exists, and a byte order. */
function looksLikeRpc(bytes: Buffer): boolean {
  if (bytes.length < 16 || bytes[0] !== 5 || bytes[1] !== 0) return false
  return (bytes[2] as number) <= 19 && ((bytes[4] as number) & 0xef) === 0 && bytes[5] === 0
}

/** `IPC`, `A:`, `LPT1:`, `COMM` (MS-CIFS 2.2.4.55.2). */
const SHARE_TYPES: Record<string, ShareType> = { IPC: 'PIPE', 'LPT1:': 'PRINTER', COMM: 'COMM' }

/** Word count, words, byte count, data. */
function blockAt(bytes: Buffer, at: number, ts: number): Message | undefined {
  const wordBytes = 2 * (bytes[at] ?? 0)
  const words = at + 1
  const dataAt = words + wordBytes + 2
  if (dataAt > bytes.length) return undefined
  return {
    bytes,
    words,
    wordBytes,
    data: bytes.subarray(dataAt),
    dataAt,
    treeId: bytes.readUInt16LE(24),
    unicode: (bytes.readUInt16LE(10) & UNICODE) !== 0,
    ts,
  }
}

const FILE_ACTIONS: Record<number, ReferencedFile['action']> = {
  [CLOSE]: 'FILE_CLOSE',
  [READ_ANDX]: 'FILE_READ',
  [WRITE_ANDX]: 'FILE_WRITE',
}

function run(handlers: Handlers, command: number, message: Message, request: Pending): void {
  const handler = handlers[command]
  if (handler !== undefined && message.wordBytes >= handler.least) handler.handle(message, request)
}

const u8 = ({ bytes, words }: Message, at: number) => bytes[words + at] as number
const u16 = ({ bytes, words }: Message, at: number) => bytes.readUInt16LE(words + at)
const u32 = ({ bytes, words }: Message, at: number) => bytes.readUInt32LE(words + at)
const u64 = ({ bytes, words }: Message, at: number) => uint64(bytes, words + at)

/** The upper half of an offset stands in words that only the longer form has. */
const offset64 = (message: Message, low: number, high: number) =>
  u32(message, low) + (message.wordBytes >= high + 4 ? u32(message, high) * 2 ** 32 : 0)

const area = ({ bytes }: Message, offset: number, length: number) =>
  offset < HEADER_BYTES || offset + length > bytes.length ? Buffer.alloc(0) : bytes.subarray(offset, offset + length)

/** A string in the data; UTF-16 is aligned to two bytes from the header. It ends at a zero, or after `length` bytes. */
function stringAt({ data, dataAt, unicode }: Message, from: number, length?: number): string {
  let start = from
  if (unicode && (dataAt + start) % 2 !== 0) start++
  const rest = data.subarray(start, length === undefined ? undefined : start + length)
  if (!unicode) {
    const end = rest.indexOf(0)
    return textOf(end < 0 ? rest : rest.subarray(0, end))
  }
  let end = 0
  while (end + 1 < rest.length && (rest[end] !== 0 || rest[end + 1] !== 0)) end += 2
  return textOfUtf16(rest.subarray(0, end))
}

const isGood = (command: number, status: number) =>
  status === 0 ||
  (command === SESSION_SETUP_ANDX && status === MORE_PROCESSING_REQUIRED) ||
  ((command === READ_ANDX || command === TRANSACTION) && status === STATUS_BUFFER_OVERFLOW)

/** Created, accessed, written, changed. */
function timesAt(bytes: Buffer, at: number): FileTimes {
  const time = (offset: number) => (uint64(bytes, at + offset) === 0 ? undefined : fileTime(bytes, at + offset))
  return { created: time(0), accessed: time(8), modified: time(16), changed: time(24) }
}

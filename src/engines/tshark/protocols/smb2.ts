/**
 * SMB 2 and 3 messages (MS-SMB2, section 2.2): from their bytes to what the connection's state needs of them.
 * Encrypted (0xfd) and compressed (0xfc) messages say nothing.
 */

import { createBoundedMap } from './bounded-map.ts'
import { authenticationOf } from './gssapi.ts'
import { fileTime, uint64 } from './little-endian.ts'
import type { Session } from './protocol.ts'
import { createCommandLog, type ReferencedFile, SMB2_COMMANDS } from './smb-commands.ts'
import type { FileTimes, ShareType, SmbState } from './smb-state.ts'
import { textOfUtf16 } from './text.ts'

const HEADER_BYTES = 64
const CREATE = 5
const CLOSE = 6
const READ = 8
const WRITE = 9
const RESPONSE = 1
const ASYNC = 2
const RELATED = 4
const STATUS_PENDING = 0x103
const STATUS_BUFFER_OVERFLOW = 0x8000_0005
const MORE_PROCESSING_REQUIRED = 0xc000_0016
const FSCTL_PIPE_TRANSCEIVE = 0x11_c017
const DELETE_ON_CLOSE = 0x1000
const INFO_FILE = 1
const RENAME_INFORMATION = 10
const DISPOSITION_INFORMATION = 13
const MAX_PENDING = 1000
const MAX_PENDING_NAMES = 1 << 20
const MAX_COMPOUND = 64
/** In a chain: the file of the message before. */
const SAME_FILE = 'f'.repeat(32)
const SAME_TREE = 0xffff_ffff
const SHARE_TYPES: Record<number, ShareType> = { 1: 'DISK', 2: 'PIPE', 3: 'PRINTER' }

/** What is a pipe though its share is not known. */
const PIPE_NAMES = new Set('lsarpc MsFteWds netdfs samr spoolss srvsvc winreg wkssvc'.split(' '))

/** A request whose response is still to come. */
interface Pending {
  ts: number
  command: number
  treeId: number
  name?: string
  deleteOnClose?: boolean
  fileId?: string
  offset?: number
  /** What waits for the id of a file that the same chain opens. */
  onceOpen?: (fileId: string) => void
}

/** What the messages of one chain (compound) share. */
interface Chain {
  treeId: number
  fileId: string
}

interface Message {
  bytes: Buffer
  status: number
  treeId: number
  chain: Chain
  ts: number
}

type Handlers = Record<number, { least: number; handle(message: Message, request: Pending): void }>

/** Takes a message's bytes with their place in it. */
export type LongMessage = (at: number, bytes: Buffer, ts: number) => void

export interface Smb2 {
  message(fromOriginator: boolean, bytes: Buffer, ts: number): void
  /** A message that is too long to be kept, from its first bytes: what takes the rest of it, if it carries a file. */
  longMessage(fromOriginator: boolean, head: Buffer, ts: number): LongMessage | undefined
}

export function createSmb2(session: Session, state: SmbState): Smb2 {
  const pending = createBoundedMap<number, Pending>({
    maxCount: MAX_PENDING,
    maxWeight: MAX_PENDING_NAMES,
    weigh: ({ name }) => name?.length ?? 0,
  })

  const commandLog = createCommandLog(session)

  function tellCommand(request: Pending, message: Message): void {
    if (commandLog === undefined) return
    const { command, ts: asked } = request
    const { status, ts: answered } = message
    const file = referencedFile(request, message)
    commandLog({ version: 'SMB2', command: SMB2_COMMANDS[command], status, asked, answered, file })
  }

  function referencedFile({ command, fileId, name }: Pending, { chain }: Message): ReferencedFile | undefined {
    if (command === CREATE) return { action: 'FILE_OPEN', name }
    const action = FILE_ACTIONS[command]
    const file = fileId === undefined ? undefined : state.file(fileId === SAME_FILE ? chain.fileId : fileId)
    return action === undefined || file === undefined ? undefined : { action, ...file }
  }

  function token(message: Message, offsetAt: number): void {
    const blob = area16(message, offsetAt)
    if (blob.length > 0) authenticationOf(session).token(blob, message.ts)
  }

  /** By command (MS-SMB2 2.2.1.2); `least` is the fixed part's size. */
  const requests: Handlers = {
    1: { least: 24, handle: (message) => token(message, 12) },
    3: {
      least: 8,
      handle: (message, request) => {
        request.name = textOfUtf16(area16(message, 4))
      },
    },
    4: { least: 4, handle: (message) => state.treeDisconnected(message.treeId) },
    5: {
      least: 56,
      handle: (message, request) => {
        request.name = textOfUtf16(area16(message, 44))
        request.deleteOnClose = (u32(message, 40) & DELETE_ON_CLOSE) !== 0
      },
    },
    6: {
      least: 24,
      handle: (message, request) => {
        request.fileId = fileIdAt(message, 8)
      },
    },
    8: {
      least: 48,
      handle: (message, request) => {
        request.fileId = fileIdAt(message, 16)
        request.offset = u64(message, 8)
      },
    },
    9: {
      least: 48,
      handle: (message, request) => {
        request.fileId = fileIdAt(message, 16)
        const data = area(message, u16(message, 2), u32(message, 4))
        content(message, request.fileId, true, u64(message, 8), data)
      },
    },
    11: { least: 56, handle: ioctlRequest },
    17: { least: 32, handle: setInfoRequest },
  }

  const responses: Handlers = {
    0: { least: 64, handle: (message) => token(message, 56) },
    1: { least: 8, handle: (message) => token(message, 4) },
    3: { least: 16, handle: treeConnectResponse },
    5: { least: 88, handle: createResponse },
    6: {
      least: 4,
      handle: ({ chain, ts }, { fileId }) => {
        if (fileId !== undefined) state.closed(fileId === SAME_FILE ? chain.fileId : fileId, ts)
      },
    },
    8: {
      least: 16,
      handle: (message, { fileId, offset }) =>
        content(message, fileId, false, offset ?? 0, area(message, u8(message, 2), u32(message, 4))),
    },
    11: {
      least: 48,
      handle: (message, { fileId }) => {
        if (fileId === undefined || fileId === SAME_FILE) return
        state.pipe(fileId, false, area(message, u32(message, 32), u32(message, 36)), message.ts)
      },
    },
    17: { least: 0, handle: ({ chain }, request) => request.onceOpen?.(chain.fileId) },
  }

  function ioctlRequest(message: Message, request: Pending): void {
    if (u32(message, 4) !== FSCTL_PIPE_TRANSCEIVE) return
    request.fileId = fileIdAt(message, 8)
    if (request.fileId !== SAME_FILE)
      state.pipe(request.fileId, true, area(message, u32(message, 24), u32(message, 28)), message.ts)
  }

  function setInfoRequest(message: Message, request: Pending): void {
    if (u8(message, 2) !== INFO_FILE) return
    const info = area(message, u16(message, 8), u32(message, 4))
    const act = changeOf(u8(message, 3), info, message.ts)
    if (act === undefined) return
    const fileId = fileIdAt(message, 16)
    if (fileId === SAME_FILE) request.onceOpen = act
    else act(fileId)
  }

  function changeOf(kind: number, info: Buffer, ts: number): ((fileId: string) => void) | undefined {
    if (kind === DISPOSITION_INFORMATION && info[0] === 1) return (fileId) => state.deleted(fileId, ts)
    if (kind !== RENAME_INFORMATION || info.length < 20) return undefined
    const name = textOfUtf16(info.subarray(20, 20 + info.readUInt32LE(16)))
    return (fileId) => state.renamed(fileId, name, ts)
  }

  function treeConnectResponse(message: Message, request: Pending): void {
    const shareType = SHARE_TYPES[u8(message, 2)]
    if (request.name === undefined || shareType === undefined) return
    state.treeConnected(message.treeId, { path: request.name, shareType }, request.ts)
  }

  function createResponse(message: Message, request: Pending): void {
    const fileId = fileIdAt(message, 64)
    message.chain.fileId = fileId
    const tree = state.tree(request.treeId)
    const file = {
      name: request.name ?? '',
      path: tree?.path,
      size: u64(message, 48),
      times: timesAt(message.bytes, HEADER_BYTES + 8),
      shareType: tree?.shareType,
      isPipe: tree === undefined ? PIPE_NAMES.has(request.name ?? '') : tree.shareType === 'PIPE',
    }
    state.opened(fileId, file, request.ts)
    if (request.deleteOnClose === true) state.deleted(fileId, request.ts)
  }

  function content(
    message: Message,
    id: string | undefined,
    fromOriginator: boolean,
    offset: number,
    data: Buffer,
  ): void {
    const fileId = id === SAME_FILE ? message.chain.fileId : id
    if (data.length === 0 || fileId === undefined || fileId === SAME_FILE) return
    // With several connections for one session, a file or a share may have been opened on another one.
    if (state.tree(message.treeId)?.shareType === 'PIPE') state.pipe(fileId, fromOriginator, data, message.ts)
    else state.content(fileId, fromOriginator, offset, data, message.ts)
  }

  function request(command: number, messageId: number, message: Message): void {
    const wait: Pending = { ts: message.ts, command, treeId: message.treeId }
    run(requests, command, message, wait)
    pending.set(messageId, wait)
  }

  function response(command: number, messageId: number, message: Message): void {
    if (message.status === STATUS_PENDING) return
    const asked = pending.get(messageId)
    pending.delete(messageId)
    if (asked?.command === command) tellCommand(asked, message)
    if (!isGood(command, message.status)) return
    const known = asked?.command === command ? asked : { ts: message.ts, command, treeId: message.treeId }
    run(responses, command, message, known)
  }

  /** One message of a chain: `bytes` ends where the next one begins. */
  function single(fromOriginator: boolean, bytes: Buffer, chain: Chain, ts: number): void {
    const flags = bytes.readUInt32LE(16)
    if (((flags & RESPONSE) !== 0) === fromOriginator) return
    // An asynchronous response has an id of its own where others have the tree.
    const treeId = (flags & ASYNC) !== 0 ? SAME_TREE : bytes.readUInt32LE(36)
    if ((flags & RELATED) === 0) Object.assign(chain, { treeId, fileId: SAME_FILE })
    const message: Message = {
      bytes,
      status: bytes.readUInt32LE(8),
      treeId: treeId === SAME_TREE ? chain.treeId : treeId,
      chain,
      ts,
    }
    const [command, messageId] = [bytes.readUInt16LE(12), uint64(bytes, 24)]
    if (fromOriginator) request(command, messageId, message)
    else response(command, messageId, message)
  }

  function longMessage(fromOriginator: boolean, bytes: Buffer, ts: number): LongMessage | undefined {
    if (bytes.length < HEADER_BYTES + 48) return undefined
    const [command, messageId, status] = [bytes.readUInt16LE(12), uint64(bytes, 24), bytes.readUInt32LE(8)]
    const chain: Chain = { treeId: bytes.readUInt32LE(36), fileId: SAME_FILE }
    const message: Message = { bytes, status, treeId: chain.treeId, chain, ts }
    const piece = (id: string | undefined, offset: number, from: number, to: number): LongMessage => {
      return (at, part, now) => {
        const data = part.subarray(Math.max(0, from - at), Math.max(0, to - at))
        content({ ...message, ts: now }, id, fromOriginator, offset + Math.max(0, at - from), data)
      }
    }
    if (fromOriginator && command === WRITE) {
      pending.set(messageId, { ts, command, treeId: message.treeId, fileId: fileIdAt(message, 16) })
      const from = u16(message, 2)
      return piece(fileIdAt(message, 16), u64(message, 8), from, from + u32(message, 4))
    }
    if (fromOriginator || command !== READ || !isGood(command, status)) return undefined
    const asked = pending.get(messageId)
    pending.delete(messageId)
    if (asked?.command === command) tellCommand(asked, message)
    const from = u8(message, 2)
    return piece(asked?.fileId, asked?.offset ?? 0, from, from + u32(message, 4))
  }

  return {
    longMessage,
    message(fromOriginator, bytes, ts) {
      const chain: Chain = { treeId: SAME_TREE, fileId: SAME_FILE }
      let rest = bytes
      for (let i = 0; i < MAX_COMPOUND && rest.length >= HEADER_BYTES; i++) {
        if (rest.readUInt32BE(0) !== 0xfe53_4d42) return
        const next = rest.readUInt32LE(20)
        single(fromOriginator, next >= HEADER_BYTES ? rest.subarray(0, next) : rest, chain, ts)
        if (next < HEADER_BYTES) return
        rest = rest.subarray(next)
      }
    },
  }
}

const FILE_ACTIONS: Record<number, ReferencedFile['action']> = {
  [CLOSE]: 'FILE_CLOSE',
  [READ]: 'FILE_READ',
  [WRITE]: 'FILE_WRITE',
}

function run(handlers: Handlers, command: number, message: Message, request: Pending): void {
  const handler = handlers[command]
  if (handler !== undefined && message.bytes.length >= HEADER_BYTES + handler.least) handler.handle(message, request)
}

/** Offsets of numbers count from behind the header; those of areas from the message's start. */
const u8 = ({ bytes }: Message, at: number) => bytes[HEADER_BYTES + at] as number
const u16 = ({ bytes }: Message, at: number) => bytes.readUInt16LE(HEADER_BYTES + at)
const u32 = ({ bytes }: Message, at: number) => bytes.readUInt32LE(HEADER_BYTES + at)
const u64 = ({ bytes }: Message, at: number) => uint64(bytes, HEADER_BYTES + at)
const fileIdAt = ({ bytes }: Message, at: number) =>
  bytes.subarray(HEADER_BYTES + at, HEADER_BYTES + at + 16).toString('hex')
const area = ({ bytes }: Message, offset: number, length: number) =>
  offset + length > bytes.length ? Buffer.alloc(0) : bytes.subarray(offset, offset + length)
/** Where offset and length stand side by side, two bytes each. */
const area16 = (message: Message, at: number) => area(message, u16(message, at), u16(message, at + 2))

const isGood = (command: number, status: number) =>
  status === 0 ||
  (command === 1 && status === MORE_PROCESSING_REQUIRED) ||
  ((command === 8 || command === 11) && status === STATUS_BUFFER_OVERFLOW)

/** Created, accessed, written, changed. */
function timesAt(bytes: Buffer, at: number): FileTimes {
  const time = (offset: number) => (uint64(bytes, at + offset) === 0 ? undefined : fileTime(bytes, at + offset))
  return { created: time(0), accessed: time(8), modified: time(16), changed: time(24) }
}

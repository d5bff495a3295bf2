import { describe, expect, it } from 'vitest'
import { smb } from '../../../../../src/engines/tshark/protocols/smb.ts'
import { type PlayedFlow, stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'
import {
  chain,
  close,
  closeResponse,
  create,
  createResponse,
  fileIdOf,
  framed,
  le,
  NO_FILE_ID,
  ntlmAuthenticate,
  ntlmChallenge,
  ntlmNegotiate,
  pipeTransceive,
  pipeTransceiveResponse,
  read,
  readResponse,
  renameInfo,
  rpcBind,
  rpcBindAck,
  rpcRequest,
  rpcResponse,
  sessionSetup,
  sessionSetupResponse,
  setInfo,
  spnegoInit,
  spnegoResponse,
  treeConnect,
  treeConnectResponse,
  utf16,
  write,
} from './windows-messages.ts'

const SRVSVC = '4b324fc8-1670-01d3-1278-5a47bf6ee188'
const DISK = 1
const PIPE = 2
const TIMES = {
  'times.modified': 1577836802,
  'times.accessed': 1577836801,
  'times.created': 1577836800,
  'times.changed': 1577836800,
}

const scene = (options = {}) => {
  const theStage = stage([smb])
  return { ...theStage, flow: theStage.flow({ respPort: 445, ...options }) }
}

let messageId = 10
/** A request and its response, which share the message id. */
function exchange(
  flow: PlayedFlow,
  ask: (header: { id: number }) => Buffer,
  answer: (header: { id: number }) => Buffer,
  ts?: number,
) {
  const header = { id: messageId++ }
  flow.client(framed(ask(header)), ts)
  flow.server(framed(answer(header)))
}

const connect = (flow: PlayedFlow, path: string, shareType: number) =>
  exchange(
    flow,
    (h) => treeConnect(path, h),
    (h) => treeConnectResponse(shareType, h),
  )
const open = (flow: PlayedFlow, path: string, file: number, size = 0, ts?: number) =>
  exchange(
    flow,
    (h) => create(path, h),
    (h) => createResponse(fileIdOf(file), { ...h, size }),
    ts,
  )
const shut = (flow: PlayedFlow, file: number) => exchange(flow, (h) => close(fileIdOf(file), h), closeResponse)

describe('SMB 2', () => {
  it('logs a connected share, with the time of the request', () => {
    const { flow, rows } = scene()
    exchange(
      flow,
      (h) => treeConnect('\\\\srv\\data', h),
      (h) => treeConnectResponse(DISK, h),
      5,
    )
    flow.end()
    expect(rows('smb_mapping')).toEqual([{ ts: 5, path: '\\\\srv\\data', share_type: 'DISK' }])
  })

  it('is named as the service from the third piece of the stream on', () => {
    const { flow } = scene()
    connect(flow, '\\\\srv\\data', DISK)
    expect(flow.services()).toEqual([])
    connect(flow, '\\\\srv\\other', DISK)
    expect(flow.services()).toEqual(['smb'])
  })

  it('logs an opened file with its share, size and times, and the share’s root by a name of its own', () => {
    const { flow, rows } = scene()
    connect(flow, '\\\\srv\\data', DISK)
    open(flow, '', 1, 0, 20)
    open(flow, 'dir\\häß.txt', 2, 77, 30)
    flow.end()
    expect(rows('smb_files')).toEqual([
      { ts: 20, action: 'SMB::FILE_OPEN', path: '\\\\srv\\data', name: '<share_root>', size: 0, ...TIMES },
      { ts: 30, action: 'SMB::FILE_OPEN', path: '\\\\srv\\data', name: 'dir\\häß.txt', size: 77, ...TIMES },
    ])
  })

  it('logs the same unchanged file once within three minutes', () => {
    const { flow, rows } = scene()
    open(flow, 'a', 1, 5, 100)
    open(flow, 'a', 2, 5, 110)
    open(flow, 'a', 3, 5, 500)
    expect(rows('smb_files').map(({ ts }) => ts)).toEqual([100, 500])
  })

  it('leaves out an open that failed', () => {
    const { flow, rows } = scene()
    exchange(
      flow,
      (h) => create('gone', h),
      (h) => createResponse(fileIdOf(1), { ...h, status: 0xc0000034 }),
    )
    expect(rows('smb_files')).toEqual([])
  })

  it('logs renaming and deleting, deleting on close included', () => {
    const { flow, rows } = scene()
    open(flow, 'old', 1)
    flow.client(framed(setInfo(fileIdOf(1), 10, renameInfo('new'), { id: 900 })))
    flow.client(framed(setInfo(fileIdOf(1), 13, Buffer.from([1]), { id: 901 })))
    exchange(
      flow,
      (h) => create('tmp', { ...h, options: 0x1000 }),
      (h) => createResponse(fileIdOf(2), h),
    )
    expect(rows('smb_files').map(({ action, name, prev_name }) => [action, name, prev_name])).toEqual([
      ['SMB::FILE_OPEN', 'old', undefined],
      ['SMB::FILE_RENAME', 'new', 'old'],
      ['SMB::FILE_DELETE', 'new', 'old'],
      ['SMB::FILE_OPEN', 'tmp', undefined],
      ['SMB::FILE_DELETE', 'tmp', undefined],
    ])
  })

  it('follows the file that a chain of messages opens and reads', () => {
    const { flow, rows } = scene()
    const related = { flags: 4, tree: 0xffffffff }
    flow.client(
      framed(
        chain(
          create('one', { id: 1 }),
          read(NO_FILE_ID, 5, 0, { id: 2, ...related }),
          close(NO_FILE_ID, { id: 3, ...related }),
        ),
      ),
    )
    flow.server(
      framed(
        chain(
          createResponse(fileIdOf(9), { id: 1, size: 5 }),
          readResponse(Buffer.from('hello'), { id: 2, ...related }),
          closeResponse({ id: 3, ...related }),
        ),
      ),
    )
    flow.end()
    expect(rows('files')).toMatchObject([
      { source: 'SMB', filename: 'one', seen_bytes: 5, total_bytes: 5, timedout: false },
    ])
  })

  it('puts a file together that is read in pieces out of order, and counts what was never read', () => {
    const { flow, rows } = scene()
    const piece = (offset: number, text: string) =>
      exchange(
        flow,
        (h) => read(fileIdOf(1), text.length, offset, h),
        (h) => readResponse(Buffer.from(text), h),
      )
    open(flow, 'f', 1, 12)
    piece(4, 'efgh')
    piece(0, 'abcd')
    piece(8, 'ijkl')
    open(flow, 'g', 2, 100)
    exchange(
      flow,
      (h) => read(fileIdOf(2), 4, 50, h),
      (h) => readResponse(Buffer.from('late'), h),
    )
    shut(flow, 2)
    flow.end()
    expect(
      rows('files').map(({ filename, is_orig, seen_bytes, missing_bytes, total_bytes }) => [
        filename,
        is_orig,
        seen_bytes,
        missing_bytes,
        total_bytes,
      ]),
    ).toEqual([
      ['f', false, 12, 0, 12],
      ['g', false, 4, 50, 100],
    ])
  })

  it('notes that a written file was not closed when the flow ends', () => {
    const { flow, rows } = scene()
    open(flow, 'w', 1)
    flow.client(framed(write(fileIdOf(1), Buffer.from('data'), 0, { id: 99 })))
    flow.end()
    expect(rows('files')).toMatchObject([{ filename: 'w', is_orig: true, seen_bytes: 4, timedout: true }])
    expect(rows('files')[0]).not.toHaveProperty('total_bytes')
  })

  it('passes on a write that is longer than what it keeps, as it comes', () => {
    const { flow, rows } = scene()
    const data = Buffer.alloc(3 << 20, 'x')
    open(flow, 'big', 1)
    const message = framed(write(fileIdOf(1), data, 0, { id: 99 }))
    for (let at = 0; at < message.length; at += 60_000) flow.client(message.subarray(at, at + 60_000))
    shut(flow, 1)
    open(flow, 'next', 2)
    flow.end()
    expect(rows('files')).toMatchObject([{ filename: 'big', seen_bytes: data.length, missing_bytes: 0 }])
    expect(rows('smb_files').at(-1)).toMatchObject({ name: 'next' })
  })

  it('logs nothing of a pipe’s file, and its calls as DCE/RPC', () => {
    const { flow, rows } = scene()
    connect(flow, '\\\\srv\\IPC$', PIPE)
    open(flow, 'srvsvc', 1)
    flow.client(framed(write(fileIdOf(1), rpcBind(SRVSVC), 0, { id: 50 })))
    exchange(
      flow,
      (h) => read(fileIdOf(1), 1024, 0, h),
      (h) => readResponse(rpcBindAck('\\PIPE\\srvsvc'), h),
    )
    exchange(
      flow,
      (h) => pipeTransceive(fileIdOf(1), rpcRequest(15), h),
      (h) => pipeTransceiveResponse(fileIdOf(1), rpcResponse(), h),
      70,
    )
    flow.end()
    expect(rows('smb_files')).toEqual([])
    expect(rows('files')).toEqual([])
    expect(rows('dce_rpc')).toEqual([
      { ts: 70, rtt: 1, named_pipe: '\\PIPE\\srvsvc', endpoint: 'srvsvc', operation: 'NetrShareEnum' },
    ])
    expect(flow.services()).toEqual(['smb', 'dce_rpc'])
  })

  it('logs an NTLM login in SPNEGO with its result', () => {
    const { flow, rows } = scene()
    flow.client(framed(sessionSetup(spnegoInit(ntlmNegotiate()), { id: 1 })), 10)
    const challenge = ntlmChallenge({ computer: 'SRV', dns: 'srv.example.com', tree: 'example.com' })
    flow.server(framed(sessionSetupResponse(spnegoResponse(1, challenge), { id: 1, status: 0xc0000016 })))
    flow.client(
      framed(sessionSetup(spnegoResponse(1, ntlmAuthenticate({ user: 'ann', domain: 'EX', host: 'PC' })), { id: 2 })),
    )
    flow.server(framed(sessionSetupResponse(spnegoResponse(0), { id: 2 }))).end()
    expect(rows('ntlm')).toEqual([
      {
        ts: 10,
        username: 'ann',
        hostname: 'PC',
        domainname: 'EX',
        server_nb_computer_name: 'SRV',
        server_dns_computer_name: 'srv.example.com',
        server_tree_name: 'example.com',
        success: true,
      },
    ])
    expect(flow.services()).toEqual(['ntlm', 'gssapi', 'smb'])
  })

  it('does not know the result of an NTLM login without SPNEGO', () => {
    const { flow, rows } = scene()
    flow.client(framed(sessionSetup(ntlmNegotiate(), { id: 1 })), 10)
    flow.client(framed(sessionSetup(ntlmAuthenticate({ user: 'ann' }), { id: 2 })))
    flow.server(framed(sessionSetupResponse(Buffer.alloc(0), { id: 2 }))).end()
    expect(rows('ntlm')).toEqual([{ ts: 10, username: 'ann' }])
  })

  it('reads messages whatever the segments they come in', () => {
    const { flow, rows } = scene()
    const bytes = Buffer.concat([framed(treeConnect('\\\\srv\\data', { id: 1 })), framed(create('f', { id: 2 }))])
    for (const byte of bytes) flow.client(Buffer.from([byte]), 1)
    flow.server(
      Buffer.concat([framed(treeConnectResponse(DISK, { id: 1 })), framed(createResponse(fileIdOf(1), { id: 2 }))]),
    )
    expect(rows('smb_mapping')).toHaveLength(1)
    expect(rows('smb_files')).toMatchObject([{ path: '\\\\srv\\data', name: 'f' }])
  })

  it('goes on behind a hole: without the damaged message and the next one', () => {
    const { flow, rows } = scene()
    for (const [i, path] of ['a', 'b', 'c'].entries()) flow.client(framed(create(path, { id: i })))
    const answers = ['a', 'b', 'c'].map((_path, i) => framed(createResponse(fileIdOf(i + 1), { id: i })))
    const [first = Buffer.alloc(0), ...others] = answers
    flow.server(first.subarray(0, 40))
    flow.gap(false, 60)
    flow.server(first.subarray(100))
    for (const answer of others) flow.server(answer)
    expect(rows('smb_files').map(({ name }) => name)).toEqual(['c'])
  })

  it('finds the messages of a flow whose beginning the capture does not have', () => {
    const { flow, rows } = scene({ partial: true })
    flow.client(Buffer.alloc(700, 7))
    flow.server(Buffer.alloc(900, 0xfe))
    open(flow, 'f', 1)
    expect(rows('smb_files').map(({ name }) => name)).toEqual(['f'])
  })

  it('is recognized on other ports', () => {
    const { flow, rows } = scene({ respPort: 4450 })
    connect(flow, '\\\\srv\\data', DISK)
    expect(rows('smb_mapping')).toHaveLength(1)
  })

  it('survives every message cut short and every byte spoilt', () => {
    const theStage = stage([smb])
    const messages: [boolean, Buffer][] = [
      [true, create('name', { id: 1 })],
      [false, createResponse(fileIdOf(1), { id: 1 })],
      [true, setInfo(fileIdOf(1), 10, renameInfo('x'), { id: 2 })],
      [true, pipeTransceive(fileIdOf(1), rpcBind(SRVSVC), { id: 3 })],
      [true, sessionSetup(spnegoInit(ntlmAuthenticate({ user: 'u' })), { id: 4 })],
      [true, chain(create('a', { id: 5 }), close(NO_FILE_ID, { id: 6, flags: 4 }))],
    ]
    for (const [fromClient, message] of messages) {
      for (const bytes of damaged(message)) {
        const flow = theStage.flow({ respPort: 445 })
        if (fromClient) flow.client(framed(bytes))
        else flow.server(framed(bytes))
        flow.end()
      }
    }
    expect(theStage.faults).toEqual([])
  })
})

// --- SMB 1 (MS-CIFS 2.2.3)

function smb1(
  command: number,
  words: Buffer,
  data: Buffer,
  { reply = false, tree = 7, id = 1, status = 0 } = {},
): Buffer {
  return Buffer.concat([
    Buffer.from([0xff, 0x53, 0x4d, 0x42, command]),
    le([4, status], [1, reply ? 0x88 : 0x08], [2, 0xc801], [2, 0], [8, 0], [2, 0], [2, tree], [2, 1], [2, 1], [2, id]),
    Buffer.from([words.length / 2]),
    words,
    le([2, data.length]),
    data,
  ])
}
const NO_ANDX = le([1, 0xff], [1, 0], [2, 0])
/** A string in the data of `words` bytes of parameters, aligned to two bytes. */
const text1 = (words: number, text: string) =>
  Buffer.concat([Buffer.alloc((32 + 1 + words + 2) % 2), utf16(`${text}\0`)])

const treeConnect1 = (path: string) =>
  smb1(0x75, Buffer.concat([NO_ANDX, le([2, 0], [2, 0])]), Buffer.concat([text1(8, path), Buffer.from('?????\0')]))
const treeConnectResponse1 = (service: string, fs: string) =>
  smb1(
    0x75,
    Buffer.concat([NO_ANDX, le([2, 1])]),
    Buffer.concat([
      Buffer.from(`${service}\0`),
      Buffer.alloc((32 + 1 + 6 + 2 + service.length + 1) % 2),
      utf16(`${fs}\0`),
    ]),
    { reply: true },
  )
const create1 = (path: string) =>
  smb1(0xa2, Buffer.concat([NO_ANDX, le([1, 0], [2, 2 * path.length]), Buffer.alloc(41)]), text1(48, path))
const createResponse1 = (fid: number, size: number) =>
  smb1(
    0xa2,
    Buffer.concat([
      NO_ANDX,
      le([1, 0], [2, fid], [4, 1]),
      Buffer.alloc(32),
      le([4, 0], [8, size], [8, size]),
      Buffer.alloc(5),
    ]),
    Buffer.alloc(0),
    { reply: true },
  )
function transact1(fid: number, data: Buffer): Buffer {
  const words = (dataAt: number) =>
    Buffer.concat([
      le(
        [2, 0],
        [2, data.length],
        [2, 0],
        [2, 1024],
        [1, 0],
        [1, 0],
        [2, 0],
        [4, 0],
        [2, 0],
        [2, 0],
        [2, dataAt],
        [2, data.length],
        [2, dataAt],
        [1, 2],
        [1, 0],
        [2, 0x26],
        [2, fid],
      ),
    ])
  const name = text1(32, '\\PIPE\\')
  const dataAt = 32 + 1 + 32 + 2 + name.length
  return smb1(0x25, words(dataAt), Buffer.concat([name, data]))
}
function transactResponse1(data: Buffer): Buffer {
  const dataAt = 32 + 1 + 20 + 2
  return smb1(
    0x25,
    le([2, 0], [2, data.length], [2, 0], [2, 0], [2, dataAt], [2, 0], [2, data.length], [2, dataAt], [2, 0], [2, 0]),
    data,
    { reply: true },
  )
}

describe('SMB 1', () => {
  it('logs a connected share with its service and file system', () => {
    const { flow, rows } = scene()
    flow.client(framed(treeConnect1('\\\\SRV\\C')), 1)
    flow.server(framed(treeConnectResponse1('A:', 'NTFS')))
    flow.client(framed(treeConnect1('\\\\SRV\\IPC$')), 3)
    flow.server(framed(treeConnectResponse1('IPC', ''))).end()
    expect(rows('smb_mapping')).toEqual([
      { ts: 1, path: '\\\\SRV\\C', service: 'A:', native_file_system: 'NTFS', share_type: 'DISK' },
      { ts: 3, path: '\\\\SRV\\IPC$', service: 'IPC', share_type: 'PIPE' },
    ])
  })

  it('logs an opened pipe as a file, and its calls as DCE/RPC', () => {
    const { flow, rows } = scene()
    flow.client(framed(treeConnect1('\\\\SRV\\IPC$')))
    flow.server(framed(treeConnectResponse1('IPC', '')))
    flow.client(framed(create1('\\srvsvc')), 10)
    flow.server(framed(createResponse1(0x4000, 0)))
    flow.client(framed(transact1(0x4000, rpcBind(SRVSVC))))
    flow.server(framed(transactResponse1(rpcBindAck('\\PIPE\\srvsvc'))))
    flow.client(framed(transact1(0x4000, rpcRequest(21))), 20)
    flow.server(framed(transactResponse1(rpcResponse()))).end()
    expect(rows('smb_files')).toEqual([{ ts: 10, action: 'SMB::FILE_OPEN', name: '\\srvsvc', size: 0 }])
    expect(rows('dce_rpc')).toEqual([
      { ts: 20, rtt: 1, named_pipe: '\\PIPE\\srvsvc', endpoint: 'srvsvc', operation: 'NetrServerGetInfo' },
    ])
  })

  it('tells of a chain of commands that does not advance, and leaves it', () => {
    const { flow, rows } = scene()
    flow.client(framed(smb1(0x74, le([1, 0x74], [1, 0], [2, 32]), Buffer.alloc(0)))).end()
    expect(rows('weird')).toMatchObject([{ name: 'smb_andx_offset_not_advancing', source: 'SMB' }])
  })

  it('survives every message cut short and every byte spoilt', () => {
    const theStage = stage([smb])
    for (const message of [
      treeConnect1('\\\\S\\C'),
      create1('\\a'),
      transact1(1, rpcBind(SRVSVC)),
      treeConnectResponse1('A:', 'NTFS'),
      createResponse1(1, 9),
    ]) {
      for (const bytes of damaged(message)) {
        const flow = theStage.flow({ respPort: 445 })
        flow.client(framed(bytes)).server(framed(bytes)).end()
      }
    }
    expect(theStage.faults).toEqual([])
  })
})

describe('the smb_cmd log', () => {
  const asked = () => {
    const theStage = stage([smb], ['smb_cmd'])
    return { ...theStage, flow: theStage.flow({ respPort: 445 }) }
  }

  it('is there only where it is asked for', () => {
    const { flow, rows } = scene()
    connect(flow, '\\\\srv\\data', DISK)
    expect(rows('smb_cmd')).toEqual([])
  })

  it('has a record for each command that is answered, with its status and its file', () => {
    const { flow, rows } = asked()
    connect(flow, '\\\\srv\\data', DISK)
    open(flow, 'notes.txt', 1, 12, 100)
    exchange(
      flow,
      (h) => read(fileIdOf(1), 12, 0, h),
      (h) => readResponse(Buffer.from('hello'), h),
      200,
    )
    flow.client(framed(close(fileIdOf(1), { id: 999 })), 300).server(framed(closeResponse({ id: 999 })), 302)
    const records = rows('smb_cmd')
    expect(records.map(({ command, status }) => `${command} ${status}`)).toEqual([
      'TREE_CONNECT SUCCESS',
      'CREATE SUCCESS',
      'READ SUCCESS',
      'CLOSE SUCCESS',
    ])
    const file = { 'referenced_file.name': 'notes.txt', 'referenced_file.ts': 100 }
    expect(records[1]).toMatchObject({ ts: 100, ...file, 'referenced_file.action': 'SMB::FILE_OPEN' })
    expect(records[1]).toMatchObject({ 'referenced_file.size': 0 })
    expect(records[2]).toMatchObject({ ts: 200, ...file, 'referenced_file.action': 'SMB::FILE_READ' })
    expect(records[3]).toMatchObject({
      ts: 300,
      rtt: 2,
      version: 'SMB2',
      ...file,
      'referenced_file.action': 'SMB::FILE_CLOSE',
      'referenced_file.path': '\\\\srv\\data',
      'referenced_file.size': 12,
    })
  })

  it('leaves out the steps of a login that ask for the next', () => {
    const { flow, rows } = asked()
    exchange(
      flow,
      (h) => sessionSetup(spnegoInit(ntlmNegotiate()), h),
      (h) =>
        sessionSetupResponse(spnegoResponse(1, ntlmChallenge({ computer: 'SRV', dns: 'srv' })), {
          ...h,
          status: 0xc000_0016,
        }),
    )
    expect(rows('smb_cmd')).toEqual([])
  })
})

/** Messages of Microsoft's protocols, made by hand after their specifications, for the tests of their dissectors. */

export const utf16 = (text: string) => Buffer.from(text, 'utf16le')

export function le(...numbers: [size: 1 | 2 | 4 | 8, value: number | bigint][]): Buffer {
  return Buffer.concat(
    numbers.map(([size, value]) => {
      const bytes = Buffer.alloc(size)
      if (size === 8) bytes.writeBigUInt64LE(BigInt(value))
      else bytes.writeUIntLE(Number(value), 0, size)
      return bytes
    }),
  )
}

/** BER/DER: tag, length, content. */
export function der(tag: number, ...content: (Buffer | string)[]): Buffer {
  const body = Buffer.concat(content.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)))
  const { length } = body
  const header = length < 0x80 ? [tag, length] : [tag, 0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from(header), body])
}
export const seq = (...content: Buffer[]) => der(0x30, ...content)
export const int = (value: number) => der(2, Buffer.from(value < 0x80 ? [value] : [value >> 8, value & 0xff]))
export const oid = (hex: string) => der(6, Buffer.from(hex, 'hex'))

// --- NTLM (MS-NLMP 2.2.1)

const SIGNATURE = Buffer.from('NTLMSSP\0')

export const ntlmNegotiate = () => Buffer.concat([SIGNATURE, le([4, 1], [4, 1]), Buffer.alloc(16)])

export function ntlmChallenge(names: { computer: string; dns: string; tree?: string }): Buffer {
  const pair = (id: number, text: string) => Buffer.concat([le([2, id], [2, 2 * text.length]), utf16(text)])
  const info = Buffer.concat([
    pair(1, names.computer),
    pair(3, names.dns),
    names.tree === undefined ? Buffer.alloc(0) : pair(5, names.tree),
    le([4, 0]),
  ])
  const area = le([2, info.length], [2, info.length], [4, 48])
  return Buffer.concat([SIGNATURE, le([4, 2], [8, 0], [4, 1], [8, 0], [8, 0]), area, info])
}

export function ntlmAuthenticate({ user = '', domain = '', host = '' }): Buffer {
  const parts = [Buffer.alloc(0), Buffer.alloc(0), utf16(domain), utf16(user), utf16(host), Buffer.alloc(0)]
  let offset = 64
  const areas = parts.map((part) => {
    const area = le([2, part.length], [2, part.length], [4, offset])
    offset += part.length
    return area
  })
  return Buffer.concat([SIGNATURE, le([4, 3]), ...areas, le([4, 1]), ...parts])
}

// --- SPNEGO (RFC 4178)

const SPNEGO = oid('2b0601050502')
export const KERBEROS_OID = oid('2a864886f712010202')
export const spnegoInit = (token: Buffer) =>
  der(0x60, SPNEGO, der(0xa0, seq(der(0xa0, seq(KERBEROS_OID)), der(0xa2, der(4, token)))))
export const spnegoResponse = (state: number, token?: Buffer) =>
  der(
    0xa1,
    seq(der(0xa0, der(0x0a, Buffer.from([state]))), token === undefined ? Buffer.alloc(0) : der(0xa2, der(4, token))),
  )

// --- Kerberos (RFC 4120)

const field = (number: number, content: Buffer) => der(0xa0 | number, content)
const name = (...parts: string[]) => seq(field(0, int(1)), field(1, seq(...parts.map((part) => der(0x1b, part)))))
const realm = (text: string) => der(0x1b, text)
const time = (text: string) => der(0x18, text)

export const asRequest = ({ user = 'alice', options = 0x4080_0000, type = 10 } = {}) => {
  const flags = Buffer.alloc(5)
  flags.writeUInt32BE(options, 1)
  const body = seq(
    field(0, der(3, flags)),
    user === '' ? Buffer.alloc(0) : field(1, name(user)),
    field(2, realm('EXAMPLE.COM')),
    field(3, name('krbtgt', 'EXAMPLE.COM')),
    field(5, time('20370913024805Z')),
  )
  return der(0x60 | type, seq(field(1, int(5)), field(2, int(type)), field(4, body)))
}

const ticket = der(
  0x61,
  seq(
    field(0, int(5)),
    field(1, realm('EXAMPLE.COM')),
    field(2, name('ldap', 'dc1')),
    field(3, seq(field(0, int(18)), field(2, der(4, 'x')))),
  ),
)

export const kdcReply = (type = 11) =>
  der(
    0x60 | type,
    seq(
      field(0, int(5)),
      field(1, int(type)),
      field(3, realm('EXAMPLE.COM')),
      field(4, name('Alice')),
      field(5, ticket),
    ),
  )

export const apRequest = () => der(0x6e, seq(field(0, int(5)), field(1, int(14)), field(3, ticket)))
export const apReply = () => der(0x6f, seq(field(0, int(5)), field(1, int(15))))

export const kerberosError = (code: number, text?: string) =>
  der(
    0x7e,
    seq(
      field(0, int(5)),
      field(1, int(30)),
      field(6, int(code)),
      field(9, realm('EXAMPLE.COM')),
      field(10, name('krbtgt', 'EXAMPLE.COM')),
      text === undefined ? Buffer.alloc(0) : field(11, der(0x1b, text)),
    ),
  )

// --- DCE/RPC (C706, chapter 12)

function pdu(
  type: number,
  callId: number,
  body: Buffer,
  { flags = 3, auth }: { flags?: number; auth?: Buffer } = {},
): Buffer {
  const verifier = auth === undefined ? Buffer.alloc(0) : auth
  const length = 16 + body.length + verifier.length
  const authLength = auth === undefined ? 0 : auth.length - 8
  return Buffer.concat([
    Buffer.from([5, 0, type, flags, 0x10, 0, 0, 0]),
    le([2, length], [2, authLength], [4, callId]),
    body,
    verifier,
  ])
}

/** Type, level, padding, context, then the token. */
export const rpcAuth = (type: number, token: Buffer) => Buffer.concat([Buffer.from([type, 2, 0, 0]), le([4, 1]), token])

const guid = (text: string) => {
  const [a = '', b = '', c = '', ...rest] = text.split('-')
  const swap = (hex: string) => Buffer.from(hex, 'hex').reverse()
  return Buffer.concat([swap(a), swap(b), swap(c), Buffer.from(rest.join(''), 'hex')])
}

export function rpcBind(uuid: string, { contextId = 0, auth }: { contextId?: number; auth?: Buffer } = {}): Buffer {
  const transfer = Buffer.concat([guid('8a885d04-1ceb-11c9-9fe8-08002b104860'), le([4, 2])])
  const context = Buffer.concat([le([2, contextId], [1, 1], [1, 0]), guid(uuid), le([4, 1]), transfer])
  return pdu(11, 1, Buffer.concat([le([2, 4280], [2, 4280], [4, 0], [4, 1]), context]), { auth })
}

export function rpcBindAck(address: string): Buffer {
  const text = Buffer.from(`${address}\0`)
  return pdu(12, 1, Buffer.concat([le([2, 4280], [2, 4280], [4, 7], [2, text.length]), text, Buffer.alloc(28)]))
}

export const rpcRequest = (operation: number, { callId = 2, contextId = 0, flags = 3 } = {}) =>
  pdu(0, callId, Buffer.concat([le([4, 8], [2, contextId], [2, operation]), Buffer.alloc(8)]), { flags })
export const rpcResponse = (callId = 2, flags = 3) =>
  pdu(2, callId, Buffer.concat([le([4, 8], [2, 0], [2, 0]), Buffer.alloc(8)]), { flags })
export const rpcAuth3 = (auth: Buffer) => pdu(16, 1, Buffer.alloc(4), { auth })

// --- SMB 2 (MS-SMB2 2.2)

export interface Smb2Header {
  response?: boolean
  status?: number
  id?: number
  tree?: number
  flags?: number
}

export function smb2(command: number, body: Buffer, header: Smb2Header = {}): Buffer {
  const { response = false, status = 0, id = 1, tree = 1, flags = 0 } = header
  return Buffer.concat([
    Buffer.from([0xfe, 0x53, 0x4d, 0x42]),
    le([2, 64], [2, 1], [4, status], [2, command], [2, 1], [4, flags | (response ? 1 : 0)], [4, 0], [8, id]),
    le([4, 0xfeff], [4, tree], [8, 1]),
    Buffer.alloc(16),
    body,
  ])
}

/** In a NetBIOS session frame. */
export function framed(message: Buffer): Buffer {
  const header = Buffer.alloc(4)
  header.writeUInt32BE(message.length)
  return Buffer.concat([header, message])
}

/** Messages of one chain: each but the last says where the next begins. */
export function chain(...messages: Buffer[]): Buffer {
  return Buffer.concat(
    messages.map((message, i) => {
      const padded = Buffer.concat([message, Buffer.alloc((8 - (message.length % 8)) % 8)])
      if (i === messages.length - 1) return message
      padded.writeUInt32LE(padded.length, 20)
      return padded
    }),
  )
}

const atEnd = (text: string, fixed: number) => [le([2, 64 + fixed], [2, 2 * text.length]), utf16(text)] as const

export const sessionSetup = (token: Buffer, header?: Smb2Header) =>
  smb2(1, Buffer.concat([le([2, 25], [2, 0], [4, 0], [4, 0], [2, 88], [2, token.length], [8, 0]), token]), header)
export const sessionSetupResponse = (token: Buffer, header?: Smb2Header) =>
  smb2(1, Buffer.concat([le([2, 9], [2, 0], [2, 72], [2, token.length]), token]), { ...header, response: true })

export function treeConnect(path: string, header?: Smb2Header): Buffer {
  const [area, text] = atEnd(path, 8)
  return smb2(3, Buffer.concat([le([2, 9], [2, 0]), area, text]), header)
}
export const treeConnectResponse = (shareType: number, header?: Smb2Header) =>
  smb2(3, Buffer.concat([le([2, 16], [1, shareType], [1, 0]), Buffer.alloc(12)]), { ...header, response: true })

export function create(path: string, { options = 0, ...header }: Smb2Header & { options?: number } = {}): Buffer {
  const [area, text] = atEnd(path, 56)
  return smb2(5, Buffer.concat([le([2, 57]), Buffer.alloc(38), le([4, options]), area, Buffer.alloc(8), text]), header)
}

/** 2020-01-01 in FILETIME. */
const NEW_YEAR = 132_223_104_000_000_000n
export const fileIdOf = (number: number) => le([8, number], [8, number])
export const NO_FILE_ID = Buffer.alloc(16, 0xff)

export function createResponse(
  fileId: Buffer,
  { size = 0, times = NEW_YEAR, ...header }: Smb2Header & { size?: number; times?: bigint } = {},
): Buffer {
  const stamps = le([8, times], [8, times && times + 10_000_000n], [8, times && times + 20_000_000n], [8, times])
  return smb2(
    5,
    Buffer.concat([le([2, 89], [2, 0], [4, 1]), stamps, le([8, size], [8, size], [4, 0], [4, 0]), fileId, le([8, 0])]),
    {
      ...header,
      response: true,
    },
  )
}

export const close = (fileId: Buffer, header?: Smb2Header) =>
  smb2(6, Buffer.concat([le([2, 24], [2, 0], [4, 0]), fileId]), header)
export const closeResponse = (header?: Smb2Header) => smb2(6, Buffer.alloc(60), { ...header, response: true })

export const read = (fileId: Buffer, length: number, offset: number, header?: Smb2Header) =>
  smb2(8, Buffer.concat([le([2, 49], [2, 0], [4, length], [8, offset]), fileId, Buffer.alloc(17)]), header)
export const readResponse = (data: Buffer, header?: Smb2Header) =>
  smb2(8, Buffer.concat([le([2, 17], [1, 80], [1, 0], [4, data.length], [8, 0]), data]), { ...header, response: true })
export const write = (fileId: Buffer, data: Buffer, offset: number, header?: Smb2Header) =>
  smb2(9, Buffer.concat([le([2, 49], [2, 112], [4, data.length], [8, offset]), fileId, Buffer.alloc(16), data]), header)

export const pipeTransceive = (fileId: Buffer, data: Buffer, header?: Smb2Header) =>
  smb2(
    11,
    Buffer.concat([
      le([2, 57], [2, 0], [4, 0x11c017]),
      fileId,
      le([4, 120], [4, data.length], [4, 0], [4, 0], [4, 0], [4, 1024], [4, 1], [4, 0]),
      data,
    ]),
    header,
  )
export const pipeTransceiveResponse = (fileId: Buffer, data: Buffer, header?: Smb2Header) =>
  smb2(
    11,
    Buffer.concat([
      le([2, 49], [2, 0], [4, 0x11c017]),
      fileId,
      le([4, 112], [4, 0], [4, 112], [4, data.length], [8, 0]),
      data,
    ]),
    { ...header, response: true },
  )

export const setInfo = (fileId: Buffer, kind: number, info: Buffer, header?: Smb2Header) =>
  smb2(
    17,
    Buffer.concat([le([2, 33], [1, 1], [1, kind], [4, info.length], [2, 96], [2, 0], [4, 0]), fileId, info]),
    header,
  )
export const renameInfo = (path: string) => Buffer.concat([Buffer.alloc(16), le([4, 2 * path.length]), utf16(path)])

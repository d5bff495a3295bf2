import { createCipheriv } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { quic } from '../../../../../src/engines/tshark/protocols/quic.ts'
import {
  type InitialKeys,
  initialKeys,
  openInitial,
  VERSION_1,
  VERSION_2,
} from '../../../../../src/engines/tshark/protocols/quic-crypto.ts'
import { longPacket } from '../../../../../src/engines/tshark/protocols/quic-packet.ts'
import { ssl } from '../../../../../src/engines/tshark/protocols/tls.ts'
import { damaged, recordFlow } from './recorded-flow.ts'

const CLIENT_ID = Buffer.from('8394c8f03e515708', 'hex')
const SERVER_ID = Buffer.from('f067a5502a4262b5', 'hex')

/** RFC 9001, A.3: the server's first Initial, with a ServerHello in it. */
const SERVER_INITIAL = Buffer.from(
  'cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb3' +
    '8cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84' +
    '022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee',
  'hex',
)

const hex = ({ key, iv, headerKey }: InitialKeys) => [key, iv, headerKey].map((each) => each.toString('hex'))

/** RFC 9001, 5: protects an Initial packet as a client or server would. */
function initial(
  keys: InitialKeys,
  number: number,
  frames: Buffer,
  version = VERSION_1,
  ids = [CLIENT_ID, Buffer.alloc(0)],
): Buffer {
  const [destination, source] = ids as [Buffer, Buffer]
  const payload = Buffer.concat([frames, Buffer.alloc(Math.max(0, 40 - frames.length))])
  const length = payload.length + 16 + 1
  const header = Buffer.concat([
    Buffer.from([version === VERSION_2 ? 0xd0 : 0xc0]),
    uint32(version),
    Buffer.from([destination.length]),
    destination,
    Buffer.from([source.length]),
    source,
    Buffer.from([0, 0x40 | (length >> 8), length & 0xff, number]),
  ])
  const nonce = Buffer.from(keys.iv)
  nonce[11] = (nonce[11] as number) ^ number
  const cipher = createCipheriv('aes-128-gcm', keys.key, nonce)
  cipher.setAAD(header)
  const packet = Buffer.concat([header, cipher.update(payload), cipher.final(), cipher.getAuthTag()])
  const at = header.length - 1
  const mask = createCipheriv('aes-128-ecb', keys.headerKey, null).update(packet.subarray(at + 4, at + 20))
  packet[0] = (packet[0] as number) ^ ((mask[0] as number) & 0x0f)
  packet[at] = (packet[at] as number) ^ (mask[1] as number)
  return packet
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const counted = (bytes: Buffer) => Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes])
const extension = (type: number, data: Buffer) => Buffer.concat([Buffer.from([type >> 8, type & 0xff]), counted(data)])

/** RFC 8446, 4.1.2, with server_name and ALPN. */
function clientHello(name: string, protocol: string): Buffer {
  const serverName = counted(Buffer.concat([Buffer.from([0]), counted(Buffer.from(name))]))
  const alpn = counted(Buffer.concat([Buffer.from([protocol.length]), Buffer.from(protocol)]))
  const extensions = counted(Buffer.concat([extension(0, serverName), extension(16, alpn)]))
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(33),
    counted(Buffer.from([0x13, 1])),
    Buffer.from([1, 0]),
    extensions,
  ])
  return Buffer.concat([Buffer.from([1, 0]), counted(body)])
}

const crypto = (offset: number, data: Buffer) =>
  Buffer.concat([
    Buffer.from([6, 0x40 | (offset >> 8), offset & 0xff, 0x40 | (data.length >> 8), data.length & 0xff]),
    data,
  ])

const HELLO = clientHello('www.example.org', 'h3')
const keysOf = (version = VERSION_1) => initialKeys(version, CLIENT_ID) as { client: InitialKeys; server: InitialKeys }
const flow = () => recordFlow(quic, { others: [ssl] })
const shortPacket = Buffer.from([0x41, 1, 2, 3])

describe('the keys of Initial packets', () => {
  it('are those of the examples in RFC 9001', () => {
    const { client, server } = keysOf()
    expect(hex(client)).toEqual([
      '1f369613dd76d5467730efcbe3b1a22d',
      'fa044b2f42a3fd3b46fb255c',
      '9f50449e04a0e810283a1e9933adedd2',
    ])
    expect(hex(server)).toEqual([
      'cf3a5331653c364c88f0f379b6067e37',
      '0ac1493ca1905853b0bba03e',
      'c206b8d9b9f0f37644430b490eeaa314',
    ])
  })

  it('are those of the example in RFC 9369 for version 2', () => {
    const { client } = keysOf(VERSION_2)
    expect(hex(client)).toEqual([
      '8b1a0bc121284290a29e0971b5cd045d',
      '91f73e2351d8fa91660e909f',
      '45b95e15235d6f45a6b19cbcb0294ba9',
    ])
  })

  it("open the RFC's server packet, and no packet that was spoilt", () => {
    const packet = longPacket(SERVER_INITIAL)
    const frames = openInitial(SERVER_INITIAL, packet?.numberAt ?? 0, keysOf().server)
    expect(frames?.toString('hex').slice(0, 24)).toBe('02000000000600405a020000')
    const spoilt = Buffer.from(SERVER_INITIAL)
    spoilt[60] = 0
    expect(openInitial(spoilt, packet?.numberAt ?? 0, keysOf().server)).toBeUndefined()
  })

  it('are not known for versions that are not known', () => {
    expect(initialKeys(0x10010000, CLIENT_ID)).toBeUndefined()
  })
})

describe('QUIC', () => {
  it('logs a connection by its hello messages and headers, and hands the hellos to TLS', () => {
    const { dissector, records, services } = flow()
    dissector.data(true, Buffer.concat([initial(keysOf().client, 0, crypto(0, HELLO)), Buffer.alloc(30)]), 1)
    dissector.data(false, SERVER_INITIAL, 2)
    for (let i = 0; i < 5; i++) dissector.data(false, shortPacket, 3)
    dissector.data(true, shortPacket, 4)
    dissector.end?.(9)
    expect(services).toEqual(['quic', 'ssl'])
    expect(records[0]).toEqual({
      log: 'quic',
      ts: 1,
      fields: {
        version: '1',
        client_initial_dcid: '8394c8f03e515708',
        client_scid: '',
        server_scid: 'f067a5502a4262b5',
        server_name: 'www.example.org',
        client_protocol: 'h3',
        history: 'ISXisoooO',
      },
    })
    expect(records[1]).toMatchObject({
      log: 'ssl',
      fields: {
        version: 'TLSv13',
        cipher: 'TLS_AES_128_GCM_SHA256',
        server_name: 'www.example.org',
        ssl_history: 'Cs',
      },
    })
  })

  it('puts a hello together whose frames come in any order, in several packets', () => {
    const { dissector, records } = flow()
    const { client } = keysOf()
    const [a, b, c] = [HELLO.subarray(0, 20), HELLO.subarray(20, 50), HELLO.subarray(50)]
    dissector.data(true, initial(client, 0, Buffer.concat([crypto(50, c), Buffer.from([1, 0, 0]), crypto(0, a)])), 1)
    dissector.data(true, initial(client, 1, crypto(20, b)), 2)
    dissector.data(true, initial(client, 2, crypto(0, a)), 3)
    dissector.end?.(4)
    expect(records[0]?.fields).toMatchObject({ server_name: 'www.example.org', history: 'IISI' })
  })

  it('knows version 2, and the drafts', () => {
    const names = [VERSION_2, 0xff00001d, 0xff00001b].map((version) => {
      const { dissector, records } = flow()
      dissector.data(true, initial(keysOf(version).client, 0, crypto(0, HELLO), version), 1)
      dissector.end?.(1)
      return [records[0]?.fields.version, records[0]?.fields.server_name]
    })
    expect(names).toEqual([
      ['quicv2', 'www.example.org'],
      ['draft-29', 'www.example.org'],
      ['draft-27', 'www.example.org'],
    ])
  })

  it('logs a version that it does not know, and looks no further', () => {
    const { dissector, records, services } = flow()
    dissector.data(true, Buffer.from('c010010000020a0b010c00', 'hex'), 1)
    dissector.data(true, initial(keysOf().client, 0, crypto(0, HELLO)), 2)
    dissector.end?.(3)
    expect(services).toEqual([])
    expect(records).toEqual([
      {
        log: 'quic',
        ts: 1,
        fields: { version: 'unknown-10010000', client_initial_dcid: '0a0b', client_scid: '0c', history: 'U' },
      },
    ])
  })

  it('begins a new record after a retry, with the keys of the new connection id', () => {
    const { dissector, records } = flow()
    dissector.data(true, initial(keysOf().client, 0, crypto(0, HELLO)), 1)
    dissector.data(
      false,
      Buffer.concat([Buffer.from('f00000000100', 'hex'), Buffer.from([8]), SERVER_ID, Buffer.alloc(32)]),
      2,
    )
    const again = initialKeys(VERSION_1, SERVER_ID) as { client: InitialKeys }
    dissector.data(true, initial(again.client, 1, crypto(0, HELLO), VERSION_1, [SERVER_ID, Buffer.alloc(0)]), 3)
    dissector.end?.(4)
    const quicRecords = records.filter(({ log }) => log === 'quic')
    expect(quicRecords.map(({ fields }) => [fields.client_initial_dcid, fields.history])).toEqual([
      ['8394c8f03e515708', 'ISr'],
      ['f067a5502a4262b5', 'IS'],
    ])
  })

  it('ends with the close of a handshake that failed', () => {
    const { dissector, records } = flow()
    dissector.data(true, initial(keysOf().client, 0, crypto(0, HELLO)), 1)
    dissector.data(
      false,
      initial(keysOf().server, 0, Buffer.from('1c412f0000', 'hex'), VERSION_1, [Buffer.alloc(0), SERVER_ID]),
      2,
    )
    expect(records[0]?.fields.history).toBe('ISic')
  })

  it('writes nothing of datagrams without a long header before them', () => {
    const { dissector, records } = flow()
    for (const bytes of [shortPacket, Buffer.from([0]), Buffer.from('16feff0000', 'hex')])
      dissector.data(true, bytes, 1)
    dissector.end?.(1)
    expect(records).toEqual([])
  })

  it('keeps the history within bounds and says so', () => {
    const { dissector, records, weirds } = flow()
    for (let i = 0; i < 300; i++) dissector.data(true, initial(keysOf().client, i & 0xff, Buffer.from([1])), 1)
    dissector.end?.(1)
    expect(records[0]?.fields.history).toBe('I'.repeat(100))
    expect(weirds).toEqual(['QUIC_max_history_length_reached'])
  })

  it("is recognized on other ports by a client's Initial alone", () => {
    const none = Buffer.alloc(0)
    const packet = initial(keysOf().client, 0, crypto(0, HELLO))
    expect(quic.recognize?.(packet, none, 'udp')).toBe(true)
    expect(quic.recognize?.(packet, none, 'tcp')).toBe(false)
    expect(quic.recognize?.(SERVER_INITIAL, none, 'udp')).toBe(false)
    expect(quic.recognize?.(none, none, 'udp')).toBe(false)
  })

  it('survives packets that are cut or spoilt, and frames that lie', () => {
    const packet = initial(keysOf().client, 0, crypto(0, HELLO))
    for (const each of damaged(packet.subarray(0, 60))) expect(() => flow().dissector.data(true, each, 1)).not.toThrow()
    const { dissector } = flow()
    let number = 0
    for (const frames of ['06ffffffffffffffff4001', '020101ffffffffffffffff', '06', '0640ff8fffffff', '1c', '3f3f']) {
      const spoilt = initial(keysOf().client, number++, Buffer.from(frames, 'hex'))
      expect(() => dissector.data(true, spoilt, 1)).not.toThrow()
    }
    for (const each of damaged(crypto(0, HELLO))) {
      const { dissector: fresh } = flow()
      expect(() => fresh.data(true, initial(keysOf().client, 0, each), 1)).not.toThrow()
    }
  })
})

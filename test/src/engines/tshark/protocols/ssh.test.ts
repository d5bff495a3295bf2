import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { ssh } from '../../../../../src/engines/tshark/protocols/ssh.ts'
import { stage } from './play-flow.ts'

const u32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
const text = (value: string | Buffer) => Buffer.concat([u32(Buffer.from(value).length), Buffer.from(value)])
/** RFC 4253, 6: length, padding length, payload, padding. */
const packet = (payload: Buffer, padding = 6) =>
  Buffer.concat([u32(1 + payload.length + padding), Buffer.from([padding]), payload, Buffer.alloc(padding)])

const kexinit = (lists: string[]) =>
  packet(Buffer.concat([Buffer.from([20]), Buffer.alloc(16), ...lists.map(text), Buffer.alloc(5)]))
const CLIENT = [
  'curve25519-sha256,ecdh-sha2-nistp256',
  'ssh-ed25519,ssh-rsa',
  'aes256-ctr,aes128-ctr',
  'aes256-ctr',
  'hmac-sha2-256',
  'hmac-sha1,hmac-sha2-256',
  'none',
  'none',
  '',
  '',
]
const SERVER = [
  'ecdh-sha2-nistp256',
  'ssh-rsa',
  'aes128-ctr,aes256-ctr',
  'aes256-ctr',
  'hmac-sha2-256',
  'hmac-sha2-256,hmac-sha1',
  'zlib,none',
  'none',
  '',
  '',
]
const HOST_KEY = Buffer.from('host key blob')
const NEWKEYS = packet(Buffer.from([21]))

function handshake(options = {}, compression = 'none') {
  const theStage = stage([ssh])
  const flow = theStage.flow({ respPort: 22, ...options })
  flow
    .client('SSH-2.0-OpenSSH_9.6\r\n', 5)
    .server('SSH-2.0-OpenSSH_9.2 Debian\r\n')
    .client(kexinit(CLIENT.with(6, compression).with(7, compression)))
    .server(kexinit(SERVER.with(6, compression).with(7, compression)))
  flow.client(packet(Buffer.concat([Buffer.from([30]), text('e')])))
  flow
    .server(packet(Buffer.concat([Buffer.from([31]), text(HOST_KEY), text('f'), text('signature')])))
    .server(NEWKEYS)
    .client(NEWKEYS)
  return { ...theStage, flow }
}

describe('SSH', () => {
  it('logs the banners, what both sides agree on, and the host key', () => {
    const { flow, rows } = handshake()
    flow.end()
    expect(rows('ssh')).toEqual([
      {
        ts: 5,
        version: 2,
        auth_attempts: 0,
        client: 'SSH-2.0-OpenSSH_9.6',
        server: 'SSH-2.0-OpenSSH_9.2 Debian',
        cipher_alg: 'aes256-ctr',
        mac_alg: 'To server: hmac-sha2-256, to client: hmac-sha1',
        compression_alg: 'none',
        kex_alg: 'ecdh-sha2-nistp256',
        host_key_alg: 'ssh-rsa',
        host_key_fingerprint: `SHA256:${createHash('sha256').update(HOST_KEY).digest('base64').slice(0, 32)}`,
      },
    ])
    expect(flow.services()).toEqual(['ssh'])
  })

  it('tells from the sizes of the answers how often a password was tried, and that it was right in the end', () => {
    const { flow, rows } = handshake()
    flow.client(Buffer.alloc(64))
    for (const size of [48, 80, 80, 80, 32]) flow.server(Buffer.alloc(size))
    flow.end()
    expect(rows('ssh')).toMatchObject([{ auth_success: true, auth_attempts: 3 }])
  })

  it('tells that all tries failed', () => {
    const { flow, rows } = handshake()
    flow.client(Buffer.alloc(64))
    for (const size of [48, 80, 80]) flow.server(Buffer.alloc(size))
    flow.end()
    expect(rows('ssh')).toMatchObject([{ auth_success: false, auth_attempts: 1 }])
  })

  it('counts neither what the server says unasked nor its banner', () => {
    const { flow, rows } = handshake()
    flow.server(Buffer.alloc(200)).client(Buffer.alloc(64))
    for (const size of [48, 1000, 80, 32]) flow.server(Buffer.alloc(size))
    flow.end()
    expect(rows('ssh')).toMatchObject([{ auth_success: true, auth_attempts: 1 }])
  })

  it('takes what comes behind the keys in the same segment for encrypted', () => {
    const theStage = stage([ssh])
    const flow = theStage.flow({ respPort: 22 }).client('SSH-2.0-a\r\n').server('SSH-2.0-b\r\n')
    flow.client(kexinit(CLIENT)).server(kexinit(SERVER)).server(NEWKEYS)
    flow.client(Buffer.concat([NEWKEYS, Buffer.alloc(64)]))
    for (const size of [48, 80, 32]) flow.server(Buffer.alloc(size))
    flow.end()
    expect(theStage.rows('ssh')).toMatchObject([{ auth_success: true, auth_attempts: 1 }])
  })

  it('tells nothing of attempts where the sizes are those of compressed messages, or one is missing', () => {
    const compressed = handshake({}, 'zlib@openssh.com')
    compressed.flow.client(Buffer.alloc(64))
    for (const size of [48, 80, 32]) compressed.flow.server(Buffer.alloc(size))
    compressed.flow.end()
    expect(compressed.rows('ssh')[0]).not.toHaveProperty('auth_success')
    const gapped = handshake()
    gapped.flow.client(Buffer.alloc(64)).server(Buffer.alloc(48)).gap(true, 10)
    gapped.flow.server(Buffer.alloc(80)).server(Buffer.alloc(32)).end()
    expect(gapped.rows('ssh')).toMatchObject([{ auth_attempts: 0 }])
  })

  it('is no SSH where the client says something else first', () => {
    const theStage = stage([ssh])
    theStage.flow({ respPort: 22 }).client('GET / HTTP/1.1\r\n\r\n').server('SSH-2.0-b\r\n').end()
    expect(theStage.rows('ssh')).toEqual([])
  })

  it('logs a banner that nobody answered, and versions that do not fit', () => {
    const theStage = stage([ssh])
    theStage.flow({ respPort: 22 }).server('SSH-2.0-b\r\n', 3).end()
    const flow = theStage.flow({ respPort: 22 }).server('SSH-2.0-b\r\n').client('SSH-1.5-a\r\n').end()
    expect(theStage.rows('ssh')).toEqual([
      { ts: 3, auth_attempts: 0, server: 'SSH-2.0-b' },
      { ts: 1, auth_attempts: 0, server: 'SSH-2.0-b', client: 'SSH-1.5-a' },
    ])
    expect(theStage.rows('weird')).toMatchObject([{ name: 'SSH_version_mismatch', addl: 'SSH-2.0-b vs SSH-1.5-a' }])
    expect(flow.services()).toEqual([])
  })

  it('says in which direction it crosses the border of the local network', () => {
    for (const [origLocal, respLocal, direction] of [
      [true, false, 'OUTBOUND'],
      [false, true, 'INBOUND'],
      [true, true, undefined],
    ] as const) {
      const { flow, rows } = handshake({ origLocal, respLocal })
      flow.end()
      expect(rows('ssh')[0]?.direction).toBe(direction)
    }
  })

  it('says where nothing is agreed on', () => {
    const theStage = stage([ssh])
    const flow = theStage.flow({ respPort: 22 }).client('SSH-2.0-a\r\n').server('SSH-2.0-b\r\n')
    flow
      .client(kexinit(CLIENT))
      .server(kexinit(SERVER.map((list, i) => (i === 0 ? 'other' : list))))
      .end()
    expect(theStage.rows('ssh')).toMatchObject([{ kex_alg: 'Algorithm negotiation failed' }])
  })

  it('is recognized on any port by the banners of both sides, after whatever the server says first', () => {
    const theStage = stage([ssh])
    theStage.flow({ respPort: 2222 }).client('SSH-2.0-a\r\n').server('SSH-2.0-b\r\n').end()
    theStage.flow({ respPort: 22 }).server('welcome\r\nSSH-1.99-b\r\n').client('SSH-1.5-a\r\n').end()
    expect(theStage.rows('ssh')).toMatchObject([{ version: 2 }, { version: 1, server: 'SSH-1.99-b' }])
  })

  it('survives packets that lie about their size, and offers without end', () => {
    const theStage = stage([ssh])
    for (const bytes of [
      u32(0xffffffff),
      u32(0),
      packet(Buffer.from([20])),
      packet(Buffer.concat([Buffer.from([31]), u32(1e9)])),
      kexinit(Array(10).fill('x,'.repeat(500))),
    ])
      theStage.flow({ respPort: 22 }).client('SSH-2.0-a\r\n').server('SSH-2.0-b\r\n').server(bytes).client(bytes).end()
    expect(theStage.faults).toEqual([])
    expect(theStage.rows('weird')[0]).toMatchObject({
      name: 'SSH_max_kexinit_kex_algorithms_exceeded',
      addl: '501 > 100',
    })
  })
})

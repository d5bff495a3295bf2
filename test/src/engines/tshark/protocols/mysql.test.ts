import { describe, expect, it } from 'vitest'
import { mysql } from '../../../../../src/engines/tshark/protocols/mysql.ts'
import { statementAt } from '../../../../../src/engines/tshark/protocols/mysql-packets.ts'
import type { Protocol } from '../../../../../src/engines/tshark/protocols/protocol.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const PORT = { respPort: 3306 }
const [SSL, DEPRECATE_EOF, QUERY_ATTRIBUTES] = [0x800, 0x0100_0000, 0x0800_0000]
const PROTOCOL_41 = 0x200

function packet(sequence: number, ...parts: (string | number[] | Buffer)[]): Buffer {
  const body = Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part))),
  )
  return Buffer.concat([Buffer.from([body.length & 0xff, body.length >> 8, body.length >> 16, sequence]), body])
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value >>> 0)
  return bytes
}

function greeting(capabilities = 0xffff_ffff): Buffer {
  const [low, high] = [word(capabilities).subarray(0, 2), word(capabilities).subarray(2)]
  return packet(
    0,
    '\x0a8.0.1\0',
    word(7),
    '12345678\0',
    low,
    [0xff, 2, 0],
    high,
    [21],
    '\0'.repeat(10),
    'abcdefghijkl\0',
  )
}

const login = (user: string, capabilities = 0) =>
  packet(1, word(PROTOCOL_41 | capabilities), word(0x0100_0000), [45], Buffer.alloc(23), `${user}\0\0`)
const command = (code: number, rest = '') => packet(0, [code], rest)
const ok = (sequence: number, rows = 0) => packet(sequence, [0, rows, 0, 2, 0, 0, 0])
const error = (sequence: number, text: string) => packet(sequence, [0xff, 0x15, 0x04], `#28000${text}`)
const eof = (sequence: number) => packet(sequence, [0xfe, 0, 0, 2, 0])
const column = (sequence: number) => packet(sequence, '\x03def\0\0\0\x01a\0', Buffer.alloc(13))

describe('MySQL', () => {
  it('writes the login and each command with its outcome', () => {
    const { flow, rows } = stage([mysql])
    const session = flow(PORT).server(greeting(), 1).client(login('ann'), 2).server(ok(2), 3)
    session.client(command(3, 'INSERT INTO t VALUES (1)'), 4).server(ok(1, 1), 5)
    session.client(command(3, 'DROP everything'), 6).server(error(1, 'Access denied'), 7)
    session.client(command(14), 8).server(ok(1), 9).client(command(1), 10).end()
    expect(session.services()).toEqual(['mysql'])
    expect(rows('mysql')).toEqual([
      { ts: 2, cmd: 'login', arg: 'ann', success: true, rows: 0 },
      { ts: 4, cmd: 'query', arg: 'INSERT INTO t VALUES (1)', success: true, rows: 1 },
      { ts: 6, cmd: 'query', arg: 'DROP everything', success: false, response: 'Access denied' },
      { ts: 8, cmd: 'ping', arg: '', success: true, rows: 0 },
      { ts: 10, cmd: 'quit', arg: '' },
    ])
  })

  it('waits for the end of a result set, as either version of the protocol marks it', () => {
    for (const capabilities of [0, DEPRECATE_EOF]) {
      const { flow, rows } = stage([mysql])
      const session = flow(PORT).server(greeting()).client(login('ann', capabilities)).server(ok(2))
      session
        .client(command(3, 'SELECT a FROM t'), 10)
        .server(packet(1, [1]))
        .server(column(2))
      if (capabilities === 0) session.server(eof(3))
      session.server(packet(4, '\x01x'))
      expect(rows('mysql')).toHaveLength(1)
      session.server(eof(5))
      expect(rows('mysql')[1]).toEqual({ ts: 10, cmd: 'query', arg: 'SELECT a FROM t', success: true, rows: 0 })
    }
  })

  it('writes a command without outcome when the next one comes, or none does', () => {
    const { flow, rows } = stage([mysql])
    const session = flow(PORT).server(greeting()).client(login('ann')).server(ok(2))
    session.client(command(9)).server(packet(1, 'Uptime: 1')).client(command(3, 'SELECT 1')).end()
    expect(rows('mysql').slice(1)).toEqual([
      { ts: expect.any(Number), cmd: 'statistics', arg: '' },
      { ts: expect.any(Number), cmd: 'query', arg: 'SELECT 1' },
    ])
  })

  it('takes the answers to an authentication that goes to and fro for no commands', () => {
    const { flow, rows } = stage([mysql])
    const session = flow(PORT).server(greeting()).client(login('ann')).server(packet(2, '\xfecaching_sha2_password\0x'))
    session
      .client(packet(3, '\x03scrambled'))
      .server(packet(4, [1, 4]))
      .client(packet(5, 'secret\0'))
      .server(ok(6))
    session
      .client(command(0x11, 'bob\0...'))
      .server(packet(1, '\xfeother\0'))
      .client(packet(2, '\x01'))
      .server(error(3, 'no'))
    session.end()
    expect(rows('mysql')).toMatchObject([
      { cmd: 'login', arg: 'ann', success: true },
      { cmd: 'change_user', arg: 'bob', success: false, response: 'no' },
    ])
  })

  it('finds the statement behind query attributes', () => {
    const { flow, rows } = stage([mysql])
    const session = flow(PORT).server(greeting()).client(login('ann', QUERY_ATTRIBUTES)).server(ok(2))
    // Two attributes: a string, and one that is NULL; then none at all.
    const attributes = '\x02\x01\x02\x01\xfe\0\x02n1\x03\0\x02n2\x02v1'
    session
      .client(command(3, `${attributes}SELECT 1`))
      .server(ok(1))
      .client(command(3, '\0\x01SELECT 2'))
      .server(ok(1))
      .end()
    expect(rows('mysql').map(({ arg }) => arg)).toEqual(['ann', 'SELECT 1', 'SELECT 2'])
    expect(statementAt(Buffer.from('\xfc\xff\xff\x01', 'latin1'), 0)).toBeUndefined()
  })

  it('hands the flow to TLS when the client asks for it, and tells of no login', () => {
    const seen: Buffer[] = []
    const ssl: Protocol = { name: 'ssl', logs: [], dissect: () => ({ data: (_client, bytes) => seen.push(bytes) }) }
    const { flow, rows } = stage([mysql, ssl])
    const request = packet(1, word(PROTOCOL_41 | SSL), word(0), Buffer.alloc(24))
    const session = flow(PORT)
      .server(greeting())
      .client(Buffer.concat([request, Buffer.from('\x16hello')]))
      .server('\x16answer')
    expect(seen.map(String)).toEqual(['\x16hello', '\x16answer'])
    expect(session.end().services()).toEqual(['mysql'])
    expect(rows('mysql')).toEqual([])
  })

  it('is recognized on other ports, whole or in pieces', () => {
    const { flow, rows } = stage([mysql])
    const session = flow({ respPort: 13306 })
    for (const byte of greeting().subarray(0, 20)) session.server(Buffer.from([byte]))
    session.server(greeting().subarray(20)).client(login('ann')).server(ok(2)).end()
    expect(rows('mysql')).toMatchObject([{ cmd: 'login', arg: 'ann', success: true }])
  })

  it('reads on behind a gap inside a packet', () => {
    const { flow, rows } = stage([mysql])
    const session = flow(PORT).server(greeting()).client(login('ann')).server(ok(2)).client(command(3, 'SELECT a'))
    const row = packet(4, 'x'.repeat(200))
    session
      .server(packet(1, [1]))
      .server(column(2))
      .server(eof(3))
      .server(row.subarray(0, 50))
      .gap(false, 100)
    session.server(row.subarray(150)).server(eof(5)).end()
    expect(rows('mysql')[1]).toMatchObject({ arg: 'SELECT a', success: true })
  })

  it('survives damaged packets', () => {
    const { flow, faults } = stage([mysql])
    const start = () => flow(PORT).server(greeting())
    for (const bytes of damaged(greeting())) flow(PORT).server(bytes).client(login('a')).server(ok(2)).end()
    for (const bytes of damaged(login('ann'))) start().client(bytes).server(ok(2)).end()
    for (const bytes of damaged(command(3, '\x02\x01\x02\x01\xfe\0\x02n1\x03\0\x02n2\x02v1SELECT 1')))
      start().client(login('a', QUERY_ATTRIBUTES)).server(ok(2)).client(bytes).server(ok(1)).end()
    expect(faults).toEqual([])
  })
})

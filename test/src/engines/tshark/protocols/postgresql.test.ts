import { describe, expect, it } from 'vitest'
import { postgresql } from '../../../../../src/engines/tshark/protocols/postgresql.ts'
import type { Protocol } from '../../../../../src/engines/tshark/protocols/protocol.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const PORT = { respPort: 5432 }

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function untyped(...parts: (string | Buffer)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part as string)))
  return Buffer.concat([word(body.length + 4), body])
}
const typed = (type: string, ...parts: (string | Buffer)[]) => Buffer.concat([Buffer.from(type), untyped(...parts)])

const SSL_REQUEST = untyped(word(80877103))
const STARTUP = untyped(word(0x0003_0000), 'user\0ann\0database\0shop\0application_name\0test\0\0')
const authentication = (kind: number, rest = '') => typed('R', word(kind), rest)
const READY = typed('Z', 'I')
const query = (sql: string) => typed('Q', `${sql}\0`)
const ROW = typed('D', '\0\x01\0\0\0\x011')
const notice = (type: 'E' | 'N') => typed(type, 'SERROR\0VERROR\0C42P01\0Mno such table\0Xodd\0\0')
const NOTICE = 'SeverityLocalized=ERROR,Severity=ERROR,Code=42P01,Message=no such table,unknown (X)=odd'
const WHO = { user: 'ann', database: 'shop', application_name: 'test' }

describe('PostgreSQL', () => {
  it('writes start-up, queries with their rows, and the end', () => {
    const { flow, rows } = stage([postgresql])
    const session = flow(PORT).client(STARTUP, 1).server(authentication(10, 'SCRAM-SHA-256\0\0'), 2)
    session.client(typed('p', 'response'), 3).server(Buffer.concat([authentication(12), authentication(0), READY]), 4)
    session.client(query('SELECT 1'), 5).server(Buffer.concat([ROW, ROW, typed('C', 'SELECT 2\0'), READY]), 6)
    session.client(query('DROP TABLE t'), 7).server(Buffer.concat([notice('N'), typed('C', 'DROP TABLE\0'), READY]), 8)
    session
      .client(query('SELECT x'), 9)
      .server(Buffer.concat([notice('E'), READY]), 10)
      .client(typed('X'), 11)
      .end()
    expect(session.services()).toEqual(['postgresql'])
    expect(rows('postgresql')).toEqual([
      { ts: 1, ...WHO, frontend: 'startup', backend: 'auth_ok', backend_arg: 'SASL,SASLFinal', success: true },
      { ts: 5, ...WHO, frontend: 'simple_query', frontend_arg: 'SELECT 1', success: true, rows: 2 },
      {
        ts: 7,
        ...WHO,
        frontend: 'simple_query',
        frontend_arg: 'DROP TABLE t',
        backend_arg: NOTICE,
        success: true,
        rows: 0,
      },
      {
        ts: 9,
        ...WHO,
        frontend: 'simple_query',
        frontend_arg: 'SELECT x',
        backend: 'error',
        backend_arg: NOTICE,
        success: false,
      },
      { ts: 11, ...WHO, frontend: 'terminate' },
    ])
  })

  it('keeps what was asked of a login that fails, and of one that just ends', () => {
    const { flow, rows } = stage([postgresql])
    flow(PORT).client(STARTUP, 1).server(authentication(5, 'salt')).client(typed('p', 'md5')).server(notice('E')).end()
    flow(PORT).client(STARTUP, 2).server(authentication(3)).end()
    expect(rows('postgresql')).toEqual([
      {
        ts: 1,
        ...WHO,
        frontend: 'startup',
        backend: 'auth_request,error',
        backend_arg: `MD5Password,${NOTICE}`,
        success: false,
      },
      { ts: 2, ...WHO, frontend: 'startup', backend: 'auth_request', backend_arg: 'CleartextPassword' },
    ])
  })

  it('tells of a session that is refused after its login', () => {
    const { flow, rows } = stage([postgresql])
    flow(PORT)
      .client(STARTUP, 1)
      .server(Buffer.concat([authentication(0), notice('E')]), 2)
      .end()
    expect(rows('postgresql')).toEqual([
      { ts: 1, ...WHO, frontend: 'startup', backend: 'auth_ok,error', backend_arg: NOTICE, success: false },
    ])
  })

  it('counts the rows of what is not read, and what a failed transaction does is no success', () => {
    const { flow, rows } = stage([postgresql])
    const session = flow(PORT)
      .client(STARTUP, 1)
      .server(Buffer.concat([authentication(0), READY]), 2)
    session.client(typed('P', '\0SELECT 1\0\0\0'), 3).server(Buffer.concat([typed('1'), ROW, ROW, READY]), 4)
    session.client(typed('P', '\0BEGIN\0\0\0'), 5).server(Buffer.concat([typed('1'), READY]), 6)
    session.client(query('SELECT 2'), 7).server(typed('Z', 'E'), 8).end()
    expect(rows('postgresql').slice(1)).toEqual([
      { ts: 4, ...WHO, success: true, rows: 2 },
      { ts: 7, ...WHO, frontend: 'simple_query', frontend_arg: 'SELECT 2', success: false, rows: 0 },
    ])
  })

  it('goes on in the clear when TLS is refused, and hands over when it is granted', () => {
    const seen: string[] = []
    const ssl: Protocol = {
      name: 'ssl',
      logs: [],
      dissect: () => ({ data: (_client, bytes) => seen.push(String(bytes)) }),
    }
    const { flow, rows } = stage([postgresql, ssl])
    flow(PORT).client(SSL_REQUEST, 1).server('N').client(STARTUP, 2).server(authentication(0)).end()
    flow(PORT).client(SSL_REQUEST, 3).server('S').client('\x16hello').server('\x16answer').end()
    expect(seen).toEqual(['\x16hello', '\x16answer'])
    expect(rows('postgresql')).toMatchObject([
      { ts: 1, frontend: 'ssl_request', backend: 'ssl_reply', backend_arg: 'N', success: false },
      { ts: 2, frontend: 'startup', backend: 'auth_ok', success: true },
      { ts: 3, frontend: 'ssl_request', backend: 'ssl_reply', backend_arg: 'S', success: true },
    ])
  })

  it('is recognized on other ports, in pieces too', () => {
    const { flow, rows } = stage([postgresql])
    const session = flow({ respPort: 15432 })
    for (const byte of STARTUP.subarray(0, 12)) session.client(Buffer.from([byte]))
    session.client(STARTUP.subarray(12)).server(authentication(0)).end()
    expect(rows('postgresql')).toMatchObject([{ frontend: 'startup', backend: 'auth_ok' }])
  })

  it('says nothing of what is something else', () => {
    const { flow, rows } = stage([postgresql])
    const session = flow(PORT).client('GET / HTTP/1.1\r\n\r\n').server('HTTP/1.1 200 OK\r\n\r\n').end()
    expect(session.services()).toEqual([])
    expect(rows('postgresql')).toEqual([])
  })

  it('survives damaged messages', () => {
    const { flow, faults } = stage([postgresql])
    for (const bytes of damaged(STARTUP)) flow(PORT).client(bytes).server(authentication(0)).end()
    for (const bytes of damaged(Buffer.concat([authentication(10), notice('E')])))
      flow(PORT).client(STARTUP).server(bytes).end()
    for (const bytes of damaged(query('SELECT 1')))
      flow(PORT).client(STARTUP).server(authentication(0)).client(bytes).server(READY).end()
    expect(faults).toEqual([])
  })
})

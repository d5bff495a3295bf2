import { describe, expect, it } from 'vitest'
import { ldapTcp, ldapUdp } from '../../../../../src/engines/tshark/protocols/ldap.ts'
import { ssl } from '../../../../../src/engines/tshark/protocols/tls.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'
import {
  apReply,
  apRequest,
  der,
  framed,
  int,
  ntlmAuthenticate,
  ntlmChallenge,
  ntlmNegotiate,
  seq,
  spnegoInit,
  spnegoResponse,
} from './windows-messages.ts'

const scene = (options = {}) => {
  const theStage = stage([ldapTcp, ldapUdp, ssl])
  return { ...theStage, flow: theStage.flow({ respPort: 389, ...options }) }
}

const message = (id: number, op: Buffer) => seq(int(id), op)
const code = (value: number) => der(0x0a, Buffer.from([value]))
const bind = (id: number, name: string, auth: Buffer) => message(id, der(0x60, int(3), der(4, name), auth))
const simple = (id: number, name: string) => bind(id, name, der(0x80, 'secret'))
const sasl = (id: number, mechanism: string, credentials?: Buffer) =>
  bind(id, '', der(0xa3, der(4, mechanism), credentials === undefined ? Buffer.alloc(0) : der(4, credentials)))
const result = (id: number, tag: number, value: number, diagnostic = '', extra: Buffer = Buffer.alloc(0)) =>
  message(id, der(tag, code(value), der(4, ''), der(4, diagnostic), extra))
const search = (id: number, filter: Buffer, { base = 'dc=example,dc=com', scope = 2, deref = 0 } = {}) =>
  message(
    id,
    der(0x63, der(4, base), code(scope), code(deref), int(0), int(0), der(1, Buffer.from([0])), filter, seq()),
  )
const entry = (id: number) => message(id, der(0x64, der(4, 'cn=x'), seq()))
const present = (name: string) => der(0x87, name)
const equals = (name: string, value: string | Buffer) => der(0xa3, der(4, name), der(4, value))
const extended = (id: number, name: string) => message(id, der(0x77, der(0x80, name)))

describe('LDAP', () => {
  it('logs a simple bind with its result, without the password', () => {
    const { flow, rows } = scene()
    flow
      .client(simple(1, 'cn=admin'), 10)
      .server(result(1, 0x61, 49, '80090308: data 52e\0'))
      .end()
    expect(rows('ldap')).toEqual([
      {
        ts: 10,
        message_id: 1,
        version: 3,
        opcode: 'bind simple',
        result: 'invalid credentials',
        diagnostic_message: '80090308: data 52e?',
        object: 'cn=admin',
        argument: 'REDACTED',
      },
    ])
    expect(JSON.stringify(rows('ldap'))).not.toContain('secret')
    expect(flow.services()).toEqual(['ldap_tcp'])
  })

  it('logs a search with the number of its entries', () => {
    const { flow, rows } = scene()
    flow.client(search(7, present('objectClass'), { base: '', scope: 0, deref: 3 }), 5)
    flow.server(Buffer.concat([entry(7), entry(7), result(7, 0x65, 0)])).end()
    expect(rows('ldap_search')).toEqual([
      {
        ts: 5,
        message_id: 7,
        scope: 'base',
        deref_aliases: 'always',
        result_count: 2,
        result: 'success',
        filter: '(objectClass=*)',
      },
    ])
    expect(rows('ldap')).toEqual([])
  })

  it.each([
    ['(cn=a\\28b\\29\\2a\\5c\\00é)', equals('cn', 'a(b)*\\\0é')],
    ['(&(&(a=1)(b=2))(c=3))', der(0xa0, equals('a', '1'), equals('b', '2'), equals('c', '3'))],
    ['(|(a=1)(!(b=2)))', der(0xa1, equals('a', '1'), der(0xa2, equals('b', '2')))],
    ['(mail=a*b*c)', der(0xa4, der(4, 'mail'), seq(der(0x80, 'a'), der(0x81, 'b'), der(0x82, 'c')))],
    ['(mail=*b*)', der(0xa4, der(4, 'mail'), seq(der(0x81, 'b')))],
    ['(n>=1)', der(0xa5, der(4, 'n'), der(4, '1'))],
    ['(n<=1)', der(0xa6, der(4, 'n'), der(4, '1'))],
    ['(n~=1)', der(0xa8, der(4, 'n'), der(4, '1'))],
    ['(uac:1.2.3:=2)', der(0xa9, der(0x81, '1.2.3'), der(0x82, 'uac'), der(0x83, '2'))],
    ['(ou:dn:=x)', der(0xa9, der(0x82, 'ou'), der(0x83, 'x'), der(0x84, Buffer.from([255])))],
  ])('writes a filter as %s', (text, filter) => {
    const { flow, rows } = scene()
    flow.client(search(1, filter)).end()
    expect(rows('ldap_search')).toMatchObject([{ filter: text, result_count: 0 }])
  })

  it('logs other operations by their names, and an unbind at once', () => {
    const { flow, rows } = scene()
    flow.client(message(2, der(0x68, der(4, 'ou=x'), seq()))).server(result(2, 0x69, 68))
    flow.client(message(3, der(0x4a, 'cn=x'))).server(result(3, 0x6b, 0))
    flow.client(message(4, der(0x42)))
    expect(rows('ldap').map(({ opcode, result: said }) => [opcode, said])).toEqual([
      ['add', 'entry already exists'],
      ['delete', 'success'],
      ['unbind', undefined],
    ])
  })

  it('hands what follows a granted StartTLS to TLS', () => {
    const { flow, rows } = scene()
    flow.client(extended(1, '1.3.6.1.4.1.1466.20037')).server(result(1, 0x78, 0))
    const hello = Buffer.from(`160301002d010000290303${'00'.repeat(32)}000002002f0100`, 'hex')
    const serverHello = Buffer.from(`160303002a020000260303${'11'.repeat(32)}00002f00`, 'hex')
    flow.client(hello).server(serverHello).end()
    expect(rows('ldap')).toMatchObject([{ opcode: 'extended', object: '1.3.6.1.4.1.1466.20037 (StartTLS)' }])
    expect(rows('ssl')).toMatchObject([{ version: 'TLSv12', cipher: 'TLS_RSA_WITH_AES_128_CBC_SHA' }])
    expect(flow.services()).toEqual(['ldap_tcp', 'ssl'])
  })

  it('logs an NTLM login in a SASL bind', () => {
    const { flow, rows } = scene()
    flow.client(sasl(1, 'GSS-SPNEGO', ntlmNegotiate()), 1)
    flow.server(result(1, 0x61, 14, '', der(0x87, ntlmChallenge({ computer: 'DC', dns: 'dc.example.com' }))))
    flow
      .client(sasl(2, 'GSS-SPNEGO', ntlmAuthenticate({ user: 'ann', domain: 'EX' })))
      .server(result(2, 0x61, 0))
      .end()
    expect(rows('ldap')).toMatchObject([
      { opcode: 'bind SASL', argument: 'GSS-SPNEGO', result: 'SASL bind in progress' },
      { opcode: 'bind SASL', result: 'success' },
    ])
    expect(rows('ntlm')).toEqual([
      {
        ts: 1,
        username: 'ann',
        domainname: 'EX',
        server_nb_computer_name: 'DC',
        server_dns_computer_name: 'dc.example.com',
      },
    ])
  })

  it('logs which Kerberos ticket was shown', () => {
    const { flow, rows } = scene()
    flow.client(sasl(1, 'GSS-SPNEGO', spnegoInit(apRequest())), 1)
    flow.server(result(1, 0x61, 0, '', der(0x87, spnegoResponse(0, apReply())))).end()
    expect(rows('kerberos')).toEqual([
      {
        ts: 1,
        request_type: 'AP',
        client: '/EXAMPLE.COM',
        service: 'ldap/dc1',
        success: true,
        cipher: 'aes256-cts-hmac-sha1-96',
      },
    ])
  })

  it('reads what a SASL layer only signs, and nothing of what it encrypts', () => {
    const wrap = (flags: number, plain: Buffer) => {
      const header = Buffer.from([5, 4, flags, 0xff, 0, 12, 0, 12, 0, 0, 0, 0, 0, 0, 0, 1])
      return framed(Buffer.concat([header, Buffer.alloc(12, 0xaa), plain]))
    }
    const { flow, rows, faults } = scene()
    flow.client(sasl(1, 'GSSAPI', Buffer.from('x'))).server(result(1, 0x61, 0))
    flow.client(wrap(4, search(2, present('cn')))).server(wrap(5, Buffer.concat([entry(2), result(2, 0x65, 0)])))
    flow.client(wrap(6, search(3, present('hidden')))).end()
    expect(rows('ldap_search')).toMatchObject([{ message_id: 2, filter: '(cn=*)', result_count: 1 }])
    expect(faults).toEqual([])
  })

  it('logs the binds that only Microsoft has', () => {
    const { flow, rows } = scene()
    flow.client(bind(1, 'User1', der(0x8a, ntlmNegotiate()))).server(result(1, 0x61, 0))
    flow
      .client(bind(2, 'User1', der(0x8b, ntlmAuthenticate({ user: 'User1' }))))
      .server(result(2, 0x61, 0))
      .end()
    expect(rows('ldap').map(({ opcode, argument, object }) => [opcode, argument, object])).toEqual([
      ['sicily_negotiate', 'NTLMSSP', 'User1'],
      ['sicily_response', 'NTLMSSP', 'User1'],
    ])
    expect(rows('ntlm')).toMatchObject([{ username: 'User1' }])
  })

  it('reads messages whatever the segments they come in', () => {
    const { flow, rows } = scene()
    for (const byte of Buffer.concat([search(1, present('a')), search(2, present('b'))]))
      flow.client(Buffer.from([byte]), 1)
    flow.end()
    expect(rows('ldap_search').map(({ filter }) => filter)).toEqual(['(a=*)', '(b=*)'])
  })

  it('reads datagrams', () => {
    const { flow, rows } = scene({ transport: 'udp' })
    flow
      .client(search(1, present('a')))
      .server(Buffer.concat([entry(1), result(1, 0x65, 0)]))
      .end()
    expect(rows('ldap_search')).toMatchObject([{ result_count: 1, result: 'success' }])
    expect(flow.services()).toEqual(['ldap_udp'])
  })

  it('is recognized on other ports, once the server has answered', () => {
    const { flow, rows } = scene({ respPort: 10389 })
    flow
      .client(simple(1, 'cn=admin'))
      .server(result(1, 0x61, 0))
      .end()
    expect(rows('ldap')).toHaveLength(1)
  })

  it('survives every message cut short and every byte spoilt, and filters nested without end', () => {
    const theStage = stage([ldapTcp, ldapUdp])
    for (const bytes of [
      simple(1, 'a'),
      search(2, der(0xa0, equals('a', 'b'), present('c'))),
      result(3, 0x61, 0, 'text'),
      extended(4, '1.2'),
    ]) {
      for (const spoilt of damaged(bytes)) {
        theStage.flow({ respPort: 389 }).client(spoilt).server(spoilt).end()
        theStage.flow({ respPort: 389, transport: 'udp' }).client(spoilt).server(spoilt).end()
      }
    }
    let deep = present('x')
    for (let i = 0; i < 3000; i++) deep = der(0xa2, deep)
    theStage.flow({ respPort: 389 }).client(search(1, deep)).end()
    expect(theStage.faults).toEqual([])
  })
})

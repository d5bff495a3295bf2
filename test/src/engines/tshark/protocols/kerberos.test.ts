import { describe, expect, it } from 'vitest'
import { krb, krbTcp } from '../../../../../src/engines/tshark/protocols/kerberos.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'
import { asRequest, framed, kdcReply, kerberosError } from './windows-messages.ts'

const udp = (options = {}) => {
  const theStage = stage([krb, krbTcp])
  return { ...theStage, flow: theStage.flow({ respPort: 88, transport: 'udp', ...options }) }
}
const tcp = () => udp({ transport: 'tcp' })

const ASKED = {
  request_type: 'AS',
  client: 'alice/EXAMPLE.COM',
  service: 'krbtgt/EXAMPLE.COM',
  till: 2136422885,
  forwardable: true,
  renewable: true,
}

describe('Kerberos', () => {
  it('logs a request for a ticket with its reply, whose ticket names the service', () => {
    const { flow, rows } = udp()
    flow.client(asRequest(), 10).server(kdcReply()).end()
    const granted = { service: 'ldap/dc1', success: true, cipher: 'aes256-cts-hmac-sha1-96' }
    expect(rows('kerberos')).toEqual([{ ts: 10, ...ASKED, ...granted }])
    expect(flow.services()).toEqual(['krb'])
  })

  it('learns from the reply who asked for a service ticket', () => {
    const { flow, rows } = udp()
    flow
      .client(asRequest({ type: 12, user: '', options: 0 }), 10)
      .server(kdcReply(13))
      .end()
    expect(rows('kerberos')).toMatchObject([
      { request_type: 'TGS', client: 'Alice/EXAMPLE.COM', forwardable: false, renewable: false, success: true },
    ])
  })

  it('logs an error by its name', () => {
    const { flow, rows } = udp()
    flow.client(asRequest(), 10).server(kerberosError(24)).end()
    expect(rows('kerberos')).toEqual([{ ts: 10, ...ASKED, success: false, error_msg: 'KDC_ERR_PREAUTH_FAILED' }])
  })

  it('gives the text of an error where it has one', () => {
    const { flow, rows } = udp()
    flow.client(asRequest(), 10).server(kerberosError(6, 'CLIENT_NOT_FOUND')).end()
    expect(rows('kerberos')).toEqual([{ ts: 10, ...ASKED, success: false, error_msg: 'CLIENT_NOT_FOUND' }])
  })

  it('gives no message for an error without a text whose number it does not know', () => {
    const { flow, rows } = udp()
    flow.client(asRequest(), 10).server(kerberosError(199)).end()
    expect(rows('kerberos')).toEqual([{ ts: 10, ...ASKED, success: false }])
  })

  it('logs an error that came without a request', () => {
    const { flow, rows } = udp()
    flow.server(kerberosError(6), 3).end()
    expect(rows('kerberos')).toEqual([
      { ts: 3, service: 'krbtgt/EXAMPLE.COM', success: false, error_msg: 'KDC_ERR_C_PRINCIPAL_UNKNOWN' },
    ])
  })

  it('does not take the demand for pre-authentication for an error where its text says so', () => {
    const { flow, rows } = udp()
    flow.client(asRequest(), 1).server(kerberosError(25, 'NEEDED_PREAUTH'))
    flow.client(asRequest(), 5).server(kdcReply()).end()
    expect(rows('kerberos')).toMatchObject([{ ts: 5, success: true }])
  })

  it('logs a request without an answer when the flow ends', () => {
    const { flow, rows } = udp()
    flow.client(asRequest(), 1)
    expect(rows('kerberos')).toEqual([])
    flow.end()
    expect(rows('kerberos')).toEqual([{ ts: 1, ...ASKED }])
    expect(flow.services()).toEqual([])
  })

  it('reads messages over TCP whatever the segments they come in', () => {
    const { flow, rows } = tcp()
    for (const byte of framed(asRequest())) flow.client(Buffer.from([byte]), 1)
    flow.server(framed(kdcReply()).subarray(0, 50)).server(framed(kdcReply()).subarray(50)).end()
    expect(rows('kerberos')).toMatchObject([{ ts: 1, success: true }])
    expect(flow.services()).toEqual(['krb_tcp'])
  })

  it.each(['udp', 'tcp'] as const)('is recognized on other ports (%s)', (transport) => {
    const { flow, rows } = udp({ transport, respPort: 4711 })
    flow.client(transport === 'tcp' ? framed(asRequest()) : asRequest(), 1).end()
    expect(rows('kerberos')).toHaveLength(1)
  })

  it('takes nothing else for Kerberos', () => {
    const { flow, rows } = udp({ transport: 'tcp', respPort: 4711 })
    flow.client(framed(Buffer.alloc(60, 0x6a))).end()
    expect(rows('kerberos')).toEqual([])
  })

  it('survives every message cut short and every byte spoilt', () => {
    const theStage = stage([krb, krbTcp])
    for (const message of [asRequest(), kdcReply(), kerberosError(6, 'text')]) {
      for (const bytes of damaged(message)) {
        theStage.flow({ respPort: 88, transport: 'udp' }).client(bytes).server(bytes).end()
        theStage.flow({ respPort: 88, transport: 'tcp' }).client(framed(bytes)).server(bytes).end()
      }
    }
    expect(theStage.faults).toEqual([])
  })
})

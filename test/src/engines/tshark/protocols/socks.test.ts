import { describe, expect, it } from 'vitest'
import { http } from '../../../../../src/engines/tshark/protocols/http.ts'
import { socks } from '../../../../../src/engines/tshark/protocols/socks.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex')
const PORT = { respPort: 1080 }
const GREETING = hex('05 02 00 02')
const NO_LOGIN = hex('05 00')
const LOGIN = Buffer.concat([hex('01 03'), Buffer.from('bob'), hex('04'), Buffer.from('pass')])
const TO_NAME = Buffer.concat([hex('05 01 00 03 0b'), Buffer.from('example.com'), hex('0050')])
const GRANTED = hex('05 00 00 01 c0000202 1f90')

describe('SOCKS', () => {
  it('tells of the request and its answer, and finds out what goes through the tunnel', () => {
    const { flow, rows } = stage([http, socks])
    const session = flow({ respPort: 9999 })
      .client(GREETING, 1)
      .server(NO_LOGIN, 2)
      .client(TO_NAME, 3)
      .server(GRANTED, 4)
    session.client('GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n', 5)
    session.server('HTTP/1.1 204 No Content\r\n\r\n', 6).end()
    expect(session.services()).toEqual(['socks', 'http'])
    expect(rows('socks')).toEqual([
      {
        ts: 3,
        version: 5,
        status: 'succeeded',
        'request.name': 'example.com',
        request_p: 80,
        'bound.host': '192.0.2.2',
        bound_p: 8080,
      },
    ])
    expect(rows('tunnel')).toEqual([{ ts: 3, tunnel_type: 'Tunnel::SOCKS', action: 'Tunnel::DISCOVER' }])
    expect(rows('http')).toMatchObject([{ host: 'example.com', uri: '/a', status_code: 204 }])
  })

  it('shows who logged in, never the password, and begins with the login', () => {
    const { flow, rows } = stage([socks])
    const session = flow(PORT).client(GREETING).server(hex('05 02')).client(LOGIN, 7).server(hex('01 00'))
    session.client(hex('05 01 00 04 20010db8000000000000000000000001 0016'), 8)
    session.server(hex('05 05 00 01 00000000 0000'), 9).end()
    expect(rows('socks')).toEqual([
      {
        ts: 7,
        version: 5,
        user: 'bob',
        status: 'Connection refused',
        'request.host': '2001:db8::1',
        request_p: 22,
        'bound.host': '0.0.0.0',
        bound_p: 0,
      },
    ])
  })

  it('is put together from single bytes', () => {
    const { flow, rows } = stage([socks])
    const session = flow(PORT)
    for (const byte of GREETING) session.client(Buffer.from([byte]))
    for (const byte of NO_LOGIN) session.server(Buffer.from([byte]))
    for (const byte of TO_NAME) session.client(Buffer.from([byte]))
    for (const byte of GRANTED) session.server(Buffer.from([byte]))
    expect(rows('socks')).toMatchObject([{ 'request.name': 'example.com', 'bound.host': '192.0.2.2' }])
  })

  it('has a tunnel, but no record of its own, for SOCKS4', () => {
    const { flow, rows } = stage([socks])
    const session = flow(PORT).client(hex('04 01 0050 c0000202 00')).server(hex('00 5a 0000 00000000')).end()
    expect(rows('tunnel')).toHaveLength(1)
    expect(rows('socks')).toEqual([])
    expect(session.services()).toEqual([])
  })

  it('writes nothing of a request that was not answered', () => {
    const { flow, rows } = stage([socks])
    flow(PORT).client(GREETING).server(NO_LOGIN).client(TO_NAME).end()
    expect(rows('socks')).toEqual([])
  })

  it('survives damaged messages', () => {
    const { flow, faults } = stage([socks])
    for (const bytes of damaged(TO_NAME))
      flow(PORT).client(GREETING).server(NO_LOGIN).client(bytes).server(GRANTED).end()
    for (const bytes of damaged(LOGIN)) flow(PORT).client(GREETING).server(hex('0502')).client(bytes).end()
    for (const bytes of damaged(GRANTED))
      flow(PORT).client(GREETING).server(NO_LOGIN).client(TO_NAME).server(bytes).end()
    expect(faults).toEqual([])
  })
})

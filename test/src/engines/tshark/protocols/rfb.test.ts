import { describe, expect, it } from 'vitest'
import { rfb } from '../../../../../src/engines/tshark/protocols/rfb.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const hex = (text: string) => Buffer.from(text.replace(/\s/g, ''), 'hex')
const PORT = { respPort: 5901 }
const VERSION_38 = 'RFB 003.008\n'
const DESKTOP = Buffer.concat([hex('0500 0320 20180001 00ff00ff 00ff1008 00000000 00000005'), Buffer.from('study')])
const VERSIONS_38 = {
  client_major_version: '003',
  client_minor_version: '008',
  server_major_version: '003',
  server_minor_version: '008',
}

describe('RFB', () => {
  it('tells versions, authentication and desktop of a session with a password', () => {
    const { flow, rows } = stage([rfb])
    const session = flow(PORT)
      .server(VERSION_38, 1)
      .client(VERSION_38, 2)
      .server(hex('02 02 10'), 3)
      .client(hex('02'), 4)
    session.server(Buffer.alloc(16, 'c')).client(Buffer.alloc(16, 'r')).server(hex('00000000')).client(hex('01'))
    session.server(DESKTOP).client('anything').end()
    expect(session.services()).toEqual(['rfb'])
    expect(rows('rfb')).toEqual([
      {
        ts: 2,
        ...VERSIONS_38,
        authentication_method: 'VNC',
        auth: true,
        share_flag: true,
        desktop_name: 'study',
        width: 1280,
        height: 800,
      },
    ])
  })

  it('tells of an authentication that failed, and of a session that ended before one', () => {
    const { flow, rows } = stage([rfb])
    const session = flow(PORT).server(VERSION_38, 1).client(VERSION_38, 2).server(hex('01 02')).client(hex('02'))
    session.server(Buffer.alloc(16)).client(Buffer.alloc(16)).server(hex('00000001 00000002 6e6f')).end()
    flow(PORT).server(VERSION_38, 3).client(VERSION_38, 4).end()
    expect(rows('rfb')).toEqual([
      { ts: 2, ...VERSIONS_38, authentication_method: 'VNC', auth: false },
      { ts: 4, ...VERSIONS_38 },
    ])
  })

  it('knows how versions 3.3 and 3.7 go without a password', () => {
    const { flow, rows } = stage([rfb])
    flow(PORT).server('RFB 003.003\n').client('RFB 003.003\n').server(hex('00000001')).client(hex('00')).server(DESKTOP)
    flow(PORT).server(VERSION_38).client('RFB 003.007\n').server(hex('01 01')).client(hex('01 00')).server(DESKTOP)
    expect(rows('rfb')).toMatchObject([
      { authentication_method: 'None', share_flag: false, desktop_name: 'study' },
      { authentication_method: 'None', share_flag: false, desktop_name: 'study' },
    ])
  })

  it('follows the way of Apple Remote Desktop, and stops at ways that it does not know', () => {
    const { flow, rows } = stage([rfb])
    const apple = flow(PORT).server('RFB 003.889\n').client('RFB 003.889\n').server(hex('01 1e')).client(hex('1e'))
    apple
      .server(Buffer.concat([hex('0002 0008'), Buffer.alloc(16)]))
      .client(Buffer.alloc(136))
      .server(hex('00000000'))
    apple.client(hex('c1')).server(DESKTOP)
    flow(PORT).server(VERSION_38).client(VERSION_38).server(hex('01 13')).client(hex('13')).server('TLS follows').end()
    expect(rows('rfb')).toMatchObject([
      { authentication_method: 'Apple Remote Desktop', auth: true, share_flag: true, desktop_name: 'study' },
      { authentication_method: 'VeNCrypt' },
    ])
  })

  it('is put together from single bytes', () => {
    const { flow, rows } = stage([rfb])
    const session = flow(PORT)
    const send = (side: 'client' | 'server', bytes: Buffer) => {
      for (const byte of bytes) session[side](Buffer.from([byte]))
    }
    send('server', Buffer.from(VERSION_38))
    send('client', Buffer.from(VERSION_38))
    send('server', hex('01 01'))
    send('client', hex('01'))
    send('server', hex('00000000'))
    send('client', hex('01'))
    send('server', DESKTOP)
    expect(rows('rfb')).toMatchObject([{ authentication_method: 'None', auth: true, desktop_name: 'study' }])
  })

  it('survives damaged messages', () => {
    const { flow, faults } = stage([rfb])
    const start = () => flow(PORT).server(VERSION_38).client(VERSION_38)
    for (const bytes of damaged(Buffer.from(VERSION_38))) flow(PORT).server(bytes).client(bytes).end()
    for (const bytes of damaged(hex('02 02 1e'))) start().server(bytes).client(hex('1e')).server(bytes).end()
    for (const bytes of damaged(DESKTOP))
      start().server(hex('0101')).client(hex('01')).server(hex('00000000')).client('1').server(bytes).end()
    expect(faults).toEqual([])
  })
})

import { describe, expect, it } from 'vitest'
import { ftp, ftpData } from '../../../../../src/engines/tshark/protocols/ftp.ts'
import { pop3 } from '../../../../../src/engines/tshark/protocols/pop3.ts'
import { smtp } from '../../../../../src/engines/tshark/protocols/smtp.ts'
import { imap, xmpp } from '../../../../../src/engines/tshark/protocols/starttls.ts'
import { dtls, ssl } from '../../../../../src/engines/tshark/protocols/tls.ts'
import { makeCertificate, recordTls } from './certificate.ts'
import { stage } from './play-flow.ts'

const lines = (...text: string[]) => text.map((line) => `${line}\r\n`).join('')

describe('SMTP', () => {
  const play = () => {
    const theStage = stage([smtp, ssl])
    return { ...theStage, flow: theStage.flow({ respPort: 25 }) }
  }

  it('logs a message with its envelope, its headers and its parts', () => {
    const { flow, rows } = play()
    flow.server('220 mail.example ESMTP\r\n', 1).client('EHLO pc\r\n', 2).server(lines('250-mail.example', '250 SIZE'))
    flow
      .client('MAIL FROM:<a@x.example> SIZE=100\r\n')
      .server('250 ok\r\n')
      .client('RCPT TO:<b@y.example>\r\n')
      .server('250 ok\r\n')
    flow.client('DATA\r\n').server('354 go on\r\n')
    flow.client(
      lines(
        'Received: from relay.example ([192.0.2.7])',
        '\tby mail.example; today',
        'Received: from pc ([198.51.100.2])',
        'Date: today',
        'From: A <a@x.example>',
        'To: B <b@y.example>, "C, D" <c@y.example>',
        'Subject: hello',
        'Message-ID: <1@x>',
        'User-Agent: test',
        'MIME-Version: 1.0',
        'Content-Type: multipart/mixed; boundary="b"',
        '',
        '--b',
        'Content-Type: text/plain',
        'Subject: not the message’s',
        '',
        '..a line with a dot, and more',
        '--b',
        'Content-Type: image/png; name=x.png',
        'Content-Transfer-Encoding: base64',
        '',
        Buffer.from('\x89PNG\r\n\x1a\n12345678', 'latin1').toString('base64'),
        '--b--',
        '.',
      ),
    )
    flow.server('250 queued as 1\r\n').client('QUIT\r\n').server('221 bye\r\n').end()
    expect(rows('smtp')).toMatchObject([
      {
        ts: 1,
        trans_depth: 1,
        helo: 'pc',
        mailfrom: 'a@x.example',
        rcptto: ['b@y.example'],
        date: 'today',
        from: 'A <a@x.example>',
        to: ['B <b@y.example>', '"C, D" <c@y.example>'],
        msg_id: '<1@x>',
        subject: 'hello',
        first_received: 'from pc ([198.51.100.2])',
        second_received: 'from relay.example ([192.0.2.7])\tby mail.example; today',
        last_reply: '250 queued as 1',
        path: ['192.0.2.2', '192.0.2.1', '192.0.2.7', '198.51.100.2'],
        user_agent: 'test',
        tls: false,
        fuids: [expect.any(String), expect.any(String)],
      },
    ])
    expect(rows('files')).toMatchObject([
      { source: 'SMTP', depth: 2, mime_type: 'text/plain', seen_bytes: 28 },
      { depth: 3, mime_type: 'image/png', filename: 'x.png', seen_bytes: 16 },
    ])
    expect(flow.services()).toEqual(['smtp'])
  })

  it('logs each of several messages of a connection', () => {
    const { flow, rows } = play()
    flow.server('220 hi\r\n').client('HELO pc\r\n').server('250 ok\r\n')
    for (const n of [1, 2]) {
      flow.client(`MAIL FROM:<${n}@x>\r\n`).server('250 ok\r\n').client('RCPT TO:<b@y>\r\n').server('250 ok\r\n')
      flow
        .client('DATA\r\n')
        .server('354 go on\r\n')
        .client(lines(`Subject: ${n}`, '', 'text', '.'))
        .server('250 done\r\n')
    }
    flow.end()
    expect(
      rows('smtp').map(({ trans_depth, mailfrom, subject, helo }) => [trans_depth, mailfrom, subject, helo]),
    ).toEqual([
      [1, '1@x', '1', 'pc'],
      [2, '2@x', '2', 'pc'],
    ])
  })

  it('takes a message in chunks', () => {
    const { flow, rows } = play()
    flow
      .server('220 hi\r\n')
      .client('EHLO pc\r\n')
      .server('250 ok\r\n')
      .client('MAIL FROM:<a@x>\r\n')
      .server('250 ok\r\n')
    flow
      .client('BDAT 14\r\nSubject: one\r\n')
      .server('250 ok\r\n')
      .client('BDAT 8 LAST\r\n\r\nMAIL\r\n')
      .server('250 sent\r\n')
      .end()
    expect(rows('smtp')).toMatchObject([{ subject: 'one', last_reply: '250 sent' }])
  })

  it('follows into TLS once both sides agree on it', async () => {
    const { flow, rows } = play()
    flow
      .server('220 hi\r\n')
      .client('EHLO pc\r\n')
      .server(lines('250-hi', '250 STARTTLS'))
      .client('STARTTLS\r\n')
      .server('220 go\r\n')
    for (const { fromClient, bytes } of await recordTls(makeCertificate(), { servername: 'mail.example' }))
      (fromClient ? flow.client : flow.server)(bytes)
    flow.end()
    expect(rows('smtp')).toMatchObject([{ tls: true, last_reply: '220 go' }])
    expect(rows('ssl')).toMatchObject([{ server_name: 'mail.example', established: true }])
    expect(flow.services()).toEqual(['smtp', 'ssl'])
  })

  it('survives parts within parts without end, and lines without end', () => {
    const { flow, rows, faults } = play()
    flow
      .server('220 hi\r\n')
      .client('HELO pc\r\n')
      .server('250 ok\r\n')
      .client('MAIL FROM:<a@x>\r\n')
      .server('250 ok\r\n')
      .client('DATA\r\n')
      .server('354 go\r\n')
    for (let i = 0; i < 300; i++) flow.client(lines(`Content-Type: multipart/mixed; boundary=b${i}`, '', `--b${i}`))
    flow.client('x'.repeat(1_000_000)).end()
    expect({ faults, logged: rows('smtp').length }).toEqual({ faults: [], logged: 1 })
  })
})

describe('FTP', () => {
  const login = (theStage: ReturnType<typeof stage>, user = 'ann') =>
    theStage
      .flow({ respPort: 21 })
      .server('220 ready\r\n')
      .client(`USER ${user}\r\n`)
      .server('331 password?\r\n')
      .client('PASS secret\r\n')
      .server('230 in\r\n')

  it('logs the commands that move files or open channels, with their final replies', () => {
    const theStage = stage([ftp, ftpData])
    const control = login(theStage)
    control
      .client('CWD /pub\r\n')
      .server('250 ok\r\n')
      .client('PASV\r\n', 50)
      .server('227 Entering Passive Mode (192,0,2,2,4,1)\r\n')
    control.client('RETR a.txt\r\n', 60).server('150 Opening (14 bytes)\r\n')
    theStage.flow({ respPort: 1025 }).server('some text here').end()
    control.server('226 done\r\n').client('QUIT\r\n').server('221 bye\r\n').end()
    expect(theStage.rows('ftp')).toEqual([
      expect.objectContaining({
        ts: 50,
        user: 'ann',
        password: '<hidden>',
        command: 'PASV',
        reply_code: 227,
        'data_channel.passive': true,
        'data_channel.resp_h': '192.0.2.2',
        'data_channel.resp_p': 1025,
      }),
      {
        ts: 60,
        user: 'ann',
        password: '<hidden>',
        command: 'RETR',
        arg: 'ftp://192.0.2.2/pub/a.txt',
        mime_type: 'text/plain',
        file_size: 14,
        reply_code: 226,
        reply_msg: 'done',
      },
    ])
    expect(theStage.rows('files')).toMatchObject([{ source: 'FTP_DATA', seen_bytes: 14, is_orig: false }])
  })

  it('shows what a guest gave as a password', () => {
    const theStage = stage([ftp])
    login(theStage, 'anonymous').client('PORT 192,0,2,1,1,2\r\n').server('200 ok\r\n').end()
    expect(theStage.rows('ftp')).toMatchObject([
      {
        password: 'secret',
        command: 'PORT',
        arg: '192,0,2,1,1,2',
        'data_channel.passive': false,
        'data_channel.resp_p': 258,
      },
    ])
  })

  it('understands the extended commands and replies of IPv6', () => {
    const theStage = stage([ftp])
    login(theStage)
      .client('EPRT |2|2001:db8::1|50000|\r\n')
      .server('200 ok\r\n')
      .client('EPSV\r\n')
      .server('229 Extended (|||40001|)\r\n')
      .end()
    expect(theStage.rows('ftp')).toMatchObject([
      { 'data_channel.resp_h': '2001:db8::1', 'data_channel.resp_p': 50000 },
      { 'data_channel.resp_p': 40001 },
    ])
  })

  it('keeps commands that were sent ahead and their replies apart', () => {
    const theStage = stage([ftp])
    const flow = theStage.flow({ respPort: 21 })
    flow
      .client(lines('USER a', 'PASS b', 'PASV', 'RETR x', 'QUIT'))
      .server(lines('220-welcome', '220 ready', '331 pw', '230 in', '227 (1,2,3,4,5,6)', '550 no', '221 bye'))
      .end()
    expect(theStage.rows('ftp').map(({ command, reply_code }) => [command, reply_code])).toEqual([
      ['PASV', 227],
      ['RETR', 550],
    ])
  })
})

describe('STARTTLS', () => {
  it.each([
    ['imap', 143, '* OK ready\r\n', 'a1 STARTTLS\r\n', 'a1 OK go\r\n'],
    ['pop3', 110, '+OK ready\r\n', 'STLS\r\n', '+OK go\r\n'],
    [
      'xmpp',
      5222,
      '<stream:stream>',
      "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
      "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    ],
  ])('of %s leads to TLS', async (service, respPort, greeting, ask, agree) => {
    const theStage = stage([imap, pop3, xmpp, ssl, dtls])
    const flow = theStage.flow({ respPort }).server(greeting).client(ask).server(agree)
    for (const { fromClient, bytes } of await recordTls(makeCertificate(), { servername: 'x.example' }))
      (fromClient ? flow.client : flow.server)(bytes)
    expect(flow.end().services()).toEqual([service, 'ssl'])
    expect(theStage.rows('ssl')).toMatchObject([{ server_name: 'x.example' }])
  })
})

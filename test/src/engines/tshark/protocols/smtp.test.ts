import { describe, expect, it } from 'vitest'
import type { Protocol } from '../../../../../src/engines/tshark/protocols/protocol.ts'
import { smtp } from '../../../../../src/engines/tshark/protocols/smtp.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const PORT = { respPort: 25 }
const HEADERS = [
  'Received: from relay.example ([198.51.100.7]) by mx.example',
  'Received: from home (home.example [203.0.113.9])',
  '\tby relay.example',
  'From: Ann <ann@example.com>',
  'To: bob@example.net, "Doe, Jane" <jane@example.net>',
  'Cc: carol@example.net',
  'Subject: hello',
  'Date: Mon, 1 Jan 2024 00:00:00 +0000',
  'Message-ID: <1@example.com>',
  'User-Agent: test 1.0',
].join('\r\n')

function greeted() {
  const played = stage([smtp])
  const session = played.flow(PORT).server('220 mx ESMTP\r\n', 1).client('EHLO client.example\r\n', 2)
  session.server('250-mx\r\n250 CHUNKING\r\n', 3)
  return { ...played, session }
}

describe('SMTP', () => {
  it('writes a record for a message that was accepted, from envelope, headers and reply', () => {
    const { session, rows } = greeted()
    session.client('MAIL FROM:<ann@example.com> SIZE=9\r\n', 4).server('250 ok\r\n')
    session
      .client('RCPT TO:<bob@example.net>\r\nRCPT TO:<jane@example.net>\r\nDATA\r\n')
      .server('250 ok\r\n250 ok\r\n354 go\r\n')
    session
      .client(`${HEADERS}\r\n\r\n..dots\r\nbye\r\n.`)
      .client('\r\n')
      .server('250 2.0.0 queued\r\n')
      .client('QUIT\r\n')
    session.server('221 bye\r\n').end()
    expect(session.services()).toEqual(['smtp'])
    expect(rows('smtp')).toHaveLength(1)
    expect(rows('smtp')[0]).toMatchObject({
      trans_depth: 1,
      helo: 'client.example',
      mailfrom: 'ann@example.com',
      rcptto: ['bob@example.net', 'jane@example.net'],
      date: 'Mon, 1 Jan 2024 00:00:00 +0000',
      from: 'Ann <ann@example.com>',
      to: ['bob@example.net', '"Doe, Jane" <jane@example.net>'],
      cc: ['carol@example.net'],
      msg_id: '<1@example.com>',
      subject: 'hello',
      user_agent: 'test 1.0',
      last_reply: '250 2.0.0 queued',
      path: ['192.0.2.2', '192.0.2.1', '198.51.100.7', '203.0.113.9'],
      tls: false,
    })
    expect(rows('smtp')[0]?.first_received).toMatch(/^from home/)
    expect(rows('files')).toMatchObject([{ source: 'SMTP', depth: 1, mime_type: 'text/plain' }])
  })

  it('makes a file of each part, with its transfer coding undone', () => {
    const { session, rows } = greeted()
    session.client('MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n').server('250 ok\r\n250 ok\r\n354 go\r\n')
    session.client('Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\nsome plain text\r\n--x\r\n')
    session.client(
      'Content-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0K\r\nGgo=\r\n--x--\r\n.\r\n',
    )
    session.server('250 ok\r\n').end()
    expect(rows('files')).toMatchObject([
      { seen_bytes: 15, mime_type: 'text/plain' },
      { seen_bytes: 8, mime_type: 'image/png', filename: 'a.png' },
    ])
  })

  it('reads messages in chunks, the commands among them', () => {
    const { session, rows } = greeted()
    session.client('MAIL FROM:<a@b>\r\n').server('250 ok\r\n').client('RCPT TO:<c@d>\r\n').server('250 ok\r\n')
    session.client('BDAT 12\r\nSubject: x\r\n', 9).server('250 ok\r\n').client('BDAT 7 LAST\r\n\r\nQUIT\nQUIT\r\n')
    session.server('250 queued\r\n').server('221 bye\r\n').end()
    expect(rows('smtp')).toMatchObject([{ mailfrom: 'a@b', subject: 'x', last_reply: '250 queued' }])
    expect(rows('files')).toHaveLength(1)
  })

  it('numbers the messages of a session, and counts one that was refused not', () => {
    const { session, rows } = greeted()
    const mail = 'RCPT TO:<c@d>\r\nDATA\r\n'
    session
      .client(`MAIL FROM:<a@b>\r\n${mail}`)
      .server('250 ok\r\n250 ok\r\n354 go\r\n')
      .client('\r\nx\r\n.\r\n')
      .server('250 ok\r\n')
    session
      .client(`MAIL FROM:<e@f>\r\n${mail}`)
      .server('250 ok\r\n250 ok\r\n354 go\r\n')
      .client('\r\nx\r\n.\r\n')
      .server('554 no\r\n')
    session
      .client(`MAIL FROM:<g@h>\r\n${mail}`)
      .server('250 ok\r\n250 ok\r\n354 go\r\n')
      .client('\r\nx\r\n.\r\n')
      .server('250 ok\r\n')
    session.end()
    expect(rows('smtp').map(({ trans_depth, mailfrom }) => [trans_depth, mailfrom])).toEqual([
      [1, 'a@b'],
      [2, 'e@f'],
      [2, 'g@h'],
    ])
  })

  it('says what is wrong with a chunk or an envelope', () => {
    const bad: [string, string, string][] = [
      ['BDAT', 'smtp_invalid_bdat_command', 'BDAT argument bad length'],
      ['BDAT 5 FIRST', 'smtp_invalid_bdat_command', 'BDAT chunk-size followed by junk'],
      ['BDAT -5', 'smtp_invalid_bdat_command', 'BDAT not followed by a valid chunk-size'],
      ['BDAT 15555555557777777777', 'smtp_huge_bdat_chunk', '15555555557777777777'],
      [`BDAT ${'9'.repeat(60)}`, 'smtp_invalid_bdat_command', 'BDAT argument bad length'],
      ['RCPT TO:<a@b>', 'smtp_mail_transaction_invalid', 'rcpt to missing mail from'],
    ]
    for (const [line, name, addl] of bad) {
      const { session, rows } = greeted()
      session.client(`${line}\r\n`).end()
      expect(rows('weird')).toMatchObject([{ name, addl, source: 'SMTP' }])
    }
  })

  it('hands the flow to TLS, and marks what was said before', () => {
    const seen: string[] = []
    const ssl: Protocol = {
      name: 'ssl',
      logs: [],
      dissect: () => ({ data: (_client, bytes) => seen.push(String(bytes)) }),
    }
    const { flow, rows } = stage([smtp, ssl])
    const session = flow(PORT)
      .server('220 mx\r\n')
      .client('EHLO c\r\n')
      .server('250 STARTTLS\r\n')
      .client('STARTTLS\r\n')
    session.server('220 go\r\n').client('\x16hello').server('\x16answer').end()
    expect(seen).toEqual(['\x16hello', '\x16answer'])
    expect(rows('smtp')).toMatchObject([{ helo: 'c', tls: true }])
  })

  it('is recognized on other ports, and understands a side alone', () => {
    const { flow, rows } = stage([smtp])
    const other = flow({ respPort: 2525 }).server('220 mx ESMTP\r\n').client('EHLO c\r\nMAIL FROM:<a@b>\r\n').end()
    expect(other.services()).toEqual(['smtp'])
    const alone = flow(PORT).client('EHLO c\r\nMAIL FROM:<e@f>\r\nRCPT TO:<c@d>\r\nDATA\r\n\r\nx\r\n.\r\n').end()
    expect(alone.services()).toEqual(['smtp'])
    expect(rows('smtp').map(({ mailfrom }) => mailfrom)).toEqual(['a@b', 'e@f'])
  })

  it('goes on behind a gap, and survives damage', () => {
    const { session, rows } = greeted()
    session.client('MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 100\r\n12345').gap(true, 95)
    session.client('BDAT 3 LAST\r\nabcQUIT\r\n').end()
    expect(rows('smtp')).toMatchObject([{ mailfrom: 'a@b' }])
    const { flow, faults } = stage([smtp])
    for (const bytes of damaged(Buffer.from('BDAT 3 LAST\r\nabcDATA\r\nA: b\r\n\r\nx\r\n.\r\n')))
      flow(PORT).server('220 a\r\n').client(bytes).server('250 ok\r\n').end()
    expect(faults).toEqual([])
  })

  it('counts the last line end of a message and of an attached one, not that before a boundary', () => {
    const { session, rows } = greeted()
    session.client('MAIL FROM:<a@b>\r\n').server('250 ok\r\n').client('DATA\r\n').server('354 go\r\n')
    session.client('Subject: x\r\n\r\nHello!\r\n.\r\n').server('250 ok\r\n')
    session.client('MAIL FROM:<a@b>\r\n').server('250 ok\r\n').client('DATA\r\n').server('354 go\r\n')
    const parts = ['', 'Hello!', '--b', 'Content-Type: message/rfc822', '', 'From: c@d', '', 'Hello!', '--b--', '.', '']
    session.client(`Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n${parts.join('\r\n')}`)
    session.server('250 ok\r\n').end()
    expect(rows('files').map(({ seen_bytes }) => seen_bytes)).toEqual([8, 6, 8])
  })
})

import { describe, expect, it } from 'vitest'
import { ftp, ftpData } from '../../../../../src/engines/tshark/protocols/ftp.ts'
import type { Protocol } from '../../../../../src/engines/tshark/protocols/protocol.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const PORT = { respPort: 21 }
const GUEST = { user: 'anonymous', password: 'me@example.com' }

function loggedIn() {
  const played = stage([ftp, ftpData])
  const control = played.flow(PORT).server('220-hello\r\n more\r\n220 ready\r\n', 1)
  control
    .client('USER anonymous\r\n')
    .server('331 password\r\n')
    .client('PASS me@example.com\r\n')
    .server('230 welcome\r\n')
  return { ...played, control }
}

describe('FTP', () => {
  it('writes what opens a data channel and what moves a file, with the last reply and the file itself', () => {
    const { flow, rows, control } = loggedIn()
    control
      .client('CWD /pub\r\n')
      .server('250 ok\r\n')
      .client('PASV\r\n', 10)
      .server('227 now (192,0,2,2,19,137)\r\n', 11)
    const data = flow({ respPort: 19 * 256 + 137 })
    control.client('RETR a/../notes.txt\r\n', 12).server('150 Opening (11 bytes).\r\n', 12.5)
    data.server('hello world', 13).end()
    control.server('226 done\r\n', 14).client('QUIT\r\n', 30).server('221 bye\r\n', 31).end()
    expect(control.services()).toEqual(['ftp'])
    expect(data.services()).toEqual(['ftp-data'])
    expect(rows('files')).toMatchObject([
      { source: 'FTP_DATA', seen_bytes: 11, is_orig: false, mime_type: 'text/plain' },
    ])
    expect(rows('ftp')).toEqual([
      {
        ts: 10,
        ...GUEST,
        command: 'PASV',
        reply_code: 227,
        reply_msg: 'now (192,0,2,2,19,137)',
        'data_channel.passive': true,
        'data_channel.orig_h': '192.0.2.1',
        'data_channel.resp_h': '192.0.2.2',
        'data_channel.resp_p': 5001,
      },
      {
        ts: 12,
        ...GUEST,
        command: 'RETR',
        arg: 'ftp://192.0.2.2/pub/notes.txt',
        mime_type: 'text/plain',
        file_size: 11,
        reply_code: 226,
        reply_msg: 'done',
      },
    ])
  })

  it('takes the last number of the reply to RETR for the size, and none for 0', () => {
    const { rows, control } = loggedIn()
    control.client('RETR a\r\n').server('150 Opening 2021.txt (77 bytes).\r\n').server('226 done\r\n')
    control.client('RETR b\r\n').server('150 Opening.\r\n').server('226 done\r\n')
    control.client('STOR c\r\n').server('150 Opening (5 bytes).\r\n').server('226 done\r\n').client('QUIT\r\n').end()
    expect(rows('ftp').map(({ file_size }) => file_size)).toEqual([77, 0, undefined])
  })

  it('knows the other ways to announce a data channel', () => {
    const { rows, control } = loggedIn()
    control
      .client('PORT 192,0,2,1,4,1\r\n')
      .server('200 ok\r\n')
      .client('EPRT |2|2001:db8::1|5282|\r\n')
      .server('200 ok\r\n')
    control.client('EPSV\r\n').server('229 Extended (|||6446|)\r\n').client('PORT 1,2\r\n').server('500 no\r\n').end()
    expect(
      rows('ftp').map((row) => [
        row.command,
        row['data_channel.passive'],
        row['data_channel.resp_h'],
        row['data_channel.resp_p'],
      ]),
    ).toEqual([
      ['PORT', false, '192.0.2.1', 1025],
      ['EPRT', false, '2001:db8::1', 5282],
      ['EPSV', true, '192.0.2.2', 6446],
      ['PORT', undefined, undefined, undefined],
    ])
  })

  it('hides the password of whoever is no guest', () => {
    const { flow, rows } = stage([ftp])
    const control = flow(PORT).server('220 hi\r\n').client('USER ann\r\n').server('331 ?\r\n').client('PASS secret\r\n')
    control.server('230 ok\r\n').client('DELE x\r\n').server('250 gone\r\n').end()
    expect(rows('ftp')).toMatchObject([
      { user: 'ann', password: '<hidden>', command: 'DELE', arg: 'ftp://192.0.2.2/./x' },
    ])
  })

  it('gives each of many commands that were sent at once its own reply', () => {
    const { flow, rows } = stage([ftp])
    const control = flow(PORT).client('USER ftp\r\nPASV\r\nRETR a\r\nSTOR b\r\n', 1)
    control.server('220 hi\r\n230 ok\r\n227 (1,2,3,4,5,6)\r\n550 none\r\n226 stored\r\n', 2).end()
    expect(rows('ftp').map(({ command, reply_code }) => [command, reply_code])).toEqual([
      ['PASV', 227],
      ['RETR', 550],
      ['STOR', 226],
    ])
  })

  it('stops at what is no FTP reply, and says so', () => {
    const { rows, control } = loggedIn()
    control.client('RETR a\r\n').server('nonsense\r\n').client('RETR b\r\n').server('226 ok\r\n').end()
    expect(control.services()).toEqual([])
    expect(rows('analyzer')).toMatchObject([
      { analyzer_name: 'FTP', failure_reason: 'non-numeric reply code', failure_data: 'nonsense' },
    ])
    expect(rows('ftp')).toMatchObject([{ command: 'RETR', reply_code: 230, reply_msg: 'welcome' }])
  })

  it('hands the control channel to TLS, and what GSSAPI carries of it, too', () => {
    const seen: string[] = []
    const ssl: Protocol = {
      name: 'ssl',
      logs: [],
      dissect: () => ({ data: (client, bytes) => seen.push(`${client} ${bytes.toString('latin1')}`) }),
    }
    const { flow } = stage([ftp, ssl])
    flow(PORT).server('220 hi\r\n').client('AUTH TLS\r\n').server('234 go\r\n').client('\x16secret').end()
    const token = Buffer.from('\x16\x03hello').toString('base64')
    const grid = flow({ respPort: 4000 }).server('220 hi\r\n').client('AUTH GSSAPI\r\n').server('334 go\r\n')
    grid
      .client(`ADAT ${token}\r\n`)
      .server(`335 ADAT=${token}\r\n`)
      .client(`ADAT ${token}\r\n`)
      .server('235 ok\r\n')
      .end()
    expect(seen).toEqual(['true \x16secret', 'true \x16\x03hello', 'false \x16\x03hello', 'true \x16\x03hello'])
    expect(grid.services()).toEqual(['ftp', 'gridftp'])
  })

  it('leaves out a command that is too long, and tells of it', () => {
    const { rows, control } = loggedIn()
    control
      .client(`${'X'.repeat(120)}\r\n`)
      .server('500 what?\r\n')
      .end()
    expect(rows('weird')).toMatchObject([{ name: 'FTP_max_command_length_exceeded', addl: '120', source: 'FTP' }])
  })

  it('survives damaged lines, and any number of them without reply', () => {
    const { flow, faults } = stage([ftp, ftpData])
    for (const bytes of damaged(Buffer.from('EPRT |1|1.2.3.4|5|\r\n')))
      flow(PORT).server('220 a\r\n').client(bytes).end()
    for (const bytes of damaged(Buffer.from('227 (1,2,3,4,5,6)\r\n'))) flow(PORT).client('PASV\r\n').server(bytes).end()
    const control = flow(PORT)
    for (let i = 0; i < 10_000; i++) control.client('RETR a\r\n')
    control.end()
    expect(faults).toEqual([])
  })
})

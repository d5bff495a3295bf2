import { describe, expect, it } from 'vitest'
import { irc, ircData } from '../../../../../src/engines/tshark/protocols/irc.ts'
import type { Protocol } from '../../../../../src/engines/tshark/protocols/protocol.ts'
import { stage } from './play-flow.ts'

const PORT = { respPort: 6667 }

describe('IRC', () => {
  it('writes NICK, USER and JOIN of the client, each with what the session knows by then', () => {
    const { flow, rows } = stage([irc])
    const session = flow(PORT).client('PASS x\r\nNICK alice\r\nUSER al host server :Alice Wonder Land\r\n', 1)
    session.server(':irc.example 001 alice :Welcome\r\n:alice!al@host JOIN :#tea\r\n', 2)
    session.client('join #tea,#cake key\r\n', 3).end()
    expect(session.services()).toEqual(['irc'])
    const user = 'host server AliceWonder Land '
    expect(rows('irc')).toEqual([
      { ts: 1, command: 'NICK', value: 'alice' },
      { ts: 1, nick: 'alice', command: 'USER', value: 'al', addl: user },
      { ts: 3, nick: 'alice', user: 'al', command: 'JOIN', value: '#tea', addl: " with channel key: 'key'" },
      { ts: 3, nick: 'alice', user: 'al', command: 'JOIN', value: '#cake', addl: '' },
    ])
  })

  it('takes messages that come in pieces, with tags in front', () => {
    const { flow, rows } = stage([irc])
    flow(PORT).client('@time=2024 NI').client('CK bo').client('b\n').end()
    expect(rows('irc')).toMatchObject([{ command: 'NICK', value: 'bob' }])
  })

  it('follows the file that a DCC SEND announces, whoever announces it', () => {
    const { flow, rows } = stage([irc, ircData])
    const control = flow(PORT).server(':eve!e@x PRIVMSG bob :\x01DCC SEND notes.txt 3221226121 5000 11\x01\r\n', 5)
    const data = flow({ origAddr: '192.0.2.2', respAddr: '192.0.2.137', respPort: 5000 })
    data.server('hello ', 6).client('\0\0\0\x06', 7).server('world', 8).end()
    control.end()
    expect(data.services()).toEqual(['irc-dcc-data'])
    expect(rows('files')).toMatchObject([{ source: 'IRC_DATA', filename: 'notes.txt', seen_bytes: 11, is_orig: false }])
    expect(rows('irc')).toEqual([
      { ts: 5, command: 'DCC', dcc_file_name: 'notes.txt', dcc_file_size: 11, dcc_mime_type: 'text/plain' },
    ])
  })

  it('names what is wrong with a DCC host and an empty JOIN', () => {
    const { flow, rows } = stage([irc])
    flow(PORT).client('JOIN :\r\nPRIVMSG bob :\x01DCC SEND a nowhere 5000 1\x01\r\n').end()
    expect(rows('weird').map(({ name }) => name)).toEqual(['irc_invalid_join_line', 'irc_invalid_dcc_host'])
    expect(rows('irc')).toEqual([])
  })

  it('hands the flow to TLS once the server has agreed, and reads no more of it', () => {
    const seen: string[] = []
    const ssl: Protocol = {
      name: 'ssl',
      logs: [],
      dissect: () => ({ data: (fromClient, bytes) => seen.push(`${fromClient} ${bytes}`) }),
    }
    const { flow, rows } = stage([irc, ssl])
    flow(PORT).client('STARTTLS\r\n').server(':x 670 * :go ahead\r\n').client('NICK secret\r\n').server('answer').end()
    expect(seen).toEqual(['true NICK secret\r\n', 'false answer'])
    expect(rows('irc')).toEqual([])
  })

  it('is recognized on other ports by a registration that the server answers', () => {
    const { flow, rows } = stage([irc])
    const session = flow({ respPort: 7000 }).client('NICK a\r\nUSER a b c :d\r\n').server(':s 001 a :hi\r\n').end()
    expect(session.services()).toEqual(['irc'])
    expect(rows('irc')).toHaveLength(2)
  })

  it('holds no more than a line of endless ones, and goes on behind it', () => {
    const { flow, rows, faults } = stage([irc])
    const session = flow(PORT)
    for (let i = 0; i < 300; i++) session.client('x'.repeat(1000))
    session.client('\r\nNICK after\r\n').end()
    expect(faults).toEqual([])
    expect(rows('irc')).toMatchObject([{ command: 'NICK', value: 'after' }])
  })
})

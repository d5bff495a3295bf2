import { describe, expect, it } from 'vitest'
import { redis } from '../../../../../src/engines/tshark/protocols/redis.ts'
import { createRespReader, renderResp } from '../../../../../src/engines/tshark/protocols/resp.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const PORT = { respPort: 6379 }
const command = (...words: string[]) =>
  `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`

describe('Redis', () => {
  it('pairs commands with replies, and tells key and value of SET and GET alone', () => {
    const { flow, rows } = stage([redis])
    const session = flow(PORT)
      .client(command('set', 'k', 'v') + command('GET', 'k'), 1)
      .client(command('LLEN', 'l'), 2)
    session.server('+OK\r\n$1\r\nv\r\n', 3).server('-WRONGTYPE of a key\r\n', 4).end()
    expect(session.services()).toEqual(['redis'])
    expect(rows('redis')).toEqual([
      { ts: 1, 'cmd.name': 'SET', 'cmd.key': 'k', 'cmd.value': 'v', success: true, 'reply.value': 'OK' },
      { ts: 1, 'cmd.name': 'GET', 'cmd.key': 'k', success: true, 'reply.value': 'v' },
      { ts: 2, 'cmd.name': 'LLEN', success: false, 'reply.value': 'WRONGTYPE of a key' },
    ])
  })

  it('takes commands in plain words, and leaves those without reply without one', () => {
    const { flow, rows } = stage([redis])
    const session = flow(PORT).client(
      'ping\r\nCLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nCLIENT REPLY SKIP\r\nGET a\r\nPING\r\n',
    )
    session.server('+PONG\r\n+OK\r\n+PONG\r\n').end()
    const byOutcome = (answered: boolean) =>
      rows('redis')
        .filter((row) => 'success' in row === answered)
        .map((row) => row['cmd.name'])
    expect(byOutcome(true)).toEqual(['PING', 'CLIENT', 'PING'])
    expect(byOutcome(false)).toEqual(['CLIENT', 'PING', 'CLIENT', 'GET'])
  })

  it('takes no news of a subscription for a reply', () => {
    const { flow, rows } = stage([redis])
    flow(PORT)
      .client(command('SUBSCRIBE', 'c'))
      .server('*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n')
      .client(command('HELLO', '3'))
      .server('>2\r\n+invalidate\r\n+k\r\n+OK\r\n')
      .end()
    expect(rows('redis').map((row) => [row['cmd.name'], row['reply.value']])).toEqual([
      ['SUBSCRIBE', undefined],
      ['HELLO', 'OK'],
    ])
  })

  it('writes a reply to nothing, and a command without reply at the end', () => {
    const { flow, rows } = stage([redis])
    flow(PORT).server('+hello\r\n', 1).client(command('GET', 'a'), 2).end()
    expect(rows('redis')).toEqual([
      { ts: 1, success: true, 'reply.value': 'hello' },
      { ts: 2, 'cmd.name': 'GET', 'cmd.key': 'a' },
    ])
  })

  it('cuts long values, stops at what is no RESP, and is recognized elsewhere', () => {
    const { flow, rows } = stage([redis])
    const session = flow({ respPort: 7777 })
      .client(command('GET', 'a'))
      .server(`$1000\r\n${'x'.repeat(1000)}\r\n`)
    session.client(command('GET', 'b')).server('rubbish\r\n+OK\r\n').end()
    expect(rows('redis')).toMatchObject([{ 'reply.value': 'x'.repeat(250) }, { 'cmd.key': 'b' }])
    expect(rows('redis')[1]).not.toHaveProperty('success')
  })

  it('is recognized from single bytes, and where something else speaks it is not', () => {
    const { flow, rows } = stage([redis])
    const session = flow({ respPort: 7777 })
    for (const byte of Buffer.from(command('GET', 'a'))) session.client(Buffer.from([byte]))
    for (const byte of Buffer.from('$2\r\nhi\r\n')) session.server(Buffer.from([byte]))
    expect(rows('redis')).toMatchObject([{ 'cmd.name': 'GET', 'reply.value': 'hi' }])
    const other = flow({ respPort: 7777 }).client('* OK hello\r\n').server('+OK\r\n').end()
    expect(other.services()).toEqual([])
  })

  it('survives damaged messages', () => {
    const { flow, faults } = stage([redis])
    const bytes = Buffer.from('*2\r\n*2\r\n$2\r\nab\r\n:1\r\n%1\r\n+k\r\n_\r\n')
    for (const each of damaged(bytes)) flow(PORT).client(each).server(each).end()
    expect(faults).toEqual([])
  })
})

describe('RESP values', () => {
  function read(text: string, cut = text.length): string[] {
    const values: string[] = []
    const reader = createRespReader({ onValue: (value) => values.push(renderResp(value)) })
    for (let at = 0; at < text.length; at += cut) reader.data(Buffer.from(text.slice(at, at + cut), 'latin1'), 0)
    return values
  }

  it('read as people write them, however the bytes were cut', () => {
    const text =
      '*3\r\n:1\r\n*2\r\n+a\r\n$-1\r\n$4\r\nb\r\nc\r\n%1\r\n+k\r\n,1.5\r\n~2\r\n#t\r\n(12\r\n*0\r\n=5\r\ntxt:d\r\n*-1\r\n'
    const expected = ['[1, [a, null], b\r\nc]', '{k: 1.5}', '{t, 12}', '[]', 'd', 'null']
    expect(read(text)).toEqual(expected)
    expect(read(text, 1)).toEqual(expected)
  })

  it('leave out attributes, wherever they stand', () => {
    expect(read('|1\r\n+ttl\r\n:5\r\n*2\r\n:1\r\n|1\r\n+ttl\r\n:9\r\n:2\r\n')).toEqual(['[1, 2]'])
  })

  it('may not nest without end, nor claim more than there is', () => {
    expect(read(`${'*1\r\n'.repeat(100_000)}+x\r\n`)).toEqual([])
    expect(read('*9999999999\r\n:1\r\n$9999999999\r\nabc')).toEqual([])
  })
})

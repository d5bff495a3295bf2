import { describe, expect, it } from 'vitest'
import { pop3 } from '../../../../../src/engines/tshark/protocols/pop3.ts'
import { stage } from './play-flow.ts'

const scene = (options = {}) => {
  const theStage = stage([pop3])
  return { ...theStage, flow: theStage.flow({ respPort: 110, ...options }) }
}

const login = ({ flow }: ReturnType<typeof scene>) =>
  flow.server('+OK hello\r\n').client('USER ann\r\n').server('+OK\r\n').client('PASS secret\r\n').server('+OK in\r\n')

describe('POP3', () => {
  it('is the flow’s service once a login has succeeded, not before', () => {
    const greeted = scene()
    greeted.flow.server('+OK hello\r\n').client('QUIT\r\n').server('+OK\r\n').end()
    expect(greeted.flow.services()).toEqual([])
    const refused = scene()
    refused.flow.server('+OK hello\r\n').client('PASS x\r\n').server('-ERR no\r\n').end()
    expect(refused.flow.services()).toEqual([])
    const used = scene()
    login(used).end()
    expect(used.flow.services()).toEqual(['pop3'])
  })

  it('reports a reply that is none after a login, and takes it off the flow', () => {
    const play = scene()
    login(play).client('STAT\r\n').server('hm?\r\n', 9).end()
    expect(play.rows('weird')).toMatchObject([{ ts: 9, name: 'pop3_server_command_unknown', addl: 'hm?' }])
    expect(play.rows('analyzer')).toMatchObject([
      { analyzer_name: 'POP3', failure_reason: 'unknown server command (hm?)', failure_data: 'hm?' },
    ])
    expect(play.flow.services()).toEqual([])
  })

  it('takes the lines of a list and of a login’s exchange for neither commands nor replies', () => {
    const play = scene()
    login(play).client('LIST\r\n').server('+OK 2\r\n1 120\r\n2 200\r\n.\r\n').client('RETR 1\r\n')
    play.flow.server('+OK\r\nSubject: x\r\n\r\nhello\r\n.\r\n').client('QUIT\r\n').server('+OK bye\r\n').end()
    expect(play.rows('weird')).toEqual([])
    const sasl = scene()
    sasl.flow
      .server('+OK\r\n')
      .client('AUTH PLAIN\r\n')
      .server('+ \r\n')
      .client('AGFubgBzZWNyZXQ=\r\n')
      .server('+OK\r\n')
    sasl.flow.end()
    expect(sasl.rows('weird')).toEqual([])
    expect(sasl.flow.services()).toEqual(['pop3'])
  })

  it('tells a word that is no command', () => {
    const { flow, rows } = scene()
    flow.server('+OK\r\n').client('PING\r\n').end()
    expect(rows('weird')).toMatchObject([{ name: 'pop3_client_command_unknown', addl: 'PING', source: 'POP3' }])
  })

  it('survives lines without end and commands without number', () => {
    const { flow, faults } = scene()
    flow.server('+OK\r\n'.repeat(5000)).client('NOOP\r\n'.repeat(5000)).client('A'.repeat(3_000_000)).end()
    expect(faults).toEqual([])
  })
})

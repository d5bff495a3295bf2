import { describe, expect, it } from 'vitest'
import { syslog } from '../../../../../src/engines/tshark/protocols/syslog.ts'
import { stage } from './play-flow.ts'

const UDP = { transport: 'udp', respPort: 514 } as const

describe('syslog', () => {
  it('writes a record a datagram, with the names of facility and severity', () => {
    const { flow, rows } = stage([syslog])
    const session = flow(UDP)
      .client('<165>1 2024-01-01T00:00:00Z host app - - - text', 1)
      .client('<0>Jan  1 kernel: oops\n', 2)
    expect(session.services()).toEqual([])
    expect(rows('syslog')).toEqual([
      {
        ts: 1,
        proto: 'udp',
        facility: 'LOCAL4',
        severity: 'NOTICE',
        message: '1 2024-01-01T00:00:00Z host app - - - text',
      },
      { ts: 2, proto: 'udp', facility: 'KERN', severity: 'EMERG', message: 'Jan  1 kernel: oops\n' },
    ])
  })

  it('says so where there is no priority, or one that means nothing', () => {
    const { flow, rows } = stage([syslog])
    flow(UDP).client('no priority').client('<9999>too much').client('<>').client('<12')
    expect(rows('syslog').map(({ facility, severity, message }) => [facility, severity, message])).toEqual([
      ['UNSPECIFIED', 'UNSPECIFIED', 'no priority'],
      ['?', 'DEBUG', 'too much'],
      ['UNSPECIFIED', 'UNSPECIFIED', '<>'],
      ['UNSPECIFIED', 'UNSPECIFIED', '<12'],
    ])
  })

  it('shows bytes that are no text', () => {
    const { flow, rows } = stage([syslog])
    flow(UDP).client(Buffer.from('<13>a\0\xffb', 'latin1'))
    expect(rows('syslog')).toMatchObject([{ message: 'a\\x00\\xffb' }])
  })
})

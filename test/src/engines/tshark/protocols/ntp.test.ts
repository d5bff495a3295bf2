import { describe, expect, it } from 'vitest'
import { ntp } from '../../../../../src/engines/tshark/protocols/ntp.ts'
import { damaged, recordFlow } from './recorded-flow.ts'

/** RFC 5905, 7.3: version 4, poll 2^6, precision 2^-20, delay 0.5 s, dispersion 1.25 s, times in 2000. */
function packet({ mode = 4, stratum = 2, id = '0a000001', tail = '' } = {}): Buffer {
  const first = (0x20 | mode).toString(16).padStart(2, '0')
  const header = `${first}${stratum.toString(16).padStart(2, '0')}06ec0000800000014000${id}`
  const [never, at2000] = ['0000000000000000', 'bc17c20080000000']
  return Buffer.from(`${header}${at2000}${never}${at2000}${at2000}${tail}`, 'hex')
}

const fieldsOf = (bytes: Buffer) => {
  const { dissector, records } = recordFlow(ntp)
  dissector.data(true, bytes, 5)
  return records[0]?.fields
}

describe('NTP', () => {
  it('logs every message of the time-keeping modes with its times in seconds since 1970', () => {
    expect(fieldsOf(packet())).toEqual({
      version: 4,
      mode: 4,
      stratum: 2,
      poll: 64,
      precision: 2 ** -20,
      root_delay: 0.5,
      root_disp: 1.25,
      ref_id: '10.0.0.1',
      ref_time: 946684800.5,
      org_time: 0,
      rec_time: 946684800.5,
      xmt_time: 946684800.5,
      num_exts: 0,
    })
  })

  it('shows what a server refers to as letters up to stratum 1, as an address above', () => {
    expect(fieldsOf(packet({ stratum: 0, id: '53544550' }))?.ref_id).toBe('STEP')
    expect(fieldsOf(packet({ stratum: 1, id: '47505300' }))?.ref_id).toBe('GPS\\x00')
    expect(fieldsOf(packet({ stratum: 16, id: '7f000001' }))?.ref_id).toBe('127.0.0.1')
  })

  it('counts extension fields, and tells them from an authenticator', () => {
    expect(fieldsOf(packet({ tail: '00'.repeat(20) }))?.num_exts).toBe(0)
    expect(fieldsOf(packet({ tail: `00010010${'00'.repeat(12)}00020010${'00'.repeat(12)}` }))?.num_exts).toBe(1)
    expect(fieldsOf(packet({ tail: `0001001c${'00'.repeat(24)}${'00'.repeat(20)}` }))?.num_exts).toBe(1)
  })

  it('logs nothing of a message whose extension fields do not add up, or that is cut', () => {
    expect(fieldsOf(packet({ tail: `00010000${'00'.repeat(24)}` }))).toBeUndefined()
    expect(fieldsOf(packet({ tail: `0001ffff${'00'.repeat(24)}` }))).toBeUndefined()
    expect(fieldsOf(packet().subarray(0, 47))).toBeUndefined()
  })

  it('takes control messages for NTP but logs none of them', () => {
    const { dissector, records, services } = recordFlow(ntp)
    dissector.data(true, Buffer.from('160100010000000000000000', 'hex'), 1)
    expect(services).toEqual(['ntp'])
    expect(records).toEqual([])
  })

  it('survives messages that are cut or spoilt', () => {
    const { dissector } = recordFlow(ntp)
    const whole = packet({ tail: `0001001c${'00'.repeat(24)}${'00'.repeat(20)}` })
    for (const each of damaged(whole)) expect(() => dissector.data(true, each, 1)).not.toThrow()
  })
})

import { describe, expect, it } from 'vitest'
import { snmp } from '../../../../../src/engines/tshark/protocols/snmp.ts'
import { damaged, recordFlow } from './recorded-flow.ts'

const [GET, GET_NEXT, RESPONSE, SET, BULK, TRAP] = [0xa0, 0xa1, 0xa2, 0xa3, 0xa5, 0xa7]
const NOTHING = Buffer.from('0500', 'hex')
const SYS_DESCR = tlv(6, Buffer.from('2b06010201010100', 'hex'))
const SYS_UP_TIME = tlv(6, Buffer.from('2b06010201010300', 'hex'))

function tlv(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const length = content.length < 128 ? [content.length] : [0x82, content.length >> 8, content.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), content])
}

const integer = (value: number) => tlv(2, Buffer.from([value]))
const text = (value: string) => tlv(4, Buffer.from(value))
const pdu = (tag: number, ...bindings: Buffer[]) =>
  tlv(tag, integer(1), integer(0), integer(0), tlv(0x30, ...bindings.map((binding) => tlv(0x30, binding))))
const binding = (name: Buffer, value: Buffer = NOTHING) => Buffer.concat([name, value])
const v2 = (body: Buffer, community = 'public') => tlv(0x30, integer(1), text(community), body)
const v3 = (scoped: Buffer) =>
  tlv(0x30, integer(3), tlv(0x30, integer(1), integer(100), text('\x04'), integer(3)), text('parameters'), scoped)

describe('SNMP', () => {
  it('counts variable bindings by kind of request in one record a flow', () => {
    const { dissector, records, services } = recordFlow(snmp)
    dissector.data(true, v2(pdu(GET, binding(SYS_DESCR), binding(SYS_UP_TIME))), 10)
    dissector.data(true, v2(pdu(GET_NEXT, binding(SYS_DESCR))), 11)
    dissector.data(true, v2(pdu(BULK, binding(SYS_DESCR))), 11)
    dissector.data(true, v2(pdu(SET, binding(SYS_DESCR, text('x')))), 12)
    expect(services).toEqual([])
    const values = [binding(SYS_DESCR, text('a router')), binding(SYS_UP_TIME, tlv(0x43, Buffer.from([0, 200])))]
    dissector.data(false, v2(pdu(RESPONSE, ...values), 'other'), 13)
    expect(services).toEqual(['snmp'])
    dissector.end?.(20)
    expect(records).toEqual([
      {
        log: 'snmp',
        ts: 10,
        fields: {
          duration: 3,
          version: '2c',
          community: 'public',
          get_requests: 3,
          get_bulk_requests: 1,
          get_responses: 2,
          set_requests: 1,
          display_string: 'a router',
          up_since: 11,
        },
      },
    ])
  })

  it('counts what version 3 sends in the clear, and nothing of what it encrypts', () => {
    const { dissector, records } = recordFlow(snmp)
    dissector.data(true, v3(tlv(0x30, text('engine'), text(''), pdu(GET, binding(SYS_DESCR)))), 1)
    dissector.data(true, v3(text('ciphertext')), 2)
    dissector.end?.(2)
    expect(records[0]?.fields).toMatchObject({ version: '3', get_requests: 1, get_responses: 0, duration: 1 })
    expect(records[0]?.fields).not.toHaveProperty('community')
  })

  it('logs a flow of traps, without counting them', () => {
    const { dissector, records } = recordFlow(snmp)
    dissector.data(true, v2(pdu(TRAP, binding(SYS_UP_TIME))), 1)
    dissector.end?.(1)
    expect(records[0]?.fields).toMatchObject({ version: '2c', get_requests: 0, get_responses: 0, set_requests: 0 })
  })

  it('calls an object identifier with a part beyond 64 bits weird', () => {
    const { dissector, weirds } = recordFlow(snmp)
    dissector.data(true, v2(pdu(GET, binding(tlv(6, Buffer.from(`2b${'80'.repeat(10)}00`, 'hex'))))), 1)
    expect(weirds).toEqual(['asn_oid_subidentifier_too_long'])
  })

  it('writes nothing of a flow that holds no SNMP', () => {
    const { dissector, records, services } = recordFlow(snmp)
    dissector.data(true, Buffer.from('not at all'), 1)
    dissector.data(true, tlv(0x30, integer(7), text('public'), pdu(GET)), 1)
    dissector.end?.(1)
    expect(records).toEqual([])
    expect(services).toEqual([])
  })

  it('survives messages that are cut or spoilt', () => {
    const { dissector } = recordFlow(snmp)
    const whole = v3(
      tlv(0x30, text('engine'), text(''), pdu(RESPONSE, binding(SYS_UP_TIME, tlv(0x43, Buffer.alloc(4))))),
    )
    for (const each of damaged(whole)) expect(() => dissector.data(true, each, 1)).not.toThrow()
  })
})

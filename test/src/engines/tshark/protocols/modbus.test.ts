import { describe, expect, it } from 'vitest'
import { modbus } from '../../../../../src/engines/tshark/protocols/modbus.ts'
import { damaged, recordFlow } from './recorded-flow.ts'

/** MBAP: transaction, protocol 0, length, unit; then function and its data. */
function message(transaction: number, func: number, data = '00000001', protocol = 0): Buffer {
  const rest = Buffer.from(data, 'hex')
  const header = Buffer.alloc(8)
  header.writeUInt16BE(transaction, 0)
  header.writeUInt16BE(protocol, 2)
  header.writeUInt16BE(rest.length + 2, 4)
  header.set([17, func], 6)
  return Buffer.concat([header, rest])
}

const flow = () => recordFlow(modbus, { transport: 'tcp' })

describe('Modbus', () => {
  it('logs requests and responses by name, with the exception that a device answers', () => {
    const { dissector, records, services } = flow()
    dissector.data(true, message(5, 3), 1)
    dissector.data(false, message(5, 0x83, '02'), 2)
    expect(services).toEqual(['modbus'])
    expect(records).toEqual([
      { log: 'modbus', ts: 1, fields: { tid: 5, unit: 17, func: 'READ_HOLDING_REGISTERS', pdu_type: 'REQ' } },
      {
        log: 'modbus',
        ts: 2,
        fields: {
          tid: 5,
          unit: 17,
          func: 'READ_HOLDING_REGISTERS_EXCEPTION',
          pdu_type: 'RESP',
          exception: 'ILLEGAL_DATA_ADDRESS',
        },
      },
    ])
  })

  it('names functions and exceptions that it does not know by number', () => {
    const { dissector, records } = flow()
    dissector.data(true, message(1, 100), 1)
    dissector.data(false, message(1, 0xe4, '63'), 1)
    expect(records.map(({ fields }) => [fields.func, fields.exception])).toEqual([
      ['unknown-100', undefined],
      ['unknown-228', 'unknown-99'],
    ])
  })

  it('reads messages that come byte by byte, or several in a segment', () => {
    const stream = Buffer.concat([message(1, 1), message(2, 16, '00010001020007'), message(3, 43, '0e0100')])
    const [pieces, whole] = [flow(), flow()]
    for (const byte of stream) pieces.dissector.data(true, Buffer.from([byte]), 1)
    whole.dissector.data(true, stream, 1)
    expect(pieces.records).toEqual(whole.records)
    expect(whole.records.map(({ fields }) => fields.func)).toEqual([
      'READ_COILS',
      'WRITE_MULTIPLE_REGISTERS',
      'ENCAP_INTERFACE_TRANSPORT',
    ])
  })

  it('gives up a connection that speaks something else', () => {
    const { dissector, records, services } = flow()
    dissector.data(true, Buffer.from('GET / HTTP/1.1\r\n\r\n'), 1)
    dissector.data(true, message(1, 3), 2)
    expect(records).toEqual([])
    expect(services).toEqual([])
  })

  it('goes on with the next message after a gap', () => {
    const { dissector, records } = flow()
    dissector.data(true, message(1, 3).subarray(0, 5), 1)
    dissector.gap?.(true, 100, 1)
    dissector.data(true, message(2, 4), 2)
    expect(records.map(({ fields }) => fields.tid)).toEqual([2])
  })

  it('survives messages that are cut or spoilt', () => {
    const whole = Buffer.concat([message(1, 3), message(2, 0x83, '02')])
    for (const each of damaged(whole)) {
      const { dissector } = flow()
      expect(() => dissector.data(false, each, 1)).not.toThrow()
    }
  })
})

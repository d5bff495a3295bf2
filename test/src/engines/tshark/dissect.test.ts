import { describe, expect, it } from 'vitest'
import { emptyPacket } from '../../../../src/capture/packet.ts'
import { createDissect } from '../../../../src/engines/tshark/dissect.ts'
import { PROTOCOLS } from '../../../../src/engines/tshark/protocols/index.ts'
import { ACK, conversation, OPEN, type Sent, SHUT, SYN, T } from '../flows/packets.ts'

/** The records of one log, of packets that are in order of time. */
function recordsOf(wanted: string, sent: Sent[]): Record<string, unknown>[] {
  const records: Record<string, unknown>[] = []
  const dissect = createDissect({
    captureId: 'test',
    protocols: PROTOCOLS,
    write: (log, record) => log === wanted && records.push({ ...record }),
    writeLine: (log, line) => log === wanted && records.push(JSON.parse(line)),
    onFault: (protocol, error) => expect.fail(`${protocol}: ${error}`),
  })
  for (const [n, { at, data }] of sent.toSorted((a, b) => a.at - b.at).entries()) {
    const frame = { buffer: data, offset: 0, capLen: data.length, origLen: data.length }
    const [seconds, nanos] = [T + Math.floor(at), Math.round((at % 1) * 1e6) * 1000]
    dissect.packet({ ...emptyPacket(101), ...frame, seconds, nanos, number: n + 1 })
  }
  dissect.finish()
  return records
}

const later = (sent: Sent[], by: number) => sent.map((each) => ({ ...each, at: each.at + by }))

describe('a flow without payload', () => {
  const control = conversation(
    [
      ...OPEN,
      { by: 's', flags: ACK, payload: '220 FTP\r\n' },
      { by: 'c', flags: ACK, payload: 'USER anonymous\r\n' },
      { by: 's', flags: ACK, payload: '230 in\r\n' },
      { by: 'c', flags: ACK, payload: 'PASV\r\n' },
      { by: 's', flags: ACK, payload: '227 at (93,184,216,34,19,137)\r\n' },
    ],
    [40_000, 21],
  )

  it('is named after its announcement, closed, refused or silent', () => {
    for (const steps of [[...OPEN, ...SHUT], [...OPEN], [{ by: 'c' as const, flags: SYN }]]) {
      const data = later(conversation(steps, [40_001, 5001]), 1)
      const other = later(conversation(steps, [40_002, 5002]), 1)
      const services = Object.fromEntries(
        recordsOf('conn', [...control, ...data, ...other]).map((conn) => [conn['id.resp_p'], conn.service]),
      )
      expect(services).toEqual({ 21: 'ftp', 5001: 'ftp-data', 5002: undefined })
    }
  })
})

import { describe, expect, it } from 'vitest'
import { emptyPacket } from '../../../../src/capture/packet.ts'
import { createDissect } from '../../../../src/engines/tshark/dissect.ts'
import { PROTOCOLS } from '../../../../src/engines/tshark/protocols/index.ts'
import { ACK, conversation, ip4, OPEN, type Sent, SHUT, SYN, T, udp } from '../flows/packets.ts'

type Row = Record<string, unknown>

function dissect(packets: { data: Buffer; seconds?: number; linkType?: number }[]) {
  const rows: Record<string, Row[]> = {}
  const write = (log: string, record: object) => {
    rows[log] = [...(rows[log] ?? []), record as Row]
  }
  const dissect = createDissect({
    captureId: 'test',
    protocols: PROTOCOLS,
    write,
    writeLine: (log, line) => write(log, JSON.parse(line)),
    onFault: (_protocol, error) => {
      throw error
    },
  })
  for (const [n, { data, seconds = 1_700_000_000, linkType = 101 }] of packets.entries()) {
    const frame = { buffer: data, offset: 0, capLen: data.length, origLen: data.length }
    dissect.packet({
      ...emptyPacket(linkType),
      ...frame,
      seconds: Math.floor(seconds),
      nanos: Math.round((seconds % 1) * 1e6) * 1000,
      number: n + 1,
    })
  }
  dissect.finish()
  return rows
}

const QUERY = Buffer.from('0007010000010000000000000161076578616d706c6500000100', 'hex')
const question = (data = QUERY) =>
  ip4({
    src: '10.0.0.1',
    dst: '10.0.0.2',
    protocol: 17,
    payload: udp(5000, 53, Buffer.concat([data, Buffer.from([1])])),
  })

describe('a capture that begins at the epoch', () => {
  it('has records from its first second on, and connections from their true time on', () => {
    const { conn, dns } = dissect([{ data: question(), seconds: 0 }])
    expect([conn?.[0]?.ts, dns?.[0]?.ts]).toEqual([0, 1])
  })
})

describe('the notice that no filter can be installed', () => {
  const frame = { data: Buffer.from([0x61, 0x88]), linkType: 230 }

  it('is there once where the link layer carries no IP', () => {
    expect(dissect([frame, frame]).notice).toMatchObject([{ ts: 0, note: 'PacketFilter::Install_Failure' }])
  })

  it('is not there for others', () => {
    expect(dissect([{ data: question() }]).notice).toBeUndefined()
  })
})

describe('a tunnel that breaks its protocol', () => {
  it('is told in the analyzer log, with the flow in which it does', () => {
    const gtp = (inner: Buffer) => {
      const header = Buffer.from([0x30, 0xff, 0, 0, 0, 0, 0, 1])
      header.writeUInt16BE(inner.length, 2)
      return Buffer.concat([header, inner])
    }
    const carried = (src: string, inner: Buffer) =>
      ip4({ src, dst: '10.0.0.2', protocol: 17, payload: udp(2152, 2152, gtp(inner)) })
    const { analyzer } = dissect([{ data: carried('10.0.0.3', carried('10.0.0.1', question())) }])
    expect(analyzer).toMatchObject([
      { analyzer_kind: 'packet', analyzer_name: 'GTPV1', 'id.orig_h': '10.0.0.1', failure_reason: 'GTP-in-GTP' },
    ])
  })
})

/** The records of packets in order of time. */
const inOrder = (sent: Sent[]) =>
  dissect(sent.toSorted((a, b) => a.at - b.at).map(({ at, data }) => ({ data, seconds: T + at })))

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
        inOrder([...control, ...data, ...other]).conn?.map((conn) => [conn['id.resp_p'], conn.service]),
      )
      expect(services).toEqual({ 21: 'ftp', 5001: 'ftp-data', 5002: undefined })
    }
  })
})

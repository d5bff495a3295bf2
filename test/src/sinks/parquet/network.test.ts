import { describe, expect, it } from 'vitest'
import { COMMUNITY_ID_VECTORS } from '../../../stages/upload/rules/community-id-vectors.ts'
import { expectedRow } from './agreement.ts'
import { chunkOf, type Row, readRows, scratchDir, writeChunks } from './harness.ts'

const NAMES: Record<number, string> = { 1: 'icmp', 58: 'icmp', 6: 'tcp', 17: 'udp' }

async function rowsOf(records: readonly Record<string, unknown>[], logType = 'conn'): Promise<Row[]> {
  const chunk = await chunkOf(
    await scratchDir(),
    logType,
    records.map((record) => JSON.stringify(record)),
  )
  const { result, stagingDir } = await writeChunks([chunk])
  return readRows(stagingDir, result, logType)
}

const flow = (src: string, dst: string, over: Record<string, unknown> = {}) => ({
  ...{ ts: 1, 'id.orig_h': src, 'id.orig_p': 1, 'id.resp_h': dst, 'id.resp_p': 2, proto: 'tcp' },
  ...over,
})

it('the Community IDs of the table are those of the specification', async () => {
  const records = COMMUNITY_ID_VECTORS.map(([proto, src, dst, srcPort, dstPort]) =>
    flow(src, dst, {
      'id.orig_p': srcPort ?? undefined,
      'id.resp_p': dstPort ?? undefined,
      proto: NAMES[proto] ?? 'unknown_transport',
      ip_proto: proto,
    }),
  )
  const ids = (await rowsOf(records)).map(({ community_id }) => community_id)
  expect(ids).toEqual(COMMUNITY_ID_VECTORS.map(([, , , , , id]) => id))
})

const ADDRESSES = [
  ...[
    '0.0.0.0',
    '9.255.255.255',
    '10.0.0.0',
    '10.255.255.255',
    '11.0.0.0',
    '172.15.255.255',
    '172.16.0.0',
    '172.31.255.255',
    '172.32.0.0',
  ],
  ...[
    '192.167.255.255',
    '192.168.0.0',
    '192.168.255.255',
    '192.169.0.0',
    '169.253.255.255',
    '169.254.0.0',
    '169.254.255.255',
    '169.255.0.0',
  ],
  ...['126.255.255.255', '127.0.0.0', '127.255.255.255', '128.0.0.0', '224.0.0.1', '255.255.255.255'],
  ...[
    '::',
    '::1',
    '::2',
    '1::',
    '::1:0',
    '2001:db8:1::',
    '2001:db8:0:ffff:ffff:ffff:ffff:ffff',
    '2001:DB8:1::A',
    '2001:db8:2::',
  ],
  ...[
    'fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
    'fc00::',
    'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
    'fe00::',
    'fe7f::1',
    'fe80::',
    'febf::ffff',
    'fec0::',
  ],
  ...[
    '::ffff:10.0.0.1',
    '::ffff:8.8.8.8',
    '::FFFF:192.168.1.1',
    '::ffff:a00:1',
    '::10.0.0.1',
    '64:ff9b::8.8.8.8',
    '1:2:3:4:5:6:1.2.3.4',
  ],
  ...['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7::', '::2:3:4:5:6:7:8', '1:2:3::5:6:7:8', '1::8', 'ABCD:ef01:0000:0:00:000:1:2'],
]

describe('private, direction and Community ID', () => {
  it('agree with the normalizer for pairs of addresses of all kinds', async () => {
    const records = ADDRESSES.flatMap((src, i) =>
      ADDRESSES.map((dst, j) => flow(src, dst, { proto: ['tcp', 'udp', 'icmp'][(i + j) % 3] })),
    )
    const rows = await rowsOf(records)
    for (const [i, record] of records.entries())
      expect(rows[i], JSON.stringify(record)).toEqual(expectedRow('conn', record, i))
  })

  it('agree with the normalizer for each protocol, port and ICMP type', async () => {
    const protocols = ['tcp', 'udp', 'icmp', 'sctp', 'icmp6', 'unknown_transport', 'TCP', '', undefined]
    const numbers = [undefined, 0, 1, 2, 6, 17, 47, 58, 132, 255, 256, -1]
    const types = [0, 3, 8, 128, 129, 133, 136, 200, undefined]
    const ends = [
      ['10.0.0.1', '10.0.0.2'],
      ['10.0.0.2', '10.0.0.1'],
      ['fe80::2', 'fe80::1'],
      ['fe80::1', '10.0.0.1'],
      ['10.0.0.1', '10.0.0.1'],
    ] as const
    const records = ends.flatMap(([src, dst]) =>
      protocols.flatMap((proto) =>
        numbers.flatMap((ip_proto) =>
          types.map((type) => flow(src, dst, { proto, ip_proto, 'id.orig_p': type, 'id.resp_p': 8 })),
        ),
      ),
    )
    const rows = await rowsOf(records)
    for (const [i, record] of records.entries())
      expect(rows[i], JSON.stringify(record)).toEqual(expectedRow('conn', JSON.parse(JSON.stringify(record)), i))
  })

  it('take the transport of a log without one from its rules', async () => {
    const [tls, dtls, unknown] = await rowsOf(
      ['TLSv12', 'DTLSv12', 'SSLv9'].map((version) => flow('10.0.0.1', '8.8.8.8', { proto: undefined, version })),
      'ssl',
    )
    const [tcp, udp] = await rowsOf([flow('10.0.0.1', '8.8.8.8'), flow('10.0.0.1', '8.8.8.8', { proto: 'udp' })])
    expect(tls?.community_id).toBe(tcp?.community_id)
    expect(dtls?.community_id).toBe(udp?.community_id)
    expect(unknown).not.toHaveProperty('community_id')
  })

  it('never replace a Community ID that the record has', async () => {
    const [row] = await rowsOf([flow('10.0.0.1', '8.8.8.8', { community_id: "1:Zeek's own" })])
    expect(row?.community_id).toBe("1:Zeek's own")
  })
})

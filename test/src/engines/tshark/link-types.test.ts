import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { emptyPacket } from '../../../../src/capture/packet.ts'
import { openCaptureWriter } from '../../../../src/capture/writer.ts'
import { openTsharkEngine, type TsharkEngineOptions } from '../../../../src/engines/tshark/engine.ts'
import { accountBalances } from '../../../../state/capture.ts'
import { scratch } from '../../capture/files.ts'
import { request } from '../capture-of.ts'
import { ethernet, ip4, T, udp } from '../flows/packets.ts'

const bytes = (hex: string, zeros = 0) => Buffer.concat([Buffer.from(hex, 'hex'), Buffer.alloc(zeros)])
const snap = bytes('aaaa030000000800')
const wifi = bytes('08020000', 20)

/** What stands before an IP packet, by LINKTYPE number. */
const BEFORE: Record<number, Buffer> = {
  0: bytes('02000000'),
  1: ethernet(0x800, Buffer.alloc(0)),
  6: Buffer.concat([bytes('1040', 12), snap]),
  9: bytes('ff030021'),
  10: Buffer.concat([bytes('57', 12), snap]),
  12: bytes(''),
  14: bytes(''),
  50: bytes('ff030021'),
  100: snap,
  101: bytes(''),
  104: bytes('0f000800'),
  105: Buffer.concat([wifi, snap]),
  108: bytes('00000002'),
  109: bytes('', 12),
  113: bytes('0000000100060200000000010000', 2).fill(bytes('0800'), 14),
  117: bytes('3d02', 62),
  119: Buffer.concat([bytes('4400000090000000', 136), wifi, snap]),
  127: Buffer.concat([bytes('0000080000000000'), wifi, snap]),
  163: Buffer.concat([bytes('8021100100000040', 56), wifi, snap]),
  192: Buffer.concat([bytes('0000080069000000'), wifi, snap]),
  228: bytes(''),
  274: Buffer.concat([bytes('55555555555555d5'), ethernet(0x800, Buffer.alloc(0))]),
  276: bytes('0800', 18),
}
/** USB, a user's own, 802.15.4, and one that there is not. */
const UNREAD = [189, 147, 230, 65_000]

/** A pcapng of an interface a link type, two packets each, a nanosecond between them. */
async function mixed(dir: string): Promise<string> {
  const writer = await openCaptureWriter(join(dir, 'mixed.pcapng'), { format: 'pcapng' })
  const types = [...Object.keys(BEFORE).map(Number), ...UNREAD]
  for (const nanos of [123_456_789, 123_457_789])
    for (const linkType of types) {
      const ip = ip4({
        src: `10.0.${linkType >> 8}.${linkType & 255}`,
        dst: '192.0.2.1',
        protocol: 17,
        payload: udp(5000, 6000, 'data'),
      })
      const buffer = Buffer.concat([BEFORE[linkType] ?? bytes(''), ip])
      const frame = { buffer, capLen: buffer.length, origLen: buffer.length, seconds: T, nanos }
      writer.packet({ ...emptyPacket(linkType), ...frame })
    }
  await writer.close()
  return writer.path
}

describe('a capture of many link types', () => {
  it.each<[string, TsharkEngineOptions]>([
    ['as a whole', {}],
    ['in parts', { partsFromBytes: 0, parallel: 2 }],
  ])('gives the flow of each that is read, and counts those that are not by their number, %s', async (_, options) => {
    const ask = await request(await mixed(await scratch()))
    const { packets, warnings } = await (await openTsharkEngine(options)).convert(ask)
    const lines = (await readFile(join(ask.outDir, 'conn.ndjson'), 'utf8')).trimEnd().split('\n')
    const rows = lines.map((line) => JSON.parse(line))
    const found = rows.map(
      (row) => Number(row['id.orig_h'].split('.')[2]) * 256 + Number(row['id.orig_h'].split('.')[3]),
    )
    expect(found.sort((a, b) => a - b)).toEqual(Object.keys(BEFORE).map(Number))
    // Zeek's times are microseconds; what is beyond them is cut off, not rounded.
    for (const row of rows) expect(row).toMatchObject({ ts: T + 0.123456, orig_pkts: 2, orig_bytes: 8 })
    expect(packets.skipped).toEqual(Object.fromEntries(UNREAD.map((type) => [`link type ${type}`, 2])))
    expect(packets.inFile).toBe(2 * (Object.keys(BEFORE).length + UNREAD.length))
    expect(accountBalances(packets)).toBe(true)
    expect(warnings).toHaveLength(UNREAD.length)
  })
})

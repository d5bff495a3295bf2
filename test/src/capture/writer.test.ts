import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { emptyPacket, type Packet } from '../../../src/capture/packet.ts'
import { sniffContainer } from '../../../src/capture/sniff.ts'
import { openCaptureWriter } from '../../../src/capture/writer.ts'
import { readFile, scratch } from './files.ts'

function packet(values: Partial<Packet>, text = 'some bytes'): Packet {
  const buffer = Buffer.from(`..${text}`)
  return { ...emptyPacket(1), buffer, offset: 2, capLen: text.length, origLen: text.length, ...values }
}

describe('a written capture', () => {
  for (const format of ['pcap', 'pcapng'] as const) {
    it(`reads back as it was: nanoseconds, original lengths (${format})`, async () => {
      const path = join(await scratch(), `x.${format}`)
      const writer = await openCaptureWriter(path, { format })
      const times: [number, number][] = [
        [0, 0],
        [1_700_000_000, 123_456_789],
        [2 ** 32 - 1, 999_999_999],
      ]
      for (const [seconds, nanos] of times) writer.packet(packet({ seconds, nanos, origLen: 1500 }))
      await writer.close()
      const { seen, result } = await readFile(path)
      expect(result.format).toBe(format)
      expect(seen.map(({ time }) => time)).toEqual(['0.000000000', '1700000000.123456789', '4294967295.999999999'])
      expect(seen.every(({ origLen, data }) => origLen === 1500 && data === 'some bytes')).toBe(true)
      expect(writer.packets).toBe(3)
    })

    it(`is a capture without packets when none was written (${format})`, async () => {
      const path = join(await scratch(), `x.${format}`)
      await (await openCaptureWriter(path, { format })).close()
      expect((await readFile(path)).result).toMatchObject({ format, packets: 0, account: { lostBytes: 0 } })
    })
  }

  it('holds several link types as pcapng, also such as come up late', async () => {
    const path = join(await scratch(), 'x.pcapng')
    const writer = await openCaptureWriter(path, { format: 'pcapng' })
    for (const linkType of [1, 101, 1, 113]) writer.packet(packet({ linkType, seconds: 1 }))
    await writer.close()
    expect((await readFile(path)).seen.map(({ linkType }) => linkType)).toEqual([1, 101, 1, 113])
  })

  it('refuses a second link type in a pcap', async () => {
    const writer = await openCaptureWriter(join(await scratch(), 'x.pcap'), { format: 'pcap' })
    writer.packet(packet({ linkType: 1 }))
    expect(() => writer.packet(packet({ linkType: 101 }))).toThrow(/one link type/)
    await writer.close()
  })

  it('is the same however often it was flushed, and whatever the sizes', async () => {
    const dir = await scratch()
    const texts = Array.from({ length: 300 }, (_, n) => 'x'.repeat(1 + ((n * 7919) % 20_000)))
    const write = async (name: string, every: number) => {
      const writer = await openCaptureWriter(join(dir, name), { format: 'pcap' })
      for (const [n, text] of texts.entries()) {
        writer.packet(packet({ seconds: n }, text))
        if (n % every === 0) await writer.flush()
      }
      await writer.close()
      return readFile(join(dir, name))
    }
    const [once, often] = [await write('once', 1000), await write('often', 3)]
    expect(often.seen).toEqual(once.seen)
    expect(once.seen.map(({ data }) => data.length)).toEqual(texts.map((text) => text.length))
  })

  it('that cannot be made says so', async () => {
    await expect(openCaptureWriter('/nowhere/x.pcap', { format: 'pcap' })).rejects.toMatchObject({
      code: 'io',
      retryable: true,
    })
  })
})

it('knows containers by their first bytes', () => {
  const cases: [number[], string | undefined][] = [
    [[0xd4, 0xc3, 0xb2, 0xa1], 'pcap'],
    [[0xa1, 0xb2, 0x3c, 0x4d], 'pcap'],
    [[0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d], 'pcapng'],
    [[0x0a, 0x0d, 0x0d, 0x0a, 0x54, 0x65, 0x78, 0x74, 0x54, 0x65, 0x78, 0x74], undefined],
    [[0x1f, 0x8b, 8, 0], 'gzip'],
    [[0x28, 0xb5, 0x2f, 0xfd], 'zstd'],
    [[0x50, 0x4b, 3, 4], 'zip'],
    [[0x47, 0x49, 0x46, 0x38], undefined],
    [[], undefined],
  ]
  for (const [bytes, expected] of cases) expect(sniffContainer(Uint8Array.from(bytes))).toBe(expected)
})

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readCapture } from '../../../src/capture/reader.ts'
import { block, enhanced, iface, pcap, pcapHeader, pcapRecord, readBytes, scratch, section, u16, u32 } from './files.ts'

const T = 1_700_000_000
const packet = (n: number) => Buffer.from(`packet ${n} `.repeat(8))
const records = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ seconds: T + n, fraction: n, data: packet(n) }))

function sumOf(skipped: Record<string, number>): number {
  return Object.values(skipped).reduce((sum, n) => sum + n, 0)
}

describe('pcap', () => {
  for (const little of [true, false]) {
    const order = little ? 'little' : 'big'
    it(`reads ${order}-endian files with microseconds`, async () => {
      const { seen, result } = await readBytes(
        pcap([{ seconds: T, fraction: 123_456, data: packet(1), origLen: 999 }], { little }),
      )
      expect(seen).toEqual([
        { time: `${T}.123456000`, linkType: 1, origLen: 999, number: 1, data: packet(1).toString('latin1') },
      ])
      expect(result).toMatchObject({ format: 'pcap', packets: 1, linkTypes: [1], account: { inFile: 1, lostBytes: 0 } })
      expect(result.account.salvaged).toBeUndefined()
    })

    it(`reads ${order}-endian files with nanoseconds`, async () => {
      const { seen } = await readBytes(
        pcap([{ seconds: T, fraction: 987_654_321, data: packet(1) }], { little, magic: 0xa1b23c4d }),
      )
      expect(seen[0]?.time).toBe(`${T}.987654321`)
    })
  }

  it('reads the longer records of the modified format', async () => {
    const { seen } = await readBytes(pcap(records(3), { magic: 0xa1b2cd34 }))
    expect(seen.map(({ data }) => data)).toEqual([0, 1, 2].map((n) => packet(n).toString('latin1')))
  })

  it('ignores the bits of the link type that tell about frame check sequences', async () => {
    const { seen } = await readBytes(pcap(records(1), { linkType: 0xf400_0065 }))
    expect(seen[0]?.linkType).toBe(101)
  })

  it('takes a file without packets as a capture without packets', async () => {
    const { result } = await readBytes(pcapHeader())
    expect(result.account).toEqual({ inFile: 0, skipped: {}, lostBytes: 0 })
  })

  it('takes a file that ends within its header as a capture without packets', async () => {
    const { result } = await readBytes(pcapHeader().subarray(0, 13))
    expect(result).toMatchObject({ packets: 0, account: { inFile: 0, lostBytes: 13 } })
  })

  it('cuts a truncated file at its last whole record', async () => {
    const whole = pcap(records(5))
    const { seen, result } = await readBytes(whole.subarray(0, whole.length - 20))
    expect(seen).toHaveLength(4)
    const { account } = result
    expect(account).toMatchObject({ inFile: 5, skipped: { 'cut record': 1 }, firstTime: T, lastTime: T + 3.000003 })
    expect(account.lostBytes).toBe(16 + packet(4).length - 20)
    expect(account.salvaged).toContain(`offset ${whole.length - 16 - packet(4).length}`)
  })

  it('reports a file that ends within a record header', async () => {
    const { result } = await readBytes(Buffer.concat([pcap(records(2)), Buffer.alloc(7, 1)]))
    expect(result).toMatchObject({ packets: 2, account: { inFile: 2, lostBytes: 7 } })
    expect(result.account.salvaged).toMatch(/ends within a record header/)
  })

  it('skips a record with an absurd length up to the next sane one', async () => {
    const parts = records(40).map((record) => pcapRecord(record))
    parts[20] = pcapRecord({ ...(records(21)[20] as { seconds: number; data: Buffer }), capLen: 0xf000_0000 })
    const { seen, result } = await readBytes(Buffer.concat([pcapHeader(), ...parts]))
    expect(seen).toHaveLength(39)
    expect(result.account).toMatchObject({ inFile: 40, skipped: { 'corrupt record': 1 }, lostBytes: parts[20].length })
  })

  it('skips a record whose length is wrong but not absurd', async () => {
    const parts = records(40).map((record) => pcapRecord(record))
    parts[20] = pcapRecord({ ...(records(21)[20] as { seconds: number; data: Buffer }), capLen: 300 })
    const { seen, result } = await readBytes(Buffer.concat([pcapHeader(), ...parts]))
    expect(seen.length + sumOf(result.account.skipped)).toBe(result.account.inFile)
    expect(seen.slice(-19).map(({ data }) => data)).toEqual(
      records(40)
        .slice(21)
        .map(({ data }) => data.toString('latin1')),
    )
    expect(seen.some(({ data }) => data.length > packet(1).length + 10)).toBe(false)
  })

  it('makes no packets of a tail filled with zeros', async () => {
    const { seen, result } = await readBytes(Buffer.concat([pcap(records(3)), Buffer.alloc(10_000)]))
    expect(seen).toHaveLength(3)
    expect(result.account).toMatchObject({ inFile: 3, skipped: {}, lostBytes: 10_000 })
    expect(result.account.salvaged).toMatch(/zeros/)
  })

  it('loses no more than the damaged stretch when garbage lies between good records', async () => {
    const head = Buffer.concat(records(10).map((record) => pcapRecord(record)))
    const garbage = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 251))
    const { seen, result } = await readBytes(Buffer.concat([pcapHeader(), head, garbage, head]))
    expect(seen).toHaveLength(20)
    expect(result.account.lostBytes).toBe(garbage.length)
  })
})

describe('pcapng', () => {
  it('reads several sections of different byte order, and several interfaces', async () => {
    const first = [
      section(true),
      iface(),
      iface({ linkType: 101, tsresol: 9 }),
      enhanced(0, BigInt(T) * 1_000_000n + 5n, packet(1)),
    ]
    const ns = BigInt(T) * 1_000_000_000n + 123_456_789n
    const second = [
      section(false),
      iface({ linkType: 113 }, false),
      enhanced(0, BigInt(T) * 1_000_000n, packet(3), 777, false),
    ]
    const { seen, result } = await readBytes(Buffer.concat([...first, enhanced(1, ns, packet(2)), ...second]))
    expect(seen.map(({ time, linkType, origLen }) => [time, linkType, origLen])).toEqual([
      [`${T}.000005000`, 1, packet(1).length],
      [`${T}.123456789`, 101, packet(2).length],
      [`${T}.000000000`, 113, 777],
    ])
    expect(result).toMatchObject({ format: 'pcapng', linkTypes: [1, 101, 113] })
  })

  it('keeps time stamps exact at any resolution', async () => {
    const cases: [number, bigint, string][] = [
      [0, BigInt(T), `${T}.000000000`],
      [3, BigInt(T) * 1000n + 7n, `${T}.007000000`],
      [12, 1_000_000n * 10n ** 12n + 123_456_789_012n, '1000000.123456789'],
      [0x80 | 10, BigInt(T) * 1024n + 512n, `${T}.500000000`],
      [0x80 | 32, (BigInt(T) << 32n) + (1n << 30n), `${T}.250000000`],
    ]
    for (const [tsresol, units, time] of cases) {
      const { seen } = await readBytes(Buffer.concat([section(), iface({ tsresol }), enhanced(0, units, packet(1))]))
      expect(seen[0]?.time).toBe(time)
    }
  })

  it('adds the offset of the interface', async () => {
    const { seen } = await readBytes(
      Buffer.concat([section(), iface({ tsoffset: 3600n }), enhanced(0, BigInt(T) * 1_000_000n, packet(1))]),
    )
    expect(seen[0]?.time).toBe(`${T + 3600}.000000000`)
  })

  it('reads simple packets (with the time of the packet before them) and obsolete ones', async () => {
    const simple = block(3, Buffer.concat([u32(packet(2).length), packet(2)]))
    const old = block(
      2,
      Buffer.concat([u16(0), u16(0), u32(0), u32(5_000_000), u32(packet(3).length), u32(400), packet(3)]),
    )
    const file = [section(), iface({ snapLen: 20 }), enhanced(0, BigInt(T) * 1_000_000n, packet(1)), simple, old]
    const { seen } = await readBytes(Buffer.concat(file))
    expect(seen.map(({ time, origLen, data }) => [time, origLen, data.length])).toEqual([
      [`${T}.000000000`, packet(1).length, packet(1).length],
      [`${T}.000000000`, packet(2).length, 20],
      ['5.000000000', 400, packet(3).length],
    ])
  })

  it('skips blocks that it does not know, even such as fit no window', async () => {
    const unknown = block(0x0bad, Buffer.alloc(9_000_000, 1))
    const file = [section(), unknown, iface(), block(5, Buffer.alloc(40)), enhanced(0, 1n, packet(1))]
    const { seen, result } = await readBytes(Buffer.concat(file))
    expect(seen).toHaveLength(1)
    expect(result.account).toMatchObject({ inFile: 1, lostBytes: 0 })
  })

  it('finds the next consistent block behind a damaged one', async () => {
    const good = enhanced(0, BigInt(T) * 1_000_000n, packet(1))
    const bad = Buffer.from(good)
    bad.writeUInt32LE(200, 4)
    const { seen, result } = await readBytes(Buffer.concat([section(), iface(), good, bad, good, good]))
    expect(seen).toHaveLength(3)
    expect(result.account).toMatchObject({ inFile: 4, skipped: { 'corrupt record': 1 }, lostBytes: bad.length })
  })

  it('cuts a truncated file at its last whole block', async () => {
    const good = enhanced(0, BigInt(T) * 1_000_000n, packet(1))
    const file = Buffer.concat([section(), iface(), good, good])
    const { result } = await readBytes(file.subarray(0, file.length - 5))
    expect(result).toMatchObject({
      packets: 1,
      account: { inFile: 2, skipped: { 'cut record': 1 }, lostBytes: good.length - 5 },
    })
  })

  it('hands out no packet that names an interface which is not there', async () => {
    const { result } = await readBytes(Buffer.concat([section(), iface(), enhanced(7, 1n, packet(1))]))
    expect(result).toMatchObject({ packets: 0, account: { inFile: 1, skipped: { 'corrupt record': 1 } } })
  })
})

it('says what a file is that is no capture', async () => {
  const cases: [Buffer, RegExp][] = [
    [Buffer.alloc(0), /empty/],
    [Buffer.from('GIF89a, and so on, and so on'), /first bytes/],
    [Buffer.from([0x1f, 0x8b, 8, 0, 0, 0]), /gzip/],
  ]
  for (const [bytes, message] of cases) {
    await expect(readBytes(bytes)).rejects.toMatchObject({
      code: 'capture_not_recognized',
      message: expect.stringMatching(message),
    })
  }
})

it('says which file cannot be read', async () => {
  const reading = readCapture('/nowhere/x.pcap', { onPacket() {} })
  await expect(reading).rejects.toMatchObject({
    code: 'capture_unreadable',
    message: expect.stringContaining('/nowhere/x.pcap'),
  })
})

it('reads files longer than its window, record for record', async () => {
  const data = Buffer.alloc(1400, 7)
  const many = Array.from({ length: 9000 }, (_, n) => ({ seconds: T + n, data }))
  const { seen, result } = await readBytes(pcap(many))
  expect(result.packets).toBe(9000)
  expect(seen.every(({ time }, n) => time.startsWith(String(T + n)))).toBe(true)
})

it('lets others run while it reads', async () => {
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  try {
    const busy = pcap(Array.from({ length: 2000 }, (_, n) => ({ seconds: T + n, data: packet(n) })))
    const path = join(await scratch(), 'busy.pcap')
    await writeFile(path, busy)
    const spin = () => {
      const end = performance.now() + 0.1
      while (performance.now() < end);
    }
    await readCapture(path, { onPacket: spin })
  } finally {
    clearInterval(timer)
  }
  expect(turns).toBeGreaterThan(4)
})

it('stops when it is told to', async () => {
  const path = join(await scratch(), 'stop.pcap')
  await writeFile(path, pcap(records(10)))
  const reason = new Error('enough')
  await expect(readCapture(path, { onPacket() {}, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
})

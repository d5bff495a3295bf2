import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { readCapture } from '../../../../src/capture/reader.ts'
import { createFlowTable } from '../../../../src/engines/flows/table.ts'
import { PipelineError } from '../../../../state/errors.ts'
import { enhanced, iface, pcap, scratch, section } from '../../capture/files.ts'
import { conversation, ethernet, ip4, ip6, OPEN, SHUT, T, udp } from './packets.ts'

/** A generator of numbers that is the same in every run. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

function frames(): Buffer[] {
  const inner = ip4({ src: '10.0.0.1', dst: '10.0.0.2', protocol: 17, payload: udp(1, 53, Buffer.alloc(40, 1)) })
  const six = ip6(
    '20'.repeat(16),
    '30'.repeat(16),
    60,
    Buffer.concat([
      Buffer.from([44, 0, 201, 4, 0, 0, 0, 0]),
      Buffer.from([17, 0, 0, 1, 0, 0, 0, 9]),
      udp(1, 2, Buffer.alloc(64)),
    ]),
  )
  const vxlan = udp(5, 4789, Buffer.concat([Buffer.from('0800000000000100', 'hex'), ethernet(0x800, inner)]))
  const tunnels = [47, 4].map((protocol) =>
    ip4({
      src: '1.1.1.1',
      dst: '2.2.2.2',
      protocol,
      payload: protocol === 4 ? inner : Buffer.concat([Buffer.from('b0000800', 'hex'), Buffer.alloc(12), inner]),
    }),
  )
  const fragment = ip4({ src: '1.1.1.1', dst: '2.2.2.2', protocol: 17, fragment: 0x2000, payload: Buffer.alloc(80) })
  const talk = conversation([...OPEN, { by: 'c', flags: 16, payload: 'GET / HTTP/1.1\r\n' }, ...SHUT]).map(
    ({ data }) => data,
  )
  const plain = [
    inner,
    six,
    ip4({ src: '1.1.1.1', dst: '2.2.2.2', protocol: 17, payload: vxlan }),
    ...tunnels,
    fragment,
    ...talk,
  ]
  return plain.map((ip) => ethernet((ip[0] as number) >> 4 === 6 ? 0x86dd : 0x800, ip))
}

function mutate(file: Buffer, random: (below: number) => number): Buffer {
  let bytes = Buffer.from(file)
  for (let n = random(20); n >= 0; n--) {
    const at = random(bytes.length - 8)
    const kind = random(5)
    if (kind === 0) bytes[at] = random(256)
    else if (kind === 1) bytes.writeUInt32LE([0, 0xffff_ffff, 0x7fff_ffff, 65_535, 262_144][random(5)] as number, at)
    else if (kind === 2) bytes.fill(random(2) * 255, at, Math.min(bytes.length, at + random(100)))
    else if (kind === 3)
      bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + random(40)))])
    else bytes = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(random(40), random(256)), bytes.subarray(at)])
  }
  return random(4) === 0 ? bytes.subarray(0, random(bytes.length) + 1) : bytes
}

it('no mutation of a capture throws, hangs, or unbalances the account', { timeout: 60_000 }, async () => {
  const random = randomFrom(42)
  const asPcap = pcap(frames().map((data, n) => ({ seconds: T + n, data })))
  const asPcapng = Buffer.concat([
    section(),
    iface(),
    ...frames().map((data, n) => enhanced(0, BigInt(T + n) * 1_000_000n, data)),
  ])
  const path = join(await scratch(), 'mutated')
  let packets = 0
  for (let run = 0; run < 600; run++) {
    await writeFile(path, mutate(run % 2 === 0 ? asPcap : asPcapng, random))
    const uids = new Set<string>()
    const table = createFlowTable({ captureId: 'x', onFlow: ({ uid }) => uids.add(uid), onTunnel() {}, onWeird() {} })
    const reading = readCapture(path, { onPacket: (packet) => void table.packet(packet) })
    const result = await reading.catch((error: unknown) => {
      expect(error).toBeInstanceOf(PipelineError)
      return undefined
    })
    if (!result) continue
    table.finish()
    packets += result.packets
    const sum = (counts: Record<string, number>) => Object.values(counts).reduce((total, n) => total + n, 0)
    const { counts } = table
    expect(result.account.inFile).toBe(result.packets + sum(result.account.skipped))
    expect(counts.inFlows + sum(counts.nonFlow) + sum(counts.undecoded)).toBe(result.packets)
    expect(uids.size).toBe(counts.flows)
  }
  expect(packets).toBeGreaterThan(2000)
})

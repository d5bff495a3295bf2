import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { emptyPacket } from '../../../../src/capture/packet.ts'
import { openCaptureWriter } from '../../../../src/capture/writer.ts'
import { pack, shardCapture } from '../../../../src/engines/flows/shard.ts'
import { flowIndexOf, isFromOriginator, readSidecar } from '../../../../src/engines/flows/sidecar.ts'
import { createFlowTable } from '../../../../src/engines/flows/table.ts'
import { type Flow, NO_FLOW } from '../../../../src/engines/flows/types.ts'
import { readFile, scratch } from '../../capture/files.ts'
import { ethernet, ip4, type Sent, T, udp } from './packets.ts'

async function captureOf(sent: Sent[], format: 'pcap' | 'pcapng' = 'pcap'): Promise<string> {
  const path = join(await scratch(), `x.${format}`)
  const writer = await openCaptureWriter(path, { format })
  for (const { at, data, linkType = 101 } of sent) {
    const frame = { buffer: data, capLen: data.length, origLen: data.length }
    writer.packet({ ...emptyPacket(linkType), ...frame, seconds: T + Math.floor(at), nanos: 5 })
  }
  await writer.close()
  return path
}

/** Ten pairs of hosts, both directions, fragments and VLANs among them; host pair n is busier than n - 1. */
function traffic(): Sent[] {
  const sent: Sent[] = []
  for (let n = 1; n <= 10; n++) {
    for (let i = 0; i < n * 10; i++) {
      const [src, dst] = i % 2 === 0 ? [`10.0.0.${n}`, '10.9.9.9'] : ['10.9.9.9', `10.0.0.${n}`]
      const ports: [number, number] = i % 2 === 0 ? [1000 + n, 2000] : [2000, 1000 + n]
      const ip = ip4({ src, dst, protocol: 17, payload: udp(...ports), fragment: i % 7 === 6 ? 100 : 0 })
      sent.push({
        at: sent.length / 100,
        data: i % 3 === 0 ? ethernet(0x8100, Buffer.concat([Buffer.from([0, 5, 8, 0]), ip])) : ethernet(0x800, ip),
        linkType: 1,
      })
    }
  }
  return sent
}

/** Sender and receiver of a datagram of four bytes, counted from its end. */
function addressesOf(data: string): string[] {
  const bytes = Buffer.from(data, 'latin1')
  return [-20, -16].map((at) => [...bytes.subarray(bytes.length + at, bytes.length + at + 4)].join('.'))
}

describe('shards', () => {
  it('hold every packet once, in order, and both directions of a pair of hosts together', async () => {
    const capturePath = await captureOf(traffic())
    const { shards, read } = await shardCapture({ capturePath, dir: await scratch(), parts: 4 })
    const whole = (await readFile(capturePath)).seen
    const parts = await Promise.all(shards.map(async ({ path }) => (await readFile(path)).seen))
    expect(read.packets).toBe(whole.length)
    expect(shards).toHaveLength(4)
    const key = ({ time, data }: { time: string; data: string }) => `${time} ${data}`
    expect(parts.flat().map(key).sort()).toEqual(whole.map(key).sort())
    const owners = new Map<string, number>()
    for (const [n, part] of parts.entries()) {
      expect(part.map(({ time }) => time)).toEqual(part.map(({ time }) => time).sort())
      for (const { data } of part) {
        const host = addressesOf(data).find((address) => address !== '10.9.9.9') as string
        expect(owners.get(host) ?? n).toBe(n)
        owners.set(host, n)
      }
    }
  })

  it('come with the flow of each of their packets', async () => {
    const flows = new Map<number, Flow>()
    const table = createFlowTable({ captureId: 'x', onFlow: (flow) => flows.set(flow.index, flow) })
    const options = { capturePath: await captureOf(traffic()), dir: await scratch(), parts: 3 }
    const { shards } = await shardCapture({ ...options, onPacket: (packet) => table.packet(packet) })
    table.finish()
    for (const { path, sidecarPath, packets } of shards) {
      const entries = await readSidecar(sidecarPath)
      const { seen } = await readFile(path)
      expect([entries.length, packets]).toEqual([seen.length, seen.length])
      for (const [n, entry] of entries.entries()) {
        const index = flowIndexOf(entry)
        if (index === undefined) continue
        const { orig, firstIsOrig } = flows.get(index) as Flow
        const [sender] = addressesOf(seen[n]?.data as string)
        expect(sender === orig.address).toBe(isFromOriginator(entry, firstIsOrig))
      }
      expect(entries.some((entry) => entry === NO_FLOW)).toBe(true)
    }
  })

  it('of several link types are pcapng', async () => {
    const ip = ip4({ src: '10.0.0.1', dst: '10.0.0.2', protocol: 17, payload: udp(1, 2) })
    const mixed = [
      { at: 0, data: ip },
      { at: 1, data: ethernet(0x800, ip), linkType: 1 },
    ]
    const { shards } = await shardCapture({
      capturePath: await captureOf(mixed, 'pcapng'),
      dir: await scratch(),
      parts: 2,
    })
    // The same two hosts: one shard, whatever the link layer.
    expect(shards.map(({ packets }) => packets)).toEqual([2])
    expect((await readFile(shards[0]?.path as string)).result).toMatchObject({ format: 'pcapng', linkTypes: [101, 1] })
  })

  it('of a capture without packets are one empty capture', async () => {
    const { shards } = await shardCapture({ capturePath: await captureOf([]), dir: await scratch(), parts: 4 })
    expect(shards.map(({ packets }) => packets)).toEqual([0])
    expect(await readSidecar(shards[0]?.sidecarPath as string)).toHaveLength(0)
  })
})

it('buckets are packed heaviest first', () => {
  const parts = pack(Float64Array.from([5, 9, 1, 0, 4, 3]), 2)
  const loads = [0, 0]
  for (const [n, weight] of [5, 9, 1, 0, 4, 3].entries())
    loads[parts[n] as number] = (loads[parts[n] as number] as number) + weight
  expect(loads).toEqual([12, 10])
})

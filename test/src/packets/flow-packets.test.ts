import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { cutFlowPackets, listFlowPackets } from '../../../src/packets/flow-packets.ts'
import { pcap, pcapng } from '../../fixtures/handmade.ts'
import { ethernet, ip4, ip6, tcp, udp } from '../engines/flows/packets.ts'

const A = '10.0.0.1'
const B = '10.0.0.2'
const OUTER = ['192.0.2.1', '192.0.2.2'] as const
const START_MS = 1_700_000_000_000
const whole = { from: START_MS, to: START_MS + 60_000 }
const tuple = { src: '10.0.0.1', dst: '10.0.0.2', srcPort: 40_000, dstPort: 80, protocol: 'tcp' as const }

const forth = (payload = '') =>
  ip4({ src: A, dst: B, protocol: 6, payload: tcp({ srcPort: 40_000, dstPort: 80, flags: 24, seq: 1, payload }) })
const back = () =>
  ip4({ src: B, dst: A, protocol: 6, payload: tcp({ srcPort: 80, dstPort: 40_000, flags: 16, seq: 1 }) })
const other = () =>
  ip4({ src: A, dst: B, protocol: 6, payload: tcp({ srcPort: 40_001, dstPort: 80, flags: 2, seq: 1 }) })
const frame = (packet: Buffer) => ethernet(0x800, packet)

/** 802.1Q within 802.1ad. */
const vlan = (packet: Buffer) => {
  const plain = frame(packet)
  return Buffer.concat([plain.subarray(0, 12), Buffer.from('88a8000a81000014', 'hex'), plain.subarray(12)])
}
const vxlan = (inner: Buffer) =>
  frame(
    ip4({
      src: OUTER[0],
      dst: OUTER[1],
      protocol: 17,
      payload: udp(50_000, 4789, Buffer.concat([Buffer.from('0800000000000100', 'hex'), frame(inner)])),
    }),
  )
const gre = (inner: Buffer) =>
  frame(
    ip4({
      src: OUTER[0],
      dst: OUTER[1],
      protocol: 47,
      payload: Buffer.concat([Buffer.from('00000800', 'hex'), inner]),
    }),
  )

function stored(bytes: Buffer): { path: string; dir: string } {
  const dir = mkdtempSync(join(tmpdir(), 'flow-packets-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'capture')
  writeFileSync(path, bytes)
  return { path, dir }
}

const numbers = async (bytes: Buffer, request: object = {}) => {
  const { path } = stored(bytes)
  const { packets } = await listFlowPackets({ capturePath: path, tuple, ...whole, ...request }, 100)
  return packets.map(({ number }) => number)
}

describe("a flow's packets", () => {
  it('are those of both directions, and no other flow’s', async () => {
    expect(await numbers(pcap([forth('hello'), other(), back(), forth()].map(frame)))).toEqual([1, 3, 4])
  })

  it('are found under VLANs and in tunnels, and told with them', async () => {
    const { path } = stored(pcap([vlan(forth('x')), vxlan(back()), gre(forth()), vxlan(other())]))
    const { packets, matched } = await listFlowPackets({ capturePath: path, tuple, ...whole }, 100)
    expect(matched).toBe(3)
    expect(packets.map(({ vlans, depth, src, flags, payload }) => ({ vlans, depth, src, flags, payload }))).toEqual([
      { vlans: [10, 20], depth: 0, src: '10.0.0.1', flags: 'PSH, ACK', payload: 1 },
      { vlans: [], depth: 1, src: '10.0.0.2', flags: 'ACK', payload: 0 },
      { vlans: [], depth: 1, src: '10.0.0.1', flags: 'PSH, ACK', payload: 0 },
    ])
  })

  it('are found by the outer flow of a tunnel as well', async () => {
    const outer = { src: '192.0.2.1', dst: '192.0.2.2', dstPort: 4789, protocol: 'udp' }
    expect(await numbers(pcap([vxlan(back()), frame(forth())]), { tuple: outer })).toEqual([1])
  })

  it('have all fragments of a datagram whose first one has the ports', async () => {
    const payload = udp(40_000, 53, 'x'.repeat(24))
    const fragment = (from: number, to: number, id: number) =>
      frame(
        ip4({
          src: A,
          dst: B,
          protocol: 17,
          id,
          payload: payload.subarray(from, to),
          fragment: (to < payload.length ? 0x2000 : 0) | (from / 8),
        }),
      )
    const bytes = pcap([fragment(0, 16, 7), fragment(16, 32, 7), fragment(16, 32, 8)])
    expect(
      await numbers(bytes, {
        tuple: { src: '10.0.0.1', dst: '10.0.0.2', srcPort: 40_000, dstPort: 53, protocol: 'udp' },
      }),
    ).toEqual([1, 2])
  })

  it('are of the range of time alone', async () => {
    const bytes = pcap([forth(), back(), forth()].map(frame))
    expect(await numbers(bytes, { from: START_MS + 1, to: START_MS + 1 })).toEqual([2])
  })

  it('of version 6 are found however the address is written', async () => {
    const packet = ethernet(0x86dd, ip6(`fd00${'0'.repeat(27)}1`, `fd00${'0'.repeat(27)}2`, 17, udp(1000, 2000)))
    for (const src of ['fd00::1', 'FD00:0:0:0:0:0:0:1'])
      expect(await numbers(pcap([packet]), { tuple: { src, dst: 'fd00::2' } })).toEqual([1])
  })

  it.each([pcap, pcapng])('are cut out as they are, whatever the capture’s format', async (make) => {
    const { path, dir } = stored(make([forth('hello'), other(), back()].map(frame)))
    {
      await using cut = await cutFlowPackets({ capturePath: path, tuple, ...whole }, dir)
      expect(cut.packets).toBe(2)
      const bytes = readFileSync(cut.path)
      expect(bytes.length).toBe(cut.bytes)
      expect(bytes.includes(frame(forth('hello')))).toBe(true)
      expect(bytes.includes(frame(other()))).toBe(false)
    }
    expect(readdirSync(dir)).toEqual(['capture'])
  })

  it('are none for addresses that are none', async () => {
    await expect(numbers(pcap([frame(forth())]), { tuple: { src: 'nonsense', dst: '10.0.0.2' } })).rejects.toThrow(
      /no address/,
    )
  })

  it('bear any bytes', async () => {
    const garbage = Array.from({ length: 300 }, (_, i) => {
      const bytes = vxlan(forth('payload'))
      for (let at = 12; at < bytes.length; at += 1 + (i % 13)) bytes[at] = (i * 31 + at * 7) & 255
      return bytes.subarray(0, 10 + ((i * 37) % (bytes.length - 10)))
    })
    expect((await numbers(pcap([...garbage, frame(forth())]))).at(-1)).toBe(301)
  })
})

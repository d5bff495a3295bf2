import { describe, expect, it } from 'vitest'
import { emptyPacket, type Packet } from '../../../../src/capture/packet.ts'
import { BUCKETS } from '../../../../src/engines/flows/buckets.ts'
import { finestOf, MAX_PARTS, MIN_PARTS, PARTS_FROM_BYTES, partsOf } from '../../../../src/engines/tshark/parts.ts'
import { ethernet, ip4, udp } from '../flows/packets.ts'

const packetOf = (data: Buffer, linkType = 101): Packet => ({
  ...emptyPacket(linkType),
  buffer: data,
  capLen: data.length,
  origLen: data.length,
})

const between = (src: string, dst: string, ports: [number, number] = [1000, 2000]) =>
  ip4({ src, dst, protocol: 17, payload: udp(...ports) })

const partOf = (packet: Packet) => finestOf(packet) & (MAX_PARTS - 1)

describe('the part of a packet', () => {
  it('is the same for both directions, all ports, fragments, and VLANs of two hosts', () => {
    for (let n = 0; n < 100; n++) {
      const [a, b] = [`10.0.0.${n}`, '192.0.2.1']
      const part = partOf(packetOf(between(a, b)))
      expect(partOf(packetOf(between(b, a, [53, 999])))).toBe(part)
      const fragment = ip4({ src: a, dst: b, protocol: 17, payload: Buffer.alloc(16), fragment: 100 })
      expect(partOf(packetOf(fragment))).toBe(part)
      expect(partOf(packetOf(ethernet(0x0800, between(a, b)), 1))).toBe(part)
      const tagged = ethernet(0x8100, Buffer.concat([Buffer.from('00050800', 'hex'), between(b, a)]))
      expect(partOf(packetOf(tagged, 1))).toBe(part)
    }
  })

  it('is one of so many, and pairs of hosts are spread over all of them', () => {
    const parts = new Set<number>()
    for (let n = 0; n < 16 * MAX_PARTS; n++)
      parts.add(partOf(packetOf(between(`10.0.${n >> 8}.${n & 255}`, '192.0.2.1'))))
    expect(parts.size).toBe(MAX_PARTS)
  })

  it('is one and the same for all of DHCP, whatever the addresses', () => {
    const dhcp = (src: string, dst: string, ports: [number, number]) =>
      partOf(packetOf(ethernet(0x0800, between(src, dst, ports)), 1))
    const asked = dhcp('0.0.0.0', '255.255.255.255', [68, 67])
    expect(dhcp('192.168.1.1', '192.168.1.7', [67, 68])).toBe(asked)
    expect(dhcp('10.0.0.1', '192.168.1.1', [67, 67])).toBe(asked)
  })

  it('is known of packets that are cut anywhere, and of any link type', () => {
    const whole = ethernet(0x0800, between('10.0.0.1', '10.0.0.2', [67, 68]))
    for (const linkType of [0, 1, 12, 101, 105, 113, 127, 276, 65_535])
      for (let length = 0; length <= whole.length; length++) {
        const bucket = finestOf(packetOf(whole.subarray(0, length), linkType))
        expect(bucket >= 0 && bucket < BUCKETS).toBe(true)
      }
  })
})

describe('how many parts there are', () => {
  it('follows from the size alone: a small capture is one part, parts of a large one stay small', () => {
    expect([partsOf(0), partsOf(PARTS_FROM_BYTES - 1), partsOf(PARTS_FROM_BYTES)]).toEqual([1, 1, MIN_PARTS])
    expect([partsOf(10, 11), partsOf(10, 10)]).toEqual([1, MIN_PARTS])
    for (let bytes = 40e6; bytes < 1e9; bytes *= 1.3) {
      const parts = partsOf(bytes)
      expect(Number.isInteger(Math.log2(parts))).toBe(true)
      expect(bytes / parts).toBeLessThanOrEqual(2 << 20)
    }
    expect(partsOf(1e13)).toBe(MAX_PARTS)
  })
})

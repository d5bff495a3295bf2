import { describe, expect, it } from 'vitest'
import { type Address, parseAddress } from '../../../../stages/upload/rules/address.ts'
import { communityId, protocolNumber } from '../../../../stages/upload/rules/community-id.ts'
import { COMMUNITY_ID_VECTORS } from './community-id-vectors.ts'

const flow = (src: string, dst: string, protocol: number, srcPort?: number, dstPort?: number) =>
  communityId({ src: parseAddress(src) as Address, dst: parseAddress(dst) as Address, protocol, srcPort, dstPort })

describe('the Community ID', () => {
  it.each(COMMUNITY_ID_VECTORS)(
    'is that of the specification for protocol %i of %s and %s, ports %s and %s',
    (protocol, src, dst, srcPort, dstPort, id) => {
      expect(flow(src, dst, protocol, srcPort ?? undefined, dstPort ?? undefined)).toBe(id)
    },
  )

  it('is the same for both directions, between ports of one address too', () => {
    expect(flow('10.0.0.1', '10.0.0.1', 6, 1, 2)).toBe(flow('10.0.0.1', '10.0.0.1', 6, 2, 1))
    expect(flow('::2', '::1', 17, 1, 2)).toBe(flow('::1', '::2', 17, 2, 1))
  })

  it('is absent without ports where the protocol has them, and between versions', () => {
    expect(flow('10.0.0.1', '10.0.0.2', 6)).toBeUndefined()
    expect(flow('10.0.0.1', '10.0.0.2', 6, 1, 70_000)).toBeUndefined()
    expect(flow('10.0.0.1', '::1', 6, 1, 2)).toBeUndefined()
    expect(flow('10.0.0.1', '10.0.0.2', 132, 0, 0)).toBeUndefined()
  })
})

it('a protocol is known by its name, else by the number that the record has', () => {
  expect(protocolNumber('icmp', undefined, 4)).toBe(1)
  expect(protocolNumber('icmp', 1, 6)).toBe(58)
  expect(protocolNumber('unknown_transport', 47, 4)).toBe(47)
  expect(protocolNumber('unknown_transport', undefined, 4)).toBeUndefined()
  expect(protocolNumber(undefined, 256, 4)).toBeUndefined()
  expect(protocolNumber('toString', undefined, 4)).toBeUndefined()
})

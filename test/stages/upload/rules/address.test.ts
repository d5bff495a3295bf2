import { describe, expect, it } from 'vitest'
import {
  isIn,
  networkAddress,
  PRIVATE_NETWORKS,
  parseAddress,
  parseNetwork,
} from '../../../../stages/upload/rules/address.ts'

const bits = (text: string) => parseAddress(text)?.bits.toString(16)

describe('an address', () => {
  it.each([
    ['0.0.0.0', '0'],
    ['255.255.255.255', 'ffffffff'],
    ['192.168.1.2', 'c0a80102'],
    ['::', '0'],
    ['::1', '1'],
    ['1::', '10000000000000000000000000000'],
    ['2001:DB8::ff00:42:8329', '20010db8000000000000ff0000428329'.replace(/^0+/, '')],
    ['::ffff:1.2.3.4', 'ffff01020304'],
    ['1:2:3:4:5:6:7.8.9.10', '1000200030004000500060708090a'],
    ['1:2:3:4:5:6:7::', '1000200030004000500060007' + '0000'],
    ['::2:3:4:5:6:7:8', '2000300040005000600070008'],
  ])('is read: %s', (text, hex) => {
    expect(bits(text)).toBe(hex)
  })

  it.each([
    ...[
      '',
      '1',
      '1.2.3',
      '1.2.3.4.5',
      '1.2.3.256',
      '01.2.3.4',
      '1.2.3.4 ',
      ' 1.2.3.4',
      '1.2.3.-4',
      '1.2.3.0x4',
      '1.2.3.4/8',
      '1..2.3',
      'a.b.c.d',
    ],
    ...[
      ':',
      ':::',
      '1:',
      ':1',
      '1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:8:9',
      '1::2::3',
      '12345::',
      'g::',
      '::1%eth0',
      '[::1]',
      '1:2:3:4:5:6:7:1.2.3.4',
      '::1.2.3',
      '1.2.3.4::',
      '1:2:3:4:5:6:7:8::',
      '::ffff:01.2.3.4',
    ],
  ])('is not: "%s"', (text) => {
    expect(parseAddress(text)).toBeUndefined()
  })
})

describe('a network', () => {
  const within = (ip: string, cidr: string) => isIn(parseAddress(ip) as never, [parseNetwork(cidr)])

  it('holds its first and its last address and none beside them', () => {
    expect(['10.1.255.255', '10.2.0.0', '10.3.255.255', '10.4.0.0'].map((ip) => within(ip, '10.2.7.9/15'))).toEqual([
      false,
      true,
      true,
      false,
    ])
    expect(
      ['2001:db7:ffff::', '2001:db8::', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff', '2001:db9::'].map((ip) =>
        within(ip, '2001:db8::/32'),
      ),
    ).toEqual([false, true, true, false])
  })

  it('may be one address, or all of them', () => {
    expect(within('10.0.0.1', '10.0.0.1')).toBe(true)
    expect(within('10.0.0.2', '10.0.0.1')).toBe(false)
    expect(within('255.1.2.3', '0.0.0.0/0')).toBe(true)
    expect(within('::1', '0.0.0.0/0')).toBe(false)
  })

  it.each(['', '10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/x', '10.0.0/8', '10.0.0.0/8/8', 'lan', '10.0.0.0/-1'])(
    'is not: "%s"',
    (text) => {
      expect(() => parseNetwork(text)).toThrow(expect.objectContaining({ code: 'config_invalid' }))
    },
  )
})

it('addresses that are not routed on the Internet are private, IPv4-mapped ones by their IPv4', () => {
  const isPrivate = (ip: string) => isIn(networkAddress(parseAddress(ip) as never), PRIVATE_NETWORKS)
  expect(
    [
      '10.9.9.9',
      '172.31.0.1',
      '192.168.0.1',
      '169.254.1.1',
      '127.0.0.1',
      '::1',
      'fe80::1',
      'fd12::1',
      '::ffff:10.0.0.1',
    ].map(isPrivate),
  ).not.toContain(false)
  expect(
    [
      '8.8.8.8',
      '172.32.0.1',
      '100.64.0.1',
      '224.0.0.1',
      '::',
      '2001:db8::1',
      'ff02::1',
      '::ffff:8.8.8.8',
      '::10.0.0.1',
    ].map(isPrivate),
  ).not.toContain(true)
})

/** Which addresses are local: Zeek's `Site::local_nets`, by default the private address space. */

import { PipelineError } from '../../../state/errors.ts'

/**
 * Zeek's `Site::private_address_space`, the default of `Site::local_nets`: what IANA's special-purpose address
 * registries call not globally reachable, and the multicast scopes that stay within a site.
 */
const PRIVATE_NETS = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/24',
  '239.0.0.0/8',
  '240.0.0.0/4',
  '::/128',
  '::1/128',
  '64:ff9b:1::/48',
  '100::/64',
  '2001::/23',
  '2001:db8::/32',
  'fc00::/7',
  'fe80::/10',
]

/** Says of an address, given as 32-bit words (one for IPv4, four for IPv6), whether it is local. */
export interface LocalNets {
  has4(word: number): boolean
  has6(w0: number, w1: number, w2: number, w3: number): boolean
}

interface Net {
  words: number[]
  masks: number[]
}

/** Throws `config_invalid` naming the prefix that is none. */
export function createLocalNets(prefixes: readonly string[] = PRIVATE_NETS): LocalNets {
  const nets = prefixes.map(parseNet)
  const four = nets.filter((net) => net.words.length === 1)
  const six = nets.filter((net) => net.words.length === 4)
  return {
    has4: (word) => four.some((net) => contains(net, [word])),
    has6: (w0, w1, w2, w3) => six.some((net) => contains(net, [w0, w1, w2, w3])),
  }
}

function contains({ words, masks }: Net, address: number[]): boolean {
  return words.every((word, i) => (((address[i] as number) ^ word) & (masks[i] as number)) === 0)
}

function parseNet(prefix: string): Net {
  const [address = '', bits = ''] = prefix.split('/')
  const words = address.includes(':') ? parse6(address) : parse4(address)
  const length = bits === '' ? 32 * (words?.length ?? 0) : Number(bits)
  if (!words || !Number.isInteger(length) || length < 0 || length > words.length * 32) {
    throw new PipelineError('config_invalid', `${prefix} is not a network prefix such as 10.0.0.0/8 or fc00::/7`)
  }
  return { words, masks: words.map((_, i) => maskWord(length - i * 32)) }
}

function maskWord(bits: number): number {
  if (bits <= 0) return 0
  return bits >= 32 ? -1 : -1 << (32 - bits)
}

function parse4(text: string): number[] | undefined {
  const parts = text.split('.').map(Number)
  if (parts.length !== 4 || parts.some((n) => !Number.isInteger(n) || n < 0 || n > 255)) return undefined
  return [parts.reduce((word, n) => (word << 8) | n, 0)]
}

function parse6(text: string): number[] | undefined {
  const [head = '', tail, more] = text.split('::')
  if (more !== undefined) return undefined
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const missing = 8 - left.length - right.length
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined
  const groups = [...left, ...Array<string>(missing).fill('0'), ...right].map((group) => Number.parseInt(group, 16))
  if (groups.some((n) => !(n >= 0 && n <= 0xffff))) return undefined
  return [0, 2, 4, 6].map((i) => ((groups[i] as number) << 16) | (groups[i + 1] as number))
}

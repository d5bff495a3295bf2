/** Community ID v1 of a flow (https://github.com/corelight/community-id-spec), seed 0. */

import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import { icmpAnswer } from './icmp.ts'
import type { Flow } from './types.ts'

export function communityId({ orig, resp, ipProto, transport }: Flow): string {
  const a = addressBytes(orig.address)
  const b = addressBytes(resp.address)
  const oneWay = transport === 'icmp' && icmpAnswer(ipProto === 58, orig.port) === undefined
  const order = a.compare(b) || orig.port - resp.port
  const [first, second, firstPort, secondPort] =
    order <= 0 || oneWay ? [a, b, orig.port, resp.port] : [b, a, resp.port, orig.port]
  const ports = Buffer.alloc(transport === 'unknown_transport' ? 0 : 4)
  if (ports.length > 0) {
    ports.writeUInt16BE(firstPort, 0)
    ports.writeUInt16BE(secondPort, 2)
  }
  const input = Buffer.concat([Buffer.from([0, 0]), first, second, Buffer.from([ipProto, 0]), ports])
  return `1:${createHash('sha1').update(input).digest('base64')}`
}

function addressBytes(address: string): Buffer {
  return isIPv6(address) ? bytes6(address) : Buffer.from(address.split('.').map(Number))
}

function bytes6(address: string): Buffer {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address)
  const hex = (high: string | undefined, low: string | undefined) => (Number(high) * 256 + Number(low)).toString(16)
  const plain = dotted ? `${dotted[1]}${hex(dotted[2], dotted[3])}:${hex(dotted[4], dotted[5])}` : address
  const [head = '', tail = ''] = plain.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === '' ? [] : tail.split(':')
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  const bytes = Buffer.alloc(16)
  for (const [i, group] of groups.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), i * 2)
  return bytes
}

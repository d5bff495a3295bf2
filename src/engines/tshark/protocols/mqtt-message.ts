/** The bodies of MQTT's control packets (MQTT 3.1.1 and 5.0, chapter 3). Bytes in, their parts out; cut ones give undefined. */

import { textOf } from './text.ts'

export interface Connect {
  protocol: string
  version: number
  clientId: string
  willTopic?: string
  willPayload?: string
}

const WILL = 4
const MAX_TOPICS = 1000

/** Two bytes of length, then as many. */
function field(bytes: Buffer, at: number): { value: Buffer; next: number } | undefined {
  if (at + 2 > bytes.length) return undefined
  const next = at + 2 + bytes.readUInt16BE(at)
  return next > bytes.length ? undefined : { value: bytes.subarray(at + 2, next), next }
}

/** Properties (5.0 alone): their length in bytes of seven bits, then as many bytes. */
export function skipProperties(bytes: Buffer, at: number): number | undefined {
  let length = 0
  for (let i = 0; i < 4; i++) {
    const byte = bytes[at + i]
    if (byte === undefined) return undefined
    length += (byte & 0x7f) * 128 ** i
    if (byte < 0x80) return at + i + 1 + length
  }
  return undefined
}

export function parseConnect(body: Buffer): Connect | undefined {
  const protocol = field(body, 0)
  if (protocol === undefined || protocol.next + 4 > body.length) return undefined
  const version = body[protocol.next] as number
  const flags = body[protocol.next + 1] as number
  const isFive = version === 5
  const start = isFive ? skipProperties(body, protocol.next + 4) : protocol.next + 4
  const clientId = start === undefined ? undefined : field(body, start)
  if (clientId === undefined) return undefined
  const connect: Connect = { protocol: textOf(protocol.value), version, clientId: textOf(clientId.value) }
  if ((flags & WILL) === 0) return connect
  const willAt = isFive ? skipProperties(body, clientId.next) : clientId.next
  const topic = willAt === undefined ? undefined : field(body, willAt)
  const payload = topic === undefined ? undefined : field(body, topic.next)
  if (topic !== undefined) connect.willTopic = textOf(topic.value)
  if (payload !== undefined) connect.willPayload = textOf(payload.value)
  return connect
}

export function parsePublish(
  body: Buffer,
  hasId: boolean,
  hasProperties: boolean,
): { topic: Buffer; id: number; payloadAt: number } | undefined {
  const topic = field(body, 0)
  if (topic === undefined || (hasId && topic.next + 2 > body.length)) return undefined
  const id = hasId ? body.readUInt16BE(topic.next) : 0
  const behindId = topic.next + (hasId ? 2 : 0)
  const payloadAt = hasProperties ? skipProperties(body, behindId) : behindId
  return payloadAt === undefined ? undefined : { topic: topic.value, id, payloadAt }
}

export function parseTopics(body: Buffer, start: number, withQos: boolean): { topic: string; qos: number }[] {
  const topics: { topic: string; qos: number }[] = []
  for (let at = start; topics.length < MAX_TOPICS; ) {
    const topic = field(body, at)
    if (topic === undefined) break
    const options = withQos ? body[topic.next] : 0
    if (options === undefined) break
    // The upper bits are options of version 5.
    topics.push({ topic: textOf(topic.value), qos: options & 3 })
    at = topic.next + (withQos ? 1 : 0)
  }
  return topics
}

/**
 * MQTT 3.1, 3.1.1 and 5.0 (OASIS): an mqtt_connect record for an answered CONNECT; an mqtt_publish record for
 * each message, when it has been delivered as its quality of service wants; an mqtt_subscribe record for each
 * request of topics, when it was acknowledged. What was not answered is written at the flow's end.
 */

import { createFramedReader } from './framed.ts'
import { type Connect, parseConnect, parsePublish, parseTopics, skipProperties } from './mqtt-message.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'
import { textOf } from './text.ts'

const VERSIONS: Record<number, string> = { 3: '3.1', 4: '3.1.1', 5: '5.0' }
const QOS = ['at most once', 'at least once', 'exactly once']
const CONNECT_STATUS = [
  'Connection Accepted',
  'Refused: unacceptable protocol version',
  'Refused: identifier rejected',
  'Refused: server unavailable',
  'Refused: bad user name or password',
  'Refused: not authorized',
]
/** How a CONNECT begins: with its protocol's name, and that with its length. */
const PROTOCOL_NAMES = [Buffer.from('\0\x04MQTT'), Buffer.from('\0\x06MQIsdp')]
/** Zeek's `MQTT::max_payload_size`. */
const MAX_PAYLOAD_BYTES = 100
const MAX_PENDING = 1000
const VERSION_5 = 5

export const mqtt: Protocol = {
  name: 'mqtt',
  logs: ['mqtt_connect', 'mqtt_publish', 'mqtt_subscribe'],
  tcpPorts: [1883],
  recognize(originator, _responder, transport) {
    if (transport !== 'tcp') return false
    if (originator.length > 0 && originator[0] !== 0x10) return false
    if (originator.length < 14) return undefined
    const start = fixedHeaderBytes(originator.subarray(0, 5))
    return PROTOCOL_NAMES.some((name) => originator.subarray(start, start + name.length).equals(name))
  },
  dissect: createMqtt,
}

interface Publish {
  ts: number
  fromClient: boolean
  retain: boolean
  qos: number
  topic: string
  payload: string
  payloadLength: number
}

interface Subscribe {
  ts: number
  action: 'MQTT::SUBSCRIBE' | 'MQTT::UNSUBSCRIBE'
  topics: string[]
  qosLevels?: number[]
}

function createMqtt(session: Session): Dissector {
  let connect: (Connect & { ts: number }) | undefined
  let version = 0
  /** By sender and packet identifier. */
  const publishes = new Map<string, Publish>()
  const subscribes = new Map<number, Subscribe>()

  function writeConnect(status: number): void {
    if (connect === undefined) return
    session.emit('mqtt_connect', connect.ts, {
      proto_name: connect.protocol,
      proto_version: VERSIONS[connect.version] ?? `unknown-${connect.version}`,
      client_id: connect.clientId,
      connect_status: CONNECT_STATUS[status] ?? `unknown-${status}`,
      will_topic: connect.willTopic,
      will_payload: connect.willPayload,
    })
    connect = undefined
  }

  function writePublish(publish: Publish | undefined, status = 'ok'): void {
    if (publish === undefined) return
    session.emit('mqtt_publish', publish.ts, {
      from_client: publish.fromClient,
      retain: publish.retain,
      qos: QOS[publish.qos] ?? `unknown-${publish.qos}`,
      status,
      topic: publish.topic,
      payload: publish.payload,
      payload_len: publish.payloadLength,
    })
  }

  function writeSubscribe(subscribe: Subscribe | undefined, ack: boolean, granted?: number): void {
    if (subscribe === undefined) return
    session.emit('mqtt_subscribe', subscribe.ts, {
      action: subscribe.action,
      topics: subscribe.topics,
      qos_levels: subscribe.qosLevels,
      granted_qos_level: granted,
      ack,
    })
  }

  function publish(flags: number, body: Buffer, length: number, fromClient: boolean, ts: number): void {
    const qos = (flags >> 1) & 3
    const parsed = parsePublish(body, qos > 0, version === VERSION_5)
    if (parsed === undefined) return
    const payloadLength = length - parsed.payloadAt
    const entry: Publish = {
      ts,
      fromClient,
      retain: (flags & 1) !== 0,
      qos,
      topic: textOf(parsed.topic),
      payload: textOf(body.subarray(parsed.payloadAt, parsed.payloadAt + MAX_PAYLOAD_BYTES)),
      payloadLength,
    }
    if (qos === 0) writePublish(entry)
    else remember(`${fromClient} ${parsed.id}`, entry)
  }

  function remember(key: string, entry: Publish): void {
    publishes.set(key, entry)
    if (publishes.size <= MAX_PENDING) return
    const [oldest] = publishes.keys()
    writePublish(publishes.get(oldest as string), `incomplete_qos${publishes.get(oldest as string)?.qos}`)
    publishes.delete(oldest as string)
  }

  /** The receiver of a message has confirmed it. */
  function delivered(body: Buffer, toClient: boolean): void {
    if (body.length < 2) return
    const key = `${!toClient} ${body.readUInt16BE(0)}`
    writePublish(publishes.get(key))
    publishes.delete(key)
  }

  function topics(action: Subscribe['action'], body: Buffer, ts: number): void {
    if (body.length < 2 || subscribes.size >= MAX_PENDING) return
    const start = version === VERSION_5 ? skipProperties(body, 2) : 2
    if (start === undefined) return
    const withQos = action === 'MQTT::SUBSCRIBE'
    const parsed = parseTopics(body, start, withQos)
    const qosLevels = withQos ? parsed.map(({ qos }) => qos) : undefined
    subscribes.set(body.readUInt16BE(0), { ts, action, topics: parsed.map(({ topic }) => topic), qosLevels })
  }

  function acknowledged(body: Buffer, granting: boolean): void {
    if (body.length < 2) return
    const id = body.readUInt16BE(0)
    const granted = granting ? body[(version === VERSION_5 ? skipProperties(body, 2) : 2) ?? 2] : undefined
    writeSubscribe(subscribes.get(id), true, granted)
    subscribes.delete(id)
  }

  type Handler = (body: Buffer, ts: number, fromClient: boolean, flags: number, length: number) => void
  /** By control packet type (MQTT 5.0, 2.1.2). */
  const packets: Record<number, Handler> = {
    1(body, ts) {
      const parsed = parseConnect(body)
      if (parsed === undefined) return
      version = parsed.version
      connect = { ts, ...parsed }
    },
    2(body) {
      session.confirm('mqtt')
      if (body.length >= 2) writeConnect(body[1] as number)
    },
    3: (body, ts, fromClient, flags, length) => publish(flags, body, length, fromClient, ts),
    4: (body, _ts, fromClient) => delivered(body, fromClient),
    7: (body, _ts, fromClient) => delivered(body, fromClient),
    8: (body, ts) => topics('MQTT::SUBSCRIBE', body, ts),
    9: (body) => acknowledged(body, true),
    10: (body, ts) => topics('MQTT::UNSUBSCRIBE', body, ts),
    11: (body) => acknowledged(body, false),
  }

  const sides = [true, false].map((fromClient) =>
    createFramedReader({
      headerBytes: fixedHeaderBytes,
      bodyLength: remainingLength,
      onFrame({ header, length, body }, ts) {
        const first = header[0] as number
        packets[first >> 4]?.(body, ts, fromClient, first & 15, length)
        return undefined
      },
      maxKept: 65536,
    }),
  )

  return {
    data: (fromOriginator, bytes, ts) => sides[fromOriginator ? 0 : 1]?.data(bytes, ts),
    gap: (fromOriginator, length) => sides[fromOriginator ? 0 : 1]?.lost(length),
    end() {
      for (const entry of publishes.values()) writePublish(entry, `incomplete_qos${entry.qos}`)
      for (const entry of subscribes.values()) writeSubscribe(entry, false)
      publishes.clear()
      subscribes.clear()
    },
  }
}

/** A byte of type and flags, then the length in one to four bytes of seven bits, the lowest first. */
function fixedHeaderBytes(begun: Buffer): number {
  for (let i = 1; i < Math.min(begun.length, 5); i++) if ((begun[i] as number) < 0x80) return i + 1
  return Math.min(5, Math.max(2, begun.length + 1))
}

function remainingLength(header: Buffer): number | undefined {
  const type = (header[0] as number) >> 4
  if (type === 0 || (header[header.length - 1] as number) >= 0x80) return undefined
  let length = 0
  for (let i = header.length - 1; i >= 1; i--) length = length * 128 + ((header[i] as number) & 0x7f)
  return length
}

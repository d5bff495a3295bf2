import { describe, expect, it } from 'vitest'
import { mqtt } from '../../../../../src/engines/tshark/protocols/mqtt.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const PORT = { respPort: 1883 }

function packet(first: number, ...parts: (string | number[])[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part as string)))
  const length: number[] = []
  for (let left = body.length; length.length === 0 || left > 0; left >>= 7)
    length.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0))
  return Buffer.concat([Buffer.from([first, ...length]), body])
}
const field = (text: string) => `${String.fromCharCode(text.length >> 8, text.length & 0xff)}${text}`

const CONNECT = packet(0x10, field('MQTT'), [4, 2, 0, 60], field('client-1'))
const CONNACK = packet(0x20, [0, 0])

describe('MQTT', () => {
  it('writes a connection when it is answered, with its last will', () => {
    const { flow, rows } = stage([mqtt])
    const connect = packet(0x10, field('MQIsdp'), [3, 0x26, 0, 60], field('c'), field('status'), field('gone'))
    const session = flow(PORT).client(connect, 1)
    expect(session.services()).toEqual([])
    session.server(packet(0x20, [0, 5]), 2).end()
    flow(PORT).client(CONNECT, 3).end()
    expect(session.services()).toEqual(['mqtt'])
    expect(rows('mqtt_connect')).toEqual([
      {
        ts: 1,
        proto_name: 'MQIsdp',
        proto_version: '3.1',
        client_id: 'c',
        connect_status: 'Refused: not authorized',
        will_topic: 'status',
        will_payload: 'gone',
      },
    ])
  })

  it('writes a message once it is delivered as its quality of service wants', () => {
    const { flow, rows } = stage([mqtt])
    const session = flow(PORT).client(CONNECT).server(CONNACK)
    session.client(packet(0x31, field('a'), 'x'.repeat(300)), 10)
    session.server(packet(0x32, field('b'), [0, 7], 'one'), 11).client(packet(0x34, field('c'), [0, 7], 'two'), 12)
    session
      .client(packet(0x40, [0, 7]), 13)
      .server(packet(0x50, [0, 7]))
      .client(packet(0x62, [0, 7]))
      .server(packet(0x70, [0, 7]))
    session.client(packet(0x32, field('d'), [0, 8], 'never'), 20).end()
    const common = { from_client: true, retain: false }
    expect(rows('mqtt_publish')).toEqual([
      {
        ts: 10,
        from_client: true,
        retain: true,
        qos: 'at most once',
        status: 'ok',
        topic: 'a',
        payload: 'x'.repeat(100),
        payload_len: 300,
      },
      {
        ts: 11,
        from_client: false,
        retain: false,
        qos: 'at least once',
        status: 'ok',
        topic: 'b',
        payload: 'one',
        payload_len: 3,
      },
      { ts: 12, ...common, qos: 'exactly once', status: 'ok', topic: 'c', payload: 'two', payload_len: 3 },
      {
        ts: 20,
        ...common,
        qos: 'at least once',
        status: 'incomplete_qos1',
        topic: 'd',
        payload: 'never',
        payload_len: 5,
      },
    ])
  })

  it('writes subscriptions and their end when they are acknowledged, or at the end', () => {
    const { flow, rows } = stage([mqtt])
    const session = flow(PORT).client(CONNECT).server(CONNACK)
    session.client(packet(0x82, [0, 1], field('a/#'), [1], field('b'), [0]), 5).server(packet(0x90, [0, 1, 1, 0]), 6)
    session.client(packet(0xa2, [0, 2], field('b')), 7).server(packet(0xb0, [0, 2]), 8)
    session.client(packet(0x82, [0, 3], field('c'), [2]), 9).end()
    expect(rows('mqtt_subscribe')).toEqual([
      { ts: 5, action: 'MQTT::SUBSCRIBE', topics: ['a/#', 'b'], qos_levels: [1, 0], granted_qos_level: 1, ack: true },
      { ts: 7, action: 'MQTT::UNSUBSCRIBE', topics: ['b'], ack: true },
      { ts: 9, action: 'MQTT::SUBSCRIBE', topics: ['c'], qos_levels: [2], ack: false },
    ])
  })

  it('passes over the properties of version 5', () => {
    const { flow, rows } = stage([mqtt])
    const connect = packet(0x10, field('MQTT'), [5, 2, 0, 60, 5, 0x11, 0, 0, 0, 1], field('five'))
    const session = flow(PORT)
      .client(connect)
      .server(packet(0x20, [0, 0, 0]))
    session.client(packet(0x30, field('t'), [2, 1, 1], 'hello')).client(packet(0x82, [0, 1, 0], field('t'), [0x2d]))
    session.server(packet(0x90, [0, 1, 0, 1])).end()
    expect(rows('mqtt_connect')).toMatchObject([{ proto_version: '5.0', client_id: 'five' }])
    expect(rows('mqtt_publish')).toMatchObject([{ payload: 'hello', payload_len: 5 }])
    expect(rows('mqtt_subscribe')).toMatchObject([{ qos_levels: [1], granted_qos_level: 1 }])
  })

  it('is recognized elsewhere, from single bytes', () => {
    const { flow, rows } = stage([mqtt])
    const session = flow({ respPort: 8000 })
    for (const byte of CONNECT) session.client(Buffer.from([byte]))
    session.server(CONNACK).end()
    expect(rows('mqtt_connect')).toMatchObject([{ client_id: 'client-1', connect_status: 'Connection Accepted' }])
  })

  it('survives damaged packets, and lengths without end', () => {
    const { flow, faults, rows } = stage([mqtt])
    for (const bytes of damaged(CONNECT)) flow(PORT).client(bytes).server(CONNACK).end()
    for (const bytes of damaged(packet(0x82, [0, 1], field('a/#'), [1]))) flow(PORT).client(bytes).end()
    for (const bytes of damaged(packet(0x32, field('b'), [0, 7], 'one')))
      flow(PORT)
        .client(bytes)
        .server(packet(0x40, [0, 7]))
        .end()
    const before = rows('mqtt_connect').length
    flow(PORT)
      .client(Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 1]))
      .client(CONNECT)
      .server(CONNACK)
      .end()
    expect(rows('mqtt_connect')).toHaveLength(before)
    expect(faults).toEqual([])
  })
})

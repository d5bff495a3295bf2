import { describe, expect, it } from 'vitest'
import { sip } from '../../../../../src/engines/tshark/protocols/sip.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const message = (...lines: string[]) => `${lines.join('\r\n')}\r\n\r\n`
const VIA = 'Via: SIP/2.0/UDP pc.example.com;rport;branch=z9hG4bK1'
const INVITE = message(
  'INVITE sip:bob@example.com SIP/2.0',
  VIA,
  'From: Alice <sip:alice@example.com>;tag=1',
  'To: <sip:bob@example.com>',
  'Call-ID: 1@pc.example.com',
  'CSeq: 1 INVITE',
  'User-Agent: phone 1.0',
  'Subject: tea',
  'Content-Type: application/sdp',
  'Content-Length: 4',
).concat('v=0\n')
const answer = (line: string, ...more: string[]) =>
  message(
    `SIP/2.0 ${line}`,
    VIA,
    'From: Alice <sip:alice@example.com>;tag=1',
    'To: <sip:bob@example.com>;tag=2',
    ...more,
  )

const UDP = { transport: 'udp', respPort: 5060 } as const
const REQUESTED = {
  ts: 1,
  trans_depth: 0,
  method: 'INVITE',
  uri: 'sip:bob@example.com',
  request_from: 'Alice <sip:alice@example.com>',
  request_to: '<sip:bob@example.com>',
  call_id: '1@pc.example.com',
  seq: '1 INVITE',
  subject: 'tea',
  request_path: ['SIP/2.0/UDP pc.example.com;rport'],
  user_agent: 'phone 1.0',
  request_body_len: 4,
}

describe('SIP', () => {
  it('writes a record for each response, the provisional ones too, with what the request said', () => {
    const { flow, rows } = stage([sip])
    const call = flow(UDP).client(INVITE, 1).server(answer('180 Ringing', 'Content-Length: 0'), 2)
    call.server(answer('200 OK', 'Content-Length: 129', 'Content-Type: application/sdp'), 3).end()
    expect(call.services()).toEqual(['sip'])
    const hop = 'SIP/2.0/UDP pc.example.com;rport'
    const responded = { response_from: 'Alice <sip:alice@example.com>', response_to: '<sip:bob@example.com>;tag=2' }
    expect(rows('sip')).toEqual([
      {
        ...REQUESTED,
        ...responded,
        response_path: [hop],
        status_code: 180,
        status_msg: 'Ringing',
        response_body_len: 0,
      },
      {
        ...REQUESTED,
        ...responded,
        response_path: [hop, hop],
        status_code: 200,
        status_msg: 'OK',
        response_body_len: 129,
        content_type: 'application/sdp',
      },
    ])
  })

  it('begins anew behind a final response, and takes a request that follows no final one into the same record', () => {
    const { flow, rows } = stage([sip])
    const call = flow(UDP).client(INVITE, 1).client(INVITE, 2).server(answer('486 Busy Here'), 3)
    call.client(message('ACK sip:bob@example.com SIP/2.0', VIA), 4).end()
    expect(rows('sip')).toMatchObject([
      { ts: 1, method: 'INVITE', status_code: 486, request_path: [expect.any(String), expect.any(String)] },
      { ts: 4, method: 'ACK', response_path: [] },
    ])
    expect(rows('sip')[1]).not.toHaveProperty('status_code')
  })

  it('writes once more at the end what had no final response', () => {
    const { flow, rows } = stage([sip])
    flow(UDP).client(INVITE, 1).server(answer('100 Trying'), 2).end()
    expect(rows('sip')).toMatchObject([
      { ts: 1, status_code: 100 },
      { ts: 1, status_code: 100 },
    ])
  })

  it('reads compact names, the date of a request alone, and tells of a method that it does not know', () => {
    const { flow, rows } = stage([sip])
    const request = message(
      'PUBLISH sip:a SIP/2.0',
      'v: SIP/2.0/UDP h;branch=z9',
      'f: sip:a; tag=1',
      't: sip:b',
      's: hi',
      'l: 0',
    )
    flow(UDP)
      .client(request, 1)
      .server(message('SIP/2.0 200 OK', 'Date: Thu', 'c: text/plain', 'f: sip:a;tag=1', 'l: 7'), 2)
      .end()
    expect(rows('sip')).toMatchObject([
      {
        method: 'PUBLISH',
        request_from: 'sip:a',
        request_to: 'sip:b',
        subject: 'hi',
        request_path: ['SIP/2.0/UDP h'],
        request_body_len: 0,
        response_from: 'sip:a',
        response_body_len: 7,
        content_type: 'text/plain',
      },
    ])
    expect(rows('sip')[0]).not.toHaveProperty('date')
    expect(rows('weird')).toMatchObject([{ name: 'unknown_SIP_method', addl: 'PUBLISH' }])
  })

  it('is no service before it was answered, and tells of junk in front of a request', () => {
    const { flow, rows } = stage([sip])
    const call = flow(UDP).client('\0\0').client(message('REGISTER sip:example.com SIP/2.0')).end()
    expect(call.services()).toEqual([])
    expect(rows('weird')).toMatchObject([{ name: 'sip_junk_before_request', addl: '\\x00\\x00' }])
    expect(rows('sip')).toMatchObject([{ method: 'REGISTER', request_path: [], response_path: [] }])
  })

  it('is recognized on other ports by either first line, and is nothing over TCP', () => {
    const { flow, rows } = stage([sip])
    flow({ transport: 'udp', respPort: 5080 }).client(INVITE).end()
    flow({ respPort: 5080 }).client(INVITE).end()
    expect(rows('sip')).toHaveLength(1)
  })

  it('takes a body length that is no number for zero', () => {
    const { flow, rows } = stage([sip])
    flow(UDP).client(message('BYE sip:x SIP/2.0', 'Content-Length: many')).end()
    expect(rows('sip')).toMatchObject([{ request_body_len: 0 }])
  })

  it('survives damaged messages', () => {
    const { flow, faults } = stage([sip])
    const call = flow(UDP)
    for (const bytes of damaged(Buffer.from(INVITE))) call.client(bytes)
    for (const bytes of damaged(Buffer.from(answer('200 OK')))) call.server(bytes)
    call.end()
    expect(faults).toEqual([])
  })
})

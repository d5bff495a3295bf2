import { describe, expect, it } from 'vitest'
import { dns } from '../../../../../src/engines/tshark/protocols/dns.ts'
import { netbiosName, parseDns } from '../../../../../src/engines/tshark/protocols/dns-message.ts'
import { stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const u16 = (value: number) => Buffer.from([value >> 8, value & 255])
const u32 = (value: number) => Buffer.concat([u16(Math.floor(value / 65536)), u16(value % 65536)])
const name = (text: string) =>
  Buffer.concat([
    ...text
      .split('.')
      .filter(Boolean)
      .map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')])),
    Buffer.from([0]),
  ])

interface Message {
  id?: number
  flags?: number
  questions?: [string, number][]
  answers?: Buffer[]
  authorities?: Buffer[]
  additionals?: Buffer[]
}

function message({
  id = 7,
  flags = 0x0100,
  questions = [],
  answers = [],
  authorities = [],
  additionals = [],
}: Message): Buffer {
  const counts = [questions, answers, authorities, additionals].map((list) => u16(list.length))
  const asked = questions.map(([host, type]) => Buffer.concat([name(host), u16(type), u16(1)]))
  return Buffer.concat([u16(id), u16(flags), ...counts, ...asked, ...answers, ...authorities, ...additionals])
}

const record = (owner: Buffer | string, type: number, data: Buffer, ttl = 60, cls = 1) =>
  Buffer.concat([
    typeof owner === 'string' ? name(owner) : owner,
    u16(type),
    u16(cls),
    u32(ttl),
    u16(data.length),
    data,
  ])

const POINTER = Buffer.from([0xc0, 12])
const RESPONSE = 0x8180
const A = (bytes: number[], ttl?: number) => record(POINTER, 1, Buffer.from(bytes), ttl)

const scene = (flow = {}) => {
  const theStage = stage([dns])
  return { ...theStage, flow: theStage.flow({ respPort: 53, transport: 'udp', ...flow }) }
}

describe('DNS', () => {
  it('logs a query with its response, in the order of Zeek’s columns', () => {
    const { flow, rows } = scene()
    flow.client(message({ questions: [['WWW.Example.com', 1]] }), 10)
    flow
      .server(
        message({
          flags: 0x8580,
          questions: [['www.example.com', 1]],
          answers: [record(POINTER, 5, name('web.example.com'), 300), A([192, 0, 2, 1])],
        }),
        10.5,
      )
      .end()
    expect(rows('dns')).toEqual([
      {
        ts: 10,
        proto: 'udp',
        trans_id: 7,
        rtt: 0.5,
        query: 'www.example.com',
        qclass: 1,
        qclass_name: 'C_INTERNET',
        qtype: 1,
        qtype_name: 'A',
        rcode: 0,
        rcode_name: 'NOERROR',
        AA: true,
        TC: false,
        RD: true,
        RA: true,
        Z: 0,
        answers: ['web.example.com', '192.0.2.1'],
        TTLs: [300, 60],
        rejected: false,
        opcode: 0,
        opcode_name: 'query',
      },
    ])
    expect(flow.services()).toEqual(['dns'])
  })

  it('pairs by id, the oldest first, and logs queries without a response at the end', () => {
    const { flow, rows } = scene()
    flow
      .client(message({ id: 1, questions: [['a', 1]] }))
      .client(message({ id: 2, questions: [['b', 28]] }))
      .client(message({ id: 1, questions: [['a', 1]] }))
    flow.server(message({ id: 1, flags: RESPONSE, questions: [['a', 1]], answers: [A([1, 2, 3, 4])] })).end()
    expect(rows('dns').map(({ trans_id, ts, rcode }) => [trans_id, ts, rcode])).toEqual([
      [1, 1, 0],
      [1, 3, undefined],
      [2, 2, undefined],
    ])
  })

  it('pairs a response with the query that comes after it', () => {
    const { flow, rows } = scene({ respPort: 5353 })
    flow.client(message({ id: 0, flags: 0x8400, answers: [record('host.local', 1, Buffer.from([10, 0, 0, 1]))] }), 5)
    flow.client(message({ id: 0, flags: 0, questions: [['_http._tcp.local', 12]] }), 6)
    expect(rows('dns')).toMatchObject([
      { ts: 5, query: '_http._tcp.local', qtype_name: 'PTR', rcode: 0, AA: true, answers: ['10.0.0.1'] },
    ])
    flow.client(message({ id: 0, flags: 0x8400, answers: [record('a.local', 1, Buffer.from([10, 0, 0, 1]))] }), 7).end()
    expect(rows('dns').slice(1)).toMatchObject([{ ts: 7, query: 'a.local', answers: ['10.0.0.1'] }])
  })

  it('gives up what waits once there are too many of it', () => {
    const { flow, rows } = scene()
    for (let id = 1; id <= 53; id++) flow.client(message({ id, questions: [[`q${id}`, 1]] }), id)
    expect(rows('dns')).toHaveLength(51)
    flow.server(message({ id: 2, flags: RESPONSE, questions: [['q2', 1]], answers: [A([1, 2, 3, 4])] }), 60).end()
    const ofTwo = rows('dns').filter(({ trans_id }) => trans_id === 2)
    expect(ofTwo.map(({ ts, answers }) => [ts, answers])).toEqual([
      [2, undefined],
      [60, ['1.2.3.4']],
    ])
  })

  it('names the types of answers that it does not know', () => {
    const { flow, rows } = scene()
    const tlsa = record(POINTER, 52, Buffer.from([3, 1, 1, 0xab]))
    flow.client(message({ questions: [['a.example', 52]] }))
    flow
      .server(message({ flags: RESPONSE, questions: [['a.example', 52]], answers: [tlsa], authorities: [tlsa] }))
      .end()
    expect(rows('dns')).toMatchObject([{ answers: ['<unknown type=52>'], TTLs: [60] }])
    expect(rows('weird')).toMatchObject([{ name: 'DNS_RR_unknown_type', addl: '52', source: 'DNS' }])
  })

  it('reads neither authorities nor additional records, whatever is wrong with them', () => {
    const { flow, rows } = scene()
    const empty = record('x.example', 16, Buffer.alloc(0))
    flow.client(message({ questions: [['a.example', 1]] }))
    flow
      .server(
        message({
          flags: RESPONSE,
          questions: [['a.example', 1]],
          answers: [A([1, 2, 3, 4])],
          authorities: [empty],
          additionals: [empty],
        }),
      )
      .end()
    expect(rows('weird')).toEqual([])
  })

  it('stops at an address of another length, and at an answer without data', () => {
    const { flow, rows } = scene()
    flow.client(message({ questions: [['a.example', 1]] }))
    const odd = record(POINTER, 1, Buffer.from([1, 2, 3]))
    flow.server(message({ flags: RESPONSE, questions: [['a.example', 1]], answers: [odd, A([1, 2, 3, 4])] }))
    flow.client(message({ questions: [['a.example', 1]] }))
    const none = record(POINTER, 16, Buffer.alloc(0))
    flow.server(message({ flags: RESPONSE, questions: [['a.example', 1]], answers: [none, A([1, 2, 3, 4])] })).end()
    expect(rows('dns').map(({ answers }) => answers)).toEqual([undefined, undefined])
    expect(rows('weird').map((weird) => weird.name)).toEqual(['DNS_RR_bad_length', 'DNS_zero_rdlength'])
  })

  it('logs the root’s name as an empty query, and never as an answer', () => {
    const { flow, rows } = scene()
    flow.client(message({ questions: [['', 2]] }))
    flow
      .server(
        message({
          flags: RESPONSE,
          questions: [['', 2]],
          answers: [record('', 2, name('a.root')), record('', 2, name(''))],
        }),
      )
      .end()
    expect(rows('dns')).toMatchObject([{ query: '', answers: ['a.root'], TTLs: [60] }])
  })

  it('takes a message with too many questions for no DNS', () => {
    const { flow, rows } = scene()
    flow.client(Buffer.alloc(40, 0x2e)).end()
    expect(rows('weird')).toMatchObject([{ name: 'DNS_Conn_count_too_large' }])
    expect(flow.services()).toEqual([])
  })

  it('says of a response without any record that the query was rejected', () => {
    const { flow, rows } = scene()
    flow
      .client(message({ questions: [['no.example', 1]] }))
      .server(message({ flags: 0x8183, questions: [['no.example', 1]] }))
      .end()
    expect(rows('dns')).toMatchObject([{ rcode: 3, rcode_name: 'NXDOMAIN', rejected: true }])
    expect(rows('dns')[0]).not.toHaveProperty('rtt')
  })

  it('logs a response to which there is no query by the names in it', () => {
    const { flow, rows } = scene()
    flow.server(message({ flags: RESPONSE, questions: [['x.example', 1]], answers: [A([192, 0, 2, 1])] }), 5).end()
    expect(rows('dns')).toMatchObject([{ ts: 5, query: 'x.example', answers: ['192.0.2.1'] }])
    expect(rows('dns')[0]).not.toHaveProperty('qtype')
  })

  it('takes TCP’s messages apart, wherever they are cut', () => {
    const frame = (bytes: Buffer) => Buffer.concat([u16(bytes.length), bytes])
    const stream = Buffer.concat([1, 2, 3].map((id) => frame(message({ id, questions: [['a.example', 1]] }))))
    for (const size of [1, 10, 1000]) {
      const { flow, rows } = scene({ transport: 'tcp' })
      for (let at = 0; at < stream.length; at += size) flow.client(stream.subarray(at, at + size))
      flow.end()
      expect(rows('dns').map(({ trans_id, proto }) => [trans_id, proto])).toEqual([1, 2, 3].map((id) => [id, 'tcp']))
    }
  })

  it('reads NetBIOS names in their two letters a byte', () => {
    expect(netbiosName('FHFAEBEECACACACACACACACACACACAAA')).toBe('WPAD')
    const { flow, rows } = scene({ respPort: 137 })
    flow.client(message({ questions: [['FHFAEBEECACACACACACACACACACACAAA', 32]] })).end()
    expect(rows('dns')).toMatchObject([{ query: 'WPAD', opcode_name: 'netbios-query' }])
  })

  it.each<[string, number, Buffer, string]>([
    ['AAAA', 28, Buffer.from('20010db8000000000000000000000001', 'hex'), '2001:db8::1'],
    ['MX', 15, Buffer.concat([u16(10), name('mail.example')]), 'mail.example'],
    ['SRV', 33, Buffer.concat([u16(1), u16(2), u16(80), name('web.example')]), 'web.example'],
    ['SOA', 6, Buffer.concat([name('ns.example'), name('admin.example'), Buffer.alloc(20)]), 'ns.example'],
    ['TXT', 16, Buffer.from('\x05hello\x02hi'), 'TXT 5 hello TXT 2 hi'],
    [
      'NAPTR',
      35,
      Buffer.concat([u16(1), u16(2), Buffer.from('\x01s\x07SIP+D2T\x00'), name('sip.example')]),
      'NAPTR 1 2 s SIP+D2T sip.example',
    ],
    ['SSHFP', 44, Buffer.from('0101abcd', 'hex'), 'SSHFP: abcd'],
    ['DNSKEY', 48, Buffer.from('010103080101', 'hex'), 'DNSKEY 8'],
    ['RRSIG', 46, Buffer.concat([u16(1), Buffer.alloc(16), name('example')]), 'RRSIG 1 example'],
  ])('words %s records as Zeek does', (_label, type, data, text) => {
    const parsed = parseDns(
      message({ flags: RESPONSE, questions: [['a', type]], answers: [record(POINTER, type, data)] }),
    )
    expect(parsed?.answers.map((answer) => answer.text)).toEqual([text])
  })

  it.each([
    ['a list of protocols that does not fill its field', '00010002' + '0268', 'DNS_SVCB_alpn_length_invalid'],
    ['a port that is no two bytes', '00030003' + '01bb00', 'DNS_SVCB_port_length_invalid'],
  ])('tells of a service binding %s', (_label, parameter, weird) => {
    const data = Buffer.from(`000100${parameter}`, 'hex')
    const parsed = parseDns(message({ flags: RESPONSE, questions: [['a', 65]], answers: [record(POINTER, 65, data)] }))
    expect(parsed?.weirds).toEqual([weird])
    const good = Buffer.from('000100' + '0001000302' + '6832' + '0003000201bb', 'hex')
    const whole = message({ flags: RESPONSE, questions: [['a', 65]], answers: [record(POINTER, 65, good)] })
    expect(parseDns(whole)).toMatchObject({ weirds: [], whole: true })
  })

  it('tells of a record without data', () => {
    const empty = record(POINTER, 16, Buffer.alloc(0))
    const parsed = parseDns(message({ flags: RESPONSE, questions: [['a', 1]], answers: [empty, empty] }))
    expect(parsed?.weirds).toEqual(['DNS_zero_rdlength'])
  })

  it('logs what a dynamic update asks for', () => {
    const none = record('host.example', 5, Buffer.alloc(0), 0, 254)
    const updates = [
      record('host.example', 1, Buffer.alloc(0), 0, 255),
      record('host.example', 1, Buffer.from([192, 0, 2, 9]), 1200),
    ]
    const { flow, rows } = scene()
    flow.client(message({ flags: 0x2800, questions: [['example', 6]], answers: [none], authorities: updates }))
    flow.server(message({ flags: 0xa800, questions: [['example', 6]], answers: [none], authorities: updates })).end()
    expect(rows('dns')).toMatchObject([
      {
        opcode_name: 'dynamic-update',
        query: 'host.example',
        answers: ['pre: NoRRSet CNAME host.example', 'del: RRSet A', 'add: A host.example 192.0.2.9'],
      },
    ])
  })

  it('follows compression only backwards, and not for ever', () => {
    const loop = message({ flags: RESPONSE, answers: [record(Buffer.from([0xc0, 12]), 1, Buffer.from([1, 2, 3, 4]))] })
    expect(parseDns(loop)).toMatchObject({ answers: [], weirds: ['DNS_label_forward_compress_offset'] })
    const long = Buffer.concat([
      message({ questions: [] }).subarray(0, 4),
      u16(1),
      Buffer.alloc(6),
      ...Array(40).fill(Buffer.from('\x07abcdefg')),
      Buffer.alloc(5),
    ])
    expect(parseDns(long)?.questions).toEqual([])
  })

  it('survives messages that are cut or spoilt', () => {
    const whole = message({
      flags: RESPONSE,
      questions: [['a.example', 255]],
      answers: [
        A([1, 2, 3, 4]),
        record(POINTER, 16, Buffer.from('\x02hi')),
        record(POINTER, 35, Buffer.concat([u16(1), u16(2), Buffer.from('\x01s\x00\x00'), name('x')])),
      ],
    })
    const { flow, faults } = scene()
    for (const bytes of damaged(whole)) flow.server(bytes)
    flow.end()
    expect(faults).toEqual([])
  })
})

describe('a DNS message that is damaged', () => {
  const told = (bytes: Buffer) => {
    const { flow, rows } = scene()
    flow.server(bytes)
    return { names: rows('weird').map(({ name }) => name), services: flow.services() }
  }
  const answer = (owner: Buffer, type = 1, data = Buffer.from([1, 2, 3, 4])) =>
    message({ flags: RESPONSE, questions: [['a.example', 1]], answers: [record(owner, type, data)] })

  it.each([
    ['DNS_label_too_long', Buffer.from([0x58, 0x58])],
    ['DNS_label_forward_compress_offset', Buffer.from([0xc0, 0xff])],
  ])('has an owner that is told as %s', (name, owner) => {
    expect(told(answer(owner)).names).toEqual([name])
  })

  it('has a label that goes beyond its end', () => {
    expect(told(message({ flags: RESPONSE, questions: [['a.example', 1]] }).subarray(0, 16)).names).toEqual([
      'DNS_label_len_gt_pkt',
    ])
  })

  it('has a name that is shorter or longer than its record says', () => {
    expect(told(answer(POINTER, 5, Buffer.from([0xc0, 12, 0]))).names).toEqual(['DNS_RR_bad_length'])
    // Well known services (11) begin with an address; it is looked at as a name.
    expect(told(answer(POINTER, 11, Buffer.from([0xc0, 0xa8, 0, 1]))).names).toEqual([
      'DNS_label_forward_compress_offset',
      'DNS_RR_bad_length',
    ])
  })

  it('is DNS all the same where only what is not logged is damaged', () => {
    const bytes = message({ additionals: [Buffer.from('XXXX')] })
    expect(told(bytes)).toEqual({ names: [], services: ['dns'] })
  })
})

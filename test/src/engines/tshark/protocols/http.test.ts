import { deflateRawSync, gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { http } from '../../../../../src/engines/tshark/protocols/http.ts'
import { ssh } from '../../../../../src/engines/tshark/protocols/ssh.ts'
import { type PlayedFlow, stage } from './play-flow.ts'

const scene = (options = {}) => {
  const theStage = stage([http, ssh])
  return { ...theStage, flow: theStage.flow({ respPort: 80, ...options }) }
}

const request = (path = '/', headers = '') => `GET ${path} HTTP/1.1\r\nHost: example.com\r\n${headers}\r\n`
const response = (body: string | Buffer, headers = `Content-Length: ${body.length}\r\n`, status = '200 OK') =>
  Buffer.concat([Buffer.from(`HTTP/1.1 ${status}\r\n${headers}\r\n`), Buffer.from(body)])
const chunked = (body: Buffer, size: number) => {
  const parts: Buffer[] = []
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size)
    parts.push(Buffer.from(`${part.length.toString(16)};ext=1\r\n`), part, Buffer.from('\r\n'))
  }
  return Buffer.concat([...parts, Buffer.from('0\r\nTrailer: x\r\n\r\n')])
}

/** In pieces of `size` bytes. */
function drip(side: PlayedFlow['client'], bytes: string | Buffer, size: number) {
  const buffer = Buffer.from(bytes)
  for (let at = 0; at < buffer.length; at += size) side(buffer.subarray(at, at + size))
}

const HTML = '<html><body>hello, hello, hello</body></html>'

describe('HTTP', () => {
  it('does not look at requests where the server has begun with something else', () => {
    const { flow, rows } = scene()
    flow.server('SSH-2.0-b\r\n').client('SSH-2.0-a\r\n').end()
    expect([rows('weird'), rows('http'), flow.services()]).toEqual([[], [], ['ssh']])
  })

  it('logs a request with its response, in the order of Zeek’s columns', () => {
    const { flow, rows } = scene()
    flow.client(
      `GET /a%20b?c=%41 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8\r\nReferer: http://r/\r\nOrigin: http://o\r\nAuthorization: Basic ${Buffer.from('ann:secret').toString('base64')}\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n`,
      10,
    )
    flow.server(response(HTML), 11).end()
    const [row = {}] = rows('http')
    expect(row).toEqual({
      ts: 10,
      trans_depth: 1,
      method: 'GET',
      host: 'example.com',
      uri: '/a b?c=A',
      referrer: 'http://r/',
      version: '1.1',
      user_agent: 'curl/8',
      origin: 'http://o',
      request_body_len: 0,
      response_body_len: HTML.length,
      status_code: 200,
      status_msg: 'OK',
      tags: [],
      username: 'ann',
      proxied: ['X-FORWARDED-FOR -> 192.0.2.9'],
      resp_fuids: [expect.stringMatching(/^F\w{17}$/)],
      resp_mime_types: ['text/html'],
    })
    expect(Object.keys(row).slice(0, 4)).toEqual(['ts', 'trans_depth', 'method', 'host'])
    expect(flow.services()).toEqual(['http'])
  })

  it('pairs requests that were sent ahead with their responses, in order', () => {
    const { flow, rows } = scene()
    flow.client(request('/1') + request('/2') + request('/3'))
    flow
      .server(
        Buffer.concat([response('one'), response('', 'Content-Length: 0\r\n', '404 Not Found'), response('three')]),
      )
      .end()
    expect(
      rows('http').map(({ uri, status_code, response_body_len }) => [uri, status_code, response_body_len]),
    ).toEqual([
      ['/1', 200, 3],
      ['/2', 404, 0],
      ['/3', 200, 5],
    ])
  })

  it('reads the same from segments of any size', () => {
    const answers = Buffer.concat([
      response(chunked(Buffer.from(HTML), 7), 'Transfer-Encoding: chunked\r\n'),
      response(gzipSync(HTML), `Content-Encoding: gzip\r\nContent-Length: ${gzipSync(HTML).length}\r\n`),
    ])
    const of = (size: number) => {
      const { flow, rows } = scene()
      drip(flow.client, request('/1') + request('/2'), size)
      drip(flow.server, answers, size)
      flow.end()
      return rows('http').map(({ ts: _, resp_fuids: __, ...row }) => row)
    }
    expect(of(1e9)).toMatchObject([
      { response_body_len: HTML.length },
      { response_body_len: HTML.length, resp_mime_types: ['text/html'] },
    ])
    for (const size of [1, 5, 50]) expect(of(size)).toEqual(of(1e9))
  })

  it('counts a coded body by what it decodes to, and tells what it is', () => {
    const { flow, rows } = scene()
    const [raw, junk] = [deflateRawSync(HTML), Buffer.from('no gzip at all')]
    flow.client(request('/raw') + request('/junk'))
    flow
      .server(
        Buffer.concat([
          response(raw, `Content-Encoding: deflate\r\nContent-Length: ${raw.length}\r\n`),
          response(junk, `Content-Encoding: gzip\r\nContent-Length: ${junk.length}\r\n`),
        ]),
      )
      .end()
    expect(rows('http').map((row) => row.response_body_len)).toEqual([HTML.length, 0])
    expect(rows('weird')).toMatchObject([{ name: 'inflate_failed' }])
    expect(rows('files')[0]).not.toHaveProperty('total_bytes')
  })

  it('knows which responses have no body', () => {
    const { flow, rows } = scene()
    flow.client(request('/a').replace('GET', 'HEAD') + request('/b') + request('/c'))
    flow
      .server(
        Buffer.concat([
          response('', 'Content-Length: 100\r\n'),
          response('', 'Content-Length: 100\r\n', '304 Not Modified'),
          response('xyz'),
        ]),
      )
      .end()
    expect(
      rows('http').map(({ uri, status_code, response_body_len }) => [uri, status_code, response_body_len]),
    ).toEqual([
      ['/a', 200, 0],
      ['/b', 304, 0],
      ['/c', 200, 3],
    ])
  })

  it('takes a response without a length to reach to the end of the connection', () => {
    const { flow, rows } = scene()
    flow.client(request()).server('HTTP/1.0 200 OK\r\n\r\nabc').server('HTTP/1.0 def').end()
    expect(rows('http')).toMatchObject([{ version: '1.0', response_body_len: 15 }])
  })

  it('joins an informational response to the final one', () => {
    const { flow, rows } = scene()
    flow
      .client('POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n')
      .server('HTTP/1.1 100 Continue\r\n\r\n')
      .client('0123456789')
      .server(response('ok'))
      .end()
    expect(rows('http')).toMatchObject([
      { info_code: 100, info_msg: 'Continue', status_code: 200, request_body_len: 10, orig_mime_types: ['text/plain'] },
    ])
  })

  it('makes a file of each part of a form, with its name', () => {
    const { flow, rows } = scene()
    const body =
      '--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nplain text value\r\n--b\r\nContent-Disposition: form-data; name="f"; filename="a;b.png"\r\n\r\n\x89PNG\r\n\x1a\n1234\r\n--b--\r\n'
    flow
      .client(
        Buffer.from(
          `POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
          'latin1',
        ),
      )
      .server(response(''))
      .end()
    expect(rows('http')).toMatchObject([
      { request_body_len: body.length, orig_filenames: ['a;b.png'], orig_mime_types: ['text/plain', 'image/png'] },
    ])
    expect(rows('files')).toMatchObject([
      { seen_bytes: 16, is_orig: true },
      { seen_bytes: 12, filename: 'a;b.png', mime_type: 'image/png' },
    ])
  })

  it('puts the ranges of a resource together, and says what is missing of it', () => {
    const { flow, rows } = scene()
    const range = (first: number, text: string) =>
      response(
        text,
        `Content-Length: ${text.length}\r\nContent-Range: bytes ${first}-${first + text.length - 1}/30\r\n`,
        '206 Partial Content',
      )
    flow.client(request('/r', 'Range: bytes=0-9\r\n') + request('/r', 'Range: bytes=20-29\r\n'))
    flow.server(Buffer.concat([range(0, '0123456789'), range(20, '0123456789')]))
    flow.end()
    const fuids = rows('http').map(({ resp_fuids }) => resp_fuids)
    expect(fuids[0]).toEqual(fuids[1])
  })

  it('goes on after a gap within a body, and counts it', () => {
    const { flow, rows } = scene()
    flow.client(request('/a') + request('/b')).server('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789')
    flow.gap(false, 80)
    flow.server(`abcdefghij`).server(response('next')).end()
    expect(rows('http')).toMatchObject([
      { uri: '/a', response_body_len: 100 },
      { uri: '/b', response_body_len: 4 },
    ])
    expect(rows('files')[0]).toMatchObject({ seen_bytes: 20, missing_bytes: 80 })
  })

  it('hands a tunnel over to what is spoken in it', () => {
    const { flow, rows } = scene()
    flow
      .client('CONNECT host:22 HTTP/1.1\r\n\r\n')
      .server('HTTP/1.1 200 OK\r\n\r\n')
      .server('SSH-2.0-server\r\n')
      .client('SSH-2.0-client\r\n')
      .end()
    expect(rows('http')).toMatchObject([{ method: 'CONNECT', status_code: 200 }])
    expect(rows('ssh')).toMatchObject([{ client: 'SSH-2.0-client', server: 'SSH-2.0-server' }])
    expect(flow.services()).toEqual(['http', 'ssh'])
  })

  it('is recognized on any port by its request', () => {
    const { flow, rows } = scene({ respPort: 9999 })
    flow.client(request('/odd')).server(response('x')).end()
    expect(rows('http')).toMatchObject([{ uri: '/odd' }])
  })

  it.each([
    ['OPTIONS rtsp://cam/ RTSP/1.0\r\n\r\n', '', 1],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\0\0\x12\x04\0\0\0\0\0', 0],
    ['UNHEARD / HTTP/1.1\r\n\r\n', 'HTTP/1.1 501 No\r\nContent-Length: 0\r\n\r\n', 1],
    ['get / HTTP/1.1\r\n\r\n', '', 0],
  ])('takes %j on any port for a request if its method is known or HTTP answers', (asked, answered, count) => {
    const { flow, rows } = scene({ respPort: 4711 })
    flow.client(asked).server(Buffer.from(answered, 'latin1')).end()
    expect(rows('http')).toHaveLength(count)
  })

  it.each([
    ['/%41%u0042%u4143', '/ABAC', []],
    ['/%%41', '/A', ['double_%_in_URI']],
    ['/%zz', '/%zz', ['unescaped_%_in_URI']],
    ['/%', '/%', ['illegal_%_at_end_of_URI']],
    ['/%%', '/%%', ['partial_escape_at_end_of_URI']],
    ['/%4', '/%4', ['partial_escape_at_end_of_URI']],
  ])('reads the URI %j as %j and tells what is wrong with its escapes', (said, read, weirds) => {
    const { flow, rows } = scene()
    flow.client(request(said)).server(response('')).end()
    expect(rows('http')).toMatchObject([{ uri: read }])
    expect(rows('weird').map(({ name }) => name)).toEqual(weirds)
  })

  it('takes any method of three letters or more without a version for HTTP/0.9', () => {
    const { flow, rows } = scene()
    flow.client('HELLO you\r\n').end()
    expect(rows('http')).toMatchObject([{ method: 'HELLO', uri: 'you' }])
    const short = scene()
    short.flow.client('bc abc\r\n').end()
    expect(short.rows('http')).toEqual([])
  })

  it('tells that one side changes its version', () => {
    const { flow, rows } = scene()
    flow.client(request()).server(response('')).client('GET / HTTP/1.0\r\n\r\n').server(response('')).end()
    expect(rows('weird').map(({ name }) => name)).toEqual(['HTTP_version_mismatch'])
  })

  it('logs requests that were never answered', () => {
    const { flow, rows } = scene()
    flow.client(request('/1') + request('/2')).end()
    expect(rows('http').map(({ uri, status_code }) => [uri, status_code])).toEqual([
      ['/1', undefined],
      ['/2', undefined],
    ])
  })

  it('gives up on what is no HTTP', () => {
    const { flow, rows } = scene()
    flow.client('\x16\x03\x01nonsense\r\n\r\n').server('nonsense\r\n').end()
    expect(rows('http')).toEqual([])
    expect(rows('weird')).toMatchObject([{ name: 'bad_HTTP_request', source: 'HTTP' }])
    expect(flow.services()).toEqual([])
  })

  it('shows bytes that are no text as Zeek does', () => {
    const { flow, rows } = scene()
    flow.client(Buffer.from(`GET /%FF%5C%07é HTTP/1.1\r\nHost: \xe9\r\n\r\n`, 'latin1')).end()
    expect(rows('http')).toMatchObject([{ uri: '/\\xff\\\\x07\\xe9', host: '\\xe9' }])
  })

  it('survives heads without end, lengths without reason and chunks that lie', () => {
    const { flow, rows, faults } = scene()
    flow.client(`GET /${'a'.repeat(3_000_000)}`).end()
    const lies = [
      'Content-Length: 99999999999999999999\r\n',
      'Content-Length: -5\r\n',
      'Transfer-Encoding: chunked\r\n',
    ]
    for (const lie of lies) scene().flow.client(request()).server(response('zz\r\nfffffffffffffffff\r\n', lie)).end()
    expect(faults).toEqual([])
    expect(rows('http')).toEqual([])
  })

  it('reports what breaks HTTP after it was spoken, and takes it off the flow', () => {
    const reply = scene()
    reply.flow.client(request()).server('SSH-2.0-x\r\n', 7).end()
    expect(reply.rows('analyzer')).toMatchObject([
      { ts: 7, analyzer_name: 'HTTP', failure_reason: 'not a http reply line' },
    ])
    expect(reply.rows('http')).toMatchObject([{ uri: '/' }])
    expect(reply.flow.services()).toEqual([])
    const junk = scene()
    junk.flow.client(`${request()}\0\0\r\n`).end()
    expect(junk.rows('analyzer')).toMatchObject([{ failure_reason: 'not a http request line' }])
  })

  it('ends a line at a bare CR and tells it', () => {
    const { flow, rows } = scene()
    flow.client('GET /a HTTP/1.1\rHost: x\r\r', 3).client('GET /b HTTP/1.1\r', 4).client('\n\r\n', 5).end()
    expect(rows('http').map(({ uri, host }) => [uri, host])).toEqual([
      ['/a', 'x'],
      ['/b', undefined],
    ])
    expect(rows('weird')).toMatchObject([{ name: 'line_terminated_with_single_CR', source: 'CONTENTLINE', ts: 3 }])
    const whole = scene()
    for (const half of ['GET / HTTP/1.1\r', '\nHost: x\r', '\n\r', '\n']) whole.flow.client(half)
    whole.flow.end()
    expect(whole.rows('weird')).toEqual([])
    expect(whole.rows('http')).toMatchObject([{ host: 'x' }])
  })

  it('takes the answer to HTTP/0.9 for a body, even where a head was under way', () => {
    const plain = scene()
    plain.flow.client('GET /old\r\n').server(HTML).end()
    expect(plain.rows('http')).toMatchObject([
      { version: '0.9', status_code: 0, response_body_len: HTML.length, resp_mime_types: ['text/html'] },
    ])
    expect(plain.flow.services()).toEqual(['http'])
    const early = scene()
    early.flow.server('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n').client('GET /\r\n').server('too much').end()
    expect(early.rows('http').map(({ version, response_body_len }) => [version, response_body_len])).toEqual([
      ['1.1', 0],
      ['0.9', 8],
    ])
    expect(early.rows('weird').map(({ name }) => name)).toContain('http_09_reply_before_request')
  })

  it('tells headers that contradict one another', () => {
    const { flow, rows } = scene()
    flow.client('POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n')
    flow.server(response('abc', 'Content-Length: 3\r\nContent-Range: bytes 0-8/9\r\n', '206 Partial Content')).end()
    expect(rows('weird').map(({ name }) => name)).toEqual([
      'HTTP_content_length_0_and_expect_100_cont',
      'HTTP_range_not_matching_len',
    ])
  })

  it('says what a file in ranges is only in the record that showed it', () => {
    const { flow, rows } = scene()
    const range = (body: string, first: number) =>
      response(
        body,
        `Content-Length: ${body.length}\r\nContent-Range: bytes ${first}-${first + body.length - 1}/18\r\n`,
        '206 Partial Content',
      )
    flow.client(request()).server(range('tail line', 9)).client(request()).server(range('head line', 0)).end()
    expect(rows('http').map(({ resp_mime_types }) => resp_mime_types)).toEqual([undefined, ['text/plain']])
    expect(rows('files')).toMatchObject([{ mime_type: 'text/plain', seen_bytes: 18 }])
  })

  it('ends the headers of an attached message at a line that is none', () => {
    const { flow, rows } = scene()
    const body = 'Subject: x\r\nTransfer-Encoding: chunked\r\n.\r\nhello there\r\n'
    flow
      .client(`POST / HTTP/1.1\r\nContent-Type: message/rfc822\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
      .end()
    expect(rows('weird').map(({ name }) => name)).toEqual([
      'HTTP_nested_transfer_encoding_header',
      'http_no_crlf_in_header_list',
    ])
    expect(rows('files')).toMatchObject([{ mime_type: 'text/plain' }])
  })

  it('tells a coded body that does not decode, by its codes or by its check sum', () => {
    const whole = gzipSync(Buffer.from(HTML))
    const wrongSum = Buffer.from(whole)
    wrongSum[whole.length - 8] = (wrongSum[whole.length - 8] as number) ^ 1
    const badCodes = Buffer.concat([whole.subarray(0, 10), Buffer.from('fdffffffffff', 'hex')])
    for (const body of [wrongSum, badCodes]) {
      const { flow, rows } = scene()
      flow
        .client(request())
        .server(response(body, `Content-Encoding: gzip\r\nContent-Length: ${body.length}\r\n`))
        .end()
      expect(rows('weird')).toMatchObject([{ name: 'inflate_failed', source: 'ZIP' }])
    }
  })
})

import { createHash, X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { dtls, ssl } from '../../../../../src/engines/tshark/protocols/tls.ts'
import { parseCertificate } from '../../../../../src/engines/tshark/protocols/x509.ts'
import { type Chunk, makeCertificate, recordTls } from './certificate.ts'
import { type PlayedFlow, stage } from './play-flow.ts'
import { damaged } from './recorded-flow.ts'

const made = makeCertificate({
  subject: [
    ['2.5.4.6', 'CH'],
    ['2.5.4.10', 'Example, Ltd.'],
    ['2.5.4.3', 'example.com'],
  ],
  dnsNames: ['example.com', '*.example.org'],
})
const fingerprint = createHash('sha256').update(made.der).digest('hex')

function feed(chunks: Chunk[], flow: PlayedFlow, size = Number.POSITIVE_INFINITY) {
  for (const { fromClient, bytes } of chunks)
    for (let at = 0; at < bytes.length; at += size)
      (fromClient ? flow.client : flow.server)(bytes.subarray(at, at + size))
  return flow
}

const play = (chunks: Chunk[], size?: number) => {
  const scene = stage([ssl, dtls])
  const flow = feed(chunks, scene.flow({ respPort: 443 }), size).end()
  return { ...scene, services: flow.services() }
}

describe('TLS', () => {
  it('logs a TLS 1.2 handshake with what both sides agreed on, and the certificate', async () => {
    const chunks = await recordTls(
      made,
      {
        maxVersion: 'TLSv1.2',
        servername: 'www.example.org',
        ALPNProtocols: ['http/1.1'],
        ciphers: 'ECDHE-RSA-AES128-GCM-SHA256',
        ecdhCurve: 'P-384',
      },
      { ALPNProtocols: ['http/1.1'] },
    )
    const { rows, services } = play(chunks)
    expect(rows('ssl')).toEqual([
      expect.objectContaining({
        version: 'TLSv12',
        cipher: 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256',
        curve: 'secp384r1',
        server_name: 'www.example.org',
        resumed: false,
        next_protocol: 'http/1.1',
        established: true,
        ssl_history: expect.stringMatching(/^CsxknGIt?i$/),
        cert_chain_fps: [fingerprint],
        client_cert_chain_fps: [],
        sni_matches_cert: true,
      }),
    ])
    expect(rows('x509')).toMatchObject([
      {
        fingerprint,
        'certificate.subject': 'CN=example.com,O=Example\\, Ltd.,C=CH',
        host_cert: true,
        client_cert: false,
      },
    ])
    expect(services).toEqual(['ssl'])
  })

  it('logs a TLS 1.3 handshake, whose certificate is encrypted', async () => {
    const { rows } = play(
      await recordTls(made, {
        minVersion: 'TLSv1.3',
        servername: 'example.com',
        ecdhCurve: 'X25519',
        ciphers: 'TLS_AES_256_GCM_SHA384',
      }),
    )
    expect(rows('ssl')).toMatchObject([
      {
        version: 'TLSv13',
        cipher: 'TLS_AES_256_GCM_SHA384',
        curve: 'x25519',
        server_name: 'example.com',
        established: true,
        ssl_history: 'CsiI',
      },
    ])
    expect(rows('ssl')[0]).not.toHaveProperty('cert_chain_fps')
    expect(rows('x509')).toEqual([])
  })

  it('reads the same from segments of any size', async () => {
    const chunks = await recordTls(made, { maxVersion: 'TLSv1.2', servername: 'example.com' })
    const whole = play(chunks)
      .rows('ssl')
      .map(({ ts: _, ...row }) => row)
    for (const size of [1, 7, 100])
      expect(
        play(chunks, size)
          .rows('ssl')
          .map(({ ts: _, ...row }) => row),
      ).toEqual(whole)
  })

  it('says which alert ended a handshake that failed', async () => {
    const { rows } = play(await recordTls(made, { minVersion: 'TLSv1.3' }, { maxVersion: 'TLSv1.2' }))
    expect(rows('ssl')).toMatchObject([{ established: false, last_alert: 'protocol_version', ssl_history: 'Cl' }])
  })

  it('logs nothing of a flow of which only ciphertext is there', async () => {
    const chunks = await recordTls(made, { minVersion: 'TLSv1.3' })
    const tail = chunks.slice(-2)
    expect(play(tail).rows('ssl')).toEqual([])
  })

  it('stops at a gap and says what it knows by then', async () => {
    const chunks = await recordTls(made, { maxVersion: 'TLSv1.2', servername: 'example.com' })
    const scene = stage([ssl])
    const flow = feed(chunks.slice(0, 1), scene.flow({ respPort: 443 }))
    flow.gap(false, 100)
    feed(chunks.slice(2), flow).end()
    expect(scene.rows('ssl')).toMatchObject([{ server_name: 'example.com', established: false, ssl_history: 'C' }])
  })

  it('reports a server that answers a hello with something else', async () => {
    const chunks = await recordTls(made, { servername: 'example.com' })
    const scene = stage([ssl])
    const flow = feed(chunks.slice(0, 1), scene.flow({ respPort: 80 }))
    expect(flow.services()).toEqual(['ssl'])
    flow.server('HTTP/1.1 400 Bad Request\r\n\r\n').end()
    const failure_reason = 'Invalid version late in TLS connection. Packet reported version: 21588'
    expect(scene.rows('analyzer')).toMatchObject([{ analyzer_name: 'SSL', failure_reason }])
    expect(scene.rows('ssl')).toMatchObject([{ ssl_history: 'C', established: false }])
    expect(flow.services()).toEqual([])
  })

  it('is recognized on any port by its first record', async () => {
    const chunks = await recordTls(made, { servername: 'example.com' })
    const scene = stage([ssl])
    feed(chunks, scene.flow({ respPort: 12345 })).end()
    expect(scene.rows('ssl')).toHaveLength(1)
    expect(ssl.recognize?.(Buffer.from('GET / HTTP/1.1\r\n'), Buffer.from('HTTP/1.1 200 OK\r\n'), 'tcp')).toBe(false)
  })

  it('survives hellos that are cut or spoilt', async () => {
    const [hello] = await recordTls(made, { servername: 'example.com' })
    const scene = stage([ssl])
    for (const bytes of damaged(hello?.bytes ?? Buffer.alloc(0))) scene.flow({ respPort: 443 }).client(bytes).end()
    expect(scene.faults).toEqual([])
  })
})

describe('a certificate', () => {
  const parse = (options: Parameters<typeof makeCertificate>[0]) => {
    const { der } = makeCertificate(options)
    const parsed = parseCertificate(der)
    return { der, parsed, fields: parsed?.fields ?? {}, node: new X509Certificate(der) }
  }

  it('has the fingerprint, serial, times and key that Node reads in it, too', () => {
    const { parsed, fields, node } = parse({ serial: [0, 0xab, 0xcd], validity: ['991231235959Z', '20610102030405Z'] })
    expect(parsed?.fingerprint).toBe(node.fingerprint256.replaceAll(':', '').toLowerCase())
    expect(fields['certificate.serial']).toBe(node.serialNumber)
    expect(fields['certificate.not_valid_before']).toBe(Date.parse(node.validFrom) / 1000)
    expect(fields['certificate.not_valid_after']).toBe(Date.parse(node.validTo) / 1000)
    expect(fields).toMatchObject({
      'certificate.version': 3,
      'certificate.key_alg': 'rsaEncryption',
      'certificate.sig_alg': 'sha256WithRSAEncryption',
      'certificate.key_type': 'rsa',
      'certificate.key_length': 2048,
      'certificate.exponent': '65537',
    })
  })

  it('of an elliptic curve names the curve', () => {
    const { fields } = parse({ type: 'ec' })
    expect(fields).toMatchObject({
      'certificate.key_alg': 'id-ecPublicKey',
      'certificate.key_type': 'ecdsa',
      'certificate.key_length': 256,
      'certificate.curve': 'prime256v1',
    })
  })

  it('names its subject last part first, with special and foreign characters escaped', () => {
    const { fields } = parse({
      subject: [
        ['2.5.4.6', 'CH'],
        ['2.5.4.10', ' a+b "c" '],
        ['1.2.840.113549.1.9.1', 'é@x'],
        ['1.3.6.1.4.1.99999.1', 'odd'],
      ],
    })
    expect(fields['certificate.subject']).toBe(
      '1.3.6.1.4.1.99999.1=#0C036F6464,emailAddress=\\C3\\A9@x,O=\\ a\\+b \\"c\\"\\ ,C=CH',
    )
  })

  it('lists its other names and its constraints', () => {
    const { fields } = parse({
      dnsNames: ['a.example', 'b.example'],
      addresses: [
        [192, 0, 2, 1],
        [32, 1, 13, 184, ...Array(11).fill(0), 1],
      ],
      ca: { pathLength: 3 },
    })
    expect(fields).toMatchObject({
      'san.dns': ['a.example', 'b.example'],
      'san.ip': ['192.0.2.1', '2001:db8::1'],
      'basic_constraints.ca': true,
      'basic_constraints.path_len': 3,
    })
  })

  it('that is cut or spoilt does no harm', () => {
    const { der } = makeCertificate({ dnsNames: ['a.example'], ca: {} })
    for (const bytes of damaged(der)) expect(() => parseCertificate(bytes)).not.toThrow()
  })
})

/** Self-signed certificates made on the spot (X.509, RFC 5280), and TLS conversations recorded byte by byte. */

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from 'node:net'
import tls from 'node:tls'

const der = (tag: number, ...parts: Buffer[]): Buffer => {
  const body = Buffer.concat(parts)
  const size =
    body.length < 128
      ? [body.length]
      : body.length < 256
        ? [0x81, body.length]
        : [0x82, body.length >> 8, body.length & 255]
  return Buffer.concat([Buffer.from([tag, ...size]), body])
}

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const arc of rest) {
    const digits = [arc & 127]
    for (let left = arc >> 7; left > 0; left >>= 7) digits.unshift((left & 127) | 128)
    bytes.push(...digits)
  }
  return der(6, Buffer.from(bytes))
}

const text = (value: string, tag = 12) => der(tag, Buffer.from(value))
const integer = (bytes: number[]) => der(2, Buffer.from(bytes))
const SHA256_RSA = der(0x30, oid('1.2.840.113549.1.1.11'), der(5))
const SHA256_ECDSA = der(0x30, oid('1.2.840.10045.4.3.2'))

export interface CertificateOptions {
  /** Attributes in the order in which they stand, each its own RDN: OID and value. */
  subject?: [string, string][]
  dnsNames?: string[]
  addresses?: number[][]
  ca?: { pathLength?: number }
  serial?: number[]
  /** UTCTime or GeneralizedTime. */
  validity?: [string, string]
  type?: 'rsa' | 'ec'
}

export interface Made {
  der: Buffer
  pem: string
  key: KeyObject
}

export function makeCertificate(options: CertificateOptions = {}): Made {
  const {
    subject = [['2.5.4.3', 'example.com']],
    serial = [1],
    validity = ['240101000000Z', '20510101000000Z'],
    type = 'rsa',
  } = options
  const { privateKey, publicKey } =
    type === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const algorithm = type === 'rsa' ? SHA256_RSA : SHA256_ECDSA
  const name = der(0x30, ...subject.map(([type, value]) => der(0x31, der(0x30, oid(type), text(value)))))
  const time = (value: string) => text(value, value.length === 13 ? 0x17 : 0x18)
  const body = der(
    0x30,
    der(0xa0, integer([2])),
    integer(serial),
    algorithm,
    name,
    der(0x30, time(validity[0]), time(validity[1])),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    ...extensions(options),
  )
  const signature = sign('sha256', body, privateKey)
  const whole = der(0x30, body, algorithm, der(3, Buffer.from([0]), signature))
  const pem = `-----BEGIN CERTIFICATE-----\n${whole.toString('base64')}\n-----END CERTIFICATE-----\n`
  return { der: whole, pem, key: privateKey }
}

function extensions({ dnsNames = [], addresses = [], ca }: CertificateOptions): Buffer[] {
  const list: Buffer[] = []
  if (dnsNames.length + addresses.length > 0) {
    const names = [
      ...dnsNames.map((name) => text(name, 0x82)),
      ...addresses.map((bytes) => der(0x87, Buffer.from(bytes))),
    ]
    list.push(der(0x30, oid('2.5.29.17'), der(4, der(0x30, ...names))))
  }
  if (ca !== undefined) {
    const parts = [der(1, Buffer.from([255])), ...(ca.pathLength === undefined ? [] : [integer([ca.pathLength])])]
    list.push(der(0x30, oid('2.5.29.19'), der(1, Buffer.from([255])), der(4, der(0x30, ...parts))))
  }
  return list.length === 0 ? [] : [der(0xa3, der(0x30, ...list))]
}

export interface Chunk {
  fromClient: boolean
  bytes: Buffer
}

/** A TLS client and server talk over the loopback; what went over the wire. */
export async function recordTls(
  { pem, key }: Made,
  client: tls.ConnectionOptions = {},
  server: tls.TlsOptions = {},
): Promise<Chunk[]> {
  const chunks: Chunk[] = []
  const inner = tls.createServer(
    { cert: pem, key: key.export({ type: 'pkcs8', format: 'pem' }), ...server },
    (socket) => socket.end('bye'),
  )
  inner.on('tlsClientError', () => {})
  await listen(inner)
  const wire = createServer((down) => {
    const up = connectTcp((inner.address() as AddressInfo).port, '127.0.0.1')
    pass(down, up, true)
    pass(up, down, false)
  })
  function pass(from: Socket, to: Socket, fromClient: boolean): void {
    from.on('data', (bytes) => {
      chunks.push({ fromClient, bytes })
      to.write(bytes)
    })
    from.on('end', () => to.end())
    from.on('error', () => to.destroy())
  }
  await listen(wire)
  await new Promise<void>((done) => {
    const socket = tls.connect({
      port: (wire.address() as AddressInfo).port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ...client,
    })
    socket.on('data', () => socket.end('so long'))
    socket.on('close', () => done())
    socket.on('error', () => {})
  })
  inner.close()
  wire.close()
  return chunks
}

const listen = (server: { listen(port: number, host: string, done: () => void): unknown }) =>
  new Promise<void>((done) => server.listen(0, '127.0.0.1', done))

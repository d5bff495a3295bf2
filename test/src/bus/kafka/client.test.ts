import { once } from 'node:events'
import { mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Admin } from '@platformatic/kafka'
import { describe, expect, it } from 'vitest'
import { type BusConfig, clientOptions, kafkaError } from '../../../../src/bus/kafka/client.ts'
import type { PipelineError } from '../../../../state/errors.ts'
import { type Broker, brokerForTests, skipReason } from '../../../support/kafka.ts'
import { busOf } from './settings.ts'

const why = await skipReason()
/** What is tested here beyond a plain connection, a broker that KAFKA_BROKERS names may not have. */
const whyOwn = await skipReason({ own: true })

async function listTopics(bus: BusConfig): Promise<string[]> {
  const admin = new Admin({ ...clientOptions(bus), retries: 1 })
  try {
    return await admin.listTopics()
  } catch (error) {
    throw kafkaError(error, bus, 'listing the topics')
  } finally {
    await admin.close()
  }
}

async function refusalOf(bus: BusConfig): Promise<PipelineError> {
  return (await listTopics(bus).then(
    () => expect.fail('it was accepted'),
    (error) => error,
  )) as PipelineError
}

const UNREACHABLE = { code: 'bus_unavailable', retryable: true }
const REFUSED = { code: 'bus_refused', retryable: false }

describe('the options of a connection', () => {
  it('have the brokers with host and port apart, IPv6 too', () => {
    const { bootstrapBrokers, clientId, autocreateTopics } = clientOptions(
      busOf('a.example:9092,[::1]:9093,10.0.0.1:1', { KAFKA_CLIENT_ID: 'me' }),
    )
    expect(bootstrapBrokers).toEqual([
      { host: 'a.example', port: 9092 },
      { host: '::1', port: 9093 },
      { host: '10.0.0.1', port: 1 },
    ])
    expect({ clientId, autocreateTopics }).toEqual({ clientId: 'me', autocreateTopics: false })
  })

  it('tell proxies the name that is meant, where there is one', () => {
    expect(clientOptions(busOf('a.example:1', { KAFKA_TLS: 'true' })).tlsServerName).toBe(true)
    expect(clientOptions(busOf('10.0.0.1:1', { KAFKA_TLS: 'true' })).tlsServerName).toBe(false)
    expect(clientOptions(busOf('a.example:1')).tlsServerName).toBeUndefined()
  })

  it('refuse a file for TLS that cannot be read or is no PEM file', () => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'kafka-client-'))
    const withCa = (KAFKA_TLS_CA: string) => () => clientOptions(busOf('a:1', { KAFKA_TLS: 'true', KAFKA_TLS_CA }))
    expect(withCa(join(dir.path, 'none.pem'))).toThrow(/KAFKA_TLS_CA \(.*none\.pem\) cannot be used: ENOENT/)
    writeFileSync(join(dir.path, 'ca.pem'), 'hello')
    expect(withCa(join(dir.path, 'ca.pem'))).toThrow(/no PEM block/)
  })
})

describe('a broker that is not there', () => {
  it('is told with its address, and may be tried again', async () => {
    const refusal = await refusalOf(busOf('127.0.0.1:1,no-such-host.invalid:2'))
    expect(refusal).toMatchObject(UNREACHABLE)
    expect(refusal.message).toContain('while listing the topics: no answer from 127.0.0.1:1, no-such-host.invalid:2')
    expect(refusal.message).toContain('ECONNREFUSED')
  })

  it('is told as such when something else answers there, or hangs up', async () => {
    const server = createServer((socket) =>
      socket
        .on('error', () => {})
        .resume()
        .end('HTTP/1.1 400 Bad Request'),
    )
    await once(server.listen(0, '127.0.0.1'), 'listening')
    await using _ = server
    const { port } = server.address() as AddressInfo
    expect(await refusalOf(busOf(`127.0.0.1:${port}`))).toMatchObject(UNREACHABLE)
  })
})

describe.skipIf(why)(`a plain connection${why}`, () => {
  it('works', async () => {
    const { bootstrap } = await brokerForTests()
    expect(await listTopics(busOf(bootstrap))).toBeInstanceOf(Array)
  })
})

describe.skipIf(whyOwn)(`a connection with TLS or a password${whyOwn}`, () => {
  const broker = async () => (await brokerForTests()) as Broker
  const isOwn = !process.env.KAFKA_BROKERS
  const sasl = (KAFKA_SASL_MECHANISM: string, password?: string) => ({
    KAFKA_SASL_MECHANISM,
    KAFKA_SASL_USERNAME: 'pipeline',
    KAFKA_SASL_PASSWORD: password ?? 'pipeline-secret',
  })

  describe.skipIf(!isOwn)(`to the broker of the tests${isOwn ? '' : ' (skipped: KAFKA_BROKERS names another)'}`, () => {
    it('works with the authority of its certificate, with and without a certificate of ours', async () => {
      const { tls, certificates } = await broker()
      const settings = { KAFKA_TLS: 'true', KAFKA_TLS_CA: certificates.ca }
      await expect(listTopics(busOf(tls, settings))).resolves.toBeInstanceOf(Array)
      await expect(listTopics(busOf(tls.replace('127.0.0.1', 'localhost'), settings))).resolves.toBeInstanceOf(Array)
      const own = { KAFKA_TLS_CERT: certificates.clientCert, KAFKA_TLS_KEY: certificates.clientKey }
      await expect(listTopics(busOf(tls, { ...settings, ...own }))).resolves.toBeInstanceOf(Array)
    })

    it.each(['plain', 'scram-sha-256', 'scram-sha-512'])(
      'works with a password by %s, also inside TLS',
      async (kind) => {
        const { sasl: plain, saslTls, certificates, accounts } = await broker()
        expect(sasl(kind).KAFKA_SASL_PASSWORD).toBe(accounts.pipeline)
        await expect(listTopics(busOf(plain, sasl(kind)))).resolves.toBeInstanceOf(Array)
        const tls = { KAFKA_TLS: 'true', KAFKA_TLS_CA: certificates.ca }
        await expect(listTopics(busOf(saslTls, { ...tls, ...sasl(kind) }))).resolves.toBeInstanceOf(Array)
      },
    )

    it.each(['plain', 'scram-sha-256'])('is refused with a wrong password by %s, which is not told', async (kind) => {
      const refusal = await refusalOf(busOf((await broker()).sasl, sasl(kind, 'wr0ng-one')))
      expect(refusal).toMatchObject(REFUSED)
      expect(refusal.message).toContain('does not accept the credentials; check KAFKA_SASL_MECHANISM')
      expect(refusal.message).not.toContain('wr0ng')
    })

    it('is refused where the port knows no passwords', async () => {
      const refusal = await refusalOf(busOf((await broker()).bootstrap, sasl('plain')))
      expect(refusal).toMatchObject(REFUSED)
      expect(refusal.message).toContain('does not offer this KAFKA_SASL_MECHANISM on this port')
    })

    it('is told to want a password when it has none', async () => {
      const refusal = await refusalOf(busOf((await broker()).sasl))
      expect(refusal).toMatchObject(UNREACHABLE)
      expect(refusal.message).toContain('does it want a password')
    })

    it('is refused when the certificate is not trusted, with the setting that helps', async () => {
      const refusal = await refusalOf(busOf((await broker()).tls, { KAFKA_TLS: 'true' }))
      expect(refusal).toMatchObject(REFUSED)
      expect(refusal.message).toMatch(/is not trusted; KAFKA_TLS_CA must name a PEM file/)
    })

    it('is refused where the port speaks TLS and we do not', async () => {
      const refusal = await refusalOf(busOf((await broker()).tls))
      expect(refusal).toMatchObject(REFUSED)
      expect(refusal.message).toContain('set KAFKA_TLS=true')
    })

    it('is told to be without TLS there where we speak it and the port does not', async () => {
      const refusal = await refusalOf(busOf((await broker()).bootstrap, { KAFKA_TLS: 'true' }))
      expect(refusal.message).toContain('does not speak TLS on this port')
    })
  })
})

describe('any other failure', () => {
  it('of our own stays what it is', () => {
    const own = kafkaError(new Error('x'), { brokers: ['a:1'] })
    expect(kafkaError(own, { brokers: ['a:1'] })).toBe(own)
    expect(own).toMatchObject({ code: 'bus_refused', message: 'Kafka: x' })
  })

  it.each([null, undefined, 'text', 5])('is an error even when it is none: %s', (thrown) => {
    expect(kafkaError(thrown, { brokers: ['a:1'] })).toMatchObject({ code: 'bus_refused' })
  })

  it('that holds itself ends', () => {
    const loop = new Error('loop') as Error & { cause: unknown }
    loop.cause = loop
    expect(kafkaError(loop, { brokers: [] }).code).toBe('bus_refused')
  })
})

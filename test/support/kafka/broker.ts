/**
 * One real broker on free ports of the loopback, with a data directory of its own that goes with it. It dies with
 * the process that started it, however that ends, where the system has setpriv.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Certificates, makeCertificates, tlsProperties } from './certificates.ts'
import { ACCOUNTS, installKafka } from './install.ts'

export interface BrokerOptions {
  version?: string
  /** Settings of the broker, over those of the tests. */
  properties?: Record<string, string>
}

/** Where a broker listens; host:port each. */
export interface Listeners {
  /** Without authentication or encryption. */
  bootstrap: string
  /** SASL without encryption: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512. */
  sasl: string
  /** TLS; a client's certificate is asked for, not required. */
  tls: string
  /** SASL inside TLS. */
  saslTls: string
}

export interface Broker extends Listeners, AsyncDisposable {
  certificates: Certificates
  accounts: typeof ACCOUNTS
  readonly pid: number
  /** Ends it in good order; its data stay until it is disposed of. */
  stop(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** Starts it again, after stopping it if it runs, with the same ports and data. */
  restart(): Promise<void>
}

const READY = 'Kafka Server started'
const READY_LIMIT_MS = 90_000
const STOP_LIMIT_MS = 20_000
const PORT_TRIES = 3
const JVM = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Djava.awt.headless=true']
const SETPRIV = '/usr/bin/setpriv'

export async function startBroker({ version, properties = {} }: BrokerOptions = {}): Promise<Broker> {
  const { classPath, formatted } = await installKafka(version)
  const dir = mkdtempSync(join(tmpdir(), 'pcap-pipeline-kafka-'))
  try {
    cpSync(formatted, join(dir, 'data'), { recursive: true })
    mkdirSync(join(dir, 'tls'))
    const certificates = makeCertificates(join(dir, 'tls'))
    const file = join(dir, 'server.properties')
    for (let tries = 1; ; tries++) {
      const ports = await freePorts(5)
      const all = { ...ownProperties(dir, ports), ...tlsProperties(certificates), ...properties }
      writeFileSync(
        file,
        Object.entries(all)
          .map(([name, value]) => `${name}=${value}\n`)
          .join(''),
      )
      try {
        const process = await launch(classPath, file)
        return brokerOf({ dir, classPath, file, certificates, ports, process })
      } catch (error) {
        if (tries === PORT_TRIES || !String(error).includes('Address already in use')) throw error
      }
    }
  } catch (error) {
    rmSync(dir, { recursive: true, force: true })
    throw error
  }
}

interface Parts {
  dir: string
  classPath: string
  file: string
  certificates: Certificates
  ports: number[]
  process: ChildProcess
}

function brokerOf({ dir, classPath, file, certificates, ports, process: first }: Parts): Broker {
  let process = first
  const [plain, sasl, tls, saslTls] = ports.map((port) => `127.0.0.1:${port}`) as [string, string, string, string]
  const isRunning = () => process.exitCode === null && process.signalCode === null

  async function end(signal: NodeJS.Signals): Promise<void> {
    if (!isRunning()) return
    const ended = once(process, 'exit')
    process.kill(signal)
    const late = setTimeout(() => process.kill('SIGKILL'), STOP_LIMIT_MS)
    await ended
    clearTimeout(late)
  }

  return {
    bootstrap: plain,
    sasl,
    tls,
    saslTls,
    certificates,
    accounts: ACCOUNTS,
    get pid() {
      return process.pid as number
    },
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGTERM')
      process = await launch(classPath, file)
    },
    async [Symbol.asyncDispose]() {
      await end('SIGKILL')
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** Resolves once it is ready to serve. */
async function launch(classPath: string, file: string): Promise<ChildProcess> {
  const java = ['java', ...JVM, '-cp', classPath, 'kafka.Kafka', file]
  const [command, ...args] = (existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'KILL', ...java] : java) as [string]
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let tail = ''
  const ready = new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => reject(new Error(`the broker ended (${code ?? signal}): ${tail}`)))
    // Read to its end: a full pipe would stop the broker.
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      // What comes at once may be longer than what is kept.
      if ((tail + text).includes(READY)) resolve()
      tail = (tail + text).slice(-4000)
    })
  })
  const late = setTimeout(() => child.kill('SIGKILL'), READY_LIMIT_MS)
  try {
    await ready
    return child
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  } finally {
    clearTimeout(late)
  }
}

function ownProperties(dir: string, ports: number[]): Record<string, string> {
  const [plain, sasl, tls, saslTls, controller] = ports
  const users = Object.entries(ACCOUNTS).map(([name, password]) => `user_${name}="${password}"`)
  const jaas: Record<string, string> = {}
  for (const listener of ['sasl', 'sasltls']) {
    const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;'
    jaas[`listener.name.${listener}.plain.sasl.jaas.config`] =
      `org.apache.kafka.common.security.plain.PlainLoginModule required ${users.join(' ')};`
    jaas[`listener.name.${listener}.scram-sha-256.sasl.jaas.config`] = scram
    jaas[`listener.name.${listener}.scram-sha-512.sasl.jaas.config`] = scram
  }
  return {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners:
      `PLAIN://127.0.0.1:${plain},SASL://127.0.0.1:${sasl},TLS://127.0.0.1:${tls},` +
      `SASLTLS://127.0.0.1:${saslTls},CONTROLLER://127.0.0.1:${controller}`,
    'listener.security.protocol.map':
      'PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,SASLTLS:SASL_SSL,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'PLAIN',
    'controller.listener.names': 'CONTROLLER',
    'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
    ...jaas,
    // Who shows neither a name nor a certificate may do anything, and so may `pipeline`; `stranger` may until a rule
    // about the thing exists.
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': 'User:ANONYMOUS;User:pipeline;User:CN=pipeline',
    'allow.everyone.if.no.acl.found': 'true',
    // One that was killed has to be given up before it may come again.
    'broker.session.timeout.ms': '2000',
    'broker.heartbeat.interval.ms': '500',
    'log.dirs': join(dir, 'data'),
    'log.cleaner.dedupe.buffer.size': '8388608',
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '4',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.num.partitions': '4',
    'transaction.state.log.min.isr': '1',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    'auto.create.topics.enable': 'false',
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  const ports: number[] = []
  for (const server of servers) {
    if (!server.listening) await once(server, 'listening')
    ports.push((server.address() as { port: number }).port)
  }
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

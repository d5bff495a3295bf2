/**
 * A real Kafka broker for tests: the one that KAFKA_BROKERS names, else Kafka 4.3.1 by Maven, started on free ports.
 *
 *   const why = await skipReason()
 *   describe.skipIf(why)(`the bus${why}`, () => {
 *     it('…', async () => {
 *       const { bootstrap } = await brokerForTests()     // shared by all tests of the run
 *       const prefix = uniquePrefix()                    // for the names of this test's topics, groups and so on
 *     })
 *     it('…', async () => {
 *       await using broker = await startBroker()         // its own, to be stopped and killed
 *     })
 *   })
 */

import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { type Broker, startBroker } from './kafka/broker.ts'
import { installKafka, missingTool } from './kafka/install.ts'
import { type Answer, SOCKET_NAME } from './kafka/shared.ts'

export { type Broker, startBroker } from './kafka/broker.ts'

/** A broker that belongs to others as well; only one that the tests started has more than `bootstrap`. */
export type SharedBroker = Pick<Broker, 'bootstrap'> & Partial<Pick<Broker, 'sasl' | 'tls' | 'saslTls'>> & Own

type Own = Partial<Pick<Broker, 'certificates' | 'accounts'>>

let started: Promise<SharedBroker> | undefined

/**
 * Why Kafka's tests cannot run, to be put behind their title; empty when they can. With `own` for tests that start a
 * broker themselves, which KAFKA_BROKERS does not help. Fetches Kafka if need be, once for the machine, and starts the
 * shared broker: here that may take its time, in a test it would be the test's.
 */
export async function skipReason({ own = false } = {}): Promise<string> {
  if (!own && process.env.KAFKA_BROKERS) return ''
  const missing = missingTool()
  if (missing !== undefined) return ` (skipped: ${missing}, which starts Kafka)`
  try {
    await installKafka()
  } catch (error) {
    return ` (skipped: no kafka here, ${(error as Error).message})`
  }
  if (!own) await brokerForTests()
  return ''
}

/** The broker that all tests of a run share. */
export function brokerForTests(): Promise<SharedBroker> {
  started ??= findBroker()
  return started
}

async function findBroker(): Promise<SharedBroker> {
  const bootstrap = process.env.KAFKA_BROKERS
  if (bootstrap) return { bootstrap }
  const path = process.env[SOCKET_NAME]
  // Outside of vitest, in a benchmark, it ends with the process.
  if (path === undefined) return startBroker()
  const answer = JSON.parse(await text(connect(path))) as Answer
  if ('error' in answer) throw new Error(answer.error)
  return answer.broker
}

/** The beginning of names that no other test has. */
export function uniquePrefix(): string {
  return `t${randomBytes(6).toString('hex')}.`
}

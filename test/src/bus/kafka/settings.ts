/** The settings of a bus, as a person would give them, for tests of its parts. */

import { tmpdir } from 'node:os'
import type { BusConfig } from '../../../../src/bus/kafka/client.ts'
import { loadConfig } from '../../../../src/config.ts'

export function busOf(bootstrap: string, settings: Record<string, string> = {}): BusConfig {
  return loadConfig({
    env: { BUS: 'kafka', KAFKA_BROKERS: bootstrap, ...settings },
    cwd: tmpdir(),
    envFile: '/dev/null',
  }).bus
}

/** A topic's names that belong to one test alone. */
export function namesWith(prefix: string): Record<string, string> {
  return {
    KAFKA_TOPIC_PREFIX: prefix,
    KAFKA_TOPIC_RAW: `${prefix}zeek-raw`,
    KAFKA_TOPIC_NORMALIZED: `${prefix}zeek-normalized`,
    KAFKA_TOPIC_DEAD_LETTER: `${prefix}zeek-dead-letter`,
    KAFKA_TOPIC_EMPLOYEES: `${prefix}employees`,
    KAFKA_TOPIC_COMPUTERS: `${prefix}computers`,
    KAFKA_TOPIC_WATCHED: `${prefix}watched-traffic`,
    KAFKA_GROUP_ID: `${prefix}group`,
  }
}

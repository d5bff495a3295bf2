/** Kafka, where it carries the work: whether it answers, has the topics, and how far the groups have read. */

import { messageOf, PipelineError } from '../../../state/errors.ts'
import { type Check, error, type Finding, ok, warning } from '../check.ts'
import type { Host } from '../host.ts'

const MANY = 100_000

export const broker: Check<Host> = {
  name: 'broker',
  async look({ config: { bus } }) {
    if (bus.kind === 'embedded') return [ok('none is needed: BUS is embedded')]
    const { missingTopics } = await import('../../bus/kafka/topics.ts')
    const { groupLags } = await import('../../bus/kafka/lag.ts')
    const where = bus.brokers.join(', ')
    try {
      const missing = await missingTopics(bus)
      if (missing.length > 0 && !bus.createTopics)
        return [
          error(
            `${where} has no topic ${missing.join(', ')}, and KAFKA_CREATE_TOPICS is false`,
            'create them (docs/kafka.md), or set KAFKA_CREATE_TOPICS=true',
          ),
        ]
      if (missing.length > 0) return [ok(`${where} answers; the first start creates ${missing.length} topics`)]
      const lags = await groupLags(bus)
      const late = lags.filter(({ lag }) => lag > MANY).map(({ group, topic, lag }) => lateFinding(group, topic, lag))
      const total = lags.reduce((sum, { lag }) => sum + lag, 0)
      return [ok(`${where} answers, has all topics, and the groups are ${total} messages behind`), ...late]
    } catch (thrown) {
      const isDown = thrown instanceof PipelineError && thrown.code === 'bus_unavailable'
      const todo = isDown
        ? 'start the broker, or correct KAFKA_BROKERS; until then captures are taken in, and wait'
        : 'correct what it says, in the settings or on the broker'
      return [error(messageOf(thrown), todo)]
    }
  },
}

function lateFinding(group: string, topic: string, lag: number): Finding {
  return warning(
    `the group ${group} is ${lag} messages behind in ${topic}`,
    'start more processes of that stage, on this host or others',
  )
}

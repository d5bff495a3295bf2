import { describe, expect, it } from 'vitest'
import { skipReason, startBroker } from '../support/kafka.ts'
import { runKafkaWithKills } from '../support/kafka-kills.ts'
import { KILLS_BROKER, problemsOf } from '../support/kafka-kills-verdict.ts'

const why = await skipReason({ own: true })

describe.skipIf(why)(`the stages as processes over Kafka, killed, paused and joined by others at random${why}`, () => {
  it.each([
    ['one ledger', 1, 7],
    ['a ledger for each of two hosts', 2, 8],
  ] as const)(
    'every event is there exactly once in the end: %s',
    async (_, hosts, seed) => {
      await using broker = await startBroker(KILLS_BROKER)
      const run = await runKafkaWithKills({ broker, seed, kills: hosts === 1 ? 10 : 6, hosts, withinMs: 1500 })
      expect(problemsOf(run)).toEqual([])
      expect(run.hosts.flatMap(({ captures }) => captures).map(({ state }) => state)).toEqual(
        Array(6 * hosts).fill('done'),
      )
    },
    400_000,
  )
})

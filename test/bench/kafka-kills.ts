/**
 * `npm run bench -- kafka-kills [--kills 100] [--hosts 1] [--seed 1] [--within 2500]`: what is there after so many
 * disturbances of a pipeline over Kafka (kills, pauses, restarts of the broker), beside what should be.
 */

import { parseArgs } from 'node:util'
import { skipReason, startBroker } from '../support/kafka.ts'
import { runKafkaWithKills } from '../support/kafka-kills.ts'
import { KILLS_BROKER, problemsOf } from '../support/kafka-kills-verdict.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    hosts: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    within: { type: 'string', default: '2500' },
  },
})
const why = await skipReason({ own: true })
if (why !== '') throw new Error(`there is no broker to kill${why}`)

await using broker = await startBroker(KILLS_BROKER)
const run = await runKafkaWithKills({
  broker,
  seed: Number(values.seed),
  kills: Number(values.kills),
  hosts: values.hosts === '2' ? 2 : 1,
  withinMs: Number(values.within),
  say: (what) => console.log(what),
})
console.log(
  Object.entries(run.done)
    .map(([what, times]) => `${what}: ${times}`)
    .join('\n'),
)
const total = (column: 'rows' | 'ids') => Object.values(run.tables).reduce((sum, table) => sum + table[column], 0)
const expected = Object.values(run.expected.tables).reduce((sum, { rows }) => sum + rows, 0)
console.log(`seed ${values.seed}: rows expected ${expected}, rows ${total('rows')}, distinct event ids ${total('ids')}`)
console.log(`of others: ${JSON.stringify(run.foreign)}; normalized: ${JSON.stringify(run.normalized)}`)
const problems = problemsOf(run)
console.log(problems.length === 0 ? 'all is there exactly once' : problems.join('\n'))
process.exitCode = problems.length === 0 ? 0 : 1

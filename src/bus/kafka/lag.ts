/** How far the groups of the pipeline have read, asked of the brokers: for `status`, which takes part in nothing. */

import { offsetFetchV8 } from '@platformatic/kafka'
import { type BusConfig, clientOptions, kafkaError } from './client.ts'
import { openCluster, retrying } from './cluster.ts'
import { offsetAt } from './fetch.ts'

export interface GroupLag {
  group: string
  topic: string
  partitions: number
  /** Messages, the marks of transactions among them, that are not acknowledged. */
  lag: number
}

const LIMIT_MS = 10_000

/** @throws PipelineError bus_unavailable, bus_refused. */
export async function groupLags(config: BusConfig): Promise<GroupLag[]> {
  const { topicPrefix, groupId, topicsRaw } = config
  const handOffs = ['convert', 'split', 'distribute'].map((stage) => `${topicPrefix}${stage}`)
  const wanted = [
    ...handOffs.map((name) => ({ group: name, topic: name })),
    ...topicsRaw.map((topic) => ({ group: groupId, topic })),
  ]
  const cluster = openCluster(clientOptions(config))
  const signal = AbortSignal.timeout(LIMIT_MS)
  try {
    const lags: GroupLag[] = []
    for (const each of wanted) lags.push(await retrying(signal, () => lagOf(each)))
    return lags
  } catch (error) {
    throw kafkaError(error, config, 'asking for the lag')
  } finally {
    await cluster.close()
  }

  async function lagOf({ group, topic }: { group: string; topic: string }): Promise<GroupLag> {
    const partitions = (await cluster.topics([topic])).get(topic)?.partitions ?? []
    const indexes = partitions.map((_, index) => index)
    const answer = await cluster.onCoordinator('group', group, (connection) =>
      offsetFetchV8.api.async(
        connection,
        [{ groupId: group, topics: [{ name: topic, partitionIndexes: indexes }] } as never],
        false,
      ),
    )
    const committed = new Map(
      answer.groups[0]?.topics[0]?.partitions.map((each) => [each.partitionIndex, Number(each.committedOffset)]),
    )
    let lag = 0
    for (const index of indexes) {
      const from = committed.get(index) ?? -1
      const start = from >= 0 ? from : await offsetAt(cluster, topic, index, 'earliest')
      lag += Math.max(0, (await offsetAt(cluster, topic, index, 'latest')) - start)
    }
    return { group, topic, partitions: partitions.length, lag }
  }
}

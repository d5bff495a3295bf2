/** A topic as a test writes to it and reads it: from its beginning to its end, what was committed. */

import { type BusConfig, clientOptions } from '../../../src/bus/kafka/client.ts'
import { openCluster } from '../../../src/bus/kafka/cluster.ts'
import { fetchCommitted, offsetAt } from '../../../src/bus/kafka/fetch.ts'
import { type RawRecord, readRecords } from '../../../src/bus/kafka/records.ts'
import { createProducer } from '../../../src/bus/kafka/transaction.ts'

export async function recordsIn(config: BusConfig, topic: string): Promise<(RawRecord & { partition: number })[]> {
  const cluster = openCluster(clientOptions(config))
  const found: (RawRecord & { partition: number })[] = []
  const { partitions } = (await cluster.topics([topic])).get(topic) as { partitions: { leader: number }[] }
  for (const [partition, { leader }] of partitions.entries()) {
    const end = await offsetAt(cluster, topic, partition, 'latest')
    for (let offset = 0; offset < end; ) {
      const at = [{ topic, partition, offset }]
      const [answer] = await fetchCommitted(cluster, leader, at, { maxWaitMs: 500, maxBytes: 2 ** 20 })
      if (answer === undefined || answer.error !== 0) throw new Error(`${topic} cannot be read`)
      offset = readRecords(answer.records, { from: offset, aborted: answer.aborted }, (record) =>
        found.push({ ...record, partition }),
      )
    }
  }
  await cluster.close()
  return found
}

export async function sendTo(
  config: BusConfig,
  topic: string,
  records: readonly (readonly [key: string, value: string | null])[],
): Promise<void> {
  const cluster = openCluster(clientOptions(config))
  const producer = createProducer(cluster, { transactionId: `${topic}-test-${Date.now()}`, compression: 'none' })
  await producer.transact(AbortSignal.timeout(30_000), ({ send }) =>
    send(
      records.map(([key, value]) => ({
        topic,
        ...(key !== '' && { key: Buffer.from(key) }),
        value: value === null ? null : Buffer.from(value),
      })),
    ),
  )
  await cluster.close()
}

/**
 * Fetching, with the records left as bytes: `records.ts` reads them where they lie.
 *
 * Format: Fetch request and answer, version 13 (https://kafka.apache.org/protocol#The_Messages_Fetch).
 */

import { createAPI, fetchV13, listOffsetsV8, type Reader } from '@platformatic/kafka'
import type { Cluster } from './cluster.ts'
import type { AbortedTransaction } from './records.ts'

export interface Position {
  topic: string
  partition: number
  /** The next offset to read. */
  offset: number
}

export interface Fetched extends Position {
  /** Of Kafka's error codes; 0 is none. */
  error: number
  /** One beyond the last offset that is there, and one beyond the last that no open transaction is before. */
  end: number
  stableEnd: number
  aborted: AbortedTransaction[]
  records: Buffer
}

export interface FetchOptions {
  maxWaitMs: number
  maxBytes: number
}

export const OFFSET_OUT_OF_RANGE = 1

const READ_COMMITTED = 1
const LATEST = -1n
const EARLIEST = -2n

interface PartitionAnswer extends Omit<Fetched, 'topic' | 'offset'> {
  topicId: string
}

const fetchApi = createAPI<Parameters<typeof fetchV13.createRequest>, PartitionAnswer[]>(
  1,
  13,
  fetchV13.createRequest,
  parseAnswer as never,
)

/** Committed events from these positions on, of one leader: call it for the positions of each. */
export async function fetchCommitted(
  cluster: Cluster,
  leader: number,
  positions: readonly Position[],
  { maxWaitMs, maxBytes }: FetchOptions,
): Promise<Fetched[]> {
  const topics = await cluster.topics([...new Set(positions.map(({ topic }) => topic))])
  const asked = [...topics].map(([topic, { id }]) => ({
    topicId: id,
    partitions: positions
      .filter((position) => position.topic === topic)
      .map(({ partition, offset }) => ({
        ...{ partition, fetchOffset: BigInt(offset), partitionMaxBytes: maxBytes },
        ...{ currentLeaderEpoch: -1, lastFetchedEpoch: -1 },
      })),
  }))
  const answers = await cluster.onBroker(leader, (connection) =>
    fetchApi.async(connection, maxWaitMs, 1, maxBytes, READ_COMMITTED, 0, 0, asked, [], ''),
  )
  const names = new Map([...topics].map(([topic, { id }]) => [id, topic]))
  return answers.flatMap(({ topicId, ...answer }) => {
    const topic = names.get(topicId)
    const position = positions.find((each) => each.topic === topic && each.partition === answer.partition)
    return position === undefined ? [] : [{ ...answer, ...position }]
  })
}

function parseAnswer(_correlationId: number, _apiKey: number, _apiVersion: number, reader: Reader): PartitionAnswer[] {
  reader.readInt32()
  const failure = reader.readInt16()
  reader.readInt32()
  const answers: PartitionAnswer[] = []
  reader.readArray((r) => {
    const topicId = r.readUUID() as string
    r.readArray((p) => {
      const partition = p.readInt32()
      const error = p.readInt16()
      const end = Number(p.readInt64())
      const stableEnd = Number(p.readInt64())
      p.readInt64()
      const aborted = (p.readArray((a) => ({ producerId: a.readInt64(), firstOffset: a.readInt64() })) ??
        []) as AbortedTransaction[]
      p.readInt32()
      const size = p.readUnsignedVarInt() - 1
      const records = size > 0 ? p.buffer.slice(p.position, p.position + size) : Buffer.alloc(0)
      if (size > 0) p.skip(size)
      answers.push({ topicId, partition, error: error || failure, end, stableEnd, aborted, records })
      return undefined
    })
    return undefined
  })
  return answers
}

/** The first offset that is there, or one beyond the last, open transactions included. */
export async function offsetAt(
  cluster: Cluster,
  topic: string,
  partition: number,
  where: 'earliest' | 'latest',
): Promise<number> {
  const asked = [
    {
      name: topic,
      partitions: [
        { partitionIndex: partition, currentLeaderEpoch: -1, timestamp: where === 'latest' ? LATEST : EARLIEST },
      ],
    },
  ]
  const answer = await cluster.onLeader(topic, partition, (connection) =>
    listOffsetsV8.api.async(connection, -1, 0, asked),
  )
  return Number(answer.topics[0]?.partitions[0]?.offset ?? 0n)
}

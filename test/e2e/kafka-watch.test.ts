/** Watched traffic over Kafka, as its users run it: lists out of topics, hits into one. */

import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ensureTopics, topicsOf } from '../../src/bus/kafka/topics.ts'
import { busOf, namesWith } from '../src/bus/kafka/settings.ts'
import { makeHome } from '../support/cli.ts'
import { recordsIn, sendTo } from '../support/kafka/topic.ts'
import { brokerForTests, skipReason, uniquePrefix } from '../support/kafka.ts'

const why = await skipReason()
const SAMPLE = join(import.meta.dirname, '../fixtures/sample.pcap')

describe.skipIf(why)(`watch lists over Kafka${why}`, { timeout: 240_000 }, () => {
  it('flag rows and messages alike, and each hit is told once', async () => {
    const { bootstrap } = await brokerForTests()
    const names = namesWith(uniquePrefix())
    const config = busOf(bootstrap, names)
    await ensureTopics(config, topicsOf(config))
    await sendTo(config, names.KAFKA_TOPIC_EMPLOYEES as string, [['7', '{"name":"Ann Able","watch_flag":"YES"}']])
    await sendTo(config, names.KAFKA_TOPIC_COMPUTERS as string, [
      ['1', '{"comp_id":1,"empkey":"7","ip":"192.168.7.20"}'],
    ])
    using home = makeHome({
      ...{ ...names, BUS: 'kafka', KAFKA_BROKERS: bootstrap, KAFKA_PARTITIONS: '2', SPLIT_LINES: '7' },
      ...{ CONVERT_ENGINE: 'tshark', FLUSH_INTERVAL_SECONDS: '1' },
    })
    const { code, stderr } = await home.run('ingest', SAMPLE)
    expect(stderr).not.toContain('unexpected')
    expect(code).toBe(0)
    const rows = await home.rows<{ event_id: string; watch_employee: string[] | null }>(
      'select event_id, watch_employee from events',
    )
    const flagged = rows.filter(({ watch_employee }) => watch_employee !== null).map(({ event_id }) => event_id)
    expect(flagged.length).toBeGreaterThan(10)
    expect(flagged.length).toBeLessThan(rows.length)
    const values = async (topic: string | undefined) =>
      (await recordsIn(config, topic as string)).map(({ value }) => JSON.parse(String(value)))
    const watched = await values(names.KAFKA_TOPIC_WATCHED)
    expect(watched.map(({ event_id }) => event_id).sort()).toEqual(flagged.sort())
    for (const { employees, enriched } of watched) {
      expect(employees).toEqual([{ key: '7', name: 'Ann Able' }])
      expect(enriched).toMatchObject({ watch_employee: ['7'], watch_list: ['employees'] })
    }
    const normalized = await values(names.KAFKA_TOPIC_NORMALIZED)
    expect(normalized).toHaveLength(rows.length)
    expect(normalized.filter(({ enriched }) => 'watch_list' in enriched)).toHaveLength(flagged.length)
  })
})

/** Watch lists that come over topics, on a real broker. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openKafkaBus } from '../../../../src/bus/kafka/bus.ts'
import type { BusConfig } from '../../../../src/bus/kafka/client.ts'
import { ensureTopics, topicsOf } from '../../../../src/bus/kafka/topics.ts'
import { type Ledger, openLedger } from '../../../../state/ledger.ts'
import { recordsIn, sendTo } from '../../../support/kafka/topic.ts'
import { brokerForTests, skipReason, uniquePrefix } from '../../../support/kafka.ts'
import { recordingLog, testLayout, until } from '../../../support/pipeline.ts'
import { busOf, namesWith } from './settings.ts'

const why = await skipReason()
const SHARED = join(import.meta.dirname, '../../../../../shared/reference/watchlist')
const absent = existsSync(SHARED) ? '' : ` (skipped: ${SHARED} is absent)`

const ANN = '{"key":"7","name":"Ann Able","watch_flag":"YES"}'
const CARD = '{"comp_id":1,"empkey":"7","macaddr":"e0:a1:d7:18:c2:72"}'

async function openWorld() {
  const config = busOf((await brokerForTests()).bootstrap, { ...namesWith(uniquePrefix()), KAFKA_PARTITIONS: '2' })
  await ensureTopics(config, topicsOf(config))
  const { employees, computers } = config.watch as NonNullable<BusConfig['watch']>
  return {
    config,
    employees: (...records: [string, string | null][]) => sendTo(config, employees, records),
    computers: (...records: [string, string | null][]) => sendTo(config, computers, records),
    letters: async () =>
      (await recordsIn(config, config.topicDeadLetter)).map(({ key, value, headers = [] }) => ({
        ...{ key: key?.toString(), value: value?.toString() },
        ...Object.fromEntries(headers.map((pair) => pair.map(String))),
      })),
    async host(given?: Ledger) {
      const layout = testLayout()
      const ledger = given ?? openLedger(layout.ledger)
      const log = recordingLog()
      const bus = openKafkaBus({
        ...{ config, ledger, layout, log, leaseMs: 30_000 },
        flush: { bufferBytes: 0, intervalMs: 300, events: 0 },
        rules: { localNetworks: [] },
      })
      onTestFinished(async () => await bus.close(), 60_000)
      await bus.join({ stages: ['convert'], onWork: () => {}, mayClaim: () => true })
      return { ledger, bus, lines: log.lines }
    },
  }
}

const peopleIn = ({ watch }: Ledger) => watch.employees().map(({ key, name, watched }) => [key, name, watched])

describe.skipIf(why)(`watch lists in topics${why}`, { timeout: 60_000 }, () => {
  it('are there when a host has joined, and changes come to every host', async () => {
    const world = await openWorld()
    await world.employees(['7', ANN])
    await world.computers(['7', CARD])
    const [one, two] = [await world.host(), await world.host()]
    for (const { ledger } of [one, two]) {
      expect(peopleIn(ledger)).toEqual([['7', 'Ann Able', true]])
      expect(ledger.watch.computers()).toMatchObject([{ employee: '7', mac: 'e0:a1:d7:18:c2:72' }])
    }
    const before = one.ledger.watch.version()
    await world.employees(['7', ANN.replace('YES', 'NO')], ['8', '{"name":"Bo","watch_flag":"YES"}'])
    await world.computers(['7', null])
    for (const { ledger } of [one, two]) {
      await until(() => ledger.watch.employees().length === 2 && ledger.watch.computers().length === 0, 'the changes')
      expect(peopleIn(ledger)).toEqual([
        ['7', 'Ann Able', false],
        ['8', 'Bo', true],
      ])
    }
    expect(one.ledger.watch.version()).toBeGreaterThan(before)
  })

  it('are read from the beginning at each start: what was taken out meanwhile goes, what was entered by hand stays', async () => {
    const world = await openWorld()
    await world.employees(['7', ANN], ['8', '{"name":"Bo","watch_flag":"YES"}'])
    const { ledger, bus } = await world.host()
    ledger.watch.putEmployee({ key: 'own', name: 'By Hand', watched: true })
    await bus.close()
    await world.employees(['8', null])
    ledger.watch.putEmployee({ key: '7', name: 'Changed Here', watched: false })
    await world.host(ledger)
    expect(peopleIn(ledger)).toEqual([
      ['7', 'Ann Able', true],
      ['own', 'By Hand', true],
    ])
  })

  it('lose no entry to what is none: that goes to the dead letters with its reason, once', async () => {
    const world = await openWorld()
    await world.employees(['7', ANN], ['7', 'nonsense'], ['x'.repeat(2000), ANN])
    await world.computers(['1', '{"comp_id":1,"empkey":"7","macaddr":"no"}'])
    const { ledger, bus, lines } = await world.host()
    expect(peopleIn(ledger)).toEqual([['7', 'Ann Able', true]])
    expect(ledger.watch.computers()).toEqual([])
    const { employees, computers } = world.config.watch as NonNullable<BusConfig['watch']>
    const found = (await world.letters()).sort((a, b) => (a.reason < b.reason ? -1 : 1))
    expect(found).toMatchObject([
      { key: '1', reason: '"no" is no MAC address', topic: computers, offset: '0' },
      { key: 'x'.repeat(2000), value: ANN, reason: 'a key of more than 1024 bytes', topic: employees },
      { key: '7', value: 'nonsense', reason: 'not JSON', topic: employees, partition: '0', offset: '1' },
    ])
    expect(lines.filter((line) => line.includes('no entry of a watch list'))).toHaveLength(3)
    await world.employees(['9', '[]'])
    await until(async () => (await world.letters()).length === 4, 'the fourth')
    await bus.close()
    await world.host(ledger)
    expect(await world.letters()).toHaveLength(4)
  })

  it.skipIf(absent)(`take lines as a console producer writes them${absent}`, async () => {
    const world = await openWorld()
    const records = (name: string) =>
      readFileSync(join(SHARED, name), 'utf8')
        .split('\n')
        .filter((line) => line.trim() !== '')
        .map((line): [string, string] => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)])
    await world.employees(...records('employees.json'))
    await world.computers(...records('computers.json'))
    const { ledger } = await world.host()
    expect(ledger.watch.employees().filter(({ watched }) => watched)).toMatchObject([{ key: '100', name: 'Tom Jones' }])
    expect(ledger.watch.computers().map(({ employee }) => employee)).toEqual(['100', '101', '102'])
    expect(await world.letters()).toEqual([])
  })
})

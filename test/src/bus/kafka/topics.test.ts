import { randomInt } from 'node:crypto'
import { AclOperations, AclPermissionTypes, Admin, ResourcePatternTypes, ResourceTypes } from '@platformatic/kafka'
import { describe, expect, it } from 'vitest'
import { type BusConfig, clientOptions } from '../../../../src/bus/kafka/client.ts'
import { ensureTopics, topicsOf } from '../../../../src/bus/kafka/topics.ts'
import type { PipelineError } from '../../../../state/errors.ts'
import { type Broker, brokerForTests, skipReason, startBroker, uniquePrefix } from '../../../support/kafka.ts'
import { busOf, namesWith } from './settings.ts'

const why = await skipReason()
const whyOwn = process.env.KAFKA_BROKERS ? ' (skipped: KAFKA_BROKERS names a broker that is not ours)' : why

async function busWith(settings: Record<string, string> = {}): Promise<BusConfig> {
  const { bootstrap } = await brokerForTests()
  return busOf(bootstrap, { ...namesWith(uniquePrefix()), KAFKA_PARTITIONS: '3', ...settings })
}

async function withAdmin<T>(bus: BusConfig, work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Admin(clientOptions(bus))
  try {
    return await work(admin)
  } finally {
    await admin.close()
  }
}

const ensureAll = (bus: BusConfig) => ensureTopics(bus, topicsOf(bus))
const make = (bus: BusConfig, name: string, partitions: number, configs: Record<string, string> = {}) =>
  withAdmin(bus, (admin) =>
    admin.createTopics({
      topics: [name],
      partitions,
      configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
    }),
  )

async function refusalOf(bus: BusConfig): Promise<{ error: PipelineError; problems: string[] }> {
  const error = (await ensureAll(bus).then(
    () => expect.fail('the topics were accepted'),
    (thrown) => thrown,
  )) as PipelineError
  return { error, problems: error.message.split('\n- ').slice(1) }
}

async function configsOf(bus: BusConfig, resourceName: string): Promise<Record<string, string>> {
  const [answer] = await withAdmin(bus, (admin) =>
    admin.describeConfigs({ resources: [{ resourceType: 2, resourceName, configurationKeys: null }] as never }),
  )
  return Object.fromEntries(answer?.configs.map(({ name, value }) => [name, value ?? '']) ?? [])
}

describe('the topics of the pipeline', () => {
  it('are the hand-offs, the ledger, and those of events as the settings name them', () => {
    const bus = busOf('a:1', {
      KAFKA_TOPIC_RAW: 'zeek-conn,zeek-dns',
      KAFKA_PARTITIONS: '6',
      KAFKA_RETENTION_HOURS: '24',
    })
    const topics = topicsOf(bus).map(({ name, partitions, cleanup, retentionMs }) => [
      name,
      partitions,
      cleanup,
      retentionMs,
    ])
    const day = 24 * 3_600_000
    expect(topics).toEqual([
      ['pcap-pipeline.convert', 6, 'delete', -1],
      ['pcap-pipeline.split', 6, 'delete', -1],
      ['pcap-pipeline.distribute', 6, 'delete', -1],
      ['pcap-pipeline.ledger', 1, 'compact', undefined],
      ['zeek-conn', 6, 'delete', day],
      ['zeek-dns', 6, 'delete', day],
      ['zeek-normalized', 6, 'delete', day],
      ['zeek-dead-letter', 6, 'delete', day],
      ['employees', 1, 'compact', undefined],
      ['computers', 1, 'compact', undefined],
      ['watched-traffic', 6, 'delete', day],
    ])
  })

  it('are without the normalized events where these are not published', () => {
    const roles = topicsOf(busOf('a:1', { KAFKA_NORMALIZED: 'no' })).map(({ role }) => role)
    expect(roles).not.toContain('normalized')
  })

  it('are without those of the watch lists where these are not followed', () => {
    const roles = topicsOf(busOf('a:1', { KAFKA_WATCH: 'no' })).map(({ role }) => role)
    expect(roles).not.toContain('watched')
    expect(roles).not.toContain('watch list')
  })
})

describe.skipIf(why)(`topics on a broker${why}`, () => {
  it('are created as they have to be, and left alone afterwards', async () => {
    const bus = await busWith({ KAFKA_RETENTION_HOURS: '2' })
    const names = topicsOf(bus).map(({ name }) => name)
    expect(await ensureAll(bus)).toEqual({ created: names, warnings: [] })
    expect(await ensureAll(bus)).toEqual({ created: [], warnings: [] })
    const { topics } = await withAdmin(bus, (admin) => admin.metadata({ topics: [...names] }))
    expect(names.map((name) => topics.get(name)?.partitionsCount)).toEqual([3, 3, 3, 1, 3, 3, 3, 1, 1, 3])
    expect(await configsOf(bus, `${bus.topicPrefix}ledger`)).toMatchObject({ 'cleanup.policy': 'compact' })
    expect(await configsOf(bus, `${bus.topicPrefix}split`)).toMatchObject({ 'retention.ms': '-1' })
    expect(await configsOf(bus, bus.topicsRaw[0] as string)).toMatchObject({
      'cleanup.policy': 'delete',
      'retention.ms': '7200000',
      'max.message.bytes': '10485760',
    })
  })

  it('may be asked for by many processes at once', async () => {
    const bus = await busWith()
    const all = await Promise.all(Array.from({ length: 6 }, () => ensureAll(bus)))
    expect(all.flatMap(({ created }) => created).sort()).toEqual(
      topicsOf(bus)
        .map(({ name }) => name)
        .sort(),
    )
  })

  it('that exist with partitions and a retention of their own are taken as they are', async () => {
    const bus = await busWith()
    await make(bus, bus.topicsRaw[0] as string, 1, { 'retention.ms': '60000' })
    const { created, warnings } = await ensureAll(bus)
    expect(created).not.toContain(bus.topicsRaw[0])
    expect(warnings).toEqual([])
    expect(await configsOf(bus, bus.topicsRaw[0] as string)).toMatchObject({ 'retention.ms': '60000' })
  })

  it('of watch lists may have a retention, which is warned of', async () => {
    const bus = await busWith()
    await make(bus, bus.watch?.employees as string, 2, { 'cleanup.policy': 'delete' })
    const { warnings } = await ensureAll(bus)
    expect(warnings).toEqual([expect.stringContaining('entries that are older than its retention are forgotten')])
  })

  it('that are missing are told all together, with the commands that create them, where none may be created', async () => {
    const bus = await busWith({ KAFKA_CREATE_TOPICS: 'false', KAFKA_REPLICATION: '3' })
    await make(bus, bus.topicDeadLetter, 1)
    const { error, problems } = await refusalOf(bus)
    expect(error).toMatchObject({ code: 'bus_refused', retryable: false })
    expect(problems).toHaveLength(9)
    const server = `kafka-topics.sh --bootstrap-server ${bus.brokers[0]}`
    const ledger = `${bus.topicPrefix}ledger`
    expect(problems).toContain(
      `${ledger} (what is done) is missing, and KAFKA_CREATE_TOPICS is false: ${server} --create --topic ${ledger} ` +
        '--partitions 1 --replication-factor 3 --config cleanup.policy=compact --config max.message.bytes=10485760',
    )
    expect(problems.join()).not.toContain(bus.topicDeadLetter)
  })

  it('that would lose what is kept in them are refused, with the command that mends them', async () => {
    const bus = await busWith()
    const [raw = ''] = bus.topicsRaw
    await make(bus, `${bus.topicPrefix}ledger`, 2)
    await make(bus, raw, 2, { 'cleanup.policy': 'compact' })
    const { problems } = await refusalOf(bus)
    expect(problems).toHaveLength(3)
    expect(problems[0]).toMatch(
      /ledger \(what is done\) has 2 partitions and must have 1: delete it .*--delete --topic/,
    )
    expect(problems[1]).toMatch(/ledger .* has cleanup\.policy=delete, with which what is done would be forgotten/)
    expect(problems[2]).toContain(
      `${raw} (raw events) has cleanup.policy=compact, with which messages of the same key would be lost: ` +
        `kafka-configs.sh --bootstrap-server ${bus.brokers[0]} --alter --entity-type topics --entity-name ${raw} ` +
        '--add-config cleanup.policy=delete',
    )
  })

  it('that slow the work down or may lose what waits long are warned of', async () => {
    const bus = await busWith()
    await make(bus, `${bus.topicPrefix}convert`, 1, { 'retention.ms': '-1' })
    await make(bus, `${bus.topicPrefix}split`, 3, { 'max.message.bytes': '1000', 'retention.ms': '1000' })
    const { warnings } = await ensureAll(bus)
    expect(warnings).toEqual([
      expect.stringMatching(
        /convert .* has 1 partition, so that one process alone works on it; more: .*--partitions 3$/,
      ),
      expect.stringMatching(/split .* takes no message above 1000 bytes; more: .*max\.message\.bytes=10485760$/),
      expect.stringMatching(/split .* has retention\.ms=1000: what waits for longer is lost; to keep it: /),
    ])
  })

  it('that the broker does not create are told with its own reason', async () => {
    const bus = await busWith({ KAFKA_REPLICATION: '99' })
    const { problems } = await refusalOf(bus)
    expect(problems).toHaveLength(10)
    expect(problems[0]).toMatch(/is missing and cannot be created \(.*INVALID_REPLICATION_FACTOR.*\): kafka-topics\.sh/)
  })

  it('are not looked at where no broker answers, which may pass', async () => {
    await expect(ensureAll(busOf('127.0.0.1:1'))).rejects.toMatchObject({ code: 'bus_unavailable', retryable: true })
  })
})

describe.skipIf(whyOwn)(`topics that others are the masters of${whyOwn}`, () => {
  const stranger = {
    KAFKA_SASL_MECHANISM: 'plain',
    KAFKA_SASL_USERNAME: 'stranger',
    KAFKA_SASL_PASSWORD: 'stranger-secret',
  }

  async function busesOf(): Promise<{ master: BusConfig; other: BusConfig }> {
    const { bootstrap, sasl } = (await brokerForTests()) as Broker
    const names = { ...namesWith(uniquePrefix()), KAFKA_PARTITIONS: '2' }
    return { master: busOf(bootstrap, names), other: busOf(sasl, { ...names, ...stranger }) }
  }

  const rule = (
    bus: BusConfig,
    of: { operation: number; resourceName: string; principal?: string; denied?: boolean },
  ) =>
    withAdmin(bus, (admin) => {
      const { denied = false, principal = 'User:stranger', ...what } = of
      const permissionType = denied ? AclPermissionTypes.DENY : AclPermissionTypes.ALLOW
      const isCluster = what.resourceName === 'kafka-cluster'
      const resourceType = isCluster ? ResourceTypes.CLUSTER : ResourceTypes.TOPIC
      const resourcePatternType = isCluster ? ResourcePatternTypes.LITERAL : ResourcePatternTypes.PREFIXED
      const creation = { ...what, principal, permissionType, resourceType, resourcePatternType, host: '*' }
      return admin.createAcls({ creations: [creation] as never })
    })

  /** A broker heeds a new rule a moment later. */
  const untilRefused = (bus: BusConfig) =>
    expect
      .poll(() => make(bus, `${bus.topicPrefix}probe-${randomInt(1e9)}`, 1).then(String, () => 'refused'), {
        timeout: 10_000,
      })
      .toBe('refused')

  it('and that we may neither see nor create are told as such', async () => {
    const { master, other } = await busesOf()
    await rule(master, { operation: AclOperations.CREATE, resourceName: 'kafka-cluster', denied: true })
    await rule(master, { operation: AclOperations.ALL, resourceName: master.topicPrefix, principal: 'User:somebody' })
    await untilRefused(other)
    const { problems } = await refusalOf(other)
    expect(problems[0]).toMatch(
      /is missing, or hidden from this user, and cannot be created \(Kafka: this user is not authorised for the topic/,
    )
  })

  it('and whose settings we may not see are used all the same, with a warning', async () => {
    const { master, other } = await busesOf()
    await ensureAll(master)
    for (const operation of [AclOperations.READ, AclOperations.WRITE])
      await rule(master, { operation, resourceName: master.topicPrefix })
    await expect.poll(async () => (await ensureAll(other)).warnings.length, { timeout: 10_000 }).toBe(10)
    const { created, warnings } = await ensureAll(other)
    expect(created).toEqual([])
    expect(warnings[0]).toMatch(/cannot be checked: this user may not see them \(DescribeConfigs\)$/)
  })
})

const whyNone = await skipReason({ own: true })

describe.skipIf(whyNone)(`topics on a broker that is killed${whyNone}`, () => {
  it('cannot be looked at until it is back, and are then still there', { timeout: 120_000 }, async () => {
    await using broker = await startBroker()
    const bus = busOf(broker.bootstrap, namesWith(uniquePrefix()))
    const { created } = await ensureAll(bus)
    expect(created).toHaveLength(10)
    await broker.kill()
    await expect(ensureAll(bus)).rejects.toMatchObject({ code: 'bus_unavailable', retryable: true })
    await broker.restart()
    expect(await ensureAll(bus)).toEqual({ created: [], warnings: [] })
    await broker.stop()
    await expect(ensureAll(bus)).rejects.toMatchObject({ code: 'bus_unavailable' })
  })
})

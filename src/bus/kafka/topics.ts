/**
 * The topics: what each is for and has to be like, and that they are there before anything is sent. In, the settings
 * of the bus; out, topics that fit, or one refusal that lists every topic that does not and the command that helps.
 * Safe to repeat, and for many processes at once.
 */

import type { Admin } from '@platformatic/kafka'
import { messageOf, PipelineError } from '../../../state/errors.ts'
import { type BusConfig, clientOptions, kafkaError } from './client.ts'

/** `convert`, `split` and `distribute` are hand-offs to the stage of that name. */
export type TopicRole =
  | 'convert'
  | 'split'
  | 'distribute'
  | 'ledger'
  | 'raw'
  | 'normalized'
  | 'dead-letter'
  | 'watch list'
  | 'watched'

export interface TopicSpec {
  name: string
  role: TopicRole
  /** What it carries, for messages. */
  about: string
  partitions: number
  /** More or fewer would break it; else they are a matter of taste. */
  partitionsAreFixed?: boolean
  /** With fewer, only so many processes could share the work. */
  fewestPartitions?: number
  /** Compaction keeps one message a key: right for the ledger, a loss for all others. */
  cleanup: 'delete' | 'compact'
  /** Another one is warned of, not refused. */
  cleanupIsAdvice?: boolean
  /** -1 keeps all; undefined leaves it to the broker. */
  retentionMs?: number
}

export interface Ensured {
  created: string[]
  /** Sentences for the log. */
  warnings: string[]
}

/** Above the largest line that the upload takes as an event, and above the largest hand-off. */
const MESSAGE_BYTES = 10 * 1024 * 1024
const USUAL_MESSAGE_BYTES = 1_000_000
/** The client's retries lie within one another; whoever starts may wait for a broker, and says so. */
const RETRIES = 2
const SETTLE_LIMIT_MS = 30_000
const SETTLE_PAUSE_MS = 100

/** All topics of the pipeline. */
export function topicsOf(bus: BusConfig): TopicSpec[] {
  const { topicPrefix, partitions, retentionMs } = bus
  const handOff = (role: 'convert' | 'split' | 'distribute', about: string): TopicSpec => ({
    ...{ name: `${topicPrefix}${role}`, role, about, partitions, fewestPartitions: 2, cleanup: 'delete' },
    // A hand-off that is deleted before it was taken would be a capture that is lost.
    retentionMs: -1,
  })
  const events = (name: string, role: TopicRole, about: string): TopicSpec => ({
    ...{ name, role, about, partitions, cleanup: 'delete', retentionMs: retentionMs === 0 ? undefined : retentionMs },
  })
  const watchTopics = ({ employees, computers, topicWatched }: NonNullable<BusConfig['watch']>): TopicSpec[] => [
    ...[employees, computers].map(
      (name): TopicSpec => ({
        ...{ name, role: 'watch list', about: 'who is watched', partitions: 1 },
        ...{ cleanup: 'compact', cleanupIsAdvice: true },
      }),
    ),
    events(topicWatched, 'watched', 'events that watch lists mean'),
  ]
  return [
    handOff('convert', 'captures to convert'),
    handOff('split', 'logs to split'),
    handOff('distribute', 'chunks to distribute'),
    {
      ...{ name: `${topicPrefix}ledger`, role: 'ledger', about: 'what is done', cleanup: 'compact' },
      ...{ partitions: 1, partitionsAreFixed: true },
    },
    ...bus.topicsRaw.map((name) => events(name, 'raw', 'raw events')),
    ...(bus.publishNormalized ? [events(bus.topicNormalized, 'normalized', 'normalized events')] : []),
    events(bus.topicDeadLetter, 'dead-letter', 'messages that are no events'),
    ...(bus.watch === undefined ? [] : watchTopics(bus.watch)),
  ]
}

/**
 * Creates what is missing, where KAFKA_CREATE_TOPICS and the broker let it, and checks what is there.
 *
 * @throws PipelineError bus_refused when a topic is missing or unsuitable, bus_unavailable when no broker answers.
 */
export async function ensureTopics(bus: BusConfig, wanted: readonly TopicSpec[]): Promise<Ensured> {
  const { Admin } = await import('@platformatic/kafka')
  const admin = new Admin({ ...clientOptions(bus), retries: RETRIES })
  try {
    return await ensure(admin, bus, wanted)
  } catch (error) {
    throw kafkaError(error, bus, 'looking at the topics')
  } finally {
    await admin.close().catch(() => {})
  }
}

/** Of the topics that the stages and events need, those that are not there. Creates none. */
export async function missingTopics(bus: BusConfig): Promise<string[]> {
  const { Admin } = await import('@platformatic/kafka')
  const admin = new Admin({ ...clientOptions(bus), retries: 0 })
  try {
    const existing = new Set(await admin.listTopics())
    return topicsOf(bus).flatMap(({ name }) => (existing.has(name) ? [] : [name]))
  } catch (error) {
    throw kafkaError(error, bus, 'looking at the topics')
  } finally {
    await admin.close().catch(() => {})
  }
}

async function ensure(admin: Admin, bus: BusConfig, wanted: readonly TopicSpec[]): Promise<Ensured> {
  const existing = new Set(await admin.listTopics())
  const created: string[] = []
  const problems: string[] = []
  for (const spec of wanted) {
    if (existing.has(spec.name)) continue
    const problem = bus.createTopics ? await create(admin, bus, spec) : 'is missing, and KAFKA_CREATE_TOPICS is false'
    if (problem === undefined) created.push(spec.name)
    else if (problem !== ALREADY_THERE) problems.push(`${named(spec)} ${problem}: ${createCommand(bus, spec)}`)
  }
  if (problems.length > 0) problems.push(...(await unsuitable(admin, bus, wanted, existing)).problems)
  if (problems.length > 0) throw refusal(problems)
  const found = await unsuitable(admin, bus, wanted, new Set(wanted.map(({ name }) => name)))
  if (found.problems.length > 0) throw refusal(found.problems)
  return { created, warnings: found.warnings }
}

const ALREADY_THERE = 'is there'

/** Why it could not be created, as the end of a sentence. */
async function create(admin: Admin, bus: BusConfig, spec: TopicSpec): Promise<string | undefined> {
  try {
    await admin.createTopics({
      topics: [spec.name],
      partitions: spec.partitions,
      ...(bus.replication > 0 && { replicas: bus.replication }),
      configs: Object.entries(configsOf(spec)).map(([name, value]) => ({ name, value })),
    })
    return undefined
  } catch (error) {
    // Another process was faster.
    if (hasApiId(error, 'TOPIC_ALREADY_EXISTS')) return ALREADY_THERE
    const { retryable, message } = kafkaError(error, bus)
    if (retryable) throw error
    const hidden = hasApiId(error, 'TOPIC_AUTHORIZATION_FAILED') ? ', or hidden from this user,' : ''
    return `is missing${hidden} and cannot be created (${message})`
  }
}

interface Found {
  problems: string[]
  warnings: string[]
}

/** Looks at those of the wanted topics that are there. */
async function unsuitable(
  admin: Admin,
  bus: BusConfig,
  wanted: readonly TopicSpec[],
  there: ReadonlySet<string>,
): Promise<Found> {
  const found: Found = { problems: [], warnings: [] }
  const specs = wanted.filter(({ name }) => there.has(name))
  if (specs.length === 0) return found
  const partitions = await partitionsOf(admin, specs)
  for (const spec of specs) {
    judgePartitions(bus, spec, partitions.get(spec.name) ?? 0, found)
    judgeConfigs(bus, spec, await readConfigs(admin, spec.name, found), found)
  }
  return found
}

/** A topic is known to all brokers, and has its leaders, some time after it was created. */
async function partitionsOf(admin: Admin, specs: readonly TopicSpec[]): Promise<Map<string, number>> {
  const topics = specs.map(({ name }) => name)
  const deadline = Date.now() + SETTLE_LIMIT_MS
  for (;;) {
    try {
      const metadata = await admin.metadata({ topics, forceUpdate: true })
      const leaderless = topics.filter((name) => metadata.topics.get(name)?.partitions.some(({ leader }) => leader < 0))
      if (leaderless.length === 0)
        return new Map(topics.map((name) => [name, metadata.topics.get(name)?.partitionsCount ?? 0]))
      if (Date.now() > deadline)
        throw new PipelineError('bus_unavailable', `Kafka: ${leaderless.join(', ')}: no broker leads its partitions`, {
          retryable: true,
        })
    } catch (error) {
      if (!messageOf(error).includes('Unknown topic') || Date.now() > deadline) throw error
    }
    await new Promise((resolve) => setTimeout(resolve, SETTLE_PAUSE_MS))
  }
}

function judgePartitions(bus: BusConfig, spec: TopicSpec, count: number, { problems, warnings }: Found): void {
  if (spec.partitionsAreFixed && count !== spec.partitions) {
    const way = `delete it where it may go (kafka-topics.sh ${serverOf(bus)} --delete --topic ${spec.name}), or choose another name`
    problems.push(`${named(spec)} has ${count} partitions and must have ${spec.partitions}: ${way}`)
  }
  if (spec.fewestPartitions !== undefined && count < spec.fewestPartitions) {
    const more = `kafka-topics.sh ${serverOf(bus)} --alter --topic ${spec.name} --partitions ${spec.partitions}`
    warnings.push(
      `the topic ${named(spec)} has ${count} partition, so that one process alone works on it; more: ${more}`,
    )
  }
}

type Configs = ReadonlyMap<string, string | null>

const CHECKED = ['cleanup.policy', 'max.message.bytes', 'retention.ms', 'retention.bytes']

/** What cannot be seen is not judged: a user may be allowed to read and write, and no more. */
async function readConfigs(admin: Admin, name: string, { warnings }: Found): Promise<Configs> {
  const { ConfigResourceTypes } = await import('@platformatic/kafka')
  const resource = { resourceType: ConfigResourceTypes.TOPIC, resourceName: name, configurationKeys: CHECKED }
  try {
    const [answer] = await admin.describeConfigs({ resources: [resource] })
    return new Map(answer?.configs.map((config) => [config.name, config.value ?? null]))
  } catch (error) {
    if (!hasApiId(error, 'TOPIC_AUTHORIZATION_FAILED')) throw error
    warnings.push(`the settings of the topic ${name} cannot be checked: this user may not see them (DescribeConfigs)`)
    return new Map()
  }
}

function judgeConfigs(bus: BusConfig, spec: TopicSpec, configs: Configs, { problems, warnings }: Found): void {
  const policy = configs.get('cleanup.policy')
  if (typeof policy === 'string' && policy !== spec.cleanup) {
    const loss =
      spec.cleanup === 'delete'
        ? 'messages of the same key would be lost'
        : spec.cleanupIsAdvice
          ? 'entries that are older than its retention are forgotten'
          : 'what is done would be forgotten'
    const way = alterCommand(bus, spec, `cleanup.policy=${spec.cleanup}`)
    const told = spec.cleanupIsAdvice ? warnings : problems
    told.push(`${named(spec)} has cleanup.policy=${policy}, with which ${loss}: ${way}`)
  }
  if (Number(configs.get('max.message.bytes') ?? MESSAGE_BYTES) < USUAL_MESSAGE_BYTES) {
    const way = alterCommand(bus, spec, `max.message.bytes=${MESSAGE_BYTES}`)
    warnings.push(
      `the topic ${named(spec)} takes no message above ${configs.get('max.message.bytes')} bytes; more: ${way}`,
    )
  }
  const isBounded = ['retention.ms', 'retention.bytes'].filter((name) => Number(configs.get(name) ?? -1) >= 0)
  if (spec.retentionMs === -1 && isBounded.length > 0) {
    const way = alterCommand(bus, spec, 'retention.ms=-1,retention.bytes=-1')
    const bounds = isBounded.map((name) => `${name}=${configs.get(name)}`).join(' and ')
    warnings.push(`the topic ${named(spec)} has ${bounds}: what waits for longer is lost; to keep it: ${way}`)
  }
}

function configsOf({ cleanup, retentionMs }: TopicSpec): Record<string, string> {
  return {
    'cleanup.policy': cleanup,
    ...(retentionMs !== undefined && { 'retention.ms': String(retentionMs) }),
    ...(retentionMs === -1 && { 'retention.bytes': '-1' }),
    'max.message.bytes': String(MESSAGE_BYTES),
  }
}

function named({ name, about }: TopicSpec): string {
  return `${name} (${about})`
}

function serverOf({ brokers }: BusConfig): string {
  return `--bootstrap-server ${brokers[0]}`
}

function createCommand(bus: BusConfig, spec: TopicSpec): string {
  const copies = bus.replication > 0 ? ` --replication-factor ${bus.replication}` : ''
  const configs = Object.entries(configsOf(spec)).map(([name, value]) => ` --config ${name}=${value}`)
  return `kafka-topics.sh ${serverOf(bus)} --create --topic ${spec.name} --partitions ${spec.partitions}${copies}${configs.join('')}`
}

function alterCommand(bus: BusConfig, { name }: TopicSpec, configs: string): string {
  return `kafka-configs.sh ${serverOf(bus)} --alter --entity-type topics --entity-name ${name} --add-config ${configs}`
}

function refusal(problems: string[]): PipelineError {
  const list = problems.map((problem) => `\n- ${problem}`).join('')
  return new PipelineError('bus_refused', `Kafka's topics are not as they have to be:${list}`, {
    details: { topics: problems.length },
  })
}

function hasApiId(error: unknown, id: string): boolean {
  const { findBy } = error as { findBy?: (property: string, value: unknown) => unknown }
  return typeof findBy === 'function' && Boolean(findBy.call(error, 'apiId', id))
}

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Config, loadConfig } from '../../../src/config.ts'
import { loadRules } from '../../../stages/upload/rules.ts'
import type { PipelineError } from '../../../state/errors.ts'

const SEEDS = join(import.meta.dirname, '../../../../shared/reference/normalization-of-the-seeds.json')
const noSeeds = existsSync(SEEDS) ? '' : ' (skipped: no rules beside the project)'

let cwd: string
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'config-file-'))
})
afterEach(() => {
  rmSync(cwd, { recursive: true, force: true })
})

const WHOLE = {
  kafka: { brokers: 'a:9092', topic: 'zeek-raw', group_id: 'me', max_poll_records: 500 },
  output: {
    parquet: { enabled: true, base_path: './out', file_prefix: 'zeek' },
    kafka: { enabled: true, brokers: 'a:9092', topic: 'normal', compression: 'zstd' },
  },
  log: { path: 'logs/app.log' },
  write: { flush_buffer_mb: 64, flush_interval_seconds: 30, flush_event_count: 1000 },
}

function load(content: unknown, env: Record<string, string> = {}): Config {
  writeFileSync(join(cwd, 'config.json'), typeof content === 'string' ? content : JSON.stringify(content))
  return loadConfig({ env, cwd, configFile: 'config.json' })
}

function problemsOf(content: unknown, env?: Record<string, string>): string[] {
  try {
    load(content, env)
  } catch (error) {
    expect((error as PipelineError).code).toBe('config_invalid')
    return (error as PipelineError).message.split('\n- ').slice(1)
  }
  return expect.fail('the file was taken')
}

describe('a config.json', () => {
  it('gives each of its keys to the setting that it is here', () => {
    const config = load(WHOLE)
    expect(config).toMatchObject({
      parquetDir: join(cwd, 'out'),
      upload: { filePrefix: 'zeek', flush: { bufferBytes: 64 * 1024 ** 2, intervalMs: 30_000, events: 1000 } },
      bus: {
        kind: 'kafka',
        brokers: ['a:9092'],
        topicsRaw: ['zeek-raw'],
        groupId: 'me',
        topicNormalized: 'normal',
        publishNormalized: true,
        compression: 'zstd',
      },
      log: { file: join(cwd, 'logs', 'app.log') },
      rules: { normalizationFile: undefined },
    })
    expect(config.settings).toContainEqual({ name: 'KAFKA_GROUP_ID', value: 'me', source: '--config' })
    expect(config.warnings).toEqual([expect.stringMatching(/^kafka\.max_poll_records in config\.json has no effect: /)])
  })

  it('yields to .env, and both to the environment', () => {
    writeFileSync(join(cwd, '.env'), 'KAFKA_GROUP_ID=from-env-file\nFLUSH_EVENT_COUNT=7\n')
    const { bus, upload } = load(WHOLE, { KAFKA_GROUP_ID: 'from-environment' })
    expect(bus).toMatchObject({ groupId: 'from-environment', topicNormalized: 'normal' })
    expect(upload.flush).toMatchObject({ events: 7, intervalMs: 30_000 })
  })

  it('may have its brokers and topics as lists, and begin with a byte order mark', () => {
    const kafka = { brokers: ['a:1', 'b:2'], topic: ['zeek-conn', 'zeek-dns'] }
    expect(load(`\uFEFF${JSON.stringify({ kafka })}`).bus).toMatchObject({
      brokers: ['a:1', 'b:2'],
      topicsRaw: ['zeek-conn', 'zeek-dns'],
    })
  })

  it('without an output to Kafka publishes no normalized events, and the other way round', () => {
    const kafka = { brokers: 'a:1' }
    expect(load({ kafka }).bus.publishNormalized).toBe(false)
    expect(load({ kafka, output: { kafka: { enabled: false, topic: 'x' } } }).bus.publishNormalized).toBe(false)
    expect(load({ kafka, output: { kafka: { topic: 'x' } } }).bus.publishNormalized).toBe(true)
    expect(load({ kafka }, { KAFKA_NORMALIZED: 'true' }).bus.publishNormalized).toBe(true)
  })

  it.each([
    ['logs/', 'logs/pipeline.log'],
    ['logs', 'logs/pipeline.log'],
    ['there.d', 'there.d/pipeline.log'],
    ['my.log', 'my.log'],
  ])('may name the log file or its folder: %s', (path, file) => {
    mkdirSync(join(cwd, 'there.d'))
    const path_ = path === 'there.d' ? join(cwd, path) : path
    expect(load({ kafka: { brokers: 'a:1' }, log: { path: path_ } }).log.file).toBe(join(cwd, file))
  })

  it('warns of each key that it does not know, and takes the others', () => {
    const { bus, warnings } = load({
      kafka: { brokers: 'a:1', acks: 1 },
      output: { csv: { enabled: true } },
      threads: 4,
    })
    expect(bus.brokers).toEqual(['a:1'])
    expect(warnings).toEqual(
      ['kafka.acks', 'output.csv', 'threads'].map((key) => `${key} in config.json has no effect: it is not known here`),
    )
  })

  it.each<[unknown, string]>([
    [
      { kafka: { brokers: 9092 } },
      'kafka.brokers in config.json is 9092, a number; it must be a text or a list of texts',
    ],
    [
      { kafka: { brokers: ['a:1', 2] } },
      'kafka.brokers in config.json is ["a:1",2], a list; it must be a text or a list',
    ],
    [{ kafka: { max_poll_records: '5' } }, 'kafka.max_poll_records in config.json is "5", a text; it must be a number'],
    [{ kafka: { group_id: null } }, 'kafka.group_id in config.json is null; it must be a text'],
    [
      { output: { kafka: { enabled: 'yes' } } },
      'output.kafka.enabled in config.json is "yes", a text; it must be true or false',
    ],
    [{ write: { flush_buffer_mb: {} } }, 'write.flush_buffer_mb in config.json is {}, an object; it must be a number'],
    [{ output: [] }, 'output in config.json is [], a list; it must be an object'],
    [[1], 'the whole in config.json is [1], a list; it must be an object'],
    ['{"kafka":', '(--config) cannot be used: '],
    [
      { write: { flush_event_count: 1.5 } },
      'write.flush_event_count in config.json (FLUSH_EVENT_COUNT) is "1.5"; it must be a whole number',
    ],
    [{ kafka: { brokers: 'a' } }, 'kafka.brokers in config.json (KAFKA_BROKERS) is "a"; it must be host:port'],
  ])('with a mistake stops the start with where, what and what instead: %j', (content, message) => {
    expect(problemsOf(content).join('\n')).toContain(message)
  })

  it('that is not there stops the start', () => {
    expect(() => loadConfig({ env: {}, cwd, configFile: 'none.json' })).toThrow(
      /none\.json \(--config\) cannot be used/,
    )
  })

  it('that wants no Parquet is refused with the reason', () => {
    const told = problemsOf({ kafka: { brokers: 'a:1' }, output: { parquet: { enabled: false } } })
    expect(told).toEqual([expect.stringContaining('the dataset is always written')])
  })

  it('that publishes to another cluster is refused with the reason, unless it does not publish', () => {
    const content = (enabled: boolean) => ({ ...WHOLE, output: { kafka: { enabled, brokers: 'b:1' } } })
    expect(problemsOf(content(true))).toEqual([expect.stringContaining('one transaction, which spans one cluster')])
    expect(load(content(false)).warnings).toContainEqual(expect.stringContaining('output.kafka.brokers'))
    const same = { kafka: { brokers: ['a:1', 'b:2'] }, output: { kafka: { brokers: 'b:2, a:1' } } }
    expect(load(same).bus.publishNormalized).toBe(true)
  })

  it('without brokers is refused, since it means Kafka', () => {
    expect(problemsOf({})).toEqual([expect.stringContaining('KAFKA_BROKERS is not set')])
    expect(load({}, { BUS: 'embedded' }).bus.kind).toBe('embedded')
  })

  it('brings the normalization.json beside it along', () => {
    const rules = join(cwd, 'normalization.json')
    writeFileSync(rules, '{}')
    expect(load(WHOLE).rules.normalizationFile).toBe(rules)
    expect(load(WHOLE, { NORMALIZATION_FILE: '/mine.json' }).rules.normalizationFile).toBe('/mine.json')
  })

  it.skipIf(noSeeds)(`may have rules of that format beside it, which are taken as they are${noSeeds}`, async () => {
    const { logs } = await loadRules({ normalizationFile: SEEDS })
    expect(Object.keys(logs).length).toBeGreaterThan(17)
    expect(logs.conn?.promote).toMatchObject({ ts: 'event_time', 'id.orig_h': 'src_ip' })
  })
})

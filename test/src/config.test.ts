import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'dotenv'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { editDistance, isMisspelt, nearestName } from '../../src/config/names.ts'
import { factsOf, settingNames } from '../../src/config/settings.ts'
import { type ConfigOptions, describeConfig, loadConfig } from '../../src/config.ts'
import { PipelineError } from '../../state/errors.ts'
import { envExample, settingsPage } from '../support/settings-pages.ts'

let cwd: string
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'config-'))
})
afterEach(() => {
  rmSync(cwd, { recursive: true, force: true })
})

const load = (env: ConfigOptions['env'] = {}, file?: string) => {
  if (file !== undefined) writeFileSync(join(cwd, '.env'), file)
  return loadConfig({ env, cwd })
}

/** The lines of the refusal, one a problem. */
function problems(env: ConfigOptions['env'], file?: string): string[] {
  try {
    load(env, file)
  } catch (error) {
    expect(error).toBeInstanceOf(PipelineError)
    expect((error as PipelineError).code).toBe('config_invalid')
    return (error as PipelineError).message.split('\n- ').slice(1)
  }
  return expect.fail('the configuration was taken')
}

describe('the configuration', () => {
  it('has a default for everything', () => {
    const config = load()
    expect(config).toMatchObject({
      dataDir: join(cwd, 'data'),
      inboxDir: join(cwd, 'data', 'inbox'),
      inbox: { stabilityMs: 2000, rescanMs: 5000, polling: false },
      convert: { engine: 'auto', parallel: availableParallelism(), timeoutMs: 3_600_000, tsharkPath: undefined },
      split: { linesPerChunk: 10_000 },
      upload: { flush: { bufferBytes: 128 * 1024 ** 2, intervalMs: 10_000, events: 0 } },
      parquetDir: join(cwd, 'data', 'parquet'),
      stateDir: join(cwd, 'data'),
      bus: { kind: 'embedded', topicsRaw: ['zeek-raw'], topicNormalized: 'zeek-normalized', tls: undefined },
      http: { host: '127.0.0.1', port: 8080 },
      log: { level: 'info', format: 'text', file: join(cwd, 'data', 'log', 'pipeline.log') },
      warnings: [],
    })
    expect(config.rules.localNetworks).toEqual(
      expect.arrayContaining(['10.0.0.0/8', 'fc00::/7', 'fe80::/10', '::1/128']),
    )
  })

  it('takes the environment before .env and .env before the default', () => {
    const config = load({ SPLIT_LINES: '7' }, 'SPLIT_LINES=5\nBATCH_EVENTS=6\n')
    expect(config.split.linesPerChunk).toBe(7)
    expect(config.distribute.eventsPerBatch).toBe(6)
    const sources = Object.fromEntries(describeConfig(config).map(({ name, source }) => [name, source]))
    expect(sources).toMatchObject({ SPLIT_LINES: 'environment', BATCH_EVENTS: '.env', HTTP_PORT: 'default' })
  })

  it('takes an empty text as not set', () => {
    expect(load({ SPLIT_LINES: '', BATCH_EVENTS: ' ' }, 'SPLIT_LINES=5\nBATCH_EVENTS=\n')).toMatchObject({
      split: { linesPerChunk: 5 },
      distribute: { eventsPerBatch: 100_000 },
    })
  })

  it('reads .env as people write it: comments, quotes, export, CRLF', () => {
    const config = load({}, '# mine\r\nexport SPLIT_LINES="5" # five\r\n\r\nLOG_LEVEL=\'WARN\'\r\n')
    expect(config.split.linesPerChunk).toBe(5)
    expect(config.log.level).toBe('warn')
  })

  it('takes relative paths from the working directory', () => {
    const config = load({ DATA_DIR: 'd', INBOX_DIR: '../in', TSHARK_PATH: '/opt/tshark', LOG_FILE: 'x.log' })
    expect(config).toMatchObject({ dataDir: join(cwd, 'd'), inboxDir: join(cwd, '..', 'in') })
    expect(config.convert.tsharkPath).toBe('/opt/tshark')
    expect(config.log.file).toBe(join(cwd, 'x.log'))
    expect(load({ LOG_FILE: 'off' }).log.file).toBeUndefined()
    expect(load({ STATE_DIR: 's', PARQUET_DIR: 'p' })).toMatchObject({
      stateDir: join(cwd, 's'),
      parquetDir: join(cwd, 'p'),
      log: { file: join(cwd, 's', 'log', 'pipeline.log') },
    })
  })

  it('leaves the name of a script that Zeek looks up as it is, and takes a file as a path', () => {
    expect(load({ ZEEK_SCRIPT: 'policy/tuning/json-logs' }).convert.zeekScript).toBe('policy/tuning/json-logs')
    expect(load({ ZEEK_SCRIPT: 'site.zeek' }).convert.zeekScript).toBe(join(cwd, 'site.zeek'))
  })

  it('cannot be changed once it is read', () => {
    const config = load()
    expect(() => Object.assign(config, { dataDir: '/' })).toThrow(TypeError)
    expect(() => Object.assign(config.upload.flush, { events: 1 })).toThrow(TypeError)
    expect(() => (config.rules.localNetworks as string[]).push('0.0.0.0/0')).toThrow(TypeError)
  })

  it('reads the file that is named, which then has to be there', () => {
    writeFileSync(join(cwd, 'other.env'), 'SPLIT_LINES=9')
    writeFileSync(join(cwd, '.env'), 'SPLIT_LINES=5')
    expect(loadConfig({ env: {}, cwd, envFile: 'other.env' }).split.linesPerChunk).toBe(9)
    expect(() => loadConfig({ env: {}, cwd, envFile: 'none.env' })).toThrow(/none\.env cannot be read/)
  })

  it('says at once that it cannot read .env', () => {
    mkdirSync(join(cwd, '.env'))
    expect(problems({})).toEqual([expect.stringMatching(/\.env cannot be read: EISDIR/)])
  })
})

describe('a wrong value', () => {
  it.each([
    ['SPLIT_LINES', '0', 'a whole number from 1 to 10000000'],
    ['SPLIT_LINES', '10_000', 'a whole number'],
    ['SPLIT_LINES', '1e3', 'a whole number'],
    ['SPLIT_LINES', '-1', 'a whole number'],
    ['SPLIT_LINES', '5.5', 'a whole number'],
    ['SPLIT_LINES', '99999999999999999999', 'a whole number'],
    ['HTTP_PORT', '65536', 'a whole number from 0 to 65535'],
    ['CONVERT_ENGINE', 'suricata', 'auto, zeek or tshark'],
    ['INBOX_POLLING', 'maybe', 'true or false'],
    ['LOG_LEVEL', 'verbose', 'debug, info, warn or error'],
    ['LOCAL_NETWORKS', '10.0.0.0/33', 'networks such as'],
    ['LOCAL_NETWORKS', '10.0.0.0/8,nonsense', 'networks such as'],
    ['KAFKA_BROKERS', 'host', 'host:port'],
    ['KAFKA_TOPIC_RAW', 'a b', 'a topic name'],
    ['KAFKA_TOPIC_RAW', 'a,a', 'a topic name'],
    ['KAFKA_TOPIC_RAW', ',', 'a topic name'],
    ['KAFKA_TOPIC_PREFIX', 'a/', 'the beginning of topic names'],
    ['KAFKA_GROUP_ID', 'a group', 'a name'],
    ['KAFKA_COMPRESSION', 'snappy', 'none, gzip, lz4 or zstd'],
    ['KAFKA_SASL_MECHANISM', 'gssapi', 'none, plain, scram-sha-256 or scram-sha-512'],
    ['PARQUET_FILE_PREFIX', '.hidden', "the beginning of files' names"],
    ['PARQUET_FILE_PREFIX', 'a/b', "the beginning of files' names"],
    ['ELASTICSEARCH_NODE', 'localhost:9200', 'a URL that starts with http'],
    ['HTTP_HOST', 'a host', 'a host name'],
    ['DATA_DIR', 'a\0b', 'a path'],
  ])('of %s (%j) is named with what is allowed', (name, value, allowed) => {
    const [problem, ...others] = problems({ [name]: value })
    expect(others).toEqual([])
    expect(problem).toContain(`${name} in the environment is ${JSON.stringify(value)}; it must be ${allowed}`)
  })

  it('is reported together with all others, wherever they are', () => {
    const told = problems({ SPLIT_LINES: 'x', KAFKA_BROKER: 'y', BUS: 'rabbit' }, 'HTTP_PORT=no\nFLUSH_SIZE=1\n')
    expect(told).toHaveLength(5)
    for (const name of ['SPLIT_LINES', 'KAFKA_BROKER', 'BUS', 'HTTP_PORT in .env', 'FLUSH_SIZE in .env']) {
      expect(told.join('\n')).toContain(name)
    }
  })

  it('does not give away what is a password as a whole', () => {
    expect(problems({ KAFKA_SASL_PASSWORD: 'se\ncret' }).join()).not.toContain('cret')
  })

  it('does not give away a password that stands in it', () => {
    const [problem] = problems({ ELASTICSEARCH_NODE: 'ftp://me:p@ss/word@host' })
    expect(problem).toContain('//***@host')
  })

  it('is shown in part when it is long', () => {
    expect(problems({ HTTP_PORT: '9'.repeat(5000) })[0]?.length).toBeLessThan(300)
  })
})

describe('yes and no', () => {
  it.each([
    ['true', true],
    ['Yes', true],
    ['on', true],
    ['1', true],
    ['FALSE', false],
    ['no', false],
    ['off', false],
    ['0', false],
  ])('may be written %s', (text, value) => {
    expect(load({ PACKET_LOG: text }).convert.packetLog).toBe(value)
  })
})

describe('a combination of settings', () => {
  it.each<[string, Record<string, string>, RegExp]>([
    ['Kafka without brokers', { BUS: 'kafka' }, /KAFKA_BROKERS is not set/],
    ['a certificate without its key', { KAFKA_TLS: 'true', KAFKA_TLS_CERT: 'c' }, /set KAFKA_TLS_KEY too/],
    ['files for TLS without TLS', { KAFKA_TLS_CA: 'ca' }, /KAFKA_TLS_CA is set, but KAFKA_TLS is false/],
    [
      'SASL without a password',
      { KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'u' },
      /needs KAFKA_SASL_PASSWORD/,
    ],
    ['a password without SASL', { KAFKA_SASL_PASSWORD: 'p' }, /KAFKA_SASL_MECHANISM is none/],
    ['a topic of two kinds', { KAFKA_TOPIC_NORMALIZED: 'zeek-raw' }, /both lead to the topic zeek-raw/],
    ['a topic of our own', { KAFKA_TOPIC_RAW: 'pcap-pipeline.ledger' }, /both lead to the topic pcap-pipeline\.ledger/],
    ['a dataset around everything', { PARQUET_DIR: '.' }, /PARQUET_DIR .* holds DATA_DIR/],
    ['a dataset among the captures', { PARQUET_DIR: 'data/captures/x' }, /the pipeline's own folder captures/],
    ['a dataset in the inbox', { PARQUET_DIR: 'data/inbox/p' }, /lie in one another/],
    ['an inbox in the dataset', { PARQUET_DIR: 'p', INBOX_DIR: 'p/in' }, /lie in one another/],
  ])('is refused: %s', (_, env, message) => {
    expect(problems(env).join('\n')).toMatch(message)
  })

  it.each(['.', '/', 'data', 'data/captures', 'data/spool/x', 'data/parquet', 'data/quarantine'])(
    'is refused when the inbox is a folder that the pipeline writes to: %s',
    (INBOX_DIR) => {
      expect(problems({ INBOX_DIR })).toEqual([expect.stringMatching(/^INBOX_DIR .* use a folder of its own$/)])
    },
  )

  it.each(['data/inbox', 'data/drop', 'data-inbox', '../elsewhere'])('may have its inbox at %s', (INBOX_DIR) => {
    expect(load({ INBOX_DIR }).inboxDir).toBe(join(cwd, INBOX_DIR))
  })

  it('of two ways to sign in to Elasticsearch is a mistake', () => {
    const both = { ELASTICSEARCH_API_KEY: 'abc', ELASTICSEARCH_USERNAME: 'ann' }
    expect(problems(both)).toEqual([expect.stringContaining('are both set')])
    expect(problems({ ELASTICSEARCH_PASSWORD: 'x' })).toEqual([
      expect.stringContaining('without ELASTICSEARCH_USERNAME'),
    ])
  })

  it('warns of what has no effect in this version', () => {
    expect(load({ KAFKA_BROKERS: 'a:9092, b:9092' }).warnings).toEqual([expect.stringContaining('Kafka is not used')])
  })

  it('warns of a password that anyone on the way may read', () => {
    const sasl = { KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'p' }
    const env = { BUS: 'kafka', KAFKA_BROKERS: 'a:9092', ...sasl }
    expect(load(env).warnings).toEqual([expect.stringContaining('the password crosses the network')])
    expect(load({ ...env, KAFKA_TLS: 'true' }).warnings).toEqual([])
  })
})

describe('an unknown name', () => {
  it('in .env is refused with the name that was meant', () => {
    expect(problems({}, 'SPLIT_LINE=5\n')).toEqual(['SPLIT_LINE in .env is not a setting; did you mean SPLIT_LINES?'])
    expect(problems({}, 'http_port=5\n')).toEqual(['http_port in .env is not a setting; did you mean HTTP_PORT?'])
    expect(problems({}, 'QUUX=5\n')).toEqual(['QUUX in .env is not a setting; docs/settings.md lists all'])
  })

  it('in .env is refused even where the environment may have it', () => {
    expect(problems({ HTTP_PROXY: 'x' }, 'HTTP_PROXY=x\n')).toHaveLength(1)
  })

  it('without a = in .env is not passed over', () => {
    expect(problems({}, 'SPLIT_LINES 5\n')).toEqual(['line 1 of .env is not understood; write NAME=value'])
  })

  it.each([
    ['KAFKA_BROKER', 'KAFKA_BROKERS'],
    ['SPLIT_LINE', 'SPLIT_LINES'],
    ['SPLIT_CHUNK', undefined],
    ['FLUSH_INTERVAL', 'FLUSH_INTERVAL_SECONDS'],
    ['CONVERT_ENGIN', 'CONVERT_ENGINE'],
    ['LOG_LEVL', 'LOG_LEVEL'],
    ['LOG_MAX_SIZE', 'LOG_MAX_FILES'],
    ['LOCAL_NETWORK', 'LOCAL_NETWORKS'],
    ['ELASTICSEARCH_NODES', 'ELASTICSEARCH_NODE'],
    ['TSHARK_BIN', undefined],
    ['QUERY_MEMORY_GB', 'QUERY_MEMORY_MB'],
    ['STABILTY_INTERVAL_MS', 'STABILITY_INTERVAL_MS'],
  ])('in the environment is refused when it can only be ours: %s', (name, meant) => {
    const [problem] = problems({ [name]: '5' })
    expect(problem).toContain(`${name} in the environment is not a setting`)
    if (meant) expect(problem).toContain(`did you mean ${meant}?`)
  })

  it.each([
    ...[
      'HTTP_PROXY',
      'HTTPS_PROXY',
      'http_proxy',
      'NO_PROXY',
      'LOGNAME',
      'LOGLEVEL',
      'LOG_DIR',
      'LOG_PATH',
      'DATA_PATH',
    ],
    ...[
      'JOB_NAME',
      'JOB_ID',
      'JOB_URL',
      'LOCAL_RANK',
      'BUS_ADDRESS',
      'QUERY_STRING',
      'DISK_ID',
      'SCHEMA',
      'STOP',
      'BATCH',
    ],
    ...['KAFKA_HOME', 'KAFKA_OPTS', 'KAFKA_HEAP_OPTS', 'KAFKA_SERVICE_HOST', 'KAFKA_PORT_9092_TCP_ADDR', 'KAFKA_PORT'],
    ...[
      'ELASTICSEARCH_SERVICE_PORT',
      'ELASTICSEARCH_HOSTS',
      'ZEEKPATH',
      'ZEEK_SEED_FILE',
      'ZEEK_LOG_SUFFIX',
      'ZEEK_PLUGIN_PATH',
    ],
    ...[
      'PATH',
      'HOME',
      'USER',
      'SHELL',
      'PWD',
      'TERM',
      'LANG',
      'CI',
      'NODE_ENV',
      'HTTP_X_REQUEST',
      'npm_config_split_line',
    ],
  ])('in the environment that belongs to others is let be: %s', (name) => {
    expect(() => load({ [name]: 'x' })).not.toThrow()
  })

  it('is not found in the environment that this test runs in', () => {
    expect(() => load({ ...process.env })).not.toThrow()
  })
})

describe('the nearest name', () => {
  it('counts insertions, drops, changes and swaps as one slip each', () => {
    const distances = { ABC: 0, ABCD: 1, AC: 1, ABX: 1, ACB: 1, '': 3, XYZ: 3 }
    for (const [text, distance] of Object.entries(distances)) expect(editDistance(text, 'ABC')).toBe(distance)
  })

  it('does not suggest what is nothing like it', () => {
    expect(nearestName('XYZZY', settingNames)).toBeUndefined()
  })

  it('is never taken for a mistake itself', () => {
    for (const name of settingNames) {
      expect(nearestName(name, settingNames)).toBe(name)
      expect(isMisspelt(name.toLowerCase(), settingNames)).toBe(false)
    }
  })
})

describe('the settings in effect', () => {
  it('show every setting with its value and where it comes from', () => {
    const shown = describeConfig(load({ HTTP_PORT: '9000' }))
    expect(shown.map(({ name }) => name)).toEqual(settingNames)
    expect(shown).toContainEqual({ name: 'HTTP_PORT', value: '9000', source: 'environment' })
    expect(shown).toContainEqual({ name: 'SPLIT_LINES', value: '10000', source: 'default', unit: 'events' })
    expect(shown).toContainEqual({ name: 'INBOX_DIR', value: join(cwd, 'data', 'inbox'), source: 'default' })
  })

  it('mask a password and show the path of a key', () => {
    const sasl = { KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 's3cret' }
    const tls = { KAFKA_TLS: 'true', KAFKA_TLS_CERT: 'c.pem', KAFKA_TLS_KEY: 'k.pem' }
    const shown = describeConfig(load({ ...sasl, ...tls }))
    expect(shown).toContainEqual({ name: 'KAFKA_SASL_PASSWORD', value: '***', source: 'environment' })
    expect(shown).toContainEqual({ name: 'KAFKA_TLS_KEY', value: 'k.pem', source: 'environment' })
    expect(JSON.stringify(shown)).not.toContain('s3cret')
  })

  it('mask what signs in to Elasticsearch', () => {
    const secrets = { ELASTICSEARCH_USERNAME: 'ann', ELASTICSEARCH_PASSWORD: 's3cret' }
    expect(JSON.stringify(describeConfig(load(secrets)))).not.toContain('s3cret')
    expect(JSON.stringify(describeConfig(load({ ELASTICSEARCH_API_KEY: 's3cret' })))).not.toContain('s3cret')
  })

  it('mask credentials within addresses', () => {
    const shown = describeConfig(load({ ELASTICSEARCH_NODE: 'https://elastic:s3cr@et@es.example:9200/x' }))
    expect(shown).toContainEqual(expect.objectContaining({ value: 'https://***@es.example:9200/x' }))
    expect(JSON.stringify(shown)).not.toContain('s3cr')
  })
})

describe('the pages about settings', () => {
  const root = join(import.meta.dirname, '..', '..')

  it('.env.example is what the settings say', async () => {
    await expect(envExample()).toMatchFileSnapshot(join(root, '.env.example'))
  })

  it('docs/settings.md is what the settings say', async () => {
    await expect(settingsPage()).toMatchFileSnapshot(join(root, 'docs', 'settings.md'))
  })

  it('.env.example is taken as it is, and with every line in force, and changes nothing', () => {
    const { settings: _, ...byDefault } = load()
    const text = readFileSync(join(root, '.env.example'), 'utf8')
    expect(load({}, text).settings.every(({ source }) => source === 'default')).toBe(true)
    const inForce = text.replace(/^#(?=[A-Z_]+=)/gm, '')
    expect(Object.keys(parse(inForce))).toEqual(settingNames)
    const { settings, ...tree } = load({}, inForce)
    expect(tree).toEqual(byDefault)
    expect(settings.find(({ name }) => name === 'SPLIT_LINES')?.source).toBe('.env')
  })

  it('say of each setting in one sentence what it is for', () => {
    for (const name of settingNames) {
      const { about, allowed } = factsOf(name)
      expect(about, name).toMatch(/^[A-Z].*[^.]\.$/)
      expect(about, name).not.toContain('|')
      expect(allowed, name).not.toBe('')
    }
  })
})

import { execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openClient } from '../../../../src/sinks/elasticsearch/client.ts'
import { removeOldIndices } from '../../../../src/sinks/elasticsearch/remove.ts'
import { setUp } from '../../../../src/sinks/elasticsearch/setup.ts'
import { MANAGED_BY, TEMPLATE_VERSION } from '../../../../src/sinks/elasticsearch/templates.ts'
import { loadRules } from '../../../../stages/upload/rules.ts'
import { connLine, writeLog } from '../../../support/elasticsearch/events.ts'
import {
  ask,
  cleanUp,
  nodeForTests,
  openSink,
  sinkOptions,
  skipReason,
  startNode,
  uniquePrefix,
} from '../../../support/elasticsearch.ts'
import { testBench } from '../../../support/pipeline.ts'

const why = await skipReason()
const whyOwn = await skipReason({ own: true })
const DAY = 86_400_000

describe.skipIf(why)(`setting Elasticsearch up${why}`, { timeout: 120_000 }, () => {
  it('writes everything once, and nothing the second time; what is not ours or newer is left and named', async () => {
    const url = await nodeForTests()
    const prefix = uniquePrefix()
    const client = await openClient({ nodes: [url] })
    onTestFinished(() => cleanUp(url, prefix))
    const theirs = {
      index_patterns: [`${prefix}-conn-*`],
      priority: 900,
      template: { settings: { number_of_shards: 3 } },
    }
    await ask(url, `_index_template/${prefix}-log-conn`, theirs, 'PUT')
    const custom = { template: { mappings: { properties: { mine: { type: 'keyword' } } } } }
    await ask(url, `_component_template/${prefix}-custom`, custom, 'PUT')
    const newer = {
      version: TEMPLATE_VERSION + 1,
      _meta: { managed_by: MANAGED_BY },
      index_patterns: [`${prefix}-dns-*`],
      priority: 900,
    }
    await ask(url, `_index_template/${prefix}-log-dns`, newer, 'PUT')

    const rules = await loadRules({})
    const options = { prefix, shards: 1, retentionDays: 0 }
    const first = await setUp(client, rules, options)
    expect(first.written.length).toBeGreaterThan(70)
    expect(first.kept).toEqual([
      `${prefix}-log-conn is not ours`,
      expect.stringContaining(`${prefix}-log-dns is of version`),
    ])
    const second = await setUp(client, rules, options)
    expect(second).toMatchObject({ written: [], kept: first.kept })
    expect(second.unchanged).toBe(first.written.length)
    const { index_templates } = await ask(url, `_index_template/${prefix}-log-conn`)
    expect(index_templates[0].index_template.priority).toBe(900)
    const { component_templates } = await ask(url, `_component_template/${prefix}-custom`)
    expect(component_templates[0].component_template.template.mappings.properties.mine).toEqual({ type: 'keyword' })

    // A change of ours is written, and indices that are there get what is new.
    await ask(url, `${prefix}-http-2026.01`, {}, 'PUT')
    const changed = await setUp(
      client,
      { ...rules, schema: { ...rules.schema, http: { ...rules.schema.http, brand_new: 'count' } } },
      options,
    )
    expect(changed.written).toEqual([`${prefix}-log-http`])
    const mapping = await ask(url, `${prefix}-http-2026.01/_mapping`)
    expect(mapping[`${prefix}-http-2026.01`].mappings.properties.zeek.properties.http.properties.brand_new).toEqual({
      type: 'long',
    })
    await client.close()
  })

  it('deletes indices whose month and whose making lie too far back, and no others', async () => {
    const url = await nodeForTests()
    const prefix = uniquePrefix()
    const client = await openClient({ nodes: [url] })
    onTestFinished(() => cleanUp(url, prefix))
    for (const name of ['conn-2020.01', 'conn-2026.01', 'conn-undated', 'my_log-2020.02', 'x-y-2020.01'])
      await ask(url, `${prefix}-${name}`, {}, 'PUT')
    // Made today: nothing is too old yet.
    expect(await removeOldIndices(client, prefix, 30)).toEqual([])
    const removed = await removeOldIndices(client, prefix, 30, Date.now() + 40 * DAY)
    const stays = Object.keys(await ask(url, `${prefix}-*`))
    expect(removed).toEqual(expect.arrayContaining([`${prefix}-conn-2020.01`, `${prefix}-my_log-2020.02`]))
    expect(stays).toEqual(expect.arrayContaining([`${prefix}-conn-undated`, `${prefix}-x-y-2020.01`]))
    expect(stays).not.toContain(`${prefix}-conn-2020.01`)
    await client.close()
  })
})

describe.skipIf(whyOwn)(`a node that asks who we are${whyOwn}`, () => {
  it('is spoken to by TLS with its own certificate authority and a password; a wrong one waits, and is not told', {
    timeout: 300_000,
  }, async () => {
    const certificates = makeCertificates(testBench().layout.dataDir)
    await using node = await startNode({
      scheme: 'https',
      settings: {
        'xpack.security.enabled': 'true',
        'xpack.security.http.ssl.enabled': 'true',
        'xpack.security.http.ssl.key': 'node.key',
        'xpack.security.http.ssl.certificate': 'node.pem',
      },
      configure(dir) {
        for (const [name, text] of Object.entries(certificates.files)) writeFileSync(join(dir, name), text)
        writeFileSync(join(dir, 'users'), `ann:${HASH}\n`)
        writeFileSync(join(dir, 'users_roles'), 'superuser:ann\n')
      },
      async probe(url) {
        const code = spawnSync(
          'curl',
          [
            '-s',
            '-k',
            '-o',
            '/dev/null',
            '-w',
            '%{http_code}',
            '-u',
            `ann:${PASSWORD}`,
            `${url}/_cluster/health`,
            '--max-time',
            '5',
          ],
          { encoding: 'utf8' },
        ).stdout
        return code === '200'
      },
    })
    const bench = testBench()
    const chunks = writeLog(join(bench.layout.spool, 'events'), 'conn', 100, connLine)
    const connection = { nodes: [node.url], username: 'ann', password: PASSWORD, caFile: certificates.ca }
    const request = { chunks, deadLetterFile: join(bench.layout.spool, 'dead'), signal: new AbortController().signal }
    const send = async (over: Partial<typeof connection>) => {
      const sink = await openSink(bench, { ...sinkOptions(node.url, 'pcap'), connection: { ...connection, ...over } })
      return await sink.index(request)
    }
    expect((await send({})).chunks).toMatchObject([{ documents: 100, rejected: {} }])
    const wrong = await send({ password: 'wrong secret' }).catch((error) => error)
    expect(wrong).toMatchObject({
      code: 'sink_down',
      retryable: true,
      message: expect.stringContaining('refuses the credentials'),
    })
    expect(`${wrong.message}${bench.log.lines.join()}`).not.toContain('wrong secret')
    const untrusted = await send({ caFile: undefined }).catch((error) => error)
    expect(untrusted).toMatchObject({ code: 'sink_down' })
  })
})

const PASSWORD = 'correct horse'
const HASH = '$2a$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu'

/** An authority of the test's own, and a certificate for 127.0.0.1. */
function makeCertificates(dir: string) {
  const at = (name: string) => join(dir, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] })
  openssl(
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '2',
    '-subj',
    '/CN=The CA of the test',
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.pem'),
  )
  openssl(
    'req',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-subj',
    '/CN=localhost',
    '-keyout',
    at('node.key'),
    '-out',
    at('node.csr'),
  )
  writeFileSync(at('extensions'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n')
  openssl(
    'x509',
    '-req',
    '-in',
    at('node.csr'),
    '-CA',
    at('ca.pem'),
    '-CAkey',
    at('ca.key'),
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    at('extensions'),
    '-out',
    at('node.pem'),
  )
  const read = (name: string) => execFileSync('cat', [at(name)], { encoding: 'utf8' })
  return { ca: at('ca.pem'), files: { 'node.key': read('node.key'), 'node.pem': read('node.pem') } }
}

/** What a server with lifecycles answers to the calls that this makes; the build for tests has none. */
async function serverWithLifecycles(calls: { method: string; path: string; body: string }[]): Promise<string> {
  const server: Server = createServer((request, response) => {
    let body = ''
    request.on('data', (data) => {
      body += data
    })
    request.on('end', () => {
      const path = (request.url ?? '').split('?')[0] as string
      calls.push({ method: request.method ?? '', path, body })
      const found =
        path === '/_ilm/status' ? { operation_mode: 'RUNNING' } : request.method === 'GET' ? {} : { acknowledged: true }
      response.writeHead(request.method === 'GET' && path !== '/_ilm/status' ? 404 : 200, {
        'content-type': 'application/json',
        'x-elastic-product': 'Elasticsearch',
      })
      response.end(JSON.stringify(found))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`
}

describe('lifecycles', () => {
  it('are used where the server says that it has them, and named in the settings of every index', async () => {
    const calls: { method: string; path: string; body: string }[] = []
    const client = await openClient({ nodes: [await serverWithLifecycles(calls)] })
    const result = await setUp(client, await loadRules({}), { prefix: 'pcap', shards: 1, retentionDays: 90 })
    expect(result.hasLifecycles).toBe(true)
    const put = calls.find(({ method, path }) => method === 'PUT' && path === '/_ilm/policy/pcap-retention')
    expect(JSON.parse(put?.body ?? '').policy.phases.delete).toEqual({ min_age: '121d', actions: { delete: {} } })
    const settings = calls.find(({ method, path }) => method === 'PUT' && path === '/_component_template/pcap-settings')
    expect(JSON.parse(settings?.body ?? '').template.settings.index['lifecycle.name']).toBe('pcap-retention')
    await client.close()
  })

  it('are left alone where events are kept', async () => {
    const calls: { method: string; path: string; body: string }[] = []
    const client = await openClient({ nodes: [await serverWithLifecycles(calls)] })
    await setUp(client, await loadRules({}), { prefix: 'pcap', shards: 1, retentionDays: 0 })
    expect(calls.some(({ path }) => path.startsWith('/_ilm/policy'))).toBe(false)
    await client.close()
  })
})

/**
 * A real Elasticsearch for tests: the one that ELASTICSEARCH_NODE names, else a node by Maven on a free port.
 *
 *   const why = await skipReason()
 *   describe.skipIf(why)(`the sink${why}`, () => {
 *     it('…', async () => {
 *       const url = await nodeForTests()      // shared by all tests of the run
 *       const prefix = uniquePrefix()         // for this test's indices and templates
 *     })
 *   })
 */

import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { onTestFinished } from 'vitest'
import {
  type ElasticsearchOptions,
  type ElasticsearchSink,
  openElasticsearchSink,
} from '../../src/sinks/elasticsearch/sink.ts'
import { loadRules } from '../../stages/upload/rules.ts'
import { installElasticsearch, missingTool } from './elasticsearch/install.ts'
import { startNode } from './elasticsearch/node.ts'
import { type Answer, SOCKET_NAME } from './elasticsearch/shared.ts'
import { recordingLog, type TestBench } from './pipeline.ts'

export { startNode } from './elasticsearch/node.ts'

export const LOCAL_NETWORKS = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', 'fe80::/10']

let found: Promise<string> | undefined

/**
 * Why these tests cannot run, to be put behind their title; empty when they can. With `own` for tests that start a
 * node themselves, which ELASTICSEARCH_NODE does not help. Fetches the server if need be, once for the machine.
 */
export async function skipReason({ own = false } = {}): Promise<string> {
  if (!own && process.env.ELASTICSEARCH_NODE) return ''
  const missing = missingTool()
  if (missing !== undefined) return ` (skipped: ${missing}, which starts Elasticsearch)`
  try {
    await installElasticsearch()
    return ''
  } catch (error) {
    return ` (skipped: Elasticsearch cannot be fetched, ${(error as Error).message.slice(0, 200)})`
  }
}

/** The address of the node that all tests of a run share. */
export function nodeForTests(): Promise<string> {
  found ??= findNode()
  return found
}

async function findNode(): Promise<string> {
  if (process.env.ELASTICSEARCH_NODE) return process.env.ELASTICSEARCH_NODE
  const path = process.env[SOCKET_NAME]
  // Outside of vitest, in a benchmark, it ends with the process.
  if (path === undefined) return (await startNode()).url
  const answer = JSON.parse(await text(connect(path))) as Answer
  if ('error' in answer) throw new Error(answer.error)
  return answer.url
}

/** The beginning of names that no other test has. */
export function uniquePrefix(): string {
  return `t${randomBytes(6).toString('hex')}`
}

export function sinkOptions(
  url: string,
  prefix: string,
  options: Partial<ElasticsearchOptions> = {},
): ElasticsearchOptions {
  return {
    connection: { nodes: [url] },
    prefix,
    shards: 1,
    replicas: 0,
    retentionDays: 0,
    bulkBytes: 2 ** 20,
    bulkConcurrency: 2,
    maxIndices: 1000,
    localNetworks: LOCAL_NETWORKS,
    ...options,
  }
}

/** Over this bench's ledger; closed when the test ends, with its indices and templates removed. */
export async function openSink(
  { ledger, log = recordingLog() }: Pick<TestBench, 'ledger'> & Partial<TestBench>,
  options: ElasticsearchOptions,
): Promise<ElasticsearchSink> {
  const sink = await openElasticsearchSink({ options, rules: await loadRules({}), ledger, log })
  onTestFinished(async () => {
    await cleanUp(options.connection.nodes[0] as string, options.prefix)
    await sink.close()
  })
  return sink
}

/** What a test made in a cluster that others use too. */
export async function cleanUp(url: string, prefix: string): Promise<void> {
  const paths = [`${prefix}-*`, `_index_template/${prefix}-*`, `_component_template/${prefix}-*`]
  for (const path of paths) await fetch(`${url}/${path}`, { method: 'DELETE' }).catch(() => undefined)
}

// biome-ignore lint/suspicious/noExplicitAny: the server's answers, looked at by tests
export type Answered = any

/** Asks the node as Kibana would: JSON over HTTP. */
export async function ask(url: string, path: string, body?: unknown, method?: string): Promise<Answered> {
  const answer = await fetch(`${url}/${path}`, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: { 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  return await answer.json()
}

/** How many documents the indices of a prefix hold, all that were sent included. */
export async function countOf(url: string, indices: string, query?: unknown): Promise<number> {
  await ask(url, `${indices}/_refresh`, undefined, 'POST')
  return (await ask(url, `${indices}/_count`, query === undefined ? undefined : { query })).count
}

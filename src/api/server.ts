/**
 * The API and the pages, as one server.
 *
 * In: the parts of a pipeline. Out: a server that listens on loopback, or, where it has a token or accounts, elsewhere.
 * Order matters: who may ask is decided first, then what is asked is checked, then it is answered.
 */

import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Bus } from '../../stages/bus.ts'
import type { Log } from '../../stages/ports.ts'
import { errnoOf, messageOf, PipelineError } from '../../state/errors.ts'
import type { StageName } from '../../state/job.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import type { Config } from '../config.ts'
import type { DiskMeter } from '../disk/use.ts'
import type { Indexing } from '../indexing.ts'
import type { DatasetOptions } from '../query/dataset.ts'
import { openSearchProcess } from '../search/process.ts'
import type { Tally } from '../tally.ts'
import type { RescanParts } from '../watch/watch.ts'
import { captureRoutes } from './captures.ts'
import { createHealthView, healthRoutes } from './health.ts'
import { liveRoutes } from './live.ts'
import { describeApi, serveDocs } from './openapi.ts'
import { builtPage, servePage } from './page.ts'
import { PROBLEM_TYPE, problemOf } from './problems.ts'
import { createRoutes, useContractSchemas } from './routes.ts'
import { searchRoutes } from './search.ts'
import { type AuthMode, createSessions, secure } from './security.ts'
import { sessionRoutes } from './session.ts'
import { sqlRoutes } from './sql.ts'
import { uploadRoutes } from './uploads.ts'
import { watchRoutes } from './watch.ts'

export interface ApiOptions {
  config: Config
  ledger: Ledger
  layout: Layout
  meter: DiskMeter
  log: Log
  bus: Bus
  indexing: Indexing | undefined
  /** Of this process. */
  stages: readonly StageName[]
  /** What the runners of this process do. */
  tally: Tally
  /** The dataset as queries open it. */
  dataset: DatasetOptions
  rescanParts: RescanParts
  recover(): Promise<void>
  wake(): void
  engine(): Promise<{ name: string; version: string | null }>
  /** Answers that do not fit the contract fail; for tests. */
  checkAnswers?: boolean
  /** Where the page's built files are. */
  page?: string
}

export interface Api extends AsyncDisposable {
  app: FastifyInstance
  /** Answers the address. Throws `config_invalid` where it must not listen, `io` where it cannot. */
  listen(): Promise<string>
  close(): Promise<void>
}

export async function openApi(options: ApiOptions): Promise<Api> {
  const { config, ledger, layout, log, bus, wake, recover } = options
  const version = ownVersion()
  const { token, hosts } = config.http
  const mode = (): AuthMode =>
    ledger.accounts.names().length > 0 ? 'accounts' : token === undefined ? 'none' : 'token'
  const app = Fastify({
    // Its own log would say the same in other words.
    logger: false,
    // Behind whatever proxy, the one that connects is meant: a header may claim anything.
    trustProxy: false,
    requestTimeout: 0,
    keepAliveTimeout: 10_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 2048 },
    // The address bar is the page's state, with the query that somebody writes.
    http: { maxHeaderSize: 256 * 1024 },
    return503OnClosing: true,
  })
  useContractSchemas(app)
  app.setErrorHandler((error, request, reply) => {
    const { problem, headers, isBug } = problemOf(error)
    if (isBug)
      log.error('a request failed for a reason that nobody foresaw', {
        url: request.url.slice(0, 200),
        error: error instanceof Error ? (error.stack ?? error.message) : messageOf(error),
      })
    return reply.code(problem.status).headers(headers).type(PROBLEM_TYPE).send(JSON.stringify(problem))
  })
  const sessions = createSessions()
  secure(app, sessions, { mode, token, hosts })
  await describeApi(app, version)
  const { bytes } = await bytesContext(app)
  const routes = createRoutes(app, bytes, { checkAnswers: options.checkAnswers ?? false })

  const people = () => ({ employees: ledger.watch.employees(), computers: ledger.watch.computers() })
  const dataset = () => ({ ...options.dataset, people: people() })
  const { timeoutMs } = config.query
  const search = openSearchProcess({ dataset: options.dataset, layout, rules: config.rules, timeoutMs })
  const view = createHealthView({ ...options, version, busCounters: () => bus.counters() })

  sessionRoutes(routes, { ledger, sessions, mode, token, version })
  captureRoutes(routes, { ledger, layout, log, bus, indexing: options.indexing, recover, wake })
  uploadRoutes(routes, {
    ledger,
    inbox: layout.inbox,
    maxBytes: config.inbox.maxCaptureBytes,
    diskFloorBytes: config.disk.floorBytes,
    wake,
  })
  searchRoutes(routes, search)
  const sql = sqlRoutes(routes, { ledger, log, dataset, search, cacheDir: layout.cache, timeoutMs })
  const watch = watchRoutes(routes, { ledger, log, rescanParts: options.rescanParts, dataset, timeoutMs })
  healthRoutes(app, routes, { ...options, version, busCounters: () => bus.counters() }, view)
  const live = liveRoutes(routes, { ledger, log, logFile: config.log.file, view })
  const missing = routes.missing()
  if (missing.length > 0) throw new Error(`routes without a handler: ${missing.join(', ')}`)
  serveDocs(app)
  await servePage(app, options.page ?? builtPage())
  await app.ready()

  async function close(): Promise<void> {
    live.close()
    await sql.close()
    await watch.close()
    await app.close()
    await search.close()
  }

  async function listen(): Promise<string> {
    const { host, port } = config.http
    if (!isLoopback(host) && mode() === 'none') {
      throw new PipelineError(
        'config_invalid',
        `HTTP_HOST is ${host}, which others can reach, and nobody would have to log in: set HTTP_TOKEN, make an account (\`${config.command} account add NAME\`), or listen on 127.0.0.1`,
      )
    }
    try {
      return await app.listen({ host, port })
    } catch (error) {
      const reason = errnoOf(error) === 'EADDRINUSE' ? 'something else listens there; set HTTP_PORT' : messageOf(error)
      throw new PipelineError('io', `the pages cannot listen on ${host}:${port}: ${reason}`, { cause: error })
    }
  }

  return { app, listen, close, [Symbol.asyncDispose]: close }
}

/** Where a body is a stream of bytes, whatever its type says. */
async function bytesContext(app: FastifyInstance): Promise<{ bytes: FastifyInstance }> {
  // An instance is a promise of itself: it must not be what an async function returns.
  const found: { bytes?: FastifyInstance } = {}
  await app.register(async (context) => {
    context.removeAllContentTypeParsers()
    context.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    // `curl -T` names no type, and a body without one is refused.
    context.addHook('onRequest', async ({ raw }) => {
      raw.headers['content-type'] ??= 'application/octet-stream'
    })
    found.bytes = context
  })
  return found as { bytes: FastifyInstance }
}

export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '')
  return bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'))
}

/** Of the package, from the sources and from what was built of them. */
function ownVersion(): string {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      return String(JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')).version)
    } catch {}
  }
  return 'unknown'
}

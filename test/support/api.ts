/** A pipeline with its API, from the settings up, in this process: everything is the real part. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { InjectOptions } from 'fastify'
import type { Api } from '../../src/api/server.ts'
import { type Config, loadConfig } from '../../src/config.ts'
import { openParts, type Parts } from '../../src/parts.ts'
import type { Pipeline } from '../../src/pipeline.ts'
import { openPages } from '../../src/serving.ts'
import { STAGE_NAMES } from '../../state/job.ts'
import { recordingLog, until } from './pipeline.ts'

export interface ApiHome extends AsyncDisposable {
  dir: string
  config: Config
  parts: Parts
  api: Api
  log: ReturnType<typeof recordingLog>
  get(url: string, headers?: Record<string, string>): Promise<Reply>
  post(url: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>
  send(options: InjectOptions): Promise<Reply>
  /** Uploads a file and waits until its captures have ended. Answers their ids. */
  load(name: string, bytes: Buffer, source?: string): Promise<string[]>
}

export interface Reply {
  status: number
  headers: Record<string, unknown>
  // biome-ignore lint/suspicious/noExplicitAny: tests look at whatever came
  body: any
  text: string
  raw: Buffer
}

export async function openApiHome(
  settings: Record<string, string> = {},
  options: { page?: string } = {},
): Promise<ApiHome> {
  const dir = mkdtempSync(join(tmpdir(), 'pipeline-api-'))
  const env = {
    PATH: process.env.PATH,
    DATA_DIR: join(dir, 'data'),
    STABILITY_INTERVAL_MS: '200',
    RESCAN_INTERVAL_MS: '500',
    FLUSH_INTERVAL_SECONDS: '1',
    HTTP_PORT: '0',
    DISK_FLOOR_MB: '0',
    CONVERT_PARALLEL: '1',
    ...settings,
  }
  const config = loadConfig({ env, cwd: dir })
  const log = recordingLog()
  const parts = openParts(config, log)
  const pipeline: Pipeline = await parts.start(STAGE_NAMES, { watch: true })
  const api = await openPages(config, log, parts, {
    stages: STAGE_NAMES,
    wake: () => pipeline.wake(),
    checkAnswers: true,
    ...options,
  })

  async function send(request: InjectOptions): Promise<Reply> {
    const headers = { host: 'localhost:8080', ...request.headers }
    const answer = await api.app.inject({ ...request, headers })
    const isJson = String(answer.headers['content-type'] ?? '').includes('json')
    const body =
      isJson && answer.payload !== '' && !answer.headers['content-disposition'] ? JSON.parse(answer.payload) : undefined
    return { status: answer.statusCode, headers: answer.headers, body, text: answer.payload, raw: answer.rawPayload }
  }

  return {
    ...{ dir, config, parts, api, log, send },
    get: (url, headers = {}) => send({ method: 'GET', url, headers }),
    post: (url, body, headers = {}) =>
      send({ method: 'POST', url, headers, ...(body === undefined ? {} : { payload: body as object }) }),
    async load(name, bytes, source) {
      const query = source === undefined ? '' : `?source=${encodeURIComponent(source)}`
      const sent = await send({
        method: 'PUT',
        url: `/api/inbox/${encodeURIComponent(name)}${query}`,
        payload: bytes,
        headers: { 'content-type': 'application/octet-stream' },
      })
      if (sent.status !== 200) throw new Error(`the upload was answered with ${sent.status}: ${sent.text}`)
      const url = `/api/uploads/${sent.body.id}`
      const ended = (state: string) => ['done', 'empty', 'failed', 'unbalanced'].includes(state)
      let ids: string[] = []
      await until(
        async () => {
          ids = (await send({ method: 'GET', url })).body.captures
          return ids.length > 0 && ids.every((id) => ended(parts.ledger.captures.get(id)?.state ?? ''))
        },
        `${name} is loaded; the log says:\n${log.lines.slice(-10).join('\n')}`,
        60_000,
      )
      return ids
    },
    async [Symbol.asyncDispose]() {
      await api.close()
      await pipeline.stop(5000)
      await parts[Symbol.asyncDispose]()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

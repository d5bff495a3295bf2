/** The page's built files: what a hash in its name tells apart is kept by browsers for good, the rest is asked for anew. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import staticFiles from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import { notFound } from './problems.ts'

/** Beside the sources `dist/ui`; beside what was built of them, `ui` in the same folder. */
export function builtPage(): string {
  const here = fileURLToPath(new URL('.', import.meta.url))
  return here.includes('/dist/') ? join(here, '../../ui') : join(here, '../../dist/ui')
}

const HASHED = /[.-][\w-]{8,}\.(js|css|woff2?|svg|png|webp|ico|map|wasm)(\.br|\.gz)?$/

/** Routes come first; what is no file of the page is one of its places, and gets the page. */
export async function servePage(app: FastifyInstance, root: string): Promise<void> {
  const hasPage = existsSync(join(root, 'index.html'))
  await app.register(staticFiles, {
    root: hasPage ? root : fileURLToPath(new URL('.', import.meta.url)),
    serve: hasPage,
    preCompressed: hasPage,
    wildcard: false,
    index: ['index.html'],
    cacheControl: false,
    dotfiles: 'deny',
    schemaHide: true,
    setHeaders(response, path) {
      response.header('cache-control', HASHED.test(path) ? 'public, max-age=31536000, immutable' : 'no-cache')
    },
  })
  app.setNotFoundHandler((request, reply) => {
    const isPlace = request.method === 'GET' && !request.url.startsWith('/api') && !/\.\w+$/.test(pathOf(request.url))
    if (request.method === 'GET' && HASHED.test(pathOf(request.url)))
      throw notFound(
        `${pathOf(request.url)} is none of the page's files as they were when the service started: load the page anew, and start the service anew where the page was built since`,
      )
    if (!isPlace) throw notFound(`there is nothing at ${request.method} ${pathOf(request.url)}`)
    if (hasPage) return reply.header('cache-control', 'no-cache').sendFile('index.html', root, { cacheControl: false })
    return reply.type('text/html; charset=utf-8').send(NO_PAGE)
  })
}

function pathOf(url: string): string {
  return url.split('?')[0] ?? url
}

const NO_PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><title>pcap-pipeline</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<h1>pcap-pipeline</h1><p>The pages are not built here. The API is: <a href="/api/docs">its description</a>.</p></html>`

/** The API's description: OpenAPI 3.1 made of the contract, and a plain page that shows it without any script. */

import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { type Route, routes } from './contract.ts'

const PARTS = ['params', 'querystring', 'body'] as const

/** To be registered before the routes. */
export async function describeApi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'pcap-pipeline',
        version,
        description: 'Captures in, events out: upload, search, SQL, watch lists, health.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    },
    transform: ({ schema, url }) => {
      if (schema === undefined || schema.hide) return { schema: { ...schema, hide: true }, url }
      const described: Record<string, unknown> = { ...schema }
      for (const part of PARTS) if (schema[part]) described[part] = jsonSchema(schema[part], 'input')
      described.response = Object.fromEntries(
        Object.entries((schema.response ?? {}) as Record<string, unknown>).map(([status, answer]) => [
          status,
          { description: 'The answer', ...jsonSchema(answer, 'output') },
        ]),
      )
      return { schema: described as typeof schema, url }
    },
  })
}

function jsonSchema(schema: unknown, io: 'input' | 'output'): Record<string, unknown> {
  const { $schema: _, ...rest } = z.toJSONSchema(schema as z.ZodType, { io, unrepresentable: 'any' })
  return rest
}

export function serveDocs(app: FastifyInstance): void {
  const plain = { schema: { hide: true } }
  app.get('/api/openapi.json', plain, () => app.swagger())
  app.get('/api/docs', plain, (_request, reply) => reply.type('text/html; charset=utf-8').send(docsPage()))
}

function docsPage(): string {
  const entries = Object.entries(routes as Record<string, Route>)
  const groups = Map.groupBy(entries, ([, { path }]) => path.split('/')[2] ?? '')
  const sections = [...groups].map(([group, list]) => `<h2>${html(group)}</h2>${list.map(routeHtml).join('')}`)
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>API of pcap-pipeline</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<main><h1>API of pcap-pipeline</h1>
<p>The same as <a href="/api/openapi.json">OpenAPI 3.1</a>. Times are ISO 8601 in UTC; failures are problem documents (RFC 9457).</p>
${sections.join('\n')}</main></html>`
}

function routeHtml([name, { method, path, about, params, query, body, answer, produces, takesBytes }]: [
  string,
  Route,
]): string {
  const parts: [string, unknown][] = [
    ['path', params],
    ['query', query],
    ['body', takesBytes ? undefined : body],
    ['answer', answer],
  ]
  const shown = parts.flatMap(([title, schema], i) => {
    if (schema === undefined) return []
    const json = JSON.stringify(jsonSchema(schema, i === 3 ? 'output' : 'input'), null, 2)
    return [`<details><summary>${title}</summary><pre>${html(json)}</pre></details>`]
  })
  const bytes = takesBytes ? '<p>The body is bytes.</p>' : ''
  const file = produces ? `<p>Answers <code>${html(produces)}</code>.</p>` : ''
  return `<section id="${name}"><h3><code>${method} ${html(path)}</code></h3><p>${html(about)}</p>${bytes}${file}${shown.join('')}</section>`
}

function html(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}

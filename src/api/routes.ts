/**
 * The contract's routes on the web framework: what comes in is checked by the contract's schemas, what goes out has
 * their types. In tests answers are checked too.
 */

import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema } from 'fastify'
import { z } from 'zod'
import {
  type AnswerOf,
  type BodyOf,
  type ParamsOf,
  type QueryOf,
  type Route,
  type RouteName,
  routes,
} from './contract.ts'

export interface Input<N extends RouteName> {
  params: ParamsOf<N>
  query: QueryOf<N>
  body: BodyOf<N>
  request: FastifyRequest
  reply: FastifyReply
  /** Aborted when the client goes away before the answer. */
  signal: AbortSignal
}

/** Routes without an answer in the contract answer through `reply`. */
type Handler<N extends RouteName> = (
  input: Input<N>,
) => MaybeLater<AnswerOf<N> extends undefined ? unknown : AnswerOf<N>>
type MaybeLater<T> = T | Promise<T>

export interface Routes {
  handle<N extends RouteName>(name: N, handler: Handler<N>): void
  /** Of all routes that were not handled; there should be none. */
  missing(): RouteName[]
}

export interface RoutesOptions {
  /** Answers that do not fit the contract fail. */
  checkAnswers: boolean
}

/** Of what was asked for and has no answer of its own. */
export const DONE = { done: true } as const

const JSON_LIMIT = 4 * 1024 * 1024

/** `bytes` is where bodies stay streams. */
export function createRoutes(app: FastifyInstance, bytes: FastifyInstance, { checkAnswers }: RoutesOptions): Routes {
  const open = new Set(Object.keys(routes) as RouteName[])

  function handle<N extends RouteName>(name: N, handler: Handler<N>): void {
    open.delete(name)
    const route: Route = routes[name]
    const target = route.takesBytes ? bytes : app
    target.route({
      method: route.method,
      url: route.path,
      bodyLimit: JSON_LIMIT,
      schema: schemaOf(name, route),
      config: { isOpen: route.open === true },
      async handler(request, reply) {
        if (route.status !== undefined) reply.code(route.status)
        const signal = abortedWith(reply)
        const { params, query, body } = request
        const answer = await handler({ params, query, body, request, reply, signal } as Input<N>)
        if (route.answer === undefined) return answer
        if (checkAnswers) route.answer.parse(answer)
        reply.header('cache-control', 'no-store').type('application/json; charset=utf-8')
        return JSON.stringify(answer)
      },
    })
  }

  return { handle, missing: () => [...open] }
}

/** Zod's schemas go where the framework keeps JSON schemas: its compilers below know them. */
function schemaOf(
  name: string,
  { about, params, query, body, answer, produces, takesBytes, status = 200, path }: Route,
): FastifySchema {
  const schema = {
    operationId: name,
    summary: about,
    tags: [path.split('/')[2] ?? 'api'],
    ...(params && { params }),
    ...(query && { querystring: query }),
    ...(body && !takesBytes && { body }),
    ...(takesBytes && { consumes: ['application/octet-stream'] }),
  }
  return {
    ...schema,
    response: { [status]: answer ?? z.string() },
    ...(produces && { produces: [produces] }),
  } as FastifySchema
}

export function useContractSchemas(app: FastifyInstance): void {
  app.setValidatorCompiler<z.ZodType>(({ schema }) => (data) => {
    const { success, data: value, error } = schema.safeParse(data)
    return success ? { value } : { error }
  })
  app.setSerializerCompiler(() => (data) => (typeof data === 'string' ? data : JSON.stringify(data)))
}

function abortedWith(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort()
  })
  return controller.signal
}

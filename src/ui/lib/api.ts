/**
 * Asks the server: `await ask('GET /api/captures/:id', { params: { id } })`.
 *
 * The key is the contract's method and path; what goes in and comes out has the contract's types. Of the contract the
 * types alone are imported: its schemas stay with the server.
 */

import type { z } from 'zod'
import type { AnswerOf, Problem, RouteName, routes } from '../../api/contract.ts'

type Routes = typeof routes
type KeyOf<N extends RouteName> = `${Routes[N]['method']} ${Routes[N]['path']}`
type Key = { [N in RouteName]: KeyOf<N> }[RouteName]
type NameOf<K extends Key> = { [N in RouteName]: KeyOf<N> extends K ? N : never }[RouteName]
type Answered = { [N in RouteName]: Routes[N] extends { answer: z.ZodType } ? KeyOf<N> : never }[RouteName]
type Sent<N extends RouteName, P extends string> = Routes[N] extends { [p in P]: infer S extends z.ZodType }
  ? z.input<S>
  : undefined

export type Body<K extends Key> = Sent<NameOf<K>, 'body'>
export type Answer<K extends Key> = AnswerOf<NameOf<K>>

interface Request<K extends Key> {
  params?: Record<string, string | number>
  query?: { [Q in keyof Sent<NameOf<K>, 'query'>]?: string | number | undefined }
  body?: Body<K>
  /** Sent as it is, for routes that take bytes. */
  bytes?: Blob
  signal?: AbortSignal
}

/** What the server refused, in its own words. */
export class ApiError extends Error {
  readonly status: number
  readonly problem: Problem | undefined

  constructor(status: number, message: string, problem?: Problem) {
    super(message)
    this.status = status
    this.problem = problem
  }
}

const listeners = new Set<() => void>()

/** Called when an answer says that nobody is logged in (any more). */
export function onLoggedOut(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export async function ask<K extends Answered>(key: K, request: Request<K> = {}): Promise<Answer<K>> {
  const [method = 'GET'] = key.split(' ')
  const { body, bytes, signal } = request
  const type = bytes ? 'application/octet-stream' : body === undefined ? undefined : 'application/json'
  const content = bytes ?? (body === undefined ? null : JSON.stringify(body))
  const response = await fetch(hrefOf(key, request), {
    method,
    ...(type && { headers: { 'content-type': type } }),
    body: content,
    ...(signal && { signal }),
  }).catch((error: unknown) => {
    if (signal?.aborted) throw error
    throw new ApiError(0, 'The server does not answer.')
  })
  if (!response.ok) throw await errorOf(response)
  return (await response.json()) as Answer<K>
}

/** The address of a route: of downloads, which are links. */
export function hrefOf<K extends Key>(
  key: K,
  { params = {}, query = {} }: Pick<Request<K>, 'params' | 'query'>,
): string {
  const path = key.slice(key.indexOf(' ') + 1)
  const filled = path.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(String(params[name] ?? '')))
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') search.set(name, String(value))
  }
  return search.size === 0 ? filled : `${filled}?${search}`
}

async function errorOf(response: Response): Promise<ApiError> {
  if (response.status === 401) for (const listener of listeners) listener()
  return problemError(response.status, await response.text().catch(() => ''))
}

export function problemError(status: number, text: string): ApiError {
  try {
    const problem = JSON.parse(text) as Problem
    if (typeof problem.detail === 'string') return new ApiError(status, sentence(problem.detail), problem)
  } catch {
    // no problem document: a proxy's page, or nothing
  }
  return new ApiError(status, `The server answered with status ${status}.`)
}

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?…]$/.test(first) || first.includes('\n') ? first : `${first}.`
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

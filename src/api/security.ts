/**
 * Who may ask what, before any route is reached.
 *
 * In: every request. Out: a refusal, or the request with its user. A page of another site can neither read nor change
 * anything: the Host must be one of ours (a name that is pointed at this address later is none), requests that another
 * origin caused are refused, and the cookie is never sent along with them. What answers carry keeps a page that shows
 * hostile text from running it.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { refusal } from './problems.ts'

export type AuthMode = 'none' | 'token' | 'accounts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Null where nobody has to log in. */
    user: string | null
  }
  interface FastifyContextConfig {
    isOpen?: boolean
  }
}

export interface SecurityOptions {
  mode(): AuthMode
  token: string | undefined
  /** Names besides addresses and `localhost` under which the page is asked for. */
  hosts: readonly string[]
}

export interface Sessions {
  start(user: string): string
  end(id: string | undefined): void
  userOf(id: string | undefined): string | undefined
}

const COOKIE = 'pcap_pipeline_session'
const SESSION_MS = 12 * 3_600_000
const MOST_SESSIONS = 1000

const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), microphone=(), geolocation=(), payment=(), usb=()',
}

export function secure(app: FastifyInstance, sessions: Sessions, options: SecurityOptions): void {
  app.decorateRequest('user', null)
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(HEADERS)
    checkHost(request, options.hosts)
    checkOrigin(request)
    request.user = userOf(request, sessions, options) ?? null
    if (request.user !== null || options.mode() === 'none' || isOpen(request)) return
    throw refusal(401, 'unauthorized', 'log in, or send the token as `Authorization: Bearer …`', {
      'www-authenticate': 'Bearer',
    })
  })
}

/** The page's own files say nothing of the data; what they ask for afterwards is guarded. */
function isOpen({ url, routeOptions }: FastifyRequest): boolean {
  if (routeOptions.config.isOpen) return true
  return !url.startsWith('/api/') && !url.startsWith('/metrics')
}

/** RFC 9110, 7.2, and DNS rebinding: addresses are safe, for a rebound name is a name. */
function checkHost({ headers }: FastifyRequest, hosts: readonly string[]): void {
  const name = hostName(headers.host ?? '')
  const bare = name.replace(/^\[|\]$/g, '')
  if (name === 'localhost' || isIP(bare) > 0 || hosts.includes(name)) return
  throw refusal(
    421,
    'forbidden',
    `this host is not known here as ${JSON.stringify(name.slice(0, 100))}; HTTP_HOSTS lists its names`,
  )
}

function hostName(host: string): string {
  return host.toLowerCase().replace(/:\d{1,5}$/, '')
}

const SAFE = new Set(['GET', 'HEAD', 'OPTIONS'])

function checkOrigin({ headers, method, url }: FastifyRequest): void {
  const site = headers['sec-fetch-site']
  if (site === 'cross-site' && (url.startsWith('/api/') || !SAFE.has(method))) {
    throw refusal(403, 'forbidden', 'requests that another site caused are refused')
  }
  const { origin, host } = headers
  if (origin === undefined || (SAFE.has(method) && !url.startsWith('/api/'))) return
  const sent = URL.canParse(origin) ? new URL(origin).host : undefined
  if (sent === undefined || sent !== host?.toLowerCase())
    throw refusal(403, 'forbidden', 'requests of another origin are refused')
}

function userOf(request: FastifyRequest, sessions: Sessions, { token }: SecurityOptions): string | undefined {
  const bearer = /^Bearer (.{1,1024})$/i.exec(request.headers.authorization ?? '')?.[1]
  if (bearer !== undefined && token !== undefined && sameSecret(bearer, token)) return 'token'
  return sessions.userOf(sessionIdOf(request))
}

export function sessionIdOf({ headers }: FastifyRequest): string | undefined {
  const pairs = (headers.cookie ?? '').split(';').map((pair) => pair.trim())
  return pairs.find((pair) => pair.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1)
}

/** An empty id takes the cookie away. */
export function cookieOf(request: FastifyRequest, id: string): string {
  const isSecure = request.headers['x-forwarded-proto'] === 'https'
  const age = id === '' ? 0 : SESSION_MS / 1000
  return `${COOKIE}=${id}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${age}${isSecure ? '; Secure' : ''}`
}

export function sameSecret(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}

/** In memory alone: a restart logs everybody out. */
export function createSessions(now: () => number = Date.now): Sessions {
  const known = new Map<string, { user: string; until: number }>()
  return {
    start(user) {
      for (const [id, { until }] of known) if (until < now() || known.size >= MOST_SESSIONS) known.delete(id)
      const id = randomBytes(32).toString('base64url')
      known.set(id, { user, until: now() + SESSION_MS })
      return id
    },
    end(id) {
      if (id !== undefined) known.delete(id)
    },
    userOf(id) {
      const session = id === undefined ? undefined : known.get(id)
      if (session === undefined || session.until < now()) return undefined
      return session.user
    },
  }
}

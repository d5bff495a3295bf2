/** Logging in and out. */

import type { Ledger } from '../../state/ledger.ts'
import { createAttempts } from './attempts.ts'
import type { Session } from './contract.ts'
import { checkPassword } from './passwords.ts'
import { refusal } from './problems.ts'
import type { Routes } from './routes.ts'
import { type AuthMode, cookieOf, type Sessions, sameSecret, sessionIdOf } from './security.ts'

export interface SessionParts {
  ledger: Ledger
  sessions: Sessions
  mode(): AuthMode
  token: string | undefined
  version: string
}

const MOST_AT_ONCE = 2

export function sessionRoutes({ handle }: Routes, { ledger, sessions, mode, token, version }: SessionParts): void {
  const attempts = createAttempts()
  let checking = 0
  const session = (user: string | null): Session => ({ auth: mode(), user, version })

  handle('getSession', ({ request }) => session(request.user))

  handle('logIn', async ({ body: { user, password }, request, reply }) => {
    const keys = [`from ${request.ip}`, ...(user === undefined ? [] : [`as ${user}`])]
    const wait = Math.max(...keys.map(attempts.waitSeconds))
    // A hash takes memory and a core: many at once must not take all.
    if (wait > 0 || checking >= MOST_AT_ONCE) {
      const seconds = String(wait || 1)
      throw refusal(429, 'rate_limited', `too many attempts; wait ${seconds} s`, { 'retry-after': seconds })
    }
    checking++
    const name = await nameOf(user, password).finally(() => {
      checking--
    })
    const remote = request.ip
    if (name === undefined) {
      for (const key of keys) attempts.failed(key)
      ledger.accounts.audit({ user: user ?? null, remote, action: 'log-in refused', detail: '' })
      throw refusal(401, 'unauthorized', 'the name or the password is wrong')
    }
    for (const key of keys) attempts.succeeded(key)
    ledger.accounts.audit({ user: name, remote, action: 'log-in', detail: '' })
    reply.header('set-cookie', cookieOf(request, sessions.start(name)))
    return session(name)
  })

  handle('logOut', ({ request, reply }) => {
    sessions.end(sessionIdOf(request))
    reply.header('set-cookie', cookieOf(request, ''))
    if (request.user !== null)
      ledger.accounts.audit({ user: request.user, remote: request.ip, action: 'log-out', detail: '' })
    return session(null)
  })

  async function nameOf(user: string | undefined, password: string): Promise<string | undefined> {
    if (user === undefined) return token !== undefined && sameSecret(password, token) ? 'token' : undefined
    return (await checkPassword(password, ledger.accounts.passwordOf(user))) ? user : undefined
  }
}

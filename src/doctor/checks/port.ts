/** Whether the pages can be served: the address is this host's, and its port is free or served by us. */

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { errnoOf, messageOf } from '../../../state/errors.ts'
import { type Check, error, type Finding, ok } from '../check.ts'
import type { Host } from '../host.ts'
import { ownerOfPort } from '../port-owner.ts'

const ANSWER_MS = 3000

export const port: Check<Host> = {
  name: 'port',
  async look({ config: { http } }) {
    if (!http.enabled) return [ok('the pages are turned off (HTTP_ENABLED)')]
    if (http.port === 0) return [ok('any that is free is taken (HTTP_PORT=0)')]
    const where = `${http.host}:${http.port}`
    const failure = await tryListening(http.host, http.port)
    if (failure === undefined) return [ok(`${where} is free`)]
    if (errnoOf(failure) === 'EADDRINUSE') return [await taken(http.host, http.port, where)]
    return [cannot(failure, where)]
  },
}

async function tryListening(host: string, number: number): Promise<unknown> {
  const server = createServer()
  try {
    server.listen(number, host)
    await once(server, 'listening')
    return undefined
  } catch (thrown) {
    return thrown
  } finally {
    server.close()
  }
}

async function taken(host: string, number: number, where: string): Promise<Finding> {
  const pid = ownerOfPort(number)
  const name = pid === undefined ? undefined : await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => undefined)
  const who = name === undefined ? 'another process' : `process ${pid} (${name.trim()})`
  if (await isOurs(host, number)) return ok(`${where} is served by a running pipeline, ${who}`)
  return error(
    `${where} is taken by ${who}, which is no pcap-pipeline`,
    'end that process, or set HTTP_PORT to a port that is free',
  )
}

/** A pipeline answers /healthz with a word, to everybody. */
async function isOurs(host: string, number: number): Promise<boolean> {
  const name = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : host.includes(':') ? `[${host}]` : host
  try {
    const answer = await fetch(`http://${name}:${number}/healthz`, { signal: AbortSignal.timeout(ANSWER_MS) })
    return answer.ok && (await answer.text()) === 'ok\n'
  } catch {
    return false
  }
}

function cannot(failure: unknown, where: string): Finding {
  if (errnoOf(failure) === 'EADDRNOTAVAIL')
    return error(
      `${where} is no address of this host`,
      'set HTTP_HOST to 127.0.0.1 or an address that `ip address` shows',
    )
  if (errnoOf(failure) === 'EACCES')
    return error(`this user may not listen on ${where}`, 'set HTTP_PORT to 1024 or above')
  return error(`${where} cannot be listened on: ${messageOf(failure)}`, 'correct HTTP_HOST and HTTP_PORT')
}

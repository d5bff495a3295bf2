/**
 * vitest's global set-up: one broker for the whole run, started when the first test asks for it. Tests run in
 * processes of their own, so they ask over a socket, whose path the environment carries.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Broker, startBroker } from './broker.ts'

export const SOCKET_NAME = 'TEST_KAFKA_SOCKET'

/** What is answered: one line of JSON. */
export type Answer = { broker: Omit<Broker, keyof AsyncDisposable> } | { error: string }

export async function setup(): Promise<() => Promise<void>> {
  const dir = mkdtempSync(join(tmpdir(), 'pcap-pipeline-kafka-run-'))
  let broker: Promise<Broker> | undefined
  const server = createServer((socket) => {
    socket.on('error', () => {})
    broker ??= startBroker()
    broker.then(
      (found) => socket.end(JSON.stringify({ broker: found })),
      (error: unknown) => socket.end(JSON.stringify({ error: error instanceof Error ? error.message : String(error) })),
    )
  })
  const path = join(dir, 'socket')
  await new Promise<void>((resolve) => server.listen(path, resolve))
  process.env[SOCKET_NAME] = path
  return async () => {
    server.close()
    await broker?.then(
      (found) => found[Symbol.asyncDispose](),
      () => {},
    )
    rmSync(dir, { recursive: true, force: true })
  }
}

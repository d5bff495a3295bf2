/**
 * vitest's global set-up: one node for the whole run, started when the first test asks for it. Tests run in processes
 * of their own, so they ask over a socket, whose path the environment carries.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Node, startNode } from './node.ts'

export const SOCKET_NAME = 'TEST_ELASTICSEARCH_SOCKET'

/** What is answered: one line of JSON. */
export type Answer = { url: string } | { error: string }

export async function setup(): Promise<() => Promise<void>> {
  const dir = mkdtempSync(join(tmpdir(), 'pcap-pipeline-elasticsearch-run-'))
  let node: Promise<Node> | undefined
  const server = createServer((socket) => {
    socket.on('error', () => {})
    node ??= startNode()
    node.then(
      ({ url }) => socket.end(JSON.stringify({ url })),
      (error: unknown) => socket.end(JSON.stringify({ error: error instanceof Error ? error.message : String(error) })),
    )
  })
  const path = join(dir, 'socket')
  await new Promise<void>((resolve) => server.listen(path, resolve))
  process.env[SOCKET_NAME] = path
  return async () => {
    server.close()
    await node?.then(
      (found) => found[Symbol.asyncDispose](),
      () => {},
    )
    rmSync(dir, { recursive: true, force: true })
  }
}

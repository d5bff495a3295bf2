/**
 * One set-up at a time in a folder. The lock is a socket in Linux's abstract namespace: the kernel gives
 * it to one process and takes it back when that process ends, however it ends, so it cannot go stale.
 */

import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { say } from './say.mjs'

const PATIENCE_MS = 1000

/** Runs `work` while no other process does so in this folder; waits its turn without a limit. */
export async function withLock(root, work) {
  const digest = createHash('sha256').update(realpathSync(root)).digest('hex')
  const release = await acquire(`\0pcap-pipeline-setup-${digest.slice(0, 32)}`)
  try {
    return await work()
  } finally {
    release()
  }
}

async function acquire(name) {
  const notice = setTimeout(() => say('another set-up is at work in this folder; waiting for it'), PATIENCE_MS)
  try {
    for (;;) {
      const release = await tryListen(name)
      if (release) return release
      await untilReleased(name)
    }
  } finally {
    clearTimeout(notice)
  }
}

/** Those who wait are connected to the holder: they see its end as the end of the connection. */
function tryListen(name) {
  const waiting = new Set()
  const server = createServer((socket) => {
    waiting.add(socket)
    socket.on('error', () => {}).on('close', () => waiting.delete(socket))
  })
  const release = () => {
    server.close()
    for (const socket of waiting) socket.destroy()
  }
  return new Promise((resolve, reject) => {
    server.on('error', (error) => (error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error)))
    server.listen(name, () => resolve(release))
  })
}

function untilReleased(name) {
  return new Promise((resolve) => {
    connect(name)
      .on('error', () => {})
      .on('close', () => setTimeout(resolve, 20))
      .resume()
  })
}

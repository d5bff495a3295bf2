/**
 * Stands between clients and a broker and breaks connections at a chosen request: before the broker has it, or when the
 * broker has answered and the client does not know yet. Or it keeps such an answer for a while.
 */

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

export interface Cut {
  apiKey: number
  /** What does not arrive. */
  where: 'request' | 'answer'
  /** Requests of the kind that are treated so. */
  times: number
  /** Runs before the connection is broken. */
  before?(request: Buffer): Promise<void>
  /** The answer comes so late, instead of never; the connection is left alone. */
  lateMs?: number
}

export interface Proxy {
  readonly port: number
  to(port: number): void
  cut(cut: Cut): void
  /** How often it was done. */
  cuts(): number
  /** Late answers whose connection the client had closed by then, and those that reached it. */
  late(): { missed: number; arrived: number }
  close(): Promise<void>
}

export async function startProxy(): Promise<Proxy> {
  const sockets = new Set<Socket>()
  let target = 0
  let next: Cut | undefined
  let count = 0
  const late = { missed: 0, arrived: 0 }
  const server = createServer((client) => {
    const broker = connect(target, '127.0.0.1')
    for (const socket of [client, broker]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        broker.destroy()
      })
    }
    const awaited = new Map<number, (answer: Buffer) => void>()
    const breakAfter = async (frame: Buffer, { before = async () => {} }: Cut) => {
      count++
      await before(frame)
      client.destroy()
    }
    const onRequest = (frame: Buffer) => {
      if (next === undefined || next.times === 0 || frame.readInt16BE(4) !== next.apiKey)
        return void broker.write(frame)
      next.times--
      const cut = next
      const request = Buffer.from(frame)
      if (cut.where === 'request') return void breakAfter(request, cut)
      const { lateMs } = cut
      const treat = lateMs === undefined ? () => void breakAfter(request, cut) : keepFor(lateMs)
      awaited.set(frame.readInt32BE(8), treat)
      broker.write(frame)
    }
    const keepFor = (ms: number) => (answer: Buffer) => {
      count++
      const kept = Buffer.from(answer)
      setTimeout(() => {
        if (client.destroyed) late.missed++
        else {
          late.arrived++
          client.write(kept)
        }
      }, ms)
    }
    const onAnswer = (frame: Buffer) => {
      const treat = awaited.get(frame.readInt32BE(4))
      if (treat === undefined) client.write(frame)
      else treat(frame)
    }
    client.on('data', framesOf(onRequest))
    broker.on('data', framesOf(onAnswer))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as { port: number }).port,
    to: (port) => {
      target = port
    },
    cut: (cut) => {
      next = cut
    },
    cuts: () => count,
    late: () => late,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Requests and answers are whole frames, a length of 32 bits in front. */
function framesOf(onFrame: (frame: Buffer) => void): (data: Buffer) => void {
  let rest = Buffer.alloc(0)
  return (data) => {
    rest = Buffer.concat([rest, data])
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const end = 4 + rest.readInt32BE(0)
      onFrame(rest.subarray(0, end))
      rest = rest.subarray(end)
    }
  }
}

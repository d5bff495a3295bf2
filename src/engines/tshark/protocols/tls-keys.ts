/**
 * The secrets of TLS sessions that a capture came with, and how far they led. In: key logs. Out: the secrets of a
 * session by its client's random, and counts for the receipt.
 */

import { createReadStream } from 'node:fs'
import { createKeyLines, MAX_KEY_LOG_BYTES } from '../../../../stages/key-log.ts'

export interface Secrets {
  /** Of TLS 1.2. */
  master?: Buffer
  clientHandshake?: Buffer
  serverHandshake?: Buffer
  client?: Buffer
  server?: Buffer
  clientEarly?: Buffer
}

export interface TlsCounts {
  /** Sessions that the key logs have secrets of. */
  keys: number
  /** Their lines that are none. */
  badLines: number
  /** TLS sessions over TCP in the capture, of which the server's answer was seen. */
  sessions: number
  /** Of those, sessions that there are secrets of. */
  withKeys: number
  /** Of those, sessions of which something could be read. */
  decrypted: number
  /** Sessions with secrets that could not be read, or not to their end, by reason. */
  failures: Record<string, number>
}

export interface TlsKeys {
  find(clientRandom: Buffer): Secrets | undefined
  /** Of a block of secrets in the capture. */
  add(keyLog: Buffer): void
  /** Counted into by whoever decrypts. */
  readonly counts: TlsCounts
}

const FIELDS: Record<string, keyof Secrets> = {
  CLIENT_RANDOM: 'master',
  CLIENT_HANDSHAKE_TRAFFIC_SECRET: 'clientHandshake',
  SERVER_HANDSHAKE_TRAFFIC_SECRET: 'serverHandshake',
  CLIENT_TRAFFIC_SECRET_0: 'client',
  SERVER_TRAFFIC_SECRET_0: 'server',
  CLIENT_EARLY_TRAFFIC_SECRET: 'clientEarly',
}

/** @param paths key logs; what lies beyond `MAX_KEY_LOG_BYTES` of one is not read, and one that is not there has none. */
export async function openTlsKeys(paths: readonly string[]): Promise<TlsKeys> {
  /** By the client's random. As text: an object and several buffers a session are three times as large. */
  const sessions = new Map<string, [keyof Secrets, string][]>()
  let bad = 0
  const counts: TlsCounts = {
    ...{ sessions: 0, withKeys: 0, decrypted: 0, failures: {} },
    get keys() {
      return sessions.size
    },
    get badLines() {
      return bad
    },
  }

  const lines = () =>
    createKeyLines(({ label, clientRandom, secret }) => {
      const field = FIELDS[label]
      if (field === undefined) return
      const known = sessions.get(clientRandom)
      if (known === undefined) sessions.set(clientRandom, [[field, secret]])
      else if (!known.some(([name]) => name === field)) known.push([field, secret])
    })

  for (const path of paths) {
    const reader = lines()
    try {
      for await (const chunk of createReadStream(path, { end: MAX_KEY_LOG_BYTES - 1 })) reader.data(chunk as Buffer)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
    bad += reader.end()
  }

  return {
    find(clientRandom) {
      const found = sessions.get(clientRandom.toString('hex'))
      return found && Object.fromEntries(found.map(([field, secret]) => [field, Buffer.from(secret, 'hex')]))
    },
    add(keyLog) {
      const reader = lines()
      reader.data(keyLog)
      bad += reader.end()
    },
    counts,
  }
}

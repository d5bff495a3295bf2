/**
 * RFB, the protocol of VNC (RFC 6143): one rfb record a connection: versions, the authentication and its
 * result, and the desktop; written when the desktop is known, or at the flow's end.
 */

import type { Dissector, Protocol, Session } from './protocol.ts'
import { textOf } from './text.ts'

const VERSION = /^RFB (\d{3})\.(\d{3})\n/
const VERSION_BYTES = 12
const NONE = 1
const VNC = 2
const APPLE = 30
const METHODS: Record<number, string> = {
  0: 'Invalid',
  1: 'None',
  2: 'VNC',
  16: 'Tight',
  17: 'Ultra',
  18: 'TLS',
  19: 'VeNCrypt',
  20: 'GTK-VNC SASL',
  21: 'MD5 hash authentication',
  22: 'Colin Dean xvp',
  30: 'Apple Remote Desktop',
}
const OTHER_METHOD = 'RealVNC'
const CHALLENGE_BYTES = 16
const APPLE_CREDENTIALS_BYTES = 128
const MAX_HELD_BYTES = 65536

export const rfb: Protocol = {
  name: 'rfb',
  logs: ['rfb'],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const isVersion = (bytes: Buffer) => {
      const start = bytes.subarray(0, VERSION_BYTES).toString('latin1')
      if (start.length < VERSION_BYTES) return 'RFB '.startsWith(start.slice(0, 4)) ? undefined : false
      return VERSION.test(start)
    }
    const [a, b] = [isVersion(originator), isVersion(responder)]
    return a === false || b === false ? false : a === undefined || b === undefined ? undefined : true
  },
  dissect: createRfb,
}

/** What comes next, whoever sends it; `over` is all that is not looked at. */
type Step =
  | 'server version'
  | 'client version'
  | 'security type'
  | 'security types'
  | 'choice'
  | 'challenge'
  | 'challenge response'
  | 'apple parameters'
  | 'apple response'
  | 'result'
  | 'client init'
  | 'server init'
  | 'over'

const FROM_CLIENT = new Set<Step>(['client version', 'choice', 'challenge response', 'apple response', 'client init'])

function createRfb(session: Session): Dissector {
  const rest: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)]
  let step: Step = 'server version'
  let started: number | undefined
  let server: string[] = []
  let client: string[] = []
  let minor = 0
  let method: number | undefined
  let appleKeyBytes = 0
  let auth: boolean | undefined
  let share: boolean | undefined
  let desktop: { name: string; width: number; height: number } | undefined

  /** Each takes its message off the front: how many bytes, 0 for more are needed. */
  const steps: Record<Step, (bytes: Buffer, ts: number) => number> = {
    'server version'(bytes) {
      const version = readVersion(bytes)
      if (version === undefined) return give(bytes)
      server = version
      return next('client version', VERSION_BYTES)
    },
    'client version'(bytes, ts) {
      const version = readVersion(bytes)
      if (version === undefined) return give(bytes)
      client = version
      started = ts
      session.confirm('rfb')
      minor = Math.min(Number(server[1]), Number(client[1]))
      return next(minor < 7 ? 'security type' : 'security types', VERSION_BYTES)
    },
    'security type'(bytes) {
      if (bytes.length < 4) return 0
      method = bytes.readUInt32BE(0)
      return next(afterChoice(), 4)
    },
    'security types'(bytes) {
      const count = bytes[0] as number
      if (bytes.length < 1 + count) return 0
      return next(count === 0 ? 'over' : 'choice', 1 + count)
    },
    choice(bytes) {
      method = bytes[0] as number
      return next(afterChoice(), 1)
    },
    challenge: (bytes) => (bytes.length < CHALLENGE_BYTES ? 0 : next('challenge response', CHALLENGE_BYTES)),
    'challenge response': (bytes) => (bytes.length < CHALLENGE_BYTES ? 0 : next('result', CHALLENGE_BYTES)),
    'apple parameters'(bytes) {
      if (bytes.length < 4) return 0
      appleKeyBytes = bytes.readUInt16BE(2)
      const size = 4 + 2 * appleKeyBytes
      return bytes.length < size ? 0 : next('apple response', size)
    },
    'apple response'(bytes) {
      const size = APPLE_CREDENTIALS_BYTES + appleKeyBytes
      return bytes.length < size ? 0 : next('result', size)
    },
    result(bytes) {
      if (bytes.length < 4) return 0
      auth = bytes.readUInt32BE(0) === 0
      return next(auth ? 'client init' : 'over', 4)
    },
    'client init'(bytes) {
      share = bytes[0] !== 0
      return next('server init', 1)
    },
    'server init'(bytes, ts) {
      // Width, height, 16 bytes of pixel format, the name.
      if (bytes.length < 24) return 0
      const length = bytes.readUInt32BE(20)
      if (length > MAX_HELD_BYTES) return next('over', bytes.length)
      if (bytes.length < 24 + length) return 0
      desktop = {
        width: bytes.readUInt16BE(0),
        height: bytes.readUInt16BE(2),
        name: textOf(bytes.subarray(24, 24 + length)),
      }
      write(ts)
      return next('over', 24 + length)
    },
    over: (bytes) => bytes.length,
  }

  function next(to: Step, used: number): number {
    step = to
    return used
  }

  const give = (bytes: Buffer) => (bytes.length < VERSION_BYTES ? 0 : next('over', bytes.length))

  /** RFC 6143, 7.1.2 and appendix A: before 3.8 there is no result for no authentication. */
  function afterChoice(): Step {
    if (method === VNC) return 'challenge'
    if (method === APPLE) return 'apple parameters'
    if (method === NONE) return minor >= 8 ? 'result' : 'client init'
    return 'over'
  }

  function write(ts: number): void {
    if (client.length === 0) return
    session.emit('rfb', started ?? ts, {
      client_major_version: client[0],
      client_minor_version: client[1],
      server_major_version: server[0],
      server_minor_version: server[1],
      authentication_method: method === undefined ? undefined : (METHODS[method] ?? OTHER_METHOD),
      auth,
      share_flag: share,
      desktop_name: desktop?.name,
      width: desktop?.width,
      height: desktop?.height,
    })
    client = []
  }

  /** Takes messages in the order of the protocol, from whichever side's turn it is. */
  function advance(ts: number): void {
    while (step !== 'over') {
      const side = FROM_CLIENT.has(step) ? 0 : 1
      const used = rest[side].length === 0 ? 0 : steps[step](rest[side], ts)
      if (used === 0) break
      rest[side] = rest[side].subarray(used)
    }
    if (step === 'over') rest[0] = rest[1] = Buffer.alloc(0)
  }

  return {
    data(fromOriginator, bytes, ts) {
      if (step === 'over') return
      const side = fromOriginator ? 0 : 1
      rest[side] = Buffer.concat([rest[side], bytes])
      advance(ts)
      if (rest[side].length > 2 * MAX_HELD_BYTES) step = 'over'
    },
    gap() {
      step = 'over'
      rest[0] = rest[1] = Buffer.alloc(0)
    },
    end: write,
  }
}

function readVersion(bytes: Buffer): string[] | undefined {
  const match = VERSION.exec(bytes.subarray(0, VERSION_BYTES).toString('latin1'))
  return match?.slice(1)
}

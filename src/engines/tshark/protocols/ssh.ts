/**
 * SSH (RFC 4253): one ssh record a connection: banners, the algorithms that both sides agree on, the host
 * key's fingerprint, and what the sizes of the server's encrypted answers tell of the authentication.
 */

import { createHash } from 'node:crypto'
import type { Dissector, Protocol, Session } from './protocol.ts'
import { textOf } from './text.ts'

const KEXINIT = 20
const NEWKEYS = 21
const KEX_REPLY = 31
const GEX_REPLY = 33
const MAX_BANNER_BYTES = 4096
const MAX_PACKET_BYTES = 1 << 20
/** A message that much longer than SERVICE_ACCEPT is a banner (RFC 4252, 5.4), as Zeek has it. */
const BANNER_LONGER_BY = 256
/** How much shorter USERAUTH_SUCCESS is than SERVICE_ACCEPT once both are padded (RFC 4252, 5.1; 4253, 10). */
const SUCCESS_SHORTER_BY = 16
const MAX_ALGORITHMS = 100
/** Sizes tell nothing of what is compressed. */
const COMPRESSED = new Set(['zlib', 'zlib@openssh.com'])
const NO_AGREEMENT = 'Algorithm negotiation failed'

export const ssh: Protocol = {
  name: 'ssh',
  logs: ['ssh'],
  tcpPorts: [22],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const isBanner = (bytes: Buffer) => {
      const start = bytes.toString('latin1', 0, 6)
      return start.length < 5
        ? 'SSH-1'.startsWith(start) || 'SSH-2'.startsWith(start)
          ? undefined
          : false
        : /^SSH-[12]/.test(start)
    }
    const [a, b] = [isBanner(originator), isBanner(responder)]
    return a === false || b === false ? false : a === undefined || b === undefined ? undefined : true
  },
  dissect: createSsh,
}

/** Name lists of KEXINIT, in their order (RFC 4253, 7.1). */
interface Offer {
  kex: string[]
  hostKey: string[]
  ciphers: [string[], string[]]
  macs: [string[], string[]]
  compressions: [string[], string[]]
  /** The lists that Zeek counts, by its names for them. */
  counted: Record<string, string[]>
}

interface Side {
  phase: 'banner' | 'packets' | 'encrypted' | 'lost'
  rest: Buffer
  banner?: string
  offer?: Offer
}

function createSsh(session: Session): Dissector {
  const sides: [Side, Side] = [
    { phase: 'banner', rest: Buffer.alloc(0) },
    { phase: 'banner', rest: Buffer.alloc(0) },
  ]
  const [client, server] = sides
  let start: number | undefined
  let fingerprint: string | undefined
  let attempts = 0
  let success: boolean | undefined
  let acceptSize = 0
  let failureSize = 0
  let bannerSkipped = false
  let clientHasSent = false
  let hadGap = false

  function banner(side: Side, ts: number): void {
    for (;;) {
      const feed = side.rest.indexOf(10)
      if (feed < 0) {
        if (side.rest.length > MAX_BANNER_BYTES) side.phase = 'lost'
        return
      }
      const line = side.rest.subarray(0, feed)
      side.rest = side.rest.subarray(feed + 1)
      if (line.toString('latin1', 0, 4) !== 'SSH-') {
        // Only a server may say something before its banner (RFC 4253, 4.2).
        if (side === server) continue
        for (const each of sides) each.phase = 'lost'
        return
      }
      start ??= ts
      side.banner = textOf(line[line.length - 1] === 13 ? line.subarray(0, -1) : line)
      side.phase = 'packets'
      const spoken = version()
      if (spoken === 2) session.confirm('ssh')
      if (spoken === undefined) mismatch(ts)
      if (client.banner !== undefined && server.banner !== undefined && spoken !== 2)
        for (const each of sides) each.phase = 'lost'
      return
    }
  }

  /** 1.99 speaks both (RFC 4253, 5.1). undefined: one is missing, or they have no version in common. */
  function version(): number | undefined {
    const [ours, theirs] = [versionsOf(client.banner), versionsOf(server.banner)]
    if (ours === undefined || theirs === undefined) return undefined
    if (ours.includes(2) && theirs.includes(2)) return 2
    return ours.includes(1) && theirs.includes(1) ? 1 : undefined
  }

  function mismatch(ts: number): void {
    if (client.banner === undefined || server.banner === undefined) return
    const known = client.banner.length > 4 && server.banner.length > 4
    const name = known ? 'SSH_version_mismatch' : 'SSH_cannot_determine_version'
    session.weird(ts, name, undefined, `${server.banner} vs ${client.banner}`)
  }

  function packets(side: Side, ts: number): void {
    while (side.rest.length >= 6 && side.phase === 'packets') {
      const length = side.rest.readUInt32BE(0)
      if (length < 2 || length > MAX_PACKET_BYTES) {
        side.phase = 'lost'
        return
      }
      if (side.rest.length < 4 + length) return
      const padding = side.rest[4] as number
      const payload = side.rest.subarray(5, Math.max(5, 4 + length - padding))
      side.rest = side.rest.subarray(4 + length)
      packet(side, payload, ts)
    }
  }

  function takeOffer(side: Side, payload: Buffer, ts: number): void {
    side.offer = readOffer(payload)
    if (side.offer === undefined) return
    for (const [name, list] of Object.entries(side.offer.counted))
      if (list.length > MAX_ALGORITHMS) {
        session.reject('ssh')
        session.weird(ts, `SSH_max_kexinit_${name}_exceeded`, 'SSH', `${list.length} > ${MAX_ALGORITHMS}`)
      }
  }

  function packet(side: Side, payload: Buffer, ts: number): void {
    const type = payload[0]
    if (type === KEXINIT) takeOffer(side, payload, ts)
    else if (type === NEWKEYS) side.phase = 'encrypted'
    else if (fingerprint === undefined && isReply(type, payload)) {
      const length = payload.readUInt32BE(1)
      const digest = createHash('sha256')
        .update(payload.subarray(5, 5 + length))
        .digest('base64')
      fingerprint = `SHA256:${digest.slice(0, 32)}`
    }
  }

  function isReply(type: number | undefined, payload: Buffer): boolean {
    const wanted = (agreed((offer) => offer.kex) ?? '').includes('group-exchange') ? GEX_REPLY : KEX_REPLY
    return type === wanted && payload.length > 5 && payload.readUInt32BE(1) <= payload.length - 5
  }

  /** The first of the client's names that the server has too. */
  function agreed(list: (offer: Offer) => string[]): string | undefined {
    if (client.offer === undefined || server.offer === undefined) return undefined
    const offered = new Set(list(server.offer))
    return list(client.offer).find((name) => offered.has(name)) ?? NO_AGREEMENT
  }

  function bothWays(lists: (offer: Offer) => [string[], string[]]): string | undefined {
    const [up, down] = [agreed((offer) => lists(offer)[0]), agreed((offer) => lists(offer)[1])]
    return up === down ? up : `To server: ${up}, to client: ${down}`
  }

  /** Only sizes are known: the answer to the service request comes first, then those to the attempts. */
  function encrypted(fromClient: boolean, length: number): void {
    if (fromClient) clientHasSent = true
    // What a server sends before it was asked (RFC 8308) answers nothing.
    if (fromClient || !clientHasSent || success === true) return
    if (acceptSize === 0) acceptSize = length
    else if (failureSize === 0 && length + SUCCESS_SHORTER_BY !== acceptSize) {
      // Clients first ask with the method `none`, to learn which there are: no attempt.
      if (!bannerSkipped && length - acceptSize > BANNER_LONGER_BY) bannerSkipped = true
      else failureSize = length
    } else if (length === failureSize) attempted(false)
    else if (length + SUCCESS_SHORTER_BY === acceptSize) attempted(true)
  }

  /** Sizes tell nothing of the answers then. */
  function isCompressed(): boolean {
    return COMPRESSED.has(bothWays((offer) => offer.compressions) ?? '')
  }

  function attempted(succeeded: boolean): void {
    if (isCompressed()) return
    success = succeeded
    attempts++
  }

  return {
    data(fromOriginator, bytes, ts) {
      const side = fromOriginator ? client : server
      if (side.phase === 'lost' || hadGap) return
      if (side.phase === 'encrypted') {
        encrypted(fromOriginator, bytes.length)
        return
      }
      side.rest = Buffer.concat([side.rest, bytes])
      if (side.phase === 'banner') banner(side, ts)
      if (side.phase === 'packets') packets(side, ts)
      if (isEncrypted(side)) {
        if (side.rest.length > 0) encrypted(fromOriginator, side.rest.length)
        side.rest = Buffer.alloc(0)
      }
    },
    gap() {
      hadGap = true
    },
    isDone() {
      if (client.phase === 'lost' && server.phase === 'lost') return true
      return client.phase === 'encrypted' && server.phase === 'encrypted' && (success === true || isCompressed())
    },
    end(ts) {
      if (client.banner === undefined && server.banner === undefined) return
      session.emit('ssh', start ?? ts, {
        version: version(),
        auth_success: success,
        auth_attempts: attempts,
        direction: direction(session),
        client: client.banner,
        server: server.banner,
        cipher_alg: bothWays((offer) => offer.ciphers),
        mac_alg: bothWays((offer) => offer.macs),
        compression_alg: bothWays((offer) => offer.compressions),
        kex_alg: agreed((offer) => offer.kex),
        host_key_alg: agreed((offer) => offer.hostKey),
        host_key_fingerprint: fingerprint,
      })
    },
  }
}

const isEncrypted = ({ phase }: Side) => phase === 'encrypted'

function versionsOf(banner: string | undefined): number[] | undefined {
  if (banner === undefined) return undefined
  if (banner.startsWith('SSH-1.99')) return [1, 2]
  return banner.startsWith('SSH-1') ? [1] : banner.startsWith('SSH-2') ? [2] : []
}

function direction({ flow }: Session): string | undefined {
  if (flow.origLocal === flow.respLocal) return undefined
  return flow.origLocal ? 'OUTBOUND' : 'INBOUND'
}

function readOffer(payload: Buffer): Offer | undefined {
  const lists: string[][] = []
  for (let at = 17; lists.length < 10; ) {
    if (at + 4 > payload.length) return undefined
    const length = payload.readUInt32BE(at)
    if (at + 4 + length > payload.length) return undefined
    lists.push(payload.toString('latin1', at + 4, at + 4 + length).split(','))
    at += 4 + length
  }
  const at = (index: number) => lists[index] ?? []
  return {
    kex: at(0),
    hostKey: at(1),
    ciphers: [at(2), at(3)],
    macs: [at(4), at(5)],
    compressions: [at(6), at(7)],
    counted: {
      kex_algorithms: at(0),
      hostkey_algorithms: at(1),
      encryption_algorithms: at(2),
      mac_algorithms: at(4),
      compression_algorithms: at(6),
      languages: at(8),
    },
  }
}

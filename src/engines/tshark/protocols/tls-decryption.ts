/**
 * One TLS session, decrypted with the secrets that are known of it. In: its handshake messages, in the clear or
 * decrypted, its changes of cipher, its records. Out: what the records hold.
 *
 * What does not fit its key ends the decryption of the session, and is counted with the reason: nothing is guessed. In
 * TLS 1.3 records may come first that there is no secret for (early data; a handshake whose secrets were not written
 * down): they are passed over.
 */

import { cipherName } from './tls-ciphers.ts'
import { nextSecret, openerOf, openersOf, type RecordOpener, type Suite, suiteOf } from './tls-crypto.ts'
import type { Hello } from './tls-handshake.ts'
import type { Secrets, TlsKeys } from './tls-keys.ts'
import { isTls13 } from './tls-names.ts'

export interface Plain {
  type: number
  content: Buffer
}

export interface Decryption {
  clientHello(hello: Hello): void
  /** Gives the client's early data, which its cipher is known for only now. */
  serverHello(hello: Hello): Plain[]
  /** Of a handshake message that was decrypted. */
  message(isClient: boolean, type: number): void
  /** What that side sends from now on is encrypted, or encrypted anew (before TLS 1.3). */
  changed(isClient: boolean): void
  open(isClient: boolean, header: Buffer, body: Buffer): Plain | undefined
  /** Bytes are missing: what follows cannot be told apart. */
  lost(): void
  /** It is to see what follows. */
  readonly isActive: boolean
  /** Of TLS 1.3: the client has not finished its handshake yet, and all of it is decrypted so far. */
  readonly isInHandshake: boolean
}

interface Side {
  opener?: RecordOpener | undefined
  /** From the next change of cipher on. */
  next?: RecordOpener | undefined
  /** Of TLS 1.3: what `opener` follows from, and what follows on it. */
  secret?: Buffer | undefined
  application?: Buffer | undefined
  /** Bytes that may still be passed over before the first one that fits. */
  skippable: number
  finished: boolean
}

const VERSION_12 = 0x0303
const FINISHED = 20
const KEY_UPDATE = 24
const END_OF_EARLY_DATA = 5
/** Early data that waits for the server's answer. */
const MAX_EARLY_BYTES = 64 << 10
/** More early data than servers take, and more than a handshake is long. */
const MAX_SKIPPED_BYTES = 256 << 10
/** An attacker who has the secrets may renegotiate forever. */
const MAX_HELLOS = 100

export function createDecryption(keys: TlsKeys): Decryption {
  const { counts } = keys
  const client: Side = { skippable: 0, finished: false }
  const server: Side = { skippable: 0, finished: false }
  let secrets: Secrets | undefined
  let clientRandom: Buffer | undefined
  let hasEarlyData = false
  let early: { header: Buffer; body: Buffer }[] = []
  let earlyBytes = 0
  let earlyOpener: RecordOpener | undefined
  let suite: Suite | undefined
  let is13 = false
  let [counted, decrypted, dead] = [false, false, false]
  let hellos = 0
  const sideOf = (isClient: boolean) => (isClient ? client : server)

  function fail(reason: string): void {
    if (dead) return
    dead = true
    counts.failures[reason] = (counts.failures[reason] ?? 0) + 1
  }

  function clientHello(hello: Hello): void {
    if (dead || ++hellos > MAX_HELLOS) return
    clientRandom = hello.random
    secrets = keys.find(hello.random)
    hasEarlyData = hello.earlyData
  }

  function serverHello(hello: Hello): Plain[] {
    if (hello.retry || dead || clientRandom === undefined) return []
    begin(hello, clientRandom)
    const records = early
    early = []
    return records.flatMap(({ header, body }) => open(true, header, body) ?? [])
  }

  function begin(hello: Hello, random: Buffer): void {
    if (!counted) {
      counted = true
      counts.sessions++
      if (secrets !== undefined) counts.withKeys++
    }
    if (secrets === undefined) return
    const version = hello.selectedVersion ?? hello.version
    const name = cipherName(hello.cipher ?? 0)
    suite = suiteOf(name)
    is13 = isTls13(version)
    if (!is13 && version !== VERSION_12) fail('a version before TLS 1.2')
    else if (suite === undefined) fail(`the cipher ${name}`)
    else if (is13) begin13(suite, secrets)
    else begin12(suite, secrets.master, random, hello)
  }

  function begin12(suite: Suite, master: Buffer | undefined, random: Buffer, hello: Hello): void {
    if (master === undefined) {
      fail('secrets that are missing')
      return
    }
    const randoms = { master, clientRandom: random, serverRandom: hello.random }
    const openers = openersOf(suite, randoms, hello.encryptThenMac)
    client.next = openers.client
    server.next = openers.server
  }

  function begin13(
    suite: Suite,
    { clientHandshake, serverHandshake, client: ofClient, server: ofServer }: Secrets,
  ): void {
    if (ofClient === undefined && ofServer === undefined) {
      fail('secrets that are missing')
      return
    }
    client.application = ofClient
    server.application = ofServer
    start(client, suite, clientHandshake)
    start(server, suite, serverHandshake)
    if (!hasEarlyData) return
    client.skippable = MAX_SKIPPED_BYTES
    earlyOpener = secrets?.clientEarly && openerOf(suite, secrets.clientEarly)
  }

  /** Without the handshake's secret, the first record that fits the next one ends it. */
  function start(side: Side, suite: Suite, handshake: Buffer | undefined): void {
    side.skippable = handshake === undefined ? MAX_SKIPPED_BYTES : 0
    side.finished = handshake === undefined
    use(side, suite, handshake ?? side.application)
  }

  function use(side: Side, suite: Suite, secret: Buffer | undefined): void {
    side.secret = secret
    side.opener = secret && openerOf(suite, secret)
  }

  function message(isClient: boolean, type: number): void {
    const side = sideOf(isClient)
    if (!is13 || suite === undefined) return
    if (type === END_OF_EARLY_DATA) earlyOpener = undefined
    else if (type === FINISHED && !side.finished) {
      side.finished = true
      use(side, suite, side.application)
    } else if (type === KEY_UPDATE && side.secret !== undefined) use(side, suite, nextSecret(suite, side.secret))
  }

  function open(isClient: boolean, header: Buffer, body: Buffer): Plain | undefined {
    const side = sideOf(isClient)
    if (dead) return undefined
    if (isClient && suite === undefined && hasEarlyData) keepEarly(header, body)
    if (side.opener === undefined) return undefined
    const plain = (isClient ? earlyOpener?.open(header, body) : undefined) ?? side.opener.open(header, body)
    if (plain === undefined) {
      side.skippable -= side.opener.opened === 0 ? body.length : Number.POSITIVE_INFINITY
      if (side.skippable < 0) fail('secrets that do not fit')
      return undefined
    }
    if (!decrypted) counts.decrypted++
    decrypted = true
    return is13 ? innerOf(plain) : { type: header[0] as number, content: plain }
  }

  /** Its cipher is that of the session before, which the server's answer names again. */
  function keepEarly(header: Buffer, body: Buffer): void {
    if (secrets?.clientEarly === undefined || earlyBytes + body.length > MAX_EARLY_BYTES) return
    earlyBytes += body.length
    early.push({ header: Buffer.from(header), body: Buffer.from(body) })
  }

  return {
    clientHello,
    serverHello,
    message,
    changed(isClient) {
      const side = sideOf(isClient)
      if (is13 || side.next === undefined) return
      side.opener = side.next
      side.next = undefined
    },
    open,
    lost() {
      if (secrets !== undefined && counted) fail('bytes that the capture lacks')
      dead = true
    },
    get isActive() {
      return secrets !== undefined && !dead
    },
    get isInHandshake() {
      return is13 && secrets?.clientHandshake !== undefined && !dead && !client.finished
    },
  }
}

/** TLSInnerPlaintext (RFC 8446, 5.2): the content, its type, zeros. */
function innerOf(plain: Buffer): Plain | undefined {
  let end = plain.length
  while (end > 0 && plain[end - 1] === 0) end--
  return end === 0 ? undefined : { type: plain[end - 1] as number, content: plain.subarray(0, end - 1) }
}

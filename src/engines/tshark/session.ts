/**
 * One flow's way through the protocols. In: its payload, in order. Out: records, weirds, files, and the names
 * of what it was seen to speak (conn's `service`).
 *
 * A flow to a registered port goes to that port's protocol from the first byte; besides, its first bytes are
 * kept until it is clear whether another protocol recognizes them, which then gets them from the start. A
 * dissector that throws is taken off the flow and reported: nothing that is in a packet may stop the rest.
 */

import { createFile, fuidOf, type SharedFiles } from './files.ts'
import type { Dissector, Fields, FileSink, Flow, Protocol, Session } from './protocols/protocol.ts'
import type { TlsKeys } from './protocols/tls-keys.ts'

/** What all flows of a conversion share. */
export interface SessionHost {
  write(log: string, record: object): void
  /** The same as `write` for a record that starts with the flow's columns; made of text at once where it is there. */
  writeOfFlow?(log: string, ts: number, flow: Flow, fields: Fields): void
  protocols: readonly Protocol[]
  /** Logs that Zeek has only with a policy script, and that are asked for. */
  policyLogs?: ReadonlySet<string>
  /** A dissector's bug: which protocol, and the error. */
  onFault(protocol: string, error: unknown): void
  /** Protocols of flows that another flow has announced, by `address port`. */
  expected: Map<string, Expectation>
  sharedFiles: SharedFiles
  /** What the flows share, by name. */
  shared?: Map<string, { end(): void }>
  /** The secrets of TLS sessions, where they may be used. */
  tlsKeys?: TlsKeys | undefined
}

export interface Expectation {
  protocol: string
  tell?: (values: Fields) => void
}

export interface FlowSession {
  data(fromOriginator: boolean, bytes: Buffer, ts: number): void
  gap(fromOriginator: boolean, length: number, ts: number): void
  finished(fromOriginator: boolean, ts: number): void
  end(ts: number): void
  /** No protocol wants to see any more of this flow. */
  readonly isIdle: boolean
  /** In the order in which they were confirmed. */
  services(): string[]
}

/** Zeek's `dpd_buffer_size`: recognition looks no further. */
const RECOGNIZE_BYTES = 1024
const RECOGNIZE_CHUNKS = 32
const MAX_KEPT_BYTES = 32_768
const MAX_HAND_OVERS = 10

interface Chunk {
  fromOriginator: boolean
  bytes: Buffer
  ts: number
}

const MAX_WEIRDS = 100

export function createSession(host: SessionHost, flow: Flow): FlowSession {
  return new FlowOfProtocols(host, flow)
}

/** A class, for there are as many of them as flows: one object, no closures, the rest made when it is needed. */
class FlowOfProtocols implements FlowSession, Session {
  readonly flow: Flow
  readonly announcer: ((values: Fields) => void) | undefined
  readonly tlsKeys: TlsKeys | undefined
  private readonly host: SessionHost
  private confirmed: string[] | undefined = undefined
  private rejected: string[] | undefined = undefined
  private weirds: Set<string> | undefined = undefined
  private handOvers = 0
  private files = 0
  private readonly running: Guarded[] = []
  /** Protocols that may still recognize the flow. */
  private candidates: readonly Protocol[]
  private opening: Opening | undefined = undefined

  constructor(host: SessionHost, flow: Flow) {
    this.host = host
    this.flow = flow
    const announced = host.expected.get(`${flow.respAddr} ${flow.respPort}`)
    this.announcer = announced?.tell
    this.tlsKeys = host.tlsKeys
    const { recognizable, registered } = registryOf(host.protocols)
    this.candidates = recognizable
    const { transport } = flow
    for (const protocol of registered(transport, flow.respPort, announced?.protocol)) this.begin(protocol)
    // An answer without its question: the server's port is the originator's.
    if (this.running.length === 0 && transport === 'udp')
      for (const protocol of registered(transport, flow.origPort)) this.begin(protocol)
  }

  // ---- the flow's payload -------------------------------------------------------------------------------

  data(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    const { running } = this
    const before = running.length
    for (let i = 0; i < before; i++) running[i]?.data(fromOriginator, bytes, ts)
    if (this.candidates.length > 0) this.recognize(fromOriginator, bytes, ts)
  }

  gap(fromOriginator: boolean, length: number, ts: number): void {
    this.stopRecognition()
    for (const each of this.running) each.gap(fromOriginator, length, ts)
  }

  finished(fromOriginator: boolean, ts: number): void {
    for (const each of this.running) each.finished(fromOriginator, ts)
  }

  end(ts: number): void {
    this.stopRecognition()
    for (const each of this.running) each.end(ts)
    this.running.length = 0
  }

  get isIdle(): boolean {
    if (this.candidates.length > 0) return false
    for (const each of this.running) if (each.isOpen) return false
    return true
  }

  services(): string[] {
    return this.confirmed ?? []
  }

  private begin(protocol: Protocol): Guarded | undefined {
    if (protocol.dissect === undefined) return undefined
    for (const each of this.running) if (each.protocol === protocol.name) return undefined
    const dissector = this.guarded(protocol.name, protocol.dissect)
    this.running.push(dissector)
    return dissector
  }

  private guarded(name: string, dissect: (session: Session) => Dissector): Guarded {
    return new Guarded(this.host, this, name, dissect)
  }

  private recognize(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    this.opening ??= new Opening(this.flow.transport === 'tcp')
    const { opening } = this
    opening.add(fromOriginator, bytes, ts)
    const [originator, responder] = [opening.head(true), opening.head(false)]
    let left: Protocol[] | undefined
    const { candidates } = this
    for (let i = 0; i < candidates.length; i++) {
      const protocol = candidates[i] as Protocol
      const verdict = protocol.recognize?.(originator, responder, this.flow.transport)
      if (verdict === undefined) left?.push(protocol)
      else {
        left ??= candidates.slice(0, i)
        if (verdict) opening.replay(this.begin(protocol))
      }
    }
    if (left !== undefined) this.candidates = left
    if (this.candidates.length === 0 || opening.isEnough) this.stopRecognition()
    else opening.keep()
  }

  private stopRecognition(): void {
    this.candidates = NO_PROTOCOLS
    this.opening = undefined
  }

  // ---- what a dissector may do --------------------------------------------------------------------------

  emit(log: string, ts: number, fields: Fields): void {
    if (this.host.writeOfFlow !== undefined) this.host.writeOfFlow(log, ts, this.flow, fields)
    else this.host.write(log, { ...flowColumns(ts, this.flow), ...fields })
  }

  emitBare(log: string, ts: number, fields: Fields): void {
    this.host.write(log, { ts, ...fields })
  }

  wants(log: string): boolean {
    return this.host.policyLogs?.has(log) === true
  }

  weird(ts: number, name: string, source?: string, addl?: string): void {
    // Zeek tells the same weird of a flow once.
    this.weirds ??= new Set()
    if (this.weirds.has(name) || this.weirds.size > MAX_WEIRDS) return
    this.weirds.add(name)
    this.emit('weird', ts, { name, addl, notice: false, peer: 'zeek', source })
  }

  confirm(service: string): void {
    this.confirmed ??= []
    if (!this.confirmed.includes(service) && this.rejected?.includes(service) !== true) this.confirmed.push(service)
  }

  reject(service: string): void {
    this.rejected ??= []
    if (!this.rejected.includes(service)) this.rejected.push(service)
    const at = this.confirmed?.indexOf(service) ?? -1
    if (at >= 0) this.confirmed?.splice(at, 1)
  }

  file(source: string, fromOriginator: boolean, ts: number): FileSink {
    const { host, flow } = this
    return createFile(host.write, { flow, fromOriginator }, fuidOf(flow.uid, this.files++), source, ts).sink
  }

  sharedFile(key: string, source: string, fromOriginator: boolean, ts: number): FileSink {
    const { host, flow } = this
    return host.sharedFiles.open(key, { flow, fromOriginator }, () => fuidOf(flow.uid, this.files++), source, ts)
  }

  pieceEnd(key: string, ts: number): void {
    this.host.sharedFiles.check(key, ts)
  }

  shared<T extends { end(): void }>(name: string, create: (write: Session['emitBare']) => T): T {
    const { host } = this
    host.shared ??= new Map()
    let part = host.shared.get(name)
    if (part === undefined) {
      part = create((log, ts, fields) => host.write(log, { ts, ...fields }))
      host.shared.set(name, part)
    }
    return part as T
  }

  handOver(name: string, _ts: number): Dissector | undefined {
    if (++this.handOvers > MAX_HAND_OVERS) return undefined
    const { protocols } = this.host
    const open = ({ name: protocol, dissect }: Protocol) => dissect && this.guarded(protocol, dissect)
    // Inside a tunnel (CONNECT, SOCKS): the same recognition, from where the tunnel begins.
    if (name === 'any') return createRecognition(protocols, open)
    const protocol = protocols.find((each) => each.name === name)
    return protocol && open(protocol)
  }

  expect(respAddr: string, respPort: number, protocol: string, tell?: (values: Fields) => void): void {
    const { expected } = this.host
    if (expected.size > 10_000) expected.delete(expected.keys().next().value ?? '')
    expected.set(`${respAddr} ${respPort}`, { protocol, tell })
  }
}

export function flowColumns(ts: number, flow: Flow) {
  return {
    ts,
    uid: flow.uid,
    'id.orig_h': flow.origAddr,
    'id.orig_p': flow.origPort,
    'id.resp_h': flow.respAddr,
    'id.resp_p': flow.respPort,
  }
}

/** A dissector that may throw: then it is taken off the flow. */
class Guarded implements Dissector {
  readonly protocol: string
  private readonly host: SessionHost
  private inner: Dissector | undefined = undefined

  constructor(host: SessionHost, session: Session, protocol: string, dissect: (session: Session) => Dissector) {
    this.host = host
    this.protocol = protocol
    try {
      this.inner = dissect(session)
    } catch (error) {
      this.fail(error)
    }
  }

  /** It has not failed, nor said that it is done. */
  get isOpen(): boolean {
    return this.inner !== undefined && this.inner.isDone?.() !== true
  }

  private fail(error: unknown): void {
    this.inner = undefined
    this.host.onFault(this.protocol, error)
  }

  data(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    try {
      this.inner?.data(fromOriginator, bytes, ts)
    } catch (error) {
      this.fail(error)
    }
  }

  gap(fromOriginator: boolean, length: number, ts: number): void {
    try {
      this.inner?.gap?.(fromOriginator, length, ts)
    } catch (error) {
      this.fail(error)
    }
  }

  finished(fromOriginator: boolean, ts: number): void {
    try {
      this.inner?.finished?.(fromOriginator, ts)
    } catch (error) {
      this.fail(error)
    }
  }

  end(ts: number): void {
    try {
      this.inner?.end?.(ts)
    } catch (error) {
      this.fail(error)
    }
  }
}

interface Registry {
  recognizable: readonly Protocol[]
  /** In the order of the list. `also`: by name, whatever its ports. */
  registered(transport: Flow['transport'], port: number, also?: string): readonly Protocol[]
}

const NO_PROTOCOLS: readonly Protocol[] = []
const registries = new WeakMap<readonly Protocol[], Registry>()

function registryOf(protocols: readonly Protocol[]): Registry {
  let registry = registries.get(protocols)
  if (registry === undefined) {
    registry = createRegistry(protocols)
    registries.set(protocols, registry)
  }
  return registry
}

function createRegistry(protocols: readonly Protocol[]): Registry {
  const ports = {
    tcp: byPort(protocols, ({ tcpPorts }) => tcpPorts),
    udp: byPort(protocols, ({ udpPorts }) => udpPorts),
  }
  return {
    recognizable: protocols.filter(({ recognize, dissect }) => recognize !== undefined && dissect !== undefined),
    registered(transport, port, also) {
      const found = transport === 'tcp' || transport === 'udp' ? ports[transport].get(port) : undefined
      if (also === undefined) return found ?? NO_PROTOCOLS
      return protocols.filter((each) => each.name === also || found?.includes(each))
    },
  }
}

function byPort(
  protocols: readonly Protocol[],
  portsOf: (protocol: Protocol) => readonly number[] | undefined,
): Map<number, Protocol[]> {
  const map = new Map<number, Protocol[]>()
  for (const protocol of protocols)
    for (const port of portsOf(protocol) ?? []) map.set(port, [...(map.get(port) ?? []), protocol])
  return map
}

/** The first bytes of a flow, as the protocols that may recognize them look at them. */
class Opening {
  private readonly isStream: boolean
  private readonly chunks: Chunk[] = []
  /** Bytes of the originator and of the responder. */
  private originatorBytes = 0
  private responderBytes = 0

  constructor(isStream: boolean) {
    this.isStream = isStream
  }

  /** What is added is not copied before `keep`. */
  add(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    this.chunks.push({ fromOriginator, bytes, ts })
    if (fromOriginator) this.originatorBytes += bytes.length
    else this.responderBytes += bytes.length
  }

  /** The chunk added last stays: recognition goes on. */
  keep(): void {
    const last = this.chunks[this.chunks.length - 1]
    if (last !== undefined) last.bytes = Buffer.from(last.bytes)
  }

  /** Of a stream what there is so far, of datagrams the last. */
  head(ofOriginator: boolean): Buffer {
    let last: Buffer = NOTHING
    let count = 0
    for (const { fromOriginator, bytes } of this.chunks) {
      if (fromOriginator !== ofOriginator) continue
      last = bytes
      count++
    }
    if (count <= 1 || !this.isStream) return last
    const own = this.chunks.filter(({ fromOriginator }) => fromOriginator === ofOriginator)
    return Buffer.concat(own.map(({ bytes }) => bytes))
  }

  replay(dissector: Dissector | undefined): void {
    if (dissector === undefined) return
    for (const { fromOriginator, bytes, ts } of this.chunks) dissector.data(fromOriginator, bytes, ts)
  }

  get isEnough(): boolean {
    const { originatorBytes, responderBytes } = this
    return (
      this.chunks.length >= RECOGNIZE_CHUNKS ||
      originatorBytes + responderBytes >= MAX_KEPT_BYTES ||
      (originatorBytes >= RECOGNIZE_BYTES && responderBytes >= RECOGNIZE_BYTES)
    )
  }
}

const NOTHING = Buffer.alloc(0)

/** A stream that may turn out to be any protocol: nothing is passed on until one has recognized it. */
function createRecognition(
  protocols: readonly Protocol[],
  open: (protocol: Protocol) => Dissector | undefined,
): Dissector {
  let opening: Opening | undefined = new Opening(true)
  let found: Dissector | undefined
  return {
    data(fromOriginator, bytes, ts) {
      if (opening === undefined) {
        found?.data(fromOriginator, bytes, ts)
        return
      }
      opening.add(fromOriginator, bytes, ts)
      const [originator, responder] = [opening.head(true), opening.head(false)]
      const protocol = protocols.find((each) => each.recognize?.(originator, responder, 'tcp') === true)
      if (protocol !== undefined) {
        found = open(protocol)
        opening.replay(found)
      }
      if (protocol !== undefined || opening.isEnough) opening = undefined
      else opening.keep()
    },
    gap: (fromOriginator, length, ts) => found?.gap?.(fromOriginator, length, ts),
    finished: (fromOriginator, ts) => found?.finished?.(fromOriginator, ts),
    end: (ts) => found?.end?.(ts),
  }
}

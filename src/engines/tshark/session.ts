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

/** What all flows of a conversion share. */
export interface SessionHost {
  write(log: string, record: object): void
  protocols: readonly Protocol[]
  /** A dissector's bug: which protocol, and the error. */
  onFault(protocol: string, error: unknown): void
  /** Protocols of flows that another flow has announced, by `address port`. */
  expected: Map<string, Expectation>
  sharedFiles: SharedFiles
  /** What the flows share, by name. */
  shared?: Map<string, { end(): void }>
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

interface Running {
  protocol: string
  dissector: Dissector
}

interface Base {
  session: Session
  services: string[]
  guarded(name: string, dissect: (session: Session) => Dissector): Dissector
  announced?: Expectation
}

/** What a session offers to its dissectors. */
function createBase(host: SessionHost, flow: Flow): Base {
  const services: string[] = []
  const rejected = new Set<string>()
  const sharedParts = host.shared ?? new Map<string, { end(): void }>()
  const weirdsSeen = new Set<string>()
  let [handOvers, files] = [0, 0]

  const announced = host.expected.get(`${flow.respAddr} ${flow.respPort}`)
  const session: Session = {
    flow,
    emit(log, ts, fields) {
      host.write(log, { ...prefix(ts), ...fields })
    },
    emitBare(log, ts, fields) {
      host.write(log, { ts, ...fields })
    },
    weird(ts, name, source, addl) {
      // Zeek tells the same weird of a flow once.
      if (weirdsSeen.has(name) || weirdsSeen.size > 100) return
      weirdsSeen.add(name)
      host.write('weird', { ...prefix(ts), name, addl, notice: false, peer: 'zeek', source })
    },
    confirm(service) {
      if (!services.includes(service) && !rejected.has(service)) services.push(service)
    },
    reject(service) {
      rejected.add(service)
      const at = services.indexOf(service)
      if (at >= 0) services.splice(at, 1)
    },
    file(source, fromOriginator, ts): FileSink {
      return createFile(host.write, { flow, fromOriginator }, fuidOf(flow.uid, files++), source, ts).sink
    },
    sharedFile(key, source, fromOriginator, ts) {
      return host.sharedFiles.open(key, { flow, fromOriginator }, () => fuidOf(flow.uid, files++), source, ts)
    },
    shared<T extends { end(): void }>(name: string, create: (write: Session['emitBare']) => T): T {
      let part = sharedParts.get(name)
      if (part === undefined) {
        part = create((log, ts, fields) => host.write(log, { ts, ...fields }))
        sharedParts.set(name, part)
      }
      return part as T
    },
    pieceEnd: (key, ts) => host.sharedFiles.check(key, ts),
    handOver(name, _ts) {
      if (++handOvers > MAX_HAND_OVERS) return undefined
      if (name === 'any') return recognizer()
      const protocol = host.protocols.find((each) => each.name === name)
      return protocol?.dissect === undefined ? undefined : guarded(name, protocol.dissect)
    },
    announcer: announced?.tell,
    expect(respAddr, respPort, protocol, tell) {
      if (host.expected.size > 10_000) host.expected.delete(host.expected.keys().next().value ?? '')
      host.expected.set(`${respAddr} ${respPort}`, { protocol, tell })
    },
  }

  function prefix(ts: number) {
    return {
      ts,
      uid: flow.uid,
      'id.orig_h': flow.origAddr,
      'id.orig_p': flow.origPort,
      'id.resp_h': flow.respAddr,
      'id.resp_p': flow.respPort,
    }
  }

  function guarded(name: string, dissect: (session: Session) => Dissector): Dissector {
    let inner: Dissector | undefined
    const guard =
      <A extends unknown[]>(call: (dissector: Dissector) => ((...args: A) => void) | undefined) =>
      (...args: A) => {
        if (inner === undefined) return
        try {
          call(inner)?.(...args)
        } catch (error) {
          inner = undefined
          host.onFault(name, error)
        }
      }
    try {
      inner = dissect(session)
    } catch (error) {
      host.onFault(name, error)
    }
    return {
      data: guard((dissector) => dissector.data),
      gap: guard((dissector) => dissector.gap),
      finished: guard((dissector) => dissector.finished),
      end: guard((dissector) => dissector.end),
    }
  }

  /** Inside a tunnel (CONNECT, SOCKS): the same recognition, from where the tunnel begins. */
  function recognizer(): Dissector {
    return createRecognition(host.protocols, (protocol) =>
      protocol.dissect === undefined ? undefined : guarded(protocol.name, protocol.dissect),
    )
  }

  return { session, services, guarded, announced }
}

export function createSession(host: SessionHost, flow: Flow): FlowSession {
  const { services, guarded, announced } = createBase(host, flow)
  const running: Running[] = []
  let start: Opening | undefined = createOpening(flow.transport === 'tcp')
  let candidates = host.protocols.filter(({ recognize, dissect }) => recognize !== undefined && dissect !== undefined)

  function begin(protocol: Protocol): Dissector | undefined {
    if (protocol.dissect === undefined || running.some((each) => each.protocol === protocol.name)) return undefined
    const dissector = guarded(protocol.name, protocol.dissect)
    running.push({ protocol: protocol.name, dissector })
    return dissector
  }

  for (const protocol of host.protocols) {
    if (protocol.name === announced?.protocol || isRegistered(protocol, flow.transport, flow.respPort)) begin(protocol)
  }
  // An answer without its question: the server's port is the originator's.
  if (running.length === 0 && flow.transport === 'udp')
    for (const protocol of host.protocols) if (isRegistered(protocol, 'udp', flow.origPort)) begin(protocol)

  function recognize(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    if (start === undefined) return
    const opening = start
    opening.add({ fromOriginator, bytes: Buffer.from(bytes), ts })
    candidates = candidates.filter((protocol) => {
      const verdict = protocol.recognize?.(opening.originator(), opening.responder(), flow.transport)
      if (verdict !== true) return verdict === undefined
      const dissector = begin(protocol)
      for (const each of opening.chunks) dissector?.data(each.fromOriginator, each.bytes, each.ts)
      return false
    })
    if (candidates.length === 0 || opening.isEnough()) start = undefined
  }

  return {
    data(fromOriginator, bytes, ts) {
      const before = running.length
      for (let i = 0; i < before; i++) running[i]?.dissector.data(fromOriginator, bytes, ts)
      recognize(fromOriginator, bytes, ts)
    },
    gap(fromOriginator, length, ts) {
      start = undefined
      for (const { dissector } of running) dissector.gap?.(fromOriginator, length, ts)
    },
    finished(fromOriginator, ts) {
      for (const { dissector } of running) dissector.finished?.(fromOriginator, ts)
    },
    end(ts) {
      for (const { dissector } of running) dissector.end?.(ts)
    },
    services: () => services,
  }
}

function isRegistered({ tcpPorts, udpPorts }: Protocol, transport: Flow['transport'], port: number): boolean {
  const ports = transport === 'tcp' ? tcpPorts : transport === 'udp' ? udpPorts : undefined
  return ports?.includes(port) === true
}

/** The first bytes of a flow, as the protocols that may recognize them look at them. */
interface Opening {
  readonly chunks: readonly Chunk[]
  add(chunk: Chunk): void
  originator(): Buffer
  responder(): Buffer
  isEnough(): boolean
}

function createOpening(isStream: boolean): Opening {
  const chunks: Chunk[] = []
  /** Of a stream what there is so far, of datagrams the last. */
  const heads: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)]
  const sizes: [number, number] = [0, 0]
  return {
    chunks,
    add(chunk) {
      chunks.push(chunk)
      const side = chunk.fromOriginator ? 0 : 1
      heads[side] = isStream && sizes[side] > 0 ? Buffer.concat([heads[side], chunk.bytes]) : chunk.bytes
      sizes[side] += chunk.bytes.length
    },
    originator: () => heads[0],
    responder: () => heads[1],
    isEnough: () =>
      chunks.length >= RECOGNIZE_CHUNKS ||
      sizes[0] + sizes[1] >= MAX_KEPT_BYTES ||
      (sizes[0] >= RECOGNIZE_BYTES && sizes[1] >= RECOGNIZE_BYTES),
  }
}

/** A stream that may turn out to be any protocol: nothing is passed on until one has recognized it. */
function createRecognition(
  protocols: readonly Protocol[],
  open: (protocol: Protocol) => Dissector | undefined,
): Dissector {
  let opening: Opening | undefined = createOpening(true)
  let found: Dissector | undefined
  return {
    data(fromOriginator, bytes, ts) {
      if (opening === undefined) {
        found?.data(fromOriginator, bytes, ts)
        return
      }
      const { chunks, originator, responder } = opening
      opening.add({ fromOriginator, bytes: Buffer.from(bytes), ts })
      const protocol = protocols.find((each) => each.recognize?.(originator(), responder(), 'tcp') === true)
      if (protocol !== undefined) {
        found = open(protocol)
        for (const chunk of chunks) found?.data(chunk.fromOriginator, chunk.bytes, chunk.ts)
      }
      if (protocol !== undefined || opening.isEnough()) opening = undefined
    },
    gap: (fromOriginator, length, ts) => found?.gap?.(fromOriginator, length, ts),
    finished: (fromOriginator, ts) => found?.finished?.(fromOriginator, ts),
    end: (ts) => found?.end?.(ts),
  }
}

/** One flow through one protocol's dissector: payload in; records, weirds and services out. */

import type {
  Dissector,
  Fields,
  Flow,
  Protocol,
  Session,
  Transport,
} from '../../../../../src/engines/tshark/protocols/protocol.ts'

export interface Recorded {
  dissector: Dissector
  /** Records without their five-tuple, in the order in which they were written. */
  records: { log: string; ts: number; fields: Fields }[]
  weirds: string[]
  services: string[]
}

export interface RecordOptions {
  transport?: Transport
  flow?: Partial<Flow>
  /** What `handOver` finds. */
  others?: Protocol[]
  /** What the flows of one conversion share; the caller ends it. */
  shared?: Map<string, { end(): void }>
  /** Where several flows write to. */
  records?: Recorded['records']
}

export function recordFlow(protocol: Protocol, options: RecordOptions = {}): Recorded {
  const { records = [], others = [], shared = new Map<string, { end(): void }>() } = options
  const recorded: Omit<Recorded, 'dissector'> = { records, weirds: [], services: [] }
  const write = (log: string, ts: number, fields: Fields) => {
    const set = Object.entries(fields).filter(([, value]) => value !== undefined)
    records.push({ log, ts, fields: Object.fromEntries(set) })
  }
  const session = {
    flow: {
      uid: 'CTestTestTestTest1',
      origAddr: '192.0.2.1',
      origPort: 40000,
      respAddr: '192.0.2.2',
      respPort: 1,
      transport: options.transport ?? 'udp',
      origLocal: true,
      respLocal: true,
      partial: false,
      ...options.flow,
    },
    emit: write,
    emitBare: write,
    weird: (_ts: number, name: string) => recorded.weirds.push(name),
    confirm: (service: string) => recorded.services.includes(service) || recorded.services.push(service),
    handOver: (name: string) => others.find((each) => each.name === name)?.dissect?.(session),
    shared<T extends { end(): void }>(name: string, create: (to: typeof write) => T): T {
      if (!shared.has(name)) shared.set(name, create(write))
      return shared.get(name) as T
    },
  } as unknown as Session
  const dissector = protocol.dissect?.(session)
  if (dissector === undefined) throw new Error(`${protocol.name} has no dissector`)
  const end = (ts: number) => {
    dissector.end?.(ts)
    // Where nothing else shares them, the shared parts end with the flow.
    if (options.shared === undefined) for (const part of shared.values()) part.end()
  }
  return { ...recorded, dissector: { ...dissector, end } }
}

/** Every message cut at every length, and with each byte spoilt: what a dissector must survive. */
export function* damaged(message: Buffer): Generator<Buffer> {
  for (let length = 0; length < message.length; length++) yield Buffer.from(message.subarray(0, length))
  for (let at = 0; at < message.length; at++) {
    for (const value of [0, 0x7f, 0xff]) {
      const copy = Buffer.from(message)
      copy[at] = value
      yield copy
    }
  }
}

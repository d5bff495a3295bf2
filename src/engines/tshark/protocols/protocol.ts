/**
 * What a protocol is to the driver.
 *
 * In: the payload of one flow, in order, side by side (TCP as a byte stream with gaps named, UDP a datagram at
 * a time). Out: records of Zeek's logs. A protocol knows nothing of captures and output files; the driver knows
 * nothing of protocols.
 */

import type { TlsKeys } from './tls-keys.ts'

export type Transport = 'tcp' | 'udp' | 'icmp' | 'unknown_transport'

/** A flow in Zeek's orientation: the originator is who opened it. */
export interface Flow {
  uid: string
  origAddr: string
  origPort: number
  respAddr: string
  respPort: number
  transport: Transport
  origLocal: boolean
  respLocal: boolean
  /** TCP whose opening was not seen: its first bytes are not the start of the stream. */
  partial: boolean
}

/** A record without the columns that every log of a flow starts with; unset fields are undefined. */
export type Fields = Record<string, unknown>

/** What a dissector may do. Times are seconds since the epoch, as Zeek prints them. */
export interface Session {
  readonly flow: Flow
  /** Writes a record: `ts`, `uid` and the five-tuple in front, then the fields in their order. */
  emit(log: string, ts: number, fields: Fields): void
  /** The same without uid and five-tuple, for logs that have none (x509, ocsp, pe). */
  emitBare(log: string, ts: number, fields: Fields): void
  /** Of logs that Zeek has only with a policy script: are they asked for? */
  wants(log: string): boolean
  weird(ts: number, name: string, source?: string, addl?: string): void
  /** The flow speaks this: the name goes into conn's `service`. */
  confirm(service: string): void
  /** After all it does not: what was said breaks the protocol. Nothing confirms it again. */
  reject(service: string): void
  /** A file that this flow carries; `ordinal` numbering and ids are kept by the session. */
  file(source: string, fromOriginator: boolean, ts: number): FileSink
  /** A file that comes in pieces, over several flows perhaps: the same for the same key. `pieceEnd` after each. */
  sharedFile(key: string, source: string, fromOriginator: boolean, ts: number): FileSink
  pieceEnd(key: string, ts: number): void
  /** The secrets of TLS sessions, where they may be used. */
  readonly tlsKeys?: TlsKeys
  /** Something that all flows of the conversion share: made once by name, its `end` called after the last flow. */
  shared<T extends { end(): void }>(name: string, create: (write: Session['emitBare']) => T): T
  /** Hands what follows in this flow to another protocol (STARTTLS, CONNECT, an upgrade). */
  handOver(protocol: string, ts: number): Dissector | undefined
  /** A data connection that the flow has announced (FTP, IRC DCC): the flow to this address is of that protocol. */
  expect(respAddr: string, respPort: number, protocol: string, tell?: (values: Fields) => void): void
  /** Tells the flow that announced this one what was found in it. */
  readonly announcer?: (values: Fields) => void
}

export interface Dissector {
  /** In order; the bytes are only valid during the call. */
  data(fromOriginator: boolean, bytes: Buffer, ts: number): void
  /** Bytes that the capture lacks. */
  gap?(fromOriginator: boolean, length: number, ts: number): void
  /** That side has sent its last byte. */
  finished?(fromOriginator: boolean, ts: number): void
  /** The flow is over; nothing comes after this. */
  end?(ts: number): void
  /** Nothing that may still come changes anything: the flow is ended for it now, and left alone. */
  isDone?(): boolean
}

/** A file as it passes by; `mime` is known once enough was seen. */
export interface FileSink {
  readonly fuid: string
  filename?: string
  totalBytes?: number
  /** Set where the carrier says what the file is; else its first bytes tell. */
  knownMime?: string
  depth?: number
  data(bytes: Buffer, ts: number): void
  gap(length: number, ts: number): void
  /** What comes next stands at this offset. */
  seek(offset: number): void
  mime(): string | undefined
  end(ts: number, timedOut?: boolean): void
}

export interface Protocol {
  /** Also the name in conn's `service`. */
  name: string
  /** Zeek's log types that it may write. */
  logs: string[]
  /** Flows to these ports of the responder are given to it from the first byte on. */
  tcpPorts?: number[]
  udpPorts?: number[]
  /**
   * On other ports: do these first bytes of the two sides (whatever is there so far, up to 1 KiB each) belong
   * to it? undefined: more is needed to tell.
   */
  recognize?: (originator: Buffer, responder: Buffer, transport: Transport) => boolean | undefined
  /** Takes a flow's payload. */
  dissect?: (session: Session) => Dissector
}

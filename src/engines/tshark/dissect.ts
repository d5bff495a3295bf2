/**
 * All flows of a capture through the protocols, in one pass. In: packets. Out: records.
 */

import type { Packet } from '../../capture/packet.ts'
import { communityId } from '../flows/community-id.ts'
import { formatConn } from '../flows/conn.ts'
import type { Flow as EndedFlow, FlowCounts, TunnelEvent, ViolationEvent, WeirdEvent } from '../flows/types.ts'
import { createSharedFiles } from './files.ts'
import { createLiveFlows, type LiveFlows } from './live.ts'
import { filterNotice } from './packet-filter.ts'
import type { Fields, Flow, Protocol } from './protocols/protocol.ts'
import type { TlsKeys } from './protocols/tls-keys.ts'
import { violationRecord } from './protocols/violation.ts'
import { createReassembly, type Payload, type Reassembly, type Segment, type StreamHandler } from './reassembly.ts'
import { createSession, type Expectation, type FlowSession, flowColumns, type SessionHost } from './session.ts'

export interface DissectOptions {
  captureId: string
  localNets?: readonly string[]
  protocols: readonly Protocol[]
  /** Logs that Zeek has only with a policy script: `smb_cmd`. */
  policyLogs?: readonly string[]
  tlsKeys?: TlsKeys | undefined
  write(log: string, record: object): void
  /** A record as JSON text. */
  writeLine(log: string, line: string): void
  onFault(protocol: string, error: unknown): void
}

export interface Dissect {
  /** @returns whether the packet belongs to a flow. */
  packet(packet: Packet): boolean
  /** The uid of that flow; undefined for a packet of no flow. */
  uid(): string | undefined
  /** @param time when the capture ends, where that is later than the packet last fed. */
  finish(time?: number): void
  readonly counts: FlowCounts
}

/** Zeek's clock starts at one second: in captures that begin at the epoch only connections have earlier times. */
const clockAt = (time: number) => Math.max(time, 1)

/** Zeek logs a certificate again only after a day. */
const RELOG_SECONDS = 86400
/** Elements of a list in a record. */
const MAX_ELEMENTS: Record<string, number> & { any: number } = { any: 100, x509: 500 }
const MAX_KNOWN_CERTIFICATES = 100_000

export function createDissect(options: DissectOptions): Dissect {
  const expected = new Map<string, Expectation>()
  const certificates = new Map<string, number>()
  const shortened = new Set<string>()

  function write(log: string, record: object): void {
    if (
      log === 'x509' &&
      isKnown(record as { ts: number; fingerprint: string; host_cert: boolean; client_cert: boolean })
    )
      return
    options.write(log, shorten(log, record))
  }

  /** Lists are cut as Zeek cuts them, and that is told once a log. */
  function shorten(log: string, record: object): object {
    const limit = MAX_ELEMENTS[log] ?? MAX_ELEMENTS.any
    if (!hasLongerList(record, limit)) return record
    const long = Object.entries(record).filter(([, value]) => Array.isArray(value) && value.length > limit)
    const { ts } = record as { ts: number }
    const addl = `${log.toUpperCase()}::LOG`
    if (!shortened.has(log))
      options.write('weird', { ts, name: 'log_container_field_truncated', addl, notice: false, peer: 'zeek' })
    shortened.add(log)
    return {
      ...record,
      ...Object.fromEntries(long.map(([name, value]) => [name, (value as unknown[]).slice(0, limit)])),
    }
  }

  function isKnown(record: { ts: number; fingerprint: string; host_cert: boolean; client_cert: boolean }): boolean {
    const key = `${record.fingerprint} ${record.host_cert} ${record.client_cert}`
    const before = certificates.get(key)
    if (before !== undefined && record.ts < before + RELOG_SECONDS) return true
    if (certificates.size >= MAX_KNOWN_CERTIFICATES) certificates.clear()
    certificates.set(key, record.ts)
    return false
  }

  function writeOfFlow(log: string, ts: number, flow: Flow, fields: Fields): void {
    const limit = MAX_ELEMENTS[log] ?? MAX_ELEMENTS.any
    // A protocol that names the flow's columns itself, or a list that is too long: rare.
    if ('uid' in fields || 'id.orig_h' in fields || !Number.isFinite(ts) || hasLongerList(fields, limit))
      write(log, { ...flowColumns(ts, flow), ...fields })
    else options.writeLine(log, lineOfFlow(ts, flow, fields))
  }

  const sharedFiles = createSharedFiles(write)
  const shared = new Map<string, { end(): void }>()
  const { protocols, onFault, tlsKeys } = options
  const policyLogs = new Set(options.policyLogs)
  const host: SessionHost = {
    write,
    writeOfFlow,
    protocols,
    policyLogs,
    onFault,
    expected,
    sharedFiles,
    shared,
    tlsKeys,
  }

  const open = (): FlowSession => createSession(host, flows.identity())
  const flows: LiveFlows = createLiveFlows<FlowState>(
    {
      captureId: options.captureId,
      localNets: options.localNets,
      onTunnel: (event) => options.write('tunnel', tunnelRecord(event)),
      onWeird: (event) => options.write('weird', weirdRecord(event)),
      onViolation: (event) => options.write('analyzer', tunnelViolation(event)),
    },
    {
      open: (isTcp) => new FlowState(isTcp, open),
      segment: (state, fromOriginator, header, payload, time) => {
        const ts = clockAt(time)
        state.last = ts
        state.segment(fromOriginator, header, payload, ts)
      },
      datagram(state, fromOriginator, { buffer, offset, length }, time) {
        const ts = clockAt(time)
        state.last = ts
        state.datagram(fromOriginator, buffer.subarray(offset, offset + length), ts)
      },
      close(state, flow) {
        const wasExpected = expected.size > 0 && expected.has(`${flow.resp.address} ${flow.resp.port}`)
        state?.end(() => createSession(host, whoWas(flow)), wasExpected)
        options.writeLine(
          'conn',
          formatConn(flow, state?.services ?? [], { communityId: communityId(flow), l2: true, vlan: true }),
        )
      },
    },
  )
  let isFirst = true
  return {
    packet(packet) {
      if (isFirst) {
        isFirst = false
        const notice = filterNotice(packet.linkType)
        if (notice !== undefined) options.write('notice', notice)
      }
      return flows.packet(packet)
    },
    uid: flows.uid,
    finish(time) {
      flows.finish(time)
      for (const part of shared.values()) part.end()
      sharedFiles.finish()
    },
    get counts() {
      return flows.counts
    },
  }
}

/** A flow from its first segment or datagram on; its session begins with its first payload. */
class FlowState implements StreamHandler {
  last = 0
  services: readonly string[] = []
  private open: (() => FlowSession) | undefined
  private session: FlowSession | undefined = undefined
  private hadPayload = false
  private reassembly: Reassembly | undefined

  constructor(isTcp: boolean, open: () => FlowSession) {
    this.open = open
    this.reassembly = isTcp ? createReassembly(this) : undefined
  }

  segment(fromOriginator: boolean, header: Segment, payload: Payload, ts: number): void {
    if (this.reassembly === undefined) return
    this.reassembly.segment(fromOriginator, header, payload, ts)
    if (this.reassembly.isOver || this.session?.isIdle === true) this.over(ts)
  }

  datagram(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    this.data(fromOriginator, bytes, ts)
    if (this.session?.isIdle === true) this.over(ts)
  }

  data(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    this.session ??= this.open?.()
    this.session?.data(fromOriginator, bytes, ts)
  }

  gap(fromOriginator: boolean, length: number, ts: number): void {
    this.session ??= this.open?.()
    this.session?.gap(fromOriginator, length, ts)
  }

  finished(fromOriginator: boolean, ts: number): void {
    this.session?.finished(fromOriginator, ts)
  }

  /** @param wasExpected another flow has announced it: its protocol is told even of a flow without payload. */
  end(open: () => FlowSession, wasExpected: boolean): void {
    if (this.open !== undefined) this.open = open
    if (wasExpected && !this.hadPayload) this.session ??= open()
    this.over(this.last)
  }

  /** What the protocols kept of the flow can go before the flow does. */
  private over(ts: number): void {
    this.session?.end(ts)
    if (this.session !== undefined) {
      this.hadPayload = true
      this.services = this.session.services()
    }
    this.session = this.reassembly = this.open = undefined
  }
}

function whoWas({ uid, transport, orig, resp, localOrig, localResp, partial }: EndedFlow): Flow {
  return {
    uid,
    origAddr: orig.address,
    origPort: orig.port,
    respAddr: resp.address,
    respPort: resp.port,
    transport,
    origLocal: localOrig,
    respLocal: localResp,
    partial,
  }
}

/** Addresses and uids need no escapes; an unset field is not there. */
function lineOfFlow(ts: number, { uid, origAddr, origPort, respAddr, respPort }: Flow, fields: Fields): string {
  const own = JSON.stringify(fields)
  const columns = `{"ts":${ts},"uid":"${uid}","id.orig_h":"${origAddr}","id.orig_p":${origPort},"id.resp_h":"${respAddr}","id.resp_p":${respPort}`
  return own === '{}' ? `${columns}}` : `${columns},${own.slice(1)}`
}

function hasLongerList(record: object, limit: number): boolean {
  for (const name in record) {
    const value = (record as Fields)[name]
    if (Array.isArray(value) && value.length > limit) return true
  }
  return false
}

function weirdRecord(event: WeirdEvent): object {
  return {
    ts: clockAt(event.time),
    uid: event.uid,
    'id.orig_h': event.origAddress,
    'id.orig_p': event.origPort,
    'id.resp_h': event.respAddress,
    'id.resp_p': event.respPort,
    name: event.name,
    addl: event.addl,
    notice: false,
    peer: 'zeek',
    source: event.source,
  }
}

function tunnelViolation(event: ViolationEvent): object {
  const { uid, origAddress: origAddr, origPort, respAddress: respAddr, respPort, transport } = event
  const flow = { uid, origAddr, origPort, respAddr, respPort, transport }
  return { ts: clockAt(event.time), ...violationRecord('packet', flow, event.analyzer, event.reason) }
}

function tunnelRecord(event: TunnelEvent): object {
  return {
    ts: clockAt(event.time),
    uid: event.uid,
    'id.orig_h': event.origAddress,
    'id.orig_p': event.origPort,
    'id.resp_h': event.respAddress,
    'id.resp_p': event.respPort,
    tunnel_type: event.type,
    action: event.action,
  }
}

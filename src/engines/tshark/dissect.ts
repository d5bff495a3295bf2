/**
 * All flows of a capture through the protocols, in one pass. In: packets. Out: records.
 */

import type { Packet } from '../../capture/packet.ts'
import { formatConn } from '../flows/conn.ts'
import type { FlowCounts, TunnelEvent, WeirdEvent } from '../flows/types.ts'
import { createSharedFiles } from './files.ts'
import { createLiveFlows } from './live.ts'
import type { Flow, Protocol } from './protocols/protocol.ts'
import { createReassembly, type Reassembly } from './reassembly.ts'
import { createSession, type Expectation, type FlowSession } from './session.ts'

export interface DissectOptions {
  captureId: string
  localNets?: readonly string[]
  protocols: readonly Protocol[]
  write(log: string, record: object): void
  /** A conn record as JSON text. */
  writeLine(log: string, line: string): void
  onFault(protocol: string, error: unknown): void
}

export interface Dissect {
  /** @returns the uid of its flow, or undefined for a packet of no flow. */
  packet(packet: Packet): string | undefined
  /** @param time when the capture ends, where that is later than the packet last fed. */
  finish(time?: number): void
  readonly counts: FlowCounts
}

interface FlowState {
  session: FlowSession
  reassembly?: Reassembly
  last: number
}

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

  const sharedFiles = createSharedFiles(write)
  const shared = new Map<string, { end(): void }>()
  const host = { write, protocols: options.protocols, onFault: options.onFault, expected, sharedFiles, shared }

  const flows = createLiveFlows<FlowState>(
    {
      captureId: options.captureId,
      localNets: options.localNets,
      onTunnel: (event) => options.write('tunnel', tunnelRecord(event)),
      onWeird: (event) => options.write('weird', weirdRecord(event)),
    },
    {
      open(flow: Flow) {
        const session = createSession(host, flow)
        return { session, last: 0, reassembly: flow.transport === 'tcp' ? createReassembly(session) : undefined }
      },
      segment(state, fromOriginator, segment, ts) {
        state.last = ts
        state.reassembly?.segment(fromOriginator, segment, ts)
      },
      datagram(state, fromOriginator, payload, ts) {
        state.last = ts
        state.session.data(fromOriginator, payload, ts)
      },
      close(state, flow) {
        state?.reassembly?.end(state.last)
        state?.session.end(state.last)
        options.writeLine('conn', formatConn(flow, state?.session.services() ?? []))
      },
    },
  )
  return {
    packet: flows.packet,
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

function hasLongerList(record: object, limit: number): boolean {
  for (const value of Object.values(record)) if (Array.isArray(value) && value.length > limit) return true
  return false
}

function weirdRecord(event: WeirdEvent): object {
  return {
    ts: event.time,
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

function tunnelRecord(event: TunnelEvent): object {
  return {
    ts: event.time,
    uid: event.uid,
    'id.orig_h': event.origAddress,
    'id.orig_p': event.origPort,
    'id.resp_h': event.respAddress,
    'id.resp_p': event.respPort,
    tunnel_type: event.type,
    action: event.action,
  }
}

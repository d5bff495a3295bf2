/**
 * Zeek's analyzer log: a flow that was confirmed to speak a protocol breaks it. The protocol is taken off the
 * flow and out of conn's `service`.
 */

import type { Fields, Flow, Session } from './protocol.ts'

export interface Violation {
  /** As Zeek names it: `FTP`. */
  analyzer: string
  /** As conn's `service` names it: `ftp`. */
  service: string
  reason: string
  /** What broke it, as text. */
  data?: string
}

export function reportViolation(session: Session, ts: number, { analyzer, service, reason, data }: Violation): void {
  session.reject(service)
  session.emitBare('analyzer', ts, violationRecord('protocol', session.flow, analyzer, reason, data))
}

/** Without its time. `packet`: of an analyzer below the protocols, such as a tunnel's. */
export function violationRecord(
  kind: 'protocol' | 'packet',
  flow: Omit<Flow, 'origLocal' | 'respLocal' | 'partial'>,
  analyzer: string,
  reason: string,
  data?: string,
): Fields {
  return {
    analyzer_kind: kind,
    analyzer_name: analyzer,
    uid: flow.uid,
    'id.orig_h': flow.origAddr,
    'id.orig_p': flow.origPort,
    'id.resp_h': flow.respAddr,
    'id.resp_p': flow.respPort,
    proto: flow.transport,
    failure_reason: reason,
    failure_data: data,
  }
}

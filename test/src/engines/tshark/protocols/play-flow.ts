/** Flows through the real session, recognition and hand-overs included: payload in; records, services, faults out. */

import { createSharedFiles } from '../../../../../src/engines/tshark/files.ts'
import type { Flow, Protocol } from '../../../../../src/engines/tshark/protocols/protocol.ts'
import { createSession } from '../../../../../src/engines/tshark/session.ts'

type Row = Record<string, unknown>

export type Side = (payload: string | Buffer, ts?: number) => PlayedFlow

export interface PlayedFlow {
  client: Side
  server: Side
  gap(fromClient: boolean, length: number): PlayedFlow
  end(): PlayedFlow
  services(): string[]
}

export interface Stage {
  flow(options: Partial<Flow>): PlayedFlow
  /** Records of a log without uid and five-tuple; unset fields left out. */
  rows(log: string): Row[]
  faults: unknown[]
}

const FLOW_COLUMNS = new Set(['uid', 'id.orig_h', 'id.orig_p', 'id.resp_h', 'id.resp_p', 'fuid'])

const bytesOf = (payload: string | Buffer) => (typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload)

export function stage(protocols: Protocol[], policyLogs: string[] = []): Stage {
  const written: { log: string; row: Row }[] = []
  const faults: unknown[] = []
  const write = (log: string, record: object) => {
    const entries = Object.entries(record).filter(([name, value]) => value !== undefined && !FLOW_COLUMNS.has(name))
    written.push({ log, row: Object.fromEntries(entries) })
  }
  const host = {
    write,
    protocols,
    policyLogs: new Set(policyLogs),
    onFault: (_protocol: string, error: unknown) => faults.push(error),
    expected: new Map(),
    sharedFiles: createSharedFiles(write),
  }
  let flows = 0
  return {
    faults,
    rows: (log) => written.filter((each) => each.log === log).map(({ row }) => row),
    flow(options) {
      const session = createSession(host, {
        uid: `CTest${flows++}`,
        origAddr: '192.0.2.1',
        origPort: 40000,
        respAddr: '192.0.2.2',
        respPort: 1,
        transport: 'tcp',
        origLocal: true,
        respLocal: true,
        partial: false,
        ...options,
      })
      let last = 0
      const send = (fromClient: boolean, payload: string | Buffer, ts: number) => {
        last = ts
        session.data(fromClient, bytesOf(payload), ts)
        return played
      }
      const played: PlayedFlow = {
        client: (payload, ts = last + 1) => send(true, payload, ts),
        server: (payload, ts = last + 1) => send(false, payload, ts),
        gap(fromClient, length) {
          session.gap(fromClient, length, last)
          return played
        },
        end() {
          session.end(last)
          return played
        },
        services: () => session.services(),
      }
      return played
    },
  }
}

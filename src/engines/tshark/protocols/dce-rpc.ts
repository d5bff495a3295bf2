/**
 * DCE/RPC, connection-oriented (C706, chapter 12; MS-RPCE), over TCP and in SMB's named pipes: one dce_rpc
 * record a request, written with its response, or at the flow's end. What authenticates a bind goes to GSS-API.
 */

import { endpointName, operationName } from './dce-rpc-names.ts'
import { createPdus, type Pdu } from './dce-rpc-pdu.ts'
import { authenticationOf } from './gssapi.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'

const REQUEST = 0
const RESPONSE = 2
const BIND = 11
const BIND_ACK = 12
const ALTER_CONTEXT = 14
const ALTER_CONTEXT_RESPONSE = 15
const AUTH_SPNEGO = 9
const AUTH_NTLM = 10
const AUTH_KERBEROS = 16
const AUTH_NETLOGON = 68
const MAX_CONTEXTS = 256

/** Endpoint → operations that are too many and say too little: not logged. */
const IGNORED: Record<string, Set<string>> = {
  winreg: new Set(
    `BaseRegCloseKey BaseRegGetVersion BaseRegOpenKey BaseRegQueryValue BaseRegDeleteKeyEx OpenLocalMachine
    BaseRegEnumKey OpenClassesRoot`.split(/\s+/),
  ),
  spoolss: new Set(['RpcSplOpenPrinter', 'RpcClosePrinter']),
  wkssvc: new Set(['NetrWkstaGetInfo']),
}

/** What each of the first bytes may be: version 5.0 or 5.1, a bind, first fragment, byte order, ASCII and IEEE. */
const BIND_START = [[5], [0, 1], [BIND], [0x03, 0x07, 0x13, 0x17], [0x00, 0x10], [0], [0], [0]]

export const dceRpc: Protocol = {
  name: 'dce_rpc',
  logs: ['dce_rpc', 'ntlm', 'kerberos'],
  tcpPorts: [135],
  recognize(originator, _responder, transport) {
    if (transport !== 'tcp') return false
    const known = BIND_START.slice(0, originator.length)
    if (!known.every((allowed, at) => allowed.includes(originator[at] as number))) return false
    return known.length === BIND_START.length ? true : undefined
  },
  dissect(session) {
    const rpc = createDceRpc(session)
    return {
      ...rpc,
      end(ts) {
        rpc.end?.(ts)
        authenticationOf(session).end()
      },
    }
  },
}

interface Call {
  ts: number
  endpoint: string
  operation: string
}

/** One association: a TCP connection, or a pipe. */
export function createDceRpc(session: Session): Dissector {
  const contexts = new Map<number, string>()
  let pipeName: string | undefined
  let call: Call | undefined
  const pdus = createPdus(session, take)

  function take(fromOriginator: boolean, pdu: Pdu, ts: number): void {
    const { type } = pdu
    if (type === BIND || type === ALTER_CONTEXT) bind(pdu)
    else if (type === BIND_ACK || type === ALTER_CONTEXT_RESPONSE) bindAck(pdu)
    else if (type === REQUEST && fromOriginator) request(pdu, ts)
    else if (type === RESPONSE && !fromOriginator) response(ts)
    if (type >= BIND) authenticate(pdu, ts)
  }

  function bind({ contexts: offered }: Pdu): void {
    for (const { id, uuid } of offered ?? []) {
      if (contexts.size < MAX_CONTEXTS || contexts.has(id)) contexts.set(id, uuid)
    }
  }

  function bindAck({ secondaryAddress }: Pdu): void {
    if (secondaryAddress !== undefined && secondaryAddress !== '') pipeName = secondaryAddress
  }

  function request({ contextId, operation }: Pdu, ts: number): void {
    if (contextId === undefined || operation === undefined) return
    const uuid = contexts.get(contextId)
    call =
      uuid === undefined ? undefined : { ts, endpoint: endpointName(uuid), operation: operationName(uuid, operation) }
  }

  function response(ts: number): void {
    if (call !== undefined) write(call, ts - call.ts)
    call = undefined
  }

  function write({ ts, endpoint, operation }: Call, rtt?: number): void {
    if (IGNORED[endpoint]?.has(operation) === true) return
    session.emit('dce_rpc', ts, { rtt, named_pipe: pipeName, endpoint, operation })
  }

  function authenticate({ authType, auth }: Pdu, ts: number): void {
    if (auth === undefined || authType === undefined || authType === 0) return
    if (authType === AUTH_SPNEGO || authType === AUTH_KERBEROS) authenticationOf(session).token(auth, ts)
    else if (authType === AUTH_NTLM) authenticationOf(session).ntlm(auth, ts)
    else if (authType === AUTH_NETLOGON) session.weird(ts, 'netlogon_dce_rpc_auth_type', 'DCE_RPC', String(authType))
    else session.weird(ts, 'unknown_dce_rpc_auth_type', 'DCE_RPC', String(authType))
  }

  return {
    data: pdus.data,
    gap: pdus.gap,
    end() {
      if (call !== undefined) write(call)
      call = undefined
    },
  }
}

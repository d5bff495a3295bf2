/**
 * DHCP: one dhcp record for the messages that share a transaction id, over whatever flows they came
 * (broadcast and unicast are flows of their own).
 *
 * A transaction is written 30 seconds after its first message, when it has become too long, or when the
 * conversion ends.
 */

import { type DhcpMessage, isDhcp, parseDhcp } from './dhcp-message.ts'
import type { Fields, Flow, Protocol } from './protocol.ts'

const WATCH_SECONDS = 30
const MAX_MESSAGES = 50
const MAX_FLOWS = 10
/** Bounds the memory; the oldest is written first. */
const MAX_OPEN = 20_000
const BROADCAST = '255.255.255.255'
const NO_ADDRESSES = new Set(['0.0.0.0', BROADCAST])

/** Message types by number: RFC 2132, 9.6; 3203; 4388; 6926; 7724. */
const TYPES = [
  '',
  'DISCOVER',
  'OFFER',
  'REQUEST',
  'DECLINE',
  'ACK',
  'NAK',
  'RELEASE',
  'INFORM',
  'FORCERENEW',
  'LEASEQUERY',
  'LEASEUNASSIGNED',
  'LEASEUNKNOWN',
  'LEASEACTIVE',
  'BULKLEASEQUERY',
  'LEASEQUERYDONE',
  'ACTIVELEASEQUERY',
  'LEASEQUERYSTATUS',
  'TLS',
]

export const dhcp: Protocol = {
  name: 'dhcp',
  logs: ['dhcp'],
  udpPorts: [67, 68, 4011],
  recognize: (originator, responder, transport) => transport === 'udp' && (isDhcp(originator) || isDhcp(responder)),
  dissect(session) {
    const transactions = session.shared('dhcp', createTransactions)
    return {
      data(_fromOriginator, bytes, ts) {
        const message = parseDhcp(bytes)
        if (message === undefined) return
        session.confirm('dhcp')
        if (message.type === undefined) session.weird(ts, 'DHCP_no_type_option', 'DHCP')
        else transactions.message(session.flow, message, message.type, ts)
      },
    }
  },
}

type Write = (log: string, ts: number, fields: Fields) => void

interface Transaction {
  ts: number
  last: number
  flows: Set<string>
  types: string[]
  mac: string
  clientAddr?: string
  serverAddr?: string
  hostName?: string
  clientFqdn?: string
  domain?: string
  requestedAddr?: string
  assignedAddr?: string
  leaseSeconds?: number
  clientMessage?: string
  serverMessage?: string
}

function createTransactions(write: Write) {
  /** In the order in which they began. */
  const open = new Map<number, Transaction>()

  function message(flow: Flow, from: DhcpMessage, type: number, ts: number): void {
    expire(ts)
    let transaction = open.get(from.transaction)
    if (transaction === undefined) {
      if (open.size >= MAX_OPEN) close(open.keys().next().value ?? 0)
      transaction = { ts, last: ts, flows: new Set(), types: [], mac: from.clientMac }
      open.set(from.transaction, transaction)
    }
    transaction.flows.add(flow.uid)
    transaction.types.push(TYPES[type] || `unknown-message-type-${type}`)
    transaction.last = Math.max(transaction.last, ts)
    if (from.fromServer) takeServer(transaction, from, flow)
    else takeClient(transaction, from, flow)
    if (transaction.types.length >= MAX_MESSAGES || transaction.flows.size >= MAX_FLOWS) close(from.transaction)
  }

  function expire(now: number): void {
    for (const [id, { ts }] of open) {
      if (now - ts < WATCH_SECONDS) return
      close(id)
    }
  }

  function close(id: number): void {
    const transaction = open.get(id)
    if (transaction === undefined) return
    open.delete(id)
    write('dhcp', transaction.ts, fieldsOf(transaction))
  }

  return {
    message,
    end() {
      for (const id of [...open.keys()]) close(id)
    },
  }
}

function takeClient(transaction: Transaction, from: DhcpMessage, flow: Flow): void {
  if (!NO_ADDRESSES.has(flow.origAddr)) transaction.clientAddr ??= flow.origAddr
  transaction.requestedAddr = from.requestedAddr ?? transaction.requestedAddr
  transaction.hostName = from.hostName ?? transaction.hostName
  transaction.clientFqdn = from.clientFqdn ?? transaction.clientFqdn
  transaction.clientMessage = from.message ?? transaction.clientMessage
}

function takeServer(transaction: Transaction, from: DhcpMessage, flow: Flow): void {
  if (from.assignedAddr !== undefined) {
    // Only who hands out an address counts as the server; a broadcast's responder is no server.
    if (flow.respAddr !== BROADCAST) transaction.serverAddr = flow.respAddr
    transaction.assignedAddr = from.assignedAddr
    transaction.clientAddr ??= from.assignedAddr
  }
  transaction.domain = from.domain ?? transaction.domain
  transaction.leaseSeconds = from.leaseSeconds ?? transaction.leaseSeconds
  transaction.serverMessage = from.message ?? transaction.serverMessage
}

function fieldsOf(transaction: Transaction): Fields {
  return {
    uids: [...transaction.flows],
    client_addr: transaction.clientAddr,
    server_addr: transaction.serverAddr,
    mac: transaction.mac,
    host_name: transaction.hostName,
    client_fqdn: transaction.clientFqdn,
    domain: transaction.domain,
    requested_addr: transaction.requestedAddr,
    assigned_addr: transaction.assignedAddr,
    lease_time: transaction.leaseSeconds,
    client_message: transaction.clientMessage,
    server_message: transaction.serverMessage,
    msg_types: transaction.types,
    duration: transaction.last - transaction.ts,
  }
}

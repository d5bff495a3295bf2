/**
 * DNS, mDNS, LLMNR and NetBIOS names: one dns record for a query and its response, written when both have come, in
 * whichever order, or at the flow's end where one has not. Paired by message id, the oldest first.
 */

import { type DnsMessage, netbiosName, parseDns } from './dns-message.ts'
import { className, opcodeName, rcodeName, typeName } from './dns-names.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'

const NETBIOS_PORT = 137
const SRV = 33
const NO_RTT_TYPES = new Set([11])
/** Zeek's `max_pending_query_ids` and `max_pending_msgs`: beyond them what waits is logged as it is. */
const MAX_PENDING_IDS = 50
const MAX_PENDING_PER_ID = 50

interface Transaction {
  ts: number
  id: number
  opcode: number
  query?: string
  qclass?: number
  qtype?: number
  rcode?: number
  rtt?: number
  aa: boolean
  tc: boolean
  rd: boolean
  ra: boolean
  z: number
  answers: string[]
  ttls: number[]
  rejected: boolean
}

export const dns: Protocol = {
  name: 'dns',
  logs: ['dns'],
  tcpPorts: [53],
  udpPorts: [53, 137, 5353, 5355],
  dissect: (session) => (session.flow.transport === 'tcp' ? overTcp(session) : overUdp(session)),
}

function overUdp(session: Session): Dissector {
  const pairs = createPairs(session)
  return { data: (_fromOriginator, bytes, ts) => pairs.message(bytes, ts), end: pairs.flush }
}

/** RFC 1035, 4.2.2: two bytes of length before each message. */
function overTcp(session: Session): Dissector {
  const pairs = createPairs(session)
  const rest: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)]
  const lost = [false, false]
  return {
    data(fromOriginator, bytes, ts) {
      const side = fromOriginator ? 0 : 1
      if (lost[side]) return
      let buffer: Buffer = rest[side].length > 0 ? Buffer.concat([rest[side], bytes]) : bytes
      while (buffer.length >= 2) {
        const length = buffer.readUInt16BE(0)
        if (buffer.length < 2 + length) break
        pairs.message(buffer.subarray(2, 2 + length), ts)
        buffer = buffer.subarray(2 + length)
      }
      rest[side] = Buffer.from(buffer)
    },
    gap(fromOriginator) {
      lost[fromOriginator ? 0 : 1] = true
    },
    end: pairs.flush,
  }
}

/** Transactions that wait for their other half, by id. */
class Waiting {
  private readonly queues = new Map<number, Transaction[]>()
  private readonly giveUp: (transaction: Transaction) => void

  constructor(giveUp: (transaction: Transaction) => void) {
    this.giveUp = giveUp
  }

  add(transaction: Transaction): void {
    const queue = this.queues.get(transaction.id)
    if (queue !== undefined) {
      if (queue.length > MAX_PENDING_PER_ID) for (const each of queue.splice(0)) this.giveUp(each)
      queue.push(transaction)
      return
    }
    if (this.queues.size > MAX_PENDING_IDS) this.flush()
    this.queues.set(transaction.id, [transaction])
  }

  take(id: number | undefined): Transaction | undefined {
    if (id === undefined) return undefined
    const queue = this.queues.get(id)
    const oldest = queue?.shift()
    if (queue?.length === 0) this.queues.delete(id)
    return oldest
  }

  takeAny(): Transaction | undefined {
    return this.take(this.queues.keys().next().value)
  }

  flush(): void {
    for (const queue of this.queues.values()) for (const each of queue) this.giveUp(each)
    this.queues.clear()
  }
}

function createPairs(session: Session) {
  /** A query that waits besides those of `queries`, and does not count among them. */
  let first: Transaction | undefined
  const queries = new Waiting(write)
  const replies = new Waiting(write)
  const netbios = session.flow.respPort === NETBIOS_PORT

  function open(message: DnsMessage, ts: number): Transaction {
    return {
      ts,
      id: message.id,
      opcode: message.opcode,
      aa: false,
      tc: false,
      rd: false,
      ra: false,
      z: 0,
      answers: [],
      ttls: [],
      rejected: false,
    }
  }

  function query(message: DnsMessage, ts: number): void {
    const answered = replies.take(message.id)
    const transaction = answered ?? open(message, ts)
    const last = message.questions.at(-1)
    if (last !== undefined && message.opcode !== 5) {
      Object.assign(transaction, { qclass: last.class, qtype: last.type, rd: message.rd, tc: message.tc, z: message.z })
      transaction.query = (netbios && netbiosName(last.name)) || last.name
    }
    if (answered !== undefined) write(answered)
    else if (first === undefined) first = transaction
    else queries.add(transaction)
  }

  function askedBy(id: number): Transaction | undefined {
    if (first?.id !== id) return queries.take(id)
    const asked = first
    first = queries.take(id) ?? queries.takeAny()
    return asked
  }

  function response(message: DnsMessage, ts: number): void {
    const asked = askedBy(message.id)
    const transaction = asked ?? open(message, ts)
    transaction.rcode = message.rcode
    const { questions, answers, authorities, additionals } = message.counts
    if (message.questions.length > 0 && answers + authorities + additionals === 0) transaction.rejected = true
    if (questions === 0 && message.rcode !== 0) transaction.rejected = true
    for (const answer of message.answers) {
      if (netbios && answer.type === SRV) continue
      if (answer.text === undefined && !NO_RTT_TYPES.has(answer.type)) continue
      transaction.query ??= answer.name
      if (transaction.rtt === undefined && ts !== transaction.ts) transaction.rtt = ts - transaction.ts
      transaction.aa = message.aa
      transaction.ra = message.ra
      // An empty name is no answer.
      if (answer.text === undefined || answer.text === '') continue
      transaction.answers.push(answer.text)
      transaction.ttls.push(answer.ttl)
    }
    if (asked !== undefined) write(transaction)
    else replies.add(transaction)
  }

  function write(t: Transaction): void {
    session.emit('dns', t.ts, {
      proto: session.flow.transport,
      trans_id: t.id,
      rtt: t.rtt,
      query: t.query,
      qclass: t.qclass,
      qclass_name: t.qclass === undefined ? undefined : className(t.qclass),
      qtype: t.qtype,
      qtype_name: t.qtype === undefined ? undefined : typeName(t.qtype, netbios && t.qtype === SRV),
      rcode: t.rcode,
      rcode_name: t.rcode === undefined ? undefined : rcodeName(t.rcode),
      AA: t.aa,
      TC: t.tc,
      RD: t.rd,
      RA: t.ra,
      Z: t.z,
      answers: t.answers.length > 0 ? t.answers : undefined,
      TTLs: t.ttls.length > 0 ? t.ttls : undefined,
      rejected: t.rejected,
      opcode: t.opcode,
      opcode_name: opcodeName(t.opcode, netbios),
    })
  }

  function flush(): void {
    if (first !== undefined) write(first)
    first = undefined
    queries.flush()
    replies.flush()
  }

  function message(bytes: Buffer, ts: number): void {
    const parsed = parseDns(bytes)
    if (parsed === undefined) {
      session.weird(ts, 'DNS_truncated_len_lt_hdr_len', 'DNS')
      return
    }
    if (parsed.whole) session.confirm('dns')
    for (const name of parsed.weirds) session.weird(ts, name, 'DNS')
    for (const type of parsed.unknownTypes) session.weird(ts, 'DNS_RR_unknown_type', 'DNS', String(type))
    if (parsed.isResponse) response(parsed, ts)
    else query(parsed, ts)
  }
  return { message, flush }
}

/**
 * DNS, mDNS, LLMNR and NetBIOS names: one dns record for a query and its response, written when the response
 * has come, or at the flow's end where it has not. Paired by message id, the oldest first.
 */

import { type DnsMessage, netbiosName, parseDns } from './dns-message.ts'
import { className, opcodeName, rcodeName, typeName } from './dns-names.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'

const NETBIOS_PORT = 137
const SRV = 33
const NO_RTT_TYPES = new Set([11])
/** Bounds a flow's memory; Zeek gives up earlier. */
const MAX_PENDING = 2000

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

function createPairs(session: Session) {
  const pending = new Map<number, Transaction[]>()
  let count = 0
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
    const transaction = open(message, ts)
    const last = message.questions.at(-1)
    if (last !== undefined && message.opcode !== 5) {
      Object.assign(transaction, { qclass: last.class, qtype: last.type, rd: message.rd, tc: message.tc, z: message.z })
      transaction.query = (netbios && netbiosName(last.name)) || last.name
    }
    const queue = pending.get(message.id)
    if (queue === undefined) pending.set(message.id, [transaction])
    else queue.push(transaction)
    if (++count > MAX_PENDING) flush()
  }

  function response(message: DnsMessage, ts: number): void {
    const queue = pending.get(message.id)
    const asked = queue?.shift()
    if (asked !== undefined) count--
    if (queue?.length === 0) pending.delete(message.id)
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
      if (answer.text === undefined) continue
      transaction.answers.push(answer.text)
      transaction.ttls.push(answer.ttl)
    }
    write(transaction)
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
    for (const queue of pending.values()) for (const transaction of queue) write(transaction)
    pending.clear()
    count = 0
  }

  function message(bytes: Buffer, ts: number): void {
    const parsed = parseDns(bytes)
    if (parsed === undefined) {
      session.weird(ts, 'DNS_truncated_len_lt_hdr_len', 'DNS')
      return
    }
    if (parsed.whole) session.confirm('dns')
    for (const name of parsed.weirds) session.weird(ts, name, 'DNS')
    if (parsed.isResponse) response(parsed, ts)
    else query(parsed, ts)
  }
  return { message, flush }
}

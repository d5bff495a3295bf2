/**
 * DNP3 (IEEE 1815) over TCP and UDP: one dnp3 record a reply, with the request that came before it; a request
 * without a reply is written when the flow ends.
 *
 * Link frames (with a checksum behind every 16 bytes) carry transport segments, these an application message,
 * of which only the header is kept.
 */

import type { Dissector, Protocol, Session } from './protocol.ts'

const LINK_HEADER_BYTES = 10
const MAGIC = 0x0564
const BLOCK_BYTES = 16
const CHECKSUM_BYTES = 2
/** What the length of a link frame counts of its header: control, destination, source. */
const COUNTED_HEADER_BYTES = 5
const FINAL = 0x80
const FIRST = 0x40
/** Application control, function, and in replies the internal indications. */
const REQUEST_HEADER_BYTES = 2
const REPLY_HEADER_BYTES = 4

const REQUESTS = [
  'CONFIRM',
  'READ',
  'WRITE',
  'SELECT',
  'OPERATE',
  'DIRECT_OPERATE',
  'DIRECT_OPERATE_NR',
  'IMMED_FREEZE',
  'IMMED_FREEZE_NR',
  'FREEZE_CLEAR',
  'FREEZE_CLEAR_NR',
  'FREEZE_AT_TIME',
  'FREEZE_AT_TIME_NR',
  'COLD_RESTART',
  'WARM_RESTART',
  'INITIALIZE_DATA',
  'INITIALIZE_APPL',
  'START_APPL',
  'STOP_APPL',
  'SAVE_CONFIG',
  'ENABLE_UNSOLICITED',
  'DISABLE_UNSOLICITED',
  'ASSIGN_CLASS',
  'DELAY_MEASURE',
  'RECORD_CURRENT_TIME',
  'OPEN_FILE',
  'CLOSE_FILE',
  'DELETE_FILE',
  'GET_FILE_INFO',
  'AUTHENTICATE_FILE',
  'ABORT_FILE',
  'ACTIVATE_CONFIG',
  'AUTHENTICATE_REQ',
  'AUTHENTICATE_ERR',
]
const REPLIES: Record<number, string> = {
  129: 'RESPONSE',
  130: 'UNSOLICITED_RESPONSE',
  131: 'AUTHENTICATE_RESP',
}

export const dnp3Tcp: Protocol = {
  name: 'dnp3_tcp',
  logs: ['dnp3'],
  tcpPorts: [20000],
  recognize(originator, responder, transport) {
    if (transport !== 'tcp') return false
    const [request, reply] = [isFrame(originator), isFrame(responder)]
    return request === false || reply === false ? false : request && reply
  },
  dissect: createOverTcp,
}

export const dnp3Udp: Protocol = {
  name: 'dnp3_udp',
  logs: ['dnp3'],
  udpPorts: [20000],
  recognize: (originator, responder, transport) =>
    transport === 'udp' && (isFrame(originator) === true || isFrame(responder) === true),
  dissect(session) {
    const link = createLink(session, 'DNP3_UDP')
    return {
      data(fromOriginator, bytes, ts) {
        for (let at = 0; at < bytes.length; ) {
          const used = link.frame(fromOriginator, bytes.subarray(at), ts)
          if (used <= 0) return
          at += used
        }
      },
      end: link.end,
    }
  },
}

function isFrame(bytes: Buffer): boolean | undefined {
  if (bytes.length < 3) return bytes.length < 2 ? undefined : bytes.readUInt16BE(0) === MAGIC ? undefined : false
  return bytes.readUInt16BE(0) === MAGIC && (bytes[2] as number) >= COUNTED_HEADER_BYTES
}

function createOverTcp(session: Session): Dissector {
  const link = createLink(session, 'DNP3_TCP')
  const rest: [Buffer, Buffer] = [Buffer.alloc(0), Buffer.alloc(0)]
  return {
    data(fromOriginator, bytes, ts) {
      const side = fromOriginator ? 0 : 1
      let buffer: Buffer = rest[side].length > 0 ? Buffer.concat([rest[side], bytes]) : bytes
      while (buffer.length > 0) {
        const used = link.frame(fromOriginator, buffer, ts)
        if (used === 0) break
        buffer = used < 0 ? Buffer.alloc(0) : buffer.subarray(used)
      }
      rest[side] = Buffer.from(buffer)
    },
    gap(fromOriginator) {
      rest[fromOriginator ? 0 : 1] = Buffer.alloc(0)
    },
    end: link.end,
  }
}

interface Exchange {
  ts: number
  request?: string
}

function createLink(session: Session, source: string) {
  /** The start of the application message that is on its way, by side. */
  const heads: [Buffer | undefined, Buffer | undefined] = [undefined, undefined]
  let pending: Exchange | undefined

  /** @returns bytes used, 0: more is needed, -1: this is no frame. */
  function frame(fromOriginator: boolean, bytes: Buffer, ts: number): number {
    if (bytes.length < LINK_HEADER_BYTES) return 0
    const counted = (bytes[2] as number) - COUNTED_HEADER_BYTES
    if (bytes.readUInt16BE(0) !== MAGIC || counted < 0) {
      session.weird(ts, 'dnp3_header_lacks_magic', source)
      return -1
    }
    const end = LINK_HEADER_BYTES + counted + Math.ceil(counted / BLOCK_BYTES) * CHECKSUM_BYTES
    if (bytes.length < end) return 0
    session.confirm(source.toLowerCase())
    // Whatever matters is in the first block.
    if (counted > 0)
      segment(fromOriginator, bytes.subarray(LINK_HEADER_BYTES, LINK_HEADER_BYTES + Math.min(counted, BLOCK_BYTES)), ts)
    return end
  }

  function segment(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    const side = fromOriginator ? 0 : 1
    const control = bytes[0] as number
    if ((control & FIRST) !== 0) heads[side] = Buffer.from(bytes.subarray(1))
    if ((control & FINAL) === 0) return
    const head = heads[side]
    heads[side] = undefined
    if (head === undefined) return
    if (fromOriginator) request(head, ts)
    else reply(head, ts)
  }

  function request(head: Buffer, ts: number): void {
    if (head.length < REQUEST_HEADER_BYTES) return
    pending = { ts, request: functionName(head[1] as number) }
  }

  function reply(head: Buffer, ts: number): void {
    if (head.length < REPLY_HEADER_BYTES) return
    session.emit('dnp3', ts, {
      fc_request: pending?.request,
      fc_reply: functionName(head[1] as number),
      iin: head.readUInt16BE(2),
    })
    pending = undefined
  }

  return {
    frame,
    end() {
      if (pending !== undefined) session.emit('dnp3', pending.ts, { fc_request: pending.request })
    },
  }
}

const functionName = (code: number) => REQUESTS[code] ?? REPLIES[code] ?? `unknown-${code}`

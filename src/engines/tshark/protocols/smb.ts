/**
 * SMB over TCP 445 and in NetBIOS sessions (139; RFC 1002, 4.3): takes the messages out of the stream and gives
 * them to SMB 1 or SMB 2.
 *
 * Memory: one message a direction, at most `MAX_MESSAGE_BYTES`; of a longer one a file's content is passed on as
 * it comes, anything else is skipped.
 */

import { authenticationOf } from './gssapi.ts'
import type { Dissector, Protocol, Session } from './protocol.ts'
import { createSmbState } from './smb-state.ts'
import { createSmb1 } from './smb1.ts'
import { createSmb2, type LongMessage } from './smb2.ts'

const SESSION_MESSAGE = 0
/** With NetBIOS' session request, its answers and keep-alive. */
const FRAME_TYPES = new Set([SESSION_MESSAGE, 0x81, 0x82, 0x83, 0x84, 0x85])
const FRAME_BYTES = 4
const MAX_MESSAGE_BYTES = (1 << 20) + 8192
/** What tells of a longer one what it is. */
const HEAD_BYTES = 512
const SMB1_ID = 0xff53_4d42
const SMB2_ID = 0xfe53_4d42
/** Pieces of the stream that have to make sense before conn's `service` names SMB: a single request may be a probe. */
const CHUNKS_TO_CONFIRM = 3
/** With encrypted and compressed ones. */
const MESSAGE_IDS = new Set([SMB1_ID, SMB2_ID, 0xfd53_4d42, 0xfc53_4d42])

export const smb: Protocol = {
  name: 'smb',
  logs: ['smb_mapping', 'smb_files', 'smb_cmd', 'files', 'dce_rpc', 'ntlm', 'kerberos'],
  tcpPorts: [139, 445],
  recognize(originator, _responder, transport) {
    if (transport !== 'tcp' || (originator.length > 0 && originator[0] !== SESSION_MESSAGE)) return false
    if (originator.length < 8) return undefined
    const id = originator.readUInt32BE(4)
    return id === SMB1_ID || id === SMB2_ID
  },
  dissect: createSmb,
}

interface Side {
  chunks: Buffer[]
  have: number
  /** Bytes that must be there before anything can be said. */
  want: number
  /** Bytes of the message that are not kept, and what takes them. */
  skip: number
  long?: { at: number; take: LongMessage }
  /** A message has a hole: it and the one that follows are not read, as Zeek does. */
  dropNext: boolean
  /** What comes next may be anything: wait for a segment that begins with a frame. */
  searching: boolean
  lost: boolean
}

const newSide = (searching: boolean): Side => ({
  chunks: [],
  have: 0,
  want: FRAME_BYTES,
  skip: 0,
  dropNext: false,
  searching,
  lost: false,
})

function createSmb(session: Session): Dissector {
  const state = createSmbState(session)
  const smb1 = createSmb1(session, state)
  const smb2 = createSmb2(session, state)
  const sides: [Side, Side] = [newSide(session.flow.partial), newSide(session.flow.partial)]
  let chunks = 0
  let hasMessage = false

  function message(fromOriginator: boolean, bytes: Buffer, ts: number): void {
    if (bytes.length < 8) return
    const id = bytes.readUInt32BE(0)
    hasMessage ||= MESSAGE_IDS.has(id)
    if (id === SMB2_ID) smb2.message(fromOriginator, bytes, ts)
    else if (id === SMB1_ID) smb1.message(fromOriginator, bytes, ts)
    else if (!MESSAGE_IDS.has(id)) sides[fromOriginator ? 0 : 1].lost = true
  }

  /** Takes whole frames from the front; returns what is left. */
  function frames(side: Side, fromOriginator: boolean, start: Buffer, ts: number): Buffer {
    let buffer = start
    while (buffer.length >= FRAME_BYTES && !side.lost) {
      if (!FRAME_TYPES.has(buffer[0] as number)) {
        side.lost = true
        break
      }
      side.want = FRAME_BYTES + lengthOf(buffer)
      if (side.want > MAX_MESSAGE_BYTES) {
        if (buffer.length < Math.min(side.want, HEAD_BYTES)) {
          side.want = HEAD_BYTES
          break
        }
        buffer = beginLong(side, fromOriginator, buffer, ts)
        if (side.skip > 0) break
        continue
      }
      if (buffer.length < side.want) break
      if (buffer[0] === SESSION_MESSAGE && !side.dropNext)
        message(fromOriginator, buffer.subarray(FRAME_BYTES, side.want), ts)
      side.dropNext = false
      buffer = buffer.subarray(side.want)
      side.want = FRAME_BYTES
    }
    return buffer
  }

  /** Returns what is behind the long message. */
  function beginLong(side: Side, fromOriginator: boolean, buffer: Buffer, ts: number): Buffer {
    const part = buffer.subarray(FRAME_BYTES, side.want)
    const wanted = isFrame(buffer) && buffer.readUInt32BE(FRAME_BYTES) === SMB2_ID && !side.dropNext
    const take = wanted ? smb2.longMessage(fromOriginator, part, ts) : undefined
    take?.(0, part, ts)
    side.dropNext = false
    side.skip = Math.max(0, side.want - buffer.length)
    side.long = take === undefined || side.skip === 0 ? undefined : { at: part.length, take }
    const rest = buffer.subarray(Math.min(buffer.length, side.want))
    side.want = FRAME_BYTES
    return rest
  }

  function skipped(side: Side, bytes: Buffer, ts: number): Buffer {
    const part = bytes.subarray(0, side.skip)
    side.skip -= part.length
    if (side.long !== undefined) {
      side.long.take(side.long.at, part, ts)
      side.long.at += part.length
    }
    if (side.skip === 0) side.long = undefined
    return bytes.subarray(part.length)
  }

  function take(side: Side, fromOriginator: boolean, bytes: Buffer, ts: number): void {
    const fresh = side.skip > 0 ? skipped(side, bytes, ts) : bytes
    if (fresh.length === 0) return
    side.chunks.push(fresh)
    side.have += fresh.length
    if (side.have < side.want) {
      side.chunks[side.chunks.length - 1] = Buffer.from(fresh)
      return
    }
    const whole = side.chunks.length === 1 ? fresh : Buffer.concat(side.chunks)
    const rest = frames(side, fromOriginator, whole, ts)
    side.chunks = rest.length > 0 ? [Buffer.from(rest)] : []
    side.have = rest.length
  }

  return {
    data(fromOriginator, bytes, ts) {
      const side = sides[fromOriginator ? 0 : 1]
      if (side.searching) side.searching = !isFrame(bytes)
      if (side.lost || side.searching) return
      take(side, fromOriginator, bytes, ts)
      // Behind what the messages carry: that is confirmed first.
      if (!side.lost && ++chunks >= CHUNKS_TO_CONFIRM && hasMessage) session.confirm('smb')
    },
    gap(fromOriginator, length) {
      const side = sides[fromOriginator ? 0 : 1]
      resume(side, length)
    },
    end(ts) {
      state.end(ts)
      authenticationOf(session).end()
    },
  }
}

/** 17 bits of length in a NetBIOS session, 24 without. */
const lengthOf = (buffer: Buffer) => (buffer[0] === SESSION_MESSAGE ? buffer.readUIntBE(1, 3) : buffer.readUInt16BE(2))

/** After a hole: what was begun is given up; a frame whose end is known is skipped up to there. */
function resume(side: Side, missing: number): void {
  const within = side.skip > 0 || side.have > 0
  const left = side.skip > 0 ? side.skip : side.have >= FRAME_BYTES ? side.want - side.have : 0
  // A further hole, in what is dropped anyway, changes nothing.
  if (within && side.skip === 0) side.dropNext = !side.dropNext
  side.chunks = []
  side.have = 0
  side.want = FRAME_BYTES
  side.skip = Math.max(0, left - missing)
  side.long = undefined
  side.searching = left < missing
}

const isFrame = (bytes: Buffer) =>
  bytes.length >= 8 && bytes[0] === SESSION_MESSAGE && MESSAGE_IDS.has(bytes.readUInt32BE(4))

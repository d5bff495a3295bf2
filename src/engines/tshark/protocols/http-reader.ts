/**
 * One direction of an HTTP/1 connection (RFC 9112): bytes in, the message's parts out.
 *
 * Lenient where servers and clients are: bare LF ends a line too. Memory: one line and one folded header at
 * most (both bounded); bodies pass through in pieces.
 */

export type BodyPlan =
  | { kind: 'none' }
  | { kind: 'length'; length: number }
  | { kind: 'chunked' }
  | { kind: 'close' }
  /** Everything from here on belongs to another protocol. */
  | { kind: 'handed over' }

export interface HttpHandler {
  /** false: this is no HTTP; the rest of this direction is ignored. */
  startLine(line: string, ts: number): boolean
  header(name: string, value: string, ts: number): void
  headersDone(ts: number): BodyPlan
  body(bytes: Buffer, ts: number): void
  bodyGap(length: number, ts: number): void
  /** `interrupted`: the message was cut short. */
  messageDone(ts: number, interrupted: boolean): void
  /** What comes after a 'handed over'. */
  foreign(bytes: Buffer, ts: number): void
  weird(name: string, ts: number, addl?: string): void
}

export interface HttpReader {
  data(bytes: Buffer, ts: number): void
  gap(length: number, ts: number): void
  end(ts: number): void
  skip(): void
  /** What comes is a body without a head (HTTP/0.9), unless a message has begun already. */
  oldStyle(ts: number): void
}

/** The start line of a message without a head. */
export const OLD_STYLE = ''

type State =
  | 'start'
  | 'headers'
  | 'length'
  | 'chunk size'
  | 'chunk data'
  | 'chunk end'
  | 'trailers'
  | 'close'
  | 'foreign'
  | 'skip'

const LF = 10
const CR = 13
const MAX_LINE_BYTES = 1 << 20

export function createHttpReader(handler: HttpHandler): HttpReader {
  let state: State = 'start'
  let line: Buffer = Buffer.alloc(0)
  let remaining = 0
  let folded: { name: string; value: string } | undefined

  function data(bytes: Buffer, ts: number): void {
    let at = 0
    while (at < bytes.length && state !== 'skip') {
      if (state === 'foreign') {
        handler.foreign(bytes.subarray(at), ts)
        return
      }
      if (state === 'close') {
        handler.body(bytes.subarray(at), ts)
        return
      }
      if (state === 'length' || state === 'chunk data') {
        const part = bytes.subarray(at, at + Math.min(remaining, bytes.length - at))
        at += part.length
        remaining -= part.length
        handler.body(part, ts)
        if (remaining === 0) bodyPartDone(ts)
        continue
      }
      const feed = bytes.indexOf(LF, at)
      if (feed < 0) {
        line = Buffer.concat([line, bytes.subarray(at)])
        if (line.length > MAX_LINE_BYTES) state = 'skip'
        return
      }
      const whole = line.length > 0 ? Buffer.concat([line, bytes.subarray(at, feed)]) : bytes.subarray(at, feed)
      if (line.length > 0) line = Buffer.alloc(0)
      at = feed + 1
      takeLine(whole[whole.length - 1] === CR ? whole.subarray(0, -1) : whole, ts)
    }
  }

  function bodyPartDone(ts: number): void {
    if (state === 'chunk data') state = 'chunk end'
    else done(ts, false)
  }

  function done(ts: number, interrupted: boolean): void {
    state = 'start'
    handler.messageDone(ts, interrupted)
  }

  function takeLine(bytes: Buffer, ts: number): void {
    const text = bytes.toString('latin1')
    switch (state) {
      case 'start':
        if (text.trim() === '') return
        state = handler.startLine(text, ts) ? 'headers' : 'skip'
        return
      case 'headers':
        takeHeader(text, ts)
        return
      case 'chunk size':
        takeChunkSize(text, ts)
        return
      case 'chunk end':
        state = 'chunk size'
        if (text !== '') takeChunkSize(text, ts)
        return
      case 'trailers':
        if (text === '') done(ts, false)
        return
      default:
    }
  }

  function takeChunkSize(text: string, ts: number): void {
    const size = /^\s*([0-9a-f]+)/i.exec(text)
    const length = size?.[1] === undefined ? Number.NaN : Number.parseInt(size[1], 16)
    if (!Number.isSafeInteger(length)) {
      handler.weird('HTTP_bad_chunk_size', ts)
      done(ts, true)
      state = 'skip'
    } else if (length === 0) state = 'trailers'
    else {
      remaining = length
      state = 'chunk data'
    }
  }

  function takeHeader(text: string, ts: number): void {
    if (folded !== undefined && /^[ \t]/.test(text) && text.trim() !== '') {
      handler.weird('HTTP_obsolete_line_folding', ts, folded.name)
      if (folded.value.length < MAX_LINE_BYTES) folded.value += ` ${text.trim()}`
      return
    }
    if (folded !== undefined) handler.header(folded.name, folded.value, ts)
    folded = undefined
    if (text === '') {
      plan(handler.headersDone(ts), ts)
      return
    }
    const colon = text.indexOf(':')
    if (colon > 0) folded = { name: text.slice(0, colon).trim(), value: text.slice(colon + 1).trim() }
  }

  function plan(body: BodyPlan, ts: number): void {
    if (body.kind === 'none' || (body.kind === 'length' && body.length === 0)) done(ts, false)
    else if (body.kind === 'length') {
      remaining = body.length
      state = 'length'
    } else if (body.kind === 'chunked') state = 'chunk size'
    else if (body.kind === 'handed over') state = 'foreign'
    else state = 'close'
  }

  function gap(length: number, ts: number): void {
    if (state === 'skip' || state === 'foreign') return
    if (state === 'close') handler.bodyGap(length, ts)
    else if (state === 'length' || (state === 'chunk data' && length <= remaining)) {
      // Where the gap goes beyond the message, what follows is taken for the start of the next.
      remaining = Math.max(0, remaining - length)
      handler.bodyGap(length, ts)
      if (remaining === 0) bodyPartDone(ts)
    } else {
      const lost = state !== 'start'
      state = 'skip'
      if (lost) handler.messageDone(ts, true)
    }
  }

  function end(ts: number): void {
    if (state === 'close') done(ts, false)
    else if (state === 'headers' && line.length > 0) {
      // A head cut short by the end of the stream still tells what was there.
      takeHeader(line.toString('latin1'), ts)
      if (folded !== undefined) handler.header(folded.name, folded.value, ts)
      handler.messageDone(ts, true)
    } else if (state !== 'start' && state !== 'skip' && state !== 'foreign') handler.messageDone(ts, true)
    state = 'skip'
  }

  function oldStyle(ts: number): void {
    if (state !== 'start' || line.length > 0) return
    handler.startLine(OLD_STYLE, ts)
    plan(handler.headersDone(ts), ts)
  }

  return { data, gap, end, skip: () => (state = 'skip'), oldStyle }
}

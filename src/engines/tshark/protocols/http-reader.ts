/**
 * One direction of an HTTP/1 connection (RFC 9112): bytes in, the message's parts out.
 *
 * Lenient where servers and clients are: bare LF ends a line, and so does a bare CR, which is told. Memory: one
 * line and one folded header at most (both bounded); bodies pass through in pieces.
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
  weird(name: string, ts: number, addl?: string, source?: string): void
}

export interface HttpReader {
  data(bytes: Buffer, ts: number): void
  gap(length: number, ts: number): void
  /** `finished`: the side has said that it is done, rather than just fallen silent. */
  end(ts: number, finished?: boolean): void
  skip(): void
  /** What comes is a body without a head (HTTP/0.9). */
  oldStyle(ts: number): void
}

export interface HttpReaderOptions {
  /** It begins in the middle: nothing is read but where its lines end. */
  partial?: boolean
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
const PLAIN_STATES = new Set<State>(['length', 'chunk data', 'close', 'foreign'])

export function createHttpReader(handler: HttpHandler, { partial = false }: HttpReaderOptions = {}): HttpReader {
  let state: State = partial ? 'skip' : 'start'
  let watching = partial
  let line: Buffer = Buffer.alloc(0)
  /** The last byte was a CR that ended a line: a LF belongs to it. */
  let afterCr = false
  let oldStyleNext = false
  let remaining = 0
  let folded: { name: string; value: string } | undefined

  function data(bytes: Buffer, ts: number): void {
    let at = 0
    if (afterCr) {
      afterCr = false
      if (bytes[0] === LF) at = 1
      else loneCr(ts)
    }
    if (oldStyleNext && state === 'start') beginOldStyle(ts)
    while (at < bytes.length) at = step(bytes, at, ts)
    // A side that is no HTTP is not looked at any longer; what is left of this piece was.
    watching &&= partial
  }

  /** @returns where to go on. */
  function step(bytes: Buffer, at: number, ts: number): number {
    switch (state) {
      case 'skip':
        if (watching) watchLines(bytes, at, ts)
        return bytes.length
      case 'foreign':
        handler.foreign(bytes.subarray(at), ts)
        return bytes.length
      case 'close':
        handler.body(bytes.subarray(at), ts)
        return bytes.length
      case 'length':
      case 'chunk data': {
        const part = bytes.subarray(at, at + Math.min(remaining, bytes.length - at))
        remaining -= part.length
        handler.body(part, ts)
        if (remaining === 0) bodyPartDone(ts)
        return at + part.length
      }
      default:
        return readLine(bytes, at, ts)
    }
  }

  function readLine(bytes: Buffer, at: number, ts: number): number {
    const end = lineEnd(bytes, at)
    if (end < 0) {
      line = Buffer.concat([line, bytes.subarray(at)])
      if (line.length > MAX_LINE_BYTES) state = 'skip'
      return bytes.length
    }
    const whole = line.length > 0 ? Buffer.concat([line, bytes.subarray(at, end)]) : bytes.subarray(at, end)
    if (line.length > 0) line = Buffer.alloc(0)
    let next = end + 1
    if (bytes[end] === CR) {
      if (next === bytes.length) afterCr = true
      else if (bytes[next] === LF) next++
      else loneCr(ts)
    }
    takeLine(whole, ts)
    return next
  }

  function loneCr(ts: number): void {
    if (!PLAIN_STATES.has(state)) handler.weird('line_terminated_with_single_CR', ts, undefined, 'CONTENTLINE')
  }

  function watchLines(bytes: Buffer, start: number, ts: number): void {
    for (let at = bytes.indexOf(CR, start); at >= 0; at = bytes.indexOf(CR, at + 1)) {
      if (at + 1 === bytes.length) afterCr = partial
      else if (bytes[at + 1] !== LF) {
        loneCr(ts)
        watching = false
        return
      }
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
        if (handler.startLine(text, ts)) state = 'headers'
        else {
          state = 'skip'
          watching = true
        }
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
    watching = false
    afterCr = false
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

  function end(ts: number, finished = false): void {
    if (state === 'start' && finished && line.length > 0) {
      const last = line
      line = Buffer.alloc(0)
      takeLine(last, ts)
    }
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
    if (state !== 'start' || line.length > 0) {
      if (state === 'skip') return
      // A head or a body had begun before anybody asked.
      handler.weird('http_09_reply_before_request', ts)
      folded = undefined
      line = Buffer.alloc(0)
      done(ts, true)
    }
    oldStyleNext = true
  }

  function beginOldStyle(ts: number): void {
    oldStyleNext = false
    handler.startLine(OLD_STYLE, ts)
    plan(handler.headersDone(ts), ts)
  }

  return { data, gap, end, skip: () => (state = 'skip'), oldStyle }
}

/** The next LF or CR, whichever comes first; -1 where there is none. */
function lineEnd(bytes: Buffer, start: number): number {
  for (let at = start; at < bytes.length; at++) if (bytes[at] === LF || bytes[at] === CR) return at
  return -1
}

/**
 * MIME bodies (RFC 2045, 2046): a message or form in lines, its leaves out as files with their transfer
 * coding undone. Serves SMTP messages and HTTP's multipart bodies. Streaming: what is held back is one line.
 */

interface EntityHeaders {
  contentType: string
  /** `filename` of Content-Disposition, else `name` of Content-Type. */
  filename?: string
  transferEncoding: string
  /** Of a part of multipart/byteranges. */
  contentRange?: string
}

interface LeafSink {
  data(bytes: Buffer, ts: number): void
  end(ts: number): void
}

export interface EntityOptions {
  /** Called for each leaf when its headers are known; it may have no data at all. `ordinal`: entities so far. */
  openLeaf(headers: EntityHeaders, ordinal: number): LeafSink
  onHeader?: (name: string, value: string, depth: number, ts: number) => void
  onTooDeep?: (ts: number) => void
  /** A line among headers that is none. It ends them then; without this it is passed over. */
  onNoHeader?: (ts: number) => void
}

export interface Entity {
  data(bytes: Buffer, ts: number): void
  end(ts: number): void
}

const MAX_DEPTH = 100
const MAX_LINE_BYTES = 65536
const LF = 10
const CR = 13
const NOTHING = Buffer.alloc(0)

/** A parameter of a header such as `multipart/mixed; boundary="abc"`. */
function headerParameter(value: string, name: string): string | undefined {
  const match = new RegExp(`(?:^|[;\\s])${name}\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]+))`, 'i').exec(value)
  return match?.[1]?.replace(/\\(.)/g, '$1') ?? match?.[2]
}

export function filenameOf(disposition: string, contentType: string): string | undefined {
  return headerParameter(disposition, 'filename') ?? headerParameter(contentType, 'name')
}

interface Level {
  mode: 'headers' | 'leaf' | 'parts' | 'ignored'
  depth: number
  /** With its leading dashes. */
  boundary?: string
  headers: Record<string, string>
  lastHeader?: string
  leaf?: LeafSink
  decode?: (bytes: Buffer, last: boolean) => Buffer
  /** The line end that belongs to the body only if no boundary follows. */
  heldEol: Buffer
  heldAt: number
}

/** A whole message (`headers` absent: it begins with them) or the body of one whose headers are known. */
export function createEntity(options: EntityOptions, known?: { contentType: string }): Entity {
  const levels: Level[] = []
  let line: Buffer = NOTHING
  let midLine = false
  let entities = 0

  function open(depth: number): void {
    entities++
    levels.push({ mode: 'headers', depth, headers: {}, heldEol: NOTHING, heldAt: 0 })
  }

  open(known === undefined ? 1 : 0)
  if (known !== undefined) {
    const top = levels[0] as Level
    top.headers['content-type'] = known.contentType
    headersDone(top, 0)
  }

  function headersDone(level: Level, ts: number): void {
    const contentType = level.headers['content-type'] ?? ''
    const boundary = /^\s*multipart\//i.test(contentType) ? headerParameter(contentType, 'boundary') : undefined
    if (boundary !== undefined && boundary !== '') {
      level.mode = 'parts'
      level.boundary = `--${boundary}`
    } else if (/^\s*message\/rfc822/i.test(contentType) && levels.length < MAX_DEPTH) {
      level.mode = 'ignored'
      open(level.depth + 1)
    } else {
      const transferEncoding = (level.headers['content-transfer-encoding'] ?? '').trim().toLowerCase()
      const filename = filenameOf(level.headers['content-disposition'] ?? '', contentType)
      level.mode = 'leaf'
      level.leaf = options.openLeaf(
        { contentType, transferEncoding, filename, contentRange: level.headers['content-range'] },
        entities,
      )
      level.decode = transferDecoder(transferEncoding)
    }
    if (levels.length >= MAX_DEPTH) options.onTooDeep?.(ts)
  }

  function close(level: Level, ts: number): void {
    if (level.leaf === undefined) return
    const rest = level.decode?.(NOTHING, true)
    if (rest !== undefined && rest.length > 0) level.leaf.data(rest, ts)
    level.leaf.end(ts)
    level.leaf = undefined
  }

  function closeAbove(index: number, ts: number): void {
    while (levels.length > index + 1) close(levels.pop() as Level, ts)
  }

  /** A boundary of any enclosing multipart ends all that is inside it. */
  function boundaryAt(text: string): { index: number; last: boolean } | undefined {
    for (let index = levels.length - 1; index >= 0; index--) {
      const boundary = levels[index]?.boundary
      if (boundary === undefined || !text.startsWith(boundary)) continue
      const rest = text.slice(boundary.length).trimEnd()
      if (rest === '' || rest === '--') return { index, last: rest === '--' }
    }
    return undefined
  }

  function takeLine(bytes: Buffer, eol: Buffer, whole: boolean, ts: number): void {
    if (whole && bytes[0] === 0x2d && bytes[1] === 0x2d) {
      const found = boundaryAt(bytes.toString('latin1', 0, 200))
      if (found !== undefined) {
        // Only what is directly a part gives its last line end to the boundary; an attached message keeps it.
        if (levels[found.index + 1]?.mode === 'ignored') deliverHeld()
        closeAbove(found.index, ts)
        const depth = levels[found.index]?.depth ?? 0
        if (!found.last && levels.length < MAX_DEPTH) open(depth + 1)
        return
      }
    }
    const level = levels.at(-1) as Level
    if (level.mode === 'headers') takeHeader(level, bytes, ts)
    else if (level.mode === 'leaf') {
      deliver(level, level.heldEol, ts)
      deliver(level, bytes, ts)
      level.heldEol = eol.length > 0 ? Buffer.from(eol) : NOTHING
      level.heldAt = ts
    }
  }

  function deliverHeld(): void {
    const level = levels.at(-1) as Level
    if (level.mode === 'leaf') deliver(level, level.heldEol, level.heldAt)
  }

  function deliver(level: Level, bytes: Buffer, ts: number): void {
    if (bytes.length === 0) return
    const plain = level.decode === undefined ? bytes : level.decode(bytes, false)
    if (plain.length > 0) level.leaf?.data(plain, ts)
  }

  function takeHeader(level: Level, bytes: Buffer, ts: number): void {
    const text = bytes.toString('latin1')
    if (text === '') {
      reportHeader(level, ts)
      headersDone(level, ts)
      return
    }
    if (/^[ \t]/.test(text) && level.lastHeader !== undefined) {
      const value = level.headers[level.lastHeader] ?? ''
      if (value.length < MAX_LINE_BYTES) level.headers[level.lastHeader] = value + text
      return
    }
    reportHeader(level, ts)
    const colon = text.indexOf(':')
    if (colon <= 0) {
      if (options.onNoHeader === undefined) return
      options.onNoHeader(ts)
      headersDone(level, ts)
      return
    }
    const name = text.slice(0, colon).trim().toLowerCase()
    level.lastHeader = name
    level.headers[name] = text.slice(colon + 1).trim()
  }

  function reportHeader(level: Level, ts: number): void {
    if (level.lastHeader !== undefined)
      options.onHeader?.(level.lastHeader, level.headers[level.lastHeader] ?? '', level.depth, ts)
    level.lastHeader = undefined
  }

  return {
    data(bytes, ts) {
      let at = 0
      while (at < bytes.length) {
        const feed = bytes.indexOf(LF, at)
        const piece = bytes.subarray(at, feed < 0 ? bytes.length : feed)
        const joined = line.length > 0 ? Buffer.concat([line, piece]) : piece
        line = NOTHING
        if (feed < 0) {
          if (joined.length > MAX_LINE_BYTES) {
            takeLine(joined, NOTHING, false, ts)
            midLine = true
          } else line = Buffer.from(joined)
          return
        }
        at = feed + 1
        const cr = joined[joined.length - 1] === CR
        const eol = cr ? Buffer.from([CR, LF]) : Buffer.from([LF])
        takeLine(cr ? joined.subarray(0, -1) : joined, eol, !midLine, ts)
        midLine = false
      }
    },
    end(ts) {
      if (line.length > 0) takeLine(line, NOTHING, !midLine, ts)
      const last = levels.at(-1) as Level
      if (last.mode === 'headers') {
        reportHeader(last, ts)
        if (levels.length === 1) headersDone(last, ts)
      } else if (known !== undefined || levels.every(({ boundary }) => boundary === undefined)) deliverHeld()
      closeAbove(-1, ts)
    },
  }
}

function transferDecoder(name: string): Level['decode'] {
  if (name === 'base64') return base64Decoder()
  if (name === 'quoted-printable') return quotedPrintableDecoder()
  return undefined
}

function base64Decoder(): (bytes: Buffer, last: boolean) => Buffer {
  let rest = ''
  return (bytes, last) => {
    const text = rest + bytes.toString('latin1').replace(/[^A-Za-z0-9+/]/g, '')
    const usable = last ? text.length : text.length - (text.length % 4)
    rest = text.slice(usable)
    return Buffer.from(text.slice(0, usable), 'base64')
  }
}

function quotedPrintableDecoder(): (bytes: Buffer, last: boolean) => Buffer {
  let rest = ''
  return (bytes, last) => {
    let text = rest + bytes.toString('latin1')
    const open = last ? null : /=[0-9A-Fa-f]?\r?$/.exec(text)
    rest = open?.[0] ?? ''
    if (rest !== '') text = text.slice(0, -rest.length)
    const plain = text
      .replace(/=\r?\n/g, '')
      .replace(/=([0-9A-Fa-f]{2})/g, (_all, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
    return Buffer.from(plain, 'latin1')
  }
}

/**
 * Redis serialization protocol, versions 2 and 3 (https://redis.io/docs/latest/develop/reference/protocol-spec/),
 * one direction: bytes in, whole values out.
 *
 * Memory: one value, of which at most a mebibyte is kept, whatever lengths it claims; deeper nesting than
 * `MAX_DEPTH` is nonsense.
 */

export interface RespValue {
  /** The byte that begins it; `inline` for a command in words. */
  type: string
  /** One character a byte. */
  text: string
  items?: RespValue[]
}

export interface RespOptions {
  onValue(value: RespValue, ts: number): void
  /** Not RESP: nothing more is read. */
  onNonsense?(ts: number): void
  /** Commands may come as a line of words. */
  inline?: boolean
}

export interface RespReader {
  data(bytes: Buffer, ts: number): void
  stop(): void
}

const LF = 10
const MAX_DEPTH = 64
const MAX_LINE_BYTES = 65536
const MAX_KEPT_BYTES = 1 << 20
const MAX_ITEMS = 100_000

const BULK = '$!='
const AGGREGATE = '*~>%|'
const SIMPLE = '+-:_#,('

interface Open {
  type: string
  left: number
  items: RespValue[]
}

export function createRespReader({ onValue, onNonsense, inline = false }: RespOptions): RespReader {
  let line: Buffer = Buffer.alloc(0)
  let bulk: { type: string; left: number; parts: Buffer[] } | undefined
  const open: Open[] = []
  let kept = 0
  let items = 0
  let over = false

  function nonsense(ts: number): void {
    over = true
    onNonsense?.(ts)
  }

  /** A value is whole: it completes what it is in, perhaps. */
  function close(value: RespValue, ts: number): void {
    let done = value
    for (;;) {
      const parent = open.at(-1)
      if (parent === undefined) {
        kept = items = 0
        // An attribute tells about the value that comes after it.
        if (done.type !== '|') onValue(done, ts)
        return
      }
      if (done.type === '|') return
      if (++items <= MAX_ITEMS) parent.items.push(done)
      if (--parent.left > 0) return
      open.pop()
      done = { type: parent.type, text: '', items: parent.items }
    }
  }

  function takeLine(bytes: Buffer, ts: number): void {
    const text = (bytes[bytes.length - 1] === 13 ? bytes.subarray(0, -1) : bytes).toString('latin1')
    const type = text[0] ?? ''
    if (SIMPLE.includes(type) && type !== '') close({ type, text: keep(text.slice(1)) }, ts)
    else if (BULK.includes(type) && type !== '') takeLength(type, text.slice(1), ts)
    else if (AGGREGATE.includes(type) && type !== '') takeCount(type, text.slice(1), ts)
    else if (inline && open.length === 0 && /^[\x20-\x7e]*$/.test(text)) {
      if (text.trim() !== '') onValue({ type: 'inline', text, items: words(text) }, ts)
    } else if (text !== '') nonsense(ts)
  }

  function takeLength(type: string, digits: string, ts: number): void {
    if (digits === '-1') close({ type: '_', text: '' }, ts)
    else if (/^\d{1,10}$/.test(digits)) bulk = { type, left: Number(digits) + 2, parts: [] }
    else nonsense(ts)
  }

  function takeCount(type: string, digits: string, ts: number): void {
    if (digits === '-1') close({ type: '_', text: '' }, ts)
    else if (!/^\d{1,10}$/.test(digits) || open.length >= MAX_DEPTH) nonsense(ts)
    else {
      const left = Number(digits) * (type === '%' || type === '|' ? 2 : 1)
      if (left === 0) close({ type, text: '', items: [] }, ts)
      else open.push({ type, left, items: [] })
    }
  }

  function keep(text: string): string {
    const part = text.slice(0, Math.max(0, MAX_KEPT_BYTES - kept))
    kept += part.length
    return part
  }

  function takeBulk(part: Buffer, ts: number): void {
    if (bulk === undefined) return
    bulk.left -= part.length
    const wanted = part.subarray(0, Math.max(0, MAX_KEPT_BYTES - kept))
    kept += wanted.length
    if (wanted.length > 0) bulk.parts.push(Buffer.from(wanted))
    if (bulk.left > 0) return
    const { type, parts } = bulk
    bulk = undefined
    const text = Buffer.concat(parts).toString('latin1').replace(/\r\n$/, '')
    // A verbatim string names its format in front: `txt:`.
    close({ type, text: type === '=' ? text.slice(4) : text }, ts)
  }

  return {
    data(bytes, ts) {
      let at = 0
      while (!over && at < bytes.length) {
        if (bulk !== undefined) {
          const part = bytes.subarray(at, at + bulk.left)
          at += part.length
          takeBulk(part, ts)
          continue
        }
        const feed = bytes.indexOf(LF, at)
        if (feed < 0) {
          line = Buffer.concat([line, bytes.subarray(at)])
          if (line.length > MAX_LINE_BYTES) nonsense(ts)
          return
        }
        const whole = line.length > 0 ? Buffer.concat([line, bytes.subarray(at, feed)]) : bytes.subarray(at, feed)
        line = Buffer.alloc(0)
        at = feed + 1
        takeLine(whole, ts)
      }
    },
    stop() {
      over = true
    },
  }
}

const words = (text: string): RespValue[] =>
  text
    .trim()
    .split(/\s+/)
    .map((word) => ({ type: '+', text: word }))

/** As people read it: `[a, [1, 2]]`, `{k: v}`. */
export function renderResp(value: RespValue): string {
  const { type, text, items } = value
  if (type === '_') return 'null'
  if (items === undefined) return text
  const rendered = items.map(renderResp)
  if (type !== '%') return type === '~' ? `{${rendered.join(', ')}}` : `[${rendered.join(', ')}]`
  const pairs: string[] = []
  for (let i = 0; i < rendered.length; i += 2) pairs.push(`${rendered[i]}: ${rendered[i + 1] ?? ''}`)
  return `{${pairs.join(', ')}}`
}

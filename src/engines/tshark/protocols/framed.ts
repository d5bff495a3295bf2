/**
 * Messages with a header that tells their length, one direction: bytes in, messages out.
 *
 * Memory: a header and at most `maxKept` bytes of one body, whatever length it claims; the rest is passed over.
 */

interface Frame {
  header: Buffer
  /** Of the body on the wire. */
  length: number
  /** The first `maxKept` bytes of it. */
  body: Buffer
}

export interface FramedOptions {
  /** Bytes of the header; asked again as it grows, with what is there of it. */
  headerBytes: (begun: Buffer) => number
  /** Length of the body; undefined: this is no header, and nothing more is read. */
  bodyLength: (header: Buffer) => number | undefined
  /** false: no more messages are wanted, what follows waits for `take`. */
  onFrame: (frame: Frame, ts: number) => boolean | undefined
  onNonsense?: (ts: number) => void
  maxKept?: number
}

export interface FramedReader {
  data(bytes: Buffer, ts: number): void
  /** Bytes are missing: within a body its rest is read on, else nothing more. Without a length: nothing more. */
  lost(length?: number): void
  take(): Buffer
}

const NOTHING = Buffer.alloc(0)
const MAX_KEPT_BYTES = 1 << 20

export function createFramedReader(options: FramedOptions): FramedReader {
  const maxKept = options.maxKept ?? MAX_KEPT_BYTES
  let header: Buffer = NOTHING
  let length = 0
  let parts: Buffer[] = []
  let kept = 0
  /** Bytes of the body that are still to come; undefined: the header is. */
  let left: number | undefined
  let rest: Buffer = NOTHING
  let over = false

  function finish(ts: number): boolean | undefined {
    const frame = { header, length, body: parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts) }
    header = NOTHING
    parts = []
    kept = 0
    left = undefined
    return options.onFrame(frame, ts)
  }

  /** @returns how many of the bytes belong to it. */
  function growHeader(bytes: Buffer): number {
    let used = 0
    for (;;) {
      const piece = bytes.subarray(used, used + options.headerBytes(header) - header.length)
      if (piece.length === 0) return used
      header = Buffer.concat([header, piece])
      used += piece.length
    }
  }

  /** @returns false where it was no header. */
  function begin(ts: number): boolean {
    const found = options.bodyLength(header)
    if (found === undefined || found < 0) {
      over = true
      options.onNonsense?.(ts)
      return false
    }
    length = left = found
    return true
  }

  return {
    data(bytes, ts) {
      let at = 0
      while (!over && at < bytes.length) {
        if (left === undefined) {
          at += growHeader(bytes.subarray(at))
          if (header.length < options.headerBytes(header) || !begin(ts)) return
        }
        const part = bytes.subarray(at, at + (left ?? 0))
        at += part.length
        left = (left ?? 0) - part.length
        const wanted = part.subarray(0, maxKept - kept)
        if (wanted.length > 0) parts.push(left === 0 && kept === 0 ? wanted : Buffer.from(wanted))
        kept += wanted.length
        if (left > 0) return
        if (finish(ts) === false) {
          over = true
          rest = bytes.subarray(at)
        }
      }
    },
    lost(missing = Number.POSITIVE_INFINITY) {
      if (left !== undefined && missing < left) left -= missing
      else {
        over = true
        parts = []
      }
    },
    take() {
      const taken = rest
      rest = NOTHING
      return taken
    },
  }
}

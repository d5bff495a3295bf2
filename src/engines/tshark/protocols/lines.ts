/**
 * Lines of a text protocol out of a byte stream, one direction. Bytes in, whole lines without their CR LF out;
 * a bare LF ends a line too.
 *
 * Memory: one unfinished line of at most `maxBytes`; a longer one is dropped up to its end, and reported.
 */

/** false: what follows is no line; it waits for `take`. */
export type OnLine = (line: Buffer, ts: number) => boolean | undefined

export interface Lines {
  data(bytes: Buffer, ts: number): void
  /** What came after the line that was answered with false; lines are read again from the next `data` on. */
  take(): Buffer
  /** Bytes are missing: a line that was begun is dropped, up to the next line end. Between lines nothing is. */
  gap(): void
}

export interface LineOptions {
  maxBytes?: number
  onTooLong?: (length: number, ts: number) => void
}

const LF = 10
const CR = 13
const NOTHING = Buffer.alloc(0)
const MAX_LINE_BYTES = 1 << 16

export function createLines(onLine: OnLine, { maxBytes = MAX_LINE_BYTES, onTooLong }: LineOptions = {}): Lines {
  let begun: Buffer = NOTHING
  let rest: Buffer = NOTHING
  let dropped = 0
  let dropping = false

  function keep(piece: Buffer): void {
    if (dropping) dropped += piece.length
    else if (begun.length + piece.length > maxBytes) {
      dropping = true
      dropped = begun.length + piece.length
      begun = NOTHING
    } else begun = Buffer.concat([begun, piece])
  }

  /** @returns false where no more lines are wanted. */
  function finish(piece: Buffer, ts: number): boolean | undefined {
    if (dropping) {
      dropping = false
      if (dropped > 0) onTooLong?.(dropped + piece.length, ts)
      return true
    }
    const whole = begun.length > 0 ? Buffer.concat([begun, piece]) : piece
    begun = NOTHING
    return onLine(whole[whole.length - 1] === CR ? whole.subarray(0, -1) : whole, ts)
  }

  return {
    data(bytes, ts) {
      let at = 0
      while (at < bytes.length) {
        const feed = bytes.indexOf(LF, at)
        if (feed < 0) {
          keep(bytes.subarray(at))
          return
        }
        const piece = bytes.subarray(at, feed)
        at = feed + 1
        if (finish(piece, ts) === false) {
          rest = bytes.subarray(at)
          return
        }
      }
    },
    take() {
      const taken = rest
      rest = NOTHING
      return taken
    },
    gap() {
      dropping ||= begun.length > 0
      begun = NOTHING
      dropped = 0
    },
  }
}

/**
 * WebSocket frames of one direction (RFC 6455, 5.2): bytes in, the payload of data frames out, unmasked.
 *
 * A payload of up to 64 KiB comes in one piece, a longer one in pieces as they arrive: memory is bounded,
 * whatever length a frame claims. Compressed messages (RSV1) and control frames give nothing.
 */

export interface FrameReader {
  data(bytes: Buffer, ts: number): void
  /** Bytes are missing: where the next frame begins cannot be known. */
  lost(): void
}

const DATA_OPCODES = new Set([0, 1, 2])
const MAX_HELD_BYTES = 65536
const RSV1 = 0x40
const MASKED = 0x80

interface Frame {
  /** Bytes of payload that are still to come. */
  left: number
  wanted: boolean
  mask?: Buffer
  maskAt: number
  held: Buffer[]
  heldBytes: number
}

export function createFrameReader({ payload }: { payload(bytes: Buffer, ts: number): void }): FrameReader {
  let head: Buffer = Buffer.alloc(0)
  let frame: Frame | undefined
  let compressed = false
  let over = false

  function begin(bytes: Buffer): { frame: Frame; size: number } | undefined {
    if (bytes.length < 2) return undefined
    const [first, second] = [bytes[0] as number, bytes[1] as number]
    const short = second & 0x7f
    const lengthSize = short === 126 ? 2 : short === 127 ? 8 : 0
    const maskSize = (second & MASKED) !== 0 ? 4 : 0
    const size = 2 + lengthSize + maskSize
    if (bytes.length < size) return undefined
    const left = lengthSize === 0 ? short : lengthSize === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
    const opcode = first & 0x0f
    // A message's later frames do not repeat that it is compressed.
    if (opcode === 1 || opcode === 2) compressed = (first & RSV1) !== 0
    const mask = maskSize === 0 ? undefined : Buffer.from(bytes.subarray(2 + lengthSize, size))
    return {
      size,
      frame: { left, wanted: DATA_OPCODES.has(opcode) && !compressed, mask, maskAt: 0, held: [], heldBytes: 0 },
    }
  }

  function take(current: Frame, part: Buffer, ts: number): void {
    current.left -= part.length
    if (current.wanted && part.length > 0) {
      current.held.push(unmask(current, part))
      current.heldBytes += part.length
    }
    if (current.heldBytes > 0 && (current.left === 0 || current.heldBytes > MAX_HELD_BYTES)) {
      payload(current.held.length === 1 ? (current.held[0] as Buffer) : Buffer.concat(current.held), ts)
      current.held = []
      current.heldBytes = 0
    }
  }

  return {
    data(bytes, ts) {
      if (over) return
      let rest = head.length > 0 ? Buffer.concat([head, bytes]) : bytes
      head = Buffer.alloc(0)
      for (;;) {
        if (frame === undefined) {
          const begun = begin(rest)
          if (begun === undefined) break
          frame = begun.frame
          rest = rest.subarray(begun.size)
        }
        const part = rest.subarray(0, Math.min(frame.left, rest.length))
        take(frame, part, ts)
        rest = rest.subarray(part.length)
        if (frame.left > 0) return
        frame = undefined
      }
      head = Buffer.from(rest)
    },
    lost() {
      over = true
    },
  }
}

function unmask(frame: Frame, part: Buffer): Buffer {
  const plain = Buffer.from(part)
  if (frame.mask === undefined) return plain
  for (let i = 0; i < plain.length; i++)
    plain[i] = (plain[i] as number) ^ (frame.mask[(frame.maskAt + i) & 3] as number)
  frame.maskAt = (frame.maskAt + plain.length) & 3
  return plain
}

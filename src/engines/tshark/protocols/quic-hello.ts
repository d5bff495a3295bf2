/** The TLS hello messages in QUIC's CRYPTO frames (RFC 9001, 4.1.3): frames in any order in, the first message out. */

import { textOf } from './text.ts'

const MAX_HELLO_BYTES = 1 << 16
const MAX_PIECES = 1000
const ALPN = 16

export interface HelloAssembly {
  readonly done: boolean
  add(offset: number, data: Buffer): void
  /** The first handshake message, once, when it is whole. */
  message(): Buffer | undefined
}

/** CRYPTO frames in whatever order, put together as far as the first handshake message goes. */
export function assembleHello(): HelloAssembly {
  let done = false
  let bytes = Buffer.alloc(0)
  let waiting: { offset: number; data: Buffer }[] = []
  return {
    get done() {
      return done
    },
    add(offset, data) {
      if (done || offset + data.length > MAX_HELLO_BYTES || offset + data.length <= bytes.length) return
      if (waiting.length >= MAX_PIECES) waiting = []
      waiting.push({ offset, data: Buffer.from(data) })
    },
    message() {
      waiting.sort((a, b) => a.offset - b.offset)
      while (waiting[0] !== undefined && waiting[0].offset <= bytes.length) {
        const { offset, data } = waiting.shift() as { offset: number; data: Buffer }
        if (offset + data.length > bytes.length) bytes = Buffer.concat([bytes, data.subarray(bytes.length - offset)])
      }
      if (bytes.length < 4 || bytes.length < 4 + bytes.readUIntBE(1, 3)) return undefined
      done = true
      const whole = bytes.subarray(0, 4 + bytes.readUIntBE(1, 3))
      waiting = []
      return whole
    },
  }
}

/** The first name of the client's ALPN extension (RFC 7301, 3.1). */
export function firstProtocol(hello: Buffer): string | undefined {
  let at = 34
  at += 1 + (hello[at] ?? 0)
  if (at + 2 > hello.length) return undefined
  at += 2 + hello.readUInt16BE(at)
  at += 1 + (hello[at] ?? 0) + 2
  while (at + 4 <= hello.length) {
    const length = hello.readUInt16BE(at + 2)
    const data = hello.subarray(at + 4, at + 4 + length)
    if (hello.readUInt16BE(at) === ALPN)
      return data.length > 3 ? textOf(data.subarray(3, 3 + (data[2] as number))) : undefined
    at += 4 + length
  }
  return undefined
}

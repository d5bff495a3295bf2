import { describe, expect, it } from 'vitest'
import { createFramedReader } from '../../../../../src/engines/tshark/protocols/framed.ts'

/** One byte of length in front; 0xff is nonsense. */
function reader(maxKept?: number) {
  const bodies: string[] = []
  let nonsense = 0
  const read = createFramedReader({
    headerBytes: () => 1,
    bodyLength: (header) => (header[0] === 0xff ? undefined : header[0]),
    onFrame({ body, length }) {
      bodies.push(`${length}:${body.toString()}`)
      return body.toString() === 'stop' ? false : undefined
    },
    onNonsense: () => nonsense++,
    maxKept,
  })
  return { read, bodies, nonsense: () => nonsense }
}

describe('messages with a length in front', () => {
  it('come whole however the bytes were cut, empty ones too', () => {
    const { read, bodies } = reader()
    for (const byte of Buffer.from('\x03abc\x00\x02de')) read.data(Buffer.from([byte]), 0)
    expect(bodies).toEqual(['3:abc', '0:', '2:de'])
  })

  it('are kept up to the bound only, and passed over to their end', () => {
    const { read, bodies } = reader(2)
    read.data(Buffer.from('\x05abcde\x01f'), 0)
    expect(bodies).toEqual(['5:ab', '1:f'])
  })

  it('are read on behind bytes that are missing within a body, but not elsewhere', () => {
    const { read, bodies } = reader()
    read.data(Buffer.from('\x06ab'), 0)
    read.lost(2)
    read.data(Buffer.from('ef\x01g'), 0)
    expect(bodies).toEqual(['6:abef', '1:g'])
    read.lost(1)
    read.data(Buffer.from('\x01h'), 0)
    expect(bodies).toHaveLength(2)
  })

  it('end with a header that is none, and with a message that says so', () => {
    const first = reader()
    first.read.data(Buffer.from([0xff, 1, 0x61]), 0)
    expect(first.nonsense()).toBe(1)
    expect(first.bodies).toEqual([])
    const second = reader()
    second.read.data(Buffer.from('\x04stop\x01a'), 0)
    expect(second.bodies).toEqual(['4:stop'])
    expect(second.read.take().toString()).toBe('\x01a')
  })
})

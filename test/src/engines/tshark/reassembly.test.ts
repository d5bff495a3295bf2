import { describe, expect, it } from 'vitest'
import { ACK, FIN, RST, SYN } from '../../../../src/engines/flows/tcp.ts'
import { createReassembly } from '../../../../src/engines/tshark/reassembly.ts'

interface Header {
  ack: number
  syn: boolean
  hasAck: boolean
  fin: boolean
  rst: boolean
  wireLength: number
}

/** What came out, as text: bytes as they are, gaps as `<n>`, the end of a side as `.`; upper case is the originator's. */
function play() {
  let [up, down] = ['', '']
  const put = (fromOriginator: boolean, text: string) => {
    if (fromOriginator) up += text
    else down += text
  }
  const reassembly = createReassembly({
    data: (fromOriginator, bytes) => put(fromOriginator, bytes.toString('latin1')),
    gap: (fromOriginator, length) => put(fromOriginator, `<${length}>`),
    finished: (fromOriginator) => put(fromOriginator, '.'),
  })
  const send = (fromOriginator: boolean, seq: number, text: string, more: Partial<Header> = {}) => {
    const { ack = 0, syn = false, hasAck = false, fin = false, rst = false, wireLength = text.length } = more
    const flags = (syn ? SYN : 0) | (hasAck ? ACK : 0) | (fin ? FIN : 0) | (rst ? RST : 0)
    const payload = { buffer: Buffer.from(`..${text}..`), offset: 2, length: text.length }
    reassembly.segment(fromOriginator, { seq: seq >>> 0, ack, flags, length: wireLength }, payload, 1)
  }
  return {
    up: (seq: number, text: string, more?: Partial<Header>) => send(true, seq, text, more),
    down: (seq: number, text: string, more?: Partial<Header>) => send(false, seq, text, more),
    isOver: () => reassembly.isOver,
    out: () => [up, down],
  }
}

describe('reassembly', () => {
  it('gives both sides in order, each byte once, over the wrap of sequence numbers', () => {
    const { up, down, out } = play()
    up(0xffff_fffc, '', { syn: true })
    up(0xffff_fffd, 'abc')
    up(0xffff_fffd, 'abc')
    up(0, 'def')
    up(0xffff_ffff, 'cdefgh')
    down(10, '', { syn: true })
    down(11, 'xyz')
    expect(out()).toEqual(['abcdefgh', 'xyz'])
  })

  it('puts segments that overtook others in their place', () => {
    const { up, out } = play()
    up(1, '', { syn: true })
    up(5, 'def')
    up(8, 'ghi')
    up(5, 'de')
    up(2, 'abc')
    expect(out()[0]).toBe('abcdefghi')
  })

  it('calls a gap what the other side has acknowledged and the capture has not', () => {
    const { up, down, out } = play()
    up(1, '', { syn: true })
    up(2, 'ab')
    up(7, 'fg')
    down(100, '', { hasAck: true, ack: 4 })
    expect(out()[0]).toBe('ab')
    down(100, '', { hasAck: true, ack: 12 })
    expect(out()[0]).toBe('ab<3>fg<3>')
  })

  it('calls a packet that was cut in capturing a gap, all of it', () => {
    const { up, down, out } = play()
    up(1, '', { syn: true })
    up(2, 'ab', { wireLength: 10 })
    down(100, '', { hasAck: true, ack: 12 })
    up(12, 'k')
    expect(out()[0]).toBe('<10>k')
  })

  it('tells the end of a side after its last byte, however early the FIN came', () => {
    const { up, out } = play()
    up(1, '', { syn: true })
    up(4, 'cd', { fin: true })
    expect(out()[0]).toBe('')
    up(2, 'ab')
    expect(out()[0]).toBe('abcd.')
  })

  it('is over once both sides have sent their last byte, not before', () => {
    const { up, down, isOver } = play()
    up(1, '', { syn: true })
    down(9, '', { syn: true })
    up(4, 'cd', { fin: true })
    down(10, '', { fin: true })
    expect(isOver()).toBe(false)
    up(2, 'ab')
    expect(isOver()).toBe(true)
  })

  it('begins in the middle where the beginning was not seen', () => {
    const { up, out } = play()
    up(5000, 'mid')
    up(5003, 'dle')
    expect(out()[0]).toBe('middle')
  })

  it('does not give out what waits behind a hole that nobody has acknowledged', () => {
    const { up, down, out } = play()
    up(1, '', { syn: true })
    up(4, 'cd')
    expect(out()[0]).toBe('')
    down(1, '', { syn: true, ack: 6, hasAck: true })
    expect(out()[0]).toBe('<2>cd')
  })

  it('keeps no more than a bound behind a hole', () => {
    const { up, out } = play()
    up(1, '', { syn: true })
    for (let i = 0; i < 3000; i++) up(1000 + i * 1000, 'x'.repeat(1000))
    expect(out()[0]?.length).toBeGreaterThan(1_500_000)
  })

  it('is not carried away by numbers out of all reach', () => {
    const { up, down, out } = play()
    up(1, '', { syn: true })
    up(2, 'ab')
    up(0x8000_0000, 'zz')
    down(9, '', { hasAck: true, ack: 0x7fff_ff00 })
    up(4, 'cd')
    expect(out()[0]).toBe('abcd')
  })
})

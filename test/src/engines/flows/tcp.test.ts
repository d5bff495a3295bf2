import { describe, expect, it } from 'vitest'
import { ACK, conversation, FIN, OPEN, RST, run, SHUT, type Step, SYN } from './packets.ts'

const data = (by: 'c' | 's', payload: string, more: Partial<Step> = {}): Step => ({ by, flags: ACK, payload, ...more })
const ack = (by: 'c' | 's'): Step => ({ by, flags: ACK })

function flowOf(steps: Step[], ports?: [number, number]) {
  const { flows } = run(conversation(steps, ports))
  expect(flows).toHaveLength(1)
  const [flow] = flows as [(typeof flows)[0]]
  return flow
}

describe('a TCP flow', () => {
  it('from SYN to FIN is SF, with the bytes of both sides', () => {
    const flow = flowOf([...OPEN, data('c', 'hello'), ack('s'), data('s', 'hello yourself'), ack('c'), ...SHUT])
    expect(flow).toMatchObject({
      transport: 'tcp',
      ipProto: 6,
      connState: 'SF',
      history: 'ShADadFf',
      missedBytes: 0,
      orig: { address: '10.0.0.1', port: 40_000, bytes: 5, packets: 6, ipBytes: 6 * 40 + 5 },
      resp: { address: '93.184.216.34', port: 8080, bytes: 14, packets: 4, ipBytes: 4 * 40 + 14 },
      firstIsOrig: true,
      localOrig: true,
      localResp: false,
    })
  })

  it('lasts until both sides have closed; the last acknowledgement does not count', () => {
    const flow = flowOf([
      ...OPEN,
      { by: 'c', flags: FIN | ACK, at: 1 },
      { by: 's', flags: FIN | ACK, at: 2 },
      { by: 'c', flags: ACK, at: 2.5 },
    ])
    expect(flow.duration).toBeCloseTo(1.999, 6)
  })

  it('lasts until one side resets what the other has closed', () => {
    const flow = flowOf([
      ...OPEN,
      { by: 'c', flags: FIN | ACK, at: 1 },
      { by: 's', flags: RST | ACK, at: 2 },
      { by: 'c', flags: ACK, at: 2.5 },
    ])
    expect(flow).toMatchObject({ connState: 'RSTR', history: 'ShAFr' })
    expect(flow.duration).toBeCloseTo(1.999, 6)
  })

  const states: [string, string, Step[]][] = [
    ['S0', 'S', [{ by: 'c', flags: SYN }]],
    [
      'REJ',
      'Sr',
      [
        { by: 'c', flags: SYN },
        { by: 's', flags: RST | ACK },
      ],
    ],
    ['S1', 'ShA', OPEN],
    ['S1', 'Sh', OPEN.slice(0, 2)],
    ['S2', 'ShAF', [...OPEN, { by: 'c', flags: FIN | ACK }]],
    ['S3', 'ShAf', [...OPEN, { by: 's', flags: FIN | ACK }]],
    ['RSTO', 'ShADR', [...OPEN, data('c', 'x'), { by: 'c', flags: RST }]],
    ['RSTR', 'ShADr', [...OPEN, data('c', 'x'), { by: 's', flags: RST }]],
    [
      'RSTOS0',
      'SR',
      [
        { by: 'c', flags: SYN },
        { by: 'c', flags: RST },
      ],
    ],
    [
      'SH',
      'SF',
      [
        { by: 'c', flags: SYN },
        { by: 'c', flags: FIN | ACK },
      ],
    ],
    ['OTH', 'Dd', [data('c', 'x'), data('s', 'y')]],
    ['RSTRH', 'Dr', [data('c', 'x'), { by: 's', flags: RST }]],
    ['SF', 'ShAFRf', [...OPEN, { by: 'c', flags: FIN | ACK }, { by: 'c', flags: RST }, { by: 's', flags: FIN | ACK }]],
  ]
  for (const [state, history, steps] of states) {
    it(`with history ${history} is ${state}`, () => {
      expect(flowOf(steps)).toMatchObject({ connState: state, history })
    })
  }

  it('counts what the other side acknowledged and the capture lacks as missed', () => {
    const flow = flowOf([
      ...OPEN,
      data('s', 'a'.repeat(10)),
      data('s', 'b'.repeat(100), { lost: true }),
      data('s', 'c'),
      ack('c'),
      ...SHUT,
    ])
    expect(flow).toMatchObject({ missedBytes: 100, resp: { bytes: 111 }, history: 'ShAdgFf' })
  })

  it('misses nothing when segments come out of order', () => {
    const late = data('s', 'b'.repeat(10), { lost: true })
    const flow = flowOf([...OPEN, late, data('s', 'c'), { ...late, lost: false, seq: 0xffff_fff1 }, ack('c'), ...SHUT])
    expect(flow).toMatchObject({ missedBytes: 0, resp: { bytes: 11 } })
  })

  it('notes retransmissions at the first, the tenth, the hundredth', () => {
    const again = Array.from({ length: 25 }, () => data('c', 'hello', { seq: 1001 }))
    expect(flowOf([...OPEN, data('c', 'hello'), ...again])).toMatchObject({ history: 'ShADTT', orig: { bytes: 5 } })
  })

  it('notes zero windows likewise', () => {
    expect(
      flowOf([...OPEN, data('c', 'x'), { by: 's', flags: ACK, window: 0 }, { by: 's', flags: ACK, window: 0 }]).history,
    ).toBe('ShADwa')
  })

  it('notes contradictory flags', () => {
    expect(flowOf([{ by: 'c', flags: SYN | FIN }]).history).toContain('Q')
    expect(flowOf([...OPEN, { by: 'c', flags: FIN | RST }]).history).toContain('I')
  })

  it('keeps its sizes across the wrap of sequence numbers', () => {
    const block = 'x'.repeat(50)
    expect(flowOf([...OPEN, data('s', block), ack('c'), data('s', block), ack('c'), ...SHUT])).toMatchObject({
      missedBytes: 0,
      resp: { bytes: 100 },
    })
  })

  it('of which the beginning was not seen is turned round when a server speaks first', () => {
    const flow = flowOf([data('s', 'banner'), ack('c')], [40_000, 22])
    expect(flow).toMatchObject({
      history: '^dA',
      firstIsOrig: false,
      orig: { port: 40_000 },
      resp: { port: 22, bytes: 6 },
    })
  })

  it('is turned round when it begins with the answer to a SYN', () => {
    const { flows, weirds } = run(
      conversation(
        [
          { by: 's', flags: SYN | ACK },
          { by: 'c', flags: ACK },
        ],
        [40_000, 9000],
      ),
    )
    expect(flows[0]).toMatchObject({ history: '^hA', orig: { port: 40_000 } })
    expect(weirds[0]).toMatchObject({ name: 'connection_originator_SYN_ack', origPort: 9000, flow: 0 })
  })

  it('begins anew when its ports are used again', () => {
    const again = OPEN.map((step, n) => ({
      ...step,
      at: 20 + n,
      ...(n === 0 ? { seq: 77_777 } : {}),
      ...(n === 2 ? { seq: 77_778 } : {}),
    }))
    const { flows } = run(conversation([...OPEN, ...SHUT, ...again]))
    expect(flows.map(({ connState, history }) => [connState, history])).toEqual([
      ['SF', 'ShAFf'],
      ['S1', 'ShA'],
    ])
    expect(new Set(flows.map(({ uid }) => uid)).size).toBe(2)
  })

  it('that nobody answered ends after five seconds', () => {
    const syn: Step = { by: 'c', flags: SYN, seq: 1000 }
    const { flows } = run(
      conversation([
        { ...syn, at: 0 },
        { ...syn, at: 3 },
        { ...syn, at: 9 },
      ]),
    )
    expect(flows.map(({ orig, duration }) => [orig.packets, duration])).toEqual([
      [2, 3],
      [1, 0],
    ])
  })

  it('ends after five minutes of silence, not before', () => {
    const at = (time: number) => ({ ...data('c', 'x'), at: time })
    const { flows } = run(conversation([...OPEN, at(1), at(300), at(601)]))
    expect(flows.map(({ history }) => history)).toEqual(['ShAD', 'D'])
  })

  it('whose header is cut or false is told as weird and counts no packet', () => {
    const [first] = conversation([{ by: 'c', flags: SYN }])
    const bad = Buffer.from(first?.data as Buffer)
    bad[32] = 0x40
    const { flows, weirds } = run([{ at: 0, data: bad }])
    expect(flows[0]).toMatchObject({ orig: { packets: 0 }, connState: 'OTH' })
    expect(weirds[0]).toMatchObject({ name: 'bad_TCP_header_len', source: 'TCP', flow: 0 })
  })
})

it('entries say which side of a flow sent, by who sent first', () => {
  const { entries, flows } = run(conversation([data('s', 'banner'), ack('c')], [40_000, 22]))
  expect(entries).toEqual([1, 0])
  expect(flows[0]?.firstIsOrig).toBe(false)
})

describe('an oddity of TCP', () => {
  const names = (steps: Step[]) => run(conversation(steps)).weirds.map(({ name }) => name)

  it('is a receiver that takes back room which it had offered', () => {
    const offers = (by: 'c' | 's', window: number): Step => ({ by, flags: ACK, window })
    expect(names([...OPEN, offers('s', 500), offers('s', 400)])).toEqual(['window_recision'])
    // Data that was received takes its room without the window's end moving back.
    expect(names([...OPEN, offers('s', 500), data('c', 'x'.repeat(100)), offers('s', 400)])).toEqual([])
    // What is behind data of its own may have overtaken it.
    expect(names([...OPEN, offers('s', 500), data('s', 'x', { window: 500 }), offers('s', 400)])).toEqual([])
  })

  it('is a number before the stream’s start', () => {
    const early = { by: 'c', flags: ACK, payload: 'x', seq: 10 } as const
    expect(names([...OPEN, early])).toEqual(['TCP_seq_underflow_or_misorder'])
    expect(names([...OPEN, { by: 's', flags: ACK, ack: 10 }])).toContain('TCP_ack_underflow_or_misorder')
  })

  it('is a FIN of a side that nobody has answered', () => {
    const steps: Step[] = [ack('s'), { by: 'c', flags: FIN }]
    expect(names([{ by: 'c', flags: SYN }, ...steps])).toEqual(['inappropriate_FIN'])
    expect(names([...OPEN, ...steps])).toEqual([])
  })

  it('is a SYN inside a connection, not one that is sent again before its answer has come', () => {
    const again: Step = { by: 'c', flags: SYN, seq: 1000 }
    expect(names([...OPEN.slice(0, 2), again, ...OPEN.slice(2)])).toEqual([])
    expect(names([...OPEN, data('c', 'x'), again])).toEqual(['SYN_inside_connection'])
  })
})

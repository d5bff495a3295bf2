import { gzipSync } from 'node:zlib'
import { createRecordsBatch, murmur2, Reader, readRecordsBatch } from '@platformatic/kafka'
import { describe, expect, it } from 'vitest'
import { type BatchMessage, encodeBatch, partitionOf } from '../../../../src/bus/kafka/encode.ts'
import { type AbortedTransaction, type RawRecord, readRecords } from '../../../../src/bus/kafka/records.ts'
import { PipelineError } from '../../../../state/errors.ts'
import { randomFrom } from '../../../support/mutate.ts'

const CONTROL = 1 << 5

interface Placed {
  at: number
  producer?: bigint
  compression?: 'none' | 'gzip' | 'lz4' | 'zstd'
}

/** As a broker keeps it: at its offset. */
function batch(values: string[], { at, producer, compression = 'none' }: Placed): Buffer {
  const messages = values.map((value) => ({ value: Buffer.from(value) }))
  const bytes = encodeBatch(messages, {
    ...{ compression, timestamp: 1_700_000_000_000 },
    ...(producer !== undefined && { producer: { id: producer, epoch: 0, sequence: 0 } }),
  })
  bytes.writeBigInt64BE(BigInt(at), 0)
  return bytes
}

/** The end of a transaction. */
function marker(kind: 'abort' | 'commit', at: number, producer: bigint): Buffer {
  const key = Buffer.from([0, 0, 0, kind === 'abort' ? 0 : 1])
  const bytes = encodeBatch([{ key, value: Buffer.alloc(6) }], {
    ...{ compression: 'none', timestamp: 1_700_000_000_000, producer: { id: producer, epoch: 0, sequence: 0 } },
  })
  bytes.writeBigInt64BE(BigInt(at), 0)
  bytes.writeInt16BE(bytes.readInt16BE(21) | CONTROL, 21)
  return bytes
}

function read(bytes: Buffer, { from = 0, aborted = [] as AbortedTransaction[] } = {}) {
  const records: RawRecord[] = []
  const next = readRecords(bytes, { from, aborted }, (record) => records.push(record))
  return { next, records, values: records.map(({ value }) => value?.toString()) }
}

describe('record batches', () => {
  it.each(['none', 'gzip', 'lz4', 'zstd'] as const)('are read as they were written: %s', (compression) => {
    const values = Array.from({ length: 300 }, (_, i) => `value ${i} ${'x'.repeat(i)}`)
    const found = read(batch(values, { at: 7, compression }))
    expect(found.values).toEqual(values)
    expect(found.records.map(({ offset }) => offset)).toEqual(values.map((_, i) => 7 + i))
    expect(found.next).toBe(307)
  })

  it('are read with snappy, which others may use', () => {
    const message = { topic: 't', partition: 0, value: Buffer.from('abc'), timestamp: 1n }
    const bytes = createRecordsBatch([message] as never, { compression: 'snappy' } as never).buffer
    expect(read(Buffer.from(bytes)).values).toEqual(['abc'])
  })

  it('keep keys, headers, what is empty and what is absent', () => {
    const messages: BatchMessage[] = [
      { key: Buffer.from('k'), value: null, headers: { a: '1', größe: 'ünï' } },
      { key: null, value: Buffer.alloc(0) },
      { key: Buffer.alloc(0), value: Buffer.alloc(70_000, 1), headers: { empty: '' } },
    ]
    const { records } = read(encodeBatch(messages, { compression: 'lz4', timestamp: 0 }))
    expect(records.map(({ key }) => key?.toString() ?? null)).toEqual(['k', null, ''])
    expect(records.map(({ value }) => value?.length ?? null)).toEqual([null, 0, 70_000])
    expect(records[0]?.headers?.map((pair) => pair.map(String))).toEqual([
      ['a', '1'],
      ['größe', 'ünï'],
    ])
    expect(records[1]?.headers).toBeUndefined()
  })

  it('are what the client library writes and reads', () => {
    const messages = Array.from({ length: 200 }, (_, i) => ({
      key: i % 3 === 0 ? null : Buffer.from(`key ${i}`),
      value: Buffer.from('v'.repeat(i * 7)),
      headers: { capture: 'c'.repeat(64), ordinal: String(i) },
    }))
    const producer = { id: 99n, epoch: 3, sequence: 1234 }
    const bytes = encodeBatch(messages, { compression: 'none', timestamp: 1_700_000_000_000, producer })
    const theirs = createRecordsBatch(
      messages.map(({ headers, key, ...rest }) => ({
        ...{ ...rest, key, topic: 't', partition: 0, timestamp: 1_700_000_000_000n },
        headers: new Map(Object.entries(headers).map(([a, b]) => [Buffer.from(a), Buffer.from(b)])),
      })) as never,
      { transactionalId: 'x', producerId: 99n, producerEpoch: 3 } as never,
    )
    const parsed = readRecordsBatch(Reader.from(bytes))
    expect(parsed.firstSequence).toBe(1234)
    expect(parsed.records.map(({ value }) => value?.length)).toEqual(messages.map(({ value }) => value.length))
    // Ours from the records on, and of the same length.
    expect(bytes.subarray(61).equals(theirs.buffer.subarray(61))).toBe(true)
  })

  it('are passed over below the offset that is asked for', () => {
    const found = read(batch(['a', 'b', 'c'], { at: 10 }), { from: 12 })
    expect(found.values).toEqual(['c'])
    expect(found.next).toBe(13)
  })

  it('that are cut are left for the next fetch', () => {
    const first = batch(['a'], { at: 0 })
    const both = Buffer.concat([first, batch(['b', 'c'], { at: 1 })])
    for (let length = first.length; length < both.length; length++) {
      const found = read(both.subarray(0, length))
      expect(found.values).toEqual(['a'])
      expect(found.next).toBe(1)
    }
  })
})

describe('transactions', () => {
  it('that were aborted are left out, the marks as well', () => {
    const bytes = Buffer.concat([
      batch(['no'], { at: 0, producer: 1n }),
      batch(['yes'], { at: 1, producer: 2n }),
      marker('abort', 2, 1n),
      marker('commit', 3, 2n),
      batch(['later'], { at: 4, producer: 1n }),
    ])
    const found = read(bytes, { aborted: [{ producerId: 1n, firstOffset: 0n }] })
    expect(found.values).toEqual(['yes', 'later'])
    expect(found.next).toBe(5)
  })

  it('are left out when the mark is not in the answer', () => {
    const bytes = Buffer.concat([
      batch(['plain'], { at: 0 }),
      batch(['no', 'no'], { at: 1, producer: 1n }),
      batch(['no'], { at: 3, producer: 1n }),
    ])
    const found = read(bytes, { aborted: [{ producerId: 1n, firstOffset: 1n }] })
    expect(found.values).toEqual(['plain'])
    expect(found.next).toBe(4)
  })

  it('are left out when they began before the answer', () => {
    const bytes = Buffer.concat([batch(['no'], { at: 50, producer: 1n }), marker('abort', 51, 1n)])
    expect(read(bytes, { from: 50, aborted: [{ producerId: 1n, firstOffset: 3n }] }).values).toEqual([])
  })

  it('of one producer may be aborted and committed in turn', () => {
    const bytes = Buffer.concat([
      batch(['no 1'], { at: 0, producer: 1n }),
      marker('abort', 1, 1n),
      batch(['yes 1'], { at: 2, producer: 1n }),
      marker('commit', 3, 1n),
      batch(['no 2'], { at: 4, producer: 1n }),
      marker('abort', 5, 1n),
      batch(['yes 2'], { at: 6, producer: 1n }),
    ])
    const aborted = [
      { producerId: 1n, firstOffset: 4n },
      { producerId: 1n, firstOffset: 0n },
    ]
    expect(read(bytes, { aborted }).values).toEqual(['yes 1', 'yes 2'])
  })

  it('that are interleaved are told apart', () => {
    const bytes = Buffer.concat([
      batch(['a'], { at: 0, producer: 1n }),
      batch(['b'], { at: 1, producer: 2n }),
      batch(['a'], { at: 2, producer: 1n }),
      marker('abort', 3, 1n),
      batch(['b'], { at: 4, producer: 2n }),
      marker('commit', 5, 2n),
    ])
    expect(read(bytes, { aborted: [{ producerId: 1n, firstOffset: 0n }] }).values).toEqual(['b', 'b'])
  })

  it('a plain message of a producer whose transaction is aborted stays', () => {
    const plain = batch(['plain'], { at: 1 })
    plain.writeBigInt64BE(1n, 43)
    const bytes = Buffer.concat([batch(['no'], { at: 0, producer: 1n }), plain, marker('abort', 2, 1n)])
    expect(read(bytes, { aborted: [{ producerId: 1n, firstOffset: 0n }] }).values).toEqual(['plain'])
  })
})

describe('bytes that are no batch', () => {
  const whole = batch(['one', 'two', 'three'], { at: 0 })

  it('of another format are refused by name', () => {
    const old = Buffer.from(whole)
    old[16] = 1
    expect(() => read(old)).toThrow(/unknown format/)
  })

  it('are refused when they are too short, negative or in an unknown compression', () => {
    const negative = Buffer.from(whole)
    negative.writeInt32BE(-500, 8)
    expect(() => read(negative)).toThrow(PipelineError)
    const unknown = Buffer.from(whole)
    unknown.writeInt16BE(7, 21)
    expect(() => read(unknown)).toThrow(/unknown compression/)
  })

  it('are refused when they are said to be compressed and are not', () => {
    for (const kind of [1, 2, 3, 4]) {
      const bytes = Buffer.from(whole)
      bytes.writeInt16BE(kind, 21)
      expect(() => read(bytes)).toThrow(PipelineError)
    }
  })

  it('are refused when they would be unreasonably large', () => {
    const bomb = gzipSync(Buffer.alloc(300 * 2 ** 20))
    const head = Buffer.from(whole.subarray(0, 61))
    head.writeInt32BE(49 + bomb.length, 8)
    head.writeInt16BE(1, 21)
    expect(() => read(Buffer.concat([head, bomb]))).toThrow(PipelineError)
  })

  it('whatever they are, end in records or in a refusal', () => {
    const random = randomFrom(99)
    for (let round = 0; round < 20_000; round++) {
      const bytes = Buffer.from(whole)
      for (let change = 0; change <= random(6); change++) bytes[random(bytes.length)] = random(256)
      const cut = bytes.subarray(0, random(4) === 0 ? random(bytes.length) : bytes.length)
      try {
        expect(read(cut).records.length).toBeLessThan(1000)
      } catch (error) {
        expect(error).toBeInstanceOf(PipelineError)
      }
    }
  })
})

it('a key goes to the partition that other producers choose for it', () => {
  for (const key of ['', 'a', 'ab', 'abc', 'CHhAvVGS1DHFjwGM9', 'größe', 'x'.repeat(1000)]) {
    const bytes = Buffer.from(key)
    expect(partitionOf(bytes, 12)).toBe((murmur2(bytes) & 0x7fffffff) % 12)
  }
})

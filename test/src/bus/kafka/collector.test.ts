import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { CollectedChunk } from '../../../../src/bus/kafka/collector.ts'
import { DEAD_LETTERS_FILE, openDeadLetters } from '../../../../src/bus/kafka/dead-letters.ts'
import type { RawMessage } from '../../../../src/bus/kafka/events.ts'
import { query, readRows, writeChunks } from '../../sinks/parquet/harness.ts'
import { collect, headersOf, lettersOf, linesOf, messageOf, scratch } from './messages.ts'

const CAPTURE = 'ab'.repeat(32)
const conn = (n: number) => `{"ts":${1_767_225_600 + n / 1000},"uid":"C${n}","id.orig_h":"10.0.0.1","uri":"}${n % 7}"}`

/** The same on every run. */
function* mixed(count: number): Generator<RawMessage> {
  for (let n = 0; n < count; n++) {
    const over = { partition: n % 3, offset: BigInt(n), topic: n % 5 === 0 ? 'other' : 'zeek-raw' }
    const log = n % 2 === 0 ? 'conn' : 'dns'
    const own = headersOf({ capture: CAPTURE, log, ordinal: String(n), source: 'lab' })
    if (n % 11 === 0) yield messageOf('nonsense', over)
    else if (n % 4 === 0) yield messageOf(`{"${log}":${conn(n)}}`, { ...over, headers: own })
    else if (n % 4 === 1) yield messageOf(`{"_path":"${log}",${conn(n).slice(1)}`, over)
    else yield messageOf(`{"${log}": ${conn(n)}}\n`, over)
  }
}

describe('collected messages', () => {
  it('lie in files by origin, source and log type, numbered, and as many as were added', () => {
    const { chunks, events, bytes, dir, refused } = collect(mixed(5000), {
      maxChunkLines: 300,
      bufferBytes: 10_000,
    })
    expect(events + refused).toBe(5000)
    expect(chunks.reduce((sum, { lines }) => sum + lines, 0)).toBe(events)
    expect(chunks.reduce((sum, chunk) => sum + chunk.bytes, 0)).toBe(bytes)
    for (const chunk of chunks) {
      const lines = linesOf(dir, chunk)
      expect(lines).toHaveLength(chunk.lines)
      expect(chunk.lines).toBeLessThanOrEqual(300)
      expect(lines.reduce((sum, line) => sum + line.length + 1, 0)).toBe(chunk.bytes)
      for (const line of lines) {
        const { '#': ordinal, ...record } = JSON.parse(line)
        expect(record).toEqual(JSON.parse(conn(ordinal)))
        const isOwn = ordinal % 4 === 0
        const topic = ordinal % 5 === 0 ? 'other' : 'zeek-raw'
        expect(chunk).toMatchObject({ numbering: 'explicit', logType: ordinal % 2 === 0 ? 'conn' : 'dns' })
        expect([chunk.captureId, chunk.source, chunk.idPrefix, chunk.stream]).toEqual(
          isOwn
            ? [CAPTURE, 'lab', undefined, undefined]
            : [undefined, topic, `${topic}.abcd1234-${ordinal % 3}-`, { topic, partition: ordinal % 3 }],
        )
      }
    }
  })

  it('become rows with the ids of their captures, or of their places in the topic', async () => {
    const { chunks, dir } = collect(mixed(20_000))
    const { result, stagingDir } = await writeChunks(
      chunks.map((chunk) => ({ ...chunk, source: chunk.source as string, path: join(dir, chunk.file) })),
    )
    const list = result.files.map(({ path }) => `'${join(stagingDir, path)}'`).join(', ')
    const rows = await query(
      `SELECT event_id, capture_id, flow_id[2:] AS n FROM read_parquet([${list}], union_by_name = true)`,
    )
    expect(rows).toHaveLength(20_000 - Math.ceil(20_000 / 11))
    for (const { event_id, capture_id, n } of rows) {
      const ordinal = Number(n)
      const isOwn = ordinal % 4 === 0
      expect(capture_id).toBe(isOwn ? CAPTURE : undefined)
      const topic = ordinal % 5 === 0 ? 'other' : 'zeek-raw'
      expect(event_id).toBe(
        isOwn
          ? `${CAPTURE.slice(0, 24)}-${ordinal % 2 === 0 ? 'conn' : 'dns'}-${n}`
          : `${topic}.abcd1234-${ordinal % 3}-${n}`,
      )
    }
    expect(new Set(rows.map(({ event_id }) => event_id)).size).toBe(rows.length)
  })

  it('may be longer than the buffer, empty, and have offsets beyond 32 bits', async () => {
    const long = `{"uid":"${'x'.repeat(50_000)}"}`
    const { chunks, dir } = collect(
      [
        messageOf('{"dns":{"uid":"a"}}', { offset: 9n }),
        messageOf(`{"dns":${long}}`, { offset: 10n }),
        messageOf('{"dns":{ \t}}', { offset: 4_294_967_296n }),
        messageOf('{"dns":{"uid":"b"}}', { offset: 9_007_199_254_740_991n }),
      ],
      { bufferBytes: 4096 },
    )
    expect(chunks).toHaveLength(1)
    expect(linesOf(dir, chunks[0] as CollectedChunk)).toEqual([
      '{"#":9,"uid":"a"}',
      `{"#":10,${long.slice(1)}`,
      '{"#":4294967296}',
      '{"#":9007199254740991,"uid":"b"}',
    ])
    const { result, stagingDir } = await writeChunks([
      { ...(chunks[0] as CollectedChunk), source: 's', path: join(dir, '0.ndjson') },
    ])
    expect(result.chunks).toMatchObject([{ lines: 4, rows: 4 }])
    expect(await readRows(stagingDir, result, 'dns').then((rows) => rows.length)).toBe(4)
  })

  it('of thousands of captures and log types hold few files open and little memory', { timeout: 60_000 }, () => {
    const dir = join(scratch(), 'many')
    mkdirSync(dir)
    const before = process.memoryUsage().arrayBuffers
    let openFiles = 0
    function* many(): Generator<RawMessage> {
      for (let n = 0; n < 40_000; n++) {
        const log = `type_${n % 4}`
        const capture = String(n % 2500).padStart(64, '0')
        if (n % 1000 === 0) openFiles = Math.max(openFiles, readdirSync('/proc/self/fd').length)
        yield messageOf(`{"${log}":{"n":${n}}}`, { headers: headersOf({ capture, log, ordinal: String(n) }) })
      }
    }
    const { chunks, events } = collect(many(), { dir, bufferBytes: 2 ** 20 })
    expect(events).toBe(40_000)
    expect(chunks).toHaveLength(2500)
    expect(openFiles).toBeLessThan(100)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 2 ** 20)
    expect(chunks.every((chunk) => linesOf(dir, chunk).length === chunk.lines)).toBe(true)
  })
})

describe('dead letters', () => {
  it('are the refused messages with their reason and place', async () => {
    const messages = [
      messageOf('{"x":1}', { topic: 't', partition: 4, offset: 7n, key: Buffer.from('k') }),
      messageOf('{"dns":{}}'),
      messageOf(null, { offset: 8n }),
      messageOf(Buffer.from([0xff, 0x00, 0x0a]), { offset: 2n ** 60n }),
    ]
    const { dir, events, refused } = collect(messages)
    expect(refused).toBe(3)
    expect(events).toBe(1)
    expect(await lettersOf(dir)).toEqual([
      {
        key: Buffer.from('k'),
        value: Buffer.from('{"x":1}'),
        headers: { topic: 't', partition: '4', offset: '7', reason: 'no log type' },
      },
      {
        key: null,
        value: Buffer.alloc(0),
        headers: { topic: 'zeek-raw', partition: '0', offset: '8', reason: 'empty message' },
      },
      {
        key: null,
        value: Buffer.from([0xff, 0x00, 0x0a]),
        headers: { topic: 'zeek-raw', partition: '0', offset: String(2n ** 60n), reason: 'not JSON' },
      },
    ])
    expect(await lettersOf(collect([]).dir)).toEqual([])
  })

  it('in any number wait in a file, and of long ones the beginning is kept', async () => {
    const long = Buffer.alloc(3 * 2 ** 20, 'x')
    function* flood(): Generator<RawMessage> {
      for (let n = 0; n < 3000; n++)
        yield messageOf(n % 500 === 0 ? long : `nonsense ${n} ${'y'.repeat(n)}`, { offset: BigInt(n) })
    }
    const { dir } = collect(flood())
    expect(readdirSync(dir)).toEqual(['dead-letters'])
    const letters = await lettersOf(dir)
    expect(letters.map(({ headers }) => headers.offset)).toEqual(Array.from({ length: 3000 }, (_, n) => String(n)))
    for (const [n, { value, headers }] of letters.entries()) {
      const isLong = n % 500 === 0
      expect(value.equals(isLong ? long.subarray(0, 512 * 1024) : Buffer.from(`nonsense ${n} ${'y'.repeat(n)}`))).toBe(
        true,
      )
      expect(headers.bytes).toBe(isLong ? String(long.length) : undefined)
    }
  })

  it('are also the lines that the sink refused, nested again, with their place or their capture', async () => {
    const own = headersOf({ capture: CAPTURE, log: 'conn', ordinal: '12', source: 'lab' })
    const { chunks, dir, refused } = collect([
      messageOf('{"dns":{"a":nonsense}}', { partition: 2, offset: 41n }),
      messageOf('{"dns":{"a":1}}', { partition: 2, offset: 42n }),
      messageOf('{"conn":{"a":01}}', { headers: own }),
      messageOf(Buffer.from('{"dns":{"a":"\xff"}}', 'latin1'), { offset: 3n }),
    ])
    expect(refused).toBe(0)
    const { result, stagingDir } = await writeChunks(
      chunks.map((chunk) => ({ ...chunk, source: chunk.source as string, path: join(dir, chunk.file) })),
    )
    const quarantineFile = join(stagingDir, result.quarantineFile as string)
    const deadLetters = openDeadLetters(join(stagingDir, DEAD_LETTERS_FILE))
    expect(await deadLetters.addQuarantined(quarantineFile, chunks)).toBe(3)
    const letters = (await lettersOf(stagingDir)).map(({ value, headers }) => ({
      value: value.toString('latin1'),
      ...headers,
    }))
    expect(letters).toHaveLength(3)
    expect(letters).toEqual(
      expect.arrayContaining([
        {
          value: '{"dns":{"a":nonsense}}',
          topic: 'zeek-raw',
          partition: '2',
          offset: '41',
          log: 'dns',
          source: 'zeek-raw',
          reason: 'not JSON',
        },
        { value: '{"conn":{"a":01}}', capture: CAPTURE, log: 'conn', ordinal: '12', source: 'lab', reason: 'not JSON' },
        {
          value: '{"dns":{"a":"\xff"}}',
          topic: 'zeek-raw',
          partition: '0',
          offset: '3',
          log: 'dns',
          source: 'zeek-raw',
          reason: 'not UTF-8',
        },
      ]),
    )
    const elsewhere = collect([messageOf('{"dns":{}}', { topic: 'another' })])
    expect(await deadLetters.addQuarantined(quarantineFile, elsewhere.chunks)).toBe(0)
    const unnumbered = chunks.map(({ numbering: _, ...chunk }) => chunk)
    expect(await deadLetters.addQuarantined(quarantineFile, unnumbered)).toBe(0)
  })
})

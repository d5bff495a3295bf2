/** Messages made byte by byte are those of the JavaScript normalizer, and there is one for each row. */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { describe, expect, it } from 'vitest'
import { createNormalizedMessages, type NormalizedMessage } from '../../../../src/bus/kafka/normalized.ts'
import { createEventFlags } from '../../../../stages/event-flags.ts'
import type { EventChunk } from '../../../../stages/ports.ts'
import { createNormalizer } from '../../../../stages/upload/normalize.ts'
import { defaultRules } from '../../../../stages/upload/rules.ts'
import { withoutSigns } from '../../sinks/parquet/agreement.ts'
import { CAPTURE, chunkOf, INGEST_MS, LOCAL_NETWORKS, scratchDir, writeChunks } from '../../sinks/parquet/harness.ts'
import { HOSTILE_RECORDS, NO_RECORDS } from '../../sinks/parquet/hostile-records.ts'

const CORPUS = join(import.meta.dirname, '../../../../../shared/corpus')
const LOGS = join(CORPUS, 'zeek-logs-full/zeek-logs')
const SAMPLES = join(CORPUS, 'zeek-json-samples')
const absent = existsSync(LOGS) && existsSync(SAMPLES) ? '' : ` (skipped: ${CORPUS} is absent)`

const rules = defaultRules()
const normalize = createNormalizer(rules, { localNetworks: LOCAL_NETWORKS })
const sendAll = createNormalizedMessages({ rules, localNetworks: LOCAL_NETWORKS })

async function messagesOf(chunks: readonly EventChunk[], accounts?: { rows: number }[]): Promise<NormalizedMessage[]> {
  const messages: NormalizedMessage[] = []
  const result = { chunks: accounts ?? chunks.map(({ lines }) => ({ rows: lines })) } as never
  const count = await sendAll(
    { chunks, result, ingestTimeMs: INGEST_MS },
    {
      normalized: async (some) => void messages.push(...some),
    },
  )
  expect(messages).toHaveLength(count)
  return messages
}

/** `lines` are the lines that are records, in the order of the messages. */
function compare(
  messages: readonly NormalizedMessage[],
  lines: readonly (readonly [logType: string, line: string])[],
): void {
  expect(messages).toHaveLength(lines.length)
  for (const [i, [logType, line]] of lines.entries()) {
    const { key, value } = messages[i] as NormalizedMessage
    const text = value.toString()
    const { raw: _, ...expected } = normalize(logType, JSON.parse(line), INGEST_MS)
    const { raw: __, ...found } = JSON.parse(text)
    const flowId = expected.normalized.flow_id ?? CAPTURE
    const isRight =
      text.includes(`"raw":${line},"normalized":`) &&
      isDeepStrictEqual(withoutSigns(found), withoutSigns(expected)) &&
      key?.toString() === flowId
    // A call of `expect` for each of many lines would take longer than all else.
    if (!isRight) expect({ line, text, key: key?.toString() }).toEqual({ ...expected, key: flowId })
  }
}

it.skipIf(absent)(
  `messages of Zeek's own logs are those of the normalizer${absent}`,
  { timeout: 300_000 },
  async () => {
    const files = [
      ...readdirSync(LOGS).flatMap((trace) => readdirSync(join(LOGS, trace)).map((name) => join(LOGS, trace, name))),
      ...readdirSync(SAMPLES).map((name) => join(SAMPLES, name)),
    ].filter((path) => path.endsWith('.ndjson'))
    const dir = await scratchDir()
    let compared = 0
    for (const path of files) {
      const logType = path.replace(/^.*\//, '').replace(/\.ndjson$/, '')
      const lines = readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
      if (lines.length === 0) continue
      const numbered = lines.map((line, i) => `{"#":${i * 17},${line.slice(1)}`)
      const plain = await chunkOf(dir, logType, lines)
      const explicit = await chunkOf(dir, logType, numbered, { numbering: 'explicit' })
      const both = [...lines, ...lines].map((line) => [logType, line] as const)
      compare(await messagesOf([plain, explicit]), both)
      compared += both.length
    }
    expect(compared).toBeGreaterThan(20_000)
  },
)

const five = '"uid":"C1","id.orig_h":"10.0.0.1","id.orig_p":1234,"id.resp_h":"8.8.8.8","id.resp_p":53'

describe('messages of records of every kind', () => {
  const lines: [string, string][] = [
    ...HOSTILE_RECORDS.map(([, line]): [string, string] => ['dns', line.replace(/^\uFEFF/, '').trim()]),
    ...[
      ...[
        '0',
        '-0',
        '1',
        '-1.5',
        '-0.0005',
        '1767225600',
        '1767225600.0019999',
        '1767225600.123456',
        '1767225600.1234567',
      ],
      ...['2147483647.999999', '2147483648.999999', '4102444800.0000005', '99999999999', '1.7672256e9', '0.9999999'],
      ...[
        '"2018-03-24T17:15:20.865716Z"',
        '"2018-03-24T17:15:20Z"',
        '"2018-03-24T17:15:20+02:00"',
        '"x"',
        'null',
        'true',
      ],
    ].map((ts): [string, string] => ['conn', `{"ts":${ts},${five},"proto":"tcp"}`]),
    ...['tcp', 'udp', 'icmp', 'sctp', 'gre', '', String.raw`\u0074cp`].flatMap((proto): [string, string][] =>
      ['6', '47', '300'].map((number) => ['conn', `{${five},"proto":"${proto}","ip_proto":${number}}`]),
    ),
    ...[
      '::1',
      '::ffff:10.0.0.1',
      'fe80::1',
      'FD00::1',
      '2001:db8:1::2',
      '255.255.255.255',
      '0.0.0.0',
      '01.2.3.4',
      'x',
    ].flatMap((ip): [string, string][] => [
      ['conn', `{"id.orig_h":"${ip}","id.orig_p":5,"id.resp_h":"${ip}","id.resp_p":4,"proto":"tcp"}`],
      ['conn', `{"id.orig_h":"${ip}","id.orig_p":8,"id.resp_h":"10.0.0.1","id.resp_p":0,"proto":"icmp"}`],
      ['conn', `{"id.orig_h":"${ip}"}`],
      ['conn', `{"id.resp_h":"${ip}","id.orig_h":"2001:db8::1","id.orig_p":1,"id.resp_p":2,"proto":"udp"}`],
    ]),
    ...[
      '{"uids":["Ca","Cb"]}',
      '{"uids":[]}',
      '{"uids":[null,"Cb"]}',
      '{"uids":["C\\u0061"]}',
      '{"uids":["a"],"ts":1}',
    ].map((line): [string, string] => ['dhcp', line]),
    ...['"DTLSv12"', '"TLSv12"', '"x"', 'null'].map((version): [string, string] => [
      'ssl',
      `{${five},"version":${version}}`,
    ]),
    ['http', `{${five},"community_id":"1:own"}`],
    ['http', `{${five},"community_id":5}`],
    ['dns', `{"uid":"C\\n\\"","ts":1}`],
    ['unheard_of', `{"ts":1.5,${five},"proto":"udp","x":{"y":1}}`],
    ['files', '{"ts":1,"fuid":"F1","source":"HTTP"}'],
  ]

  it('are those of the normalizer', async () => {
    const dir = await scratchDir()
    const chunks = await Promise.all(lines.map(([logType, line]) => chunkOf(dir, logType, [line])))
    compare(await messagesOf(chunks), lines)
    const numbered = lines.map(([, line]) => `{"#":7${/^\{\s*\}/.test(line) ? '' : ','}${line.slice(1)}`)
    const explicit = await Promise.all(
      lines.map(([logType], i) => chunkOf(dir, logType, [numbered[i] as string], { numbering: 'explicit' })),
    )
    compare(await messagesOf(explicit), lines)
  })

  it('hold the record byte for byte', async () => {
    const line = `{"ts":1767225600.500000,"query":"\\u00e9é/","TTLs":[1.0,1e1],"x":1.50}`
    const [message] = await messagesOf([await chunkOf(await scratchDir(), 'dns', [line])])
    expect(message?.value.toString()).toContain(`"raw":${line},"normalized":`)
  })

  it('are there for each row of damaged lines, and for no line that was quarantined', { timeout: 60_000 }, async () => {
    const seeds = [
      `{"ts":1767225600.04,${five},"proto":"udp","query":"a\\"b","answers":["34.37.60.132"],"TTLs":[60.0]}`,
      '{"ts":"2018-03-24T17:15:20.865716Z","id.orig_h":"fe80::1","id.orig_p":0,"id.resp_h":"::1","id.resp_p":1}',
    ]
    const pieces = ['"', ',', '{', '}', '\\', '0', '-', ' ', 'x', '', '\u0080', '\u0001'].map((text) =>
      Buffer.from(text, 'latin1'),
    )
    const damaged = seeds.flatMap((seed) => {
      const bytes = Buffer.from(seed)
      return Array.from(bytes.keys(), (at) =>
        pieces.map((piece) => Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + 1)])),
      ).flat()
    })
    const dir = await scratchDir()
    const all = [...damaged, ...NO_RECORDS.map(([, line]) => Buffer.from(line))]
    const chunk = await chunkOf(dir, 'dns', all)
    const { result } = await writeChunks([chunk])
    const messages = await messagesOf([chunk], result.chunks)
    const records = all
      .filter((line) => !line.includes('\n'))
      .flatMap((line): [string, string][] => {
        try {
          const text = new TextDecoder('utf-8', { fatal: true }).decode(line).trim()
          return JSON.parse(text) instanceof Object && !Array.isArray(JSON.parse(text)) ? [['dns', text]] : []
        } catch {
          return []
        }
      })
    expect(records.length).toBeGreaterThan(1000)
    expect(all.length - records.length).toBeGreaterThan(1000)
    compare(messages, records)
  })
})

describe('sending', () => {
  it('comes in parts, each of which may be kept, and takes the next when the last is taken', {
    timeout: 60_000,
  }, async () => {
    const lines = Array.from({ length: 20_000 }, (_, n) => `{"ts":${n},"uid":"C${n}","query":"${'x'.repeat(n % 300)}"}`)
    const chunk = await chunkOf(await scratchDir(), 'dns', lines)
    const parts: NormalizedMessage[][] = []
    let busy = 0
    await sendAll(
      { chunks: [chunk], result: { chunks: [{ rows: 20_000 }] } as never, ingestTimeMs: INGEST_MS },
      {
        async normalized(some) {
          expect(++busy).toBe(1)
          parts.push(some)
          await new Promise((resolve) => setImmediate(resolve))
          busy--
        },
      },
    )
    expect(parts.length).toBeGreaterThan(5)
    for (const part of parts)
      expect(part.reduce((sum, { value }) => sum + value.length, 0)).toBeLessThan(2 ** 20 + 2000)
    compare(
      parts.flat(),
      lines.map((line) => ['dns', line] as const),
    )
  })

  it.each([
    ['that follow one another', undefined],
    ['that bear their numbers', 'explicit' as const],
  ])('has the flags of watched events, and tells these once more, for lines %s', async (_, numbering) => {
    const plain = [
      '{"ts":1,"uid":"Ca","query":"a"}',
      'no record',
      '{"ts":2,"qu\\u0065ry":"b"}',
      '{}',
      '{"ts":3,"query":"c"}',
    ]
    const lines = numbering ? plain.map((line, n) => line.replace('{', `{"#":${n}${line === '{}' ? '' : ','}`)) : plain
    const chunk = { ...(await chunkOf(await scratchDir(), 'dns', lines)), ...(numbering && { numbering }) }
    const flags = createEventFlags()
    const ann = { watch_employee: ['7'], watch_list: ['employees'], watch_reason: ['ip 10.0.0.1 (src_ip)'] }
    const bad = { watch_employee: null, watch_list: ['bad'], watch_reason: ['domain b (query b)'] }
    flags.add(`${CAPTURE.slice(0, 24)}-dns-0`, ann)
    flags.add(`${CAPTURE.slice(0, 24)}-dns-2`, bad)
    flags.add(`${CAPTURE.slice(0, 24)}-dns-3`, ann)
    const told: Record<'normalized' | 'watched', { key: string; text: string }[]> = { normalized: [], watched: [] }
    const into = (name: keyof typeof told) => async (some: NormalizedMessage[]) =>
      void told[name].push(...some.map(({ key, value }) => ({ key: String(key), text: String(value) })))
    const request = { chunks: [chunk], result: { chunks: [{ rows: 4 }], flags } as never, ingestTimeMs: INGEST_MS }
    const to = { watched: into('watched'), nameOf: (key: string) => (key === '7' ? 'Ann' : undefined) }
    expect(await sendAll(request, { ...to, normalized: into('normalized') })).toBe(4)
    const enriched = told.normalized.map(({ text }) => JSON.parse(text).enriched)
    const { watch_employee: __, ...badSaid } = bad
    expect(enriched).toMatchObject([ann, badSaid, ann, {}])
    expect(enriched.map((each) => 'watch_employee' in each)).toEqual([true, false, true, false])
    expect(told.watched.map(({ text }) => JSON.parse(text))).toEqual(
      [0, 1, 2].map((n) => ({
        event_id: `${CAPTURE.slice(0, 24)}-dns-${[0, 2, 3][n]}`,
        employees: n === 1 ? [] : [{ key: '7', name: 'Ann' }],
        ...JSON.parse(told.normalized[n]?.text as string),
      })),
    )
    expect(told.watched.map(({ key }) => key)).toEqual(told.normalized.slice(0, 3).map(({ key }) => key))
    const all = told.watched.splice(0)
    await sendAll(request, to)
    expect(told.watched).toEqual(all)
  })

  it('is an error when the sink made more or fewer rows of a chunk', async () => {
    const chunk = await chunkOf(await scratchDir(), 'dns', ['{"ts":1}', 'x', '{}'])
    await expect(messagesOf([chunk], [{ rows: 3 }])).rejects.toMatchObject({ code: 'events_unbalanced' })
    await expect(messagesOf([chunk], [{ rows: 1 }])).rejects.toMatchObject({ code: 'events_unbalanced' })
    await expect(messagesOf([chunk], [])).rejects.toMatchObject({ code: 'events_unbalanced' })
    expect(await messagesOf([chunk], [{ rows: 2 }])).toHaveLength(2)
  })
})

import { isUtf8 } from 'node:buffer'
import { isDeepStrictEqual } from 'node:util'
import { describe, expect, it } from 'vitest'
import { createEventReader, type RawEvent, type RawMessage } from '../../../../src/bus/kafka/events.ts'
import { headersOf, KNOWN, messageOf } from './messages.ts'

const read = createEventReader({ knownTypes: KNOWN, maxBytes: 10_000 })
const recordOf = ({ bytes, from, gapFrom, gapTo, to }: RawEvent) =>
  Buffer.concat([Buffer.from('{'), bytes.subarray(from, gapFrom), bytes.subarray(gapTo, to), Buffer.from('}')])

function outcome(value: string | Buffer | null, over: Partial<RawMessage> = {}): unknown {
  const event = read(messageOf(value, over))
  return typeof event === 'string' ? event : { [event.logType]: JSON.parse(recordOf(event).toString()) }
}

describe('a message', () => {
  const record = { ts: 1.5, uid: 'C1', 'id.orig_h': '10.0.0.1', uri: '/}{"]' }
  const inner = JSON.stringify(record)
  const flat = inner.slice(1, -1)
  const at = { ts: '2018-03-24T17:15:20.865716Z', uid: 'C1' }

  it.each<[string, string, Partial<RawMessage>, unknown]>([
    ['nested', `{"dns":${inner}}`, {}, { dns: record }],
    ['nested with blanks, as the Kafka plugin of Zeek tags it', `{"dns": ${inner}}`, {}, { dns: record }],
    ['nested over several lines', `{\n  "dns" : {\n "a": [\n1,\n{"b": {}}] }\n}\n`, {}, { dns: { a: [1, { b: {} }] } }],
    ['nested, with a mark of its encoding and blanks around', `\uFEFF \r\n{"dns":${inner}}\r\n`, {}, { dns: record }],
    ['nested and empty', '{"dns":{ }}', {}, { dns: {} }],
    ['nested on a topic of another log', `{"dns":${inner}}`, { topic: 'conn' }, { dns: record }],
    ['nested, with the path in the record too', '{"dns":{"_path":"x"}}', {}, { dns: { _path: 'x' } }],
    ['flat with _path in front', `{"_path":"dns",${flat}}`, {}, { dns: record }],
    [
      'flat with _path in the middle',
      `{"a":{"_path":"no"} , "_path" : "dns" , ${flat}}`,
      {},
      { dns: { a: { _path: 'no' }, ...record } },
    ],
    ['flat with _path at the end', `{${flat},"_path":"dns"}`, {}, { dns: record }],
    ['flat with _path alone', '{ "_path":"dns" }', {}, { dns: {} }],
    ['flat with log_type', `{${flat},"log_type":"dns"}`, {}, { dns: record }],
    ['flat with both', `{"log_type":"x",${flat},"_path":"dns"}`, {}, { dns: { log_type: 'x', ...record } }],
    ['flat with a _path written as escapes', `{"\\u005fpath":"d\\u006es",${flat}}`, {}, { dns: record }],
    ['flat with two', `{"_path":"dns","_path":"conn"}`, {}, { dns: { _path: 'conn' } }],
    [
      'streamed',
      `{"_path":"dns","_write_ts":"2018-03-24T17:15:20.866586Z",${JSON.stringify(at).slice(1)}`,
      {},
      { dns: { _write_ts: '2018-03-24T17:15:20.866586Z', ...at } },
    ],
    ['flat on a topic of its log', inner, { topic: 'conn' }, { conn: record }],
    ['flat on a topic with a prefix and a dot', inner, { topic: 'zeek.conn' }, { conn: record }],
    ['flat on a topic with a prefix and dashes', inner, { topic: 'zeek-smb-files' }, { smb_files: record }],
    ['empty on a topic of its log', '{}', { topic: 'zeek_dns' }, { dns: {} }],
    ['of a log with dots, dashes and capitals', `{"_path":"Smb-Files.x"}`, {}, { smb_files_x: {} }],
    ['of a log that nobody knows', `{"my_log":{"a":1}}`, {}, { my_log: { a: 1 } }],
  ])('%s is an event', (_, value, over, expected) => {
    expect(outcome(value, over)).toEqual(expected)
  })

  it.each<[string, string | Buffer | null, Partial<RawMessage>, string]>([
    ['without a value', null, {}, 'empty message'],
    ['of no bytes', '', {}, 'empty message'],
    ['of blanks', '\uFEFF \r\n\t', {}, 'empty message'],
    ['of text', 'hello', {}, 'not JSON'],
    ['that is cut off', '{"dns":{"a":1}', {}, 'not JSON'],
    ['that is cut off in a string', '{"_pat', {}, 'not JSON'],
    ['with something behind it', '{"dns":{}} {}', {}, 'not JSON'],
    ['with a comma too many', '{"_path":"dns",}', {}, 'not JSON'],
    ['with a line feed in a string', '{"dns":{"a":"x\ny"}}', {}, 'not JSON'],
    ['that is no Unicode text', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), {}, 'not JSON'],
    ['of a list', '[{"dns":{}}]', {}, 'not an object'],
    ['of a string', '"dns"', {}, 'not an object'],
    ['of null', 'null', {}, 'not an object'],
    ['that says nowhere what it is', '{"ts":1}', {}, 'no log type'],
    ['that is empty', '{}', {}, 'no log type'],
    ['on a topic that is named after no log', '{"ts":1}', { topic: 'zeek-other' }, 'no log type'],
    ['of two records', '{"dns":{},"conn":{}}', {}, 'no log type'],
    ['with a type inside only', '{"a":1,"b":{"_path":"dns"}}', {}, 'no log type'],
    ['with a number as its type', '{"_path":5}', {}, 'log type not usable'],
    ['with an empty type', '{"_path":""}', {}, 'log type not usable'],
    ['with a path as its type', '{"_path":"../x"}', {}, 'log type not usable'],
    ['with the name of the view', '{"events":{}}', {}, 'log type not usable'],
    ['with a long type', `{"${'x'.repeat(65)}":{}}`, {}, 'log type not usable'],
    ['with an odd type', '{"d n s":{}}', {}, 'log type not usable'],
    ['of too many bytes', `{"dns":{"a":"${'x'.repeat(10_000)}"}}`, {}, 'too large'],
  ])('%s is refused', (_, value, over, reason) => {
    expect(outcome(value, over)).toBe(reason)
  })
})

describe('headers', () => {
  const capture = 'ab'.repeat(32)
  const own = { capture, log: 'dns', ordinal: '17', source: 'lab' }
  const originOf = (headers: RawMessage['headers']) => {
    const event = read(messageOf('{"dns":{}}', { headers })) as RawEvent
    return { captureId: event.captureId, ordinal: event.ordinal, source: event.source }
  }

  it('of our own messages say which event it is', () => {
    for (const ordinal of ['17', '0', '999999999999999'])
      expect(originOf(headersOf({ ...own, ordinal }))).toEqual({
        captureId: capture,
        ordinal: Number(ordinal),
        source: 'lab',
      })
  })

  it('that are not in order make it a message of anybody', () => {
    for (const wrong of [
      ...['AB'.repeat(32), 'ab', '', `${capture}\n`].map((text) => ({ capture: text })),
      ...['conn', '', 'DNS'].map((log) => ({ log })),
      ...['-1', '01', '1.5', '1e3', '', ' 1', '9'.repeat(16)].map((ordinal) => ({ ordinal })),
    ])
      expect(originOf(headersOf({ ...own, ...wrong })), JSON.stringify(wrong)).toEqual({ source: 'lab' })
    expect(
      originOf([
        [null, null],
        [Buffer.from('capture'), null],
      ]),
    ).toEqual({})
  })

  it('name a source when it is a name', () => {
    const sourceOf = (source: string | Buffer) => originOf([[Buffer.from('source'), Buffer.from(source)]]).source
    expect(sourceOf(' Büro 1 ')).toBe('Büro 1')
    for (const odd of ['', '  ', 'a\nb', 'a\u0000', '\u202Ex', 'x'.repeat(201), Buffer.from([0xff])])
      expect(sourceOf(odd)).toBeUndefined()
  })
})

function parse(value: Buffer): unknown {
  try {
    return isUtf8(value) ? JSON.parse(value.toString()) : undefined
  } catch {
    return undefined
  }
}

/** What a message is by way of a JSON parser. */
function expectedOf(value: Buffer): unknown {
  const parsed = parse(value)
  if (parsed === undefined) return undefined
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return 'not an object'
  const entries: [string, unknown][] = Object.entries(parsed)
  const [first] = entries
  const isRecord = (each: unknown) => typeof each === 'object' && each !== null && !Array.isArray(each)
  if (entries.length === 1 && first && isRecord(first[1])) return { [first[0]]: first[1] }
  for (const name of ['_path', 'log_type']) {
    if (!Object.hasOwn(parsed, name)) continue
    const { [name]: type, ...rest } = parsed as Record<string, unknown>
    return typeof type === 'string' ? { [type]: rest } : 'log type not usable'
  }
  return 'no log type'
}

it('bytes that are damaged anywhere never become another event than a JSON parser finds in them', {
  timeout: 60_000,
}, () => {
  const messages = [
    '{"dns":{"a":"}","b":{"c":[1,{}]}}}',
    '{"_path":"dns","a":{"b":[]},"c":"x\\"y"}',
    '{ "a":"{" , "_path" : "dns", "b":1}',
    '{"a":[{}],"log_type":"dns"}',
  ]
  const bytes = [...'{}[]",:\\ \n_0ax', '\u0080', ''].map((text) => Buffer.from(text, 'latin1'))
  let [events, refused] = [0, 0]
  const check = (value: Buffer) => {
    const expected = expectedOf(value)
    const event = read(messageOf(value))
    if (typeof event === 'string') {
      refused++
      const allowed =
        expected === undefined
          ? ['not JSON', 'log type not usable', 'no log type', 'empty message']
          : [typeof expected === 'string' ? expected : 'log type not usable']
      if (!allowed.includes(event)) expect(allowed, value.toString()).toContain(event)
      return
    }
    const record = recordOf(event)
    if (record.includes('\n')) throw new Error(`more than one line of ${value}`)
    const found = parse(record)
    if (expected !== undefined) events++
    // A line that is no JSON either the sink refuses.
    const wanted = expected === undefined ? undefined : Object.entries(expected as object)[0]
    const isRight = isDeepStrictEqual(found === undefined ? undefined : [event.logType, found], wanted)
    // A call of `expect` for each of many messages would take longer than all else.
    if (!isRight) expect([event.logType, found], value.toString()).toEqual(wanted)
  }
  for (const message of messages) {
    const original = Buffer.from(message)
    for (let i = 0; i < original.length; i++)
      for (const one of bytes) {
        const damaged = Buffer.concat([original.subarray(0, i), one, original.subarray(i + 1)])
        check(damaged)
        check(Buffer.concat([original.subarray(0, i), one, original.subarray(i)]))
        for (let j = i + 1; j < original.length; j += 3)
          for (const two of bytes) check(Buffer.concat([damaged.subarray(0, j), two, damaged.subarray(j + 1)]))
      }
  }
  expect(events).toBeGreaterThan(5000)
  expect(refused).toBeGreaterThan(5000)
})

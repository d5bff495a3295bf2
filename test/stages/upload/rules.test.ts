import { existsSync } from 'node:fs'
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { defaultRules, genericRules, loadRules, parseRules } from '../../../stages/upload/rules.ts'

const REFERENCE = join(import.meta.dirname, '../../../../shared/reference/normalization-of-the-seeds.json')
const ZEEK = join(import.meta.dirname, '../../../../shared/corpus/zeek-schema.json')
const without = (path: string) => (existsSync(path) ? '' : ` (skipped: ${path} is absent)`)

const SCHEMA = '{"logs":{"conn":{"ts":"time","uid":"string","id.orig_h":"addr","uids":"set[string]","n":"count"}}}'
const rules = (over: Record<string, unknown>) =>
  JSON.stringify({
    conn: { source: 's', promote: { ts: 'event_time' }, static: {}, enrich: { time: true, network: false }, ...over },
  })

/** The message of the error that these two files give. */
function mistake(normalization: string, schema = SCHEMA): string {
  try {
    parseRules({ name: 'my-rules.json', text: normalization }, { name: 'my-schema.json', text: schema })
  } catch (error) {
    expect(error).toMatchObject({ code: 'rules_invalid', retryable: false })
    return (error as Error).message
  }
  return 'no mistake'
}

describe('the rules that ship', () => {
  it('are without a mistake, and describe each log type in both files', () => {
    const { logs, schema } = defaultRules()
    expect(Object.keys(logs).sort()).toEqual(Object.keys(schema).sort())
    expect(Object.keys(logs)).toEqual(expect.arrayContaining(['conn', 'dns', 'packet', 'arp', 'dpd', 'x509']))
  })

  it.skipIf(without(REFERENCE))(
    `promote under the names of the format that they stay compatible with${without(REFERENCE)}`,
    async () => {
      const reference = JSON.parse(await readFile(REFERENCE, 'utf8'))
      const { logs } = defaultRules()
      expect(Object.keys(reference)).toHaveLength(22)
      expect(logs).toMatchObject(reference)
      for (const [name, { promote }] of Object.entries<{ promote: object }>(reference))
        expect(logs[name]?.promote, name).toEqual(promote)
    },
  )

  it.skipIf(without(ZEEK))(
    `know every column of every log that Zeek declares, with its type${without(ZEEK)}`,
    async () => {
      const declared: Record<string, { fields: { name: string; type: string }[] }> = JSON.parse(
        await readFile(ZEEK, 'utf8'),
      )
      const { schema } = defaultRules()
      const missing = Object.entries(declared).flatMap(([log, { fields }]) =>
        fields
          .filter(({ name, type }) => schema[log === 'Log::PRINTLOG' ? 'print' : log]?.[name] !== type)
          .map(({ name }) => `${log}.${name}`),
      )
      // Both are one record in Zeek's script; the declaration of the second is read off as a single value.
      expect(missing).toEqual(['notice_alarm.actions'])
    },
  )
})

describe('rules of a site', () => {
  it('take the place of those that ship, either file alone too', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'rules-'))
    const normalizationFile = join(dir, 'n.json')
    const schemaFile = join(dir, 's.json')
    await writeFile(normalizationFile, rules({}))
    await writeFile(schemaFile, SCHEMA)
    expect(Object.keys((await loadRules({ normalizationFile })).logs)).toEqual(['conn'])
    expect(Object.keys((await loadRules({ normalizationFile })).schema).length).toBeGreaterThan(70)
    expect(Object.keys((await loadRules({ normalizationFile, schemaFile })).schema)).toEqual(['conn'])
  })

  it('that cannot be read are reported by their path', async () => {
    await expect(loadRules({ schemaFile: '/nowhere/s.json' })).rejects.toMatchObject({
      code: 'rules_invalid',
      message: expect.stringMatching(/^\/nowhere\/s\.json: cannot be read/),
    })
  })

  it.each([
    ['text that is no JSON', '{', /^my-rules\.json: is not JSON/],
    ['an unknown key', rules({ promotions: {} }), /^my-rules\.json: conn: .*promotions/],
    [
      'a missing key',
      '{"conn":{"source":"s","static":{},"enrich":{"time":true,"network":true}}}',
      /my-rules\.json: conn\.promote: /,
    ],
    ['a value of another kind', rules({ enrich: { time: 'yes', network: false } }), /conn\.enrich\.time: .*boolean/],
    ['a log type that could leave its folder', '{"../x":{}}', /\.\.\/x: .*a log type/],
    ['the name of the view over all types', '{"events":{}}', /events: /],
    [
      'a canonical name that every table has',
      rules({ promote: { uid: 'event_id' } }),
      /conn\.promote\.uid: a name other than event_id/,
    ],
    [
      'a canonical name that is no column name',
      rules({ promote: { uid: 'Flow ID' } }),
      /conn\.promote\.uid: a column name/,
    ],
    [
      'two fields for one name',
      rules({ promote: { uid: 'flow_id', x: 'flow_id' } }),
      /conn\.promote\["x"\]: "flow_id" is promoted from "uid" already/,
    ],
    [
      'a field whose type does not suit the name',
      rules({ promote: { n: 'src_ip' } }),
      /conn\.promote\["n"\]: the schema says count, but "src_ip" takes addr/,
    ],
    [
      'a static name that is promoted',
      rules({ promote: { uid: 'flow_id' }, static: { flow_id: 'x' } }),
      /conn\.static\.flow_id/,
    ],
    ['a list that is none', rules({ flow_id_from: 'n' }), /conn\.flow_id_from: "n" must be a set\[string\]/],
    [
      'network columns without an address',
      rules({ enrich: { time: true, network: true } }),
      /conn\.enrich\.network: needs a field/,
    ],
    ['a transport that is none', rules({ transport: 'quic' }), /conn\.transport/],
    [
      'a transport by a field that is no text',
      rules({ transport: { field: 'n', values: { '1': 'tcp' } } }),
      /conn\.transport\.field: "n"/,
    ],
  ])('are refused with the place and what is allowed: %s', (_, text, message) => {
    expect(mistake(text)).toMatch(message)
  })

  it.each([
    ['a type that is none', '{"logs":{"conn":{"ts":"timestamp"}}}', /^my-schema\.json: logs\.conn\.ts: .*"time"/],
    ['a list of times', '{"logs":{"conn":{"ts":"vector[time]"}}}', /logs\.conn\.ts/],
    [
      'fields that differ in case only',
      '{"logs":{"conn":{"AA":"bool","aa":"bool"}}}',
      /logs\.conn\.aa: differs from "AA" in case only/,
    ],
    ['a field name with a quote', '{"logs":{"conn":{"a\\"b":"bool"}}}', /a field name: letters/],
    ['no logs', '{}', /my-schema\.json: logs/],
  ])('are refused for a schema with %s', (_, text, message) => {
    expect(mistake(rules({}), text)).toMatch(message)
  })

  it('tell of all mistakes, up to five in words', () => {
    const many = JSON.stringify(Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`log${i}`, 1])))
    expect(mistake(many)).toMatch(/log0.*log4.*and 3 more$/)
  })
})

it('a log type without rules promotes what Zeek has in every log of connections', () => {
  expect(genericRules('x')).toMatchObject({
    source: 'zeek_x',
    promote: { ts: 'event_time', 'id.orig_h': 'src_ip' },
    static: { event_type: 'x', event_class: 'other' },
  })
})

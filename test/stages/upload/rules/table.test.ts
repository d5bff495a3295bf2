import { describe, expect, it } from 'vitest'
import { allTables, tableOf } from '../../../../stages/upload/rules/table.ts'
import { defaultRules, parseRules } from '../../../../stages/upload/rules.ts'

const rules = defaultRules()
const namesOf = (logType: string) => tableOf(rules, logType).columns.map(({ name }) => name)

describe('the table of a log type', () => {
  it('has identity, canonical names, static, time, network, raw and extra columns in this order', () => {
    expect(namesOf('conn').slice(0, 26)).toEqual([
      ...['event_id', 'capture_id', 'source'],
      ...['event_time', 'flow_id', 'src_ip', 'dst_ip', 'src_port', 'dst_port', 'protocol', 'service'],
      ...['event_type', 'event_class', 'ingest_time'],
      ...['event_year', 'event_month', 'event_day', 'event_hour', 'event_minute', 'event_weekday'],
      ...['src_ip_is_private', 'dst_ip_is_private', 'direction', 'community_id'],
      ...['id_ctx_vlan', 'id_ctx_inner_vlan'],
    ])
    expect(namesOf('conn').at(-1)).toBe('extra')
  })

  it('has no name twice, whatever its case, for any log type', () => {
    for (const { logType, columns } of allTables(rules)) {
      const names = columns.map(({ name }) => name.toLowerCase())
      expect(new Set(names).size, logType).toBe(names.length)
      for (const key of ['year', 'month', 'day', 'hour', 'epoch_hour']) expect(names, logType).not.toContain(key)
    }
  })

  it('has a column for every field of the schema', () => {
    for (const [logType, schema] of Object.entries(rules.schema)) {
      const { byRaw, columns } = tableOf(rules, logType)
      for (const raw of Object.keys(schema)) {
        const column = byRaw.get(raw)?.column
        expect(
          columns.some(({ name }) => name === column),
          `${logType}.${raw}`,
        ).toBe(true)
      }
    }
  })

  it('prefixes raw names that are taken', () => {
    expect(tableOf(rules, 'files').byRaw.get('source')?.column).toBe('zeek_source')
    expect(tableOf(rules, 'weird').byRaw.get('source')?.column).toBe('zeek_source')
    expect(tableOf(rules, 'ssh').byRaw.get('direction')?.column).toBe('zeek_direction')
  })

  it('leaves a canonical name that the log does not use to the raw field', () => {
    expect(tableOf(rules, 'kerberos').byRaw.get('service')?.column).toBe('service')
  })

  it('counts on where the prefixed name is taken too', () => {
    const own = parseRules(
      {
        name: 'n',
        text: '{"x":{"source":"s","promote":{"src_ip":"dst_ip","peer":"src_ip"},"static":{},"enrich":{"time":false,"network":true}}}',
      },
      {
        name: 's',
        text: '{"logs":{"x":{"a.b":"string","zeek_a_b":"string","A_b":"string","a-B":"string","Source":"string","zeek_source":"string"}}}',
      },
    )
    const columns = Object.fromEntries([...tableOf(own, 'x').byRaw].map(([raw, { column }]) => [raw, column]))
    expect(columns).toEqual({
      ...{ src_ip: 'dst_ip', peer: 'src_ip', community_id: 'community_id' },
      ...{
        'a.b': 'a_b',
        zeek_a_b: 'zeek_a_b',
        A_b: 'zeek_A_b_2',
        'a-B': 'zeek_a_B_3',
        Source: 'zeek_Source',
        zeek_source: 'zeek_zeek_source',
      },
    })
  })

  it("is that of the common fields for a name of JavaScript's own", () => {
    expect(tableOf(rules, 'constructor').rules.source).toBe('zeek_constructor')
  })
})

import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  aggregations,
  columnsOf,
  dashboards,
  type SavedObject,
  savedObjects,
  savedObjectsText,
} from '../../../../src/sinks/elasticsearch/kibana/saved-objects.ts'
import { mapping } from '../../../../src/sinks/elasticsearch/mapping/table.ts'
import { type Json, type Templates, templatesOf } from '../../../../src/sinks/elasticsearch/templates.ts'
import { loadRules } from '../../../../stages/upload/rules.ts'

const DEFAULTS = { prefix: 'pcap', pageUrl: 'http://127.0.0.1:8080' }
const COMMITTED = join(import.meta.dirname, '../../../../deploy/kibana/pcap-pipeline.ndjson')

describe("Kibana's saved objects", () => {
  let templates: Templates
  let objects: SavedObject[]
  beforeAll(async () => {
    templates = templatesOf(await loadRules({}), { prefix: 'pcap', shards: 1 })
    objects = savedObjects(DEFAULTS)
  })

  /** What documents of a data view may have, as the templates say: of one log type, of receipts, or of any. */
  function fieldsOfView(view: string): ReadonlySet<string> {
    const { indices, components } = templates
    if (view === 'receipts') return fieldsIn(indices['pcap-receipts'])
    const ecs = fieldsIn(components['pcap-ecs'])
    return view === '' ? ecs : new Set([...ecs, ...fieldsIn(indices[`pcap-log-${view}`])])
  }

  function fieldsIn(body: Json | undefined): Set<string> {
    return new Set(leaves(body?.template.mappings.properties, ''))
  }

  function leaves(properties: Json, prefix: string): string[] {
    return Object.entries(properties).flatMap(([name, { properties: below }]) =>
      below === undefined ? [prefix + name] : leaves(below, `${prefix}${name}.`),
    )
  }

  it('in deploy/kibana are those that kibana.json makes', async () => {
    await expect(savedObjectsText(DEFAULTS)).toMatchFileSnapshot(COMMITTED)
  })

  it('name only fields that the templates have', () => {
    for (const view of ['', ...Object.keys(mapping.logs), 'receipts'])
      for (const field of columnsOf(view)) expect(fieldsOfView(view), `${view}: ${field}`).toContain(field)
    for (const { view, panels, filter, title } of dashboards)
      for (const panel of panels) {
        const fields = [
          ...aggregations(panel).flatMap(({ params }) => params.field ?? []),
          ...(filter ? [filter.field] : []),
        ]
        for (const field of fields)
          expect(fieldsOfView(panel.view ?? view), `${title}: ${panel.title}`).toContain(field)
      }
    const formats = objects
      .filter(({ type }) => type === 'index-pattern')
      .map(({ attributes }) => Object.keys(JSON.parse(attributes.fieldFormatMap)))
    const known = new Set([...fieldsOfView(''), ...fieldsOfView('receipts')])
    for (const field of formats.flat()) expect(known).toContain(field)
  })

  it('refer only to one another, by ids that are unique and stay the same', () => {
    const ids = objects.map(({ type, id }) => `${type} ${id}`)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { references } of objects) for (const { type, id } of references) expect(ids).toContain(`${type} ${id}`)
    const dashboard = objects.find(({ type }) => type === 'dashboard') as SavedObject
    const names = dashboard.references.map(({ name }) => name.split(':')[1])
    expect(
      JSON.parse(dashboard.attributes.panelsJSON).map(({ panelRefName }: { panelRefName: string }) => panelRefName),
    ).toEqual(names)
  })

  it('cover every log type, and the dashboards that were asked for', () => {
    const views = objects.filter(({ type }) => type === 'index-pattern').map(({ attributes }) => attributes.title)
    expect(views).toEqual(
      expect.arrayContaining(['pcap-*-*', 'pcap-receipts', ...Object.keys(mapping.logs).map((log) => `pcap-${log}-*`)]),
    )
    expect(dashboards.map(({ id }) => id).sort()).toEqual([
      'connections',
      'dns',
      'files',
      'http',
      'overview',
      'receipts',
      'tls',
      'watchlist',
    ])
  })

  it('link an event to its packets on the page that was named', () => {
    const [view] = savedObjects({ prefix: 'lab', pageUrl: 'https://page.example/base/' })
    expect(view?.attributes.title).toBe('lab-*-*')
    const { 'event.id': link, 'network.community_id': flow } = JSON.parse(view?.attributes.fieldFormatMap)
    expect(link.params.urlTemplate).toBe('https://page.example/base/search?where=event_id%20%3D%20{{value}}')
    expect(flow.params.urlTemplate).toContain('/flow?community={{value}}')
  })

  it('lay their panels out without overlap', () => {
    for (const { attributes, type } of objects) {
      if (type !== 'dashboard') continue
      const taken = new Set<string>()
      for (const { gridData } of JSON.parse(attributes.panelsJSON))
        for (let x = gridData.x; x < gridData.x + gridData.w; x++)
          for (let y = gridData.y; y < gridData.y + gridData.h; y++) {
            expect(x).toBeLessThan(48)
            expect(taken.has(`${x} ${y}`)).toBe(false)
            taken.add(`${x} ${y}`)
          }
    }
  })
})

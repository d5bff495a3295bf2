/**
 * Kibana's saved objects, made of kibana.json: a data view and a saved search for each log type, one of each over all,
 * and the dashboards. In: the indices' prefix and the address of our page; out: objects to be imported.
 *
 * Ids are fixed, so that an import over an earlier one replaces it.
 */

import { mapping } from '../mapping/table.ts'
import { receiptsIndex } from '../templates.ts'
import json from './kibana.json' with { type: 'json' }

export interface KibanaOptions {
  prefix: string
  /** Where a person's browser reaches our page: `http://host:8080`. */
  pageUrl: string
}

// biome-ignore lint/suspicious/noExplicitAny: Kibana's own shapes
type Json = Record<string, any>

export interface SavedObject {
  id: string
  type: 'index-pattern' | 'search' | 'visualization' | 'dashboard'
  attributes: Json
  references: { id: string; name: string; type: string }[]
  coreMigrationVersion: string
}

export interface Panel {
  kind: 'metric' | 'time' | 'pie' | 'table' | 'search'
  title: string
  /** Of another data view than the dashboard's. */
  view?: string
  by?: string
  split?: string
  sum?: string
  max?: string
  /** Distinct values. */
  count?: string
  w: number
  h: number
}

export interface Dashboard {
  id: string
  title: string
  /** A log type; empty for all; `receipts`. */
  view: string
  filter?: { field: string; value: string }
  panels: Panel[]
}

export const dashboards = json.dashboards as Dashboard[]
const COLUMNS: Readonly<Record<string, readonly string[]>> = json.columns
const RECEIPTS = 'receipts'
const TOP = 20
/** Kibana's dashboards are this many units wide. */
const WIDTH = 48
const CORE_VERSION = '8.8.0'

export function savedObjects(options: KibanaOptions): SavedObject[] {
  const views = ['', ...Object.keys(mapping.logs), RECEIPTS]
  return [
    ...views.map((view) => dataView(view, options)),
    ...views.map((view) => savedSearch(view, options)),
    ...dashboards.flatMap((dashboard) => [...visualizations(dashboard, options), dashboardObject(dashboard, options)]),
  ]
}

export function savedObjectsText(options: KibanaOptions): string {
  return savedObjects(options)
    .map((object) => `${JSON.stringify(object)}\n`)
    .join('')
}

export function indicesOf(view: string, prefix: string): string {
  if (view === '') return `${prefix}-*-*`
  return view === RECEIPTS ? receiptsIndex(prefix) : `${prefix}-${view}-*`
}

/** The columns of a saved search; a log type without a list of its own has those of all. */
export function columnsOf(view: string): readonly string[] {
  if (view === RECEIPTS) return json.receiptColumns
  return COLUMNS[view] ?? (COLUMNS[''] as readonly string[])
}

const nameOf = (view: string) => (view === '' ? 'all events' : view)
const viewId = (view: string, prefix: string) => `pcap-pipeline-${prefix}-view-${view || 'all'}`
const searchId = (view: string, prefix: string) => `pcap-pipeline-${prefix}-search-${view || 'all'}`

function dataView(view: string, { prefix, pageUrl }: KibanaOptions): SavedObject {
  const page = pageUrl.replace(/\/+$/, '')
  const links = Object.entries(json.links).filter(([field]) => view !== RECEIPTS || field.startsWith('labels.'))
  const formats = Object.fromEntries(
    links.map(([field, { path, label }]) => [
      field,
      { id: 'url', params: { urlTemplate: `${page}${path}`, labelTemplate: label, openLinkInCurrentTab: false } },
    ]),
  )
  const bytes = [
    'source.bytes',
    'destination.bytes',
    'network.bytes',
    'file.size',
    'http.response.body.bytes',
    'receipt.bytes',
  ]
  const sizes = Object.fromEntries(bytes.map((field) => [field, { id: 'bytes' }]))
  const duration = { id: 'duration', params: { inputFormat: 'nanoseconds', outputFormat: 'humanizePrecise' } }
  return object('index-pattern', viewId(view, prefix), {
    title: indicesOf(view, prefix),
    name: `${prefix}: ${nameOf(view)}`,
    timeFieldName: '@timestamp',
    fieldFormatMap: JSON.stringify({ ...formats, ...sizes, 'event.duration': duration }),
    runtimeFieldMap: '{}',
    fieldAttrs: '{}',
    fields: '[]',
    sourceFilters: '[]',
    allowNoIndex: true,
  })
}

function savedSearch(view: string, { prefix }: KibanaOptions): SavedObject {
  const attributes = {
    title: `${prefix}: ${nameOf(view)}`,
    description: '',
    columns: columnsOf(view),
    sort: [['@timestamp', 'desc']],
    kibanaSavedObjectMeta: source([]),
  }
  return object('search', searchId(view, prefix), attributes, [sourceReference(view, prefix)])
}

function visualizations({ id, view, filter, panels }: Dashboard, { prefix }: KibanaOptions): SavedObject[] {
  return panels.flatMap((panel, n) => {
    if (panel.kind === 'search') return []
    const attributes = {
      title: `${prefix}: ${id}: ${panel.title}`,
      description: '',
      version: 1,
      uiStateJSON: '{}',
      visState: JSON.stringify({
        title: panel.title,
        type: TYPES[panel.kind],
        aggs: aggregations(panel),
        params: paramsOf(panel),
      }),
      kibanaSavedObjectMeta: source(filtersOf(filter)),
    }
    return object('visualization', panelId(id, n, prefix), attributes, [sourceReference(panel.view ?? view, prefix)])
  })
}

const TYPES = { metric: 'metric', time: 'histogram', pie: 'pie', table: 'table' } as const
const panelId = (dashboard: string, n: number, prefix: string) => `pcap-pipeline-${prefix}-${dashboard}-${n}`

export interface Aggregation {
  id: string
  enabled: true
  type: 'count' | 'sum' | 'max' | 'cardinality' | 'terms' | 'date_histogram'
  schema: 'metric' | 'segment' | 'bucket' | 'group'
  params: Json
}

/** As Kibana keeps them; what is asked of Elasticsearch follows from these alone. */
export function aggregations({ kind, by, split, sum, max, count }: Panel): Aggregation[] {
  const metric: Aggregation =
    sum !== undefined
      ? { id: '1', enabled: true, type: 'sum', schema: 'metric', params: { field: sum } }
      : max !== undefined
        ? { id: '1', enabled: true, type: 'max', schema: 'metric', params: { field: max } }
        : count !== undefined
          ? { id: '1', enabled: true, type: 'cardinality', schema: 'metric', params: { field: count } }
          : { id: '1', enabled: true, type: 'count', schema: 'metric', params: {} }
  const list: Aggregation[] = [metric]
  if (kind === 'time') {
    const params = {
      field: '@timestamp',
      interval: 'auto',
      min_doc_count: 1,
      useNormalizedEsInterval: true,
      extended_bounds: {},
    }
    list.push({ id: '2', enabled: true, type: 'date_histogram', schema: 'segment', params })
  }
  const field = by ?? split
  if (field !== undefined) {
    const schema = kind === 'time' ? 'group' : kind === 'pie' ? 'segment' : 'bucket'
    const size = kind === 'table' ? TOP : 10
    list.push({
      id: '3',
      enabled: true,
      type: 'terms',
      schema,
      params: { field, size, order: 'desc', orderBy: '1', otherBucket: kind === 'pie', missingBucket: false },
    })
  }
  return list
}

function paramsOf({ kind, title }: Panel): Json {
  if (kind === 'metric')
    return {
      addTooltip: true,
      addLegend: false,
      type: 'metric',
      metric: { percentageMode: false, style: { fontSize: 40 }, labels: { show: true } },
    }
  if (kind === 'pie')
    return {
      type: 'pie',
      isDonut: true,
      addTooltip: true,
      legendDisplay: 'show',
      legendPosition: 'right',
      labels: { show: true, values: true, truncate: 100 },
    }
  if (kind === 'table')
    return {
      perPage: 10,
      showPartialRows: false,
      showMetricsAtAllLevels: false,
      showTotal: false,
      totalFunc: 'sum',
      percentageCol: '',
    }
  return {
    type: 'histogram',
    addTooltip: true,
    addLegend: true,
    legendPosition: 'right',
    seriesParams: [
      { show: true, type: 'histogram', mode: 'stacked', data: { label: title, id: '1' }, valueAxis: 'ValueAxis-1' },
    ],
    categoryAxes: [
      {
        id: 'CategoryAxis-1',
        type: 'category',
        position: 'bottom',
        show: true,
        scale: { type: 'linear' },
        labels: { show: true, truncate: 100 },
        title: {},
      },
    ],
    valueAxes: [
      {
        id: 'ValueAxis-1',
        name: 'LeftAxis-1',
        type: 'value',
        position: 'left',
        show: true,
        scale: { type: 'linear', mode: 'normal' },
        labels: { show: true },
        title: { text: title },
      },
    ],
  }
}

function dashboardObject({ id, title, view, filter, panels }: Dashboard, { prefix }: KibanaOptions): SavedObject {
  const places = layOut(panels)
  const references = panels.map(({ kind, view: other }, n) => {
    const name = `${n}:panel_${n}`
    return kind === 'search'
      ? { id: searchId(other ?? view, prefix), name, type: 'search' }
      : { id: panelId(id, n, prefix), name, type: 'visualization' }
  })
  const panelsJSON = panels.map(({ kind, title: name }, n) => ({
    type: kind === 'search' ? 'search' : 'visualization',
    title: name,
    panelIndex: String(n),
    gridData: { ...places[n], i: String(n) },
    embeddableConfig: { enhancements: {} },
    panelRefName: `panel_${n}`,
    version: CORE_VERSION,
  }))
  const attributes = {
    title: `${prefix}: ${title}`,
    description: '',
    panelsJSON: JSON.stringify(panelsJSON),
    optionsJSON: JSON.stringify({ useMargins: true, syncColors: true, hidePanelTitles: false }),
    timeRestore: false,
    version: 1,
    // The filter of a dashboard holds for its saved search too.
    kibanaSavedObjectMeta: {
      searchSourceJSON: JSON.stringify({ query: { query: '', language: 'kuery' }, filter: filtersOf(filter) }),
    },
  }
  return object('dashboard', `pcap-pipeline-${prefix}-dashboard-${id}`, attributes, references)
}

/** Row by row, from the left. */
function layOut(panels: readonly Panel[]): { x: number; y: number; w: number; h: number }[] {
  let [x, y, rowHeight] = [0, 0, 0]
  return panels.map(({ w, h }) => {
    if (x + w > WIDTH) {
      x = 0
      y += rowHeight
      rowHeight = 0
    }
    const place = { x, y, w, h }
    x += w
    rowHeight = Math.max(rowHeight, h)
    return place
  })
}

/** As Elasticsearch sees them, with what Kibana shows of them around. */
export function filtersOf(filter: Dashboard['filter']): Json[] {
  if (filter === undefined) return []
  const { field, value } = filter
  const meta = { alias: null, disabled: false, negate: false, type: 'phrase', key: field, params: { query: value } }
  return [{ meta, query: { match_phrase: { [field]: value } }, $state: { store: 'appState' } }]
}

const SOURCE = 'kibanaSavedObjectMeta.searchSourceJSON.index'

function source(filter: Json[]): Json {
  return { searchSourceJSON: JSON.stringify({ query: { query: '', language: 'kuery' }, filter, indexRefName: SOURCE }) }
}

function sourceReference(view: string, prefix: string): SavedObject['references'][number] {
  return { id: viewId(view, prefix), name: SOURCE, type: 'index-pattern' }
}

function object(
  type: SavedObject['type'],
  id: string,
  attributes: Json,
  references: SavedObject['references'] = [],
): SavedObject {
  return { id, type, attributes, references, coreMigrationVersion: CORE_VERSION }
}

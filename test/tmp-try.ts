import { loadConfig } from '../src/config.ts'
import { layoutFrom } from '../src/parts.ts'
import { declaredTables } from '../src/sinks/parquet/columns.ts'
import { openSearchProcess } from '../src/search/process.ts'
const config = loadConfig()
const layout = layoutFrom(config)
await using search = openSearchProcess({ dataset: { parquetDir: layout.parquet, tables: await declaredTables(config.rules), memoryMb: 1024, threads: 2, tempDir: layout.cache }, layout, rules: config.rules, timeoutMs: 60000 })
const show = async (name: any, req: any) => { const t = performance.now(); try { const a: any = await search.ask(name, req); console.log(name, Math.round(performance.now() - t), 'ms', JSON.stringify(a).slice(0, 700)); return a } catch (e: any) { console.log(name, 'FAILED', e.code, e.message) } }
await show('tables', null)
const s = { types: [], conditions: [], order: 'newest', limit: 3 }
const a = await show('search', s)
await show('search', { ...s, after: a.next })
await show('search', { ...s, types: ['dns'] })
await show('search', { ...s, types: ['dns'], text: 'com' })
await show('search', { ...s, types: ['conn'], conditions: [{ column: 'src_ip', op: 'cidr', value: '10.0.0.0/9' }], order: 'oldest' })
await show('search', { ...s, types: ['conn'], conditions: [{ column: 'nope', op: '=', value: '10.0.0.0/9' }] })
await show('search', { ...s, text: '192.168.0.0/16' })
await show('count', s)
await show('facets', { ...s, facets: [{ column: 'src_ip', limit: 3 }, { column: 'log_type', limit: 5 }, {column:'service', limit: 3}] })
await show('histogram', { ...s, buckets: 10, by: 'log_type' })
await show('top', { ...s, types: ['conn'], by: ['src_ip'], measures: [{ of: 'sum', column: 'orig_bytes' }, { of: 'count' }], limit: 3 })
const c = await show('search', { ...s, types: ['http'] , columns: ['flow_id']})
const row = c.rows[0]
await show('event', { type: 'http', id: row[1], time: row[0] })
await show('event', { type: 'http', id: row[1] })
const f = await show('flow', { flowId: row[4], captureId: row[3], time: row[0], limit: 100 })
console.log(f.records.map((r: any) => r.logType), f.packets)

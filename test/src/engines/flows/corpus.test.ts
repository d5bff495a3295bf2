import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { readCapture } from '../../../../src/capture/reader.ts'
import { formatConn } from '../../../../src/engines/flows/conn.ts'
import { createFlowTable } from '../../../../src/engines/flows/table.ts'
import { scratch } from '../../capture/files.ts'

const CORPUS = new URL('../../../../../shared/corpus/', import.meta.url).pathname
const LOGS = join(CORPUS, 'zeek-logs-full/zeek-logs')
const here = existsSync(LOGS)
const where = here ? '' : ' (skipped: no ../shared/corpus here)'

type Row = Record<string, unknown>

const FIELDS = [
  'conn_state',
  'history',
  'missed_bytes',
  'orig_bytes',
  'resp_bytes',
  'orig_pkts',
  'resp_pkts',
  'orig_ip_bytes',
  'resp_ip_bytes',
  'local_orig',
  'local_resp',
  'ip_proto',
  'duration',
]
const key = (row: Row) =>
  ['id.orig_h', 'id.orig_p', 'id.resp_h', 'id.resp_p', 'proto', 'ts'].map((name) => row[name]).join()

function captures(): { name: string; path: string }[] {
  return ['pcaps', 'pcaps-unpaired'].flatMap((dir) =>
    readdirSync(join(CORPUS, dir)).map((name) => ({ name, path: join(CORPUS, dir, name) })),
  )
}

async function connRows(path: string, dir: string): Promise<Row[]> {
  const plain = path.endsWith('.gz') ? join(dir, 'plain') : path
  if (plain !== path) writeFileSync(plain, gunzipSync(readFileSync(path)))
  const rows: Row[] = []
  const table = createFlowTable({ captureId: path, onFlow: (flow) => rows.push(JSON.parse(formatConn(flow, []))) })
  const { packets } = await readCapture(plain, { onPacket: (packet) => table.packet(packet) })
  table.finish()
  const { counts } = table
  const others = [...Object.values(counts.nonFlow), ...Object.values(counts.undecoded)].reduce((sum, n) => sum + n, 0)
  expect([counts.packets, counts.inFlows + others, counts.live], path).toEqual([packets, packets, 0])
  return rows
}

describe(`the captures of Zeek's own tests${where}`, () => {
  it.skipIf(!here)('give the conn log that Zeek writes of them', { timeout: 120_000 }, async () => {
    const dir = await scratch()
    const tally = { expected: 0, produced: 0, matched: 0, fields: 0, agree: 0 }
    for (const { name, path } of captures()) {
      const expectedPath = join(LOGS, name, 'conn.ndjson')
      const produced = await connRows(path, dir)
      if (!existsSync(expectedPath)) continue
      const expected = readFileSync(expectedPath, 'utf8')
        .trim()
        .split('\n')
        .map((line): Row => JSON.parse(line))
      const byKey = new Map(produced.map((row) => [key(row), row]))
      tally.expected += expected.length
      tally.produced += produced.length
      for (const row of expected) {
        const ours = byKey.get(key(row))
        if (!ours) continue
        tally.matched++
        tally.fields += FIELDS.length
        tally.agree += FIELDS.filter((field) => same(ours[field], row[field])).length
      }
    }
    expect(tally.matched / tally.expected).toBeGreaterThan(0.98)
    expect(tally.matched / tally.produced).toBeGreaterThan(0.98)
    expect(tally.agree / tally.fields).toBeGreaterThan(0.97)
  })
})

function same(a: unknown, b: unknown): boolean {
  return typeof a === 'number' && typeof b === 'number' ? Math.abs(a - b) < 1e-3 : a === b
}

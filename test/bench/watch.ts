/**
 * `npm run bench -- watch [--rows 400000] [--runs 3] [--share 0.01]`: what watch lists cost while rows are loaded, in
 * CPU time, as a ratio of loading without them: with lists that find nothing, and with a person who has that share of the flows.
 */

import { once } from 'node:events'
import { createWriteStream, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openParquetSink } from '../../src/sinks/parquet/sink.ts'
import type { EventChunk } from '../../src/sinks/parquet/types.ts'
import { importWatchList } from '../../src/watch/import.ts'
import { createWatch } from '../../src/watch/watch.ts'
import { defaultRules } from '../../stages/upload/rules.ts'
import { openLedger } from '../../state/ledger.ts'

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '400000' },
    runs: { type: 'string', default: '3' },
    share: { type: 'string', default: '0.01' },
  },
})
const dir = mkdtempSync(join(tmpdir(), 'bench-watch-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
const CAPTURE = 'ab'.repeat(32)
const LINES = 10_000
const chunks = [...(await write('conn', connLine)), ...(await write('dns', dnsLine))]
const ledger = openLedger(join(dir, 'ledger.db'))
const watch = createWatch({ ledger, rules: async () => defaultRules(), memoryLimit: '512MB', tellsEvents: true })
const sink = await openParquetSink({ localNetworks: ['10.0.0.0/8'], threads: 2, memoryLimit: '512MB' })
let runs = 0

const put = (table: 'employees' | 'computers' | 'indicators', text: string) =>
  importWatchList(ledger, table, text, { replace: false, list: 'bench' })
const none = await best('without lists')
put('employees', 'key,name\n1,A\n')
const absent = Array.from({ length: 500 }, (_, i) => `${i},1,02:ff:00:00:${hex(i >> 8)}:${hex(i & 255)}`)
put('computers', `comp_id,empkey,macaddr\n${absent.join('\n')}\n`)
put('indicators', Array.from({ length: 1000 }, (_, i) => `198.51.${i >> 8}.${i & 255}`).join('\n'))
await best('500 MAC addresses and 1000 addresses, none of which comes', none)
put('indicators', Array.from({ length: 1000 }, (_, i) => `bad-${i}.example.org`).join('\n'))
put('indicators', '198.18.0.0/15\n')
await best('also 1000 domains and a network', none)
put('computers', 'comp_id,empkey,macaddr\n9999,1,02:00:00:00:00:01\n')
await best(`one card that has ${Number(values.share) * 100} % of the flows`, none)
ledger.close()

async function best(what: string, base?: number): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < Number(values.runs); i++) times.push(await load())
  const seconds = Math.min(...times)
  const flagged = ledger.watch.hits({ limit: 10_000 }).length
  console.log(
    `${seconds.toFixed(2)} CPU s  ${base === undefined ? '' : `${(seconds / base).toFixed(2)} × `}${what}${flagged ? ` (${flagged} hits)` : ''}`,
  )
  return seconds
}

async function load(): Promise<number> {
  const stagingDir = join(dir, `staging-${++runs}`)
  mkdirSync(stagingDir)
  const request = { chunks, stagingDir, commitId: `run${runs}`, ingestTimeMs: Date.now() }
  const before = process.cpuUsage()
  const result = await sink.write(request)
  await watch.flagStaged(request, result)
  // Of all its threads: on a busy host the wall clock tells of the others.
  const { user, system } = process.cpuUsage(before)
  const seconds = (user + system) / 1e6
  rmSync(stagingDir, { recursive: true })
  return seconds
}

async function write(logType: string, line: (i: number) => string): Promise<EventChunk[]> {
  const made: EventChunk[] = []
  for (let first = 0; first < Number(values.rows) / 2; first += LINES) {
    const path = join(dir, `${logType}-${first}.ndjson`)
    const out = createWriteStream(path)
    for (let i = first; i < first + LINES; i++) out.write(`${line(i)}\n`)
    out.end()
    await once(out, 'finish')
    made.push({
      path,
      logType,
      captureId: CAPTURE,
      source: 'bench',
      firstOrdinal: first,
      lines: LINES,
      bytes: statSync(path).size,
    })
  }
  return made
}

function base(i: number) {
  const ts = 1_770_000_000 + i / 100
  return {
    ts,
    uid: `C${i.toString(36).padStart(17, '0')}`,
    'id.orig_h': `10.0.${(i >> 8) & 255}.${i & 255}`,
    'id.orig_p': 1024 + (i % 60_000),
    'id.resp_h': `93.184.${i % 200}.${i % 250}`,
    'id.resp_p': 443,
  }
}

function connLine(i: number): string {
  const isOurs = i % Math.round(1 / Number(values.share)) === 0
  const mac = isOurs ? '02:00:00:00:00:01' : `02:00:00:01:${hex((i >> 8) & 255)}:${hex(i & 255)}`
  return JSON.stringify({
    ...base(i),
    proto: 'tcp',
    service: 'ssl',
    duration: 1.5,
    orig_bytes: i,
    resp_bytes: i * 3,
    conn_state: 'SF',
    history: 'ShADadFf',
    orig_pkts: 8,
    orig_ip_bytes: 900,
    resp_pkts: 9,
    resp_ip_bytes: 9000,
    orig_l2_addr: mac,
    resp_l2_addr: '02:aa:bb:cc:dd:ee',
  })
}

function dnsLine(i: number): string {
  return JSON.stringify({
    ...base(i),
    proto: 'udp',
    query: `host-${i % 50_000}.example.com`,
    qtype: 1,
    qtype_name: 'A',
    rcode: 0,
    rcode_name: 'NOERROR',
    answers: ['93.184.216.34'],
  })
}

function hex(n: number): string {
  return n.toString(16).padStart(2, '0')
}

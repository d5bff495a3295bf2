/**
 * `npm run bench -- upload [--rows 1000000] [--times 1] [--runs 3] [--threads 2] [--memory 1GB] [--nested FILE]`: rows
 * that the Parquet sink writes a CPU second, with everything on, and the memory that this takes. The load is nested
 * messages (`{"dns": {…}}`), taken apart into chunk files of 10,000 lines before the clock starts; `--times 10` hands
 * the same files over ten times, each time as another capture's.
 */

import { execFileSync } from 'node:child_process'
import { createReadStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { openParquetSink } from '../../src/sinks/parquet/sink.ts'
import type { EventChunk } from '../../src/sinks/parquet/types.ts'

const LINES_PER_CHUNK = 10_000
const GENERATOR = join(import.meta.dirname, '../../../shared/tools/gen_zeek_raw.py')

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '1000000' },
    times: { type: 'string', default: '1' },
    runs: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    memory: { type: 'string', default: '1GB' },
    nested: { type: 'string' },
    // Set for the process that makes the chunk files, so that its memory is not counted.
    unwrap: { type: 'string' },
  },
})

if (values.unwrap !== undefined) {
  writeFileSync(
    join(values.unwrap, 'chunks.json'),
    JSON.stringify(await unwrap(values.nested as string, values.unwrap)),
  )
  process.exit()
}

const dir = mkdtempSync(join(tmpdir(), 'bench-upload-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
const nested = values.nested ?? generate(Number(values.rows))
execFileSync(process.execPath, [import.meta.filename, '--unwrap', dir, '--nested', nested])
const files: EventChunk[] = JSON.parse(readFileSync(join(dir, 'chunks.json'), 'utf8'))
const chunks = Array.from({ length: Number(values.times) }, (_, i) => copyOf(files, i)).flat()
const sink = await openParquetSink({
  localNetworks: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', 'fe80::/10'],
  threads: Number(values.threads),
  memoryLimit: values.memory,
})
for (let run = 1; run <= Number(values.runs); run++) await measure(run)

async function measure(run: number): Promise<void> {
  const stagingDir = join(dir, `staging-${run}`)
  mkdirSync(stagingDir)
  const [cpuBefore, before] = [process.cpuUsage(), performance.now()]
  const result = await sink.write({ chunks, stagingDir, commitId: `run${run}`, ingestTimeMs: Date.now() })
  const seconds = (performance.now() - before) / 1000
  const { user, system } = process.cpuUsage(cpuBefore)
  const cpuSeconds = (user + system) / 1e6
  const rows = result.chunks.reduce((sum, chunk) => sum + chunk.rows, 0)
  const bytes = result.files.reduce((sum, file) => sum + file.bytes, 0)
  const peakMb = process.resourceUsage().maxRSS / 1024
  console.log(
    `run ${run}: ${rows} rows, ${result.files.length} files, ${(bytes / 2 ** 20).toFixed(0)} MB; ` +
      `${cpuSeconds.toFixed(2)} CPU s (${(system / 1e6).toFixed(2)} in the kernel), ${seconds.toFixed(2)} s; ` +
      `${Math.round(rows / cpuSeconds)} rows a CPU s, ${Math.round(rows / seconds)} rows a s; peak RSS so far ${peakMb.toFixed(0)} MB`,
  )
  rmSync(stagingDir, { recursive: true })
}

function generate(rows: number): string {
  if (!existsSync(GENERATOR)) throw new Error(`there is no ${GENERATOR}; name a file of nested messages with --nested`)
  const path = join(dir, 'nested.ndjson')
  execFileSync('python3', [GENERATOR, String(rows), path])
  return path
}

/** One message a line in, chunk files by log type out. */
async function unwrap(path: string, into: string): Promise<EventChunk[]> {
  const open = new Map<string, string[]>()
  const firstOrdinals = new Map<string, number>()
  const made: EventChunk[] = []
  const write = (logType: string, lines: string[]) => {
    const firstOrdinal = firstOrdinals.get(logType) ?? 0
    const file = join(into, `${logType}-${firstOrdinal}.ndjson`)
    const text = `${lines.join('\n')}\n`
    writeFileSync(file, text)
    const common = { path: file, logType, captureId: '', source: 'bench', firstOrdinal }
    made.push({ ...common, lines: lines.length, bytes: Buffer.byteLength(text) })
    firstOrdinals.set(logType, firstOrdinal + lines.length)
    open.delete(logType)
  }
  for await (const line of createInterface({ input: createReadStream(path) })) {
    const quote = line.indexOf('"', 2)
    const logType = line.slice(2, quote)
    const lines = open.get(logType) ?? []
    open.set(logType, lines)
    if (lines.push(line.slice(quote + 2, -1)) === LINES_PER_CHUNK) write(logType, lines)
  }
  for (const [logType, lines] of open) write(logType, lines)
  return made
}

function copyOf(originals: readonly EventChunk[], index: number): EventChunk[] {
  return originals.map((chunk) => ({ ...chunk, captureId: index.toString(16).padStart(8, '0').repeat(8) }))
}

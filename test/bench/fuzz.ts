/**
 * `npm run bench -- fuzz [--count 10000] [--seed 1] [--ingest 500] [--captures DIR] [--keep DIR]`: so many damaged
 * captures through the engine, each as one part and as many, and so many more through `ingest` into one data
 * directory. Prints the seed of each failure: `--seed N --count 1 --ingest 0 --keep DIR` repeats it and keeps the file.
 */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { openTsharkEngine } from '../../src/engines/tshark/engine.ts'
import { makeHome } from '../support/cli.ts'
import { tryConvert, tryIngest } from '../support/fuzz.ts'
import { mutate } from '../support/mutate.ts'

const CORPUS = join(import.meta.dirname, '../../../shared/corpus')
const SAMPLE = join(import.meta.dirname, '../fixtures/sample.pcap')
/** Larger ones only take longer. */
const MAX_CAPTURE_BYTES = 500_000
/** A worker that is silent for so long hangs. */
const SILENCE_MS = 20_000
const BATCH = 100

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    ingest: { type: 'string', default: '500' },
    captures: { type: 'string' },
    keep: { type: 'string' },
  },
})
const [count, firstSeed, ingested] = [Number(values.count), Number(values.seed), Number(values.ingest)]
const captures = readCaptures()
const dir = mkdtempSync(join(tmpdir(), 'bench-fuzz-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
let failures = 0

console.log(`${captures.length} captures; seeds ${firstSeed} to ${firstSeed + count - 1}`)
await fuzzEngine()
if (ingested > 0) await fuzzIngest()
console.log(failures === 0 ? 'no failure' : `${failures} FAILURES`)
process.exit(failures === 0 ? 0 : 1)

/** The seeds stand for the same bytes as long as the captures are the same. */
function readCaptures(): Buffer[] {
  const folders = values.captures === undefined ? [`${CORPUS}/pcaps`, `${CORPUS}/pcaps-unpaired`] : [values.captures]
  const files = folders
    .filter((folder) => existsSync(folder))
    .flatMap((folder) =>
      readdirSync(folder)
        .sort()
        .map((name) => join(folder, name)),
    )
  if (files.length === 0) console.log(`there are no captures in ${folders.join(', ')}: only the sample is used`)
  const read = [...files, SAMPLE].map((file) =>
    file.endsWith('.gz') ? gunzipSync(readFileSync(file)) : readFileSync(file),
  )
  return read.filter(({ length }) => length > 0 && length <= MAX_CAPTURE_BYTES)
}

async function fuzzEngine(): Promise<void> {
  const modes = {
    'one part': await openTsharkEngine({ parallel: 1, silenceMs: SILENCE_MS }),
    'many parts': await openTsharkEngine({ parallel: 2, silenceMs: SILENCE_MS, partsFromBytes: 0 }),
  }
  const seen = { packets: 0, records: 0, refused: 0, slowest: 0, slowestSeed: 0 }
  const start = performance.now()
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    const { data, origin, steps } = mutate(captures, seed)
    for (const [mode, engine] of Object.entries(modes)) {
      const { problems, ms, packets, records, refused } = await tryConvert(engine, data, join(dir, 'one'))
      if (ms > SILENCE_MS) problems.push(`it took ${Math.round(ms)} ms`)
      seen.packets += packets
      seen.records += records
      if (refused !== undefined) seen.refused++
      if (ms > seen.slowest) [seen.slowest, seen.slowestSeed] = [ms, seed]
      if (problems.length === 0) continue
      failures++
      console.log(`FAILED seed ${seed}, ${mode} (capture ${origin}; ${steps.join(', ')}):`)
      for (const problem of new Set(problems)) console.log(`  ${problem}`)
      keep(seed, data)
    }
    if ((seed - firstSeed + 1) % 1000 === 0) report(seed - firstSeed + 1)
  }
  if (count % 1000 !== 0) report(count)

  function report(done: number): void {
    const { packets, records, refused, slowest, slowestSeed } = seen
    const seconds = (performance.now() - start) / 1000
    const rss = Math.round(process.memoryUsage().rss / 2 ** 20)
    console.log(
      `${done} captures, converted twice each: ${packets} packets, ${records} records, ${refused} refused, ` +
        `${failures} failed; slowest ${Math.round(slowest)} ms (seed ${slowestSeed}); ${seconds.toFixed(0)} s, RSS ${rss} MB`,
    )
  }
}

async function fuzzIngest(): Promise<void> {
  using home = makeHome({ LOG_LEVEL: 'warn' })
  const total = { balanced: 0, refused: 0 }
  const start = performance.now()
  for (let at = 0; at < ingested; at += BATCH) {
    const folder = join(dir, 'batch')
    mkdirSync(folder)
    const files = Array.from({ length: Math.min(BATCH, ingested - at) }, (_, i) => {
      const file = join(folder, `seed-${firstSeed + at + i}.pcap`)
      writeFileSync(file, mutate(captures, firstSeed + at + i).data)
      return file
    })
    const { problems, balanced, refused } = await tryIngest(home, files)
    total.balanced += balanced
    total.refused += refused
    failures += problems.length
    for (const problem of problems) console.log(`FAILED in ingest: ${problem}`)
    rmSync(folder, { recursive: true })
    const seconds = (performance.now() - start) / 1000
    console.log(
      `${at + files.length} captures through ingest: ${total.balanced} balanced, ${total.refused} refused; ${seconds.toFixed(0)} s`,
    )
  }
  const status = await home.run('status', '--json')
  if (status.code !== 0) failures++
  const rows = await home.rows<{ n: string }>('select count(*) as n from conn')
  console.log(`status ${status.code === 0 ? 'answers' : `fails: ${status.stderr}`}; ${rows[0]?.n} rows of conn`)
}

function keep(seed: number, data: Buffer): void {
  if (values.keep === undefined) return
  mkdirSync(values.keep, { recursive: true })
  writeFileSync(join(values.keep, `seed-${seed}.pcap`), data)
}

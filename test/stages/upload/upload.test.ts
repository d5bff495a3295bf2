import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createDistribute } from '../../../stages/distribute/distribute.ts'
import type { Batch, Chunk } from '../../../stages/hand-offs.ts'
import type { EventChunk, EventSink } from '../../../stages/ports.ts'
import { completionOf, startRunner } from '../../../stages/runner.ts'
import { createSplit } from '../../../stages/split/split.ts'
import { sweep } from '../../../stages/sweep.ts'
import { createUpload } from '../../../stages/upload/upload.ts'
import { type TestBench, testBench, until } from '../../support/pipeline.ts'

const ID = 'cd'.repeat(32)
/** In memory; the tests' other files lie on a disk. */
const OTHER_DISK = '/dev/shm'
const isOther = existsSync(OTHER_DISK) && statSync(OTHER_DISK).dev !== statSync(tmpdir()).dev
const noOtherDisk = isOther ? '' : ' (skipped: no second file system here)'
const RULES = { bufferBytes: 1e9, intervalMs: 0, events: 0 }

/** Writes a file of lines for each log type: enough to see what readers would see. */
function lineSink(fail: () => void = () => {}): EventSink {
  return {
    async write({ chunks, stagingDir, commitId }) {
      const files = []
      for (const logType of new Set(chunks.map((chunk) => chunk.logType))) {
        const path = `${logType}/events_${logType}_${commitId}.parquet`
        const mine = chunks.filter((chunk) => chunk.logType === logType)
        const text = mine.map((chunk) => readFileSync(chunk.path, 'utf8')).join('')
        await mkdir(dirname(join(stagingDir, path)), { recursive: true })
        await writeFile(join(stagingDir, path), text)
        files.push({ logType, path, rows: mine.reduce((sum, { lines }) => sum + lines, 0), bytes: text.length })
      }
      fail()
      return { files, chunks: chunks.map(({ lines }) => ({ lines, rows: lines, quarantined: {} })) }
    },
  }
}

function stages(bench: TestBench, sink: EventSink) {
  const { ledger, layout } = bench
  return [
    createSplit({ layout, linesPerChunk: 10 }),
    createDistribute({ ledger, layout, lanes: 2, eventsPerBatch: 25 }),
    createUpload({ ledger, layout, sink, flush: RULES }),
  ]
}

/** As if convert had just finished. */
function converted(bench: TestBench, logs: Record<string, string[]>, id = ID) {
  const { ledger, layout } = bench
  const artifact = `spool/convert/test.${id.slice(0, 16)}`
  const dir = join(layout.dataDir, artifact)
  mkdirSync(dir, { recursive: true })
  const files = Object.entries(logs).map(([logType, lines]) => {
    const text = lines.map((line) => `${line}\n`).join('')
    writeFileSync(join(dir, `${logType}.ndjson`), text)
    return { logType, records: lines.length, bytes: text.length }
  })
  ledger.transaction(() => {
    ledger.captures.add({
      id,
      name: 'a.pcap',
      source: 'lab',
      format: 'pcap',
      bytes: 1,
      path: `captures/${id}.pcap`,
      state: 'accepted',
    })
    const packets = { inFile: 1, decoded: 1, skipped: {}, lostBytes: 0 }
    const made = Object.fromEntries(files.map(({ logType, records }) => [logType, { records }]))
    ledger.captures.recordConversion(id, { engine: 'test', engineVersion: '1', packets, warnings: [], logs: made })
    ledger.artifacts.add(artifact, 'convert', id)
    ledger.jobs.add({ stage: 'split', key: id, captureId: id, input: { artifact, dir: artifact, logs: files } })
  })
}

function run(bench: TestBench, sink: EventSink) {
  for (const stage of stages(bench, sink)) {
    const runner = startRunner(stage, {
      ...bench,
      concurrency: 1,
      leaseMs: 5000,
      maxAttempts: 2,
      backoffMs: 1,
      pollMs: 10,
    })
    onTestFinished(() => runner.stop(1000))
  }
}

function dataset({ layout }: TestBench): string[] {
  if (!existsSync(layout.parquet)) return []
  const files = readdirSync(layout.parquet, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return files
    .flatMap(({ parentPath, name }) => readFileSync(join(parentPath, name), 'utf8').split('\n').filter(Boolean))
    .sort()
}

function spool({ layout }: TestBench): string[] {
  return readdirSync(layout.spool, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
}

const lines = (log: string, n: number) => Array.from({ length: n }, (_, i) => JSON.stringify({ log, i }))
const finished = (bench: TestBench, id = ID) =>
  until(() => bench.ledger.captures.get(id)?.state !== 'accepted', 'the capture')

describe('from logs to committed rows', () => {
  it('every line is there once, the receipt balances, and the spool is empty', async () => {
    const bench = testBench()
    const logs = { dns: lines('dns', 57), conn: lines('conn', 101), http: lines('http', 1) }
    converted(bench, logs)
    run(bench, lineSink())
    await finished(bench)
    expect(dataset(bench)).toEqual(Object.values(logs).flat().sort())
    const receipt = bench.ledger.receipt(ID)
    expect(receipt.problems).toEqual([])
    expect(receipt.total).toEqual({ records: 159, rows: 159, quarantined: 0, removed: 0 })
    await until(() => spool(bench).length === 0, 'the clean-up')
  })

  it('a log that is not what the engine said it wrote is an error, and no row of it appears', async () => {
    const bench = testBench()
    converted(bench, { dns: lines('dns', 20) })
    writeFileSync(join(bench.layout.spool, `convert/test.${ID.slice(0, 16)}/dns.ndjson`), lines('dns', 19).join('\n'))
    run(bench, lineSink())
    await finished(bench)
    expect(bench.ledger.captures.get(ID)?.state).toBe('failed')
    expect(bench.ledger.receipt(ID).problems.join()).toMatch(/dns.ndjson has 19 lines .* but the engine wrote 20/)
    expect(dataset(bench)).toEqual([])
  })

  it('a chunk that the sink does not account for to the last line is not committed', async () => {
    const bench = testBench()
    converted(bench, { dns: lines('dns', 20) })
    const sink = lineSink()
    run(bench, {
      async write(request) {
        const result = await sink.write(request)
        return { ...result, chunks: result.chunks.map((chunk) => ({ ...chunk, rows: chunk.rows - 1 })) }
      },
    })
    await finished(bench)
    expect(bench.ledger.receipt(ID).problems.join()).toMatch(/a chunk of 10 lines became 9 rows/)
    expect(dataset(bench)).toEqual([])
  })
})

describe('a batch of live events', () => {
  it('gives each chunk its own capture, source and numbering, and counts what has no capture under none', async () => {
    const bench = testBench()
    const { ledger, layout } = bench
    const dir = 'spool/batches/live.1'
    mkdirSync(join(layout.dataDir, dir), { recursive: true })
    const chunk = (file: string, over: Partial<Chunk>): Chunk => {
      writeFileSync(join(layout.dataDir, dir, file), '{"#":7}\n')
      return { file, logType: 'dns', firstOrdinal: 0, numbering: 'explicit', lines: 1, bytes: 8, ...over }
    }
    const input: Batch = {
      dir,
      source: 'batch',
      chunks: [
        chunk('a', { idPrefix: 'zeek-raw.1-0-' }),
        chunk('b', { idPrefix: 'zeek-raw.1-1-', source: 'sensor' }),
        chunk('c', { captureId: ID, source: 'lab' }),
      ],
    }
    ledger.transaction(() => {
      ledger.artifacts.add(dir, 'distribute', 'live')
      ledger.jobs.add({ stage: 'upload', key: 'live.1', input, events: 3, bytes: 24 })
    })
    const seen: EventChunk[] = []
    const sink = lineSink()
    run(bench, {
      write(request) {
        seen.push(...request.chunks)
        return sink.write(request)
      },
    })
    await until(() => dataset(bench).length === 3, 'the rows')
    const common = { logType: 'dns', firstOrdinal: 0, numbering: 'explicit', lines: 1, bytes: 8 }
    expect(seen.map(({ path: _, ...chunk }) => chunk)).toEqual([
      { ...common, captureId: undefined, source: 'batch', idPrefix: 'zeek-raw.1-0-' },
      { ...common, captureId: undefined, source: 'sensor', idPrefix: 'zeek-raw.1-1-' },
      { ...common, captureId: ID, source: 'lab' },
    ])
    expect(ledger.commits.countsOf('')).toMatchObject([{ logType: 'dns', rows: 2 }])
    expect(ledger.commits.countsOf(ID)).toMatchObject([{ logType: 'dns', rows: 1 }])
  })
})

describe('a process that dies', () => {
  it('before the commit has done nothing: the rows come once', async () => {
    const bench = testBench()
    converted(bench, { dns: lines('dns', 30) })
    let deaths = 0
    run(
      bench,
      lineSink(() => {
        if (deaths++ < 1) throw Object.assign(new Error('input/output error'), { code: 'EIO' })
      }),
    )
    await finished(bench)
    expect(deaths).toBeGreaterThan(1)
    expect(dataset(bench)).toEqual(lines('dns', 30).sort())
  })

  it.each([
    ['before the first rename', 0],
    ['between two renames', 1],
    ['after the last rename', 2],
  ])('%s leaves a commit that the next start finishes', async (_when, renamed) => {
    const bench = testBench()
    const { ledger, layout, log } = bench
    converted(bench, { dns: lines('dns', 5), conn: lines('conn', 5) })
    const upload = stages(bench, lineSink())[2] as ReturnType<typeof createUpload>
    for (const stage of stages(bench, lineSink()).slice(0, 2)) {
      const runner = startRunner(stage, {
        ...bench,
        concurrency: 1,
        leaseMs: 5000,
        maxAttempts: 2,
        backoffMs: 1,
        pollMs: 10,
      })
      onTestFinished(() => runner.stop(1000))
    }
    await until(() => ledger.jobs.busy(['upload']), 'the batch')
    const jobs = ledger.jobs.claim({ stage: 'upload', leaseMs: 60_000 })
    const workDir = join(layout.spool, 'staging', `x.${jobs[0]?.lease}`)
    await mkdir(workDir, { recursive: true })
    const result = await upload.handle(jobs, { log, signal: new AbortController().signal, workDir, progress: () => {} })
    if ('postponedMs' in result) throw new Error('not expected')
    ledger.transaction(() => ledger.record({ ...completionOf('upload', jobs, result, layout), keep: [] }))
    const [commit] = ledger.commits.abandoned()
    for (const { path, staged } of ledger.commits.files(commit as string).slice(0, renamed)) {
      await mkdir(dirname(join(layout.dataDir, path)), { recursive: true })
      await import('node:fs/promises').then(({ rename }) =>
        rename(join(layout.dataDir, staged), join(layout.dataDir, path)),
      )
    }
    // The process dies here; another starts.
    const next = stages(bench, lineSink())
    await sweep({ ...bench, stages: next })
    expect(dataset(bench)).toEqual([...lines('dns', 5), ...lines('conn', 5)].sort())
    expect(ledger.captures.get(ID)?.state).toBe('done')
    await sweep({ ...bench, stages: next })
    expect(dataset(bench)).toHaveLength(10)
  })

  it.skipIf(noOtherDisk)(
    `while the dataset, on another file system, is copied to leaves no doubt${noOtherDisk}`,
    async () => {
      const bench = testBench()
      bench.layout.parquet = mkdtempSync(join(OTHER_DISK, 'dataset-'))
      onTestFinished(() => rmSync(bench.layout.parquet, { recursive: true, force: true }))
      converted(bench, { dns: lines('dns', 5) })
      run(bench, lineSink())
      await until(() => bench.ledger.captures.get(ID)?.state === 'done', 'the capture')
      expect(dataset(bench)).toEqual(lines('dns', 5).sort())
      const [path = ''] = bench.ledger.commits.filesOf(ID).map((file) => join(bench.layout.dataDir, file.path))
      expect(readdirSync(dirname(path))).toEqual([basename(path)])
      await until(() => spool(bench).length === 0, 'the staged file')
    },
  )

  it('in the middle of writing leaves nothing that readers see, and what it left is swept', async () => {
    const bench = testBench()
    const orphan = join(bench.layout.spool, 'staging', 'dead.feedfacefeedface', 'dns')
    mkdirSync(orphan, { recursive: true })
    writeFileSync(join(orphan, 'events_dns_x.parquet'), 'half')
    await sweep({ ...bench, stages: stages(bench, lineSink()) })
    expect(spool(bench)).toEqual([])
    expect(dataset(bench)).toEqual([])
  })
})

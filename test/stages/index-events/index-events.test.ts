import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createIndexEvents } from '../../../stages/index-events/index-events.ts'
import type { EventIndex } from '../../../stages/ports.ts'
import { startRunner } from '../../../stages/runner.ts'
import { PipelineError } from '../../../state/errors.ts'
import { type TestBench, testBench, until } from '../../support/pipeline.ts'

const ID = 'cd'.repeat(32)

/** As if upload had just handed a batch over. */
function uploaded({ ledger, layout }: TestBench, key: string, lines: number) {
  const dir = `spool/batches/${key}.0123`
  mkdirSync(join(layout.dataDir, dir), { recursive: true })
  const text = '{"ts":1}\n'.repeat(lines)
  writeFileSync(join(layout.dataDir, dir, 'conn.ndjson'), text)
  const chunks = [{ file: 'conn.ndjson', logType: 'conn', firstOrdinal: 0, lines, bytes: text.length }]
  ledger.transaction(() => {
    ledger.captures.add({
      id: ID,
      name: 'a.pcap',
      source: 'lab',
      format: 'pcap',
      bytes: 1,
      path: 'x',
      state: 'accepted',
    })
    const packets = { inFile: 1, decoded: 1, skipped: {}, lostBytes: 0 }
    ledger.captures.recordConversion(ID, {
      engine: 'test',
      engineVersion: '1',
      packets,
      warnings: [],
      logs: { conn: { records: lines } },
    })
    ledger.commits.add({
      id: key,
      files: [],
      counts: [{ captureId: ID, logType: 'conn', rows: lines, quarantined: 0, reasons: {} }],
    })
    ledger.commits.markPublished(key)
    ledger.artifacts.add(dir, 'distribute', ID)
    ledger.jobs.add({
      stage: 'index',
      key,
      captureId: ID,
      input: { dir, source: 'lab', chunks },
      bytes: text.length,
      events: lines,
    })
    ledger.settle(ID)
  })
  return join(layout.dataDir, dir)
}

function run(bench: TestBench, eventIndex: EventIndex, maxAttempts = 2) {
  const runner = startRunner(createIndexEvents({ layout: bench.layout, eventIndex }), {
    ...bench,
    ...{ concurrency: 1, leaseMs: 5000, maxAttempts, backoffMs: 1, pollMs: 10 },
  })
  onTestFinished(() => runner.stop(1000))
}

const down = () => new PipelineError('sink_down', 'Elasticsearch: connect ECONNREFUSED', { retryable: true })

describe('the index stage', () => {
  it('waits for a server that is down, however often it is asked, and counts no attempt; the capture is done all the same', async () => {
    const bench = testBench()
    const dir = uploaded(bench, 'b1', 30)
    let calls = 0
    run(bench, {
      async index({ chunks }) {
        if (++calls <= 20) throw down()
        return answer(chunks.map(({ lines }) => ({ lines, documents: lines, duplicates: 0, rejected: {} })))
      },
    })
    expect(bench.ledger.captures.get(ID)?.state).toBe('done')
    expect(bench.ledger.receipt(ID)).toMatchObject({ balanced: true, elasticsearch: { documents: 0, waiting: 30 } })
    expect(existsSync(dir)).toBe(true)
    await until(() => bench.ledger.jobs.find('index', 'b1')?.status === 'done', 'the batch is indexed')
    expect(bench.ledger.jobs.find('index', 'b1')?.attempts).toBe(0)
    expect(bench.ledger.receipt(ID)).toMatchObject({
      balanced: true,
      problems: [],
      elasticsearch: { documents: 30, waiting: 0 },
    })
    await until(() => !existsSync(dir), 'its directory is removed')
  })

  it('removes a batch only when all of it is accounted for, with what was refused beside the other quarantined things', async () => {
    const bench = testBench()
    const dir = uploaded(bench, 'b1', 10)
    run(bench, {
      async index({ chunks, deadLetterFile }) {
        writeFileSync(deadLetterFile, '{"reason":"document_parsing_exception"}\n'.repeat(2))
        return {
          ...answer(
            chunks.map(({ lines }) => ({
              lines,
              documents: 8,
              duplicates: 3,
              rejected: { document_parsing_exception: 2 },
            })),
          ),
          hasDeadLetters: true,
        }
      },
    })
    await until(() => bench.ledger.jobs.find('index', 'b1')?.status === 'done', 'the batch is indexed')
    const receipt = bench.ledger.receipt(ID)
    expect(receipt.elasticsearch).toEqual({
      documents: 8,
      rejected: 2,
      reasons: { document_parsing_exception: 2 },
      waiting: 0,
      notSent: 0,
    })
    expect(receipt.balanced).toBe(true)
    const [file = ''] = readdirSync(bench.layout.quarantine)
    expect(file).toMatch(new RegExp(`^${ID.slice(0, 12)}-elasticsearch-`))
    expect(readFileSync(join(bench.layout.quarantine, file), 'utf8')).toContain('document_parsing_exception')
    await until(() => !existsSync(dir), 'its directory is removed')
  })

  it('fails loudly, and keeps the batch, when some lines are not accounted for', async () => {
    const bench = testBench()
    const dir = uploaded(bench, 'b1', 10)
    run(bench, {
      index: async ({ chunks }) =>
        answer(chunks.map(({ lines }) => ({ lines, documents: 9, duplicates: 0, rejected: {} }))),
    })
    await until(() => bench.ledger.jobs.find('index', 'b1')?.status === 'failed', 'the batch has failed')
    expect(bench.ledger.captures.get(ID)?.state).toBe('failed')
    expect(bench.ledger.receipt(ID).problems.join()).toContain('10 lines became 9 documents')
    expect(existsSync(dir)).toBe(true)
  })
})

function answer(chunks: Awaited<ReturnType<EventIndex['index']>>['chunks']) {
  return { chunks, hasDeadLetters: false, requests: 1, bytes: 1, retried: 0 }
}

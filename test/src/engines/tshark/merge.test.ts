import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { mergeLogs } from '../../../../src/engines/tshark/merge.ts'
import type { Piece } from '../../../../src/engines/tshark/pass.ts'
import { scratch } from '../../capture/files.ts'

const linesOf = (records: object[]): string => records.map((record) => `${JSON.stringify(record)}\n`).join('')

const piece = (log: string, records: object[]): Piece => ({
  log,
  records: records.length,
  ranges: [],
  tail: linesOf(records),
})

async function merge(pieces: Piece[]) {
  const dir = await scratch()
  const written = await mergeLogs(pieces, dir)
  const logs: Record<string, object[]> = {}
  for (const name of await readdir(dir)) {
    const text = await readFile(join(dir, name), 'utf8')
    const log = name.replace('.ndjson', '')
    const records = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(written[log]).toEqual({ records: records.length, bytes: Buffer.byteLength(text) })
    logs[log] = records
  }
  expect(Object.keys(logs).sort()).toEqual(Object.keys(written).sort())
  return logs
}

it('the parts stand one after another, of each the ranges of its file before what was in memory', async () => {
  const path = join(await scratch(), 'lines')
  const [first, other, second] = [[{ n: 1, text: 'schön' }], [{ n: 99 }], [{ n: 2 }]].map(linesOf) as string[]
  await writeFile(path, `${first}${other}${second}`)
  const bytes = (text = '') => Buffer.byteLength(text)
  const ranges: [number, number][] = [
    [0, bytes(first)],
    [bytes(first) + bytes(other), bytes(second)],
  ]
  const logs = await merge([
    { log: 'conn', records: 3, path, ranges, tail: linesOf([{ n: 3 }]) },
    piece('conn', [{ n: 4 }]),
    piece('dns', [{ n: 5 }]),
  ])
  expect(logs).toEqual({ conn: [{ n: 1, text: 'schön' }, { n: 2 }, { n: 3 }, { n: 4 }], dns: [{ n: 5 }] })
})

it('a log without records has no file', async () => {
  expect(await merge([piece('conn', [])])).toEqual({})
  expect(await merge([])).toEqual({})
})

const certificate = (ts: number, fingerprint: string, host_cert = true) => ({
  ts,
  fingerprint,
  host_cert,
  client_cert: false,
})

it('a certificate that several parts have met is told once a day, where it came first', async () => {
  const { x509 } = await merge([
    piece('x509', [certificate(500, 'aa'), certificate(90_000, 'aa')]),
    piece('x509', [certificate(100, 'aa'), certificate(100, 'bb'), certificate(200, 'aa', false)]),
    piece('x509', [certificate(100, 'aa')]),
  ])
  expect(x509).toEqual([
    certificate(90_000, 'aa'),
    certificate(100, 'aa'),
    certificate(100, 'bb'),
    certificate(200, 'aa', false),
  ])
})

it('an oddity of no flow that several parts have met is told once in ten minutes; those of flows all are', async () => {
  const odd = (ts: number, more: object = {}) => ({ ts, name: 'ip_hdr_len_zero', ...more })
  const flow = (ts: number) => odd(ts, { uid: 'C1' })
  const pair = odd(3, { 'id.orig_h': '10.0.0.1', 'id.resp_h': '10.0.0.2' })
  const cut = (addl: string) => ({ ts: 9, name: 'log_container_field_truncated', addl })
  const { weird } = await merge([
    piece('weird', [odd(10), flow(1), pair, cut('DNS::LOG')]),
    piece('weird', [odd(5), odd(700), flow(1), { ...cut('DNS::LOG'), ts: 99_999 }, cut('SMTP::LOG')]),
  ])
  expect(weird).toEqual([flow(1), pair, cut('DNS::LOG'), odd(5), odd(700), flow(1), cut('SMTP::LOG')])
})

it('a log of which something is left out is read in pieces, whatever falls between two of them', async () => {
  const path = join(await scratch(), 'lines')
  const many = Array.from({ length: 30_000 }, (_, ts) => ({
    ts,
    uid: `Cü${ts}`,
    name: 'odd',
    addl: 'é'.repeat(ts % 50),
  }))
  await writeFile(path, linesOf(many))
  const { weird } = await merge([
    { log: 'weird', records: many.length, path, ranges: [[0, Buffer.byteLength(linesOf(many))]], tail: '' },
    piece('weird', many),
  ])
  expect(weird).toEqual([...many, ...many])
})

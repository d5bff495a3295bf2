import { expect, it } from 'vitest'
import { receiptText } from '../../../src/cli/receipt-text.ts'
import type { CaptureRow } from '../../../state/captures.ts'
import { makeReceipt, type ReceiptFacts } from '../../../state/receipt.ts'

const capture: CaptureRow = {
  id: 'ab'.repeat(32),
  name: 'office\n.pcap',
  source: 'lab',
  format: 'pcap',
  bytes: 1234,
  path: 'captures/x.pcap',
  state: 'done',
  engine: 'tshark',
  engineVersion: '4.0.17',
  packets: {
    inFile: 10,
    decoded: 9,
    skipped: { poison: 1 },
    lostBytes: 3,
    salvaged: 'cut at byte 1231',
    firstTime: 0,
    lastTime: 1,
  },
  warnings: [],
  clockOffsetUs: 0,
  keyLog: null,
  keysConverted: null,
  tls: null,
  acceptedAt: 0,
  fileRemovedAt: null,
  finishedAt: 1,
}

const facts: ReceiptFacts = {
  capture,
  arrivals: [],
  records: [{ logType: 'dns', records: 5 }],
  removed: [],
  counts: [{ captureId: capture.id, logType: 'dns', rows: 4, quarantined: 1, reasons: { 'not JSON': 1 } }],
  jobs: [],
  unpublished: false,
  onTheBus: 0,
}

it('says where every packet and every record went', () => {
  const text = receiptText(makeReceipt(facts))
  expect(text).toContain('packets   10 in the file = 9 decoded + 1 (poison) skipped')
  expect(text).toContain('records   5 made = 4 rows + 1 in quarantine')
  expect(text).toContain('dns: 1 not JSON')
  expect(text).toContain('salvaged  cut at byte 1231; 3 B lost')
  expect(text).toContain('balanced')
  expect(text).toContain('office\\x0a.pcap')
})

it('says what is missing', () => {
  const text = receiptText(makeReceipt({ ...facts, counts: [] }))
  expect(text).toMatch(/NOT BALANCED\n +dns: 5 records made, but 0 rows and 0 lines in quarantine/)
})

it('an empty capture is never a success without a word', () => {
  const empty = { ...capture, state: 'empty' as const, packets: null, engine: null, engineVersion: null }
  const text = receiptText(makeReceipt({ ...facts, capture: empty, records: [], counts: [] }))
  expect(text).toContain('empty: there is no packet in this capture')
})

it('says what of it Elasticsearch has, has refused and is still to get', () => {
  const batch = {
    stage: 'index',
    key: 'b',
    captureId: capture.id,
    crashes: 0,
    attempts: 0,
    error: null,
    errorCode: null,
  } as const
  const rest = {
    notBefore: 0,
    leaseUntil: null,
    bytes: 1,
    progress: undefined,
    outputs: undefined,
    createdAt: 0,
    updatedAt: 0,
  }
  const waiting = { ...batch, ...rest, status: 'ready' as const, events: 1234 }
  const records = [{ logType: 'dns', records: 1234 }]
  const counts = [{ captureId: capture.id, logType: 'dns', rows: 1234, quarantined: 0, reasons: {} }]
  const before = makeReceipt({ ...facts, records, counts, jobs: [waiting] })
  expect(before.balanced).toBe(true)
  expect(receiptText(before)).toContain('Elasticsearch: 0 documents, 0 refused, 1,234 waiting')

  const done = { ...waiting, status: 'done' as const }
  const documents = [
    {
      captureId: capture.id,
      logType: 'dns',
      documents: 1230,
      duplicates: 0,
      rejected: 4,
      reasons: { document_parsing_exception: 4 },
    },
  ]
  const after = makeReceipt({ ...facts, records, counts, jobs: [done], documents })
  expect(after.balanced).toBe(true)
  expect(receiptText(after)).toContain('refused: 4 document_parsing_exception')
  const lost = makeReceipt({
    ...facts,
    records,
    counts,
    jobs: [done],
    documents: documents.map((each) => ({ ...each, rejected: 0 })),
  })
  expect(lost.problems).toEqual(['Elasticsearch: 1234 records sent, but 1230 documents and 0 refused'])
  const partly = makeReceipt({
    ...facts,
    records,
    counts,
    jobs: [{ ...done, events: 1000 }],
    documents: documents.map((each) => ({ ...each, documents: 996 })),
  })
  expect(partly.balanced).toBe(true)
  expect(receiptText(partly)).toContain('234 made before it was set')
})

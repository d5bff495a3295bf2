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
  acceptedAt: 0,
  finishedAt: 1,
}

const facts: ReceiptFacts = {
  capture,
  arrivals: [],
  records: [{ logType: 'dns', records: 5 }],
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

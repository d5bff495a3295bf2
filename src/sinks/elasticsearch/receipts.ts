/** Receipts of finished captures as documents: what the pipeline's own dashboard in Kibana is made of. */

import type { Client } from '@elastic/elasticsearch'
import type { Ledger } from '../../../state/ledger.ts'
import type { Receipt } from '../../../state/receipt.ts'
import { type Json, receiptsIndex } from './templates.ts'

const SINK = 'elasticsearch'
const AT_ONCE = 100

/** Sends those that are new or have changed; answers how many. */
export async function sendReceipts(client: Client, prefix: string, ledger: Ledger): Promise<number> {
  let sent = 0
  for (;;) {
    const due = ledger.sinks.dueReceipts(SINK, AT_ONCE)
    if (due.length === 0) return sent
    const operations = due.flatMap(({ captureId }) => [
      { index: { _index: receiptsIndex(prefix), _id: captureId } },
      receiptDocument(ledger.receipt(captureId)),
    ])
    const { errors, items } = await client.bulk({ operations })
    if (errors) {
      const reason = items.find((item) => item.index?.error)?.index?.error?.reason
      throw new Error(`receipts were refused: ${reason}`)
    }
    ledger.transaction(() => {
      for (const { captureId, digest } of due) ledger.sinks.noteReceipt(SINK, captureId, digest)
    })
    sent += due.length
    if (due.length < AT_ONCE) return sent
  }
}

export function receiptDocument({ capture, packets, logs, total, balanced, problems, elasticsearch }: Receipt): Json {
  const skipped = Object.values(packets?.skipped ?? {}).reduce((sum, n) => sum + n, 0)
  const took = capture.finishedAt === null ? undefined : (capture.finishedAt - capture.acceptedAt) * 1e6
  const iso = (ms: number | null) => (ms === null ? undefined : new Date(ms).toISOString())
  return {
    '@timestamp': iso(capture.finishedAt ?? capture.acceptedAt),
    event: {
      kind: 'metric',
      dataset: 'pcap_pipeline.receipt',
      outcome: balanced && capture.state !== 'failed' ? 'success' : 'failure',
      start: iso(capture.acceptedAt),
      end: iso(capture.finishedAt),
      duration: took,
    },
    observer: { name: capture.source },
    labels: { pcap_sha256: capture.id, pcap_name: capture.name, source: capture.source },
    receipt: {
      state: capture.state,
      engine: capture.engine ?? undefined,
      engine_version: capture.engineVersion ?? undefined,
      balanced,
      salvaged: packets?.salvaged !== undefined,
      bytes: capture.bytes,
      problems: problems.slice(0, 100),
      packets: packets === null ? undefined : { in_file: packets.inFile, decoded: packets.decoded, skipped },
      records: total.records,
      rows: total.rows,
      quarantined: total.quarantined,
      documents: elasticsearch?.documents,
      rejected: elasticsearch?.rejected,
      log_types: logs.map(({ logType }) => logType),
      logs: Object.fromEntries(logs.map(({ logType, records }) => [logType, records])),
    },
  }
}

/** A receipt as people read it. */

import type { TlsAccount } from '../../state/capture.ts'
import type { IndexAccount, Receipt } from '../../state/receipt.ts'
import { clockOffsetText } from '../clock-offset.ts'
import { bytesText, printable, textTable, timeText } from './text.ts'

export function receiptText(receipt: Receipt): string {
  const { capture, arrivals, packets, logs, total, removedAt, balanced, problems } = receipt
  const lines = [
    `capture   ${capture.id}`,
    `file      ${printable(capture.name)}, ${bytesText(capture.bytes)}, source ${printable(capture.source)}`,
  ]
  const copies = arrivals.filter(({ outcome }) => outcome === 'duplicate').length
  if (copies > 0) lines.push(`copies    came ${copies} more time${copies === 1 ? '' : 's'}; not processed again`)
  if (capture.fileRemovedAt !== null)
    lines.push(`stored    no more: the file was removed by retention on ${timeText(capture.fileRemovedAt)}`)
  if (capture.engine) lines.push(`engine    ${capture.engine} ${capture.engineVersion}`)
  lines.push(`state     ${capture.state}${packets?.salvaged ? ', salvaged' : ''}`)
  if (packets) {
    const skipped = Object.entries(packets.skipped).map(([reason, n]) => `${n} (${reason})`)
    lines.push(
      `packets   ${packets.inFile} in the file = ${packets.decoded} decoded + ${skipped.join(' + ') || '0'} skipped`,
    )
    if (packets.salvaged) lines.push(`salvaged  ${printable(packets.salvaged)}; ${bytesText(packets.lostBytes)} lost`)
    if (packets.firstTime !== undefined && packets.lastTime !== undefined) {
      lines.push(`time      ${timeText(packets.firstTime * 1000)} to ${timeText(packets.lastTime * 1000)}`)
    }
  }
  if (capture.clockOffsetUs !== 0)
    lines.push(`clock     ${clockOffsetText(capture.clockOffsetUs)} added to every time (CLOCK_OFFSETS)`)
  if (capture.tls) lines.push(`tls       ${tlsText(capture.tls)}`)
  const gone = total.removed > 0 ? ` + ${total.removed} removed by retention` : ''
  lines.push(`records   ${total.records} made = ${total.rows} rows + ${total.quarantined} in quarantine${gone}`)
  if (removedAt !== null) lines.push(`retention ${total.removed} rows removed, the last on ${timeText(removedAt)}`)
  for (const { logType, quarantined, reasons } of logs) {
    if (quarantined > 0)
      lines.push(
        `          ${logType}: ${Object.entries(reasons)
          .map(([reason, n]) => `${n} ${reason}`)
          .join(', ')}`,
      )
  }
  if (receipt.elasticsearch) lines.push(...indexLines(receipt.elasticsearch))
  for (const warning of receipt.warnings) lines.push(`warning   ${printable(warning)}`)
  if (logs.length > 0) {
    const withRemoved = total.removed > 0
    const rows = logs.map(({ logType, records, rows: n, quarantined, removed }) => [
      ...[logType, records, n, quarantined],
      ...(withRemoved ? [removed] : []),
    ])
    const columns = ['log', 'records', 'rows', 'quarantined', ...(withRemoved ? ['removed'] : [])]
    lines.push('', textTable(columns, rows), '')
  }
  lines.push(balanced ? `balanced  ${endingText(receipt)}` : 'NOT BALANCED')
  for (const problem of problems) lines.push(`          ${printable(problem)}`)
  return lines.join('\n')
}

function indexLines({ documents, rejected, reasons, waiting, notSent }: IndexAccount): string[] {
  const n = (count: number) => count.toLocaleString('en')
  const rest = [
    waiting > 0 ? `${n(waiting)} waiting` : '',
    notSent > 0 ? `${n(notSent)} made before it was set; \`elasticsearch backfill\` loads them` : '',
  ].filter(Boolean)
  const refused = Object.entries(reasons).map(([reason, count]) => `${n(count)} ${printable(reason)}`)
  return [
    `search    Elasticsearch: ${[`${n(documents)} documents`, `${n(rejected)} refused`, ...rest].join(', ')}`,
    ...(refused.length > 0 ? [`          refused: ${refused.join(', ')}`] : []),
  ]
}

function tlsText({ keys, sessions, withKeys, decrypted }: TlsAccount): string {
  const of = `${decrypted} of ${sessions} ${sessions === 1 ? 'session' : 'sessions'} decrypted`
  return `keys of ${keys} ${keys === 1 ? 'session' : 'sessions'}, ${withKeys} of them in the capture; ${of}`
}

function endingText({ capture }: Receipt): string {
  if (capture.state === 'empty') return 'empty: there is no packet in this capture'
  return 'every packet and every record is accounted for'
}

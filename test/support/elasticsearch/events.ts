/** Made-up conn and dns records as chunk files: always the same for the same numbers. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EventChunk } from '../../../stages/ports.ts'

export const CAPTURE = 'ab'.repeat(32)
const LINES_PER_CHUNK = 10_000
/** 2026-01-15T00:00:00Z; a record each 40 s, so that 100,000 of them span two months. */
const START = 1768435200
const STEP = 40

export function connLine(n: number): string {
  return JSON.stringify({
    ts: START + n * STEP + 0.25,
    uid: `C${n.toString(36)}`,
    'id.orig_h': `10.${n % 3}.${(n >> 8) % 256}.${n % 256}`,
    'id.orig_p': 1024 + (n % 60000),
    'id.resp_h': `192.0.2.${n % 200}`,
    'id.resp_p': [53, 80, 443, 22][n % 4],
    proto: n % 4 === 0 ? 'udp' : 'tcp',
    service: ['dns', 'http', 'ssl,http', 'ssh'][n % 4],
    duration: (n % 1000) / 1000,
    orig_bytes: n % 5000,
    resp_bytes: n % 70000,
    conn_state: ['SF', 'S0', 'REJ', 'RSTO'][n % 4],
    local_orig: true,
    local_resp: false,
    missed_bytes: 0,
    history: 'ShADadFf',
    orig_pkts: n % 50,
    orig_ip_bytes: n % 9000,
    resp_pkts: n % 60,
    resp_ip_bytes: n % 90000,
  })
}

export function dnsLine(n: number): string {
  return JSON.stringify({
    ts: START + n * STEP,
    uid: `D${n.toString(36)}`,
    'id.orig_h': `10.1.${(n >> 8) % 256}.${n % 256}`,
    'id.orig_p': 40000,
    'id.resp_h': '192.0.2.53',
    'id.resp_p': 53,
    proto: 'udp',
    trans_id: n % 65536,
    query: `host${n % 500}.Example.ORG`,
    qclass: 1,
    qtype_name: 'A',
    rcode: n % 10 === 0 ? 3 : 0,
    rcode_name: n % 10 === 0 ? 'NXDOMAIN' : 'NOERROR',
    AA: false,
    RD: true,
    answers: [`198.51.100.${n % 250}`],
    TTLs: [60],
  })
}

/** Half conn, half dns. */
export function writeEvents(dir: string, events: number, captureId = CAPTURE): EventChunk[] {
  const half = events / 2
  return [
    ...writeLog(dir, 'conn', half, connLine, captureId),
    ...writeLog(dir, 'dns', events - half, dnsLine, captureId),
  ]
}

export function writeLog(
  dir: string,
  logType: string,
  lines: number,
  make: (n: number) => string,
  captureId = CAPTURE,
): EventChunk[] {
  mkdirSync(dir, { recursive: true })
  const chunks: EventChunk[] = []
  for (let first = 0; first < lines; first += LINES_PER_CHUNK) {
    const count = Math.min(LINES_PER_CHUNK, lines - first)
    const text = Array.from({ length: count }, (_, i) => `${make(first + i)}\n`).join('')
    const path = join(dir, `${logType}-${first}.ndjson`)
    writeFileSync(path, text)
    chunks.push({
      path,
      logType,
      captureId,
      source: 'lab',
      firstOrdinal: first,
      lines: count,
      bytes: Buffer.byteLength(text),
    })
  }
  return chunks
}

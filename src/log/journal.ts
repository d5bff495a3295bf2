/**
 * systemd's journal as the console: one event, one record, with its priority.
 *
 * Over the journal's own socket an event keeps its values as fields (`PCAP_JOB=…`, `PCAP_COMPONENT=…`), which
 * `journalctl` finds. Where there is no such socket, or it does not take the record at once, the event is a line of
 * stdout that begins with its priority, `<4>`. Sources: sd-daemon(3), and systemd's "Native Journal Protocol".
 */

import { fstatSync } from 'node:fs'
import { type LogEvent, shownValues } from './line.ts'

const PRIORITY: Record<string, number> = { error: 3, warn: 4, info: 6, debug: 7 }
const IDENTIFIER = 'pcap-pipeline'
/** Of names of fields; the journal drops a record with a longer one. */
const LONGEST_NAME = 64

/** Whether that descriptor is the journal's, as JOURNAL_STREAM (`<device>:<inode>`) tells: systemd.exec(5). */
export function isJournal(fd: number, journalStream: string | undefined): boolean {
  if (journalStream === undefined) return false
  try {
    const { dev, ino } = fstatSync(fd)
    return journalStream === `${dev}:${ino}`
  } catch {
    return false
  }
}

/** A line (or several) for a stream that is the journal's: each bears the priority. */
export function prioritized(level: string, text: string): string {
  const prefix = `<${PRIORITY[level] ?? PRIORITY.info}>`
  return text
    .split('\n')
    .map((line) => `${prefix}${line}`)
    .join('\n')
}

/** An event as a datagram of the journal's own protocol; `line` is its message. */
export function journalRecord({ level, values }: LogEvent, line: string): Buffer {
  const fields: [string, string][] = [
    ['MESSAGE', line],
    ['PRIORITY', String(PRIORITY[level] ?? PRIORITY.info)],
    ['SYSLOG_IDENTIFIER', IDENTIFIER],
    ...shownValues(values).map(([name, text]): [string, string] => [fieldName(name), text]),
  ]
  return Buffer.concat(fields.map(([name, text]) => field(name, text)))
}

/** Ours begin with PCAP_, so that none can be taken for one of the journal's. */
function fieldName(name: string): string {
  return `PCAP_${name.toUpperCase().replace(/[^A-Z0-9_]/g, '_')}`.slice(0, LONGEST_NAME)
}

/** A text of several lines has its length before it: 64 bits, little-endian. */
function field(name: string, text: string): Buffer {
  if (!text.includes('\n')) return Buffer.from(`${name}=${text}\n`)
  const bytes = Buffer.from(text)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(bytes.length))
  return Buffer.concat([Buffer.from(`${name}\n`), length, bytes, Buffer.from('\n')])
}

/**
 * Puts the logs of a capture's parts together. In: the pieces of all passes. Out: one file a log, the parts one after
 * another, and what was written. What Zeek says once a capture, and each part has said for itself, is said once.
 */

import { createReadStream } from 'node:fs'
import { open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Piece } from './pass.ts'

type Written = Record<string, { records: number; bytes: number }>

export async function mergeLogs(pieces: readonly Piece[], outDir: string): Promise<Written> {
  const written: Written = {}
  const logs = [...new Set(pieces.map(({ log }) => log))].sort()
  for (const log of logs) {
    const parts = pieces.filter((piece) => piece.log === log && piece.records > 0).sort((a, b) => a.part - b.part)
    const select = ONCE[log]
    const file = join(outDir, `${log}.ndjson`)
    const result = select === undefined ? await append(parts, file) : await appendSome(parts, file, select)
    if (result.records > 0) written[log] = result
  }
  return written
}

async function append(parts: readonly Piece[], path: string): Promise<{ records: number; bytes: number }> {
  await using file = await open(path, 'w')
  let [records, bytes] = [0, 0]
  for (const { records: n, spilled, tail } of parts) {
    if (spilled !== undefined) {
      for await (const block of createReadStream(spilled, { highWaterMark: 1 << 20 })) {
        await file.appendFile(block)
        bytes += block.length
      }
    }
    if (tail !== '') {
      await file.appendFile(tail)
      bytes += Buffer.byteLength(tail)
    }
    records += n
  }
  return { records, bytes }
}

interface Entry {
  line: string
  record: Record<string, unknown> & { ts: number }
}

/** Which of all the entries of a log stay; they come in the order of their times. */
type Select = (entries: readonly Entry[]) => Set<Entry>

const ONCE: Record<string, Select> = { x509: oncePerDay, weird: withoutRepeats }

/** Logs that are chosen from are small: certificates and oddities. */
async function appendSome(
  parts: readonly Piece[],
  path: string,
  select: Select,
): Promise<{ records: number; bytes: number }> {
  const entries: Entry[] = []
  for (const { spilled, tail } of parts) {
    const text = (spilled === undefined ? '' : await readFile(spilled, 'utf8')) + tail
    for (const line of text.split('\n')) if (line !== '') entries.push({ line, record: JSON.parse(line) })
  }
  const kept = select([...entries].sort((a, b) => a.record.ts - b.record.ts))
  const lines = entries.filter((entry) => kept.has(entry)).map(({ line }) => `${line}\n`)
  if (lines.length === 0) return { records: 0, bytes: 0 }
  const text = lines.join('')
  await writeFile(path, text)
  return { records: lines.length, bytes: Buffer.byteLength(text) }
}

/** Zeek logs a certificate again only after a day. */
const RELOG_SECONDS = 86_400

function oncePerDay(entries: readonly Entry[]): Set<Entry> {
  const before = new Map<string, number>()
  return new Set(
    entries.filter(({ record }) => {
      const key = `${record.fingerprint} ${record.host_cert} ${record.client_cert}`
      const last = before.get(key)
      if (last !== undefined && record.ts < last + RELOG_SECONDS) return false
      before.set(key, record.ts)
      return true
    }),
  )
}

/** What is weird about a log, not about a flow, is told once. */
function withoutRepeats(entries: readonly Entry[]): Set<Entry> {
  const told = new Set<unknown>()
  return new Set(
    entries.filter(({ record }) => {
      if (record.name !== 'log_container_field_truncated') return true
      if (told.has(record.addl)) return false
      told.add(record.addl)
      return true
    }),
  )
}

/** A data directory with captures in it, and ways in which its ledger and its dataset are lost. */

import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import BetterSqlite3 from 'better-sqlite3'
import { cutTail, nanosecond, packetsOf, pcapng, sample } from '../fixtures/variants.ts'
import type { Home } from './cli.ts'

/** Captures that differ, of which two have the same packets. */
export function makeCaptures(dir: string): string[] {
  mkdirSync(dir, { recursive: true })
  const bytes = sample()
  const half = (packetsOf(bytes).length / 2) | 0
  const variants = {
    'sample.pcap': bytes,
    'nanos.pcap': nanosecond(bytes),
    'ng.pcapng': pcapng(bytes),
    'cut.pcap': cutTail(bytes),
  }
  return Object.entries({ ...variants, 'half.pcap': halfOf(bytes, half) }).map(([name, content]) => {
    const path = join(dir, name)
    writeFileSync(path, content)
    return path
  })
}

function halfOf(bytes: Buffer, packets: number): Buffer {
  const kept = packetsOf(bytes).slice(0, packets)
  const end = kept.reduce((at, packet) => at + 16 + packet.data.length, 24)
  return bytes.subarray(0, end)
}

export function ledgerPath(home: Home): string {
  return join(home.dataDir, 'pipeline.db')
}

export function removeLedger(home: Home): void {
  for (const end of ['', '-wal', '-shm']) rmSync(`${ledgerPath(home)}${end}`, { force: true })
}

/** The pages of these tables are filled with nonsense; all others stay whole. */
export function damageTables(path: string, tables: readonly string[]): void {
  const db = new BetterSqlite3(path)
  db.pragma('journal_mode = DELETE')
  const size = db.pragma('page_size', { simple: true }) as number
  const pages = db
    .prepare(`SELECT pageno FROM dbstat WHERE name IN (${tables.map(() => '?').join(', ')})`)
    .pluck()
    .all(...tables) as number[]
  db.close()
  const file = openSync(path, 'r+')
  for (const page of pages) writeSync(file, Buffer.alloc(size, 0xa5), 0, size, (page - 1) * size)
  closeSync(file)
}

/** Absolute paths of the dataset's files, of one log type or all. */
export function parquetFiles(home: Home, logType = ''): string[] {
  const root = join(home.dataDir, 'parquet')
  return readdirSync(join(root, logType), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.parquet'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
}

/**
 * What is known of each Parquet file, so that no footer is read twice.
 *
 * In: a file's path, size and time of change. Out: a fingerprint of its schema and, once asked for, its row
 * count. Published files never change, so a fact holds as long as size and time do. The facts are kept in a
 * JSON file between processes; it is a cache alone: absent, damaged or of another version means reading again.
 */

import { randomUUID } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DataFile } from './files.ts'

export interface Facts {
  /** Equal for files with equal schemas: decimal digits. */
  schema: string
  rows?: number
}

export interface FactStore {
  get(file: DataFile): Facts | undefined
  set(file: DataFile, facts: Facts): void
  /** Forgets the files below `prefix` that are not among `files`. */
  retain(prefix: string, files: readonly DataFile[]): void
  /** Writes the cache file if something is new. Never throws: without it the next process is slower, no more. */
  save(): Promise<void>
}

type Entry = [bytes: number, mtimeMs: number, schema: string, rows?: number]

/** @param workDir Of this process alone, on the file system of the cache. */
export async function openFacts(cachePath: string, version: string, workDir: string): Promise<FactStore> {
  const entries = await load(cachePath, version)
  let changed = false
  return {
    get(file) {
      const entry = entries.get(file.path)
      if (!entry || entry[0] !== file.bytes || entry[1] !== file.mtimeMs) return undefined
      return entry[3] === undefined ? { schema: entry[2] } : { schema: entry[2], rows: entry[3] }
    },
    set(file, { schema, rows }) {
      const entry: Entry = [file.bytes, file.mtimeMs, schema]
      if (rows !== undefined) entry.push(rows)
      entries.set(file.path, entry)
      changed = true
    },
    retain(prefix, files) {
      const paths = new Set(files.map((file) => file.path))
      for (const path of entries.keys()) {
        if (!path.startsWith(prefix) || paths.has(path)) continue
        entries.delete(path)
        changed = true
      }
    },
    async save() {
      if (!changed) return
      changed = false
      const part = join(workDir, `${randomUUID()}.part`)
      try {
        await writeFile(part, JSON.stringify({ version, files: Object.fromEntries(entries) }))
        await rename(part, cachePath)
      } catch {
        // A full disk or a read-only folder takes the speed of the next start, nothing else.
      }
    },
  }
}

async function load(cachePath: string, version: string): Promise<Map<string, Entry>> {
  try {
    const stored: unknown = JSON.parse(await readFile(cachePath, 'utf8'))
    if (!isRecord(stored) || stored.version !== version || !isRecord(stored.files)) return new Map()
    return new Map(Object.entries(stored.files).filter((pair): pair is [string, Entry] => isEntry(pair[1])))
  } catch {
    return new Map()
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isEntry(value: unknown): value is Entry {
  if (!Array.isArray(value)) return false
  const [bytes, mtimeMs, schema, rows] = value
  const counts = [bytes, mtimeMs, rows ?? 0].every((n) => typeof n === 'number' && Number.isFinite(n))
  return counts && typeof schema === 'string' && /^\d+$/.test(schema)
}

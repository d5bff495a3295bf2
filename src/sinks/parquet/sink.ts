/**
 * The Parquet sink: chunk files of Zeek records in, staged Parquet files and an account of every line out.
 *
 * Each log type's chunks are cut into groups of bounded size; a group is prepared (scanned, and rewritten where that
 * is needed), written by one statement, checked for conservation, and flushed to the disk. Groups run side by side,
 * `threads` of them. Safe to repeat with an empty `stagingDir`: the same request gives the same rows.
 */

import { mkdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { flush } from '../../../stages/durable.ts'
import { type Network, parseNetwork } from '../../../stages/upload/rules/address.ts'
import { tableOf } from '../../../stages/upload/rules/table.ts'
import { LOG_TYPE, loadRules, type Rules, type RulesFiles } from '../../../stages/upload/rules.ts'
import { errnoOf, messageOf, PipelineError } from '../../../state/errors.ts'
import { type ChunkGroup, groupChunks } from './groups.ts'
import { createScratch } from './lines.ts'
import { type WritePlan, writePlan } from './plan.ts'
import { createLineReader, type LineReader, type PreparedChunk, prepareChunk } from './prepare.ts'
import { createQuarantine, type Quarantine } from './quarantine.ts'
import { MAX_HOURS_COUNTED } from './scan.ts'
import { literal } from './sql-text.ts'
import type { ChunkAccount, EventChunk, ParquetResult, ParquetSink, ParquetSinkOptions, SinkRequest } from './types.ts'
import { checkConserved, readStats, type StatsRow, type WrittenFile } from './written.ts'

const QUARANTINE_FILE = '_quarantine.ndjson'
const TEMP_DIR = '_tmp'

/** A statement's lines and files: short lines make long rows, and each file is named in the statement. */
const GROUP_LINES = 400_000
const GROUP_FILES = 1000

/** A running statement holds a thread of Node's pool of four; one is left for files. */
const MAX_WORKERS = 3

/** Throws `rules_invalid` and `config_invalid`. */
export async function openParquetSink(options: ParquetSinkOptions): Promise<ParquetSink> {
  const settings = {
    maxLineBytes: 8 * 2 ** 20,
    groupBytes: 64 * 2 ** 20,
    maxHours: 1000,
    ...options,
    rules: await loadRules(options),
    networks: options.localNetworks.map(parseNetwork),
  }
  return {
    async write(request) {
      checkRequest(request)
      const { signal } = request
      signal?.throwIfAborted()
      const tempDir = join(request.stagingDir, TEMP_DIR)
      await mkdir(tempDir, { recursive: true })
      const instance = await openInstance(settings, tempDir)
      const quarantine = createQuarantine(join(request.stagingDir, QUARANTINE_FILE))
      const write: Write = {
        request,
        settings,
        tempDir,
        quarantine,
        accounts: new Array(request.chunks.length),
        files: [],
      }
      try {
        const limits = { bytes: settings.groupBytes, lines: GROUP_LINES, files: GROUP_FILES }
        const groups = [...groupChunks(request.chunks, limits).entries()].values()
        // One iterator for all workers: each takes the next group when it is free.
        const workers = Array.from({ length: Math.min(MAX_WORKERS, Math.max(1, settings.threads)) }, () =>
          work(write, instance, groups),
        )
        await settle(workers)
        const hasQuarantine = await quarantine.finish()
        await rm(tempDir, { recursive: true, force: true })
        await flushDirs(request.stagingDir, write.files)
        return resultOf(write, hasQuarantine)
      } catch (error) {
        signal?.throwIfAborted()
        throw asFileError(error)
      } finally {
        await quarantine.close()
        instance.closeSync()
      }
    },
  }
}

interface Settings extends Required<Omit<ParquetSinkOptions, keyof RulesFiles>> {
  rules: Rules
  networks: readonly Network[]
}

/** What the workers of one call share. */
interface Write {
  request: SinkRequest
  settings: Settings
  tempDir: string
  quarantine: Quarantine
  accounts: ChunkAccount[]
  files: StagedFile[]
}

type StagedFile = ParquetResult['files'][number]

async function work(
  write: Write,
  instance: DuckDBInstance,
  groups: Iterator<[number, ChunkGroup]> & Iterable<[number, ChunkGroup]>,
): Promise<void> {
  const connection = await instance.connect()
  const { signal } = write.request
  const interrupt = () => connection.interrupt()
  signal?.addEventListener('abort', interrupt)
  const scratch = createScratch()
  try {
    for (const [number, group] of groups) {
      signal?.throwIfAborted()
      await writeGroup(write, connection, group, number, scratch)
    }
  } finally {
    signal?.removeEventListener('abort', interrupt)
    connection.closeSync()
  }
}

async function writeGroup(
  write: Write,
  connection: DuckDBConnection,
  { logType, members }: ChunkGroup,
  number: number,
  scratch: Buffer,
): Promise<void> {
  const { request, settings } = write
  const table = tableOf(settings.rules, logType)
  const reader = createLineReader(table)
  const prepared = await prepareGroup(write, reader, members, number, scratch)
  const expected = {
    rows: sumOf(prepared, ({ rows }) => rows),
    values: sumOf(prepared, ({ values }) => values),
    rowsWithExtra: sumOf(prepared, ({ rowsWithExtra }) => rowsWithExtra),
  }
  if (expected.rows > 0) {
    const dir = join(write.tempDir, String(number))
    await mkdir(dir)
    const { hours, hoursAreCapped } = hoursOf(prepared, settings.maxHours)
    const input = {
      ...{ table, localNetworks: settings.networks, ingestTimeMs: request.ingestTimeMs },
      chunks: prepared.map((each, i) => ({
        ...chunkAt(request, members[i] as number),
        path: each.path,
        hours: hoursOfRows(each, hours),
      })),
      seen: new Set([...reader.scan.seenFields(), ...reader.rewrite.seenFields()]),
      extraNames: reader.scan.extraNames(),
      hasIsoTimes: prepared.some(({ hasIsoTimes }) => hasIsoTimes),
      hasIpv6: prepared.some(({ hasIpv6 }) => hasIpv6),
      hasCopies: prepared.some(({ isCopy }) => isCopy),
      longestLine: Math.max(...prepared.map(({ longestLine }) => longestLine)),
      ...{ hours: [...hours], hoursAreCapped },
    }
    const filePrefix = `events_${logType}_${request.commitId}-${number}`
    const written = await runPlan(connection, writePlan(input, { dir, filePrefix }))
    checkConserved(table, written, expected)
    write.files.push(...(await placeFiles(request.stagingDir, logType, written)))
  }
  for (const [i, each] of prepared.entries()) {
    const { lines, rows, quarantined, rowsWithExtra } = each
    write.accounts[members[i] as number] = { lines, rows, quarantined, rowsWithExtra }
    if (each.isCopy) await rm(each.path)
  }
}

async function prepareGroup(
  write: Write,
  reader: LineReader,
  members: number[],
  number: number,
  scratch: Buffer,
): Promise<PreparedChunk[]> {
  const { request, settings, tempDir, quarantine } = write
  const context = { maxLineBytes: settings.maxLineBytes, scratch, quarantine }
  const prepared: PreparedChunk[] = []
  for (const [i, index] of members.entries()) {
    request.signal?.throwIfAborted()
    prepared.push(await prepareChunk(chunkAt(request, index), join(tempDir, `${number}-${i}.ndjson`), reader, context))
  }
  return prepared
}

/** The fullest hours of a group, and 0 where there are rows without one of these. */
function hoursOf(
  prepared: readonly PreparedChunk[],
  maxHours: number,
): { hours: Set<number>; hoursAreCapped: boolean } {
  const lines = new Map<number, number>()
  for (const { hours } of prepared) for (const [hour, count] of hours) lines.set(hour, (lines.get(hour) ?? 0) + count)
  const fullest = [...lines].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, maxHours)
  const hours = new Set(fullest.map(([hour]) => hour))
  if (prepared.some((each) => hoursOfRows(each, hours).has(0))) hours.add(0)
  // Hours beyond those that were counted may exist even when fewer are allowed than were counted.
  return { hours, hoursAreCapped: lines.size > maxHours || lines.size >= MAX_HOURS_COUNTED }
}

/** The hours among these that a chunk's rows go to, and 0 for rows that go to none of them. */
function hoursOfRows({ hours, rows }: PreparedChunk, allowed: ReadonlySet<number>): Set<number> {
  const own = [...hours].filter(([hour]) => allowed.has(hour))
  const placed = own.reduce((sum, [, count]) => sum + count, 0)
  return new Set([...own.map(([hour]) => hour), ...(placed < rows ? [0] : [])])
}

async function openInstance({ memoryLimit }: Settings, tempDir: string): Promise<DuckDBInstance> {
  return DuckDBInstance.create(':memory:', {
    // One each: a second thread in one statement of this kind costs more than it gives (0003-rules-as-sql.md).
    threads: '1',
    memory_limit: memoryLimit,
    temp_directory: tempDir,
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  })
}

async function runPlan(connection: DuckDBConnection, { prepare, copies, cleanUp }: WritePlan): Promise<WrittenFile[]> {
  const written: WrittenFile[] = []
  try {
    for (const statement of prepare) await connection.run(statement)
    for (const { statement, hour } of copies) {
      const result = await connection.runAndReadAll(statement)
      written.push(...readStats(result.getRowObjectsJson() as unknown as StatsRow[], hour))
    }
    for (const statement of cleanUp) await connection.run(statement)
    return written
  } catch (cause) {
    throw asPipelineError(cause)
  }
}

function asPipelineError(cause: unknown): PipelineError {
  const message = messageOf(cause)
  const text = `DuckDB could not write the rows: ${message.slice(0, 500)}`
  if (/No space left on device|exceeds? .*max_temp_directory_size/i.test(message))
    return new PipelineError('disk_full', text, { retryable: true, cause })
  if (/^Out of Memory/i.test(message)) return new PipelineError('sink_unavailable', text, { retryable: true, cause })
  if (/^IO Error/i.test(message)) return new PipelineError('io', text, { retryable: true, cause })
  return new PipelineError('sink_rejected', text, { cause })
}

/** What the file system refused, as a failure that was foreseen; anything else as it is. */
function asFileError(error: unknown): unknown {
  const code = errnoOf(error)
  if (error instanceof PipelineError || code === undefined) return error
  const isFull = code === 'ENOSPC' || code === 'EDQUOT'
  const text = `cannot write the staged files: ${messageOf(error)}`
  return new PipelineError(isFull ? 'disk_full' : 'io', text, { retryable: true, cause: error })
}

/** Gives the files their places in the tree of partitions. Each is flushed to the disk before it has its name. */
async function placeFiles(stagingDir: string, logType: string, written: readonly WrittenFile[]): Promise<StagedFile[]> {
  const files: StagedFile[] = []
  for (const { path: from, partition, rows, bytes } of written) {
    const dir = `${logType}/${partition}`
    const path = `${dir}/${basename(from)}`
    await mkdir(join(stagingDir, dir), { recursive: true })
    await flush(from)
    await rename(from, join(stagingDir, path))
    files.push({ logType, path, rows, bytes })
  }
  return files
}

/** The directories that name the files, up to the staging directory. */
async function flushDirs(stagingDir: string, files: readonly StagedFile[]): Promise<void> {
  const dirs = new Set(['.'])
  for (const { path } of files) for (let dir = dirname(path); dir !== '.'; dir = dirname(dir)) dirs.add(dir)
  for (const dir of dirs) await flush(join(stagingDir, dir))
}

/** Waits for all, so that nothing runs on when one has failed; then throws the first failure. */
async function settle(workers: Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(workers)) if (outcome.status === 'rejected') throw outcome.reason
}

function resultOf({ files, accounts }: Write, hasQuarantine: boolean): ParquetResult {
  return {
    files: files.sort((a, b) => (a.path < b.path ? -1 : 1)),
    chunks: accounts,
    ...(hasQuarantine ? { quarantineFile: QUARANTINE_FILE } : {}),
  }
}

function checkRequest({ commitId, chunks }: SinkRequest): void {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(commitId))
    throw new PipelineError('usage', `"${commitId}" is no commit id: letters, digits, "_", "-", at most 64`)
  for (const { logType, captureId } of chunks) {
    if (!LOG_TYPE.test(logType))
      throw new PipelineError(
        'sink_rejected',
        `${literal(logType)} is no log type: lower-case letters, digits, "_", at most 64`,
      )
    if (!/^[0-9a-f]{64}$/.test(captureId))
      throw new PipelineError('sink_rejected', `${literal(captureId)} is no capture id: 64 hex digits`)
  }
}

function chunkAt({ chunks }: SinkRequest, index: number): EventChunk {
  return chunks[index] as EventChunk
}

function sumOf<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((sum, item) => sum + of(item), 0)
}

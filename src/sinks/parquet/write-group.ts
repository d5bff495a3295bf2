/**
 * One group of chunks in, its staged files and the account of each chunk out: prepared (scanned, and rewritten where
 * that is needed), written by its plan, checked for conservation, and given its place.
 */

import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { DuckDBConnection } from '@duckdb/node-api'
import type PQueue from 'p-queue'
import type { Network } from '../../../stages/upload/rules/address.ts'
import { type Table, tableOf } from '../../../stages/upload/rules/table.ts'
import type { Rules } from '../../../stages/upload/rules.ts'
import { fromDuckDb } from './failures.ts'
import type { ChunkGroup } from './groups.ts'
import { type WritePlan, writePlan } from './plan.ts'
import { createLineReader, type LineReader, type PreparedChunk, prepareChunk } from './prepare.ts'
import type { Quarantine } from './quarantine.ts'
import { MAX_HOURS_COUNTED } from './scan.ts'
import { literal } from './sql-text.ts'
import { placeFiles, type StagedFile } from './staged.ts'
import type { StatementInput } from './statement.ts'
import type { ChunkAccount, EventChunk, SinkRequest } from './types.ts'
import { checkConserved, readStats, type StatsRow, type WrittenFile } from './written.ts'

export interface GroupContext {
  request: SinkRequest
  rules: Rules
  networks: readonly Network[]
  filePrefix: string
  maxLineBytes: number
  maxHours: number
  memoryLimit: string
  /** Plans wait here for their turn. */
  statements: PQueue
  tempDir: string
  quarantine: Quarantine
  signal: AbortSignal
}

/** What a worker has for itself. */
export interface GroupWorker {
  connection: DuckDBConnection
  scratch: Buffer
}

export interface GroupResult {
  files: StagedFile[]
  /** In the order of the group's members. */
  accounts: ChunkAccount[]
}

/** `number` is the group's own in the request: its files bear it. */
export async function writeGroup(
  context: GroupContext,
  { connection, scratch }: GroupWorker,
  { logType, members }: ChunkGroup,
  number: number,
): Promise<GroupResult> {
  const { request, tempDir } = context
  const table = tableOf(context.rules, logType)
  const chunks = members.map((index) => request.chunks[index] as EventChunk)
  const reader = createLineReader(table, chunks[0]?.numbering)
  const prepared = await prepareAll(context, reader, scratch, chunks, number)
  const rows = sumOf(prepared, (chunk) => chunk.rows)
  const files: StagedFile[] = []
  if (rows > 0) {
    const dir = join(tempDir, String(number))
    await mkdir(dir)
    const filePrefix = `${context.filePrefix}_${logType}_${request.commitId}-${number}`
    const plan = writePlan(statementInput(context, table, reader, chunks, prepared), { dir, filePrefix })
    const written = await context.statements.add(() => runPlan(connection, plan, context))
    const values = sumOf(prepared, (chunk) => chunk.values)
    checkConserved(table, written, { rows, values, rowsWithExtra: sumOf(prepared, (chunk) => chunk.rowsWithExtra) })
    files.push(...(await placeFiles(request.stagingDir, logType, written)))
  }
  for (const { isCopy, path } of prepared) if (isCopy) await rm(path)
  const accounts = prepared.map(({ lines, rows, quarantined, rowsWithExtra }) => ({
    lines,
    rows,
    quarantined,
    rowsWithExtra,
  }))
  return { files, accounts }
}

async function prepareAll(
  { signal, tempDir, maxLineBytes, quarantine }: GroupContext,
  reader: LineReader,
  scratch: Buffer,
  chunks: readonly EventChunk[],
  number: number,
): Promise<PreparedChunk[]> {
  const prepared: PreparedChunk[] = []
  for (const [i, chunk] of chunks.entries()) {
    signal.throwIfAborted()
    const copyPath = join(tempDir, `${number}-${i}.ndjson`)
    prepared.push(await prepareChunk(chunk, copyPath, reader, { maxLineBytes, scratch, quarantine }))
  }
  return prepared
}

function statementInput(
  { request, networks, maxHours }: GroupContext,
  table: Table,
  { scan, rewrite }: LineReader,
  chunks: readonly EventChunk[],
  prepared: readonly PreparedChunk[],
): StatementInput {
  const { hours, hoursAreCapped } = hoursOf(prepared, maxHours)
  return {
    ...{ table, localNetworks: networks, ingestTimeMs: request.ingestTimeMs },
    chunks: prepared.map((each, i) => ({
      ...(chunks[i] as EventChunk),
      path: each.path,
      hours: hoursOfRows(each, hours),
    })),
    numbering: chunks[0]?.numbering,
    seen: new Set([...scan.seenFields(), ...rewrite.seenFields()]),
    extraNames: scan.extraNames(),
    hasIsoTimes: prepared.some((each) => each.hasIsoTimes),
    hasIpv6: prepared.some((each) => each.hasIpv6),
    hasCopies: prepared.some((each) => each.isCopy),
    longestLine: Math.max(...prepared.map((each) => each.longestLine)),
    ...{ hours: [...hours], hoursAreCapped },
  }
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

async function runPlan(
  connection: DuckDBConnection,
  { prepare, copies, cleanUp }: WritePlan,
  { memoryLimit, signal }: Pick<GroupContext, 'memoryLimit' | 'signal'>,
): Promise<WrittenFile[]> {
  signal.throwIfAborted()
  const written: WrittenFile[] = []
  try {
    for (const statement of prepare) await connection.run(statement)
    for (const { statement, hour } of copies) {
      const result = await connection.runAndReadAll(statement)
      written.push(...readStats(result.getRowObjectsJson() as unknown as StatsRow[], hour))
      // Freed memory is kept for the thread that freed it, and every statement runs on another thread of Node's pool.
      // Setting the limit, be it to what it is, makes DuckDB's allocator give all of it back.
      await connection.run(`SET memory_limit = ${literal(memoryLimit)}`)
    }
    for (const statement of cleanUp) await connection.run(statement)
    return written
  } catch (cause) {
    throw fromDuckDb(cause)
  }
}

function sumOf<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((sum, item) => sum + of(item), 0)
}

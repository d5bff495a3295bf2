/**
 * The Parquet sink: chunk files of Zeek records in, staged Parquet files and an account of every line out.
 *
 * Each log type's chunks are cut into groups of bounded size, which are written side by side, `threads` of them, while
 * the next is prepared. What is returned is on the disk. Safe to repeat with an empty `stagingDir`: the same request gives the same rows.
 */

import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import PQueue from 'p-queue'
import { type Network, parseNetwork } from '../../../stages/upload/rules/address.ts'
import { LOG_TYPE, loadRules, type Rules, type RulesFiles } from '../../../stages/upload/rules.ts'
import { PipelineError } from '../../../state/errors.ts'
import { fromFiles } from './failures.ts'
import { groupChunks } from './groups.ts'
import { createScratch } from './lines.ts'
import { createQuarantine } from './quarantine.ts'
import { literal } from './sql-text.ts'
import { flushDirs } from './staged.ts'
import type { ParquetResult, ParquetSink, ParquetSinkOptions, SinkRequest } from './types.ts'
import { type GroupContext, type GroupResult, writeGroup } from './write-group.ts'

const QUARANTINE_FILE = '_quarantine.ndjson'
const TEMP_DIR = '_tmp'

/** A statement's lines and files: short lines make long rows, and each file is named in the statement. */
const GROUP_LINES = 400_000
const GROUP_FILES = 1000

/** A running statement holds a thread of Node's pool of four; one is left for files. */
const MAX_STATEMENTS = 3

/** Throws `rules_invalid` and `config_invalid`. */
export async function openParquetSink(options: ParquetSinkOptions): Promise<ParquetSink> {
  const settings = {
    filePrefix: 'events',
    maxLineBytes: 8 * 2 ** 20,
    groupBytes: 64 * 2 ** 20,
    maxHours: 1000,
    ...options,
    rules: await loadRules(options),
    networks: options.localNetworks.map(parseNetwork),
  }
  return { write: (request) => write(settings, request) }
}

interface Settings extends Required<Omit<ParquetSinkOptions, keyof RulesFiles>> {
  rules: Rules
  networks: readonly Network[]
}

async function write(settings: Settings, request: SinkRequest): Promise<ParquetResult> {
  checkRequest(request)
  request.signal?.throwIfAborted()
  const { stagingDir } = request
  const tempDir = join(stagingDir, TEMP_DIR)
  await mkdir(tempDir, { recursive: true })
  const instance = await openInstance(settings, tempDir)
  const quarantine = createQuarantine(join(stagingDir, QUARANTINE_FILE))
  try {
    const { files, accounts } = await writeGroups(settings, request, instance, { tempDir, quarantine })
    const hasQuarantine = await quarantine.finish()
    await rm(tempDir, { recursive: true, force: true })
    await flushDirs(stagingDir, files)
    return {
      files: files.sort((a, b) => (a.path < b.path ? -1 : 1)),
      chunks: accounts,
      ...(hasQuarantine ? { quarantineFile: QUARANTINE_FILE } : {}),
    }
  } catch (error) {
    request.signal?.throwIfAborted()
    throw fromFiles(error)
  } finally {
    await quarantine.close()
    instance.closeSync()
  }
}

/** All groups, some side by side. When one fails, the others end, and its failure is thrown. */
async function writeGroups(
  settings: Settings,
  request: SinkRequest,
  instance: DuckDBInstance,
  own: Pick<GroupContext, 'tempDir' | 'quarantine'>,
): Promise<GroupResult> {
  const failed = new AbortController()
  const signal = request.signal ? AbortSignal.any([request.signal, failed.signal]) : failed.signal
  const count = Math.min(MAX_STATEMENTS, Math.max(1, settings.threads))
  const context: GroupContext = { ...settings, ...own, request, signal, statements: new PQueue({ concurrency: count }) }
  const limits = { bytes: settings.groupBytes, lines: GROUP_LINES, files: GROUP_FILES }
  const groups = groupChunks(request.chunks, limits)
  const total: GroupResult = { files: [], accounts: new Array(request.chunks.length) }
  // One iterator for all workers: each takes the next group when it is free. One more than there are statements: it
  // prepares the next group meanwhile.
  const queue = groups.entries()
  const workers = Array.from({ length: Math.min(count + 1, groups.length) }, work)
  await Promise.all(workers.map((worker) => worker.catch((error) => failed.abort(error))))
  failed.signal.throwIfAborted()
  return total

  async function work(): Promise<void> {
    const connection = await instance.connect()
    const interrupt = () => connection.interrupt()
    signal.addEventListener('abort', interrupt)
    const worker = { connection, scratch: createScratch() }
    try {
      for (const [number, group] of queue) {
        signal.throwIfAborted()
        const { files, accounts } = await writeGroup(context, worker, group, number)
        total.files.push(...files)
        for (const [i, account] of accounts.entries()) total.accounts[group.members[i] as number] = account
      }
    } finally {
      signal.removeEventListener('abort', interrupt)
      connection.closeSync()
    }
  }
}

async function openInstance({ memoryLimit }: Settings, tempDir: string): Promise<DuckDBInstance> {
  return DuckDBInstance.create(':memory:', {
    // One each: a second thread in one statement of this kind costs more than it gives (0003-rules-as-sql.md).
    threads: '1',
    memory_limit: memoryLimit,
    temp_directory: tempDir,
    // What partitions have to write, and freed memory, are otherwise held back by the hundred megabytes.
    partitioned_write_flush_threshold: '16384',
    allocator_flush_threshold: '1MB',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  })
}

function checkRequest({ commitId, chunks }: SinkRequest): void {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(commitId))
    throw new PipelineError('usage', `"${commitId}" is no commit id: letters, digits, "_", "-", at most 64`)
  for (const { logType, captureId, idPrefix } of chunks) {
    if (!LOG_TYPE.test(logType))
      throw new PipelineError(
        'sink_rejected',
        `${literal(logType)} is no log type: lower-case letters, digits, "_", at most 64`,
      )
    if (captureId === undefined ? idPrefix === undefined : !/^[0-9a-f]{64}$/.test(captureId))
      throw new PipelineError('sink_rejected', `${literal(captureId ?? '')} is no capture id: 64 hex digits`)
    if (idPrefix !== undefined && !/^[\w.:-]{1,320}$/.test(idPrefix))
      throw new PipelineError(
        'sink_rejected',
        `${literal(idPrefix)} is no prefix of event ids: letters, digits, "_.:-"`,
      )
  }
}

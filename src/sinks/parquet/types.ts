/**
 * What goes into one call of the Parquet sink and what comes out of it.
 *
 * In: chunk files of Zeek records, one JSON object a line, each file of one log type and one capture.
 * Out: staged, hive-partitioned Parquet files that are on the disk when the call returns, and an account in which
 * every line of every chunk is either a row or a quarantined line with a reason. Nothing outside `stagingDir` is
 * written; the caller publishes the files by renaming them.
 */

import type { EventChunk, EventSink, SinkRequest, SinkResult } from '../../../stages/ports.ts'
import type { RulesFiles } from '../../../stages/upload/rules.ts'

export type { EventChunk, SinkRequest }

export type QuarantineReason = 'empty line' | 'not UTF-8' | 'not JSON' | 'not an object' | 'line too long'

/** What became of one chunk: `lines = rows + the sum of quarantined`. */
export interface ChunkAccount {
  /** Physical lines; a last line without `\n` counts. */
  lines: number
  rows: number
  quarantined: Partial<Record<QuarantineReason, number>>
  /** Rows with at least one field that the schema does not know or whose value does not fit its type. */
  rowsWithExtra: number
}

export interface ParquetResult extends SinkResult {
  chunks: ChunkAccount[]
}

/**
 * Errors: `artifact_missing`, `artifact_damaged`, `events_unbalanced`, `sink_rejected`; and, to be tried again,
 * `sink_unavailable` (memory), `disk_full`, `io`.
 */
export interface ParquetSink extends EventSink {
  write(request: SinkRequest): Promise<ParquetResult>
}

/** What a sink is opened with; constant over its life. */
export interface ParquetSinkOptions extends RulesFiles {
  /** The site's own networks in CIDR notation, v4 and v6; an address alone is a network of one. */
  localNetworks: readonly string[]
  /** Statements that run side by side, one thread each; at most 3. */
  threads: number
  /** DuckDB's memory limit, as DuckDB writes it: `1GB`, `512MB`. What does not fit is spilled to `stagingDir`. */
  memoryLimit: string
  /** What the files' names begin with (default `events`). */
  filePrefix?: string
  /** A longer line is quarantined (default 8 MiB). */
  maxLineBytes?: number
  /** NDJSON bytes that one statement reads (default 64 MiB); it holds at least one whole chunk. */
  groupBytes?: number
  /**
   * Hours that one statement writes as partitions of their own (default 1000). Rows of other hours than the
   * fullest, and rows without a time from 1970 to 2199, go to the partition 1970-01-01 hour 00: readers that prune
   * partitions by time must always read that one.
   */
  maxHours?: number
}

/**
 * One chunk file in, a file that DuckDB reads by its columns without loss out, and what it must find there.
 *
 * A chunk of clean lines only is used as it lies. Else a copy is written in which each line that is not clean is
 * rewritten, or replaced by a placeholder when it is quarantined; line numbers stay what they were.
 */

import { type FileHandle, open } from 'node:fs/promises'
import type { Table } from '../../../stages/upload/rules/table.ts'
import { PipelineError } from '../../../state/errors.ts'
import { readLines } from './lines.ts'
import { splitOrdinal, withOrdinal } from './numbering.ts'
import type { Quarantine } from './quarantine.ts'
import { createRewrite, PLACEHOLDER, type Rewrite } from './rewrite.ts'
import { createScan, createTally, NO_HOUR, type Scan, type Tally } from './scan.ts'
import type { EventChunk, QuarantineReason } from './types.ts'

/** A file whose every line is one row, or a placeholder. */
export interface PreparedChunk {
  path: string
  isCopy: boolean
  /** Physical lines, placeholders included. */
  lines: number
  rows: number
  /** Values that the columns must hold: see `Tally.values`. */
  values: number
  rowsWithExtra: number
  quarantined: Partial<Record<QuarantineReason, number>>
  longestLine: number
  hasIsoTimes: boolean
  hasIpv6: boolean
  hours: ReadonlyMap<number, number>
}

export interface PrepareContext {
  maxLineBytes: number
  scratch: Buffer
  quarantine: Quarantine
}

/** What scans and rewrites the lines of one table. */
export interface LineReader {
  scan: Scan
  rewrite: Rewrite
}

export function createLineReader(table: Table, numbering?: EventChunk['numbering']): LineReader {
  return { scan: createScan(table, numbering), rewrite: createRewrite(table) }
}

/** Throws `artifact_missing`, `artifact_damaged` when the file is not what the chunk says, and `io`. */
export async function prepareChunk(
  chunk: EventChunk,
  copyPath: string,
  reader: LineReader,
  context: PrepareContext,
): Promise<PreparedChunk> {
  const tally = createTally()
  let lines = 0
  let dirty = 0
  const bytes = await readLines(chunk.path, context.maxLineBytes, context.scratch, {
    onLines(block, end) {
      lines += reader.scan.lines(block, 0, end, tally, () => dirty++)
    },
    onLongLine() {
      lines++
      dirty++
    },
  })
  checkClaims(chunk, lines, bytes)
  if (dirty > 0) return rewriteChunk(chunk, copyPath, reader, context)
  return {
    ...{ path: chunk.path, isCopy: false, lines, rows: lines, rowsWithExtra: tally.linesWithExtra, quarantined: {} },
    ...outcomeOf(tally),
  }
}

function checkClaims({ path, lines, bytes }: EventChunk, foundLines: number, foundBytes: number): void {
  if (lines === foundLines && bytes === foundBytes) return
  throw new PipelineError(
    'artifact_damaged',
    `chunk file ${path} holds ${foundLines} lines in ${foundBytes} bytes where ${lines} lines in ${bytes} bytes were handed over`,
    { details: { path, lines, bytes, foundLines, foundBytes } },
  )
}

async function rewriteChunk(
  chunk: EventChunk,
  copyPath: string,
  { scan, rewrite }: LineReader,
  context: PrepareContext,
): Promise<PreparedChunk> {
  const tally = createTally()
  const quarantined: Partial<Record<QuarantineReason, number>> = {}
  let lines = 0
  let rowsWithExtra = 0
  const copy = await open(copyPath, 'w')
  try {
    await readLines(chunk.path, context.maxLineBytes, context.scratch, {
      async onLines(block, end) {
        const parts: Buffer[] = []
        let copied = 0
        const count = scan.lines(block, 0, end, tally, (from, to, line) => {
          parts.push(block.subarray(copied, from), rewritten(block.subarray(from, to), lines + line))
          copied = to + 1
        })
        lines += count
        await writeAll(copy, [...parts, block.subarray(copied, end)])
        await context.quarantine.flush()
      },
      async onLongLine({ head, bytes, sha256 }) {
        const { ordinal, record } = numbered(head, lines)
        quarantine('line too long', record, ordinal, { bytes, sha256 })
        lines++
        await writeAll(copy, [PLACEHOLDER])
        await context.quarantine.flush()
      },
    })
  } finally {
    await copy.close()
  }
  const lost = Object.values(quarantined).reduce((sum, count) => sum + count, 0)
  return {
    ...{ path: copyPath, isCopy: true, lines, rows: lines - lost, quarantined },
    rowsWithExtra: rowsWithExtra + tally.linesWithExtra,
    ...outcomeOf(tally),
  }

  function rewritten(bytes: Buffer, line: number): Buffer {
    const { ordinal, record } = numbered(bytes, line)
    const result = rewrite.line(record)
    if ('reason' in result) {
      quarantine(result.reason, record, ordinal)
      return PLACEHOLDER
    }
    tally.values += result.values
    tally.longestLine = Math.max(tally.longestLine, result.line.length)
    if (result.hasIsoTimes) tally.hasIsoTimes = true
    if (result.hasIpv6) tally.hasIpv6 = true
    if (result.hour !== NO_HOUR) tally.hours.add(result.hour, 1)
    if (result.hasExtra) rowsWithExtra++
    return chunk.numbering ? withOrdinal(ordinal, result.line) : result.line
  }

  /** The line's number within the log, and the line without it. */
  function numbered(bytes: Buffer, line: number): { ordinal: string; record: Buffer } {
    if (!chunk.numbering) return { ordinal: String(chunk.firstOrdinal + line), record: bytes }
    const parts = splitOrdinal(bytes)
    if (parts) return parts
    throw new PipelineError(
      'artifact_damaged',
      `chunk file ${chunk.path}: line ${line + 1} does not begin with its number`,
    )
  }

  function quarantine(
    reason: QuarantineReason,
    bytes: Buffer,
    ordinal: string,
    whole?: { bytes: number; sha256: string },
  ): void {
    quarantined[reason] = (quarantined[reason] ?? 0) + 1
    context.quarantine.add(chunk, ordinal, reason, bytes, whole)
  }
}

function outcomeOf({ values, longestLine, hasIsoTimes, hasIpv6, hours }: Tally) {
  return { values, longestLine, hasIsoTimes, hasIpv6, hours: hours.lines }
}

async function writeAll(handle: FileHandle, parts: Buffer[]): Promise<void> {
  const bytes = Buffer.concat(parts)
  for (let written = 0; written < bytes.length; ) written += (await handle.write(bytes, written)).bytesWritten
}

/**
 * The statements that write a group's rows, each row into the file of its hour.
 *
 * DuckDB's own partitioning copies every row once more, and keeps a buffer for each column of each hour, 2 MB an hour
 * with these tables. Where a few hours have many rows each hour is therefore a statement of its own, over the chunks
 * that hold rows of it. Many hours are partitioned, some at a time.
 */

import { slices } from '../../slices.ts'
import { literal } from './sql-text.ts'
import { HOUR_KEY, type StatementInput, selectRows } from './statement.ts'

export interface Copy {
  /** Gives `RETURN_STATS` rows. */
  statement: string
  /** The hour of all its rows; undefined when the statement partitions. */
  hour?: number
}

/** Statements in their order. */
export interface WritePlan {
  prepare: string[]
  copies: Copy[]
  cleanUp: string[]
}

export interface PlanTarget {
  /** An existing directory; files lie in it or, partitioned, in `epoch_hour=N/` below it. */
  dir: string
  filePrefix: string
}

/** Planning a statement takes as long as partitioning so many rows. */
const ROWS_WORTH_A_STATEMENT = 40_000
const HOURS_AT_ONCE = 32
const ROWS_TABLE = 'temp.rows_of_group'

/** How tables are written. */
export const PARQUET_FORMAT = [
  // Level 1 is a fifth cheaper to write than the default and 2 % larger; version 2 has encodings that halve numbers.
  'FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARQUET_VERSION v2',
  // Ids are all different: a dictionary of them would be built for nothing.
  'DICTIONARY_SIZE_LIMIT 4096',
  // A row group is in memory until it is full.
  'ROW_GROUP_SIZE 16384',
].join(', ')

export function writePlan(input: StatementInput, target: PlanTarget): WritePlan {
  const hours = [...input.hours].sort((a, b) => a - b)
  const lines = input.chunks.reduce((sum, chunk) => sum + chunk.lines, 0)
  const worthStatements = hours.length === 1 || lines / hours.length >= ROWS_WORTH_A_STATEMENT
  // Of hours beyond the cap it is not known which chunks hold them.
  if (worthStatements && !input.hoursAreCapped)
    return { prepare: [], copies: hours.map((hour) => copyOfHour(input, hour, target)), cleanUp: [] }
  const rows = selectRows(input)
  if (hours.length <= HOURS_AT_ONCE) return { prepare: [], copies: [partitionedCopy(rows, target)], cleanUp: [] }
  return {
    prepare: [`CREATE OR REPLACE TEMP TABLE ${ROWS_TABLE} AS ${rows}`],
    copies: slices(hours, HOURS_AT_ONCE).map((batch) =>
      partitionedCopy(`SELECT * FROM ${ROWS_TABLE} WHERE ${HOUR_KEY} BETWEEN ${batch[0]} AND ${batch.at(-1)}`, target),
    ),
    cleanUp: [`DROP TABLE ${ROWS_TABLE}`],
  }
}

function copyOfHour(input: StatementInput, hour: number, { dir, filePrefix }: PlanTarget): Copy {
  const chunks = input.chunks.filter(({ hours }) => hours.has(hour))
  const others = chunks.some(({ hours }) => hours.size > 1) ? `WHERE ${HOUR_KEY} = ${hour}` : ''
  const rows = `SELECT * EXCLUDE (${HOUR_KEY}) FROM (${selectRows({ ...input, chunks })}) ${others}`
  return {
    hour,
    statement: `COPY (${rows}) TO ${literal(`${dir}/${filePrefix}-${hour}.parquet`)} (${PARQUET_FORMAT}, RETURN_STATS)`,
  }
}

function partitionedCopy(rows: string, { dir, filePrefix }: PlanTarget): Copy {
  const names = `FILENAME_PATTERN ${literal(`${filePrefix}_{i}`)}`
  // A plan with several copies comes back to the directory, each time with other hours.
  const options = `${PARQUET_FORMAT}, RETURN_STATS, PARTITION_BY (${HOUR_KEY}), ${names}, OVERWRITE_OR_IGNORE`
  return { statement: `COPY (${rows}) TO ${literal(dir)} (${options})` }
}

/**
 * Several Parquet files in, one with all their rows out, in the order of the files.
 *
 * Columns are those of all files; a row has NULL in those that its file did not have. What was written is held against
 * what was read, every value of every row in its place, before anybody may use it.
 */

import { rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { flush } from '../../stages/durable.ts'
import { PipelineError } from '../../state/errors.ts'
import type { WrittenJoin } from '../../state/joins.ts'
import { list, literal, rowsOf } from '../query/sql.ts'
import { PARQUET_FORMAT } from '../sinks/parquet/plan.ts'

export interface JoinTools {
  /** Absolute paths; each group holds files whose columns of one name have one type. */
  compatible(paths: readonly string[]): Promise<string[][]>
  /** @throws events_unbalanced when what was written is not what was read; then nothing is left of it. */
  join(paths: readonly string[], target: string): Promise<WrittenJoin>
  close(): void
}

export interface JoinToolOptions {
  /** For what does not fit into memory. */
  tempDir: string
  memoryLimit: string
}

export async function openJoinTools({ tempDir, memoryLimit }: JoinToolOptions): Promise<JoinTools> {
  const instance = await DuckDBInstance.create(':memory:', {
    threads: '1',
    memory_limit: memoryLimit,
    temp_directory: tempDir,
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  })
  const connection = await instance.connect()
  return {
    async compatible(paths) {
      const groups: { types: Map<string, string>; paths: string[] }[] = []
      for (const path of paths) {
        const types = await columnTypes(connection, path)
        const fitting = groups.find((group) => fits(group.types, types))
        const group = fitting ?? { types: new Map<string, string>(), paths: [] }
        if (fitting === undefined) groups.push(group)
        for (const [name, type] of types) group.types.set(name, type)
        group.paths.push(path)
      }
      return groups.map((group) => group.paths)
    },

    async join(paths, target) {
      try {
        return await joined(paths, target)
      } finally {
        // Makes DuckDB's allocator give back what it keeps for each thread that has freed some (sinks/parquet/write-group.ts).
        await connection.run(`SET memory_limit = ${literal(memoryLimit)}`)
      }
    },

    close() {
      connection.closeSync()
      instance.closeSync()
    },
  }

  async function joined(paths: readonly string[], target: string): Promise<WrittenJoin> {
    await rm(target, { force: true })
    const source = parquet(paths)
    await connection.run(`COPY (SELECT * FROM ${source}) TO ${literal(target)} (${PARQUET_FORMAT})`)
    const [before, after] = [await digestOf(connection, source), await digestOf(connection, parquet([target]))]
    if (before.rows !== after.rows || before.sum !== after.sum) {
      await rm(target, { force: true })
      throw new PipelineError(
        'events_unbalanced',
        `${before.rows} rows of ${paths.length} files in ${dirname(target)}, and ${after.rows} when joined: they are left as they are`,
      )
    }
    await flush(target)
    const captures = await rowsOf(
      connection,
      `SELECT DISTINCT capture_id FROM ${parquet([target])} WHERE capture_id IS NOT NULL ORDER BY 1`,
    )
    const { size } = await stat(target)
    return { rows: before.rows, bytes: size, captures: captures.map(([id]) => String(id)) }
  }
}

async function columnTypes(connection: DuckDBConnection, path: string): Promise<Map<string, string>> {
  const rows = await rowsOf(connection, `SELECT column_name, column_type FROM (DESCRIBE FROM ${parquet([path])})`)
  return new Map(rows.map(([name, type]) => [String(name).toLowerCase(), String(type)]))
}

function fits(known: ReadonlyMap<string, string>, types: ReadonlyMap<string, string>): boolean {
  return [...types].every(([name, type]) => (known.get(name) ?? type) === type)
}

/** Rows, and a sum over all their values and places. */
async function digestOf(connection: DuckDBConnection, source: string): Promise<{ rows: number; sum: string }> {
  const [row] = await rowsOf(
    connection,
    `SELECT count(*), coalesce(sum(hash(s) % 1000000007), 0)::VARCHAR FROM (SELECT row_number() OVER () AS "$n", * FROM ${source}) AS s`,
  )
  return { rows: Number(row?.[0]), sum: String(row?.[1]) }
}

function parquet(paths: readonly string[]): string {
  return `read_parquet(${list(paths)}, union_by_name = true, hive_partitioning = false)`
}

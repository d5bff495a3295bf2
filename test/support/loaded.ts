/** Captures with rows in a ledger's dataset, without a pipeline: files by DuckDB, books as upload keeps them. */

import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { PARQUET_FORMAT } from '../../src/sinks/parquet/plan.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'

export interface LoadOptions {
  /** `2026-03-05 08` */
  hour?: string
  rows?: number
  type?: string
  /** A further column, `name TYPE`. */
  column?: string
  /** Milliseconds since the epoch: when it came, and when its rows were committed. */
  at?: number
  fileBytes?: number
}

export interface Loader extends AsyncDisposable {
  /** Answers the capture's id. One call is one commit with one file. */
  load(name: string, options?: LoadOptions): Promise<string>
  /** Rows and distinct ids of all files in the folders, hidden ones apart. */
  count(type?: string): Promise<{ rows: number; ids: number }>
}

export async function openLoader({ ledger, layout }: { ledger: Ledger; layout: Layout }): Promise<Loader> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' })
  const connection = await instance.connect()
  let commits = 0
  return {
    async load(name, { hour = '2026-03-05 08', rows = 3, type = 'conn', column, at = 0, fileBytes = 100 } = {}) {
      const id = Buffer.from(name).toString('hex').padEnd(64, '0')
      const path = `captures/${id}.pcap`
      mkdirSync(layout.captures, { recursive: true })
      writeFileSync(join(layout.dataDir, path), Buffer.alloc(fileBytes, 1))
      const [year, month, day, clock] = hour.split(/[- ]/)
      const commit = `${name}-${commits++}`
      const folder = `parquet/${type}/year=${year}/month=${month}/day=${day}/hour=${clock}`
      const file = { path: `${folder}/events_${type}_${commit}.parquet`, staged: 'spool/x', logType: type }
      const full = join(layout.dataDir, file.path)
      mkdirSync(dirname(full), { recursive: true })
      const [extraName, extraType] = column?.split(' ') ?? []
      const more = column === undefined ? '' : `, i::${extraType} AS "${extraName}"`
      await connection.run(
        `COPY (SELECT '${id}' AS capture_id, '${name}-${type}-' || i AS event_id, TIMESTAMP '${hour}:00:00' + INTERVAL (i) SECOND AS event_time${more}
         FROM range(${rows}) t(i)) TO '${full}' (${PARQUET_FORMAT})`,
      )
      ledger.transaction(() => {
        ledger.captures.add({ id, name, source: 's', format: 'pcap', bytes: fileBytes, path, state: 'accepted' }, at)
        const packets = { inFile: 1, decoded: 1, skipped: {}, lostBytes: 0 }
        const made = new Map(ledger.captures.records(id).map(({ logType, records }) => [logType, records]))
        const logs = Object.fromEntries(
          [...made, [type, (made.get(type) ?? 0) + rows]].map(([t, n]) => [t, { records: n }]),
        )
        ledger.captures.recordConversion(id, {
          ...{ engine: 'tshark', engineVersion: '1', packets, warnings: [] },
          logs: logs as Record<string, { records: number }>,
        })
        const counts = [{ captureId: id, logType: type, rows, quarantined: 0, reasons: {} }]
        ledger.commits.add({ id: commit, files: [{ ...file, rows, bytes: statSync(full).size }], counts }, at)
        ledger.commits.markPublished(commit, at)
        ledger.settle(id)
      })
      return id
    },

    async count(type = 'conn') {
      const result = await connection.runAndReadAll(
        `SELECT count(*)::INTEGER, count(DISTINCT event_id)::INTEGER FROM read_parquet('${layout.parquet}/${type}/**/[a-z]*.parquet', union_by_name = true)`,
      )
      const [rows, ids] = result.getRows()[0] as [number, number]
      return { rows, ids }
    },

    async [Symbol.asyncDispose]() {
      connection.closeSync()
      instance.closeSync()
    },
  }
}

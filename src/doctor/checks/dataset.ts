/**
 * The dataset against the ledger: every file that is recorded is there in its size, and no other is. With --deep every
 * file is read to its end, and the rows of each capture are counted against the receipts.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '../../../state/database.ts'
import { listFiles, listTypes } from '../../query/files.ts'
import { readDataset } from '../../rebuild/dataset-evidence.ts'
import { type Check, error, type Finding, ok, some, warning } from '../check.ts'
import type { Host } from '../host.ts'

const MB = 1024 * 1024
/** A file that is being put in place or rewritten looks wrong for a moment. */
const LOOK_AGAIN_MS = 2000
const SOME = 3

interface Difference {
  missing: string[]
  wrongSize: string[]
  strays: string[]
}

export const dataset: Check<Host> = {
  name: 'dataset',
  async look(host) {
    const db = host.ledger()
    if (db === undefined) return [ok('nothing to compare: there is no ledger')]
    const { missing, wrongSize, strays, files } = await settled(host, db)
    const findings: Finding[] = []
    if (missing.length > 0)
      findings.push(error(`${missing.length} files of the dataset are missing: ${some(missing)}`, remedy(db, missing)))
    if (wrongSize.length > 0)
      findings.push(
        error(
          `${wrongSize.length} files of the dataset have not the size that they were written in: ${some(wrongSize)}`,
          `move them out of the dataset, then: ${remedy(db, wrongSize)}`,
        ),
      )
    if (strays.length > 0 && host.config.bus.kind === 'embedded')
      findings.push(
        error(
          `${strays.length} files of the dataset are in no receipt: ${some(strays)}`,
          'stop the pipeline, then `rebuild`: it tells whether their rows are there twice, and mends it',
        ),
      )
    if (host.deep) findings.push(...(await deepFindings(host, db)))
    if (findings.length > 0) return findings
    return [
      ok(
        `all ${files} files that the ledger has are there${host.deep ? ', can be read, and hold the rows of the receipts' : ''}`,
      ),
    ]
  },
}

/** Two looks: only what both tell is true. */
async function settled(host: Host, db: Database): Promise<Difference & { files: number }> {
  const first = await compare(host, db)
  if (first.missing.length + first.wrongSize.length + first.strays.length === 0) return first
  await sleep(LOOK_AGAIN_MS)
  const second = await compare(host, db)
  const both = (kind: keyof Difference) => first[kind].filter((path) => second[kind].includes(path))
  return { missing: both('missing'), wrongSize: both('wrongSize'), strays: both('strays'), files: second.files }
}

async function compare({ layout }: Host, db: Database): Promise<Difference & { files: number }> {
  const recorded = db
    .prepare(
      `SELECT f.path, f.bytes, m.state FROM commit_files f JOIN commits m ON m.id = f.commit_id WHERE f.log_type IS NOT NULL`,
    )
    .all() as { path: string; bytes: number; state: string }[]
  const types = await listTypes(layout.parquet)
  const found = new Map<string, number>()
  for (const type of types)
    for (const { path, bytes } of await listFiles(layout.parquet, type))
      found.set(relative(layout.dataDir, path), bytes)
  const published = recorded.filter(({ state }) => state === 'published')
  const known = new Set(recorded.map(({ path }) => path))
  return {
    files: published.length,
    missing: published.filter(({ path }) => !found.has(path)).map(({ path }) => path),
    wrongSize: published
      .filter(({ path, bytes }) => found.has(path) && found.get(path) !== bytes)
      .map(({ path }) => path),
    strays: [...found.keys()].filter((path) => !known.has(path)),
  }
}

/** The captures whose rows are in the files, as far as the ledger tells. */
function remedy(db: Database, paths: readonly string[]): string {
  const query = db
    .prepare(
      `SELECT DISTINCT substr(c.capture_id, 1, 16) FROM commit_files f JOIN commit_counts c ON c.commit_id = f.commit_id
       AND c.log_type = f.log_type WHERE f.path = ? AND c.capture_id <> '' LIMIT ${SOME + 1}`,
    )
    .pluck()
  const ids = new Set(paths.slice(0, 1000).flatMap((path) => query.all(path) as string[]))
  if (ids.size === 0 || ids.size > SOME) return 'put them back from a copy; or stop the pipeline, and `rebuild`'
  return `put them back from a copy, or \`reprocess ${[...ids].join('`, `reprocess ')}\``
}

async function deepFindings({ layout, config: { query, upload } }: Host, db: Database): Promise<Finding[]> {
  const tempDir = await mkdtemp(join(tmpdir(), 'pcap-pipeline-doctor-'))
  try {
    const memoryMb = Math.round(query.memoryBytes / MB)
    const evidence = await readDataset({ root: layout.parquet, tempDir, memoryMb, threads: upload.threads })
    const name = (path: string) => relative(layout.dataDir, path)
    const findings = evidence.damaged.map(({ path, reason }) =>
      error(
        `${name(path)} is damaged: ${reason.slice(0, 200)}`,
        `move it out of the dataset, then: ${remedy(db, [name(path)])}`,
      ),
    )
    if (evidence.redundant.length > 0)
      findings.push(
        error(
          `every row of ${some(evidence.redundant.map(name))} is in other files as well`,
          'stop the pipeline, then `rebuild`: it puts them aside',
        ),
      )
    if (evidence.foreign.length > 0)
      findings.push(warning(`${some(evidence.foreign.map(name))} is no file of ours`, 'move it out of the dataset'))
    return [...findings, ...countFindings(evidence.logs, db)]
  } finally {
    await rm(tempDir, { recursive: true, force: true })
  }
}

/** While captures are being worked on, theirs are not compared. */
function countFindings(logs: Awaited<ReturnType<typeof readDataset>>['logs'], db: Database): Finding[] {
  const booked = db
    .prepare(
      `SELECT c.capture_id AS captureId, c.log_type AS logType, sum(c.rows) AS rows FROM commit_counts c
       JOIN captures k ON k.id = c.capture_id AND k.finished_at IS NOT NULL GROUP BY 1, 2`,
    )
    .all() as { captureId: string; logType: string; rows: number }[]
  const found = new Map(logs.map((log) => [`${log.captureId}/${log.logType}`, log]))
  const wrong = booked.flatMap(({ captureId, logType, rows }) => {
    const { rows: there = 0, ids = 0 } = found.get(`${captureId}/${logType}`) ?? {}
    if (there === rows && ids === rows) return []
    const twice = ids < there ? `, ${there - ids} of them twice` : ''
    return [`${captureId.slice(0, 16)} ${logType}: ${there} rows${twice} where its receipt has ${rows}`]
  })
  if (wrong.length === 0) return []
  return [
    error(
      `the rows of ${wrong.length} logs are not those of their receipts: ${some(wrong)}`,
      '`reprocess` these captures, or stop the pipeline and `rebuild`',
    ),
  ]
}

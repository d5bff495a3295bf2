/**
 * What is known of each capture: the file, its packets, the records made of it, and how it ended.
 *
 * In: facts from the stages. Out: captures for the commands and the page. The state is stored when the last
 * job of a capture ends, so that nobody has to work it out again.
 */

import type { CaptureFormat, PacketAccount, TlsAccount } from './capture.ts'
import { type Database, onDisk } from './database.ts'
import { PipelineError } from './errors.ts'

/**
 * `accepted`: in work. `done`: finished, and the receipt balances. `unbalanced`: finished, and it does not.
 * `empty`: no packets in it. `failed`: a stage gave up; see the failed jobs. `forgetting`: being removed.
 * `reprocessing`: its rows are being removed, then it is converted again. `forgotten`: another host has forgotten it; its
 * rows are being removed here, its file is not ours to remove.
 */
export type CaptureState =
  | 'accepted'
  | 'done'
  | 'unbalanced'
  | 'empty'
  | 'failed'
  | 'forgetting'
  | 'reprocessing'
  | 'forgotten'

/** A key log of TLS that is stored with a capture, as `captures/<id>.keys`. */
export interface KeyLog {
  sha256: string
  bytes: number
  /** Its lines: a session has one, or several. */
  secrets: number
  /** Lines of what came that were no secrets, and were left out. */
  badLines: number
  /** More came than is kept. */
  isCut: boolean
}

export interface CaptureRow {
  id: string
  name: string
  source: string
  format: CaptureFormat
  bytes: number
  /** Below the data directory. */
  path: string
  state: CaptureState
  engine: string | null
  engineVersion: string | null
  packets: PacketAccount | null
  warnings: string[]
  /** Microseconds that were added to its clock: what its source's clock lacked when it was accepted. */
  clockOffsetUs: number
  /** What came beside it; keys that are in the capture itself are not counted. */
  keyLog: KeyLog | null
  /** The hash of the key log that its last conversion had. */
  keysConverted: string | null
  tls: TlsAccount | null
  /** Milliseconds since the epoch. */
  acceptedAt: number
  finishedAt: number | null
  /** When retention removed its file; null while it is there. */
  fileRemovedAt: number | null
}

/** One whose file retention may remove. */
export type RemovableCapture = Pick<CaptureRow, 'id' | 'name' | 'path' | 'bytes'> & {
  /** When its file came, the last time; milliseconds since the epoch. */
  storedAt: number
}

export const ARRIVAL_OUTCOMES = ['accepted', 'duplicate', 'empty', 'quarantined'] as const
export type ArrivalOutcome = (typeof ARRIVAL_OUTCOMES)[number]

export interface Arrival {
  name: string
  source: string
  /** `none`, `gzip`, `zstd` or `zip`. */
  container: string
  /** Its name inside a zip archive. */
  member?: string
  /** Of the file as it came. */
  bytes: number
  /** Of the file as it came; the capture's id is the hash of the uncompressed content. */
  fileSha256?: string
  captureId?: string
  outcome: ArrivalOutcome
  reason?: string
}

export type ArrivalRow = Required<Pick<Arrival, 'name' | 'source' | 'container' | 'bytes' | 'outcome'>> & {
  member: string | null
  fileSha256: string | null
  captureId: string | null
  reason: string | null
  arrivedAt: number
}

export type NewCapture = Pick<CaptureRow, 'id' | 'name' | 'source' | 'format' | 'bytes' | 'path'> & {
  state: 'accepted' | 'empty'
  /** Absent in what a host of an earlier version tells: none. */
  clockOffsetUs?: number
}

export interface Conversion {
  engine: string
  engineVersion: string
  packets: PacketAccount
  warnings: string[]
  tls?: TlsAccount
  /** The hash of the key log that it had. */
  keysConverted?: string
  logs: Record<string, { records: number }>
}

export function isBeingRemoved(state: CaptureState): boolean {
  return state === 'forgetting' || state === 'reprocessing' || state === 'forgotten'
}

export type Captures = ReturnType<typeof createCaptures>

export interface CaptureChoice {
  state?: CaptureState | undefined
  source?: string | undefined
  /** Part of the name, or the beginning of the hash. */
  text?: string | undefined
  limit: number
  after?: Pick<CaptureRow, 'acceptedAt' | 'id'> | undefined
}

export interface ArrivalChoice {
  outcome?: Arrival['outcome'] | undefined
  limit: number
  before?: number | undefined
}

const COLUMNS = `id, name, source, format, bytes, path, state, engine, engine_version AS engineVersion, packets, warnings, clock_offset_us AS clockOffsetUs,
  key_log AS keyLog, keys_converted AS keysConverted, tls,
  accepted_at AS acceptedAt, finished_at AS finishedAt, file_removed_at AS fileRemovedAt`

const ARRIVAL_COLUMNS = `name, source, container, member, bytes, file_sha256 AS fileSha256, capture_id AS captureId,
  outcome, reason, arrived_at AS arrivedAt`

export function createCaptures(db: Database) {
  const insert = db.prepare(`
    INSERT INTO captures (id, name, source, format, bytes, path, state, clock_offset_us, accepted_at, finished_at)
    VALUES (@id, @name, @source, @format, @bytes, @path, @state, @clockOffsetUs, @now, IIF(@state = 'empty', @now, NULL))
    ON CONFLICT DO NOTHING`)

  /** Answers false when the content is known already. */
  function add(capture: NewCapture, now = Date.now()): boolean {
    return insert.run({ ...capture, clockOffsetUs: capture.clockOffsetUs ?? 0, now }).changes === 1
  }

  function addArrival(arrival: Arrival, now = Date.now()): void {
    const { member = null, fileSha256 = null, captureId = null, reason = null } = arrival
    db.prepare(
      `INSERT INTO arrivals (name, source, container, member, bytes, file_sha256, capture_id, outcome, reason, arrived_at)
       VALUES (@name, @source, @container, @member, @bytes, @fileSha256, @captureId, @outcome, @reason, @now)`,
    ).run({ ...arrival, member, fileSha256, captureId, reason, now })
  }

  /** What the engine made of it replaces what an earlier conversion said. */
  function recordConversion(id: string, conversion: Conversion): void {
    const { engine, engineVersion, packets, warnings, tls, keysConverted, logs } = conversion
    db.prepare(
      `UPDATE captures SET engine = ?, engine_version = ?, packets = ?, warnings = ?, tls = ?, keys_converted = ? WHERE id = ?`,
    ).run(
      ...[engine, engineVersion, JSON.stringify(packets), JSON.stringify(warnings)],
      ...[tls === undefined ? null : JSON.stringify(tls), keysConverted ?? null, id],
    )
    db.prepare(`DELETE FROM records WHERE capture_id = ?`).run(id)
    const addRecords = db.prepare(`INSERT INTO records (capture_id, log_type, records) VALUES (?, ?, ?)`)
    for (const [logType, { records }] of Object.entries(logs)) addRecords.run(id, logType, records)
  }

  function setState(id: string, state: CaptureState, now = Date.now()): void {
    const open = state === 'accepted' || isBeingRemoved(state)
    db.prepare(`UPDATE captures SET state = ?, finished_at = ? WHERE id = ?`).run(state, open ? null : now, id)
  }

  /** For the conversion that is to come. */
  function setClockOffset(id: string, clockOffsetUs: number): void {
    db.prepare(`UPDATE captures SET clock_offset_us = ? WHERE id = ?`).run(clockOffsetUs, id)
  }

  function setKeyLog(id: string, keyLog: KeyLog): void {
    db.prepare(`UPDATE captures SET key_log = ? WHERE id = ?`).run(JSON.stringify(keyLog), id)
  }

  /** The captures that came last under a name that begins so, up to a dot, newest first. */
  function arrivedAs(source: string, beginning: string): { name: string; captureId: string }[] {
    const query = db.prepare(
      `SELECT name, capture_id AS captureId FROM arrivals
       WHERE source = @source AND capture_id IS NOT NULL
         AND (name = @beginning OR (name >= @beginning || '.' AND name < @beginning || '/'))
       ORDER BY id DESC LIMIT 100`,
    )
    return query.all({ source, beginning }) as { name: string; captureId: string }[]
  }

  function get(id: string): CaptureRow | undefined {
    const row = db.prepare(`SELECT ${COLUMNS} FROM captures WHERE id = ?`).get(id)
    return row === undefined ? undefined : toCapture(row)
  }

  function list({ state }: { state?: CaptureState } = {}): CaptureRow[] {
    const where = state === undefined ? '' : 'WHERE state = @state'
    return db
      .prepare(`SELECT ${COLUMNS} FROM captures ${where} ORDER BY accepted_at, rowid`)
      .all({ state })
      .map(toCapture)
  }

  /** How many captures there are by state, and the bytes on the disk of those whose file is there. */
  function summary(): { states: Partial<Record<CaptureState, number>>; bytes: number } {
    const groups = db
      .prepare(
        `SELECT state, COUNT(*) AS captures, SUM(IIF(file_removed_at IS NULL, ${onDisk('bytes')}, 0)) AS bytes FROM captures GROUP BY state`,
      )
      .all() as { state: CaptureState; captures: number; bytes: number }[]
    return {
      states: Object.fromEntries(groups.map(({ state, captures }) => [state, captures])),
      bytes: groups.reduce((sum, { bytes }) => sum + bytes, 0),
    }
  }

  /** Newest first, those behind `after`, with how many fit in all. */
  function page({ state, source, text, limit, after }: CaptureChoice): { captures: CaptureRow[]; total: number } {
    const given = { state: state ?? null, source: source ?? null, text: text?.toLowerCase() ?? null }
    const fits = `(@state IS NULL OR state = @state) AND (@source IS NULL OR source = @source)
      AND (@text IS NULL OR instr(lower(name), @text) OR substr(id, 1, length(@text)) = @text)`
    const captures = db
      .prepare(
        `SELECT ${COLUMNS} FROM captures WHERE ${fits} AND (@at IS NULL OR (accepted_at, id) < (@at, @id))
         ORDER BY accepted_at DESC, id DESC LIMIT @limit`,
      )
      .all({ ...given, limit, at: after?.acceptedAt ?? null, id: after?.id ?? null })
      .map(toCapture)
    const total = db.prepare(`SELECT COUNT(*) FROM captures WHERE ${fits}`).pluck().get(given) as number
    return { captures, total }
  }

  function sources(): string[] {
    return db.prepare(`SELECT DISTINCT source FROM captures ORDER BY source`).pluck().all() as string[]
  }

  /** Newest first, those before the arrival of that number. */
  function arrivalsPage({ outcome, limit, before }: ArrivalChoice): (ArrivalRow & { id: number })[] {
    return db
      .prepare(
        `SELECT id, ${ARRIVAL_COLUMNS} FROM arrivals WHERE (@outcome IS NULL OR outcome = @outcome)
           AND (@before IS NULL OR id < @before) ORDER BY id DESC LIMIT @limit`,
      )
      .all({ outcome: outcome ?? null, before: before ?? null, limit }) as (ArrivalRow & { id: number })[]
  }

  /** In work, ended since, or among the newest; the oldest first. */
  function current({ since, newest }: { since: number; newest: number }): CaptureRow[] {
    return db
      .prepare(
        `SELECT ${COLUMNS} FROM captures WHERE state = 'accepted' OR finished_at IS NULL OR finished_at > @since
           OR id IN (SELECT id FROM captures ORDER BY accepted_at DESC, rowid DESC LIMIT @newest)
         ORDER BY accepted_at, rowid`,
      )
      .all({ since, newest })
      .map(toCapture)
  }

  /** The version of an engine that converted the newest of its captures. */
  function engineVersion(engine: string): string | null {
    const query = db.prepare(
      `SELECT engine_version FROM captures WHERE engine = ? ORDER BY accepted_at DESC, rowid DESC LIMIT 1`,
    )
    return (query.pluck().get(engine) as string | null | undefined) ?? null
  }

  /** Of one capture, or of all. */
  function arrivals(captureId?: string): ArrivalRow[] {
    const where = captureId === undefined ? '' : 'WHERE capture_id = @captureId'
    return db.prepare(`SELECT ${ARRIVAL_COLUMNS} FROM arrivals ${where} ORDER BY id`).all({ captureId }) as ArrivalRow[]
  }

  /**
   * The capture that a person means: by the beginning of its hash, of the hash of the file that it came in,
   * or by a file name. Throws `capture_unknown` when none or several fit.
   */
  function resolve(text: string): CaptureRow {
    const ids = new Set(idsLike(text))
    const [id] = ids
    if (ids.size === 1 && id !== undefined) return get(id) as CaptureRow
    if (ids.size === 0) {
      throw new PipelineError('capture_unknown', `no capture is known as "${text}"; \`captures\` lists those that are`)
    }
    const some = [...ids].slice(0, 5).map((full) => full.slice(0, 16))
    throw new PipelineError(
      'capture_unknown',
      `"${text}" fits ${ids.size} captures (${some.join(', ')} …); give more of the hash`,
    )
  }

  function idsLike(text: string): string[] {
    const byName = db
      .prepare(
        `SELECT DISTINCT c.id FROM captures c LEFT JOIN arrivals a ON a.capture_id = c.id WHERE c.name = @text OR a.name = @text OR a.member = @text`,
      )
      .pluck()
      .all({ text }) as string[]
    if (byName.length > 0 || !/^[0-9a-f]{4,64}$/i.test(text)) return byName
    const prefix = text.toLowerCase()
    return db
      .prepare(
        `SELECT id FROM captures WHERE substr(id, 1, @length) = @prefix
         UNION SELECT c.id FROM captures c JOIN arrivals a ON a.capture_id = c.id WHERE substr(a.file_sha256, 1, @length) = @prefix`,
      )
      .pluck()
      .all({ prefix, length: prefix.length }) as string[]
  }

  function records(id: string): { logType: string; records: number }[] {
    return db
      .prepare(`SELECT log_type AS logType, records FROM records WHERE capture_id = ? ORDER BY log_type`)
      .all(id) as {
      logType: string
      records: number
    }[]
  }

  /** Bytes on the disk of all stored files. */
  function storedBytes(): number {
    return db
      .prepare(`SELECT COALESCE(SUM(${onDisk('bytes')}), 0) FROM captures WHERE file_removed_at IS NULL`)
      .pluck()
      .get() as number
  }

  /** Finished captures whose file is there, oldest first; those that somebody may still want to look into come last. */
  function removable(): RemovableCapture[] {
    return db
      .prepare(
        `SELECT id, name, path, bytes, COALESCE(file_stored_at, accepted_at) AS storedAt FROM captures
         WHERE file_removed_at IS NULL AND state IN ('done', 'empty', 'unbalanced', 'failed')
         ORDER BY state IN ('unbalanced', 'failed'), storedAt, rowid`,
      )
      .all() as RemovableCapture[]
  }

  /** False when it is in work again, or gone. */
  function markFileRemoved(id: string, now = Date.now()): boolean {
    return (
      db
        .prepare(
          `UPDATE captures SET file_removed_at = ? WHERE id = ? AND file_removed_at IS NULL AND state IN ('done', 'empty', 'unbalanced', 'failed')`,
        )
        .run(now, id).changes === 1
    )
  }

  /** It came again, and its file with it. */
  function markFileStored(id: string, now = Date.now()): void {
    db.prepare(
      `UPDATE captures SET file_removed_at = NULL, file_stored_at = ? WHERE id = ? AND file_removed_at IS NOT NULL`,
    ).run(now, id)
  }

  /** What an engine said of it. */
  function removeConversion(id: string): void {
    db.prepare(`DELETE FROM records WHERE capture_id = ?`).run(id)
    db.prepare(
      `UPDATE captures SET engine = NULL, engine_version = NULL, packets = NULL, warnings = '[]', tls = NULL,
       keys_converted = NULL WHERE id = ?`,
    ).run(id)
  }

  /** Forgets that it ever came. */
  function remove(id: string): void {
    removeConversion(id)
    db.prepare(`DELETE FROM arrivals WHERE capture_id = ?`).run(id)
    db.prepare(`DELETE FROM captures WHERE id = ?`).run(id)
  }

  return {
    add,
    addArrival,
    recordConversion,
    setState,
    setClockOffset,
    setKeyLog,
    arrivedAs,
    get,
    list,
    summary,
    current,
    engineVersion,
    page,
    sources,
    arrivalsPage,
    arrivals,
    resolve,
    records,
    storedBytes,
    removable,
    markFileRemoved,
    markFileStored,
    removeConversion,
    remove,
  }
}

function toCapture(row: unknown): CaptureRow {
  const texts = row as Record<'packets' | 'keyLog' | 'tls', string | null> & { warnings: string }
  const parsed = (text: string | null) => (text === null ? null : JSON.parse(text))
  return {
    ...(row as CaptureRow),
    ...{ packets: parsed(texts.packets), keyLog: parsed(texts.keyLog), tls: parsed(texts.tls) },
    warnings: JSON.parse(texts.warnings),
  }
}

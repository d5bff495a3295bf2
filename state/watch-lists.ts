/**
 * Who and what is watched, and what was found of it.
 *
 * Employees and their computers are N:M, and a computer is someone's for a time; indicators are plain values by list.
 * Every change makes the version grow, from which a loader sees that its copy is old. Times are milliseconds since the
 * epoch; MAC addresses, host names and hashes are in lower case.
 */

import type { Database } from './database.ts'

export interface EmployeeRow {
  key: string
  name: string
  watched: boolean
}

export interface ComputerRow {
  compId: string
  employee: string
  mac: string | null
  ip: string | null
  hostname: string | null
  /** `validFrom` ≤ time < `validTo`. */
  validFrom: number | null
  validTo: number | null
}

export type IndicatorKind = 'ip' | 'cidr' | 'domain' | 'hash' | 'ja3' | 'ja4' | 'mac'

export interface IndicatorRow {
  list: string
  kind: IndicatorKind
  value: string
  note: string
}

/** An address that a DHCP server gave to a network card for a time. */
export interface LeaseRow {
  ip: string
  mac: string
  validFrom: number
  validTo: number
  captureId: string | null
}

export interface NewHit {
  employee: string | null
  list: string
  reason: string
  logType: string
  captureId: string | null
  rows: number
  firstTime: number | null
  lastTime: number | null
}

export type HitRow = NewHit & { id: number; at: number; employeeName: string | null }

export type Change = 'added' | 'changed' | 'unchanged'

export interface HitFilter {
  employee?: string | undefined
  list?: string | undefined
  captureId?: string | undefined
  /** Older than this one. */
  before?: number | undefined
  /** Newer than this one; then oldest first. */
  since?: number | undefined
  limit: number
}

/** Lists that a topic may feed. */
export type FedList = 'employees' | 'computers'

interface Page {
  text?: string | undefined
  limit: number
}

const ALL = { limit: -1 }

type EmployeePage = Page & { after?: Pick<EmployeeRow, 'name' | 'key'> | undefined }
type NumberedPage = Page & { after?: number | undefined }

/** `missing`: there is none of that number; `taken`: another is just so already. */
export type ChangeInPlace = 'changed' | 'missing' | 'taken'

/** Entries that have the text somewhere. */
const FITS = {
  employees: `(@text IS NULL OR instr(lower(name), @text) OR instr(lower(key), @text))`,
  computers: `(@text IS NULL OR instr(lower(comp_id), @text) OR instr(lower(employee), @text) OR instr(mac, @text)
    OR instr(ip, @text) OR instr(hostname, @text))`,
  indicators: `(@text IS NULL OR instr(lower(value), @text) OR instr(lower(note), @text) OR instr(lower(list), @text))`,
}

function textOf(text: string | undefined): { text: string | null } {
  return { text: text === undefined || text === '' ? null : text.toLowerCase() }
}

export type WatchLists = ReturnType<typeof createWatchLists>

const COMPUTER = `id, comp_id AS compId, employee, mac, ip, hostname, valid_from AS validFrom, valid_to AS validTo`
/** Hits of a load whose commit was not recorded never happened. */
const COUNTS = `(run GLOB 'rescan-*' OR EXISTS (SELECT 1 FROM commits c WHERE c.id = h.run))`

export function createWatchLists(db: Database) {
  const version = db.prepare(`SELECT version FROM watch_version`).pluck()
  const grow = db.prepare(`UPDATE watch_version SET version = version + 1`)

  function changed<T extends { changes: number }>(result: T): T {
    if (result.changes > 0) grow.run()
    return result
  }

  function putEmployee({ key, name, watched }: EmployeeRow): Change {
    const old = db.prepare(`SELECT name, watched FROM watch_employees WHERE key = ?`).get(key) as
      | { name: string; watched: number }
      | undefined
    if (old !== undefined && old.name === name && (old.watched === 1) === watched) return 'unchanged'
    changed(
      db
        .prepare(
          `INSERT INTO watch_employees VALUES (@key, @name, @watched) ON CONFLICT (key) DO UPDATE SET name = @name, watched = @watched`,
        )
        .run({ key, name, watched: watched ? 1 : 0 }),
    )
    return old === undefined ? 'added' : 'changed'
  }

  function removeEmployee(key: string): boolean {
    return changed(db.prepare(`DELETE FROM watch_employees WHERE key = ?`).run(key)).changes === 1
  }

  /** By name, those behind `after`. */
  function employees({ text, limit, after }: EmployeePage = ALL): (EmployeeRow & { computers: number })[] {
    const rows = db
      .prepare(
        `SELECT key, name, watched, (SELECT COUNT(DISTINCT comp_id) FROM watch_computers WHERE employee = key) AS computers
         FROM watch_employees WHERE ${FITS.employees} AND (@key IS NULL OR (name, key) > (@name, @key))
         ORDER BY name, key LIMIT @limit`,
      )
      .all({ ...textOf(text), limit, name: after?.name ?? null, key: after?.key ?? null }) as (Omit<
      EmployeeRow,
      'watched'
    > & { watched: number; computers: number })[]
    return rows.map((row) => ({ ...row, watched: row.watched === 1 }))
  }

  function computersOf(employee: string): number {
    return db
      .prepare(`SELECT COUNT(DISTINCT comp_id) FROM watch_computers WHERE employee = ?`)
      .pluck()
      .get(employee) as number
  }

  /** Which row a record of a topic stands for; undefined for a record that is not known. */
  function fedRow(list: FedList, key: string): string | undefined {
    return db.prepare(`SELECT row FROM watch_feed WHERE list = ? AND key = ?`).pluck().get(list, key) as
      | string
      | undefined
  }

  function setFedRow(list: FedList, key: string, row: string | null): void {
    if (row === null) db.prepare(`DELETE FROM watch_feed WHERE list = ? AND key = ?`).run(list, key)
    else
      db.prepare(`INSERT INTO watch_feed VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET row = excluded.row`).run(
        list,
        key,
        row,
      )
  }

  function fedKeys(list: FedList): string[] {
    return db.prepare(`SELECT key FROM watch_feed WHERE list = ?`).pluck().all(list) as string[]
  }

  /** Some record stands for the row. */
  function isFed(list: FedList, row: string): boolean {
    return db.prepare(`SELECT 1 FROM watch_feed WHERE list = ? AND row = ?`).get(list, row) !== undefined
  }

  /** Of a computer that is there exactly so. */
  function computerId(row: ComputerRow): number | undefined {
    return db
      .prepare(
        `SELECT id FROM watch_computers WHERE comp_id = @compId AND employee = @employee AND mac IS @mac AND ip IS @ip
           AND hostname IS @hostname AND coalesce(valid_from, 0) = coalesce(@validFrom, 0)
           AND coalesce(valid_to, 0) = coalesce(@validTo, 0)`,
      )
      .pluck()
      .get(row) as number | undefined
  }

  function putComputer(row: ComputerRow): Change {
    const { changes } = changed(
      db
        .prepare(
          `INSERT INTO watch_computers (comp_id, employee, mac, ip, hostname, valid_from, valid_to)
           VALUES (@compId, @employee, @mac, @ip, @hostname, @validFrom, @validTo) ON CONFLICT DO NOTHING`,
        )
        .run(row),
    )
    return changes === 1 ? 'added' : 'unchanged'
  }

  function removeComputer(id: number): boolean {
    return changed(db.prepare(`DELETE FROM watch_computers WHERE id = ?`).run(id)).changes === 1
  }

  /** Another in the place of one; it keeps its number. */
  function changeComputer(id: number, row: ComputerRow): ChangeInPlace {
    return changeInPlace(
      `UPDATE watch_computers SET comp_id = @compId, employee = @employee, mac = @mac, ip = @ip, hostname = @hostname,
         valid_from = @validFrom, valid_to = @validTo WHERE id = @id`,
      { id, ...row },
    )
  }

  function changeInPlace(update: string, row: object): ChangeInPlace {
    try {
      return changed(db.prepare(update).run(row)).changes === 1 ? 'changed' : 'missing'
    } catch (error) {
      if ((error as { code?: unknown }).code === 'SQLITE_CONSTRAINT_UNIQUE') return 'taken'
      throw error
    }
  }

  function computers({ text, limit, after = 0 }: NumberedPage = ALL): (ComputerRow & { id: number })[] {
    return db
      .prepare(
        `SELECT ${COMPUTER} FROM watch_computers WHERE id > @after AND ${FITS.computers} ORDER BY id LIMIT @limit`,
      )
      .all({ ...textOf(text), limit, after }) as (ComputerRow & { id: number })[]
  }

  function putIndicator({ list, kind, value, note }: IndicatorRow): Change {
    const old = db
      .prepare(`SELECT note FROM watch_indicators WHERE list = ? AND kind = ? AND value = ?`)
      .pluck()
      .get(list, kind, value) as string | undefined
    if (old === note) return 'unchanged'
    changed(
      db
        .prepare(
          `INSERT INTO watch_indicators (list, kind, value, note) VALUES (@list, @kind, @value, @note)
           ON CONFLICT (list, kind, value) DO UPDATE SET note = @note`,
        )
        .run({ list, kind, value, note }),
    )
    return old === undefined ? 'added' : 'changed'
  }

  function removeIndicator(id: number): boolean {
    return changed(db.prepare(`DELETE FROM watch_indicators WHERE id = ?`).run(id)).changes === 1
  }

  function changeIndicator(id: number, row: IndicatorRow): ChangeInPlace {
    return changeInPlace(
      `UPDATE watch_indicators SET list = @list, kind = @kind, value = @value, note = @note WHERE id = @id`,
      { id, ...row },
    )
  }

  function indicatorId({ list, kind, value }: IndicatorRow): number {
    return db
      .prepare(`SELECT id FROM watch_indicators WHERE list = ? AND kind = ? AND value = ?`)
      .pluck()
      .get(list, kind, value) as number
  }

  function indicators({ text, limit, after = 0 }: NumberedPage = ALL): (IndicatorRow & { id: number })[] {
    return db
      .prepare(
        `SELECT id, list, kind, value, note FROM watch_indicators WHERE id > @after AND ${FITS.indicators} ORDER BY id LIMIT @limit`,
      )
      .all({ ...textOf(text), limit, after }) as (IndicatorRow & { id: number })[]
  }

  function lists(): { list: string; indicators: number }[] {
    return db
      .prepare(`SELECT list, COUNT(*) AS indicators FROM watch_indicators GROUP BY list ORDER BY list`)
      .all() as { list: string; indicators: number }[]
  }

  /** How many entries of a list there are that have the text. */
  function count(table: keyof typeof FITS, text?: string): number {
    return db.prepare(`SELECT COUNT(*) FROM watch_${table} WHERE ${FITS[table]}`).pluck().get(textOf(text)) as number
  }

  /** Seen in the traffic; the same lease again changes nothing. */
  function addLease({ ip, mac, validFrom, validTo, captureId }: LeaseRow): void {
    db.prepare(
      `INSERT INTO watch_leases VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET valid_to = max(valid_to, excluded.valid_to)`,
    ).run(ip, mac, validFrom, validTo, captureId)
  }

  function leasesOf(macs: readonly string[]): LeaseRow[] {
    const query = db.prepare(
      `SELECT ip, mac, valid_from AS validFrom, valid_to AS validTo, capture_id AS captureId FROM watch_leases
       WHERE mac IN (SELECT value FROM json_each(?))`,
    )
    return query.all(JSON.stringify(macs)) as LeaseRow[]
  }

  /** `run` is the commit, or `rescan-…`: its earlier hits are replaced. */
  function setHits(run: string, hits: readonly NewHit[], now = Date.now()): void {
    db.transaction(() => {
      db.prepare(`DELETE FROM watch_hits WHERE run = ?`).run(run)
      const insert = db.prepare(
        `INSERT INTO watch_hits (run, at, employee, list, reason, log_type, capture_id, rows, first_time, last_time)
         VALUES (@run, @now, @employee, @list, @reason, @logType, @captureId, @rows, @firstTime, @lastTime)`,
      )
      for (const hit of hits) insert.run({ run, now, ...hit })
    }).immediate()
  }

  /** A rescan says anew what all files hold. */
  function removeHitsBut(run: string): void {
    db.prepare(`DELETE FROM watch_hits WHERE run <> ?`).run(run)
  }

  function removeHitsOf(captureId: string): void {
    db.prepare(`DELETE FROM watch_hits WHERE capture_id = ?`).run(captureId)
  }

  /** Newest first, or, after `since`, oldest first. */
  function hits({ employee, list, captureId, before, since, limit }: HitFilter): HitRow[] {
    return db
      .prepare(
        `SELECT h.id, h.at, h.employee, e.name AS employeeName, h.list, h.reason, h.log_type AS logType,
           h.capture_id AS captureId, h.rows, h.first_time AS firstTime, h.last_time AS lastTime
         FROM watch_hits h LEFT JOIN watch_employees e ON e.key = h.employee
         WHERE ${COUNTS} AND (@employee IS NULL OR h.employee = @employee) AND (@list IS NULL OR h.list = @list)
           AND (@captureId IS NULL OR h.capture_id = @captureId) AND (@before IS NULL OR h.id < @before)
           AND (@since IS NULL OR h.id > @since)
         ORDER BY h.id ${since === undefined ? 'DESC' : 'ASC'} LIMIT @limit`,
      )
      .all({
        ...{ employee: employee ?? null, list: list ?? null, captureId: captureId ?? null },
        ...{ before: before ?? null, since: since ?? null, limit },
      }) as HitRow[]
  }

  return {
    version: () => version.get() as number,
    putEmployee,
    removeEmployee,
    employees,
    computersOf,
    putComputer,
    removeComputer,
    computers,
    changeComputer,
    computerId,
    ...{ fedRow, setFedRow, fedKeys, isFed },
    putIndicator,
    removeIndicator,
    changeIndicator,
    indicatorId,
    indicators,
    lists,
    count,
    addLease,
    leasesOf,
    setHits,
    removeHitsBut,
    removeHitsOf,
    hits,
  }
}

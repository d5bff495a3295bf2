/**
 * When is a file complete? Size and mtime have not changed over the interval, and no process that can be
 * seen holds it open for writing. All files are watched side by side: those dropped together settle together.
 *
 * In: what a scan of the inbox found. Out: the files that are settled. Pure but for `heldForWriting`.
 */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { FileIdentity } from './arrival.ts'

export interface Sighting extends FileIdentity {
  /** Unique for a path; file names are bytes. */
  key: string
}

export class Settling {
  readonly #intervalMs: number
  readonly #seen = new Map<string, Sighting & { since: number }>()

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs
  }

  /** Files that are gone are forgotten; answers the keys of those that have been still for the interval. */
  observe(sightings: readonly Sighting[], nowMs: number): Set<string> {
    const present = new Set(sightings.map(({ key }) => key))
    for (const key of this.#seen.keys()) if (!present.has(key)) this.#seen.delete(key)
    const settled = new Set<string>()
    for (const sighting of sightings) {
      const before = this.#seen.get(sighting.key)
      if (before === undefined || !isSame(before, sighting)) this.#seen.set(sighting.key, { ...sighting, since: nowMs })
      else if (nowMs - before.since >= this.#intervalMs) settled.add(sighting.key)
    }
    return settled
  }

  /** Files that are still being waited for. */
  get size(): number {
    return this.#seen.size
  }

  forget(key: string): void {
    this.#seen.delete(key)
  }
}

function isSame(a: FileIdentity, b: FileIdentity): boolean {
  return a.ino === b.ino && a.bytes === b.bytes && a.mtimeMs === b.mtimeMs
}

/**
 * Which of these paths some process has open for writing, as far as /proc tells this user.
 * Source: proc_pid_fd(5), and the access mode in the `flags` of proc_pid_fdinfo(5) (octal, low two bits).
 */
export function heldForWriting(paths: ReadonlySet<string>): Set<string> {
  const held = new Set<string>()
  for (const pid of list('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    for (const fd of list(`/proc/${pid}/fd`)) {
      const target = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`))
      if (target === undefined || !paths.has(target) || held.has(target)) continue
      const flags = attempt(() => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').match(/^flags:\s*([0-7]+)/m)?.[1])
      if (flags !== undefined && (Number.parseInt(flags, 8) & 0o3) !== 0) held.add(target)
    }
  }
  return held
}

function list(dir: string): string[] {
  return attempt(() => readdirSync(dir)) ?? []
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

/**
 * When is a file complete? Size and mtime have not changed over the interval, and no process that can be
 * seen holds it open for writing. All files are watched side by side: those dropped together settle together.
 *
 * In: what a scan of the inbox found. Out: the files that are settled. Pure.
 */

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

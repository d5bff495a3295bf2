/** What the watcher hands to the monitor stage: a file that has settled in the inbox. */

import type { Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { errnoOf } from '../../state/errors.ts'
import type { JobRow, NewJob } from '../../state/job.ts'
import { shortHash } from '../durable.ts'

/** A file's identity at the moment it was looked at; a file that changed is another one. */
export interface FileIdentity {
  dev: number
  ino: number
  bytes: number
  mtimeMs: number
}

export interface Arrival extends FileIdentity {
  /** File names are bytes; those that are no UTF-8 are kept in hexadecimal. */
  path: string | { hex: string }
  /** For people. */
  name: string
  source: string
  /** Key logs of TLS that belong to it. */
  keys?: Arrival['path'][]
  /** It is a key log itself, and came after these captures. */
  keysOf?: string[]
  /** Somebody's own file, named on the command line: it is copied and stays. */
  keep?: boolean
}

export function pathOf({ path }: Pick<Arrival, 'path'>): string | Buffer {
  return typeof path === 'string' ? path : Buffer.from(path.hex, 'hex')
}

export function encodePath(path: Buffer): Arrival['path'] {
  const text = path.toString('utf8')
  return Buffer.from(text, 'utf8').equals(path) ? text : { hex: path.toString('hex') }
}

/** The same file in the same state is the same job; `again` tells apart what arrived a second time. */
export function arrivalJob(arrival: Arrival, again = 0): NewJob<Arrival> {
  const path = typeof arrival.path === 'string' ? arrival.path : arrival.path.hex
  const identity = [arrival.dev, arrival.ino, arrival.bytes, arrival.mtimeMs, again].join(':')
  return { stage: 'monitor', key: `${shortHash(path)}:${identity}`, input: arrival, bytes: arrival.bytes }
}

/** The ids of the captures that a finished arrival was found to hold. */
export function capturesOf({ outputs }: JobRow): string[] {
  return (outputs as { captures?: string[] } | undefined)?.captures ?? []
}

export async function identify(path: string | Buffer): Promise<Stats | undefined> {
  return await lstat(path).catch(ignoreAbsent)
}

export function sameFile(a: FileIdentity, stats: Stats): boolean {
  return a.ino === stats.ino && a.bytes === stats.size && a.mtimeMs === stats.mtimeMs
}

function ignoreAbsent(error: unknown): undefined {
  const errno = errnoOf(error)
  if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined
  throw error
}

/**
 * A ledger that takes the place of another: built beside it, put into its place in one step, or not at all.
 *
 * `<ledger>.building` is unfinished work, `<ledger>.next` is whole and takes over, `<ledger>.replacing` names who is at
 * it. As long as whoever that is lives, and from the moment that there is a `.next`, nobody else opens the ledger.
 * What was there is kept as `<ledger>.replaced-<time>`. A step that was cut short is done again by `finishReplacement`.
 */

import { linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { errnoOf, PipelineError } from './errors.ts'
import { flushSync } from './flush.ts'
import { processIdentity, stateOf } from './process-identity.ts'

interface Marker {
  owner: string
  /** What the ledger that was there is called from then on, beside it. */
  kept: string
}

export const buildingPath = (ledger: string) => `${ledger}.building`
const nextPath = (ledger: string) => `${ledger}.next`
const markerPath = (ledger: string) => `${ledger}.replacing`
/** What SQLite lays beside a database. */
const BESIDE = ['-wal', '-shm', '-journal']

/** Throws `ledger_damaged` while the ledger is being replaced, or when that was cut short in the middle. */
export function checkNotBeingReplaced(ledger: string): void {
  const marker = readMarker(ledger)
  if (marker === undefined || marker.owner === processIdentity()) return
  if (stateOf(marker.owner) === 'alive')
    throw new PipelineError(
      'ledger_damaged',
      `the ledger ${ledger} is being rebuilt or restored by process ${pidOf(marker)}; wait until it has ended`,
    )
  if (isThere(nextPath(ledger)))
    throw new PipelineError(
      'ledger_damaged',
      `the ledger ${ledger} was being replaced when that was cut short; run \`rebuild\`, or \`restore\` as before, which finishes it`,
    )
}

/**
 * From here on nobody else opens the ledger. Answers what an earlier one left to be finished. Throws `ledger_damaged`
 * when another living process is at it.
 */
export function beginReplacement(ledger: string, now = Date.now()): { isUnfinished: boolean } {
  const marker = readMarker(ledger)
  if (marker !== undefined && marker.owner !== processIdentity() && stateOf(marker.owner) === 'alive')
    throw new PipelineError('ledger_damaged', `process ${pidOf(marker)} is rebuilding or restoring ${ledger} already`)
  const isUnfinished = isThere(nextPath(ledger))
  const time = new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, '')
  const kept = (isUnfinished ? marker?.kept : undefined) ?? `${basename(ledger)}.replaced-${time}`
  removeWithBeside(buildingPath(ledger))
  writeFileSync(markerPath(ledger), JSON.stringify({ owner: processIdentity(), kept } satisfies Marker))
  flushSync(dirname(ledger))
  return { isUnfinished }
}

/** Without a change: the ledger can be opened again. */
export function endReplacement(ledger: string): void {
  if (isThere(nextPath(ledger))) return
  removeWithBeside(buildingPath(ledger))
  rmSync(markerPath(ledger), { force: true })
}

/**
 * What was built takes over; answers the name under which the former ledger is kept, if there was one. The caller has
 * begun the replacement and knows that no process has the former one open.
 */
export function replaceLedger(ledger: string): string | undefined {
  flushSync(buildingPath(ledger))
  renameSync(buildingPath(ledger), nextPath(ledger))
  flushSync(dirname(ledger))
  return finishReplacement(ledger)
}

/** Safe to repeat from any point. Without a `.next` there is nothing to finish. */
export function finishReplacement(ledger: string): string | undefined {
  const marker = readMarker(ledger)
  if (marker === undefined || !isThere(nextPath(ledger))) return undefined
  const kept = join(dirname(ledger), marker.kept)
  // First, or SQLite would play the former ledger's last changes into the new one.
  for (const end of BESIDE) moveIfThere(`${ledger}${end}`, `${kept}${end}`)
  keep(ledger, kept)
  flushSync(dirname(ledger))
  renameSync(nextPath(ledger), ledger)
  flushSync(dirname(ledger))
  rmSync(markerPath(ledger), { force: true })
  return isThere(kept) ? kept : undefined
}

/** A second name, so that the first is never without a file. */
function keep(ledger: string, kept: string): void {
  try {
    linkSync(ledger, kept)
  } catch (error) {
    if (errnoOf(error) === 'EEXIST' || errnoOf(error) === 'ENOENT') return
    // A file system without hard links.
    moveIfThere(ledger, kept)
  }
}

function readMarker(ledger: string): Marker | undefined {
  try {
    const { owner, kept } = JSON.parse(readFileSync(markerPath(ledger), 'utf8'))
    if (typeof owner === 'string' && typeof kept === 'string') return { owner, kept: basename(kept) }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
  }
  // Cut off while it was written.
  return { owner: '', kept: `${basename(ledger)}.replaced` }
}

function pidOf({ owner }: Marker): string {
  return owner.split('/')[2] ?? '?'
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

function removeWithBeside(path: string): void {
  for (const end of ['', ...BESIDE]) rmSync(`${path}${end}`, { force: true })
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

/**
 * Puts a joined file in the place of those that it was made of.
 *
 * The books (ledger) and the folder change one after the other, and a process may die in between. Therefore a hidden note
 * beside the files tells those who list the folder what counts (query/files.ts), and a row in the ledger tells those who
 * go by the books. Order: row, new file under a hidden name, note, its real name, the books, the old files go, the note
 * goes, the row goes. Whoever takes the dataset's lock makes an end of what was left half done before anything else.
 */

import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { flushSync } from '../../state/flush.ts'
import type { Join } from '../../state/joins.ts'
import type { Layout } from '../../state/layout.ts'
import type { Ledger } from '../../state/ledger.ts'
import { readersLock } from '../../state/shared-lock.ts'
import { type JoinNote, joinNoteName } from '../query/files.ts'

export interface SwapParts {
  ledger: Pick<Ledger, 'joins'>
  layout: Pick<Layout, 'dataDir' | 'cache'>
}

/** To be made before the file gets its name. */
export function writeNote({ layout }: SwapParts, { id, path, sources }: Pick<Join, 'id' | 'path' | 'sources'>): void {
  const dir = join(layout.dataDir, dirname(path))
  const note: JoinNote = { file: basename(path), replaces: sources.map((source) => basename(source)) }
  const target = join(dir, joinNoteName(id))
  writeFileSync(`${target}.part`, JSON.stringify(note))
  flushSync(`${target}.part`)
  renameSync(`${target}.part`, target)
  flushSync(dir)
}

/**
 * All of it while no query of ours lists or reads the dataset: a few milliseconds. False when queries left no such moment;
 * then nothing has changed.
 */
export function swap(parts: SwapParts, written: Join): boolean {
  using alone = readersLock(parts.layout.cache).tryAlone()
  if (alone === undefined) return false
  const { dataDir } = parts.layout
  renameSync(join(dataDir, written.staged), join(dataDir, written.path))
  flushSync(join(dataDir, dirname(written.path)))
  parts.ledger.joins.join(written)
  end(parts, written)
  return true
}

/** Goes on from where a process was cut short. Under the dataset's lock. */
export function finishJoins(parts: SwapParts): void {
  const open = parts.ledger.joins.open()
  if (open.length === 0) return
  // Queries that hold a list of the old files begin anew when one is gone.
  using _alone = readersLock(parts.layout.cache).tryAlone()
  for (const found of open) {
    const isInPlace = existsSync(join(parts.layout.dataDir, found.path))
    if (found.state === 'joined') end(parts, found)
    else if (found.state === 'written' && isInPlace) {
      parts.ledger.joins.join(found)
      end(parts, found)
    } else abandon(parts, found)
  }
}

/** Nothing came of it: the old files are still those that count. */
export function abandon(
  { ledger, layout }: SwapParts,
  { id, path, staged }: Pick<Join, 'id' | 'path' | 'staged'>,
): void {
  rmSync(join(layout.dataDir, staged), { force: true })
  removeNote(layout.dataDir, path, id)
  ledger.joins.end(id)
}

function end({ ledger, layout: { dataDir } }: SwapParts, { id, path, sources }: Join): void {
  for (const source of sources) rmSync(join(dataDir, source), { force: true })
  flushSync(join(dataDir, dirname(path)))
  removeNote(dataDir, path, id)
  ledger.joins.end(id)
}

function removeNote(dataDir: string, path: string, id: string): void {
  const note = join(dataDir, dirname(path), joinNoteName(id))
  for (const name of [`${note}.part`, note]) rmSync(name, { force: true })
}

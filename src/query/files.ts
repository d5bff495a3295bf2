/**
 * Which Parquet files make up the dataset.
 *
 * In: the dataset's root, laid out as
 * `<type>/year=YYYY/month=MM/day=DD/hour=HH/<prefix>_<type>_<id>.parquet`. Out: the log types, and the files
 * of one type. Only regular files at that depth under such a name count: whatever is still being written, is
 * hidden, foreign, or a symbolic link (it could point anywhere) is never read. The prefix is a setting that may have
 * changed over the years: all of them count. While files are being joined, a hidden note in their folder says which file
 * replaces which: once that is there, those count no more.
 */

import type { Dirent } from 'node:fs'
import { lstat, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, messageOf, PipelineError } from '../../state/errors.ts'
import { PEOPLE_TABLES } from './people.ts'

export interface DataFile {
  /** Absolute. */
  path: string
  bytes: number
  mtimeMs: number
}

/** Log types become SQL names and parts of paths. */
export const TYPE_NAME = /^[a-z0-9_]{1,64}$/

/** The name of the view over all types; a folder of that name is not read. */
export const EVENTS = 'events'

const LEVELS = [/^year=\d{1,6}$/, /^month=\d{1,2}$/, /^day=\d{1,2}$/, /^hour=\d{1,2}$/]
const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]+\.parquet$/

/** The folders of the dataset that can be tables, by name. A root that does not exist yet has none. */
export async function listTypes(root: string): Promise<string[]> {
  const names = (await entriesOf(root)).filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  return names.filter((name) => TYPE_NAME.test(name) && name !== EVENTS && !PEOPLE_TABLES.includes(name)).sort()
}

/** The files of one type, by path, which is by hour. */
export async function listFiles(root: string, type: string): Promise<DataFile[]> {
  const files = await filesBelow(join(root, type), 0, (name) => FILE_NAME.test(name) && name.includes(`_${type}_`))
  return files.sort((a, b) => (a.path < b.path ? -1 : 1))
}

async function filesBelow(dir: string, depth: number, counts: (name: string) => boolean): Promise<DataFile[]> {
  const entries = await entriesOf(dir)
  const level = LEVELS[depth]
  if (level === undefined) {
    const names = entries.filter((entry) => entry.isFile()).map((entry) => entry.name)
    const replaced = await replacedIn(dir, names)
    const own = names.filter((name) => counts(name) && !replaced.has(name))
    const found = await Promise.all(own.map((name) => describe(join(dir, name))))
    return found.filter((file) => file !== undefined)
  }
  const folders = entries.filter((entry) => entry.isDirectory() && level.test(entry.name))
  return (await Promise.all(folders.map((folder) => filesBelow(join(dir, folder.name), depth + 1, counts)))).flat()
}

/** What a join writes beside the files before it touches any of them, and removes last. */
export interface JoinNote {
  file: string
  replaces: string[]
}

const JOIN_NOTE = /^\.joining-[\w-]+\.json$/

export function joinNoteName(id: string): string {
  return `.joining-${id}.json`
}

async function replacedIn(dir: string, names: readonly string[]): Promise<Set<string>> {
  const replaced = new Set<string>()
  for (const name of names.filter((each) => JOIN_NOTE.test(each))) {
    const { file, replaces } = await readNote(join(dir, name))
    if (names.includes(file)) for (const each of replaces) replaced.add(each)
  }
  return replaced
}

/** One that is cut short was written by a process that did nothing else yet. */
async function readNote(path: string): Promise<JoinNote> {
  try {
    const { file, replaces } = JSON.parse(await readFile(path, 'utf8'))
    if (typeof file === 'string' && Array.isArray(replaces)) return { file, replaces }
  } catch {}
  return { file: '', replaces: [] }
}

/** Retention may remove a file or a folder at any moment; what is gone is not part of the dataset. */
export async function describe(path: string): Promise<DataFile | undefined> {
  try {
    const { size, mtimeMs } = await lstat(path)
    return { path, bytes: size, mtimeMs }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw unreadable(path, error)
  }
}

async function entriesOf(dir: string): Promise<Dirent[]> {
  try {
    return await readdir(dir, { withFileTypes: true })
  } catch (error) {
    const errno = errnoOf(error)
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return []
    throw unreadable(dir, error)
  }
}

function unreadable(path: string, cause: unknown): PipelineError {
  return new PipelineError('io', `the dataset cannot be read at ${path}: ${messageOf(cause)}`, { cause })
}

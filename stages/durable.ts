/** What the stages share about files: bytes that are on the disk before the ledger says so. */

import { createHash, randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, link, mkdir, open, readdir, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf } from '../state/errors.ts'

/** Flushes a file or a directory to the disk; a rename or a new name is durable once its directory is flushed. */
export async function flush(path: string | Buffer): Promise<void> {
  const handle = await open(path, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** All files directly in a directory, and the directory itself. */
export async function flushAll(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true }))
    if (entry.isFile()) await flush(join(dir, entry.name))
  await flush(dir)
}

/** Renames within a file system and flushes the target's directory; parents are made. */
export async function move(from: string | Buffer, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true })
  await rename(from, to)
  await flush(dirname(to))
}

/** A second name for the same bytes, or a copy where the file system has no hard links. */
export async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return
    await copyFile(from, to, constants.COPYFILE_FICLONE)
  }
}

/** Moves a file, over file systems as well; what is gone already was moved by an earlier attempt. */
export async function putAside(path: string | Buffer, target: string): Promise<void> {
  try {
    await rename(path, target)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    if (errnoOf(error) !== 'EXDEV') throw error
    await copyFile(path, target)
    await flush(target)
    await unlink(path)
  }
}

/** Does in a folder what is done with files there: writes, reads, renames and deletes one. Throws what it may not. */
export async function probeFolder(dir: string): Promise<void> {
  const probe = join(dir, `.probe-${randomUUID()}`)
  try {
    await writeFile(probe, 'probe')
    if ((await readFile(probe, 'utf8')) !== 'probe') throw new Error('a file reads back as something else')
    await rename(probe, `${probe}.renamed`)
    await unlink(`${probe}.renamed`)
  } finally {
    for (const left of [probe, `${probe}.renamed`]) await rm(left, { force: true }).catch(() => undefined)
  }
}

export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12)
}

/** File systems allow 255 bytes; what we put around a name needs some. */
const MAX_NAME_BYTES = 160

/** A file name from elsewhere as one that is safe here: no path, no control characters, bounded. */
export function safeName(name: string): string {
  const base = basename(name.replaceAll('\0', '')) || 'unnamed'
  const clean = base.replace(/[\p{Cc}/\\]/gu, '_').replace(/^\.+/, '_')
  return Buffer.byteLength(clean) <= MAX_NAME_BYTES ? clean : `${shortHash(base)}~${clean.slice(-24)}`
}

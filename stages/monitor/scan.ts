/**
 * Lists the files of the inbox that may be captures. Kernel events are only a hint that a scan is due: what
 * they miss (NFS, SMB, renames, hard links, files that lay there before), a scan finds.
 *
 * File names are bytes, and not always UTF-8; they stay buffers here.
 */

import type { Dirent } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { sep } from 'node:path'
import { errnoOf } from '../../state/errors.ts'
import { encodePath } from './arrival.ts'
import type { Sighting } from './settle.ts'

export interface InboxFile extends Sighting {
  path: ReturnType<typeof encodePath>
  name: string
  /** The first folder below the inbox; `default` for a file directly in it. */
  source: string
  kind: 'file' | 'link' | 'other'
}

export const DEFAULT_SOURCE = 'default'

const MAX_DEPTH = 16

/**
 * Names of files that are still being written, by convention: hidden files (rsync's are), and the temporary
 * endings of browsers, copy programs, editors and upload servers.
 */
const PARTIAL = /^\.|~$|\.(part|partial|tmp|temp|filepart|crdownload|download|swp|swx|lock|incomplete|!ut|aria2)$/i

export function isPartialName(name: string): boolean {
  return PARTIAL.test(name)
}

/** Throws when the inbox itself cannot be read; a subfolder that cannot is reported and left out. */
export async function scanInbox(
  inbox: string,
  onUnreadable: (path: string, error: unknown) => void,
): Promise<InboxFile[]> {
  const files: InboxFile[] = []
  await scan(Buffer.from(inbox), [])
  return files

  async function scan(dir: Buffer, folders: string[]): Promise<void> {
    for (const entry of await list(dir, folders.length === 0)) {
      const name = entry.name.toString('utf8')
      if (isPartialName(name)) continue
      const path = Buffer.concat([dir, Buffer.from(sep), entry.name])
      if (!entry.isDirectory()) await add(path, name, folders)
      else if (folders.length < MAX_DEPTH) await scan(path, [...folders, name])
    }
  }

  async function list(dir: Buffer, isInbox: boolean): Promise<Dirent<Buffer>[]> {
    try {
      return await readdir(dir, { withFileTypes: true, encoding: 'buffer' })
    } catch (error) {
      if (isInbox) throw error
      if (errnoOf(error) !== 'ENOENT') onUnreadable(dir.toString('utf8'), error)
      return []
    }
  }

  async function add(path: Buffer, name: string, folders: string[]): Promise<void> {
    const stats = await lstat(path).catch(() => undefined)
    if (stats === undefined) return
    const kind = stats.isFile() ? 'file' : stats.isSymbolicLink() ? 'link' : 'other'
    files.push({
      key: path.toString('latin1'),
      path: encodePath(path),
      name,
      source: folders[0] ?? DEFAULT_SOURCE,
      kind,
      dev: stats.dev,
      ino: stats.ino,
      bytes: stats.size,
      mtimeMs: stats.mtimeMs,
    })
  }
}

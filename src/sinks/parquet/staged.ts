/** The written files in their places below the staging directory, on the disk. */

import { mkdir, rename } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { flush } from '../../../stages/durable.ts'
import type { ParquetResult } from './types.ts'
import type { WrittenFile } from './written.ts'

export type StagedFile = ParquetResult['files'][number]

/** Gives the files their places in the tree of partitions. Each is flushed to the disk before it has its name. */
export async function placeFiles(
  stagingDir: string,
  logType: string,
  written: readonly WrittenFile[],
): Promise<StagedFile[]> {
  const files: StagedFile[] = []
  for (const { path: from, partition, rows, bytes } of written) {
    const dir = `${logType}/${partition}`
    const path = `${dir}/${basename(from)}`
    await mkdir(join(stagingDir, dir), { recursive: true })
    await flush(from)
    await rename(from, join(stagingDir, path))
    files.push({ logType, path, rows, bytes })
  }
  return files
}

/** The directories that name the files, up to the staging directory. */
export async function flushDirs(stagingDir: string, files: readonly StagedFile[]): Promise<void> {
  const dirs = new Set(['.'])
  for (const { path } of files) for (let dir = dirname(path); dir !== '.'; dir = dirname(dir)) dirs.add(dir)
  for (const dir of dirs) await flush(join(stagingDir, dir))
}

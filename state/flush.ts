/** What has to be on the disk before the next step, where nothing else may happen in between. */

import { closeSync, fsyncSync, openSync } from 'node:fs'

/** Flushes a file or a directory; a rename or a new name is durable once its directory is flushed. */
export function flushSync(path: string): void {
  const file = openSync(path, 'r')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
